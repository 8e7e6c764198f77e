"""What happened: one log line and a few counters a request, around every application."""

import logging
from time import perf_counter

from registry.api.asgi import App, Message, Receive, Scope, Send
from registry.api.edge import Edge
from registry.api.metrics import Metrics
from registry.services.traffic import PUSHES, Traffic

QUIET_PATHS = {"/livez", "/readyz", "/metrics"}
"""Asked every few seconds by machines: logged at level debug."""

PUSH_OF_MANIFEST = "end-7"


class Observed:
    """An ASGI application that watches another one."""

    def __init__(self, inner: App, metrics: Metrics, edge: Edge, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic
        self._edge = edge
        self._metrics = metrics
        self._log = logging.getLogger("depotry.access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and write down how it went."""
        if scope["type"] != "http":
            return
        started = perf_counter()
        scope["depotry.address"] = self._edge.address(scope)
        seen = _Seen()

        async def receive_seen() -> Message:
            message = await receive()
            seen.received += len(message.get("body", b""))
            return message

        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._edge.secured(message["headers"])
            await send(message)
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            elif scope["method"] != "HEAD":
                seen.sent += message.get("count") or len(message.get("body", b""))

        self._metrics.running.inc()
        try:
            await self._inner(scope, receive_seen, send_seen)
        finally:
            self._metrics.running.dec()
            self._record(scope, seen, perf_counter() - started)

    def _record(self, scope: Scope, seen: "_Seen", seconds: float) -> None:
        route = scope.get("depotry.route")
        label, method = ("none", "other")
        if route is not None:
            label, method = route.spec_id, route.method
        self._metrics.requests.labels(label, method, str(seen.status)).inc()
        self._metrics.seconds.labels(label, method).observe(seconds)
        self._metrics.received.inc(seen.received)
        self._metrics.sent.inc(seen.sent)
        path = scope["raw_path"].decode("latin-1")
        if (kind := scope.get("depotry.traffic")) is not None:
            self._count(kind, label, seen)
        self._log.log(
            logging.DEBUG if path in QUIET_PATHS else logging.INFO,
            "request",
            extra={
                "method": scope["method"],
                "path": path,
                "status": seen.status,
                "error": scope.get("depotry.error"),
                "client": scope["depotry.address"],
                "account": scope.get("depotry.account"),
                "received_bytes": seen.received,
                "sent_bytes": seen.sent,
                "ms": round(seconds * 1000, 1),
            },
        )

    def _count(self, kind: str, label: str, seen: "_Seen") -> None:
        """For the hours that the hub shows."""
        self._traffic.request(kind, seen.status, received=seen.received, sent=seen.sent)
        if label == PUSH_OF_MANIFEST and seen.status == 201:
            self._traffic.count(PUSHES)


class _Seen:
    """Status 0 stands for no answer: the client went away."""

    __slots__ = ("received", "sent", "status")

    def __init__(self) -> None:
        self.status = self.received = self.sent = 0
