"""Organizations: one's own, and a new one."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.lists import PAGE_ROWS, asked, next_page
from registry.api.web.news import told
from registry.api.web.refusals import FORM_ERRORS, NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import Denied, RegistryError

PATH = "/organizations"


async def get_organizations(services: WebServices, visit: Visit, view: View) -> Answer:
    """Those that the caller belongs to."""
    name = visit.caller.principal.name
    found = await services.hub.organizations.of(name, after=asked(visit, "after"), count=PAGE_ROWS + 1)
    values = {"found": found[:PAGE_ROWS], "next": next_page(view, found, lambda one: one.organization)}
    return services.pages.render(view, "organizations.html", values)


async def get_new(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form."""
    return _form(services, view)


async def post_organization(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one, with the caller as its owner."""
    name, owner = visit.body.text("name"), visit.caller.principal.name
    found = await tried(services.hub.organizations.add(name, owner, visit.permit), *FORM_ERRORS, Denied)
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return _form(services, view, name, refusal(say, found))
    return told(services, view, f"/u/{name}/members", say.gettext("The organization is there. Invite others to it."))


async def get_overview(services: WebServices, visit: Visit, view: View) -> Answer:
    """Who is in it."""
    return services.pages.redirect(view, f"/u/{visit.namespace.name}/members")


def _form(services: WebServices, view: View, name: str = "", problem: Refusal = NOTHING_WRONG) -> Answer:
    return services.pages.render(
        view, "organization-new.html", {"name": name, "problem": problem}, status=problem.status
    )


ROUTES = (
    WebRoute("organizations", "GET", PATH, Action.ACCOUNT, get_organizations),
    WebRoute("organization-page", "GET", f"{PATH}/new", Action.ACCOUNT, get_new),
    WebRoute("organization-create", "POST", PATH, Action.ACCOUNT, post_organization),
    WebRoute("organization", "GET", f"{PATH}/{{namespace}}", Action.INSPECT, get_overview),
)
