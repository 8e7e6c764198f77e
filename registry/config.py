"""The settings: read once, from all sources, with every problem reported at once.

Precedence: default < TOML file (`DEPOTRY_CONFIG` or `--config`) < environment < flags. A source that is
overridden is still checked, so that a mistake does not wait for the day on which the flag is left out.
"""

import difflib
import ipaddress
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from registry.auth.issuers import issuer_problem
from registry.blobstore import s3_location
from registry.core.limits import MANIFEST_MAX_BYTES, MIB

ENV_PREFIX: Final = "DEPOTRY_"
MASK: Final = "***"
PORT_MAX: Final = 65_535

_NO_SETTINGS: Final = frozenset(
    {"DEPOTRY_CONFIG", "DEPOTRY_TOOLS"}
    | {f"DEPOTRY_TESTS_{what}" for what in ("REQUIRE_ALL", "PAIR", "OPERATIONS", "KILLS")}
)
# Kubernetes sets these in every pod next to a service called "depotry", DEPOTRY_PORT=tcp://… among them.
_SERVICE_LINK: Final = re.compile(r"DEPOTRY_(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_\w+)?")
_SERVICE_LINK_PORT: Final = re.compile(r"(tcp|udp|sctp)://.+")

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_SIZE_UNITS: Final = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_DURATION_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_TIMES: Final = (("h", 3600), ("m", 60))
_URL_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
# Up to the last @: a password may hold one, and hiding too much is the better mistake.
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^/:]*):.*(?=@)")
_URL_OPTION: Final = re.compile(r"(?<=[?&])([^=&]+)=[^&]*")
_ORIGIN: Final = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_DATABASE: Final = re.compile(r"sqlite:///(?!:memory:)(?!.*\?\w+=).+")
_POSTGRESQL: Final = re.compile(r"postgresql://[^/?#]*/[^/?#]+(\?.*)?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigProblems(Exception):
    """The configuration cannot be used. `problems` has one line for each reason, naming its source."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_size(value: object) -> object:
    """Bytes of a text such as `64MiB`, `4 MB` or `512`; what is no text passes. Raises ValueError."""
    return _measure(value, _SIZE_UNITS, "a size such as 64MiB, 4 MB or a number of bytes")


def parse_duration(value: object) -> object:
    """Seconds of a text such as `30s`, `24h` or `0.5`; what is no text passes. Raises ValueError."""
    return _measure(value, _DURATION_UNITS, "a time such as 30s, 24h or a number of seconds")


def _measure(value: object, units: Mapping[str, float], wanted: str) -> object:
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"is not {wanted}")
    amount = float(match[1]) * unit if "." in match[1] or isinstance(unit, float) else int(match[1]) * unit
    return int(amount) if amount == int(amount) else amount


def _check_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise ValueError("is empty")
    if "\0" in value or not value.isprintable():
        raise ValueError("has characters that cannot be printed")
    return value


def _check_path(value: object) -> object:
    checked = _check_text(os.fspath(value) if isinstance(value, Path) else value)
    return Path(checked).expanduser() if isinstance(checked, str) else checked


def _check_host(value: object) -> object:
    checked = _check_text(value)
    return checked.strip().removeprefix("[").removesuffix("]") if isinstance(checked, str) else checked


def _check_database(value: object) -> object:
    checked = _check_text(value)
    if not isinstance(checked, str):
        return checked
    scheme = checked.partition(":")[0]
    if scheme == "postgresql":
        return _check_postgresql(checked)
    if scheme != "sqlite":
        raise ValueError(f"must be sqlite:///<path> or postgresql://<user>@<host>/<name>, not {scheme[:20]!r}")
    if _DATABASE.fullmatch(checked) is None:
        raise ValueError("must be sqlite:///<path>: a file, without options after `?`")
    return checked


def _check_postgresql(value: object) -> object:
    checked = _check_text(value)
    if isinstance(checked, str) and _POSTGRESQL.fullmatch(checked) is None:
        raise ValueError("must be postgresql://<user>:<password>@<host>:<port>/<name>")
    return checked


def _check_storage(value: object) -> object:
    checked = _check_text(value)
    if not isinstance(checked, str):
        return checked
    scheme = _URL_SCHEME.match(checked)
    if scheme is None:
        return f"file:{checked}"
    if scheme[1] == "s3":
        s3_location.parse(checked)
        return checked
    if scheme[1] != "file":
        raise ValueError(f"must be file:<path>, a plain path or s3://<bucket>, not {scheme[1][:20]!r}")
    if re.fullmatch(r"file:(?://(?=/))?([^/]|/(?!/)).*", checked, re.DOTALL) is None:
        raise ValueError("must be file:<path>, without the name of a machine")
    return checked.replace("file:///", "file:/", 1)


def _check_endpoint(value: object) -> object:
    checked = _check_text(value)
    if isinstance(checked, str) and (problem := s3_location.endpoint_problem(checked)):
        raise ValueError(problem)
    return checked


def _check_issuer(value: object) -> object:
    checked = _check_text(value)
    if isinstance(checked, str) and (problem := issuer_problem(checked)):
        raise ValueError(problem)
    return checked


def _parse_scopes(value: object) -> object:
    texts = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    if "openid" not in texts:
        raise ValueError("must have openid among them")
    if not all(_SCOPE.fullmatch(text) for text in texts):
        raise ValueError("has something that is no scope")
    return tuple(texts)


def _parse_origins(value: object) -> object:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    found = [text.strip().rstrip("/") for text in texts if text.strip()]
    for text in found:
        if _ORIGIN.fullmatch(text) is None:
            raise ValueError("must be https://<host> or http://<host>, with a port where it is another one, no path")
    return tuple(found)


def _parse_networks(value: object) -> object:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list of networks such as 10.0.0.0/8")
    return tuple(_network(part) for part in value)


def _parse_patterns(value: object) -> object:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError("is not a list of patterns such as *scanner*")
    return tuple(str(_check_text(text)).strip() for text in texts if not isinstance(text, str) or text.strip())


def _network(value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        # Only texts: a number is an address to Python, and never what somebody meant.
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{str(value)[:50]!r} is not a network such as 10.0.0.0/8 or an address") from None


Origins = Annotated[tuple[str, ...], BeforeValidator(_parse_origins)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_parse_patterns)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_parse_networks)]
TextPath = Annotated[Path, BeforeValidator(_check_path)]
Size = Annotated[int, BeforeValidator(parse_size)]
Seconds = Annotated[int, BeforeValidator(parse_duration)]
FineSeconds = Annotated[float, BeforeValidator(parse_duration)]
Port = Annotated[int, Field(ge=0, le=PORT_MAX)]
Host = Annotated[str, BeforeValidator(_check_host)]


class Settings(BaseModel):
    """What an operator can choose. Names end in their unit: `_bytes`, `_s` (seconds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on; other than loopback needs external_url.",
    )
    port: Port = Field(default=5000, description="TCP port to listen on; 0 takes any free one.")
    data: TextPath = Field(
        default=Path("depotry-data"),
        description="Folder of everything that is stored; made when it is missing.",
    )
    database: Annotated[str | None, BeforeValidator(_check_database)] = Field(
        default=None,
        description="URL of the database: sqlite:///<path of its file>, or postgresql://<user>@<host>:<port>/<name>.",
        json_schema_extra={"default_text": "sqlite:///<data>/registry.db"},
    )
    database_password_file: TextPath | None = Field(
        default=None,
        description="File of the password of the PostgreSQL user, instead of one in the URL.",
        json_schema_extra={"default_text": "<none>"},
    )
    database_direct: Annotated[str | None, BeforeValidator(_check_postgresql)] = Field(
        default=None,
        description="URL of the same PostgreSQL past a pooler such as pgbouncer in transaction mode: for migrations and"
        " notifications, which need a session.",
        json_schema_extra={"default_text": "<database>"},
    )
    database_pool: int = Field(
        default=10, ge=2, le=200, description="Connections to PostgreSQL that one worker may have at once."
    )
    storage: Annotated[str | None, BeforeValidator(_check_storage)] = Field(
        default=None,
        description="Where blobs are: file:<folder> or a plain path, or s3://<bucket>/<prefix>?endpoint=<URL>.",
        json_schema_extra={"default_text": "file:<data>/blobs"},
    )
    storage_previous: Annotated[str | None, BeforeValidator(_check_storage)] = Field(
        default=None,
        description="Where older blobs still are, while depotry storage move brings them to storage.",
        json_schema_extra={"default_text": "<none>"},
    )
    s3_access_key_id: Annotated[str | None, BeforeValidator(_check_text)] = Field(
        default=None,
        description="Access key of the S3 service; without it the usual places are asked: AWS_* variables, profiles,"
        " the role of the machine.",
        json_schema_extra={"default_text": "<none>"},
    )
    s3_secret_access_key_file: TextPath | None = Field(
        default=None,
        description="File of the secret that belongs to s3_access_key_id.",
        json_schema_extra={"default_text": "<none>"},
    )
    storage_redirect: bool = Field(
        default=False, description="With S3: send clients to the S3 service for blobs (307) instead of passing them on."
    )
    storage_public_endpoint: Annotated[str | None, BeforeValidator(_check_endpoint)] = Field(
        default=None,
        description="URL of the S3 service as clients reach it, for redirects.",
        json_schema_extra={"default_text": "<endpoint of storage>"},
    )
    storage_redirect_ttl_s: Seconds = Field(
        default=600, ge=10, le=7 * 86_400, description="Seconds that the URL of a redirect counts."
    )
    storage_redirect_except: Networks = Field(
        default=(),
        description="Networks, separated by commas, whose clients get blobs from the registry all the same.",
        json_schema_extra={"default_text": "<none>"},
    )
    spool: TextPath | None = Field(
        default=None,
        description="With S3: folder for what is on its way there.",
        json_schema_extra={"default_text": "<data>/spool"},
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that serve, all on the same ports; one for each processor core is enough.",
    )
    external_url: Origins = Field(
        default=(),
        description="Address that clients use, such as https://hub.example.com; several are separated by commas."
        " Clients are sent there to log in.",
        json_schema_extra={"default_text": "<localhost and port>"},
    )
    open: bool = Field(
        default=False,
        description="No accounts, no login: everybody may read, overwrite and delete everything. For a laptop or CI.",
    )
    expose_without_login: bool = Field(
        default=False, description="With open: allow a host that is not loopback, for a network that may do everything."
    )
    secret_file: TextPath | None = Field(
        default=None,
        description="File of the instance secret, 64 hexadecimal digits; made when it is missing.",
        json_schema_extra={"default_text": "<data>/secret"},
    )
    admin_password_file: TextPath | None = Field(
        default=None,
        description="File of the password that the user admin gets at the first start; without it one is made.",
        json_schema_extra={"default_text": "<none>"},
    )
    auth_challenge: Literal["bearer", "basic"] = Field(
        default="bearer",
        description="What clients are asked for: a token, or name and password with each request."
        " Anonymous pulls need bearer; name and password are taken either way.",
    )
    search_anonymous: bool = Field(
        default=True,
        description="docker search and podman search find public images without a login."
        " podman finds private ones, logged in, only with this off.",
    )
    default_visibility: Literal["private", "public"] = Field(
        default="private", description="What a new repository is, where its namespace does not say."
    )
    sign_up: bool = Field(default=False, description="Anybody may make an account: POST /api/v1/users.")
    organizations_by: Literal["users", "admins"] = Field(
        default="users", description="Who may make an organization: every user, or only admins of the instance."
    )
    token_ttl_s: Seconds = Field(
        default=1800,
        ge=300,
        le=12 * 3600,
        description="Seconds that an access token counts; checked when a request begins.",
    )
    refresh_token_ttl_s: Seconds = Field(
        default=90 * 86_400,
        ge=0,
        description="Seconds that a login is remembered which docker keeps as an identity token; 0 gives none out.",
    )
    login_failures_per_account: int = Field(
        default=20, ge=1, description="Failed logins of one account in login_window_s, then it has to wait."
    )
    login_failures_per_address: int = Field(
        default=100, ge=1, description="Failed logins from one address (or /64 of IPv6) in login_window_s."
    )
    login_window_s: Seconds = Field(default=900, ge=1, description="Seconds over which failed logins are counted.")
    session_ttl_s: Seconds = Field(
        default=14 * 86_400,
        ge=300,
        le=365 * 86_400,
        description="Seconds after which a browser has to sign in again, whatever it did meanwhile. Groups of single"
        " sign-on are asked for then.",
    )
    session_idle_s: Seconds = Field(
        default=3 * 86_400, ge=300, description="Seconds without a request after which a browser has to sign in again."
    )
    oidc_issuer: Annotated[str | None, BeforeValidator(_check_issuer)] = Field(
        default=None,
        description="Single sign-on: the issuer of an OpenID Connect provider, exactly as it calls itself.",
        json_schema_extra={"default_text": "<none>"},
    )
    oidc_client_id: Annotated[str | None, BeforeValidator(_check_text)] = Field(
        default=None,
        description="What the provider knows the registry by. Its redirect URI is <external_url>/sign-in/callback.",
        json_schema_extra={"default_text": "<none>"},
    )
    oidc_client_secret_file: TextPath | None = Field(
        default=None,
        description="File of the client secret; without it the registry is a public client.",
        json_schema_extra={"default_text": "<none>"},
    )
    oidc_scopes: Annotated[tuple[str, ...], BeforeValidator(_parse_scopes)] = Field(
        default=("openid", "profile", "email"),
        description="Scopes to ask the provider for, separated by spaces or commas; some want one for groups.",
        json_schema_extra={"default_text": "openid profile email"},
    )
    oidc_name_claim: Annotated[str, BeforeValidator(_check_text)] = Field(
        default="preferred_username", description="The claim that a new account is named after."
    )
    oidc_groups_claim: Annotated[str, BeforeValidator(_check_text)] = Field(
        default="groups", description="The claim of the groups, a list of texts or one text with spaces."
    )
    oidc_admin_group: Annotated[str | None, BeforeValidator(_check_text)] = Field(
        default=None,
        description="Who signs in there is an admin of the instance exactly if it is in this group.",
        json_schema_extra={"default_text": "<none>"},
    )
    oidc_sign_up: bool = Field(
        default=False, description="Who signs in there for the first time gets an account; else one has to be linked."
    )
    oidc_only: bool = Field(
        default=False,
        description="Passwords are for admins of the instance alone, on pages and for clients; everybody else signs in"
        " at the provider, and clients use tokens.",
    )
    requests_per_second: float = Field(
        default=500.0,
        ge=0,
        description="Requests a second that one account, or one address without login, may send to one worker,"
        " with bursts of ten times as many; 0 is no limit.",
    )
    uploads_per_account: int = Field(
        default=1000, ge=1, description="Unfinished uploads that one account may have at once."
    )
    metrics_host: Host = Field(default="127.0.0.1", description="Address of /metrics, /livez and /readyz.")
    metrics_port: Annotated[Port | None, Field()] = Field(
        default=None,
        description="TCP port of /metrics, /livez and /readyz; 0 takes any free one.",
        json_schema_extra={"default_text": "<port> + 1"},
    )
    tls_cert_file: TextPath | None = Field(
        default=None,
        description="PEM file of the certificate and its chain: with it, the registry speaks https.",
        json_schema_extra={"default_text": "<none>"},
    )
    tls_key_file: TextPath | None = Field(
        default=None,
        description="PEM file of the key to that certificate, without a password.",
        json_schema_extra={"default_text": "<none>"},
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Networks of the proxies in front of it, separated by commas:"
        " their X-Forwarded-For is believed, and connections_per_address is not for them.",
        json_schema_extra={"default_text": "<none>"},
    )
    connections_per_address: int = Field(
        default=256,
        ge=1,
        description="Connections that one IPv4 address, or one /64 of IPv6, may have to one worker at once.",
    )
    connections_max: int = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        description="Connections that all clients together may have to one worker at once.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Form of log lines; auto is text on a terminal and json elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important log lines that are written."
    )
    references: Literal["strict", "sparse-index", "off"] = Field(
        default="sparse-index",
        description="What a pushed manifest may name that the repository lacks:"
        " strict nothing, sparse-index manifests of an index, off anything.",
    )
    verify_on_read: bool = Field(
        default=False,
        description="Hash each blob again while it is downloaded, and cut the download on a difference.",
    )
    manifest_max_bytes: Size = Field(
        default=MANIFEST_MAX_BYTES,
        ge=MIB,
        le=64 * MIB,
        description="The largest manifest that is taken, in bytes.",
    )
    upload_ttl_s: Seconds = Field(
        default=86_400, ge=1, description="Seconds that an unfinished upload is kept at least after its last byte."
    )
    lease_s: Seconds = Field(
        default=86_400,
        ge=1,
        description="Seconds that a finished blob is kept before a manifest must name it.",
    )
    background_jobs: bool = Field(
        default=True,
        description="Collect what nothing refers to, expire uploads and tidy up, beside serving; the work is shared"
        " among all workers that do so.",
    )
    collect_interval_s: Seconds = Field(
        default=600, ge=1, description="Seconds between two rounds of collection and expiry."
    )
    removal_grace_s: Seconds = Field(
        default=86_400,
        ge=0,
        description="Seconds that the bytes of a collected blob stay in storage: for downloads that still run, and for"
        " going back to a database backup of that age.",
    )
    pulls_flush_s: FineSeconds = Field(
        default=5.0,
        ge=0.1,
        le=300,
        description="Seconds between two times that each worker writes down the pulls it has counted.",
    )
    pulls_ignore_users: Patterns = Field(
        default=(),
        description="Names of accounts, separated by commas, whose pulls are not counted; * stands for anything.",
        json_schema_extra={"default_text": "<none>"},
    )
    pulls_ignore_agents: Patterns = Field(
        default=(),
        description="The same for the User-Agent of clients, such as *trivy*: scanners, and what only looks for news.",
        json_schema_extra={"default_text": "<none>"},
    )
    storage_reserve_bytes: Size = Field(
        default=64 * MIB, ge=0, description="Free bytes on the disk below which pushes are refused."
    )
    drain_timeout_s: FineSeconds = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="Seconds that running requests get to finish when the server stops.",
    )
    header_timeout_s: FineSeconds = Field(
        default=10.0, gt=0, le=3600, description="Seconds that a client has to send a request's headers."
    )
    body_min_bytes_per_s: Size = Field(
        default=1024,
        ge=0,
        description="Bytes a second, averaged over 30 seconds, below which a sender is cut off.",
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """By the values, wherever they came from."""
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def shown(self) -> "list[ShownSetting]":
        """Each setting as an administrator may see it: passwords replaced by `***`, where it came from."""
        values = self.masked()
        return [
            ShownSetting(info, _text_of(values.get(info.name)), self._sources.get(info.name)) for info in describe()
        ]

    @property
    def database_url(self) -> str:
        """The URL of the database with its default filled in."""
        return self.database or f"sqlite:///{self.data / 'registry.db'}"

    @property
    def database_path(self) -> Path:
        """The file of the database. Use this, not the URL, where a folder's name may hold a `?`."""
        return self.data / "registry.db" if self.database is None else Path(self.database[len("sqlite:///") :])

    @property
    def is_on_postgresql(self) -> bool:
        """Whether the database is PostgreSQL; else it is the SQLite file `database_path`."""
        return self.database_url.startswith("postgresql:")

    @property
    def is_on_s3(self) -> bool:
        """Whether blobs go to S3; else to the folder `storage_path`."""
        return self.storage_url.startswith("s3:")

    @property
    def spool_path(self) -> Path:
        """The folder for what is on its way to S3."""
        return self.spool or self.data / "spool"

    @property
    def storage_url(self) -> str:
        """`file:<path>` or `s3://…`, with the default filled in."""
        return self.storage or f"file:{self.data / 'blobs'}"

    @property
    def storage_path(self) -> Path:
        """The folder of the blobs, where they are not in S3."""
        return folder_of(self.storage_url)

    @property
    def secret_path(self) -> Path:
        """The file of the instance secret."""
        return self.secret_file or self.data / "secret"

    def origins(self, port: int) -> list[str]:
        """The addresses that clients know it by, where it listens on `port`: as set, or those of this machine."""
        if self.external_url:
            return list(self.external_url)
        scheme = "https" if self.tls_cert_file else "http"
        hosts = ["localhost", "127.0.0.1", "[::1]"]
        own = f"[{self.host}]" if ":" in self.host else self.host
        return [f"{scheme}://{host}:{port}" for host in dict.fromkeys([*hosts, own])]

    @property
    def effective_metrics_port(self) -> int:
        """The port of the second listener: as set, or the one after `port` (any free one after 0)."""
        if self.metrics_port is not None:
            return self.metrics_port
        return self.port + 1 if self.port else 0

    def masked(self) -> dict[str, object]:
        """Each setting that has a value, as TOML can hold it, passwords replaced by `***`."""
        values: dict[str, object] = {name: getattr(self, name) for name in type(self).model_fields}
        values |= {"database": self.database_url, "storage": self.storage_url}
        values["metrics_port"] = self.effective_metrics_port
        return {name: _shown(value) for name, value in values.items() if value is not None}

    def toml(self) -> str:
        """`masked()` as a TOML file that `load` takes back."""
        return "".join(f"{name} = {_toml(value)}\n" for name, value in self.masked().items())


def folder_of(storage: str) -> Path:
    """The folder that a `file:<path>` names."""
    return Path(storage.removeprefix("file:")).expanduser()


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return mask_url(value) if isinstance(value, str) else value


def mask_url(text: str) -> str:
    """The text with the password of a `scheme://user:password@host`, and those in its query, replaced by `***`."""
    return _URL_OPTION.sub(_masked_option, _URL_PASSWORD.sub(rf"\1:{MASK}", text))


def _masked_option(option: re.Match[str]) -> str:
    is_secret = "password" in unquote(option[1]).lower()
    return f"{option[1]}={MASK}" if is_secret else option[0]


def _text_of(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml(value: object) -> str:
    # A JSON string is a TOML string as long as nothing beyond ASCII is escaped, and DEL is.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting as documentation shows it; all are texts, the default as it could be written."""

    name: str
    env: str
    flag: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting with its value as text, None where it has none, and what has set it: a flag, a variable or a file;
    None for its default."""

    info: SettingInfo
    value: str | None
    source: str | None


def describe() -> list[SettingInfo]:
    """Every setting, in the order of the class."""
    return [
        SettingInfo(name, env_name(name), flag_name(name), _default_text(name, field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def env_name(name: str) -> str:
    """The environment variable of a setting: `DEPOTRY_PORT` of `port`."""
    return ENV_PREFIX + name.upper()


def flag_name(name: str) -> str:
    """The flag of a setting: `--metrics-port` of `metrics_port`."""
    return "--" + name.replace("_", "-")


def _default_text(name: str, field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default_text"])
    value = field.default
    if name.endswith("_bytes") and value >= MIB:
        return f"{value // MIB}MiB"
    if name.endswith("_s") and name != "body_min_bytes_per_s":
        unit, seconds = next((unit for unit in _TIMES if value >= unit[1] and value % unit[1] == 0), ("s", 1))
        return f"{value / seconds:g}{unit}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class _Source:
    """Values of one place, and how that place spells the name of a setting."""

    label: Callable[[str], str]
    values: Mapping[str, object]


def load(flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None) -> Settings:
    """The settings of all sources together.

    `flags` maps names of settings to values, None for a flag that was not given; `config_file` is that of
    `--config`. Raises ConfigProblems with every problem of every source.
    """
    problems: list[str] = []
    named = environ.get("DEPOTRY_CONFIG")
    path = config_file or (Path(named).expanduser() if named else None)
    sources = [
        _file_source(path, problems),
        _Source(env_name, dict(_environment(environ))),
        _Source(flag_name, {name: value for name, value in flags.items() if value is not None}),
    ]
    values: dict[str, object] = {}
    labels: dict[str, str] = {}
    for source in sources:
        wrong = dict(_problems(source))
        problems += wrong.values()
        values |= {name: value for name, value in source.values.items() if name not in wrong}
        labels |= {name: source.label(name) for name in source.values}
    settings = Settings.model_validate(values)
    problems += _contradictions(settings, labels)
    if problems:
        raise ConfigProblems(problems)
    settings._sources.update(labels)
    return settings


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable, value in environ.items():
        # An empty variable is what compose files make of one that is not set.
        if not variable.startswith(ENV_PREFIX) or variable in _NO_SETTINGS or not value:
            continue
        linked = variable == env_name("port") and _SERVICE_LINK_PORT.fullmatch(value)
        if not linked and _SERVICE_LINK.fullmatch(variable) is None:
            yield variable.removeprefix(ENV_PREFIX).lower(), value


def _file_source(path: Path | None, problems: list[str]) -> _Source:
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
        except ValueError as error:
            problems.append(f"{path}: is not TOML: {error}")
    return _Source(lambda name: f"{path}: {name}", values)


def _problems(source: _Source) -> Iterator[tuple[str, str]]:
    """Each name that cannot be used, with the line that says why."""
    try:
        Settings.model_validate(dict(source.values))
    except ValidationError as error:
        # The value itself stays out of the text: it may hold a password.
        for detail in error.errors(include_input=False, include_url=False):
            name = str(detail["loc"][0])
            if detail["type"] == "extra_forbidden":
                yield name, f"{source.label(name)} is not a setting{_suggestion(name, source)}"
            else:
                yield name, f"{source.label(name)}: {_sentence(detail['msg'])}"


def _suggestion(name: str, source: _Source) -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), Settings.model_fields, n=1)
    return f"; did you mean {source.label(close[0])}?" if close else ""


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message.replace("Input should be", "must be").replace("Input", "it")


def _contradictions(settings: Settings, labels: Mapping[str, str]) -> Iterator[str]:
    if not is_loopback(settings.host):
        yield from _exposed(settings, labels.get("host", "host"))
    if settings.effective_metrics_port > PORT_MAX:
        yield f"{labels.get('port', 'port')}: the metrics port would be {PORT_MAX + 1}; set metrics_port"
    if settings.port and settings.port == settings.effective_metrics_port:
        yield f"{labels.get('metrics_port', 'metrics_port')}: is the same as port; it needs one of its own"
    if settings.storage_previous == settings.storage_url:
        yield f"{labels.get('storage_previous', 'storage_previous')}: is the same as storage; leave it out"
    if settings.is_on_s3 and (settings.storage_previous or "").startswith("s3:"):
        yield (
            f"{labels.get('storage_previous', 'storage_previous')}: blobs do not move from one S3 to another; copy the"
            " objects under the same keys by the tools of S3 while nothing is served, and then change storage"
        )
    for pair, why in (
        ({"tls_cert_file": settings.tls_cert_file, "tls_key_file": settings.tls_key_file}, "TLS takes both"),
        (
            {
                "s3_access_key_id": settings.s3_access_key_id,
                "s3_secret_access_key_file": settings.s3_secret_access_key_file,
            },
            "they are a pair",
        ),
    ):
        missing = [name for name, value in pair.items() if value is None]
        if len(missing) == 1:
            [given] = pair.keys() - missing
            yield f"{labels.get(given, given)}: needs {missing[0]} too; {why}"
    yield from _about_s3(settings, labels)
    yield from _about_sign_in(settings, labels)


def _about_sign_in(settings: Settings, labels: Mapping[str, str]) -> Iterator[str]:
    """What of single sign-on is missing, or would lock everybody out."""
    if settings.oidc_issuer is None:
        for name in ("oidc_client_id", "oidc_client_secret_file", "oidc_admin_group", "oidc_sign_up", "oidc_only"):
            if getattr(settings, name):
                yield f"{labels.get(name, name)}: needs oidc_issuer; without it there is no single sign-on"
    elif settings.oidc_client_id is None:
        yield f"{labels.get('oidc_issuer', 'oidc_issuer')}: needs oidc_client_id too"
    elif settings.open:
        yield f"{labels.get('oidc_issuer', 'oidc_issuer')}: with open nobody signs in"
    if settings.session_idle_s > settings.session_ttl_s and "session_idle_s" in labels:
        yield f"{labels['session_idle_s']}: is longer than session_ttl_s, which ends a session before"


def _about_s3(settings: Settings, labels: Mapping[str, str]) -> Iterator[str]:
    """What makes no sense without S3, and redirects that would end in nothing."""
    if settings.is_on_s3 or (settings.storage_previous or "").startswith("s3:"):
        if settings.storage_redirect and settings.removal_grace_s < settings.storage_redirect_ttl_s:
            given = "removal_grace_s" if "removal_grace_s" in labels else "storage_redirect_ttl_s"
            yield (
                f"{labels.get(given, given)}: removal_grace_s has to be at least storage_redirect_ttl_s, or the URL of"
                " a redirect would outlive its object"
            )
        return
    for name, why in (
        ("storage_redirect", "files have no address"),
        ("storage_redirect_except", "there are no redirects"),
        ("storage_public_endpoint", "there are no redirects"),
        ("spool", "files are written where they stay"),
    ):
        if getattr(settings, name):
            yield f"{labels.get(name, name)}: needs storage in S3; {why}"


def _exposed(settings: Settings, label: str) -> Iterator[str]:
    """What keeps a registry from listening where other machines can reach it."""
    if settings.open and not settings.expose_without_login:
        yield (
            f"{label}: {settings.host} can be reached from other machines, and with {flag_name('open')} anyone who can"
            " reach this address may read, overwrite and delete everything. If that is what you want, say so with"
            f" {flag_name('expose_without_login')} ({env_name('expose_without_login')}=true)"
        )
    if not settings.open and not settings.external_url:
        yield (
            f"{label}: {settings.host} can be reached from other machines; clients have to be told where to log in:"
            f" set {flag_name('external_url')} to the address that they use, such as https://hub.example.com"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than `localhost` counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def markdown_table() -> str:
    """The table of the README: one row a setting."""
    rows = [f"| `{info.name}` | `{info.env}` | `{info.default}` | {info.description} |" for info in describe()]
    return "\n".join(["| setting | environment | default | meaning |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
