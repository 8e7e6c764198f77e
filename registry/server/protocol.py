"""HTTP/1.1 on one connection: uvicorn's protocol with deadlines, limits and a careful end.

uvicorn waits for ever for headers, bodies and readers, drops the body of a request with `Upgrade`, may answer
in the middle of another answer, and resets a connection whose body was not read. What is overridden here are
those decisions; parsing and writing stay with httptools and uvicorn.
"""

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from registry.server.admission import Network, Place
from registry.server.cycle import Cycle
from registry.server.deadlines import Deadlines
from registry.server.tls import acknowledged_bytes, queued_bytes

_ABSOLUTE_FORM: Final = re.compile(rb"https?://([^/?#@]+)(?=[/?]|$)", re.IGNORECASE)
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_ERROR_CODES: Final = {503: "UNAVAILABLE"}
REFUSAL_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"connection", b"close"),
)
"""Of the answers that no application gives."""
_MALFORMED: Final = (400, "malformed request")
_HEADERS_TOO_LONG: Final = (431, "the headers are too long")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one client may take. Every number that ends a connection is here."""

    header_bytes: int = 64 * 1024
    """Request line and headers; also the trailers, and anything else that is neither headers nor body."""
    header_count: int = 256
    header_timeout_s: float = 10.0
    """From the connection, or a later request's first byte, to the end of the headers."""
    body_min_bytes_per_s: int = 1024
    body_window_s: float = 30.0
    """The average above is taken over this much time of waiting for the client."""
    body_buffer_bytes: int = 256 * 1024
    """Above this, reading pauses; one read of the loop, up to 256 KiB, may come on top."""
    framing_bytes: int = 64 * 1024
    """Bytes by which pieces of a body may fall short of LEAST_PIECE_BYTES each, in all."""
    keep_alive_s: float = 75.0
    write_stall_s: float = 60.0
    """A client that takes no byte of a response for this long is cut off."""
    linger_s: float = 2.0
    """After the last answer, time for the client to read it and close."""
    linger_bytes: int = 64 * 1024
    """Bytes that are thrown away in that time."""
    pipelined_requests: int = 128
    connections_per_address: int = 256
    """An IPv6 address counts with its /64."""
    connections_max: int = 2048
    trusted_proxies: tuple[Network, ...] = ()
    """They carry the connections of many, so `connections_per_address` is not for them."""


PIECE_OVERHEAD_BYTES: Final = 64
"""What Python needs for a bytes object and its place in a list."""
LEAST_PIECE_BYTES: Final = 16


class _ParserStopped(Exception):
    """Raised in a callback of the parser; status and text of the refusal are in the protocol."""


@dataclass(slots=True)
class _BodyClock:
    """How long the application waited for the client in this window, and what came."""

    received_bytes: int = 0
    waited_s: float = 0.0
    started_at_s: float = 0.0


