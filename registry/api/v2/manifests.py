"""end-3, end-7, end-9: manifests, by tag and by digest."""

from urllib.parse import quote

from registry.api.asgi import Request
from registry.api.responses import Answer
from registry.api.v2.conditions import entity_tags, etag, not_modified, strong_tags
from registry.api.v2.gate import Visit
from registry.api.v2.services import Services
from registry.core.digest import Digest
from registry.core.errors import TagInvalid
from registry.core.limits import TAGS_PER_PUSH
from registry.core.names import Reference, Tag
from registry.services.pulls import Puller
from registry.services.push import Condition, ManifestPush


async def get_manifest(services: Services, request: Request, visit: Visit) -> Answer:
    """The exact bytes and media type that were pushed; for HEAD the same without the bytes.

    `Accept` is not consulted: nothing is ever converted, and a client that cannot use the type says so itself.
    """
    stored = await services.pull.manifest(visit.access, visit.reference)
    digest = str(stored.digest).encode()
    headers = [(b"etag", etag(stored.digest)), (b"docker-content-digest", digest)]
    if not_modified(request, stored.digest):
        return Answer(304, headers)
    headers.append((b"content-type", stored.media_type.encode()))
    if request.method == "HEAD":
        return Answer(200, headers, length=len(stored.payload))
    assert visit.access.id is not None
    services.counting.pull(visit.access.id, stored, _puller(request, visit))
    return Answer(200, headers, stored.payload)


async def put_manifest(services: Services, request: Request, visit: Visit) -> Answer:
    """Store a manifest. By digest `?tag=` names tags for it; by tag `?digest=` announces its digest.

    `If-Match` and `If-None-Match` compare with the digest that the tag points to now; 412 if that does not hold.
    """
    access, reference, query = visit.access, visit.reference, request.query()
    extra = _tags(query.get("tag", []))
    announced = _announced(reference, query)
    payload = await request.read_all(services.manifest_max_bytes, services.held)
    condition = Condition(strong_tags(request, b"if-match"), entity_tags(request, b"if-none-match"))
    tags = extra if reference.tag is None else (reference.tag, *extra)
    push = ManifestPush(payload, request.header(b"content-type"), tags, announced, condition)
    pushed = await services.push.manifest(access, push)
    headers = [
        (b"location", f"/v2/{access.name}/manifests/{quote(str(reference), safe=':')}".encode()),
        (b"docker-content-digest", str(pushed.digest).encode()),
        (b"etag", etag(pushed.digest)),
    ]
    if pushed.subject is not None:
        headers.append((b"oci-subject", str(pushed.subject).encode()))
    if extra:
        headers.append((b"oci-tag", ", ".join(extra).encode()))
    return Answer(201, headers)


async def delete_manifest(services: Services, request: Request, visit: Visit) -> Answer:
    """Remove a tag, or by digest a manifest and every tag that points to it."""
    await services.remove.manifest(visit.access, visit.reference)
    return Answer(202)


def _puller(request: Request, visit: Visit) -> Puller:
    principal = visit.caller.principal
    address: str | None = request.scope["depotry.address"]
    return Puller(principal.account_id, principal.name, address, request.header(b"user-agent"))


def _tags(texts: list[str]) -> tuple[Tag, ...]:
    if len(texts) > TAGS_PER_PUSH:
        raise TagInvalid(f"one push sets at most {TAGS_PER_PUSH} tags")
    return tuple(dict.fromkeys(Tag.parse(text) for text in texts))


def _announced(reference: Reference, query: dict[str, list[str]]) -> Digest | None:
    if reference.digest is not None:
        return reference.digest
    texts = query.get("digest")
    return None if texts is None else Digest.parse(texts[-1])
