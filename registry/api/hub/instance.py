"""The instance, for its admins: its health, its background work, and the settings that it runs with."""

from datetime import datetime

import msgspec

from registry.api.hub import answers
from registry.api.hub.gate import Visit
from registry.api.hub.services import HubServices, Setting
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action
from registry.services.statistics import JobReport


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what the server stands on works. Both are texts by the name of a part: database, storage, clock."""

    problems: dict[str, str]
    """What keeps requests from being served."""
    degraded: dict[str, str]
    """What keeps only some of them, such as pushes on a full disk."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of background work."""

    kind: str
    runs_on: str | None
    """Who does it now: machine, process, and a word of its own."""
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    """The end of the last run that did not fail."""
    failures: int
    """Runs that failed since."""
    last_error: str | None
    did: dict[str, int]
    """What the last run that did not fail has done."""


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """All kinds of background work."""

    items: list[Job]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings."""

    items: list[Setting]


def _job(report: JobReport) -> Job:
    return Job(
        kind=report.kind,
        runs_on=report.runs_on,
        due_at=moment(report.due_at),
        started_at=moment_if(report.started_at),
        finished_at=moment_if(report.finished_at),
        failures=report.failures,
        last_error=report.last_error,
        did=report.did,
    )


async def get_health(services: HubServices, visit: Visit) -> Answer:
    """Whether database, storage and clock work, as they were just tried."""
    health = await services.readiness.health()
    return answers.one(Health(problems=health.problems, degraded=health.degraded))


async def get_jobs(services: HubServices, visit: Visit) -> Answer:
    """The background work of all nodes: who does it, when it is due, what the last run did."""
    return answers.one(Jobs(items=[_job(report) for report in await services.statistics.jobs()]))


async def get_settings(services: HubServices, visit: Visit) -> Answer:
    """The settings that the server which answers runs with. Read only: they are set where it is started."""
    return answers.one(Settings(items=list(services.settings)))


ROUTES = (
    HubRoute("getHealth", "GET", "/instance/health", Action.INSTANCE, get_health, answer=Health),
    HubRoute("listJobs", "GET", "/instance/jobs", Action.INSTANCE, get_jobs, answer=Jobs),
    HubRoute("listSettings", "GET", "/instance/settings", Action.INSTANCE, get_settings, answer=Settings),
)
