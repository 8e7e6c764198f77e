"""The table of the pages, and the ASGI application that serves them."""

from dataclasses import replace

from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.hub.gate import Visit
from registry.api.hub.paths import Paths
from registry.api.responses import Answer, AnyAnswer, LinesAnswer
from registry.api.web import affairs, browsing, cookies, preferences
from registry.api.web.assets import PREFIX as STATIC
from registry.api.web.forms import CSRF_FIELD, Form, read_form
from registry.api.web.services import WebServices
from registry.api.web.sign_in import way_to_proof
from registry.api.web.table import WebRoute
from registry.api.web.view import Caller, View, came_from
from registry.api.web.view import preferences as preferences_of
from registry.core.errors import PreconditionFailed, ProofRequired, RegistryError, Unauthenticated
from registry.services.sessions import Session

WEB_ROUTES: tuple[WebRoute, ...] = (*browsing.ROUTES, *affairs.ROUTES, *preferences.ROUTES)
_PATHS: Paths[WebRoute] = Paths(WEB_ROUTES)


class WebApp:
    """The pages as an ASGI application."""

    def __init__(self, services: WebServices) -> None:
        self._services = services
        self._boundary = Boundary(self._respond, self._failed, self._broken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> AnyAnswer:
        if request.raw_path.startswith(STATIC):
            return self._services.assets.answer(request)
        try:
            route, names = _PATHS.find(request.method, request.raw_path)
        except RegistryError:
            # So that the page which says so knows who looks at it.
            await self._services.hub.gate.recognize(request)
            raise
        request.scope["depotry.route"] = route
        form = Form() if route.method == "GET" else await read_form(request)
        request.scope["depotry.csrf"] = form.text(CSRF_FIELD)
        visit = await self._services.hub.gate.admit(request, route.action, names, danger=route.danger)
        answer = await route.handler(self._services, visit.with_values(None, form), self._view(request, visit))
        await self._services.hub.gate.settle(request)
        return self._sent(request, answer)

    def _view(self, request: Request, visit: Visit | None = None) -> View:
        """Who looks, as far as that is known: an error may come before the gate."""
        session: Session | None = request.scope.get("depotry.session")
        language, theme = preferences_of(request)
        return View(
            path=request.raw_path,
            now_ms=self._services.clock(),
            language=language,
            theme=theme,
            caller=_caller(session, visit),
            csrf="" if session is None else session.word,
            flashes=cookies.flashes_of(request),
            query=tuple((name, value) for name, values in request.query().items() for value in values),
            is_htmx=_wants_piece(request),
            came_from=came_from(request, self._services.origins.of(request.header(b"host"))),
        )

    def _sent(self, request: Request, answer: Answer | LinesAnswer) -> AnyAnswer:
        """News that were shown are over; HEAD has no body."""
        if isinstance(answer, LinesAnswer):
            return Answer(200, answer.headers) if request.method == "HEAD" else answer
        if answer.status == 200 and answer.body and cookies.flashes_of(request):
            answer.headers.extend(cookies.kept(cookies.FLASH_COOKIE, "", is_https=self._services.is_https, life_s=0))
        if request.method == "HEAD":
            return Answer(answer.status, answer.headers, length=len(answer.body))
        return answer

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        if isinstance(error, ProofRequired):
            view = self._view(request)
            return self._services.pages.redirect(view, way_to_proof(view.way_back))
        if isinstance(error, Unauthenticated):
            view = self._view(request)
            if view.caller is None:
                return self._services.pages.to_sign_in(view)
            # Signed in, and so led back here at once.
            error = PreconditionFailed(error.message)
        return self._services.pages.error(self._plain_view(request), error)

    def _broken(self, request: Request) -> Answer:
        return self._services.pages.failure(self._plain_view(request))

    def _plain_view(self, request: Request) -> View:
        """For errors, which may lie in what a view is made of. They say nothing of the query, which may be a secret
        that went astray."""
        try:
            return replace(self._view(request), query=())
        except RegistryError:
            return View(path=request.raw_path, now_ms=self._services.clock())


def _caller(session: Session | None, visit: Visit | None) -> Caller | None:
    """Who is signed in, or has shown another credential."""
    if session is not None:
        return Caller(session.principal.name, session.is_admin)
    principal = None if visit is None else visit.caller.principal
    return None if principal is None or principal.account_id is None else Caller(principal.name)


def _wants_piece(request: Request) -> bool:
    """Whether htmx asks for a piece of a page; who goes back in history gets all of it."""
    return request.header(b"hx-request") == "true" and request.header(b"hx-history-restore-request") != "true"
