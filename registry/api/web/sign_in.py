"""Signing in: with a password and, where the account has one, the second factor; or at the identity provider."""

from urllib.parse import urlencode

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import Browser, browser_of
from registry.api.web.news import told
from registry.api.web.pages import PAGE_HEADERS
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried, wrong
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import FlashKind, View
from registry.auth.return_to import safe_return
from registry.core.access import Action
from registry.core.errors import (
    ProofRequired,
    ProviderFailed,
    RegistryError,
    RouteUnknown,
    SignInRefused,
    TooManyRequests,
    Unauthenticated,
)
from registry.services.sessions import SignedIn
from registry.services.single_sign_on import CALLBACK_PATH, PROVE, Back, Departure, SingleSignOn

PATH = "/sign-in"
CODE_PATH = "/sign-in/code"
PROVIDER_PATH = "/sign-in/provider"


async def get_sign_in(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form; who is signed in goes on."""
    target = return_of(_asked(visit, "next"))
    if visit.session is not None:
        return services.pages.redirect(view, target)
    return _form(services, view, target)


async def post_sign_in(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whatever is wrong, the answer does not say whether there is such an account."""
    form, browser = visit.body, browser_of(services, visit)
    target = return_of(form.text("next"))
    found = await tried(
        services.signing.entrance.sign_in.with_password(
            form.text("name"), form.raw("password"), browser.visitor, replaces=browser.held
        ),
        Unauthenticated,
        TooManyRequests,
    )
    if not isinstance(found, RegistryError):
        return _go_on(services, view, browser, found, target)
    say = services.pages.texts(view)
    problem = refusal(say, found)
    if isinstance(found, Unauthenticated):
        problem = wrong(403, general=say.gettext("The name or the password is wrong, or this account cannot be used."))
    return _form(services, view, target, name=form.text("name"), problem=problem)


async def get_code(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form for the second factor, for who has shown a password a moment ago."""
    target = return_of(_asked(visit, "next"))
    if await services.signing.entrance.sessions.pending(browser_of(services, visit).held) is None:
        return services.pages.redirect(view, f"/sign-in?{urlencode({'next': target})}")
    return _code_form(services, view, target)


async def post_code(services: WebServices, visit: Visit, view: View) -> Answer:
    """Complete it, by a one-time code or a recovery code."""
    form, browser = visit.body, browser_of(services, visit)
    target = return_of(form.text("next"))
    found = await tried(
        services.signing.entrance.sign_in.with_code(browser.held, form.text("code"), browser.visitor),
        Unauthenticated,
        TooManyRequests,
    )
    if not isinstance(found, RegistryError):
        return _go_on(services, view, browser, found, target)
    say = services.pages.texts(view)
    if found.facts.get("begin_again"):
        ended = wrong(403, general=say.gettext("That took too long: begin again."))
        return _form(services, view, target, problem=ended)
    problem = refusal(say, found, {Unauthenticated: "code"})
    if isinstance(found, Unauthenticated):
        problem = wrong(403, code=wrong_code(services, view))
    return _code_form(services, view, target, problem)


def wrong_code(services: WebServices, view: View) -> str:
    """What is said of every code that does not count."""
    return services.pages.texts(view).gettext("This code is wrong, was used before, or is too old.")


# At the identity provider


async def get_provider(services: WebServices, visit: Visit, view: View) -> Answer:
    """The way to the identity provider."""
    browser = browser_of(services, visit)
    target = return_of(_asked(visit, "next"))
    found = await tried(
        single_sign_on(services).begin(browser.origin, return_to=target, browser=browser.sign_on),
        ProviderFailed,
        TooManyRequests,
    )
    if isinstance(found, RegistryError):
        return _form(services, view, target, problem=refused_there(services, view, found))
    location = (b"location", found.address.encode("ascii"))
    return Answer(303, [*PAGE_HEADERS, location, *browser.departs(found)])


def departs(services: WebServices, view: View, browser: Browser, departure: Departure) -> Answer:
    """A page that goes to the identity provider: a form may not lead there by itself."""
    answer = services.pages.render(
        view, "departure.html", {"address": departure.address, "provider": services.signing.provider}
    )
    answer.headers.extend(browser.departs(departure))
    return answer


async def get_callback(services: WebServices, visit: Visit, view: View) -> Answer:
    """Back from the identity provider."""
    browser = browser_of(services, visit)
    query = {name: values[0] for name, values in visit.request.query().items() if len(values) == 1}
    back = Back(query, browser.sign_on, browser.held, visit.session, browser.visitor)
    found = await tried(
        single_sign_on(services).finish(back),
        SignInRefused,
        ProviderFailed,
        ProofRequired,
        Unauthenticated,
        TooManyRequests,
    )
    if isinstance(found, RegistryError):
        return _not_let_in(services, view, back, found)
    if found.signed_in is None:
        return services.pages.redirect(view, found.return_to)
    return _go_on(services, view, browser, found.signed_in, found.return_to)


def _not_let_in(services: WebServices, view: View, back: Back, error: RegistryError) -> Answer:
    """To where the browser had set out from. Who is signed in stays so, and is shown no form for that."""
    errand = single_sign_on(services).errand(back)
    target = "/" if errand is None else errand.return_to
    if isinstance(error, ProofRequired):
        return services.pages.redirect(view, way_to_proof(target))
    problem = refused_there(services, view, error)
    if back.session is None:
        return _form(services, view, target, problem=problem)
    if errand is not None and errand.purpose == PROVE:
        target = way_to_proof(target)
    return told(services, view, target, problem.general, FlashKind.DANGER)


def single_sign_on(services: WebServices) -> SingleSignOn:
    """Raises RouteUnknown where there is none."""
    found = services.signing.entrance.single_sign_on
    if found is None:
        raise RouteUnknown("nobody signs in at an identity provider here")
    return found


def return_of(text: str) -> str:
    """Where somebody wants to be who has signed in: not at signing in, which may lead to the provider, and there no
    form may lead."""
    target = safe_return(text)
    path = target.partition("?")[0]
    return "/" if path == PATH or path.startswith(f"{PATH}/") else target


def way_to_proof(target: str) -> str:
    """The page that asks once more who one is, and leads to a path of ours."""
    return f"/prove?{urlencode({'next': target})}"


def _asked(visit: Visit, name: str) -> str:
    return visit.request.query().get(name, [""])[-1]


def _go_on(services: WebServices, view: View, browser: Browser, signed_in: SignedIn, target: str) -> Answer:
    path = target if signed_in.is_complete else f"{CODE_PATH}?{urlencode({'next': target})}"
    return services.pages.redirect(view, path, cookies=browser.signed_in(signed_in))


def _form(
    services: WebServices, view: View, target: str, *, name: str = "", problem: Refusal = NOTHING_WRONG
) -> Answer:
    signing = services.signing
    provider = signing.provider if signing.entrance.single_sign_on is not None else ""
    values = {
        "next": target,
        "name": name,
        "problem": problem,
        "provider": provider,
        "is_for_admins": signing.entrance.only_admins_have_passwords,
    }
    answer = services.pages.render(view, "sign-in.html", values, status=problem.status)
    answer.headers.extend(problem.headers)
    return answer


def _code_form(services: WebServices, view: View, target: str, problem: Refusal = NOTHING_WRONG) -> Answer:
    answer = services.pages.render(
        view, "sign-in-code.html", {"next": target, "problem": problem}, status=problem.status
    )
    answer.headers.extend(problem.headers)
    return answer


def refused_there(services: WebServices, view: View, error: RegistryError) -> Refusal:
    """What to show of an error at the identity provider, or on the way there and back."""
    say = services.pages.texts(view)
    if isinstance(error, ProviderFailed):
        return wrong(503, general=say.gettext("The identity provider does not answer. Try again in a moment."))
    return refusal(say, error)


ROUTES = (
    WebRoute("sign-in-page", "GET", PATH, Action.LOGIN, get_sign_in),
    WebRoute("sign-in", "POST", PATH, Action.LOGIN, post_sign_in),
    WebRoute("sign-in-code-page", "GET", CODE_PATH, Action.LOGIN, get_code),
    WebRoute("sign-in-code", "POST", CODE_PATH, Action.LOGIN, post_code),
    WebRoute("sign-in-provider", "GET", PROVIDER_PATH, Action.LOGIN, get_provider),
    WebRoute("sign-in-callback", "GET", CALLBACK_PATH, Action.LOGIN, get_callback),
)
