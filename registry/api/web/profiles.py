"""What an account says of itself, and what new repositories of its namespace are: one's own, or an organization's."""

from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import browser_of, session_of
from registry.api.web.forms import Form
from registry.api.web.news import told
from registry.api.web.questions import Question, ask, unconfirmed
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action, Visibility
from registry.core.errors import FieldInvalid, RegistryError
from registry.services.accounts import AccountChange, Profile
from registry.services.administration import By

PATH = "/settings"
DELETE_PATH = "/settings/delete"
AS_INSTANCE = "instance"
VISIBILITIES: dict[str, Visibility | None] = {
    AS_INSTANCE: None,
    "private": Visibility.PRIVATE,
    "public": Visibility.PUBLIC,
}


@dataclass(frozen=True, slots=True)
class ProfileForm:
    """What was filled in."""

    title: str
    description: str
    visibility: str

    @classmethod
    def of(cls, form: Form) -> "ProfileForm":
        """From what was sent."""
        return cls(form.text("title"), form.text("description"), form.text("visibility", AS_INSTANCE))

    @classmethod
    def of_profile(cls, profile: Profile) -> "ProfileForm":
        """From what is there."""
        visibility = profile.default_visibility
        return cls(profile.title, profile.description, AS_INSTANCE if visibility is None else visibility.value)


async def changed(services: WebServices, name: str, filled: ProfileForm, by: By) -> Profile:
    """Set what was filled in. Raises FieldInvalid, AccountUnknown."""
    if filled.visibility not in VISIBILITIES:
        raise FieldInvalid("visibility is one of the choices", field="visibility")
    wanted = AccountChange(
        title=filled.title, description=filled.description, default_visibility=VISIBILITIES[filled.visibility]
    )
    return await services.hub.accounts.update(name, wanted, by)


async def get_profile(services: WebServices, visit: Visit, view: View) -> Answer:
    """One's own."""
    profile = await services.hub.accounts.profile(visit.caller.principal.name)
    return _form(services, view, ProfileForm.of_profile(profile))


async def post_profile(services: WebServices, visit: Visit, view: View) -> Answer:
    """Set it."""
    filled = ProfileForm.of(visit.body)
    found = await tried(changed(services, visit.caller.principal.name, filled, visit.permit))
    say = services.pages.texts(view)
    if isinstance(found, RegistryError):
        return _form(services, view, filled, refusal(say, found))
    return told(services, view, PATH, say.gettext("The profile is kept."))


def _form(services: WebServices, view: View, filled: ProfileForm, problem: Refusal = NOTHING_WRONG) -> Answer:
    values = {"filled": filled, "problem": problem}
    return services.pages.render(view, "settings-profile.html", values, status=problem.status)


async def get_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether one's account is to end."""
    return ask(services, view, _question(services, view, session_of(visit).principal.name))


async def post_delete(services: WebServices, visit: Visit, view: View) -> Answer:
    """End it."""
    name = session_of(visit).principal.name
    question = _question(services, view, name)
    again = unconfirmed(services, visit, view, question)
    if again is not None:
        return again
    found = await tried(services.hub.accounts.delete(name, visit.permit, kind="user"))
    if isinstance(found, RegistryError):
        return ask(services, view, question, refusal(services.pages.texts(view), found))
    return services.pages.redirect(view, "/", cookies=browser_of(services, visit).signed_out())


def _question(services: WebServices, view: View, name: str) -> Question:
    say = services.pages.texts(view)
    return Question(
        "delete-account",
        say.gettext("Delete your account?"),
        page=DELETE_PATH,
        action=DELETE_PATH,
        button=say.gettext("Delete for ever"),
        back=PATH,
        lines=(
            say.gettext("Your robots, tokens, roles and stars go with it. Your name is never given out again."),
            say.gettext("Repositories in your namespace have to go first, or to move elsewhere."),
        ),
        word=name,
    )


ROUTES = (
    WebRoute("profile", "GET", PATH, Action.ACCOUNT, get_profile),
    WebRoute("profile-set", "POST", PATH, Action.ACCOUNT, post_profile),
    WebRoute("account-delete-page", "GET", DELETE_PATH, Action.ACCOUNT, get_delete, danger=True),
    WebRoute("account-delete", "POST", DELETE_PATH, Action.ACCOUNT, post_delete, danger=True),
)
