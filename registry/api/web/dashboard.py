"""The first page of administration: what there is, and what happens, as numbers and plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web import plots
from registry.api.web.asked import Asked
from registry.api.web.languages import Catalogue
from registry.api.web.plots import PartsChart, Series, TimeChart, Unit
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.services.statistics import Flow, NamespaceStorage, Step, Storage
from registry.services.traffic import (
    API,
    CLIENT_ERRORS,
    HOUR_MS,
    LOGIN,
    PAGE,
    PULLS,
    PUSHES,
    RECEIVED,
    REGISTRY,
    REQUESTS,
    SENT,
    SERVER_ERRORS,
)

PATH = "/admin"
STORAGE_PATH = "/admin/storage"
HOURS_OF_DAY = 24
DAY_MS = HOURS_OF_DAY * HOUR_MS
NAMESPACES_SHOWN = 12


class Period(StrEnum):
    """How far back the plots go."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_STEPS = {
    Period.DAY: (Step.HOUR, 24),
    Period.WEEK: (Step.HOUR, 24 * 7),
    Period.MONTH: (Step.DAY, 30),
    Period.YEAR: (Step.DAY, 365),
}
DAYS = {Period.DAY: 30, Period.WEEK: 30, Period.MONTH: 30, Period.YEAR: 365}
"""Storage is measured by the day: less than a month of it says nothing."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happened, drawn."""

    pulls: TimeChart
    requests: TimeChart
    errors: TimeChart
    bytes: TimeChart
    sums: dict[str, int]
    """By name, over the whole period."""

    @property
    def failed(self) -> float:
        """The share of requests that ended in an error of ours."""
        asked = sum(number for name, number in self.sums.items() if name.startswith(REQUESTS))
        return self.sums.get(SERVER_ERRORS, 0) / asked if asked else 0.0


async def get_dashboard(services: WebServices, visit: Visit, view: View) -> Answer:
    """What there is in all, and what happened in a period. What is stored is a piece of its own."""
    period = _period(view)
    step, count = _STEPS[period]
    say = services.pages.texts(view)
    flow = await services.hub.statistics.flow(step, count=count)
    values = {
        "totals": await services.hub.statistics.totals(),
        "traffic": _traffic(flow, say),
        "period": period.value,
        "periods": _periods(period, view, say),
    }
    return services.pages.render(view, "admin-dashboard.html", values)


async def get_storage(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is stored: over time, by namespace, and how much of it is there only once."""
    period = _period(view)
    say = services.pages.texts(view)
    storage = await services.hub.statistics.storage(days=DAYS[period], top=NAMESPACES_SHOWN)
    values = {
        "over_time": _over_time(storage, say),
        "by_namespace": _by_namespace(storage, say),
        "sharing": _sharing(storage, say),
        "namespaces": storage.namespaces,
        "growth": {one.name: _growth(one) for one in storage.namespaces},
        "measured": _newest(storage.size) > 0,
        "period": period.value,
        "periods": _periods(period, view, say),
    }
    if view.is_htmx:
        return services.pages.fragment(view, "admin-storage.html", "panel", values)
    return services.pages.render(view, "admin-storage.html", values)


def _period(view: View) -> Period:
    """Raises FieldInvalid."""
    return Asked.of(view).choice("period", Period) or Period.MONTH


def _periods(period: Period, view: View, say: Catalogue) -> list[tuple[str, str, bool]]:
    texts = {
        Period.DAY: say.gettext("24 hours"),
        Period.WEEK: say.gettext("7 days"),
        Period.MONTH: say.gettext("30 days"),
        Period.YEAR: say.gettext("A year"),
    }
    return [(text, view.link(period=one.value), one is period) for one, text in texts.items()]


def _traffic(flow: Flow, say: Catalogue) -> Traffic:
    moments = [(flow.begins + index * flow.hours) * HOUR_MS for index in range(flow.count)]
    nothing = [0] * flow.count

    def series(*wanted: tuple[str, str]) -> list[Series]:
        return [Series(text, flow.values.get(name, nothing)) for name, text in wanted]

    is_hourly = flow.hours < HOURS_OF_DAY
    requests = series(
        (REQUESTS + REGISTRY, say.gettext("Registry")),
        (REQUESTS + LOGIN, say.gettext("Logins")),
        (REQUESTS + API, say.gettext("API")),
        (REQUESTS + PAGE, say.gettext("Pages")),
    )
    errors = series((CLIENT_ERRORS, say.gettext("Refused (4xx)")), (SERVER_ERRORS, say.gettext("Failed (5xx)")))
    pulls = series((PULLS, say.gettext("Pulls")), (PUSHES, say.gettext("Pushes")))
    sent = series((SENT, say.gettext("Sent")), (RECEIVED, say.gettext("Received")))
    return Traffic(
        plots.lines(say.gettext("Pulls and pushes"), moments, pulls, is_hourly=is_hourly),
        plots.columns(say.gettext("Requests"), moments, requests, is_hourly=is_hourly),
        plots.columns(say.gettext("Errors"), moments, errors, is_hourly=is_hourly),
        plots.lines(say.gettext("Transferred"), moments, sent, Unit.SIZE, is_hourly=is_hourly),
        {name: sum(numbers) for name, numbers in flow.values.items()},
    )


def _over_time(storage: Storage, say: Catalogue) -> TimeChart:
    moments = [(storage.first_day + index) * DAY_MS for index in range(len(storage.size))]
    series = [Series(say.gettext("In all repositories"), storage.size), Series(say.gettext("Stored"), storage.stored)]
    return plots.lines(say.gettext("Storage over time"), moments, series, Unit.SIZE)


def _by_namespace(storage: Storage, say: Catalogue) -> PartsChart:
    nobody, others = say.gettext("without an owner"), say.gettext("others")
    found = [(one.name or nobody, float(one.size_bytes)) for one in storage.namespaces]
    return plots.parts(
        say.gettext("By namespace"), [*found, (others, float(storage.rest_bytes))], Unit.SIZE, others=others
    )


def _sharing(storage: Storage, say: Catalogue) -> PartsChart:
    """Of all that repositories hold, how much is stored, and how much is in the store for another one already."""
    size, stored = _newest(storage.size), _newest(storage.stored)
    found = [(say.gettext("Stored"), float(min(size, stored))), (say.gettext("Saved"), float(max(0, size - stored)))]
    return plots.parts(say.gettext("Deduplication"), found, Unit.SIZE)


def _newest(values: Sequence[int | None]) -> int:
    return next((value for value in reversed(values) if value is not None), 0)


def _growth(one: NamespaceStorage) -> list[float]:
    return [float(value) for value in one.days if value is not None]


ROUTES = (
    WebRoute("admin-dashboard", "GET", PATH, Action.INSTANCE, get_dashboard),
    WebRoute("admin-storage", "GET", STORAGE_PATH, Action.INSTANCE, get_storage),
)
