"""The browser that sends a request: where it is, and which cookies of ours it holds."""

from dataclasses import dataclass, field

from registry.api.asgi import Headers
from registry.api.hub.gate import Visit
from registry.api.web.services import WebServices
from registry.auth.cookies import SESSION, SIGN_ON
from registry.core.errors import Unauthenticated
from registry.services.sessions import Session, SignedIn, Visitor
from registry.services.single_sign_on import Departure


@dataclass(frozen=True, slots=True)
class Browser:
    """What a request tells of the browser. `held` and `sign_on` are the secrets of its cookies."""

    visitor: Visitor
    origin: str
    """The address of the registry that it shows."""
    is_https: bool
    held: str | None = field(repr=False)
    sign_on: str | None = field(repr=False)

    def signed_in(self, signed_in: SignedIn) -> Headers:
        """The cookie of a new session."""
        return _cookie(SESSION.set(signed_in.secret, is_https=self.is_https, life_s=signed_in.life_s))

    def signed_out(self) -> Headers:
        """The end of that cookie, and of the other one."""
        return [*_cookie(SESSION.clear(is_https=self.is_https)), *_cookie(SIGN_ON.clear(is_https=self.is_https))]

    def departs(self, departure: Departure) -> Headers:
        """The cookie of a browser that goes to the identity provider. It outlasts the way back, for what was begun in
        another window."""
        return _cookie(SIGN_ON.set(departure.browser, is_https=self.is_https, life_s=departure.life_s))


def browser_of(services: WebServices, visit: Visit) -> Browser:
    """The browser of a request."""
    request = visit.request
    host = request.header(b"host")
    is_https = services.origins.is_https(host)
    shown = request.header_values(b"cookie")
    return Browser(
        visitor_of(visit),
        services.origins.of(host),
        is_https,
        held=SESSION.read(shown, is_https=is_https),
        sign_on=SIGN_ON.read(shown, is_https=is_https),
    )


def visitor_of(visit: Visit) -> Visitor:
    """Where a browser is, and what it says that it is."""
    return Visitor(visit.request.scope["depotry.address"], visit.request.header(b"user-agent") or "")


def session_of(visit: Visit) -> Session:
    """The session of a page that is about the person in front of it: no token stands for that. Raises
    Unauthenticated."""
    if visit.session is None:
        raise Unauthenticated("sign in on the page first")
    return visit.session


def _cookie(text: str) -> Headers:
    return [(b"set-cookie", text.encode("ascii"))]
