"""Showing once more who one is, before something dangerous."""

from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import browser_of, session_of
from registry.api.web.refusals import NOTHING_WRONG, Refusal, tried, wrong
from registry.api.web.services import WebServices
from registry.api.web.sign_in import departs, refused_there, return_of, single_sign_on, wrong_code
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import ProviderFailed, RegistryError, TooManyRequests, Unauthenticated

PATH = "/prove"


@dataclass(frozen=True, slots=True)
class Ways:
    """How somebody can show who it is: a code wherever there is a second factor."""

    code: bool
    password: bool
    provider: str
    """The name of the identity provider, empty where that is no way."""


async def get_proof(services: WebServices, visit: Visit, view: View) -> Answer:
    """The form."""
    return await _form(services, visit, view, return_of(visit.request.query().get("next", [""])[-1]))


async def post_proof(services: WebServices, visit: Visit, view: View) -> Answer:
    """By a code, or by the password."""
    form, session = visit.body, session_of(visit)
    target = return_of(form.text("next"))
    found = await tried(
        services.signing.entrance.sign_in.prove(session, form.raw("proof"), browser_of(services, visit).visitor),
        Unauthenticated,
        TooManyRequests,
    )
    if not isinstance(found, RegistryError):
        return services.pages.redirect(view, target)
    return await _form(services, visit, view, target, found)


async def post_proof_at_provider(services: WebServices, visit: Visit, view: View) -> Answer:
    """By signing in at the identity provider again."""
    session, browser = session_of(visit), browser_of(services, visit)
    target = return_of(visit.body.text("next"))
    found = await tried(
        single_sign_on(services).begin_proof(session, browser.origin, return_to=target, browser=browser.sign_on),
        ProviderFailed,
        TooManyRequests,
    )
    if isinstance(found, RegistryError):
        return await _form(services, visit, view, target, found)
    return departs(services, view, browser, found)


async def _form(
    services: WebServices, visit: Visit, view: View, target: str, error: RegistryError | None = None
) -> Answer:
    ways = await _ways(services, session_of(visit).principal.name)
    problem = _problem(services, view, ways, error)
    values = {"next": target, "ways": ways, "problem": problem}
    answer = services.pages.render(view, "proof.html", values, status=problem.status)
    answer.headers.extend(problem.headers)
    return answer


def _problem(services: WebServices, view: View, ways: Ways, error: RegistryError | None) -> Refusal:
    if error is None:
        return NOTHING_WRONG
    say = services.pages.texts(view)
    if isinstance(error, Unauthenticated):
        text = wrong_code(services, view) if ways.code else say.gettext("The password is wrong.")
        return wrong(403, proof=text)
    return refused_there(services, view, error)


async def _ways(services: WebServices, name: str) -> Ways:
    signing = services.signing
    account = await services.hub.accounts.get(name)
    has_provider = signing.entrance.single_sign_on is not None and account.has_identity
    has_password = account.password_hash is not None
    if signing.entrance.only_admins_have_passwords and not account.is_admin:
        has_password = False
    return Ways(
        code=account.has_second_factor,
        password=has_password and not account.has_second_factor,
        provider=signing.provider if has_provider else "",
    )


ROUTES = (
    WebRoute("proof-page", "GET", PATH, Action.ACCOUNT, get_proof),
    WebRoute("proof", "POST", PATH, Action.ACCOUNT, post_proof),
    WebRoute("proof-at-provider", "POST", f"{PATH}/provider", Action.ACCOUNT, post_proof_at_provider),
)
