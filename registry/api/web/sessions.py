"""Browsers that are signed in, and clients that keep a login: seen, and ended."""

from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import session_of, visitor_of
from registry.api.web.lists import number_of
from registry.api.web.news import told
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action

PATH = "/settings/sessions"
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iOS",
    "iPad": "iOS",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
"""What a `User-Agent` holds, in the order in which it tells most: many claim to be several."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a `User-Agent` tells people. Each may be empty."""

    browser: str
    system: str

    @property
    def icon(self) -> str:
        """Its picture."""
        return "terminal" if not self.browser else "monitor"


def device_of(user_agent: str) -> Device:
    """What it is, as far as it says."""
    browser = next((name for word, name in _BROWSERS.items() if word in user_agent), "")
    system = next((name for word, name in _SYSTEMS.items() if word in user_agent), "")
    return Device(browser, system)


async def get_sessions(services: WebServices, visit: Visit, view: View) -> Answer:
    """Every one of one's own."""
    session = session_of(visit)
    found = await services.signing.entrance.sessions.listed(session.account_id)
    logins = await services.hub.tokens.logins(session.account_id)
    return services.pages.render(
        view,
        "settings-sessions.html",
        {"sessions": [(one, device_of(one.user_agent)) for one in found], "current": session.id, "logins": logins},
    )


async def post_end(services: WebServices, visit: Visit, view: View) -> Answer:
    """End one of them."""
    session = session_of(visit)
    ended = number_of(visit.body, "session")
    await services.signing.entrance.sessions.end(session, ended, visitor_of(visit))
    if ended == session.id:
        return services.pages.redirect(view, "/")
    return told(services, view, PATH, services.pages.texts(view).gettext("The session has ended."))


async def post_end_others(services: WebServices, visit: Visit, view: View) -> Answer:
    """End every one but this."""
    count = await services.signing.entrance.sessions.end_others(session_of(visit), visitor_of(visit))
    say = services.pages.texts(view)
    text = say.ngettext("%(count)s other session has ended.", "%(count)s other sessions have ended.", count)
    return told(services, view, PATH, text % {"count": str(count)})


async def post_end_login(services: WebServices, visit: Visit, view: View) -> Answer:
    """End the login that a client keeps."""
    session = session_of(visit)
    await services.hub.tokens.revoke(number_of(visit.body, "login"), visit.permit, account=session.principal.name)
    return told(services, view, PATH, services.pages.texts(view).gettext("The login has ended."))


ROUTES = (
    WebRoute("sessions", "GET", PATH, Action.ACCOUNT, get_sessions),
    WebRoute("session-end", "POST", f"{PATH}/end", Action.ACCOUNT, post_end),
    WebRoute("login-end", "POST", f"{PATH}/end-login", Action.ACCOUNT, post_end_login),
    WebRoute("sessions-end-others", "POST", f"{PATH}/end-others", Action.ACCOUNT, post_end_others),
)
