"""`docker search` and `podman search`: the search of the first registry API, which clients still use.

docker asks `/v1/_ping` first, and sends name and password with both requests where it has them and the connection is
TLS. podman asks without a credential, takes an answer of 200 for all there is, and turns to the catalog, with its
credential, after anything else. Source: moby `registry/search_endpoint_v1.go`, containers/image
`docker/docker_client.go`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from registry.api import errors
from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.errors import json_answer
from registry.api.responses import Answer, BlobAnswer
from registry.api.v2.gate import Challenges, Gate
from registry.api.v2.paging import page_size
from registry.core.access import Action, Principal
from registry.core.errors import MethodNotAllowed, PageInvalid, RegistryError, RouteUnknown, Unauthenticated
from registry.core.limits import LIST_PAGE_DEFAULT, LIST_PAGE_MAX
from registry.core.search import SearchText
from registry.core.shelf import Order, RepositoriesQuery
from registry.services.browse import Browse

_STANDALONE = [(b"x-docker-registry-standalone", b"true")]
_PAGE_DIGITS_MAX = 4


@dataclass(frozen=True, slots=True)
class SearchServices:
    """What these handlers call, and the setting."""

    browse: Browse
    gate: Gate
    challenges: Challenges
    answers_everybody: bool
    """Who has not logged in finds what is public; else it is asked to log in."""


async def ping(services: SearchServices, request: Request, caller: Principal) -> Answer:
    """That there is a search, which takes name and password."""
    return json_answer(200, {"standalone": True}, list(_STANDALONE))


async def search(services: SearchServices, request: Request, caller: Principal) -> Answer:
    """The repositories that fit `q` best, and hold something: `n` of them (25), of the page `page`."""
    query = request.query()
    typed = query.get("q", [""])[-1]
    count = min(page_size(query) or LIST_PAGE_DEFAULT, LIST_PAGE_MAX)
    start = (_page(query) - 1) * count
    wanted = RepositoriesQuery(
        search=SearchText.parse(typed, field="q"),
        order=Order.RELEVANCE,
        is_full=True,
        with_facets=False,
        # The list ends with the best anyway: what is behind a page of the most entries is no longer looked for.
        count=min(start + count, LIST_PAGE_MAX),
    )
    found = (await services.browse.repositories(caller, wanted)).entries[start : start + count]
    results = [
        {
            "name": entry.name,
            "description": entry.description,
            "star_count": entry.star_count,
            "is_official": False,
            "is_automated": False,
        }
        for entry in found
    ]
    return json_answer(200, {"query": typed, "num_results": len(results), "results": results})


Handler = Callable[[SearchServices, Request, Principal], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class SearchRoute:
    """One endpoint; `spec_id` is its name in metrics."""

    spec_id: str
    method: str
    path: str
    action: Action
    handler: Handler


SEARCH_ROUTES = (
    SearchRoute("v1-ping", "GET", "/v1/_ping", Action.PING, ping),
    SearchRoute("v1-search", "GET", "/v1/search", Action.CATALOG, search),
)


class SearchApi:
    """These endpoints as an ASGI application."""

    def __init__(self, services: SearchServices) -> None:
        self._services = services
        self._boundary = Boundary(self._respond, self._failed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> Answer | BlobAnswer:
        routes = {route.method: route for route in SEARCH_ROUTES if route.path == request.raw_path}
        if not routes:
            raise RouteUnknown("of the first registry API there is only the search")
        route = routes.get(request.method)
        if route is None:
            raise MethodNotAllowed("this path does not have this method", allow=list(routes))
        request.scope["depotry.route"] = route
        services = self._services
        caller = await services.gate.looker(
            request, route.action, lets_everybody=services.answers_everybody or route.action is Action.PING
        )
        return await route.handler(services, request, caller)

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        answer = errors.answer_to(error, request)
        if isinstance(error, Unauthenticated):
            answer.headers.extend(self._services.challenges.headers(error, request))
        return answer


def _page(query: dict[str, list[str]]) -> int:
    """`page`, 1 where it is absent. Raises PageInvalid."""
    text = query.get("page", ["1"])[-1]
    if not (text.isascii() and text.isdigit()) or len(text) > _PAGE_DIGITS_MAX or not int(text):
        raise PageInvalid("page is the number of a page, from 1")
    return int(text)
