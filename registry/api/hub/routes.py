"""The table of the hub's API, and the ASGI application that serves it."""

from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.hub import (
    about,
    accounts,
    audit_log,
    instance,
    manifests,
    organizations,
    people,
    problems,
    reading,
    repositories,
    repository_settings,
    robots,
    roles,
    statistics,
    tags,
    tokens,
)
from registry.api.hub.answers import finished
from registry.api.hub.browsers import SAFE_METHODS
from registry.api.hub.paths import Paths
from registry.api.hub.services import HubServices
from registry.api.hub.table import PREFIX, HubRoute
from registry.api.responses import Answer, AnyAnswer
from registry.core.errors import FieldInvalid, RegistryError

HUB_ROUTES: tuple[HubRoute, ...] = (
    *about.ROUTES,
    *repositories.ROUTES,
    *tags.ROUTES,
    *manifests.ROUTES,
    *statistics.ROUTES,
    *instance.ROUTES,
    *accounts.ROUTES,
    *tokens.ROUTES,
    *organizations.ROUTES,
    *robots.ROUTES,
    *roles.ROUTES,
    *repository_settings.ROUTES,
    *audit_log.ROUTES,
    *people.ROUTES,
)
_PATHS: Paths[HubRoute] = Paths(HUB_ROUTES)


class HubApi:
    """`/api/v1` as an ASGI application."""

    def __init__(self, services: HubServices) -> None:
        self._services = services
        self._boundary = Boundary(self._respond, self._failed, self._broken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> AnyAnswer:
        route, names = _PATHS.find(request.method, request.raw_path.removeprefix(PREFIX))
        request.scope["depotry.route"] = route
        gate = self._services.gate
        visit = await gate.admit(request, route.action, names, danger=route.danger)
        if request.method not in SAFE_METHODS and visit.if_match is not None and not route.is_conditional:
            raise FieldInvalid("this cannot be made to depend on If-Match: leave it out", field="If-Match")
        query = reading.query_of(request, route.query or reading.NoQuery)
        body = None if route.body is None else await reading.body_of(request, route.body)
        answer = await route.handler(self._services, visit.with_values(query, body))
        await gate.settle(request)
        return finished(request, answer, gate.headers(request))

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        answer = problems.answer_to(error, request)
        answer.headers.extend(self._services.gate.headers(request))
        return answer

    def _broken(self, request: Request) -> Answer:
        return problems.broken(self._services.gate.headers(request))
