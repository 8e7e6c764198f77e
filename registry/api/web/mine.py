"""What is the caller's own: repositories, and those with its star."""

from dataclasses import replace

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.explore import paged
from registry.api.web.narrowing import address, choices, narrowed, wanted
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action

BY_PUSH = "-pushed_at"


async def get_repositories(services: WebServices, visit: Visit, view: View) -> Answer:
    """What the caller has a role on."""
    return await _list(services, visit, view, shows_stars=False)


async def get_stars(services: WebServices, visit: Visit, view: View) -> Answer:
    """What the caller has given a star."""
    return await _list(services, visit, view, shows_stars=True)


async def _list(services: WebServices, visit: Visit, view: View, *, shows_stars: bool) -> Answer:
    asked = narrowed(view, BY_PUSH)
    query = replace(wanted(view, asked), is_mine=not shows_stars, is_starred=shows_stars)
    # As lists have to see the caller: a token may be good for less.
    found = await services.hub.browse.repositories(visit.caller.principal, query)
    values = {
        "shows_stars": shows_stars,
        "asked": asked,
        "choices": choices(asked, services.pages.texts(view), is_signed_in=True),
        **paged(view, found),
    }
    if view.is_htmx:
        answer = services.pages.fragment(view, "mine.html", "results", values)
        answer.headers.append((b"hx-replace-url", address(view.path, asked).encode()))
        return answer
    return services.pages.render(view, "mine.html", values)


ROUTES = (
    WebRoute("repositories", "GET", "/repositories", Action.SELF, get_repositories),
    WebRoute("stars", "GET", "/stars", Action.SELF, get_stars),
)
