"""Which application answers: by listener first, then by path."""

from starlette.types import ASGIApp

from registry.api.accounts import LOGIN_PATHS
from registry.api.asgi import App, Receive, Scope, Send


class Dispatch:
    """The distribution API for `/v2`, the hub's for `/api/v1`, logging in where there are accounts, Starlette for the
    rest, and the operators' application on its own port."""

    def __init__(
        self, distribution: App, hub: App, login: App | None, public: ASGIApp, operator: ASGIApp, *, operator_port: int
    ) -> None:
        self._distribution = distribution
        self._hub = hub
        self._login = login
        self._public = public
        self._operator = operator
        self._operator_port = operator_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. The path is judged as it was sent, so that no decoding can move it elsewhere."""
        server = scope.get("server")
        raw_path: bytes = scope["raw_path"]
        if server is not None and server[1] == self._operator_port:
            await self._operator(scope, receive, send)
        elif raw_path == b"/v2" or raw_path.startswith(b"/v2/"):
            await self._distribution(scope, receive, send)
        elif self._login is not None and raw_path in LOGIN_PATHS:
            await self._login(scope, receive, send)
        elif raw_path.startswith(b"/api/v1/"):
            await self._hub(scope, receive, send)
        else:
            await self._public(scope, receive, send)
