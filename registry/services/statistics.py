"""What pages and the API show of how much there is and what happens: of the instance, and of one repository.

Nothing is counted here. Totals are what the job that samples found last, sums of repositories are kept up to date by
pushes, pulls and the tally; so each answer costs what it shows, however much is stored.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown
from registry.core.names import Tag
from registry.metadata import jobs, pulls, ranking, traffic, usage
from registry.metadata.database import Connection, Database
from registry.metadata.pulls import Pulled
from registry.metadata.ranking import Ranked
from registry.metadata.usage import Totals
from registry.services.clock import Clock
from registry.services.contents import existing
from registry.services.pulls import DAY_MS
from registry.services.traffic import HOUR_MS

SAMPLE_USAGE = "sample-usage"
"""The job whose account has the totals."""
DAYS_MAX = 366
HOURS_MAX = 24 * 31
TOP_MAX = 50
PARTS_MAX = 100
TAGS_SHOWN = 20


class Ranking(StrEnum):
    """What repositories are ranked by."""

    PULLS = "pulls"
    SIZE = "size"


class Step(StrEnum):
    """What numbers of traffic are about."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Days:
    """Days since 1970 UTC, from the first to the last, and what belongs to each."""

    first: int
    values: list[int]


@dataclass(frozen=True, slots=True)
class Storage:
    """What was stored at the end of each day: of all, of the namespaces that hold most, and the rest."""

    first_day: int
    size: list[int | None]
    """Bytes of all repositories a day; None where nothing was measured."""
    stored: list[int | None]
    """Bytes in the store."""
    namespaces: list["NamespaceStorage"]
    rest_bytes: int
    """What the others hold now."""


@dataclass(frozen=True, slots=True)
class NamespaceStorage:
    """One namespace; None is what has no owner."""

    name: str | None
    repositories: int
    tags: int
    size_bytes: int
    days: list[int | None]


@dataclass(frozen=True, slots=True)
class Flow:
    """What happened in each hour or day: `values` by name, from the hour `begins` since 1970 UTC on, in steps of
    `hours`."""

    hours: int
    begins: int
    count: int
    values: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class JobReport:
    """What is known of one kind of background work. Times in ms since 1970 UTC."""

    kind: str
    runs_on: str | None
    due_at: int
    started_at: int | None
    finished_at: int | None
    failures: int
    last_error: str | None
    did: dict[str, int]
    """The account of the last run that did not fail."""


@dataclass(frozen=True, slots=True)
class PulledTag:
    """A tag and its pulls."""

    tag: str
    pulled: Pulled


@dataclass(frozen=True, slots=True)
class RepositoryPulls:
    """Pulls of a repository: the sum, a day, and the tags that were pulled most."""

    pulled: Pulled
    days: Days
    tags: list[PulledTag]


@dataclass(frozen=True, slots=True)
class Part:
    """A manifest that an index names, with its pulls."""

    digest: Digest
    platform: str | None
    pulled: Pulled


