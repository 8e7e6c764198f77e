"""end-4, end-5, end-6, end-11, end-13, end-14: blobs in."""

from registry.api.asgi import Headers, Request
from registry.api.responses import Answer
from registry.api.v2.gate import Visit
from registry.api.v2.services import Services
from registry.core.byterange import parse_chunk_range
from registry.core.digest import Algorithm, Digest
from registry.core.errors import DigestInvalid, NameInvalid, RangeInvalid
from registry.core.names import RepositoryName
from registry.services.uploads import Chunk


async def post_upload(services: Services, request: Request, visit: Visit) -> Answer:
    """Begin an upload; or a whole blob with `?digest=`; or a mount with `?mount=`, which falls back to an upload."""
    access, query = visit.access, request.query()
    name = access.name
    if "mount" in query:
        digest = Digest.parse(query["mount"][-1])
        if await _mounted(services, visit, digest, query.get("from")):
            return _stored(name, digest)
    elif "digest" in query:
        digest = Digest.parse(query["digest"][-1])
        open_id = await services.uploads.receive_whole(access, digest, request.batches())
        return _stored(name, digest) if open_id is None else _accepted(name, open_id, 0)
    algorithm = Algorithm.parse(query.get("digest-algorithm", ["sha256"])[-1])
    return _accepted(name, await services.uploads.start(access, algorithm), 0)


async def patch_upload(services: Services, request: Request, visit: Visit) -> Answer:
    """Add a chunk at the end of an upload. Where it says where it belongs, that must be the end."""
    name = visit.access.name
    offset = await services.uploads.append(visit.access, visit.target.tail, _chunk(request))
    return _accepted(name, visit.target.tail, offset)


async def put_upload(services: Services, request: Request, visit: Visit) -> Answer:
    """Finish an upload, with or without a last chunk; the whole must have `?digest=`."""
    name = visit.access.name
    digests = request.query().get("digest")
    if not digests:
        raise DigestInvalid("the digest of the whole blob is needed to finish an upload: ?digest=")
    digest = Digest.parse(digests[-1])
    await services.uploads.finish(visit.access, visit.target.tail, digest, _chunk(request))
    return _stored(name, digest)


async def get_upload(services: Services, request: Request, visit: Visit) -> Answer:
    """How far an upload has come."""
    name = visit.access.name
    offset = await services.uploads.status(visit.access, visit.target.tail)
    return Answer(204, _place(name, visit.target.tail, offset))


async def delete_upload(services: Services, request: Request, visit: Visit) -> Answer:
    """Give an upload up."""
    await services.uploads.cancel(visit.access, visit.target.tail)
    return Answer(204)


async def _mounted(services: Services, visit: Visit, digest: Digest, sources: list[str] | None) -> bool:
    """A source that cannot be a repository is one that does not have the blob."""
    try:
        name = None if sources is None else RepositoryName.parse(sources[-1])
    except NameInvalid:
        return False
    source = await services.gate.source(visit, name)
    return source is not None and await services.uploads.mount(visit.access, digest, source)


def _chunk(request: Request) -> Chunk:
    header = request.header(b"content-range")
    if header is None:
        return Chunk(request.batches())
    place = parse_chunk_range(header)
    length = request.content_length()
    if length is not None and length != place.count:
        raise RangeInvalid(
            "Content-Range and Content-Length contradict each other",
            content_range_bytes=place.count,
            content_length=length,
        )
    return Chunk(request.batches(), place)


def _accepted(name: RepositoryName, upload_id: str, offset: int) -> Answer:
    return Answer(202, _place(name, upload_id, offset))


def _place(name: RepositoryName, upload_id: str, offset: int) -> Headers:
    """`Range` is inclusive and cannot say zero bytes; clients want `0-0` there."""
    return [
        (b"location", f"/v2/{name}/blobs/uploads/{upload_id}".encode()),
        (b"range", b"0-%d" % max(offset - 1, 0)),
        (b"docker-upload-uuid", upload_id.encode()),
    ]


def _stored(name: RepositoryName, digest: Digest) -> Answer:
    text = str(digest)
    return Answer(201, [(b"location", f"/v2/{name}/blobs/{text}".encode()), (b"docker-content-digest", text.encode())])
