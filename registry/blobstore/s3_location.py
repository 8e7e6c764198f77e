"""Where an S3 store is: `s3://<bucket>/<prefix>?endpoint=https://<host>&...`, read before anything is connected to.

endpoint=<URL>                 of the service; without it, that of AWS in the region
region=<name>                  without it, what AWS_REGION or a profile says, else us-east-1
addressing=auto|path|virtual   the bucket in the path or in the name of the host; auto: path with an endpoint
storage_class=<name>           as the service calls it
sse=AES256|aws:kms             encryption by the service; with sse_kms_key_id=<key> for the second
ca_file=<path>                 certificates that are trusted instead of the usual ones
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

PREFIX_MAX_CHARS = 512

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_STORAGE_CLASS = re.compile(r"[A-Z0-9_]{1,64}")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_OPTIONS = ("endpoint", "region", "addressing", "storage_class", "sse", "sse_kms_key_id", "ca_file")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and a prefix in it (empty, or ending in `/`), and how they are reached."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    addressing: str = "auto"
    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    ca_file: Path | None = None

    @property
    def addressing_style(self) -> str:
        """`path` or `virtual`. Services of one's own seldom have a name in the DNS for each bucket."""
        if self.addressing != "auto":
            return self.addressing
        return "path" if self.endpoint else "virtual"


def parse(url: str) -> S3Location:
    """The location of a URL. Raises ValueError with everything that is wrong with it."""
    parts = urlsplit(url)
    options: dict[str, str] = {}
    problems = list(_read_options(parts.query, options))
    prefix = unquote(parts.path).strip("/")
    if parts.scheme != "s3" or _BUCKET.fullmatch(parts.netloc) is None:
        problems.insert(0, "must be s3://<bucket>/<prefix>: a bucket has 3 to 63 of a-z, 0-9, '-' and '.'")
    if parts.fragment or "#" in url:
        problems.append("has a '#'")
    if prefix and (_PREFIX.fullmatch(prefix) is None or len(prefix) > PREFIX_MAX_CHARS or _has_dots(prefix)):
        problems.append("the prefix after the bucket holds letters, digits and !-_.*'() between single '/', no '..'")
    problems += _check_options(options)
    if problems:
        raise ValueError("; ".join(problems))
    ca_file = options.pop("ca_file", None)
    return S3Location(
        parts.netloc,
        f"{prefix}/" if prefix else "",
        **options,
        ca_file=None if ca_file is None else Path(ca_file).expanduser(),
    )


def endpoint_problem(text: str) -> str | None:
    """What is wrong with the URL of a service, None if nothing is."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or _HOST.fullmatch(parts.netloc) is None:
        return "must be https://<host> or http://<host>, with a port where it is another one"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "must end after the host: a service is not below a path"
    return None


def _read_options(query: str, options: dict[str, str]) -> Iterator[str]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            yield f"{name[:40]!r} is not an option; there are {', '.join(_OPTIONS)}"
        elif name in options:
            yield f"{name} is given twice"
        elif not value:
            yield f"{name} is empty"
        options[name] = value
    for name in options.keys() - set(_OPTIONS):
        del options[name]


def _check_options(options: dict[str, str]) -> Iterator[str]:
    endpoint = options.get("endpoint")
    if endpoint and (problem := endpoint_problem(endpoint)):
        yield f"endpoint {problem}"
    if (region := options.get("region")) and _REGION.fullmatch(region) is None:
        yield "region must be a name such as eu-central-1"
    if options.get("addressing", "auto") not in {"auto", "path", "virtual"}:
        yield "addressing must be auto, path or virtual"
    if (kind := options.get("storage_class")) and _STORAGE_CLASS.fullmatch(kind) is None:
        yield "storage_class must be a name such as STANDARD_IA"
    if options.get("sse", "AES256") not in {"AES256", "aws:kms"}:
        yield "sse must be AES256 or aws:kms"
    if "sse_kms_key_id" in options and options.get("sse") != "aws:kms":
        yield "sse_kms_key_id needs sse=aws:kms"
    if "ca_file" in options and (endpoint or "").startswith("http:"):
        yield "ca_file needs an endpoint with https"


def _has_dots(prefix: str) -> bool:
    return not {".", ".."}.isdisjoint(prefix.split("/"))
