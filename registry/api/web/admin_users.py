"""All users, for admins: found, made, and looked after one by one."""

import secrets
from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.forms import Form
from registry.api.web.lists import PAGE_ROWS, asked, next_page
from registry.api.web.news import disabled_now, told
from registry.api.web.questions import Question, ask, unconfirmed
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.sessions import device_of
from registry.api.web.sign_up import password_hint
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import AccountUnknown, RegistryError

USER = "user"
PATH = "/admin/users"
USER_PATH = f"{PATH}/{{account}}"
MADE_CHARS = 18
"""Random bytes of a password that is made here."""


@dataclass(frozen=True, slots=True)
class UserForm:
    """What was filled in."""

    name: str = ""
    is_admin: bool = False

    @classmethod
    def of(cls, form: Form) -> "UserForm":
        """From what was sent."""
        return cls(form.text("name"), form.has("admin"))


async def get_users(services: WebServices, visit: Visit, view: View) -> Answer:
    """Those whose name begins as asked for, by name."""
    prefix = asked(visit, "q")
    found = await services.hub.accounts.page(USER, after=asked(visit, "after"), count=PAGE_ROWS + 1, prefix=prefix)
    values = {"found": found[:PAGE_ROWS], "next": next_page(view, found, lambda one: one.name), "q": prefix}
    if view.is_htmx:
        return services.pages.fragment(view, "admin-users.html", "rows", values)
    return services.pages.render(view, "admin-users.html", values)


