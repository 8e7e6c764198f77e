"""The teams of an organization: who is in them, and which roles they have."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import Frame, organization_of
from registry.api.web.lists import PAGE_ROWS, asked, next_page, number_asked
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import FORM_ERRORS, NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action, Role
from registry.core.errors import (
    AccountInvalid,
    AccountUnknown,
    Denied,
    FieldInvalid,
    NameInvalid,
    NameUnknown,
    RegistryError,
)
from registry.services.roles import Namespace, Spot

PATH = "/u/{namespace}/teams"
TEAM_PATH = f"{PATH}/{{team}}"
ROLES = {"read": Role.READ, "write": Role.WRITE, "admin": Role.ADMIN}


async def get_teams(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every team, by name."""
    return await _list(services, visit, view)


async def _list(
    services: WebServices, visit: Visit, view: View, name: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame = organization_of(visit)
    found = await services.hub.organizations.teams(frame.name, after=asked(visit, "after"), count=PAGE_ROWS + 1)
    values = {
        "frame": frame,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.name),
        "name": name,
        "problem": problem,
    }
    return services.pages.render(view, "teams.html", values, status=problem.status)


async def post_team(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one."""
    frame, name = organization_of(visit), visit.body.text("name")
    found = await tried(services.hub.organizations.add_team(frame.name, name, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, name, refusal(say, found))
    return told(services, view, f"{frame.path}/teams/{name}", say.gettext("The team is there."))


# One of them


async def get_team(services: WebServices, visit: Visit, view: View) -> Answer:
    """Who is in it."""
    return await _members(services, visit, view)


async def _members(
    services: WebServices, visit: Visit, view: View, name: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame, team = organization_of(visit), visit.names["team"]
    found = await services.hub.organizations.in_team(
        (frame.name, team), after=asked(visit, "after"), count=PAGE_ROWS + 1
    )
    values = {
        "frame": frame,
        "team": team,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.name),
        "name": name,
        "problem": problem,
    }
    return services.pages.render(view, "team-members.html", values, status=problem.status)


async def post_join(services: WebServices, visit: Visit, view: View) -> Answer:
    """Put a member or robot of the organization into it."""
    return await _set_in_team(services, visit, view, is_in=True)


async def post_take_out(services: WebServices, visit: Visit, view: View) -> Answer:
    """Take somebody out."""
    return await _set_in_team(services, visit, view, is_in=False)


async def _set_in_team(services: WebServices, visit: Visit, view: View, *, is_in: bool) -> Answer:
    frame, team, name = organization_of(visit), visit.names["team"], visit.body.text("name")
    found = await tried(services.hub.organizations.set_in_team((frame.name, team), name, visit.permit, is_in=is_in))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        problem = refusal(say, found, {AccountUnknown: "name", AccountInvalid: "name"})
        return await _members(services, visit, view, name, problem)
    text = say.gettext("%(name)s is in the team now.") if is_in else say.gettext("%(name)s is out of the team.")
    return told(services, view, _path(frame, team), text % {"name": name})


async def get_roles(services: WebServices, visit: Visit, view: View) -> Answer:
    """Which roles it has, and where."""
    return await _roles(services, visit, view)


async def _roles(
    services: WebServices, visit: Visit, view: View, place: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    frame, team = organization_of(visit), visit.names["team"]
    found = await services.hub.organizations.roles_of_team(
        (frame.name, team), visit.caller.principal, after=number_asked(visit, "after") or 0, count=PAGE_ROWS + 1
    )
    values = {
        "frame": frame,
        "team": team,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.id),
        "place": place,
        "problem": problem,
    }
    return services.pages.render(view, "team-roles.html", values, status=problem.status)


async def post_role(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give the team a role on a repository, or on all of the namespace."""
    role = ROLES.get(visit.body.text("role"))
    if role is None:
        raise FieldInvalid("role is read, write or admin", field="role")
    return await _give(services, visit, view, role)


async def post_role_end(services: WebServices, visit: Visit, view: View) -> Answer:
    """Take the role there away."""
    return await _give(services, visit, view, Role.NONE)


async def _give(services: WebServices, visit: Visit, view: View, role: Role) -> Answer:
    frame, team, place = organization_of(visit), visit.names["team"], visit.body.text("place")
    found = await tried(_given(services, visit, place, role), *FORM_ERRORS, Denied)
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        fields = dict.fromkeys((NameInvalid, NameUnknown, Denied, AccountUnknown), "place")
        return await _roles(services, visit, view, place, refusal(say, found, fields))
    text = say.gettext("The role is taken away.") if role is Role.NONE else say.gettext("The role is given.")
    return told(services, view, f"{_path(frame, team)}/roles", text)


async def _given(services: WebServices, visit: Visit, place: str, role: Role) -> None:
    """Who owns the organization need not administer that repository: the gate is asked about it."""
    holder = f"team:{visit.namespace.name}/{visit.names['team']}"
    spot: Spot = Namespace(visit.namespace.name, visit.permit)
    if place != f"{visit.namespace.name}/*":
        there = await services.hub.gate.into(visit, place, Action.ADMINISTER)
        spot = there.access
    await services.hub.roles.give(spot, holder, role)


async def get_settings(services: WebServices, visit: Visit, view: View) -> Answer:
    """The group that it stands for, and its end."""
    return await _settings(services, visit, view)


async def _settings(services: WebServices, visit: Visit, view: View, problem: Refusal = NOTHING_WRONG) -> Answer:
    frame, team = organization_of(visit), visit.names["team"]
    values = {
        "frame": frame,
        "team": team,
        "about": await services.hub.organizations.team(frame.name, team),
        "delete": _deletion(services, view, frame, team),
        "may_map": view.caller is not None and view.caller.is_admin and services.signing.provider != "",
        "problem": problem,
    }
    return services.pages.render(view, "team-settings.html", values, status=problem.status)


async def post_group(services: WebServices, visit: Visit, view: View) -> Answer:
    """Let it stand for a group of the identity provider; for admins of the instance."""
    organization, team = visit.names["namespace"], visit.names["team"]
    await services.signing.entrance.groups.set_group(
        (organization, team), visit.body.text("group") or None, visit.permit
    )
    path = f"/u/{organization}/teams/{team}/settings"
    return told(services, view, path, services.pages.texts(view).gettext("The group is kept."))


async def get_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether it is to end."""
    return ask(services, view, _deletion(services, view, organization_of(visit), visit.names["team"]))


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """End it, with the roles that it has."""
    frame, team = organization_of(visit), visit.names["team"]
    await services.hub.organizations.remove_team(frame.name, team, visit.permit)
    return told(services, view, f"{frame.path}/teams", services.pages.texts(view).gettext("The team is gone."))


def _path(frame: Frame, team: str) -> str:
    return f"{frame.path}/teams/{team}"


def _deletion(services: WebServices, view: View, frame: Frame, team: str) -> Question:
    say = services.pages.texts(view)
    return Question(
        "delete-team",
        say.gettext("Delete the team %(name)s?") % {"name": team},
        page=f"{_path(frame, team)}/delete",
        action=f"{_path(frame, team)}/delete",
        button=say.gettext("Delete"),
        back=f"{_path(frame, team)}/settings",
        lines=(say.gettext("Its members stay in the organization, without the roles that they have by this team."),),
    )


ROUTES = (
    WebRoute("teams", "GET", PATH, Action.INSPECT, get_teams),
    WebRoute("team-create", "POST", PATH, Action.GOVERN, post_team),
    WebRoute("team", "GET", TEAM_PATH, Action.INSPECT, get_team),
    WebRoute("team-join", "POST", f"{TEAM_PATH}/members", Action.GOVERN, post_join),
    WebRoute("team-take-out", "POST", f"{TEAM_PATH}/members/remove", Action.GOVERN, post_take_out),
    WebRoute("team-roles", "GET", f"{TEAM_PATH}/roles", Action.INSPECT, get_roles),
    WebRoute("team-role", "POST", f"{TEAM_PATH}/roles", Action.GOVERN, post_role),
    WebRoute("team-role-end", "POST", f"{TEAM_PATH}/roles/remove", Action.GOVERN, post_role_end),
    WebRoute("team-settings", "GET", f"{TEAM_PATH}/settings", Action.GOVERN, get_settings),
    WebRoute("team-group", "POST", f"{TEAM_PATH}/group", Action.INSTANCE, post_group),
    WebRoute("team-delete-page", "GET", f"{TEAM_PATH}/delete", Action.GOVERN, get_delete),
    WebRoute("team-delete", "POST", f"{TEAM_PATH}/delete", Action.GOVERN, post_delete),
)
