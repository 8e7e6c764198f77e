"""Signing out: here always, and at the identity provider for who wants that as well."""

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import browser_of
from registry.api.web.refusals import tried
from registry.api.web.services import WebServices
from registry.api.web.sign_in import single_sign_on
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import ProviderFailed, RegistryError, TooManyRequests

SIGNED_OUT_PATH = "/signed-out"


async def post_sign_out(services: WebServices, visit: Visit, view: View) -> Answer:
    """End the session. Who may still be signed in at the provider is told so."""
    browser, entrance = browser_of(services, visit), services.signing.entrance
    there, session = entrance.single_sign_on, visit.session
    await entrance.sessions.sign_out(browser.held, browser.visitor.address)
    is_there = there is not None and session is not None and await there.knows(session.account_id)
    return services.pages.redirect(view, SIGNED_OUT_PATH if is_there else "/", cookies=browser.signed_out())


async def get_signed_out(services: WebServices, visit: Visit, view: View) -> Answer:
    """The way to sign out of the provider too, where it has one: nobody is sent there who has not asked for it, because
    that ends what else somebody does by way of it. Here all is over, so that it may take its time to answer."""
    there = single_sign_on(services)
    if visit.session is not None:
        return services.pages.redirect(view, "/")
    found = await tried(there.sign_out_address(), ProviderFailed, TooManyRequests)
    address = "" if found is None or isinstance(found, RegistryError) else found
    return services.pages.render(view, "signed-out.html", {"provider": services.signing.provider, "address": address})


ROUTES = (
    WebRoute("sign-out", "POST", "/sign-out", Action.LOGIN, post_sign_out),
    WebRoute("signed-out", "GET", SIGNED_OUT_PATH, Action.LOGIN, get_signed_out),
)
