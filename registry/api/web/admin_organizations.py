"""All organizations, for admins."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import ORGANIZATION
from registry.api.web.lists import PAGE_ROWS, asked, next_page
from registry.api.web.news import disabled_now, told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import AccountUnknown, RegistryError

PATH = "/admin/organizations"
DISABLED_PATH = f"{PATH}/{{account}}/disabled"


async def get_organizations(services: WebServices, visit: Visit, view: View) -> Answer:
    """Those whose name begins as asked for, by name."""
    return await _list(services, visit, view)


async def _list(
    services: WebServices,
    visit: Visit,
    view: View,
    filled: tuple[str, str] = ("", ""),
    problem: Refusal = NOTHING_WRONG,
) -> Answer:
    prefix = asked(visit, "q")
    found = await services.hub.accounts.page(
        ORGANIZATION, after=asked(visit, "after"), count=PAGE_ROWS + 1, prefix=prefix
    )
    values = {
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.name),
        "q": prefix,
        "name": filled[0],
        "owner": filled[1],
        "problem": problem,
    }
    if view.is_htmx:
        return services.pages.fragment(view, "admin-organizations.html", "rows", values)
    return services.pages.render(view, "admin-organizations.html", values, status=problem.status)


async def post_organization(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one, with somebody as its owner."""
    name, owner = visit.body.text("name"), visit.body.text("owner")
    found = await tried(services.hub.organizations.add(name, owner, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, (name, owner), refusal(say, found, {AccountUnknown: "owner"}))
    return told(services, view, f"/u/{name}/members", say.gettext("The organization is there."))


async def post_disabled(services: WebServices, visit: Visit, view: View) -> Answer:
    """Disable one, or enable it again."""
    name, is_disabled = visit.names["account"], visit.body.text("disabled") == "yes"
    await services.hub.accounts.set_disabled(name, visit.permit, is_disabled=is_disabled)
    return told(services, view, PATH, disabled_now(services.pages.texts(view), name, is_disabled=is_disabled))


ROUTES = (
    WebRoute("admin-organizations", "GET", PATH, Action.INSTANCE, get_organizations),
    WebRoute("admin-organization-create", "POST", PATH, Action.INSTANCE, post_organization),
    WebRoute("admin-organization-disabled", "POST", DISABLED_PATH, Action.INSTANCE, post_disabled, danger=True),
)
