"""Where connections come in: each is counted when it is accepted, and only then spoken to.

The loop's own servers know nothing of a connection before its TLS handshake is over, and tell nobody when that fails,
so they cannot count. That is why connections are accepted here and handed to the loop one by one.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from registry.server.admission import Admission, Place
from registry.server.balance import LEFT_S, Share
from registry.server.protocol import REFUSAL_HEADERS, RegistryProtocol
from registry.server.tls import CLOSE_LIMIT_S, ServerTls

ACCEPTS_AT_ONCE: Final = 64
"""In one turn of the loop, so that a rush of new connections does not stop the old ones. One, where it is shared."""
RETRY_S: Final = 1.0
"""Without room for another open file, accepting rests this long."""

_OUT_OF_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_DRAINED_BYTES: Final = 64 * 1024
_BODY: Final = b'{"errors": [{"code": "UNAVAILABLE", "message": "too many connections; try again"}]}'
_REFUSAL: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\nretry-after: 1\r\n%b\r\n%b" % (
    len(_BODY),
    b"".join(b"%b: %b\r\n" % header for header in REFUSAL_HEADERS),
    _BODY,
)

_log = logging.getLogger("depotry.server")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and how it treats who comes."""

    socket: socket.socket
    tls: ServerTls | None = None
    is_limited: bool = True
    """Whether its connections need a place. Those of the operators do not: they are needed most when all are taken."""


class Acceptor:
    """Accepts on one listener, from `start` to `close`."""

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        make_protocol: Callable[[], RegistryProtocol],
        share: Share | None = None,
    ) -> None:
        """`share`: among the processes that accept on this listener."""
        self._listener = listener
        self._share = share
        self._admission = admission
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[Any]] = set()
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """From now on connections are accepted."""
        self._retry = None
        if self._share is not None:
            self._share.show(self._admission.held)
        self._loop.add_reader(self._listener.socket, self._accept)

    def leave(self) -> None:
        """Accept no more. Those who are on their way in still come in."""
        self._loop.remove_reader(self._listener.socket)
        if self._retry is not None:
            self._retry.cancel()
        if self._share is not None:
            self._share.withdraw()

    @property
    def are_on_their_way(self) -> bool:
        """Whether there are connections whose handshake is not over."""
        return bool(self._opening)

    async def close(self) -> None:
        """Accept no more, and end the connections whose handshake is not over."""
        self.leave()
        self._listener.socket.close()
        # A task that has not begun when it is cancelled would not close its socket.
        await asyncio.sleep(0)
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self) -> None:
        if self._share is None:
            self._take_waiting(ACCEPTS_AT_ONCE)
            return
        self._share.show(self._admission.held)
        if self._share.is_above_another:
            self._loop.remove_reader(self._listener.socket)
            self._retry = self._loop.call_later(LEFT_S, self._take_what_was_left)
        else:
            self._take_waiting(1)
            self._share.show(self._admission.held)

    def _take_what_was_left(self) -> None:
        self.start()
        self._take_waiting(1)

    def _take_waiting(self, count: int) -> None:
        for _ in range(count):
            try:
                connection, address = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            connection.setblocking(False)
            self._take(connection, address[0])

    def _rest(self, error: OSError) -> None:
        # The connection stays in the kernel's queue, and the loop would call again at once.
        if error.errno not in _OUT_OF_ROOM:
            _log.error("a connection could not be accepted: %s", error)
            return
        _log.error("no room for another connection: %s", error.strerror)
        self._loop.remove_reader(self._listener.socket)
        self._retry = self._loop.call_later(RETRY_S, self.start)

    def _take(self, connection: socket.socket, host: str) -> None:
        place = self._admission.admit(host) if self._listener.is_limited else None
        if place is None and self._listener.is_limited:
            _refuse(connection, is_plain=self._listener.tls is None)
            return
        protocol = self._make_protocol()
        protocol.place = place
        task = self._loop.create_task(self._open(connection, protocol))
        self._opening.add(task)
        task.add_done_callback(functools.partial(self._opened, protocol, place))

    async def _open(self, connection: socket.socket, protocol: RegistryProtocol) -> None:
        options: dict[str, Any] = {}
        if self._listener.tls is not None:
            options = {
                "ssl": self._listener.tls.context,
                "ssl_handshake_timeout": protocol.limits.header_timeout_s,
                "ssl_shutdown_timeout": CLOSE_LIMIT_S,
            }
        await self._loop.connect_accepted_socket(lambda: protocol, connection, **options)

    def _opened(self, protocol: RegistryProtocol, place: Place | None, task: "asyncio.Task[Any]") -> None:
        self._opening.discard(task)
        # The protocol gives the place back, but only a protocol that was told of its connection is told of its end.
        if place is not None and not protocol.was_connected:
            place.release()
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):
            _log.debug("a connection ended before its first request: %s", error)
        elif error is not None:
            _log.error("a connection could not be opened", exc_info=error)


def _refuse(connection: socket.socket, *, is_plain: bool) -> None:
    with contextlib.suppress(OSError):
        if is_plain:
            connection.send(_REFUSAL)
            connection.shutdown(socket.SHUT_WR)
            # A request that is not read would turn the end into a reset.
            connection.recv(_DRAINED_BYTES)
    connection.close()
