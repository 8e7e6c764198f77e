"""end-2, end-10: blobs out, and their removal from a repository."""

from registry.api.asgi import Headers, Request
from registry.api.responses import Answer, BlobAnswer
from registry.api.v2.conditions import etag, not_modified
from registry.api.v2.gate import Visit
from registry.api.v2.services import Services
from registry.blobstore.base import BlobReader
from registry.core.byterange import ByteRange, parse_range
from registry.core.digest import Digest
from registry.core.errors import InvalidRequest


async def head_blob(services: Services, request: Request, visit: Visit) -> Answer:
    """Whether the repository has the blob, and its size."""
    digest = visit.digest
    blob = await services.pull.stat_blob(visit.access, digest)
    if not_modified(request, digest):
        return Answer(304, _headers(digest))
    return Answer(200, [*_headers(digest), _CONTENT_TYPE], length=blob.size)


async def get_blob(services: Services, request: Request, visit: Visit) -> Answer | BlobAnswer:
    """The blob or a range of it, or where else it can be had: the client repeats its `Range` there."""
    digest = visit.digest
    url = await _elsewhere(services, request, visit)
    if url is not None:
        return Answer(307, [*_headers(digest), (b"location", url.encode("ascii")), _NO_STORE])
    reader = await services.pull.open_blob(visit.access, digest)
    try:
        if not_modified(request, digest):
            await reader.aclose()
            return Answer(304, _headers(digest))
        return _content(services, request, reader)
    except InvalidRequest:
        await reader.aclose()
        raise


async def delete_blob(services: Services, request: Request, visit: Visit) -> Answer:
    """Stop showing the blob in this repository; 405 while a manifest of it needs the blob."""
    await services.remove.blob(visit.access, visit.digest)
    return Answer(202)


_CONTENT_TYPE = (b"content-type", b"application/octet-stream")
_NO_STORE = (b"cache-control", b"no-store")


async def _elsewhere(services: Services, request: Request, visit: Visit) -> str | None:
    """The URL that the client is sent to, None where it gets the blob, or 304, from us."""
    redirects = services.redirects
    if redirects is None or not redirects.applies_to(request.scope["depotry.address"]):
        return None
    if not_modified(request, visit.digest):
        return None
    return await services.pull.direct_url(visit.access, visit.digest)


def _headers(digest: Digest) -> Headers:
    return [
        (b"docker-content-digest", str(digest).encode()),
        (b"etag", etag(digest)),
        (b"accept-ranges", b"bytes"),
    ]


def _content(services: Services, request: Request, reader: BlobReader) -> BlobAnswer:
    info = reader.info
    headers = [*_headers(info.key.digest), _CONTENT_TYPE]
    part = _wanted(request, info.key.digest, info.size)
    if part is None:
        return BlobAnswer(200, headers, reader, ByteRange(0, info.size), services.verify_on_read)
    headers.append((b"content-range", b"bytes %d-%d/%d" % (part.offset, part.last, info.size)))
    return BlobAnswer(206, headers, reader, part)


def _wanted(request: Request, digest: Digest, size: int) -> ByteRange | None:
    """The range to send, None for all. With an `If-Range` that does not match, the range does not count."""
    header = request.header(b"range")
    if header is None:
        return None
    condition = request.header(b"if-range")
    if condition is not None and condition.encode("latin-1") != etag(digest):
        return None
    return parse_range(header, size)
