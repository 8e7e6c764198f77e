"""How one signs in: password, second factor, and who one is at the identity provider."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import browser_of, session_of
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried, wrong
from registry.api.web.second_factor import off_question
from registry.api.web.services import WebServices
from registry.api.web.sign_in import departs, refused_there, single_sign_on
from registry.api.web.sign_up import password_hint
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import AccountInvalid, ProviderFailed, RegistryError, TooManyRequests

PATH = "/settings/sign-in"
PASSWORD_PATH = "/settings/password"  # noqa: S105 - a path
IDENTITY_PATH = "/settings/identity"


async def get_ways(services: WebServices, visit: Visit, view: View) -> Answer:
    """What there is, and what can be done about it."""
    return await _ways(services, visit, view)


async def _ways(services: WebServices, visit: Visit, view: View, problem: Refusal = NOTHING_WRONG) -> Answer:
    signing = services.signing
    values = {
        "factor": await signing.entrance.second_factor.state(visit.account_id),
        "identities": await signing.entrance.identities.of_account(visit.account_id),
        "provider": signing.provider,
        "problem": problem,
        "off": off_question(services, view),
        "unlink": _unlink_question(services, view),
    }
    return services.pages.render(view, "settings-sign-in.html", values, status=problem.status)


async def get_password(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form for another password."""
    return _password_form(services, view)


async def post_password(services: WebServices, visit: Visit, view: View) -> Answer:
    """Other sessions end, and so do logins that clients keep."""
    form, session = visit.body, session_of(visit)
    say = services.pages.texts(view)
    if form.raw("password") != form.raw("again"):
        return _password_form(services, view, wrong(again=say.gettext("The two passwords are not the same.")))
    name = session.principal.name
    found = await tried(
        services.hub.accounts.set_password(name, form.raw("password"), visit.permit, keep_session=session.id)
    )
    if isinstance(found, RegistryError):
        return _password_form(services, view, refusal(say, found))
    return told(services, view, PATH, say.gettext("The password is changed. Other sessions have ended."))


def _password_form(services: WebServices, view: View, problem: Refusal = NOTHING_WRONG) -> Answer:
    values = {"problem": problem, "password_hint": password_hint(services, view)}
    return services.pages.render(view, "settings-password.html", values, status=problem.status)


# The identity provider


async def post_link(services: WebServices, visit: Visit, view: View) -> Answer:
    """To the identity provider, to be somebody there as well."""
    browser = browser_of(services, visit)
    found = await tried(
        single_sign_on(services).begin_link(session_of(visit), browser.origin, return_to=PATH, browser=browser.sign_on),
        ProviderFailed,
        TooManyRequests,
    )
    if isinstance(found, RegistryError):
        return await _ways(services, visit, view, refused_there(services, view, found))
    return departs(services, view, browser, found)


async def get_unlink(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether to be nobody there any more."""
    return ask(services, view, _unlink_question(services, view))


async def post_unlink(services: WebServices, visit: Visit, view: View) -> Answer:
    """Be nobody there any more."""
    session, say = session_of(visit), services.pages.texts(view)
    found = await tried(
        services.signing.entrance.identities.unlink(session.principal.name, visit.permit), AccountInvalid
    )
    if isinstance(found, RegistryError):
        return await _ways(services, visit, view, refusal(say, found))
    return told(services, view, PATH, say.gettext("The two accounts are no longer linked."))


def _unlink_question(services: WebServices, view: View) -> Question:
    say = services.pages.texts(view)
    return Question(
        "unlink",
        say.gettext("Unlink the two accounts?"),
        page=f"{IDENTITY_PATH}/unlink",
        action=f"{IDENTITY_PATH}/unlink",
        button=say.gettext("Unlink"),
        back=PATH,
        lines=(say.gettext("You then sign in here with your password."),),
    )


ROUTES = (
    WebRoute("sign-in-settings", "GET", PATH, Action.ACCOUNT, get_ways),
    WebRoute("password-page", "GET", PASSWORD_PATH, Action.ACCOUNT, get_password, danger=True),
    WebRoute("password", "POST", PASSWORD_PATH, Action.ACCOUNT, post_password, danger=True),
    WebRoute("identity-link", "POST", f"{IDENTITY_PATH}/link", Action.ACCOUNT, post_link, danger=True),
    WebRoute("identity-unlink-page", "GET", f"{IDENTITY_PATH}/unlink", Action.ACCOUNT, get_unlink, danger=True),
    WebRoute("identity-unlink", "POST", f"{IDENTITY_PATH}/unlink", Action.ACCOUNT, post_unlink, danger=True),
)
