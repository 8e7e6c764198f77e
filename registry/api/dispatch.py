"""Which application answers: by listener first, then by path."""

from dataclasses import dataclass

from starlette.types import ASGIApp

from registry.api.accounts import LOGIN_PATHS
from registry.api.asgi import App, Receive, Scope, Send
from registry.api.operate import HEALTH_PATHS
from registry.api.views.routes import PREFIXES
from registry.services.traffic import API, LOGIN, PAGE, REGISTRY


@dataclass(frozen=True, slots=True)
class Apps:
    """The applications; `login` is None where access is open to all."""

    distribution: App
    hub: App
    login: App | None
    pages: App
    search: App
    views: App
    health: ASGIApp
    operator: ASGIApp


class Dispatch:
    """The distribution API for `/v2`, the hub's for `/api/v1`, `docker search` for `/v1`, the views of other products,
    logging in where there are accounts, health, the pages for the rest, and the operators' application on its own
    port."""

    def __init__(self, apps: "Apps", *, operator_port: int) -> None:
        self._apps = apps
        self._operator_port = operator_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. The path is judged as it was sent, so that no decoding can move it elsewhere. What people
        and programs ask for is traffic of a class; what machines ask about the server is none."""
        apps = self._apps
        server = scope.get("server")
        raw_path: bytes = scope["raw_path"]
        if server is not None and server[1] == self._operator_port:
            await apps.operator(scope, receive, send)
        elif raw_path == b"/v2" or raw_path.startswith(b"/v2/"):
            scope["depotry.traffic"] = REGISTRY
            await apps.distribution(scope, receive, send)
        elif apps.login is not None and raw_path in LOGIN_PATHS:
            scope["depotry.traffic"] = LOGIN
            await apps.login(scope, receive, send)
        elif raw_path.startswith(PREFIXES):
            scope["depotry.traffic"] = API
            await apps.views(scope, receive, send)
        elif raw_path.startswith(b"/v1/"):
            scope["depotry.traffic"] = API
            await apps.search(scope, receive, send)
        elif raw_path.startswith(b"/api/v1/"):
            scope["depotry.traffic"] = API
            await apps.hub(scope, receive, send)
        elif raw_path.decode("latin-1") in HEALTH_PATHS:
            await apps.health(scope, receive, send)
        else:
            scope["depotry.traffic"] = PAGE
            await apps.pages(scope, receive, send)
