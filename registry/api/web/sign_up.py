"""Signing up, where that is open to everybody."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import browser_of
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried, wrong
from registry.api.web.services import Signing, WebServices
from registry.api.web.sign_in import return_of
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.auth import passwords
from registry.core.access import Action
from registry.core.errors import RegistryError, RouteUnknown
from registry.core.limits import PASSWORD_MIN_CHARS
from registry.core.names import new_owner_name
from registry.services.access import EVERYBODY, actor_of
from registry.services.sessions import SignedIn, Visitor


async def get_sign_up(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form."""
    _open(services)
    return _form(services, view, return_of(visit.request.query().get("next", [""])[-1]))


async def post_sign_up(services: WebServices, visit: Visit, view: View) -> Answer:
    """Make the account, and sign in to it."""
    _open(services)
    form, browser = visit.body, browser_of(services, visit)
    target = return_of(form.text("next"))
    name, password = form.text("name"), form.raw("password")
    if password != form.raw("again"):
        say = services.pages.texts(view)
        different = wrong(again=say.gettext("The two passwords are not the same."))
        return _form(services, view, target, name, different)
    found = await tried(_added(services, name, password, browser.visitor))
    if isinstance(found, RegistryError):
        return _form(services, view, target, name, refusal(services.pages.texts(view), found))
    return services.pages.redirect(view, target, cookies=browser.signed_in(found))


async def _added(services: WebServices, name: str, password: str, visitor: Visitor) -> SignedIn:
    # What cannot be is said before it counts as an account of this address.
    new_owner_name(name)
    passwords.check_new(password)
    await services.signing.login.count_sign_up(visitor.address)
    await services.hub.accounts.add_user(name, password, actor_of(EVERYBODY, visitor.address))
    return await services.signing.entrance.sign_in.with_password(name, password, visitor, replaces=None)


def password_hint(services: WebServices, view: View) -> str:
    """What a new password has to be."""
    text = services.pages.texts(view).gettext(
        "At least %(count)s characters; a few words that nobody else would put together are best."
    )
    return text % {"count": str(PASSWORD_MIN_CHARS)}


def _open(services: WebServices) -> Signing:
    """Raises RouteUnknown where an admin has to make accounts."""
    if not services.signing.sign_up_is_open:
        raise RouteUnknown("nobody can sign up here: ask an admin for an account")
    return services.signing


def _form(services: WebServices, view: View, target: str, name: str = "", problem: Refusal = NOTHING_WRONG) -> Answer:
    values = {"next": target, "name": name, "problem": problem, "password_hint": password_hint(services, view)}
    answer = services.pages.render(view, "sign-up.html", values, status=problem.status)
    answer.headers.extend(problem.headers)
    return answer


ROUTES = (
    WebRoute("sign-up-page", "GET", "/sign-up", Action.LOGIN, get_sign_up),
    WebRoute("sign-up", "POST", "/sign-up", Action.LOGIN, post_sign_up),
)
