"""The tags of a repository: a row each, with the platforms below it."""

from dataclasses import dataclass
from typing import Any

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.asked import Asked
from registry.api.web.recipes import DIGEST_MARK, TAG_MARK, Shape, recipes, shape_of
from registry.api.web.repository import framed, moved
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.artifacts import Sort, sort_of, sort_of_fallback
from registry.services.contents import Entry, Order, Position, Query

ROWS = 50
NEWEST = (Order.PUSHED, True)


@dataclass(frozen=True, slots=True)
class Row:
    """A tag as its row shows it."""

    entry: Entry

    @property
    def sort(self) -> Sort:
        """What it is."""
        return sort_of_fallback(self.entry.name) or sort_of(self.entry.media_type, self.entry.artifact_type)

    @property
    def shape(self) -> Shape:
        """How it is pulled."""
        return shape_of(self.sort)


async def get_tags(services: WebServices, visit: Visit, view: View) -> Answer:
    """A page of tags, narrowed and ordered."""
    asked = Asked.of(view)
    order = asked.order("sort", Order, NEWEST)
    query = Query(
        order=order[0],
        descending=order[1],
        after=_position(asked),
        count=ROWS,
        name_part=asked.text("q", max_chars=128),
    )
    frame = await framed(services, visit, "tags")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    found = await services.hub.contents.tags(visit.access, query, with_total=False)
    rows = [Row(entry) for entry in found.page.entries]
    place = f"{services.pages.site.host}/{frame.name}"
    next_after = found.page.next_after
    values: dict[str, Any] = {
        "frame": frame,
        "q": query.name_part,
        "sort": asked.text("sort"),
        "orders": _orders(services, view, order),
        "rows": rows,
        "patterns": {shape: recipes(place, shape, TAG_MARK, DIGEST_MARK) for shape in {row.shape for row in rows}},
        "next": None if next_after is None else view.link(after=cursors.write((next_after.key, next_after.name))),
        "first": view.link() if query.after is not None else None,
    }
    if view.is_htmx:
        return services.pages.fragment(view, "tags.html", "rows", values)
    return services.pages.render(view, "tags.html", values)


def _position(asked: Asked) -> Position | None:
    found = asked.position("after", tuple[int | str | None, str])
    return None if found is None else Position(*found)


def _orders(services: WebServices, view: View, chosen: tuple[Order, bool]) -> list[tuple[str, str, bool]]:
    gettext = services.pages.texts(view).gettext
    return [
        (gettext("Newest"), view.link(sort=None), chosen == NEWEST),
        (gettext("Version"), view.link(sort="-version"), chosen == (Order.VERSION, True)),
        (gettext("Name"), view.link(sort="name"), chosen == (Order.NAME, False)),
    ]


ROUTES = (WebRoute("tags", "GET", "/r/{repository}/-/tags", Action.PULL, get_tags),)
