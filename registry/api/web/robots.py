"""The robots of a namespace: accounts of programs, which log in by tokens alone."""

from functools import partial

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.inside import Frame, frame_of
from registry.api.web.lists import PAGE_ROWS, asked, next_page, number_asked, number_of
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import FORM_ERRORS, NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.token_forms import Place, TokenForm, token_form, token_shown
from registry.api.web.tokens import made_token, revoke_question
from registry.api.web.view import View
from registry.auth.opaque import TokenKind
from registry.core.access import Action, Role
from registry.core.errors import Denied, FieldInvalid, RegistryError

PATH = "/u/{namespace}/robots"
ROBOT_PATH = f"{PATH}/{{robot}}"
ROLES = {"none": Role.NONE, "read": Role.READ, "write": Role.WRITE, "admin": Role.ADMIN}


async def get_robots(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every robot, by name."""
    return await _list(services, visit, view)


async def _list(
    services: WebServices,
    visit: Visit,
    view: View,
    filled: tuple[str, str] = ("", "write"),
    problem: Refusal = NOTHING_WRONG,
) -> Answer:
    frame = frame_of(visit)
    found = await services.hub.accounts.robots(frame.name, after=asked(visit, "after"), count=PAGE_ROWS + 1)
    values = {
        "frame": frame,
        "found": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda one: one.name),
        "name": filled[0],
        "role": filled[1],
        "problem": problem,
    }
    return services.pages.render(view, "robots.html", values, status=problem.status)


async def post_robot(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one, with a role on the whole namespace or none."""
    frame, form = frame_of(visit), visit.body
    name, word = form.text("name"), form.text("role")
    role = ROLES.get(word)
    if role is None:
        raise FieldInvalid("role is none, read, write or admin", field="role")
    found = await tried(services.hub.accounts.add_robot(f"{frame.name}+{name}", role, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _list(services, visit, view, (name, word), refusal(say, found))
    return told(services, view, _path(frame, name), say.gettext("The robot is there. Now give it a token."))


# One of them


async def get_robot(services: WebServices, visit: Visit, view: View) -> Answer:
    """Its tokens."""
    frame, robot = frame_of(visit), visit.names["robot"]
    after = number_asked(visit, "after") or 0
    found = await services.hub.tokens.page(_account(frame, robot), TokenKind.PERSONAL, after=after, count=PAGE_ROWS + 1)
    values = {
        "frame": frame,
        "robot": robot,
        "tokens": found[:PAGE_ROWS],
        "next": next_page(view, found, lambda token: token.id),
        "revoke": partial(revoke_question, services, view, _path(frame, robot)),
        "delete": _deletion(services, view, frame, robot),
    }
    return services.pages.render(view, "robot.html", values)


async def get_new_token(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form for a token of it."""
    await services.hub.accounts.get(_account(frame_of(visit), visit.names["robot"]))
    return token_form(services, view, _place(visit))


async def post_token(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make a token, and show its secret this once."""
    place, filled = _place(visit), TokenForm.of(visit.body)
    found = await tried(made_token(services, visit, place.account, filled), *FORM_ERRORS, Denied)
    if isinstance(found, RegistryError):
        return token_form(services, view, place, filled, refusal(services.pages.texts(view), found))
    return token_shown(services, view, place, filled.name, found)


async def get_revoke(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether a token is to be revoked."""
    path = _path(frame_of(visit), visit.names["robot"])
    return ask(services, view, revoke_question(services, view, path, number_asked(visit, "token") or 0))


async def post_revoke(services: WebServices, visit: Visit, view: View) -> Answer:
    """Revoke a token of it."""
    frame, robot = frame_of(visit), visit.names["robot"]
    number = number_of(visit.body, "token")
    await services.hub.tokens.revoke(number, visit.permit, account=_account(frame, robot))
    return told(services, view, _path(frame, robot), services.pages.texts(view).gettext("The token is revoked."))


async def get_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether it is to end."""
    return ask(services, view, _deletion(services, view, frame_of(visit), visit.names["robot"]))


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """End it, with its tokens and roles."""
    frame, robot = frame_of(visit), visit.names["robot"]
    await services.hub.accounts.delete(_account(frame, robot), visit.permit, kind="robot")
    return told(services, view, f"{frame.path}/robots", services.pages.texts(view).gettext("The robot is gone."))


def _account(frame: Frame, robot: str) -> str:
    """The whole name of a robot: one of this namespace, whatever stands in the path."""
    return f"{frame.name}+{robot}"


def _path(frame: Frame, robot: str) -> str:
    return f"{frame.path}/robots/{robot}"


def _place(visit: Visit) -> Place:
    frame, robot = frame_of(visit), visit.names["robot"]
    path = _path(frame, robot)
    return Place(
        _account(frame, robot),
        action=f"{path}/tokens",
        back=path,
        template="robot-token-new.html",
        shown="robot-token-shown.html",
        frame=frame,
    )


def _deletion(services: WebServices, view: View, frame: Frame, robot: str) -> Question:
    say = services.pages.texts(view)
    return Question(
        "delete-robot",
        say.gettext("Delete the robot %(name)s?") % {"name": _account(frame, robot)},
        page=f"{_path(frame, robot)}/delete",
        action=f"{_path(frame, robot)}/delete",
        button=say.gettext("Delete"),
        back=_path(frame, robot),
        lines=(
            say.gettext("Whatever uses its tokens is kept out. What it has pushed stays."),
            say.gettext("Its name is never given out again."),
        ),
    )


ROUTES = (
    WebRoute("robots", "GET", PATH, Action.INSPECT, get_robots),
    WebRoute("robot-create", "POST", PATH, Action.GOVERN, post_robot),
    WebRoute("robot", "GET", ROBOT_PATH, Action.GOVERN, get_robot),
    WebRoute("robot-token-page", "GET", f"{ROBOT_PATH}/new", Action.GOVERN, get_new_token, danger=True),
    WebRoute("robot-token-create", "POST", f"{ROBOT_PATH}/tokens", Action.GOVERN, post_token, danger=True),
    WebRoute("robot-token-revoke-page", "GET", f"{ROBOT_PATH}/revoke", Action.GOVERN, get_revoke),
    WebRoute("robot-token-revoke", "POST", f"{ROBOT_PATH}/revoke", Action.GOVERN, post_revoke),
    WebRoute("robot-delete-page", "GET", f"{ROBOT_PATH}/delete", Action.GOVERN, get_delete, danger=True),
    WebRoute("robot-delete", "POST", f"{ROBOT_PATH}/delete", Action.GOVERN, post_delete, danger=True),
)
