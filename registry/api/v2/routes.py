"""The table of the distribution API, and the ASGI application that serves it.

A route without an action cannot be written; who may do what is decided by that column.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from registry.api import errors
from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.responses import Answer, BlobAnswer
from registry.api.v2.blobs import delete_blob, get_blob, head_blob
from registry.api.v2.gate import Visit
from registry.api.v2.lists import get_catalog, get_referrers, get_tags, ping
from registry.api.v2.manifests import delete_manifest, get_manifest, put_manifest
from registry.api.v2.services import Services
from registry.api.v2.target import Target, locate
from registry.api.v2.uploads import delete_upload, get_upload, patch_upload, post_upload, put_upload
from registry.core.access import Action
from registry.core.errors import (
    MethodNotAllowed,
    RegistryError,
    RouteUnknown,
    Unauthenticated,
)

Handler = Callable[[Services, Request, Visit], Awaitable[Answer | BlobAnswer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: its id in the specification, method, kind of target, needed action, and handler."""

    spec_id: str
    method: str
    kind: str
    action: Action
    handler: Handler


ROUTES = (
    Route("end-1", "GET", "ping", Action.PING, ping),
    Route("end-1", "HEAD", "ping", Action.PING, ping),
    Route("end-2", "GET", "blob", Action.PULL, get_blob),
    Route("end-2", "HEAD", "blob", Action.PULL, head_blob),
    Route("end-3", "GET", "manifest", Action.PULL, get_manifest),
    Route("end-3", "HEAD", "manifest", Action.PULL, get_manifest),
    Route("end-4a/4b/11", "POST", "uploads", Action.PUSH, post_upload),
    Route("end-5", "PATCH", "upload", Action.PUSH, patch_upload),
    Route("end-6", "PUT", "upload", Action.PUSH, put_upload),
    Route("end-7", "PUT", "manifest", Action.PUSH, put_manifest),
    Route("end-8", "GET", "tags", Action.PULL, get_tags),
    Route("end-8", "HEAD", "tags", Action.PULL, get_tags),
    Route("end-9", "DELETE", "manifest", Action.DELETE, delete_manifest),
    Route("end-10", "DELETE", "blob", Action.DELETE, delete_blob),
    Route("end-12", "GET", "referrers", Action.PULL, get_referrers),
    Route("end-12", "HEAD", "referrers", Action.PULL, get_referrers),
    Route("end-13", "GET", "upload", Action.PUSH, get_upload),
    Route("end-13", "HEAD", "upload", Action.PUSH, get_upload),
    Route("end-14", "DELETE", "upload", Action.PUSH, delete_upload),
    Route("catalog", "GET", "catalog", Action.CATALOG, get_catalog),
    Route("catalog", "HEAD", "catalog", Action.CATALOG, get_catalog),
)
_BY_KIND = {(route.kind, route.method): route for route in ROUTES}


def _find(request: Request) -> tuple[Route, Target]:
    """The route and target of a request. Raises RouteUnknown, MethodNotAllowed, NameInvalid."""
    target = locate(request.raw_path)
    if target is None:
        raise RouteUnknown("the distribution API has no such path")
    route = _BY_KIND.get((target.kind, request.method))
    if route is None:
        allow = [known.method for known in ROUTES if known.kind == target.kind]
        raise MethodNotAllowed("this path does not have this method", allow=allow)
    return route, target


class DistributionApi:
    """`/v2/` as an ASGI application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._boundary = Boundary(self._respond, self._failed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> Answer | BlobAnswer:
        route, target = _find(request)
        request.scope["depotry.route"] = route
        visit = await self._services.gate.admit(request, route.action, target)
        return await route.handler(self._services, request, visit)

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        answer = errors.answer_to(error, request)
        if isinstance(error, Unauthenticated):
            answer.headers.extend(self._services.challenges.headers(error, request))
        return answer
