"""Repositories and namespaces as one finds them: lists, search, suggestions, and one of each."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from registry.api.hub import answers, cursors
from registry.api.hub.gate import Visit
from registry.api.hub.lists import After, Limit
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action, Visibility
from registry.core.limits import SEARCH_MAX_CHARS
from registry.core.names import AccountName
from registry.core.search import SearchText
from registry.core.shelf import ListedNamespace, ListedRepository, Order, RepositoriesQuery
from registry.services import administration
from registry.services.repositories import Settings

NAMESPACE_PATTERN = "^[a-z0-9._-]*$"
SUGGESTIONS_MAX = 10
NamespaceName = Annotated[str, msgspec.Meta(max_length=64, pattern=NAMESPACE_PATTERN)]
FilterText = Annotated[str, msgspec.Meta(max_length=255)]
Text = Annotated[
    str,
    msgspec.Meta(
        max_length=SEARCH_MAX_CHARS,
        description="Words, each of which is in the name or in the description; one of a name may be a letter off.",
    ),
]


class RepositoryOrder(StrEnum):
    """What repositories are ordered by; with `-`, the other way round."""

    RELEVANCE = "relevance"
    NAME = "name"
    NAME_DOWN = "-name"
    PUSHED = "pushed"
    PUSHED_DOWN = "-pushed"
    PULLS = "pulls"
    PULLS_DOWN = "-pulls"
    STARS = "stars"
    STARS_DOWN = "-stars"
    SIZE = "size"
    SIZE_DOWN = "-size"


_ORDERS = {
    "relevance": Order.RELEVANCE,
    "name": Order.NAME,
    "pushed": Order.PUSHED_AT,
    "pulls": Order.PULL_COUNT,
    "stars": Order.STAR_COUNT,
    "size": Order.SIZE_BYTES,
}


class RepositoryQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which repositories."""

    q: Text = ""
    namespace: Annotated[NamespaceName | None, msgspec.Meta(description="Only those of this user or organization.")] = (
        None
    )
    visibility: Annotated[Visibility | None, msgspec.Meta(description="Only public or only private ones.")] = None
    artifact_type: Annotated[
        FilterText | None, msgspec.Meta(description="Only those that hold artifacts of this type: a media type.")
    ] = None
    platform: Annotated[
        FilterText | None, msgspec.Meta(description="Only those with an image for it: `linux/arm64`, any variant.")
    ] = None
    starred: Annotated[bool, msgspec.Meta(description="Only those that the caller has starred.")] = False
    mine: Annotated[bool, msgspec.Meta(description="Only those in which the caller has a role.")] = False
    sort: Annotated[
        RepositoryOrder, msgspec.Meta(description="The order. By relevance what fits `q` best comes first.")
    ] = RepositoryOrder.NAME
    count: Annotated[bool, msgspec.Meta(description="Count all of them too, as `total`.")] = False
    limit: Limit = 50
    after: After = None


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository. What is counted is a few seconds old. Sizes are in bytes: each blob once, with manifests."""

    name: str
    namespace: str | None
    """The user or organization that owns it; null where the instance does."""
    description: str
    visibility: Visibility
    created_at: datetime
    pushed_at: datetime | None
    """When a tag or manifest was pushed last."""
    pulled_at: datetime | None
    tags: int
    manifests: int
    size_bytes: int
    shared_bytes: int
    """Of the size, what other repositories hold too."""
    pulls: int
    stars: int
    starred: bool
    """By the caller."""
    artifact_types: list[str]
    platforms: list[str]


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A user or an organization that owns something which the caller may see."""

    name: str
    kind: str | None
    """`user` or `organization`; null where the instance owns what is there."""
    title: str
    description: str


class NamespaceDetails(Namespace, frozen=True, kw_only=True):
    """One namespace, with numbers of what the caller may see in it."""

    repositories: int
    stars: int
    pulls: int


class NamespaceQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A page of namespaces."""

    q: Annotated[
        str,
        msgspec.Meta(max_length=64, pattern=NAMESPACE_PATTERN, description="What the names have to begin with."),
    ] = ""
    limit: Limit = 50
    after: After = None


class SuggestionQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What was typed so far."""

    q: Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=SUGGESTIONS_MAX, description="So many of each kind at most.")] = 5


