"""The page of a namespace: a user, an organization, or what belongs to the instance."""

from dataclasses import replace

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.explore import paged
from registry.api.web.narrowing import address, choices, narrowed, wanted
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.names import AccountName

BY_PUSH = "-pushed_at"


async def get_namespace(services: WebServices, visit: Visit, view: View) -> Answer:
    """Who it is, and which of its repositories the caller may see."""
    name = AccountName.parse(visit.names["namespace"])
    asked = narrowed(view, BY_PUSH)
    principal = visit.caller.principal
    about = await services.hub.browse.namespace(principal, name, with_numbers=True)
    query = replace(wanted(view, asked), namespace=name, with_facets=False)
    found = await services.hub.browse.repositories(principal, query)
    values = {
        "about": about,
        "asked": asked,
        "choices": choices(asked, services.pages.texts(view), is_signed_in=view.caller is not None, is_inside=True),
        **paged(view, found),
    }
    if view.is_htmx:
        answer = services.pages.fragment(view, "namespace.html", "results", values)
        answer.headers.append((b"hx-replace-url", address(view.path, asked).encode()))
        return answer
    return services.pages.render(view, "namespace.html", values)


ROUTES = (WebRoute("namespace", "GET", "/u/{namespace}", Action.CATALOG, get_namespace),)
