"""Repositories and tags as Docker Hub lists them, below `/hub`, for badges, update bots and scripts. Its own paths
would be `/v2/…`, which are the distribution API here.

Source: `content/reference/api/hub/latest.yaml` of docker/docs. `count` ends where pages by number do.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from registry.api.asgi import Request
from registry.api.errors import json_answer
from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.views.numbers import Asked, choice, text
from registry.api.views.services import ViewServices
from registry.api.views.table import ViewRoute
from registry.api.views.values import platform_parts, stable_number
from registry.core.access import Action, Visibility
from registry.core.errors import RouteUnknown
from registry.core.names import AccountName
from registry.core.search import SearchText
from registry.core.shelf import ListedRepository, Order, RepositoriesQuery
from registry.services.contents import Entry, Platform, Position, Query
from registry.services.contents import Order as TagOrder

_ORDERS: dict[str, object] = {
    "name": (Order.NAME, False),
    "-name": (Order.NAME, True),
    "last_updated": (Order.PUSHED_AT, False),
    "-last_updated": (Order.PUSHED_AT, True),
    "pull_count": (Order.PULL_COUNT, False),
    "-pull_count": (Order.PULL_COUNT, True),
}
_TAG_ORDERS: dict[str, object] = {
    "name": (TagOrder.NAME, False),
    "-name": (TagOrder.NAME, True),
    # So it is there: the newest come first under this word.
    "last_updated": (TagOrder.PUSHED, True),
    "-last_updated": (TagOrder.PUSHED, False),
}


async def list_repositories(services: ViewServices, visit: Visit) -> Answer:
    """The repositories of a namespace."""
    request, asked = visit.request, Asked.of(visit.request)
    order: Any = _ORDERS[choice(request, "ordering", _ORDERS, "-last_updated")]
    wanted = RepositoriesQuery(
        search=SearchText.parse(text(request, "name"), field="name"),
        is_in_name=True,
        namespace=AccountName.parse(visit.names["namespace"]),
        order=order[0],
        descending=order[1],
        count=asked.size,
        after=None if asked.cursor is None else cursors.read(asked.cursor, tuple[str | int, int]),
    )
    found = await services.browse.numbered(visit.caller.principal, wanted, asked.number)
    results = [_listed(entry) for entry in found.entries]
    return _envelope(services, request, asked, results, (found.total, found.next_after))


async def get_repository(services: ViewServices, visit: Visit) -> Answer:
    """One repository, with its README."""
    found = await services.browse.repository(visit.caller.principal, visit.access, is_whole=True)
    entry = found.repository
    more = {
        "full_description": found.readme,
        "hub_user": entry.namespace or entry.name.partition("/")[0],
        "has_starred": entry.is_starred,
        "is_automated": False,
        "collaborator_count": 0,
        "immutable_tags_settings": {"enabled": False, "rules": []},
        "source": None,
    }
    return json_answer(200, {**_listed(entry), "media_types": list(entry.artifact_types), **more})


async def list_tags(services: ViewServices, visit: Visit) -> Answer:
    """The tags of a repository with the images behind them, newest first."""
    request, asked = visit.request, Asked.of(visit.request)
    order: Any = _TAG_ORDERS[choice(request, "ordering", _TAG_ORDERS, "last_updated")]
    after = None
    if asked.cursor is not None:
        after = Position(*cursors.read(asked.cursor, tuple[str | int | None, str]))
    query = Query(
        order=order[0],
        descending=order[1],
        after=after,
        count=asked.start + asked.size,
        name_part=text(request, "name"),
    )
    found = await services.contents.tags(visit.access, query)
    entries, position = found.page.entries[asked.start :], found.page.next_after
    reached = asked.start + len(entries)
    total = found.total if found.total is not None else reached + (position is not None)
    after_all = None if position is None else (position.key, position.name)
    return _envelope(services, request, asked, [_tag(visit, entry) for entry in entries], (total, after_all))


async def get_tag(services: ViewServices, visit: Visit) -> Answer:
    """One tag."""
    return json_answer(200, _tag(visit, await services.contents.tag(visit.access, visit.tag)))


ROUTES = (
    ViewRoute("hub-tag", "/hub/v2/namespaces/{namespace}/repositories/{name}/tags/{tag}", Action.PULL, get_tag),
    ViewRoute("hub-tags", "/hub/v2/namespaces/{namespace}/repositories/{name}/tags", Action.PULL, list_tags),
    ViewRoute("hub-repository", "/hub/v2/namespaces/{namespace}/repositories/{name}", Action.PULL, get_repository),
    ViewRoute("hub-repositories", "/hub/v2/namespaces/{namespace}/repositories", Action.CATALOG, list_repositories),
    ViewRoute("hub-old-tag", "/hub/v2/repositories/{namespace}/{name}/tags/{tag}", Action.PULL, get_tag),
    ViewRoute("hub-old-tags", "/hub/v2/repositories/{namespace}/{name}/tags", Action.PULL, list_tags),
    ViewRoute("hub-old-repository", "/hub/v2/repositories/{namespace}/{name}", Action.PULL, get_repository),
    ViewRoute("hub-old-repositories", "/hub/v2/repositories/{namespace}", Action.CATALOG, list_repositories),
)


def _envelope(
    services: ViewServices,
    request: Request,
    asked: Asked,
    results: Sequence[object],
    rest: tuple[int, tuple[str | int | None, ...] | None],
) -> Answer:
    total, position = rest
    if not results and asked.number > 1 and asked.cursor is None:
        raise RouteUnknown("object not found")
    base = services.origins.of(request.header(b"host"))
    before = asked.previous(request)
    body = {
        "count": total,
        "next": None if position is None else base + asked.next(request, position),
        "previous": None if before is None else base + before,
        "results": results,
    }
    return json_answer(200, body)


def _listed(entry: ListedRepository) -> dict[str, object]:
    namespace, _, name = entry.name.partition("/")
    updated = _time(entry.pushed_at or entry.created_at)
    return {
        "name": name,
        "namespace": namespace,
        "repository_type": "image",
        "status": 1,
        "status_description": "active",
        "description": entry.description,
        "is_private": entry.visibility is Visibility.PRIVATE,
        "star_count": entry.star_count,
        "pull_count": entry.pull_count,
        "last_updated": updated,
        "last_modified": updated,
        "date_registered": _time(entry.created_at),
        "affiliation": "",
        "media_types": [],
        "content_types": ["image"],
        "categories": [],
        "storage_size": entry.size_bytes,
    }


def _tag(visit: Visit, entry: Entry) -> dict[str, object]:
    pushed, pulled = _time(entry.pushed_at), None if entry.pulled_at is None else _time(entry.pulled_at)
    return {
        "id": stable_number(f"{visit.access.name}:{entry.name}"),
        "repository": visit.access.id,
        "name": entry.name,
        "creator": 0,
        "last_updated": pushed,
        "last_updater": 0,
        "last_updater_username": entry.pushed_by or "",
        "full_size": entry.size,
        "v2": True,
        "tag_status": "active",
        "status": "active",
        "tag_last_pulled": pulled,
        "tag_last_pushed": pushed,
        "media_type": entry.media_type,
        "content_type": "image",
        "digest": str(entry.digest),
        "images": [_image(part, pushed, pulled) for part in entry.platforms],
    }


def _image(part: Platform, pushed: str, pulled: str | None) -> dict[str, object]:
    system, architecture, variant = platform_parts(part.name)
    return {
        "architecture": architecture,
        "features": "",
        "variant": variant or None,
        "digest": str(part.digest),
        "os": system,
        "os_features": "",
        "os_version": None,
        "size": part.size or 0,
        "status": "active",
        "last_pulled": pulled,
        "last_pushed": pushed,
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