class Suggestions(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who types may mean, what fits best first."""

    repositories: list[Repository]
    namespaces: list[Namespace]


async def list_repositories(services: HubServices, visit: Visit) -> Answer:
    """Find repositories that the caller may pull, by words, filters and order.

    Empty ones are among them for who may see them. With `sort=relevance` the list ends after the best few hundred.
    """
    query: RepositoryQuery = visit.query
    order = query.sort.value
    wanted = RepositoriesQuery(
        search=SearchText.parse(query.q, field="q"),
        namespace=query.namespace,
        visibility=query.visibility,
        artifact_types=() if query.artifact_type is None else (query.artifact_type,),
        platform=query.platform,
        is_starred=query.starred,
        is_mine=query.mine,
        order=_ORDERS[order.removeprefix("-")],
        descending=order.startswith("-"),
        after=None if query.after is None else cursors.read(query.after, tuple[str | int, int]),
        count=query.limit,
        with_total=query.count,
    )
    found = await services.browse.repositories(visit.caller.principal, wanted)
    return answers.page(visit.request, [_shown(one) for one in found.entries], found.next_after, total=found.total)


async def get_repository(services: HubServices, visit: Visit) -> Answer:
    """One repository, as lists show it. Its ETag is good for `If-Match` as long as its settings are the same."""
    found = (await services.browse.repository(visit.caller.principal, visit.access, with_facets=True)).repository
    shown = _shown(found)
    settings = administration.version(Settings(found.name, found.description, found.visibility))
    return answers.one(shown, version=f"{settings}~{answers.fingerprint(shown)}")


async def list_namespaces(services: HubServices, visit: Visit) -> Answer:
    """The users and organizations in whose names the caller may see something."""
    query: NamespaceQuery = visit.query
    after = "" if query.after is None else cursors.read(query.after, tuple[str])[0]
    found = await services.browse.namespaces(visit.caller.principal, after=after, count=query.limit, prefix=query.q)
    position = None if found.next_after is None else (found.next_after,)
    return answers.page(visit.request, [_named(one) for one in found.entries], position)


async def get_namespace(services: HubServices, visit: Visit) -> Answer:
    """One namespace, with numbers of what the caller may see in it."""
    caller, name = visit.caller.principal, str(AccountName.parse(visit.names["namespace"]))
    found = await services.browse.namespace(caller, name, with_numbers=True)
    one = found.namespace
    return answers.one(
        NamespaceDetails(
            name=one.name,
            kind=one.kind,
            title=one.title,
            description=one.description,
            repositories=found.repository_count or 0,
            stars=found.star_count or 0,
            pulls=found.pull_count or 0,
        )
    )


async def get_suggestions(services: HubServices, visit: Visit) -> Answer:
    """What somebody who types may mean."""
    query: SuggestionQuery = visit.query
    found = await services.browse.suggest(visit.caller.principal, SearchText.parse(query.q, field="q"), query.limit)
    return answers.one(
        Suggestions(
            repositories=[_shown(one) for one in found.repositories],
            namespaces=[_named(one) for one in found.namespaces],
        )
    )


def _shown(one: ListedRepository) -> Repository:
    return Repository(
        name=one.name,
        namespace=one.namespace,
        description=one.description,
        visibility=one.visibility,
        created_at=moment(one.created_at),
        pushed_at=moment_if(one.pushed_at or None),
        pulled_at=moment_if(one.pulled_at),
        tags=one.tag_count,
        manifests=one.manifest_count,
        size_bytes=one.size_bytes,
        shared_bytes=one.shared_bytes,
        pulls=one.pull_count,
        stars=one.star_count,
        starred=one.is_starred,
        artifact_types=list(one.artifact_types),
        platforms=list(one.platforms),
    )


def _named(one: ListedNamespace) -> Namespace:
    return Namespace(name=one.name, kind=one.kind, title=one.title, description=one.description)


ROUTES = (
    HubRoute(
        "listRepositories", "GET", "/repositories", Action.CATALOG, list_repositories,
        answer=answers.Page[Repository], query=RepositoryQuery,
    ),
    HubRoute("getRepository", "GET", "/repositories/{repository}", Action.PULL, get_repository, answer=Repository),
    HubRoute(
        "listNamespaces", "GET", "/namespaces", Action.CATALOG, list_namespaces,
        answer=answers.Page[Namespace], query=NamespaceQuery,
    ),
    HubRoute(
        "getNamespace", "GET", "/namespaces/{namespace}", Action.CATALOG, get_namespace, answer=NamespaceDetails
    ),
    HubRoute(
        "getSuggestions", "GET", "/suggestions", Action.CATALOG, get_suggestions,
        answer=Suggestions, query=SuggestionQuery,
    ),
)  # fmt: skip