class RegistryProtocol(HttpToolsProtocol):
    """The protocol of one connection. `limited` makes the class that a uvicorn Config takes as `http`."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    cycle: Cycle
    place: Place | None = None
    """Given back when the connection is lost."""
    was_connected: bool = False
    """With TLS only after the handshake; before it, nothing of a connection is told to a protocol, nor its end."""

    @classmethod
    def limited(cls, limits: ConnectionLimits) -> type["RegistryProtocol"]:
        """This class with other limits."""
        return type(cls.__name__, (cls,), {"limits": limits})

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadlines = Deadlines(self.loop)
        self._running: Cycle | None = None
        self._in_headers = False
        self._awaits_request = True
        """Between two requests: the next byte starts the deadline of its headers."""
        self._header_bytes = 0
        self._silent_bytes = 0
        """Fed to the parser since it last reported the end of headers or a piece of a body."""
        self._body_after_upgrade = False
        self._replays_headers = False
        self._refusal = _MALFORMED
        self._refusal_waits = False
        self._has_eof = False
        self._ignores_input = False
        self._discarded_bytes = 0
        self._body_clock = _BodyClock()
        self._framing_debt = 0
        self._sent_mark = (0, 0)
        self._sent_at_s = 0.0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        self.was_connected = True
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection."""
        if self.place is not None:
            self.place.release()
        self._deadlines.close()
        self._ignores_input = True
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnect()
        super().connection_lost(exc)

    @property
    def is_fresh(self) -> bool:
        """Whether its first request has not come yet."""
        return self.cycle is None

    def shutdown(self) -> None:
        """The server stops: end now if no request is running, else after it."""
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        else:
            super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the way back open if a whole request still waits for its answer; TLS has no such half."""
        running = self._running
        if self.is_tls:
            if running is not None:
                running.disconnect()
            self._close()
            return False
        is_waiting = running is not None and not running.response_complete and not running.disconnected
        if not is_waiting or self.cycle.more_body or self._in_headers or self._ignores_input:
            return False
        self._has_eof = True
        self.cycle.keep_alive = False
        return True

    @property
    def is_tls(self) -> bool:
        """Whether there is a TLS session under this connection."""
        return self.scheme == "https"

    def _cut(self, _now: float) -> None:
        self.transport.abort()

    def _close(self) -> None:
        """Close after what is written. With TLS the client has to say goodbye too, and gets a little time for it."""
        if not self.transport.is_closing():
            # asyncio's TLS transport cannot be aborted any more after a second close.
            self.transport.close()
        if self.is_tls:
            self._ignores_input = True
            self._watch_writing()
            self._linger()

    def _linger(self) -> None:
        self._deadlines.set("linger", self.loop.time() + self.limits.linger_s, self._end_linger)

    def _await_headers(self) -> None:
        self._awaits_request = False
        self._deadlines.set("headers", self.loop.time() + self.limits.header_timeout_s, self._cut)

    def _await_request(self) -> None:
        self._awaits_request = True
        self._deadlines.set("idle", self.loop.time() + self.limits.keep_alive_s, self._end_idle)

    def _end_idle(self, now: float) -> None:
        # What a client has not taken since the last answer, it will not take now.
        if self._unsent():
            self._cut(now)
        else:
            self._close()

    # Bytes in

    def data_received(self, data: bytes) -> None:
        """Parse; or throw away, after the last answer of the connection."""
        if self._ignores_input:
            self._discard(len(data))
            return
        self._silent_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._silent_bytes > self.limits.header_bytes:
            self._refusal = _HEADERS_TOO_LONG if self._in_headers else _MALFORMED
            self._refuse()
        elif self._awaits_request:
            # Still, so the headers are not complete. Later bytes do not move their deadline.
            self._await_headers()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # We do not upgrade, and this parser would drop the body of a request that asks for it.
                data = data[upgrade.args[0] :]
                if self._body_after_upgrade:
                    self._read_body_with_new_parser()

    def _read_body_with_new_parser(self) -> None:
        framing = [b"%b: %b\r\n" % field for field in self.headers if field[0] in _FRAMING]
        self._body_after_upgrade = False
        self._replays_headers = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\nhost: -\r\n" + b"".join(framing) + b"\r\n")
        self._replays_headers = False

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > self.limits.linger_bytes:
            self.flow.pause_reading()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._replays_headers:
            return
        super().on_message_begin()
        self.scope["asgi"]["spec_version"] = "2.4"
        self._in_headers = True
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        if not self._replays_headers:
            self._count_header_bytes(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers come here too, and are dropped: nothing in a body may change the headers."""
        if self._in_headers:
            self._count_header_bytes(len(name) + len(value) + 4)
            super().on_header(name, value)

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self.limits.header_bytes or len(self.headers) >= self.limits.header_count:
            self._stop_parser(_HEADERS_TOO_LONG)

    def _stop_parser(self, refusal: tuple[int, str]) -> NoReturn:
        self._refusal = refusal
        raise _ParserStopped

    def on_headers_complete(self) -> None:
        """Check what the parser leaves open, and start the application or put the request into the queue."""
        if self._replays_headers:
            return
        self._check_headers()
        if len(self.pipeline) >= self.limits.pipelined_requests:
            self._stop_parser((400, "too many requests at once on one connection"))
        self._in_headers = False
        self._silent_bytes = 0
        super().on_headers_complete()
        self.cycle = Cycle.adopt(self.cycle, self)

    def _check_headers(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1") or self.parser.get_method() == b"CONNECT":
            self._stop_parser((400, "this method or version of HTTP is not supported"))
        self._check_target()
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            self._stop_parser((400, "a request has exactly one Host header"))
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
            self._stop_parser((400, "the only Transfer-Encoding is chunked, in HTTP/1.1"))
        if version == "1.0":
            self.expect_100_continue = False
        if self.parser.should_upgrade():
            self._body_after_upgrade = any(name in _FRAMING for name, _ in self.headers)

    def _check_target(self) -> None:
        if b"#" in self.url:
            self._stop_parser((400, "the target of a request has no fragment"))
        if self.url.startswith(b"/"):
            return
        absolute = _ABSOLUTE_FORM.match(self.url)
        if absolute is not None:
            # The target's authority wins over the Host header (RFC 9112, 3.2.2).
            rest = self.url[absolute.end() :]
            self.url = rest if rest.startswith(b"/") else b"/" + rest
            self.headers[:] = [field for field in self.headers if field[0] != b"host"]
            self.headers.append((b"host", absolute[1]))
        elif self.url != b"*" or self.parser.get_method() != b"OPTIONS":
            self._stop_parser((400, "the target of a request is a path or an absolute URL"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = Cycle.adopt(cycle, self)
        self._awaits_request = False
        self._body_clock = _BodyClock()
        self._deadlines.clear("headers")
        self._deadlines.clear("idle")
        super()._start_asgi_task(self._running, app)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, kept as it is until the application asks for it."""
        self._silent_bytes = 0
        self._body_clock.received_bytes += len(body)
        cycle = self.cycle
        cycle.pieces.append(body)
        # Each piece costs more than its bytes. Bodies that are hardly more than framing are refused.
        cycle.buffered_bytes += len(body) + PIECE_OVERHEAD_BYTES
        self._framing_debt = max(self._framing_debt + LEAST_PIECE_BYTES - len(body), 0)
        if self._framing_debt > self.limits.framing_bytes:
            self._stop_parser((400, "the chunks of the body are too small"))
        if cycle.buffered_bytes >= self.limits.body_buffer_bytes:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The end of the body."""
        if not self._body_after_upgrade:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    # What the running request asks of its connection

    def want_bytes(self, cycle: Cycle) -> None:
        """Read on. Not for a request with others waiting behind it: their bytes would pile up."""
        if cycle is self.cycle:
            self.flow.resume_reading()

    def write_continue(self) -> None:
        """Tell the client that somebody wants its body."""
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def start_body_clock(self) -> None:
        """From now on the application waits for the client, and the client has to send."""
        now = self.loop.time()
        self._body_clock.started_at_s = now
        left_s = self.limits.body_window_s - self._body_clock.waited_s
        self._deadlines.set("body", now + left_s, self._judge_body)

    def stop_body_clock(self) -> None:
        """The application has bytes to work on, and takes its time."""
        now = self.loop.time()
        self._deadlines.clear("body")
        self._body_clock.waited_s += now - self._body_clock.started_at_s
        if self._body_clock.waited_s >= self.limits.body_window_s:
            self._judge_window(now)

    def _judge_body(self, now: float) -> None:
        if self._judge_window(now):
            self.start_body_clock()

    def _judge_window(self, now: float) -> bool:
        least_bytes = self.limits.body_min_bytes_per_s * self.limits.body_window_s
        is_honest = self._body_clock.received_bytes >= least_bytes
        self._body_clock = _BodyClock(started_at_s=now)
        if not is_honest:
            self._cut(now)
        return is_honest

    def answered(self, cycle: Cycle) -> None:
        """The response of the running request is complete: go on with the next one, or end."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if cycle.closes:
            self._finish(has_read_all=not cycle.more_body)
        elif self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal_waits:
            self._write_refusal()
        else:
            self.flow.resume_reading()
            if self._in_headers:
                self._await_headers()
            else:
                self._await_request()

    def give_up(self, cycle: Cycle, status: int, text: str) -> None:
        """End a request whose application failed: with this answer if none has begun, else by a cut."""
        if cycle.disconnected or self.transport.is_closing():
            return
        was_started = cycle.response_started
        cycle.disconnect()
        if was_started and self.is_tls:
            # A regular end would tell the client that it has everything.
            self._cut(self.loop.time())
        elif was_started:
            self._ignores_input = True
            self._watch_writing()
            self.transport.close()
        else:
            self._refusal = (status, text)
            self._write_refusal()

    # Refusals and the end

    def _refuse(self) -> None:
        """Stop reading. Whole requests that came before are still answered, and then the refusal goes out."""
        self._ignores_input = True
        running = self._running
        if running is None or running.response_complete:
            self._write_refusal()
        elif running is self.cycle and running.more_body:
            self.give_up(running, *self._refusal)
        else:
            self._refusal_waits = True
            if self.pipeline and self.cycle.more_body:
                self.pipeline.popleft()

    def _write_refusal(self) -> None:
        status, text = self._refusal
        code = _ERROR_CODES.get(status, "UNKNOWN")
        body = json.dumps({"errors": [{"code": code, "message": text}]}).encode()
        headers = [*self.server_state.default_headers, *REFUSAL_HEADERS, (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"5"))
        lines = b"".join(b"%b: %b\r\n" % field for field in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self._finish(has_read_all=False)

    def _finish(self, *, has_read_all: bool) -> None:
        """Close so that the client can read the answer: our side first, while what it sends is dropped.

        TLS has no half that could be closed: who has sent everything is told the end at once, and who may still be
        sending gets the time to read the answer, which says `connection: close`, and to close.
        """
        self._ignores_input = True
        self.pipeline.clear()
        # Long headers would stay in memory for as long as the client takes.
        self.parser = httptools.HttpRequestParser(self)
        self.headers = []
        self._watch_writing()
        self._deadlines.clear("headers")
        if self._has_eof:
            self.transport.close()
            return
        self.flow.resume_reading()
        if self.is_tls and has_read_all:
            self._close()
            return
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        self._linger()

    def _end_linger(self, now: float) -> None:
        if self._unsent():
            self._linger()
        elif self.is_tls and not self.transport.is_closing():
            self._close()
        else:
            self._cut(now)

    # Bytes out

    def pause_writing(self) -> None:
        """The client is slower than the application: from now on it has to take something now and then."""
        super().pause_writing()
        self._watch_writing()

    def _unsent(self) -> int:
        """Bytes that the client has not taken. With TLS those in the kernel stand for the buffer below TLS as well."""
        buffered = self.transport.get_write_buffer_size()
        return buffered + queued_bytes(self.transport) if self.is_tls else buffered

    def _mark(self) -> tuple[int, int]:
        """Changes whenever the client takes something."""
        return self._unsent(), acknowledged_bytes(self.transport) if self.is_tls else 0

    def _watch_writing(self) -> None:
        now = self.loop.time()
        self._sent_mark, self._sent_at_s = self._mark(), now
        if self._sent_mark[0]:
            self._deadlines.set("write", now + self.limits.write_stall_s / 4, self._check_writing)

    def _check_writing(self, now: float) -> None:
        mark = self._mark()
        if mark != self._sent_mark:
            self._sent_mark, self._sent_at_s = mark, now
        if now - self._sent_at_s >= self.limits.write_stall_s:
            self._cut(now)
        elif self.flow.write_paused or (self._ignores_input and mark[0]):
            self._deadlines.set("write", now + self.limits.write_stall_s / 4, self._check_writing)
