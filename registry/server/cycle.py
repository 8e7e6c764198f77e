"""One request and its response, between uvicorn's protocol and the application."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected

if TYPE_CHECKING:
    from registry.server.protocol import RegistryProtocol


class Cycle(RequestResponseCycle):
    """What uvicorn's class does, and also:

    `send` raises ClientDisconnected (an OSError) once the client is gone, so that a download ends; body
    bytes reach the application as they came from the parser, without being collected in a buffer first; an
    answer before the end of the body closes the connection; HTTP/1.0 never gets a chunked answer.
    """

    protocol: "RegistryProtocol"
    pieces: list[bytes]
    buffered_bytes: int
    closes: bool
    ends_with_close: bool

    @classmethod
    def adopt(cls, cycle: RequestResponseCycle, protocol: "RegistryProtocol") -> "Cycle":
        """The same object as a Cycle: uvicorn names its class inside a method, so it is changed after."""
        if isinstance(cycle, cls):
            return cycle
        cycle.__class__ = cls
        adopted = cast("Cycle", cycle)
        adopted.protocol = protocol
        adopted.pieces = []
        adopted.buffered_bytes = 0
        adopted.closes = adopted.ends_with_close = False
        adopted.on_response = lambda: protocol.answered(adopted)
        return adopted

    def disconnect(self) -> None:
        """Tell the application that nothing more will come, and that nothing more can be sent."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application to its end. The error boundary: what it raises ends here, in the log."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.protocol.give_up(self, 503, "the server is stopping; the request can be repeated")
            raise
        except Exception as error:
            if not isinstance(error, ClientDisconnected):
                self.logger.exception("the application failed")
                self.protocol.give_up(self, 500, "internal error")
        else:
            if not self.response_complete and not self.disconnected:
                self.logger.error("the application returned without a whole response")
                self.protocol.give_up(self, 500, "internal error")
        finally:
            self.on_response = lambda: None

    async def send(self, message: ASGISendEvent) -> None:
        """Write a part of the response, waiting for room. Raises ClientDisconnected when nobody is there."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.transport.is_closing():
            # A failed write closes the transport, but tells the protocol only in a later turn of the loop.
            raise ClientDisconnected
        if message["type"] == "http.response.start" and not self.response_started:
            self._prepare(cast("dict[str, Any]", message))
        elif message["type"] == "http.response.body" and not self.response_complete:
            self._prepare_body(cast("dict[str, Any]", message))
        await super().send(message)
        if self.protocol.is_tls and not self.response_complete:
            # A transport with TLS neither pauses nor closes when the one below it fails: without a turn for the loop
            # to tell, the rest of a download would be encrypted for nobody, and nothing else would run meanwhile.
            await asyncio.sleep(0)

    def _prepare(self, message: dict[str, Any]) -> None:
        if self.more_body:
            # Nobody will read the rest of the body, so the next request could not be found behind it.
            self.keep_alive = False
        has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
        if self.scope["http_version"] == "1.0" and not has_length:
            self.ends_with_close = True
            self.chunked_encoding = False
        if message["status"] in (204, 304):
            # These have no body, whatever length their headers speak of.
            self.ends_with_close = True

    def _prepare_body(self, message: dict[str, Any]) -> None:
        if self.ends_with_close:
            self.expected_content_length = len(message.get("body", b""))
        if not message.get("more_body", False):
            # uvicorn would close at once, and a client that still sends would get a reset, not the answer.
            self.closes = not self.keep_alive
            self.keep_alive = True

    async def receive(self) -> ASGIReceiveEvent:
        """The next part of the body, or `http.disconnect` after the bytes that arrived before it."""
        if self.waiting_for_100_continue and self.more_body and not self.pieces:
            self.protocol.write_continue()
        self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            await self._wait()
        if self.response_complete or (self.disconnected and not self.pieces):
            return {"type": "http.disconnect"}
        pieces, self.pieces, self.buffered_bytes = self.pieces, [], 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _wait(self) -> None:
        self.protocol.want_bytes(self)
        if self.more_body and not self.pieces:
            self.protocol.start_body_clock()
            try:
                await self.message_event.wait()
            finally:
                self.protocol.stop_body_clock()
        else:
            await self.message_event.wait()
        self.message_event.clear()
