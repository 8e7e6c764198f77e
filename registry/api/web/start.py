"""The first page."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action


async def get_start(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is here, and the three steps to the first push."""
    return services.pages.render(view, "start.html")


ROUTES = (WebRoute("start", "GET", "/", Action.CATALOG, get_start),)
