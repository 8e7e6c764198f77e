"""Who has a role on all of a namespace."""

from registry.api.hub import cursors
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import frame_of
from registry.api.web.lists import PAGE_ROWS, asked, next_page
from registry.api.web.news import told
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.teams import ROLES
from registry.api.web.view import View
from registry.core.access import Action, Role
from registry.core.errors import AccountInvalid, AccountUnknown, FieldInvalid, RegistryError
from registry.services.roles import Namespace

PATH = "/u/{namespace}/access"


async def get_holders(services: WebServices, visit: Visit, view: View) -> Answer:
    """The owners, and who was given a role."""
    return await _list(services, visit, view)


async def _list(
    services: WebServices, visit: Visit, view: View, holder: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame, cursor = frame_of(visit), asked(visit, "after")
    after = None
    if cursor:
        way, number = cursors.read(cursor, tuple[cursors.Number, cursors.Number])
        after = (way, number)
    found = await services.hub.roles.standings(
        Namespace(frame.name, visit.permit),
        after=after,
        count=PAGE_ROWS + 1,
    )
    values = {
        "frame": frame,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: cursors.write(one.position)),
        "holder": holder,
        "problem": problem,
    }
    return services.pages.render(view, "holders.html", values, status=problem.status)


async def post_holder(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give a role on everything that is there."""
    role = ROLES.get(visit.body.text("role"))
    if role is None:
        raise FieldInvalid("role is read, write or admin", field="role")
    return await _give(services, visit, view, role)


async def post_holder_end(services: WebServices, visit: Visit, view: View) -> Answer:
    """Take a role away."""
    return await _give(services, visit, view, Role.NONE)


async def _give(services: WebServices, visit: Visit, view: View, role: Role) -> Answer:
    frame, holder = frame_of(visit), visit.body.text("holder")
    found = await tried(services.hub.roles.give(Namespace(frame.name, visit.permit), holder, role))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        problem = refusal(say, found, {AccountUnknown: "holder", AccountInvalid: "holder"})
        return await _list(services, visit, view, holder, problem)
    text = say.gettext("The role is taken away.") if role is Role.NONE else say.gettext("The role is given.")
    return told(services, view, f"{frame.path}/access", text)


ROUTES = (
    WebRoute("holders", "GET", PATH, Action.INSPECT, get_holders),
    WebRoute("holder-set", "POST", PATH, Action.GOVERN, post_holder),
    WebRoute("holder-end", "POST", f"{PATH}/remove", Action.GOVERN, post_holder_end),
)