@dataclass(frozen=True, slots=True)
class TagPulls:
    """Pulls of a tag a day, and of the parts of what it points to now, of all time."""

    digest: Digest
    days: Days
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Questions. Each takes at most three statements."""

    database: Database
    clock: Clock

    async def totals(self) -> Totals:
        """What there is in all; `measured_at` says when that was found."""
        text = await self.database.point(lambda connection: jobs.result(connection, SAMPLE_USAGE))
        found = json.loads(text).get("totals") if text else None
        return Totals(**found) if found else Totals()

    async def storage(self, *, days: int, top: int) -> Storage:
        """The last `days` days, with the `top` namespaces that hold most."""
        since = self._today() - days + 1

        def read(connection: Connection) -> tuple[list[usage.Stored], list[usage.Stored]]:
            largest = usage.largest(connection, count=top)
            wanted = [usage.ALL, *(one.namespace_id for one in largest)]
            return largest, usage.series(connection, wanted, since=since)

        largest, found = await self.database.read(read)
        of = {(one.namespace_id, one.day): one for one in found}
        span = range(since, since + days)
        whole = [of.get((usage.ALL, day)) for day in span]
        newest = next((one for one in reversed(whole) if one is not None), None)
        return Storage(
            first_day=since,
            size=[None if one is None else one.size_bytes for one in whole],
            stored=[None if one is None else one.stored_bytes for one in whole],
            namespaces=[_namespace(one, [of.get((one.namespace_id, day)) for day in span]) for one in largest],
            rest_bytes=max(0, (newest.size_bytes if newest else 0) - sum(one.size_bytes for one in largest)),
        )

    async def flow(self, step: Step, *, count: int) -> Flow:
        """The last `count` steps, the current one included."""
        hours = traffic.HOUR if step is Step.HOUR else traffic.DAY
        now = self.clock() // HOUR_MS // hours * hours
        begins = now - (count - 1) * hours
        rows = await self.database.read(lambda connection: traffic.since(connection, hours, begins))
        values: dict[str, list[int]] = {}
        for name, at, value in rows:
            place = (at - begins) // hours
            if place < count:
                values.setdefault(name, [0] * count)[place] = value
        return Flow(hours, begins, count, values)

    async def top(self, rank: Ranking, *, count: int) -> list[Ranked]:
        """The repositories that were pulled most or are largest, whoever may see them."""
        return await self.database.read(
            lambda connection: ranking.top(connection, by_size=rank is Ranking.SIZE, count=count)
        )

    async def jobs(self) -> list[JobReport]:
        """All kinds of background work, by name."""
        return [_report(state, result) for state, result in await self.database.point(jobs.reports)]

    async def of_repository(self, access: RepositoryAccess, *, days: int) -> RepositoryPulls:
        """Pulls of the last `days` days. Raises NameUnknown."""
        repository_id, first = existing(access), self._today() - days + 1

        def read(connection: Connection) -> RepositoryPulls:
            whole = pulls.of_repository(connection, repository_id)
            found = pulls.days(connection, repository_id, since=first)
            top = [PulledTag(*one) for one in pulls.top_tags(connection, repository_id, count=TAGS_SHOWN)]
            return RepositoryPulls(whole, _days(first, days, found), top)

        return await self.database.read(read)

    async def daily(self, access: RepositoryAccess, *, days: int) -> Days:
        """Pulls of a repository on each of the last `days` days. Raises NameUnknown."""
        repository_id, first = existing(access), self._today() - days + 1
        found = await self.database.read(lambda connection: pulls.days(connection, repository_id, since=first))
        return _days(first, days, found)

    async def of_tag(self, access: RepositoryAccess, tag: Tag, *, days: int) -> TagPulls:
        """Pulls of a tag in the last `days` days. Raises NameUnknown, ManifestUnknown."""
        repository_id, first = existing(access), self._today() - days + 1

        def read(connection: Connection) -> TagPulls | None:
            digest = pulls.target(connection, repository_id, tag)
            if digest is None:
                return None
            found = pulls.days(connection, repository_id, tag=tag, since=first)
            parts = [Part(*one) for one in pulls.parts(connection, repository_id, digest.pack(), count=PARTS_MAX)]
            return TagPulls(digest, _days(first, days, found), parts)

        answer = await self.database.read(read)
        if answer is None:
            raise ManifestUnknown("no such tag", reference=tag)
        return answer

    def _today(self) -> int:
        return self.clock() // DAY_MS


def _days(first: int, count: int, found: list[pulls.Day]) -> Days:
    values = [0] * count
    for one in found:
        if one.day - first < count:
            values[one.day - first] = one.pulls
    return Days(first, values)


def _namespace(now: usage.Stored, days: list[usage.Stored | None]) -> NamespaceStorage:
    sizes = [None if one is None else one.size_bytes for one in days]
    return NamespaceStorage(now.namespace, now.repositories, now.tags, now.size_bytes, sizes)


def _report(state: jobs.JobState, result: str | None) -> JobReport:
    account: Any = json.loads(result) if result else {}
    # What a run remembers for the next one is no figure.
    did = {name: value for name, value in account.items() if isinstance(value, int)}
    return JobReport(
        kind=state.kind,
        runs_on=state.holder,
        due_at=state.due_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        failures=state.failures,
        last_error=state.last_error,
        did=did,
    )
