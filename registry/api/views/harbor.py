"""Projects, repositories, artifacts and tags as Harbor lists them, below `/api/v2.0`, for clients that read those. A
project is a namespace here.

Source: `api/v2.0/swagger.yaml` of goharbor/harbor. `X-Total-Count` ends where pages by number do. Of the language of
`q` there is what lists here can be narrowed by: `name=x`, `name=~x`, and for artifacts `tags=*`, `tags=nil`, `tags=x`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from registry.api.asgi import Headers, Request
from registry.api.errors import json_answer
from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.views.numbers import Asked, choice, text
from registry.api.views.services import ViewServices
from registry.api.views.table import ViewRoute
from registry.api.views.values import platform_parts, stable_number
from registry.core.access import Action
from registry.core.artifacts import Sort, sort_of
from registry.core.errors import FieldInvalid
from registry.core.limits import NUMBERED_MAX
from registry.core.names import AccountName
from registry.core.search import SearchText
from registry.core.shelf import ListedNamespace, ListedRepository, Order, RepositoriesQuery
from registry.services.access import EVERYBODY
from registry.services.contents import Artifact, ArtifactQuery, Entry, Platform, Position, Query

_SORTS: dict[str, object] = {
    "name": (Order.NAME, False),
    "-name": (Order.NAME, True),
    "update_time": (Order.PUSHED_AT, False),
    "-update_time": (Order.PUSHED_AT, True),
    "pull_count": (Order.PULL_COUNT, False),
    "-pull_count": (Order.PULL_COUNT, True),
}
_TYPES = {Sort.IMAGE: "IMAGE", Sort.INDEX: "IMAGE", Sort.CHART: "CHART", Sort.WASM: "WASM", Sort.MODEL: "CNAI"}
FOUND_COUNT = 25


async def ping(services: ViewServices, visit: Visit) -> Answer:
    """That somebody answers."""
    return Answer(200, [(b"content-type", b"text/plain")], b"Pong")


async def list_projects(services: ViewServices, visit: Visit) -> Answer:
    """The namespaces in which the caller may see something."""
    request, asked = visit.request, Asked.of(visit.request)
    wanted = _narrowed(request, ("name",))
    prefix = text(request, "name") or wanted.get("name", "").removeprefix("~")
    after = "" if asked.cursor is None else cursors.read(asked.cursor, tuple[str])[0]
    seen, public_ones = [
        (await services.browse.namespaces(who, after=after, count=NUMBERED_MAX, prefix=prefix)).entries
        for who in (visit.caller.principal, EVERYBODY)
    ]
    public = {entry.name for entry in public_ones}
    shown = seen[asked.start : asked.start + asked.size]
    is_more = len(seen) > asked.start + asked.size
    position = (shown[-1].name,) if is_more and shown else None
    return _answer(request, asked, [_project(one, one.name in public) for one in shown], (len(seen), position))


async def get_project(services: ViewServices, visit: Visit) -> Answer:
    """One namespace."""
    name = AccountName.parse(visit.names["namespace"])
    found = await services.browse.namespace(visit.caller.principal, name, with_numbers=True)
    wanted = RepositoriesQuery(namespace=name, count=1, with_facets=False)
    is_public = bool((await services.browse.repositories(EVERYBODY, wanted)).entries)
    return json_answer(200, {**_project(found.namespace, is_public), "repo_count": found.repository_count})


async def list_repositories(services: ViewServices, visit: Visit) -> Answer:
    """The repositories of a namespace, or all that the caller may see."""
    request, asked = visit.request, Asked.of(visit.request)
    named = _narrowed(request, ("name",)).get("name", "")
    order: Any = _SORTS[choice(request, "sort", _SORTS, "-update_time")]
    namespace = visit.names.get("namespace")
    wanted = RepositoriesQuery(
        search=SearchText.parse(named.removeprefix("~"), field="q"),
        is_in_name=True,
        namespace=None if namespace is None else AccountName.parse(namespace),
        order=order[0],
        descending=order[1],
        count=asked.size,
        after=None if asked.cursor is None else cursors.read(asked.cursor, tuple[str | int, int]),
    )
    found = await services.browse.numbered(visit.caller.principal, wanted, asked.number)
    return _answer(request, asked, [_repository(one) for one in found.entries], (found.total, found.next_after))


async def get_repository(services: ViewServices, visit: Visit) -> Answer:
    """One repository."""
    found = await services.browse.repository(visit.caller.principal, visit.access)
    return json_answer(200, _repository(found.repository))


async def list_artifacts(services: ViewServices, visit: Visit) -> Answer:
    """What a repository holds, by digest, newest first, with tags and platforms; without parts of indexes, and
    referrers."""
    request, asked = visit.request, Asked.of(visit.request)
    tags = _narrowed(request, ("tags",)).get("tags")
    is_name = tags not in (None, "*", "nil")
    query = ArtifactQuery(
        is_tagged=None if tags is None or is_name else tags == "*",
        tag=tags if is_name else None,
        before=None if asked.cursor is None else cursors.read(asked.cursor, tuple[int])[0],
        count=asked.start + asked.size + 1,
    )
    found, total = await services.contents.artifacts(visit.access, query, count_to=NUMBERED_MAX)
    shown = found[asked.start : asked.start + asked.size]
    position = (shown[-1].id,) if len(found) == query.count and shown else None
    return _answer(request, asked, [_artifact(visit, one) for one in shown], (total, position))


async def get_artifact(services: ViewServices, visit: Visit) -> Answer:
    """One of these, by digest or tag."""
    return json_answer(200, _artifact(visit, await services.contents.artifact(visit.access, visit.reference)))


async def list_tags(services: ViewServices, visit: Visit) -> Answer:
    """The tags on an artifact, by name."""
    request, asked = visit.request, Asked.of(visit.request)
    digest = await services.contents.digest(visit.access, visit.reference)
    after = None if asked.cursor is None else Position(None, cursors.read(asked.cursor, tuple[str])[0])
    query = Query(digest=digest, after=after, count=asked.start + asked.size)
    found = (await services.contents.tags(visit.access, query)).page
    shown = found.entries[asked.start :]
    position = None if found.next_after is None else (found.next_after.name,)
    total = asked.start + len(shown) + (position is not None)
    return _answer(request, asked, [_tag(visit, one.manifest_id, one) for one in shown], (total, position))


async def search(services: ViewServices, visit: Visit) -> Answer:
    """Namespaces and repositories that fit `q` best."""
    typed = SearchText.parse(text(visit.request, "q"), field="q")
    found = await services.browse.suggest(visit.caller.principal, typed, FOUND_COUNT)
    repositories = [
        {
            "project_id": stable_number(one.name.partition("/")[0]),
            "project_name": one.name.partition("/")[0],
            "project_public": one.visibility == "public",
            "repository_name": one.name,
            "pull_count": one.pull_count,
            "artifact_count": one.manifest_count,
        }
        for one in found.repositories
    ]
    projects = [_project(one, None) for one in found.namespaces]
    return json_answer(200, {"project": projects, "repository": repositories, "chart": []})


_ONE = "/api/v2.0/projects/{namespace}/repositories/{name}"
ROUTES = (
    ViewRoute("harbor-ping", "/api/v2.0/ping", Action.PING, ping),
    ViewRoute("harbor-search", "/api/v2.0/search", Action.CATALOG, search),
    ViewRoute("harbor-tags", f"{_ONE}/artifacts/{{reference}}/tags", Action.PULL, list_tags),
    ViewRoute("harbor-artifact", f"{_ONE}/artifacts/{{reference}}", Action.PULL, get_artifact),
    ViewRoute("harbor-artifacts", f"{_ONE}/artifacts", Action.PULL, list_artifacts),
    ViewRoute("harbor-repository", _ONE, Action.PULL, get_repository),
    ViewRoute(
        "harbor-project-repositories",
        "/api/v2.0/projects/{namespace}/repositories",
        Action.CATALOG,
        list_repositories,
    ),
    ViewRoute("harbor-repositories", "/api/v2.0/repositories", Action.CATALOG, list_repositories),
    ViewRoute("harbor-project", "/api/v2.0/projects/{namespace}", Action.CATALOG, get_project),
    ViewRoute("harbor-projects", "/api/v2.0/projects", Action.CATALOG, list_projects),
)


def _answer(
    request: Request, asked: Asked, entries: Sequence[object], rest: tuple[int, tuple[str | int | None, ...] | None]
) -> Answer:
    total, position = rest
    links = []
    if (before := asked.previous(request)) is not None:
        links.append(f'<{before}>; rel="prev"')
    if position is not None:
        links.append(f'<{asked.next(request, position)}>; rel="next"')
    headers: Headers = [(b"x-total-count", str(total).encode())]
    if links:
        headers.append((b"link", ", ".join(links).encode()))
    return json_answer(200, list(entries), headers)


def _narrowed(request: Request, keys: tuple[str, ...]) -> dict[str, str]:
    """The terms of `q` by key; `~` in front of a value is for what holds it anywhere. Raises FieldInvalid."""
    found = {}
    for term in filter(None, text(request, "q").split(",")):
        key, equals, value = term.partition("=")
        if not equals or key not in keys or value[:1] in ("[", "{", "("):
            raise FieldInvalid(f"q is here about {', '.join(keys)} only, as key=value or key=~value", field="q")
        found[key] = value
    return found


def _project(entry: ListedNamespace, is_public: bool | None) -> dict[str, object]:
    metadata = {} if is_public is None else {"metadata": {"public": "true" if is_public else "false"}}
    return {
        "project_id": stable_number(entry.name),
        "name": entry.name,
        "owner_name": entry.name if entry.kind == "user" else "",
        "deleted": False,
        **metadata,
    }


def _repository(entry: ListedRepository) -> dict[str, object]:
    return {
        "id": entry.id,
        "project_id": stable_number(entry.name.partition("/")[0]),
        "name": entry.name,
        "description": entry.description,
        "artifact_count": entry.manifest_count,
        "pull_count": entry.pull_count,
        "creation_time": _time(entry.created_at),
        "update_time": _time(entry.pushed_at or entry.created_at),
    }


def _artifact(visit: Visit, one: Artifact) -> dict[str, object]:
    sort = sort_of(one.media_type, one.artifact_type)
    own = one.platforms[0].name if one.platforms and sort is not Sort.INDEX else None
    system, architecture, _ = platform_parts(own)
    return {
        "id": one.id,
        "type": _TYPES.get(sort, sort.value.upper()),
        "media_type": one.artifact_type or one.media_type,
        "manifest_media_type": one.media_type,
        "artifact_type": one.artifact_type or one.media_type,
        "digest": str(one.digest),
        "size": one.size,
        "push_time": _time(one.pushed_at),
        "pull_time": _time(one.pulled_at or 0),
        "project_id": stable_number(visit.access.name.partition("/")[0]),
        "repository_id": visit.access.id,
        "repository_name": visit.access.name,
        "extra_attrs": {"os": system, "architecture": architecture} if system else {},
        "annotations": None,
        "references": [_reference(one.id, part) for part in one.platforms] if sort is Sort.INDEX else None,
        "tags": [_tag_of(visit, one.id, name, at) for name, at in one.tags] or None,
        "labels": None,
        "accessories": None,
        "addition_links": {},
    }


def _reference(parent_id: int, part: Platform) -> dict[str, object]:
    system, architecture, variant = platform_parts(part.name)
    platform = {"os": system, "architecture": architecture, "variant": variant, "OsFeatures": None}
    return {"parent_id": parent_id, "child_digest": str(part.digest), "platform": platform, "annotations": None}


def _tag(visit: Visit, artifact_id: int, entry: Entry) -> dict[str, object]:
    return _tag_of(visit, artifact_id, entry.name, entry.pushed_at) | {"pull_time": _time(entry.pulled_at or 0)}


def _tag_of(visit: Visit, artifact_id: int, name: str, pushed_at: int) -> dict[str, object]:
    return {
        "id": stable_number(f"{visit.access.name}:{name}"),
        "repository_id": visit.access.id,
        "artifact_id": artifact_id,
        "name": name,
        "push_time": _time(pushed_at),
        "pull_time": _time(0),
        "immutable": False,
    }


def _time(at_ms: int) -> str:
    """As Go writes it, whose time of nothing is the first day of year 1."""
    if not at_ms:
        return "0001-01-01T00:00:00.000Z"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
