"""The tables of these views, and the ASGI application that serves them."""

import json

from registry.api import errors
from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.errors import TABLE
from registry.api.hub.answers import finished
from registry.api.responses import Answer, AnyAnswer
from registry.api.views import docker_hub, harbor
from registry.api.views.services import ViewServices
from registry.api.views.table import ViewPaths, ViewRoute
from registry.auth import challenge
from registry.core.errors import RegistryError, Unauthenticated

VIEW_ROUTES: tuple[ViewRoute, ...] = (*docker_hub.ROUTES, *harbor.ROUTES)
PREFIXES = (b"/hub/v2/", b"/api/v2.0/")
_HARBOR_CODES = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


class ViewApi:
    """`/hub/v2` and `/api/v2.0` as an ASGI application."""

    def __init__(self, services: ViewServices) -> None:
        self._services = services
        self._paths = ViewPaths(VIEW_ROUTES)
        self._boundary = Boundary(self._respond, self._failed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> AnyAnswer:
        route, names = self._paths.find(request.method, request.raw_path)
        request.scope["depotry.route"] = route
        gate = self._services.gate
        visit = await gate.admit(request, route.action, names)
        return finished(request, await route.handler(self._services, visit), gate.headers(request))

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        """As each of the two products says it."""
        status = TABLE[type(error)][0]
        headers = errors.answer_to(error, request).headers
        if isinstance(error, Unauthenticated):
            text = challenge.basic(self._services.origins, request.header(b"host"))
            headers.append((b"www-authenticate", text.encode("latin-1", "replace")))
        if request.raw_path.startswith("/hub/"):
            body: object = {"message": error.message, "errinfo": {}}
        else:
            code = _HARBOR_CODES.get(status, TABLE[type(error)][1])
            body = {"errors": [{"code": code, "message": error.message}]}
        return Answer(status, headers, json.dumps(body).encode())
