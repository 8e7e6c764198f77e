"""The instance: whether what it stands on works, its background work, and the settings that it runs with."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.asked import Asked
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action

HEALTH_PATH = "/admin/health"
SETTINGS_PATH = "/admin/settings"
PARTS = ("database", "storage", "clock")


async def get_health(services: WebServices, visit: Visit, view: View) -> Answer:
    """Database, store and clock, as they were just tried, and all background work."""
    values = {
        "health": await services.hub.readiness.health(),
        "parts": PARTS,
        "jobs": await services.hub.statistics.jobs(),
    }
    return services.pages.render(view, "admin-health.html", values)


async def get_settings(services: WebServices, visit: Visit, view: View) -> Answer:
    """All of them, or those whose name or description has a text."""
    text = Asked.of(view).text("q").lower()
    found = [one for one in services.hub.settings if text in one.name or text in one.description.lower()]
    if view.is_htmx:
        return services.pages.fragment(view, "admin-settings.html", "rows", {"found": found, "q": text})
    return services.pages.render(view, "admin-settings.html", {"found": found, "q": text})


ROUTES = (
    WebRoute("admin-health", "GET", HEALTH_PATH, Action.INSTANCE, get_health),
    WebRoute("admin-settings", "GET", SETTINGS_PATH, Action.INSTANCE, get_settings),
)
