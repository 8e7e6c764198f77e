"""A registry with people in it, and everybody who may knock at its door: who they are, and what they show."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import httpx2
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.app import keys_of, open_database
from registry.auth import tokens
from registry.auth.tokens import KeySet, Parties, SigningKey, Ticket
from registry.cli import main
from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.options import read_settings
from registry.services.clock import system_clock
from tests.core.test_manifest import encoded, image
from tests.reliability.client import expect
from tests.running import ADMIN_PASSWORD, STILL, Registry, wait_until

PASSWORD = "battery staple"
LAYER = b"x"
MANIFEST = encoded(image())
_FLAGS = (
    *STILL,
    "--requests-per-second", "0", "--login-failures-per-account", "100000", "--login-failures-per-address", "100000",
)  # fmt: skip


class Place(StrEnum):
    """The repositories. The private one and the missing one have names of equal length: their answers must too."""

    APP = "acme/app"
    """Private."""
    OPEN = "acme/open"
    """Public."""
    OTHER = "acme/other"
    """Private; the one that a limited token is for."""
    MISSING = "acme/nil"
    """There is none, in a namespace that has an owner."""
    NOWHERE = "nobody/none"
    """There is none, and nobody owns the namespace."""


EXISTING = (Place.APP, Place.OPEN, Place.OTHER)


class Scheme(StrEnum):
    """How a caller shows who it is."""

    NOTHING = "nothing"
    BASIC = "Basic"
    BEARER = "Bearer"
    WRONG_BASIC = "Basic, refused"
    WRONG_BEARER = "Bearer, refused"


@dataclass(frozen=True)
class Caller:
    """One way to knock. `who` is the line in the table of rights, for a credential that counts."""

    who: str
    scheme: Scheme
    authorization: Callable[[str], str | None]
    """The header, for a request whose challenge names this scope."""

    def __str__(self) -> str:
        return f"{self.who} ({self.scheme})"


@dataclass
class World:
    """The server, and what the callers show."""

    registry: Registry
    client: httpx2.Client
    passwords: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name and secret, by who it is."""
    held: dict[tuple[str, str], str] = field(default_factory=dict)
    """Access tokens by who got it, and for which scope."""

    def command(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `depotry` on the data of the server, in this process: there are dozens of them."""
        ended = CliRunner().invoke(main, [*arguments, "--data", str(self.registry.data)], input=stdin)
        assert ended.exit_code == 0, f"{arguments}: {ended.output}"
        return ended.output

    def basic(self, who: str) -> str:
        """The header that shows name and secret."""
        name, secret = self.passwords[who]
        return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()

    def token(self, who: str, scope: str) -> str:
        """An access token of the token server; `anonymous` shows nothing for it."""
        if (who, scope) not in self.held:
            headers = {} if who == "anonymous" else {"authorization": self.basic(who)}
            query = {"service": self.registry.address, "scope": scope}
            answer = expect(self.client.get("/token", params=query, headers=headers), 200)
            self.held[who, scope] = answer.json()["token"]
        return self.held[who, scope]


USERS = ("owner", "stranger", "reader", "writer", "teamster", "keeper", "member", "gone")
_COMMANDS = """
org add acme --owner owner
org add rival --owner stranger
org set-member acme member
org set-member acme teamster
team add acme crew
team join acme crew teamster
robot add acme+builder --role write
robot add acme+idle
"""
_ROLES = """
repository grant acme/app reader read
repository grant acme/app writer write
repository grant acme/app team:acme/crew write
repository grant acme/app keeper admin
repository grant acme/app gone write
repository visibility acme/open public
"""
_TOKENS = {
    "robot with write": ("acme+builder", "--scope", "admin"),
    "robot without role": ("acme+idle", "--scope", "admin"),
    "token for other": ("owner", "--scope", "admin", "--repository", Place.OTHER.value),
    "token to read": ("owner", "--scope", "read"),
    "token to delete": ("owner", "--scope", "delete"),
}


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start the server, add everybody, push the three images."""
    registry = Registry.start(folder / "data", *_FLAGS, is_open=False)
    try:
        with registry.client() as client:
            made = World(registry, client, {"admin": ("admin", ADMIN_PASSWORD)})
            _populate(made)
            yield made
    finally:
        registry.kill()


def _populate(made: World) -> None:
    for user in USERS:
        made.command("user", "add", user, "--password-stdin", stdin=f"{PASSWORD}\n")
        made.passwords[user] = (user, PASSWORD)
    for line in _COMMANDS.split("\n"):
        if line:
            made.command(*line.split())
    for place in EXISTING:
        _push_image(made, place)
    for line in _ROLES.split("\n"):
        if line:
            made.command(*line.split())
    for who, (account, *limits) in _TOKENS.items():
        made.passwords[who] = (account, made.command("token", "create", account, *limits).strip())
    path, headers = f"/v2/{Place.OPEN}/tags/list", {"authorization": made.basic("stranger")}
    wait_until(lambda: made.client.get(path, headers=headers).status_code == 200, what="the public repository")


def _push_image(made: World, place: Place) -> None:
    headers = {"authorization": made.basic("owner")}
    for content in (b"{}", LAYER):
        path = f"/v2/{place}/blobs/uploads/?digest={Digest.of(content)}"
        expect(made.client.post(path, content=content, headers=headers), 201)
    headers["content-type"] = OCI_MANIFEST
    expect(made.client.put(f"/v2/{place}/manifests/v1", content=MANIFEST, headers=headers), 201)


def disable(made: World, scopes: set[str]) -> None:
    """Disable the user `gone`, who has tokens for these scopes; returns when the server knows."""
    held = [made.token("gone", scope) for scope in sorted(scopes)]
    headers = {"authorization": f"Bearer {held[0]}"}
    expect(made.client.get("/v2/", headers=headers), 200)
    made.command("user", "disable", "gone")
    wait_until(lambda: made.client.get("/v2/", headers=headers).status_code == 401, what="the end of the token")


def callers(made: World) -> list[Caller]:
    """Everybody, by every way that they can show who they are."""
    forger, of_other = Forger(made), f"repository:{Place.OTHER}:pull,push,delete"
    found = [
        Caller("nobody", Scheme.NOTHING, lambda _: None),
        Caller("anonymous", Scheme.BEARER, _bearer(made, "anonymous")),
        Caller("disabled user", Scheme.WRONG_BEARER, _bearer(made, "gone")),
        Caller("disabled user", Scheme.WRONG_BASIC, _basic(made, "gone")),
        Caller("bearer of a token for other", Scheme.BEARER, _fixed(made, "owner", of_other)),
    ]
    made.passwords["wrong password"] = ("owner", f"{PASSWORD}!")
    made.passwords["wrong token"] = ("stranger", made.passwords["token to read"][1])
    found += [
        Caller("wrong password", Scheme.WRONG_BASIC, _basic(made, "wrong password")),
        Caller("token of somebody else", Scheme.WRONG_BASIC, _basic(made, "wrong token")),
    ]
    for forge in (forger.expired, forger.for_another_service, forger.by_another_key, forger.unsigned, forger.by_hmac):
        found.append(Caller(f"token {forge.__name__}", Scheme.WRONG_BEARER, _forged(forge)))
    for who in (*(user for user in USERS if user != "gone"), *_TOKENS, "admin"):
        found.append(Caller(who, Scheme.BASIC, _basic(made, who)))
        found.append(Caller(who, Scheme.BEARER, _bearer(made, who)))
    found.append(Caller("owner", Scheme.BEARER, _forged(forger.untouched)))
    return found


def _basic(made: World, who: str) -> Callable[[str], str | None]:
    return lambda _: made.basic(who)


def _bearer(made: World, who: str) -> Callable[[str], str | None]:
    return lambda scope: f"Bearer {made.token(who, scope)}"


def _fixed(made: World, who: str, scope: str) -> Callable[[str], str | None]:
    return lambda _: f"Bearer {made.token(who, scope)}"


def _forged(forge: Callable[[str], str]) -> Callable[[str], str | None]:
    once = lru_cache(forge)
    return lambda scope: f"Bearer {once(scope)}"


class Forger:
    """Makes tokens that are the owner's own but for one thing. It knows the signing key, so that thing alone is wrong:
    `untouched` is accepted."""

    def __init__(self, made: World) -> None:
        self._made = made
        settings = read_settings({"data": made.registry.data}, None)
        database = open_database(settings)
        try:
            self._keys: KeySet = asyncio.run(keys_of(settings, database, system_clock).current())
        finally:
            database.close()
        self._key = self._keys.signing
        self._issuer = str(claims_of(made.token("owner", ""))["iss"])

    def untouched(self, scope: str) -> str:
        """Nothing is wrong with it."""
        return self._signed(self._ticket(scope))

    def expired(self, scope: str) -> str:
        """It ended a minute ago."""
        now_s = int(time.time())
        return self._signed(replace(self._ticket(scope), issued_at_s=now_s - 1860, expires_at_s=now_s - 60))

    def for_another_service(self, scope: str) -> str:
        """Its audience is not this registry."""
        return self._signed(self._ticket(scope), service="other.example.com")

    def by_another_key(self, scope: str) -> str:
        """Signed with a key that only bears the name of ours."""
        return self._signed(self._ticket(scope), key=replace(SigningKey.make(), kid=self._key.kid))

    def unsigned(self, scope: str) -> str:
        """`alg: none`."""
        return f"{self._body(scope, 'none')}."

    def by_hmac(self, scope: str) -> str:
        """`alg: HS256`, with the public key, which everybody knows, as the secret."""
        body = self._body(scope, "HS256")
        public = self._key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return f"{body}.{_base64(hmac.digest(public, body.encode(), hashlib.sha256))}"

    def _ticket(self, scope: str) -> Ticket:
        token = self._made.token("owner", scope)
        return tokens.verify(
            token, self._keys, Parties(self._issuer, (self._made.registry.address,)), now_s=time.time()
        )

    def _signed(self, ticket: Ticket, *, key: SigningKey | None = None, service: str | None = None) -> str:
        audience = service or self._made.registry.address
        return tokens.issue(ticket, key=key or self._key, issuer=self._issuer, service=audience)

    def _body(self, scope: str, algorithm: str) -> str:
        claims = self._made.token("owner", scope).split(".")[1]
        header = {"alg": algorithm, "kid": self._key.kid, "typ": "JWT"}
        return f"{_base64(json.dumps(header).encode())}.{claims}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, object]:
    """What an access token says, for whoever looks into it."""
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def challenge_of(answer: httpx2.Response) -> dict[str, str]:
    """The fields of a challenge to bring a token; empty if the answer has none."""
    kind, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
    return dict(re.findall(r'(\w+)="([^"]*)"', rest)) if kind == "Bearer" else {}
