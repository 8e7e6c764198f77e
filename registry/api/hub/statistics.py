"""How much there is and what happens: of the instance for its admins, of a repository for who may pull from it."""

from datetime import date, datetime
from typing import Annotated

import msgspec

from registry.api.hub import answers
from registry.api.hub.gate import Visit
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import day, moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action
from registry.services.statistics import DAYS_MAX, HOURS_MAX, TOP_MAX, Days, NamespaceStorage, Ranking, Step
from registry.services.traffic import HOUR_MS


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What there is in all. Sizes in bytes."""

    users: int
    organizations: int
    robots: int
    public_repositories: int
    private_repositories: int
    tags: int
    blobs: int
    size_bytes: int
    """The sum over repositories."""
    stored_bytes: int
    """Each blob once, as the store has it."""
    measured_at: datetime | None
    """When this was found; null before the first time."""


class StorageQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which days, and how many namespaces."""

    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX, description="So many days, today included.")] = 90
    top: Annotated[int, msgspec.Meta(ge=0, le=TOP_MAX, description="So many namespaces: those that hold most.")] = 7


class OfNamespace(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace holds; `name` is null for what has no owner."""

    name: str | None
    repositories: int
    tags: int
    size_bytes: int
    days: list[int | None]
    """Bytes at the end of each day; null where nothing was measured."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored at the end of each day, in bytes; null where nothing was measured."""

    first_day: date
    size_bytes: list[int | None]
    """The sum over repositories."""
    stored_bytes: list[int | None]
    """Each blob once."""
    namespaces: list[OfNamespace]
    rest_bytes: int
    """What the other namespaces hold now."""


class TrafficQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which hours or days."""

    step: Step = Step.HOUR
    count: Annotated[
        int, msgspec.Meta(ge=1, le=HOURS_MAX, description="So many steps, the one that runs included.")
    ] = 48


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in each hour or day, by what: `requests.registry`, `requests.login`, `requests.api`,
    `requests.page`, `errors.4xx`, `errors.5xx`, `pulls`, `pushes`, `bytes.in`, `bytes.out`."""

    begins_at: datetime
    """When the first step begins."""
    step: Step
    values: dict[str, list[int]]


class RankingQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Ranked by what."""

    by: Ranking = Ranking.PULLS
    count: Annotated[int, msgspec.Meta(ge=1, le=TOP_MAX, description="So many repositories.")] = 10


class RankedRepository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository of a ranking."""

    name: str
    visibility: str
    pulls: int
    pulled_at: datetime | None
    size_bytes: int
    tags: int


class RankedRepositories(msgspec.Struct, frozen=True, kw_only=True):
    """Repositories, the first one first."""

    items: list[RankedRepository]


class DaysQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which days."""

    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX, description="So many days, today included.")] = 30


class PullsByDay(msgspec.Struct, frozen=True, kw_only=True):
    """Pulls a day."""

    first_day: date
    values: list[int]


class PulledTag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and its pulls of all time."""

    tag: str
    pulls: int
    pulled_at: datetime | None


class RepositoryPulls(msgspec.Struct, frozen=True, kw_only=True):
    """Pulls of a repository. `pulls` is of all time."""

    pulls: int
    pulled_at: datetime | None
    days: PullsByDay
    tags: list[PulledTag]
    """Those that were pulled most."""


class PulledPart(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that an index names, with its pulls of all time."""

    digest: str
    platform: str | None
    pulls: int
    pulled_at: datetime | None


class TagPulls(msgspec.Struct, frozen=True, kw_only=True):
    """Pulls of a tag."""

    digest: str
    """What it points to now."""
    days: PullsByDay
    parts: list[PulledPart]
    """What that names, where it is an index."""


async def get_totals(services: HubServices, visit: Visit) -> Answer:
    """What there is in all: accounts, repositories, bytes.

    It is measured a minute after changes, not when it is asked for."""
    found = await services.statistics.totals()
    totals = Totals(
        users=found.users,
        organizations=found.organizations,
        robots=found.robots,
        public_repositories=found.public,
        private_repositories=found.private,
        tags=found.tags,
        blobs=found.blobs,
        size_bytes=found.size_bytes,
        stored_bytes=found.stored_bytes,
        measured_at=moment(found.measured_at) if found.measured_at else None,
    )
    return answers.one(totals)


async def get_storage(services: HubServices, visit: Visit) -> Answer:
    """What was stored at the end of each day, in all and by namespace."""
    query: StorageQuery = visit.query
    found = await services.statistics.storage(days=query.days, top=query.top)
    storage = Storage(
        first_day=day(found.first_day),
        size_bytes=found.size,
        stored_bytes=found.stored,
        namespaces=[_namespace(one) for one in found.namespaces],
        rest_bytes=found.rest_bytes,
    )
    return answers.one(storage)


async def get_traffic(services: HubServices, visit: Visit) -> Answer:
    """Requests, errors, pulls, pushes and bytes of each hour of the last month, or of each day of the last year."""
    query: TrafficQuery = visit.query
    found = await services.statistics.flow(query.step, count=query.count)
    begins_at = moment(found.begins * HOUR_MS)
    return answers.one(Traffic(begins_at=begins_at, step=query.step, values=found.values))


async def get_ranking(services: HubServices, visit: Visit) -> Answer:
    """The repositories that were pulled most, or that are largest."""
    query: RankingQuery = visit.query
    found = await services.statistics.top(query.by, count=query.count)
    items = [
        RankedRepository(
            name=one.name,
            visibility=one.visibility.value,
            pulls=one.pulls,
            pulled_at=moment_if(one.pulled_at),
            size_bytes=one.size_bytes,
            tags=one.tags,
        )
        for one in found
    ]
    return answers.one(RankedRepositories(items=items))


async def get_repository_pulls(services: HubServices, visit: Visit) -> Answer:
    """Pulls of a repository by day, and the tags that were pulled most."""
    query: DaysQuery = visit.query
    found = await services.statistics.of_repository(visit.access, days=query.days)
    pulls = RepositoryPulls(
        pulls=found.pulled.pulls,
        pulled_at=moment_if(found.pulled.last_at),
        days=_days(found.days),
        tags=[
            PulledTag(tag=one.tag, pulls=one.pulled.pulls, pulled_at=moment_if(one.pulled.last_at))
            for one in found.tags
        ],
    )
    return answers.one(pulls)


async def get_tag_pulls(services: HubServices, visit: Visit) -> Answer:
    """Pulls of a tag by day, and of the platforms of what it points to."""
    query: DaysQuery = visit.query
    found = await services.statistics.of_tag(visit.access, visit.tag, days=query.days)
    parts = [
        PulledPart(
            digest=str(part.digest),
            platform=part.platform,
            pulls=part.pulled.pulls,
            pulled_at=moment_if(part.pulled.last_at),
        )
        for part in found.parts
    ]
    return answers.one(TagPulls(digest=str(found.digest), days=_days(found.days), parts=parts))


def _namespace(found: NamespaceStorage) -> OfNamespace:
    return OfNamespace(
        name=found.name,
        repositories=found.repositories,
        tags=found.tags,
        size_bytes=found.size_bytes,
        days=found.days,
    )


def _days(found: Days) -> PullsByDay:
    return PullsByDay(first_day=day(found.first), values=found.values)


_INSTANCE = "/instance"
_REPOSITORY = "/repositories/{repository}/-"
ROUTES = (
    HubRoute("getTotals", "GET", f"{_INSTANCE}/statistics", Action.INSTANCE, get_totals, answer=Totals),
    HubRoute(
        "getStorage", "GET", f"{_INSTANCE}/storage", Action.INSTANCE, get_storage, answer=Storage, query=StorageQuery
    ),
    HubRoute(
        "getTraffic", "GET", f"{_INSTANCE}/traffic", Action.INSTANCE, get_traffic, answer=Traffic, query=TrafficQuery
    ),
    HubRoute(
        "getRanking",
        "GET",
        f"{_INSTANCE}/ranking",
        Action.INSTANCE,
        get_ranking,
        answer=RankedRepositories,
        query=RankingQuery,
    ),
    HubRoute(
        "getRepositoryPulls",
        "GET",
        f"{_REPOSITORY}/pulls",
        Action.PULL,
        get_repository_pulls,
        answer=RepositoryPulls,
        query=DaysQuery,
    ),
    HubRoute(
        "getTagPulls",
        "GET",
        f"{_REPOSITORY}/tags/{{tag}}/pulls",
        Action.PULL,
        get_tag_pulls,
        answer=TagPulls,
        query=DaysQuery,
    ),
)
