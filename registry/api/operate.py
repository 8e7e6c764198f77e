"""For those who operate it: liveness, readiness, metrics; and a front door that says what this is."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.api.metrics import CONTENT_TYPE, Metrics
from registry.core.errors import RegistryError, StorageFull, WritesClosed

Check = Callable[[], Coroutine[None, None, None]]

READY_CACHE_S = 1.0
"""A check writes to the disk: whoever asks more often than this gets the last answer."""
CHECK_LIMIT_S = 5.0
NO_STORE = {"cache-control": "no-store"}

HEALTH_PATHS = ("/livez", "/readyz")


@dataclass(frozen=True, slots=True)
class Health:
    """Texts by the name of the part: `problems` keep requests from being served, `degraded` only some of them. A full
    disk and a database that moves are of the second kind: pulls go on, and a load balancer that takes the node away
    would stop them too."""

    problems: dict[str, str]
    degraded: dict[str, str]


class Readiness:
    """Whether requests can be served: the server is not stopping, and what it stands on has really been tried."""

    def __init__(self, checks: dict[str, Check]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._result = Health({}, {})
        self._checked_at = -READY_CACHE_S
        self._running: dict[str, asyncio.Future[None]] = {}
        self.draining = False

    async def health(self) -> Health:
        """What is wrong now."""
        if self.draining:
            return Health({"server": "stopping"}, {})
        async with self._lock:
            if monotonic() - self._checked_at >= READY_CACHE_S:
                self._result = await self._try_all()
                self._checked_at = monotonic()
            return self._result

    async def _try_all(self) -> Health:
        found = Health({}, {})
        for name, check in self._checks.items():
            try:
                if not await self._ends_in_time(name, check):
                    found.problems[name] = f"no answer within {CHECK_LIMIT_S:.0f} s"
            except (StorageFull, WritesClosed) as error:
                found.degraded[name] = error.message
            except RegistryError as error:
                found.problems[name] = error.message
        return found

    async def _ends_in_time(self, name: str, check: Check) -> bool:
        """Run a check, or wait for the one that still runs. It is left alone when it takes too long: a disk that
        hangs does not let go of it, and a second one would hang as well. Raises what it raised."""
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.ensure_future(check())
        done, _ = await asyncio.wait({running}, timeout=CHECK_LIMIT_S)
        if not done:
            return False
        del self._running[name]
        running.result()
        return True


def health_app(readiness: Readiness) -> Starlette:
    """What says on both listeners whether the server is well."""
    return _app(_health_routes(readiness))


def operator_app(readiness: Readiness, metrics: Metrics) -> Starlette:
    """What the listener for operators serves."""

    async def get_metrics(_request: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE, **NO_STORE})

    return _app([Route("/metrics", get_metrics), *_health_routes(readiness)])


def _app(routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes)
    # A redirect would be made from the Host header, and lead wherever a client says.
    app.router.redirect_slashes = False
    return app


def _health_routes(readiness: Readiness) -> list[Route]:
    async def get_livez(_request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=NO_STORE)

    async def get_readyz(_request: Request) -> Response:
        health = await readiness.health()
        if health.problems:
            return JSONResponse({"status": "not ready", "problems": health.problems}, 503, headers=NO_STORE)
        if health.degraded:
            return JSONResponse({"status": "ready", "degraded": health.degraded}, headers=NO_STORE)
        return JSONResponse({"status": "ready"}, headers=NO_STORE)

    return [Route(path, handler) for path, handler in zip(HEALTH_PATHS, (get_livez, get_readyz), strict=True)]