async def get_new(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form."""
    return _form(services, view, UserForm())


async def post_user(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make one, with the password that was given, or with one that is shown this once."""
    filled, given = UserForm.of(visit.body), visit.body.raw("password")
    password = given or made_password()
    found = await tried(services.hub.accounts.add_user(filled.name, password, visit.permit, is_admin=filled.is_admin))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return _form(services, view, filled, refusal(say, found))
    if given:
        return told(services, view, f"{PATH}/{filled.name}", say.gettext("The user is there."))
    return _shown(services, view, filled.name, password)


def _form(services: WebServices, view: View, filled: UserForm, problem: Refusal = NOTHING_WRONG) -> Answer:
    values = {"filled": filled, "problem": problem, "password_hint": password_hint(services, view)}
    return services.pages.render(view, "admin-user-new.html", values, status=problem.status)


def made_password() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(MADE_CHARS)


def _shown(services: WebServices, view: View, name: str, password: str) -> Answer:
    return services.pages.render(view, "admin-user-password.html", {"name": name, "password": password})


# One of them


async def get_user(services: WebServices, visit: Visit, view: View) -> Answer:
    """What it is, and where it is signed in."""
    return await _user(services, visit, view)


async def _user(services: WebServices, visit: Visit, view: View, problem: Refusal = NOTHING_WRONG) -> Answer:
    account = await services.hub.accounts.get(visit.names["account"])
    if account.kind != USER:
        raise AccountUnknown("there is no such user")
    sessions = await services.signing.entrance.sessions.listed(account.id)
    values = {
        "account": account,
        "sessions": [(one, device_of(one.user_agent)) for one in sessions],
        "problem": problem,
        "questions": {one.id: one for one in _questions(services, view, account.name)},
        "is_self": view.caller is not None and view.caller.name == account.name,
    }
    return services.pages.render(view, "admin-user.html", values, status=problem.status)


async def post_admin(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make it an admin, or no longer."""
    is_admin = visit.body.text("admin") == "yes"
    name = visit.names["account"]
    found = await tried(services.hub.accounts.set_admin(name, visit.permit, is_admin=is_admin))
    say = services.pages.texts(view)
    text = say.gettext("%(name)s is an admin now.") if is_admin else say.gettext("%(name)s is no admin any more.")
    return await _done(services, visit, view, found, text % {"name": name})


async def post_disabled(services: WebServices, visit: Visit, view: View) -> Answer:
    """Disable it, or enable it again."""
    is_disabled = visit.body.text("disabled") == "yes"
    name = visit.names["account"]
    found = await tried(services.hub.accounts.set_disabled(name, visit.permit, is_disabled=is_disabled))
    text = disabled_now(services.pages.texts(view), name, is_disabled=is_disabled)
    return await _done(services, visit, view, found, text)


async def post_password(services: WebServices, visit: Visit, view: View) -> Answer:
    """Give it another password, which is shown this once."""
    name, password = visit.names["account"], made_password()
    await services.hub.accounts.set_password(name, password, visit.permit)
    return _shown(services, view, name, password)


async def post_sign_out(services: WebServices, visit: Visit, view: View) -> Answer:
    """End its sessions."""
    name = visit.names["account"]
    found = await tried(services.hub.accounts.sign_out(name, visit.permit))
    text = services.pages.texts(view).gettext("%(name)s is signed out everywhere.")
    return await _done(services, visit, view, found, text % {"name": name})


async def post_factor_off(services: WebServices, visit: Visit, view: View) -> Answer:
    """Take the second factor off it."""
    name = visit.names["account"]
    found = await tried(services.hub.accounts.take_off_second_factor(name, visit.permit))
    text = services.pages.texts(view).gettext("%(name)s has no second factor any more.")
    return await _done(services, visit, view, found, text % {"name": name})


async def get_question(services: WebServices, visit: Visit, view: View) -> Answer:
    """What is asked before one of these."""
    asked_for = next(
        (one for one in _questions(services, view, visit.names["account"]) if one.id == visit.names["question"]), None
    )
    if asked_for is None:
        raise AccountUnknown("there is no such question")
    return ask(services, view, asked_for)


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """End it."""
    name = visit.names["account"]
    question = next(one for one in _questions(services, view, name) if one.id == "delete")
    again = unconfirmed(services, visit, view, question)
    if again is not None:
        return again
    found = await tried(services.hub.accounts.delete(name, visit.permit, kind=USER))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return await _user(services, visit, view, refusal(say, found))
    return told(services, view, PATH, say.gettext("%(name)s is gone.") % {"name": name})


async def _done(services: WebServices, visit: Visit, view: View, found: object, text: str) -> Answer:
    if isinstance(found, RegistryError):
        return await _user(services, visit, view, refusal(services.pages.texts(view), found))
    return told(services, view, f"{PATH}/{visit.names['account']}", text)


def _questions(services: WebServices, view: View, name: str) -> tuple[Question, ...]:
    say, path = services.pages.texts(view), f"{PATH}/{name}"

    def question(key: str, title: str, button: str, *lines: str) -> Question:
        word, fields = (name, ()) if key == "delete" else ("", _FIELDS.get(key, ()))
        action = f"{path}/{_ACTIONS.get(key, key)}"
        return Question(
            key, title % {"name": name}, f"{path}/ask/{key}", action, button, path, lines, fields=fields, word=word
        )

    return (
        question(
            "disable",
            say.gettext("Disable %(name)s?"),
            say.gettext("Disable"),
            say.gettext("It cannot sign in, its tokens and robots do not count, until it is enabled again."),
        ),
        question(
            "promote",
            say.gettext("Make %(name)s an admin?"),
            say.gettext("Make an admin"),
            say.gettext("Admins may do everything, everywhere."),
        ),
        question(
            "password",
            say.gettext("Give %(name)s another password?"),
            say.gettext("Another password"),
            say.gettext("A new one is made, and shown to you this once. The old one, and every session, ends."),
        ),
        question(
            "factor-off",
            say.gettext("Take the second factor off %(name)s?"),
            say.gettext("Take off"),
            say.gettext("For who has lost the app and the recovery codes. Make sure who is asking."),
        ),
        question(
            "delete",
            say.gettext("Delete %(name)s?"),
            say.gettext("Delete for ever"),
            say.gettext("Robots, tokens, roles and stars go with it. Its name is never given out again."),
            say.gettext("It has to own no repositories, and must not be the only owner of an organization."),
        ),
    )


_ACTIONS = {"disable": "disabled", "promote": "admin"}
_FIELDS = {"disable": (("disabled", "yes"),), "promote": (("admin", "yes"),)}

ROUTES = (
    WebRoute("admin-users", "GET", PATH, Action.INSTANCE, get_users),
    WebRoute("admin-user-page", "GET", f"{PATH}/new", Action.INSTANCE, get_new),
    WebRoute("admin-user-create", "POST", PATH, Action.INSTANCE, post_user, danger=True),
    WebRoute("admin-user", "GET", USER_PATH, Action.INSTANCE, get_user),
    WebRoute("admin-user-ask", "GET", f"{USER_PATH}/ask/{{question}}", Action.INSTANCE, get_question),
    WebRoute("admin-user-admin", "POST", f"{USER_PATH}/admin", Action.INSTANCE, post_admin, danger=True),
    WebRoute("admin-user-disabled", "POST", f"{USER_PATH}/disabled", Action.INSTANCE, post_disabled, danger=True),
    WebRoute("admin-user-password", "POST", f"{USER_PATH}/password", Action.INSTANCE, post_password, danger=True),
    WebRoute("admin-user-sign-out", "POST", f"{USER_PATH}/sign-out", Action.INSTANCE, post_sign_out),
    WebRoute("admin-user-factor-off", "POST", f"{USER_PATH}/factor-off", Action.INSTANCE, post_factor_off, danger=True),
    WebRoute("admin-user-delete", "POST", f"{USER_PATH}/delete", Action.INSTANCE, post_delete, danger=True),
)
