"""A repository's own pages: the frame that all of them have, and what it is."""

import re
from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web import plots
from registry.api.web.formats import DAY_MS
from registry.api.web.plots import Series, TimeChart, Unit
from registry.api.web.recipes import recipes, shape_of
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.artifacts import sort_of
from registry.core.shelf import ListedRepository, RepositoryPage

PLACE = "/r/"
_NAMED = re.compile(rf"{PLACE}(?:(?!/-/)[^?])+")
"""The part of an address that names the repository."""
CHART_DAYS = 30


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page of a repository shows around its own part."""

    repository: ListedRepository
    tab: str
    actions: frozenset[Action]

    @property
    def name(self) -> str:
        """Its name."""
        return self.repository.name

    @property
    def namespace(self) -> str | None:
        """The first part of a name of several."""
        first, slash, _ = self.name.partition("/")
        return first if slash else None

    @property
    def path(self) -> str:
        """Where its pages are."""
        return f"{PLACE}{self.name}"

    @property
    def is_public(self) -> bool:
        """Whether everybody may pull."""
        return self.repository.visibility == "public"

    @property
    def may_push(self) -> bool:
        """Whether the caller may."""
        return Action.PUSH in self.actions

    @property
    def may_delete(self) -> bool:
        """Whether the caller may delete tags and manifests."""
        return Action.DELETE in self.actions

    @property
    def may_administer(self) -> bool:
        """Whether the caller may change the rest."""
        return Action.ADMINISTER in self.actions


async def framed(services: WebServices, visit: Visit, tab: str) -> Frame:
    """The frame of a page. Raises NameUnknown."""
    found = await services.hub.browse.repository(visit.caller.principal, visit.access)
    return Frame(found.repository, tab, visit.actions)


def moved(services: WebServices, visit: Visit, view: View, frame: Frame) -> Answer | None:
    """The way to the same page under the name that the repository has, where it was asked for by a former one."""
    former = visit.access.name
    if former == frame.name:
        return None
    # However the name was written: with escapes it is not the text that was asked for.
    return services.pages.redirect(view, frame.path + _NAMED.sub("", view.place, count=1))


async def get_overview(services: WebServices, visit: Visit, view: View) -> Answer:
    """What it is, how to pull it, and how much that is done."""
    found = await services.hub.browse.repository(visit.caller.principal, visit.access, is_whole=True)
    frame = Frame(found.repository, "overview", visit.actions)
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    values = {
        "frame": frame,
        "readme": None if not found.readme else await services.markdown.render(found.readme),
        "recipes": _recipes(services, found),
        "pulls": await _pulls(services, visit, view),
    }
    return services.pages.render(view, "overview.html", values)


async def _pulls(services: WebServices, visit: Visit, view: View) -> TimeChart | None:
    """How often it was pulled each day; nothing where that was never."""
    found = await services.hub.statistics.daily(visit.access, days=CHART_DAYS)
    if not any(found.values):
        return None
    gettext = services.pages.texts(view).gettext
    moments = [(found.first + place) * DAY_MS for place in range(len(found.values))]
    series = Series(gettext("Pulls"), found.values)
    return plots.columns(gettext("Pulls a day, in the last 30 days"), moments, [series], Unit.SHORT)


def _recipes(services: WebServices, found: RepositoryPage) -> list[tuple[str, str]]:
    """How to pull what stands for the repository; nothing where it holds no tag."""
    sample = found.sample
    if sample is None:
        return []
    shape = shape_of(sort_of(sample.media_type, sample.artifact_type))
    return recipes(f"{services.pages.site.host}/{found.repository.name}", shape, sample.tag, str(sample.digest))


ROUTES = (WebRoute("overview", "GET", "/r/{repository}", Action.PULL, get_overview),)
