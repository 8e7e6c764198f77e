"""end-1, end-8, end-12, and the catalog: the ping, and everything that is a list."""

from registry.api.asgi import Request
from registry.api.errors import json_answer
from registry.api.responses import Answer
from registry.api.v2.gate import Visit
from registry.api.v2.paging import artifact_types, next_link, page_after, page_size
from registry.api.v2.services import Services
from registry.core.errors import PageInvalid
from registry.core.manifest import OCI_INDEX


async def ping(services: Services, request: Request, visit: Visit) -> Answer:
    """That this is a registry."""
    return json_answer(200, {})


async def get_catalog(services: Services, request: Request, visit: Visit) -> Answer:
    """The repositories, in byte order."""
    query = request.query()
    count = page_size(query)
    caller = await services.gate.lister(visit.caller)
    page = await services.catalog.repositories(caller, after=page_after(query), count=count)
    headers = []
    if page.more:
        headers = next_link("/v2/_catalog", [("last", page.names[-1]), ("n", str(count or len(page.names)))])
    return json_answer(200, {"repositories": page.names}, headers)


async def get_tags(services: Services, request: Request, visit: Visit) -> Answer:
    """The tags of a repository, in byte order; all of them where no `n` is given."""
    access, query = visit.access, request.query()
    count = page_size(query)
    page = await services.catalog.tags(access, after=page_after(query), count=count)
    headers = []
    if page.more:
        fields = [("last", page.names[-1]), ("n", str(count or len(page.names)))]
        headers = next_link(f"/v2/{access.name}/tags/list", fields)
    return json_answer(200, {"name": access.name, "tags": page.names}, headers)


async def get_referrers(services: Services, request: Request, visit: Visit) -> Answer:
    """What refers to a digest, as an image index; empty, not 404, where the registry knows nothing of it."""
    access, digest, query = visit.access, visit.digest, request.query()
    types = artifact_types(query)
    count = page_size(query)
    page = await services.pull.referrers(
        access, digest, artifact_types=types, after=_after_id(page_after(query)), count=count
    )
    entries = ",".join(page.descriptors)
    body = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entries}]}}'
    headers = [(b"content-type", OCI_INDEX.encode())]
    if types:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if page.next_after is not None:
        headers += next_link(f"/v2/{access.name}/referrers/{digest}", _next_fields(types, count, page.next_after))
    return Answer(200, headers, body.encode("utf-8"))


def _next_fields(types: list[str], count: int | None, after: int) -> list[tuple[str, str]]:
    fields = [("artifactType", value) for value in types]
    if count is not None:
        fields.append(("n", str(count)))
    return [*fields, ("last", str(after))]


def _after_id(last: str) -> int:
    if not last:
        return 0
    if not (last.isascii() and last.isdigit()) or len(last) > 18:
        raise PageInvalid("last of a list of referrers is what the Link of the page before says")
    return int(last)
