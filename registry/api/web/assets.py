"""The files that pages load: each under a name with the hash of its content, so a browser may keep it for ever."""

import gzip
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from registry.api.asgi import Headers, Request
from registry.api.responses import Answer
from registry.core.errors import MethodNotAllowed, RouteUnknown

PREFIX = "/static/"
HASH_CHARS = 12
SMALL_BYTES = 512
"""Less than this is not worth compressing."""

_TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".txt": b"text/plain; charset=utf-8",
}
_CACHE = (b"cache-control", b"public, max-age=31536000, immutable")
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q\s*=\s*(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    path: str
    """Where it is served."""
    content_type: bytes
    body: bytes
    compressed: bytes | None
    etag: str


class Assets:
    """The files of a folder, read when the first one is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        """The path of a file by its name in the folder (`app.css`, `vendor/htmx.js`). Raises KeyError."""
        return self._by_name[name].path

    def answer(self, request: Request) -> Answer:
        """The file that the path names, 304 where the client has it. Raises RouteUnknown for every path that is not
        exactly one of ours, MethodNotAllowed."""
        asset = self._by_path.get(request.raw_path)
        if asset is None:
            raise RouteUnknown("there is no such file")
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed("this path does not have this method", allow=["GET", "HEAD"])
        is_compressed = asset.compressed is not None and accepts_gzip(request.header(b"accept-encoding"))
        etag = f'"{asset.etag}-gzip"' if is_compressed else f'"{asset.etag}"'
        headers: Headers = [_CACHE, (b"etag", etag.encode()), (b"vary", b"accept-encoding")]
        if etag in [shown.strip() for shown in (request.header(b"if-none-match") or "").split(",")]:
            return Answer(304, headers)
        headers.append((b"content-type", asset.content_type))
        if is_compressed:
            headers.append((b"content-encoding", b"gzip"))
        body = asset.compressed if is_compressed and asset.compressed is not None else asset.body
        return Answer(200, headers, b"" if request.method == "HEAD" else body, len(body))

    @cached_property
    def _by_name(self) -> dict[str, Asset]:
        files = sorted(path for path in self._folder.rglob("*") if path.suffix in _TYPES)
        names = [str(path.relative_to(self._folder)) for path in files]
        return {name: _read(name, path) for name, path in zip(names, files, strict=True)}

    @cached_property
    def _by_path(self) -> dict[str, Asset]:
        return {asset.path: asset for asset in self._by_name.values()}


def accepts_gzip(header: str | None) -> bool:
    """Whether `Accept-Encoding` allows gzip, with a weight that is not 0."""
    return _GZIP.search(header or "") is not None


def _read(name: str, path: Path) -> Asset:
    body = path.read_bytes()
    digest = sha256(body).hexdigest()[:HASH_CHARS]
    stem, _, suffix = name.rpartition(".")
    compressed = gzip.compress(body, 9, mtime=0) if len(body) >= SMALL_BYTES else None
    if compressed is not None and len(compressed) >= len(body):
        compressed = None
    return Asset(f"{PREFIX}{stem}.{digest}.{suffix}", _TYPES[f".{suffix}"], body, compressed, digest)
