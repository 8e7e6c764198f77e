"""Finding repositories: the first page, everything that there is, search, and what somebody who types may mean."""

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.asked import Asked
from registry.api.web.narrowing import address, choices, narrowed, wanted
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.search import SearchText
from registry.core.shelf import ListedNamespace, Order, RepositoriesPage, RepositoriesQuery

SHELF_COUNT = 12
OWN_COUNT = 6
SUGGESTIONS_COUNT = 6
PEOPLE_COUNT = 6
BY_PULLS, BY_RELEVANCE = "-pull_count", "relevance"


async def get_start(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is here, what is the caller's, and on an empty registry the three steps to the first push."""
    order, descending = Asked.of(view).order("sort", Order, (Order.PULL_COUNT, True))
    query = RepositoriesQuery(order=order, descending=descending, count=SHELF_COUNT, is_full=True, with_facets=False)
    principal = visit.caller.principal
    found = await services.hub.browse.repositories(principal, query)
    own = RepositoriesPage([], None)
    if view.caller is not None:
        mine = RepositoriesQuery(
            order=Order.PUSHED_AT, descending=True, count=OWN_COUNT, is_mine=True, with_facets=False
        )
        own = await services.hub.browse.repositories(principal, mine)
    gettext = services.pages.texts(view).gettext
    chosen = order, descending
    orders = [
        (gettext("Most pulled"), "/", chosen == (Order.PULL_COUNT, True)),
        (gettext("Last pushed"), "/?sort=-pushed_at", chosen == (Order.PUSHED_AT, True)),
        (gettext("Most stars"), "/?sort=-star_count", chosen == (Order.STAR_COUNT, True)),
    ]
    space = "NAME" if view.caller is None else view.caller.name
    values = {"found": found.entries, "own": own.entries, "orders": orders, "space": space}
    return services.pages.render(view, "start.html", values)


async def get_explore(services: WebServices, visit: Visit, view: View) -> Answer:
    """Everything that the caller may see, narrowed and ordered."""
    default = BY_RELEVANCE if Asked.of(view).text("q") else BY_PULLS
    asked = narrowed(view, default)
    principal = visit.caller.principal
    found = await services.hub.browse.repositories(principal, wanted(view, asked))
    people: list[ListedNamespace] = []
    search = SearchText.parse(asked.q, field="q")
    if search.words and not asked.is_narrowed and not Asked.of(view).text("after"):
        begun = await services.hub.browse.namespaces(principal, after="", count=PEOPLE_COUNT, prefix=search.whole)
        people = begun.entries
    texts = services.pages.texts(view)
    values = {
        "asked": asked,
        "choices": choices(asked, texts, is_signed_in=view.caller is not None),
        "namespaces": people,
        **paged(view, found),
    }
    if view.is_htmx:
        answer = services.pages.fragment(view, "explore.html", "results", values)
        answer.headers.append((b"hx-replace-url", address(view.path, asked).encode()))
        return answer
    return services.pages.render(view, "explore.html", values)


def paged(view: View, found: RepositoriesPage) -> dict[str, object]:
    """What a template needs of a page of repositories: its entries, and the addresses of the next and the first one."""
    next_after = None if found.next_after is None else cursors.write(found.next_after)
    return {
        "found": found.entries,
        "total": found.total,
        "next": None if next_after is None else view.link(after=next_after),
        "first": view.link() if Asked.of(view).text("after", max_chars=cursors.CURSOR_MAX_CHARS) else None,
    }


async def get_suggestions(services: WebServices, visit: Visit, view: View) -> Answer:
    """What somebody who is still typing may mean, as a piece of a page."""
    text = Asked.of(view).text("q")
    found = await services.hub.browse.suggest(
        visit.caller.principal, SearchText.parse(text, field="q"), SUGGESTIONS_COUNT
    )
    suggestions = [
        *(
            ("repository", one.name, one.description, f"/r/{one.name}", one.visibility == "private")
            for one in found.repositories
        ),
        *((one.kind or "instance", one.name, one.title, f"/u/{one.name}", False) for one in found.namespaces),
    ]
    return services.pages.fragment(view, "suggestions.html", "content", {"suggestions": suggestions, "query": text})


ROUTES = (
    WebRoute("start", "GET", "/", Action.CATALOG, get_start),
    WebRoute("explore", "GET", "/explore", Action.CATALOG, get_explore),
    WebRoute("search", "GET", "/search", Action.CATALOG, get_explore),
    WebRoute("suggestions", "GET", "/search/suggestions", Action.CATALOG, get_suggestions),
)
