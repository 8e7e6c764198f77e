"""The members and owners of an organization."""

from functools import partial
from urllib.parse import urlencode

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import Frame, organization_of
from registry.api.web.lists import PAGE_ROWS, asked, next_page
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import AccountUnknown, FieldInvalid, RegistryError

PATH = "/u/{namespace}/members"
OWNER, MEMBER = "owner", "member"


async def get_members(services: WebServices, visit: Visit, view: View) -> Answer:
    """Everybody, by name."""
    return await _list(services, visit, view)


async def _list(
    services: WebServices, visit: Visit, view: View, name: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame = organization_of(visit)
    found = await services.hub.organizations.members(frame.name, after=asked(visit, "after"), count=PAGE_ROWS + 1)
    values = {
        "frame": frame,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.name),
        "name": name,
        "problem": problem,
        "remove": partial(_removal, services, view, frame),
        "leave": _leaving(services, view, frame),
    }
    return services.pages.render(view, "members.html", values, status=problem.status)


async def post_member(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make somebody a member or an owner."""
    frame, name = organization_of(visit), visit.body.text("name")
    role = visit.body.text("role", MEMBER)
    if role not in (OWNER, MEMBER):
        raise FieldInvalid("role is owner or member", field="role")
    found = await tried(services.hub.organizations.set_member(frame.name, name, visit.permit, is_owner=role == OWNER))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, name, refusal(say, found, {AccountUnknown: "name"}))
    text = say.gettext("%(name)s is an owner now.") if role == OWNER else say.gettext("%(name)s is a member now.")
    return told(services, view, f"{frame.path}/members", text % {"name": name})


async def get_remove(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether somebody is to be taken out."""
    return ask(services, view, _removal(services, view, organization_of(visit), asked(visit, "name")))


async def post_remove(services: WebServices, visit: Visit, view: View) -> Answer:
    """Take somebody out, of the teams too, and with every role there."""
    frame, name = organization_of(visit), visit.body.text("name")
    found = await tried(services.hub.organizations.remove_member(frame.name, name, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, problem=refusal(say, found))
    text = say.gettext("%(name)s is no longer in the organization.") % {"name": name}
    return told(services, view, f"{frame.path}/members", text)


async def get_leave(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether the caller wants to leave."""
    return ask(services, view, _leaving(services, view, organization_of(visit)))


async def post_leave(services: WebServices, visit: Visit, view: View) -> Answer:
    """Leave."""
    frame, name = organization_of(visit), visit.caller.principal.name
    found = await tried(services.hub.organizations.remove_member(frame.name, name, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, problem=refusal(say, found))
    text = say.gettext("You have left %(name)s.") % {"name": frame.name}
    return told(services, view, "/organizations", text)


def _removal(services: WebServices, view: View, frame: Frame, name: str) -> Question:
    say = services.pages.texts(view)
    return Question(
        f"remove-{name}",
        say.gettext("Take %(name)s out of the organization?") % {"name": name},
        page=f"{frame.path}/members/remove?{urlencode({'name': name})}",
        action=f"{frame.path}/members/remove",
        button=say.gettext("Take out"),
        back=f"{frame.path}/members",
        lines=(say.gettext("That ends every role there, and every place in a team. Nothing of what was pushed goes."),),
        fields=(("name", name),),
    )


def _leaving(services: WebServices, view: View, frame: Frame) -> Question:
    say = services.pages.texts(view)
    return Question(
        "leave",
        say.gettext("Leave %(name)s?") % {"name": frame.name},
        page=f"{frame.path}/members/leave",
        action=f"{frame.path}/members/leave",
        button=say.gettext("Leave"),
        back=f"{frame.path}/members",
        lines=(say.gettext("Your roles there end. Only an owner can let you in again."),),
    )


ROUTES = (
    WebRoute("members", "GET", PATH, Action.INSPECT, get_members),
    WebRoute("member-set", "POST", PATH, Action.GOVERN, post_member),
    WebRoute("member-remove-page", "GET", f"{PATH}/remove", Action.GOVERN, get_remove),
    WebRoute("member-remove", "POST", f"{PATH}/remove", Action.GOVERN, post_remove),
    WebRoute("member-leave-page", "GET", f"{PATH}/leave", Action.INSPECT, get_leave),
    WebRoute("member-leave", "POST", f"{PATH}/leave", Action.INSPECT, post_leave),
)
