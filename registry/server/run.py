"""Serve an application on several sockets, and stop so that running requests lose nothing.

    signal ── draining() ── running requests end, new ones are served (at most drain_timeout_s)
           ── listeners and idle connections close ── grace ── what is left is cancelled ── stop()

A second signal cuts the waiting: what runs is cancelled at once. SIGHUP reads certificates again, and ends nothing.
Under a supervisor (`supervisor`) the same comes as orders, and a signal means what the first one means.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from types import FrameType
from typing import Any, Final, Protocol, cast

from uvicorn import Config, Server
from uvicorn._types import ASGI3Application

from registry.server import allocator
from registry.server.admission import Admission, raise_file_limit
from registry.server.listener import Acceptor, Listener
from registry.server.orders import CUT, LEAVE, ORDERS_AT_ONCE, READY, RELOAD, STOP, Post
from registry.server.protocol import ConnectionLimits, RegistryProtocol

BACKLOG: Final = 2048
GRACE_S: Final = 5.0
"""For requests that began while draining, and for clients to take the last bytes."""
CANCEL_S: Final = 5.0
"""For cancelled requests to put their uploads aside."""
FIRST_REQUEST_S: Final = 1.0
"""For the first request of who came in just before this one of several workers stopped to accept."""
_POLL_S: Final = 0.02


class Lifecycle(Protocol):
    """What the owner of the application is told. Nothing of it may block."""

    def started(self) -> None:
        """The listeners accept connections."""

    def draining(self) -> None:
        """A signal came: readiness goes off, so that no new clients are sent here."""

    async def stop(self) -> None:
        """The last request has ended: close stores and databases."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, 0 being any free port. Raises OSError with a text for people."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{host} is not an address of this machine: {error.strerror}") from None
    # A name such as localhost may have both: IPv4 is what clients try when the other is refused.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        # Now, and not when serving begins: only then is the port taken for sure.
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, _bind_problem(error, host, port)) from None
    return listener


def _bind_problem(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}; ports from 1024 on are free for all"
    return f"cannot listen on port {port} of {host}: {os.strerror(error.errno or 0)}"


def serve(
    app: ASGI3Application,
    listeners: Sequence[Listener],
    *,
    lifecycle: Lifecycle,
    limits: ConnectionLimits | None = None,
    drain_timeout_s: float = 30.0,
    post: Post | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, and return when everything has ended.

    `scope["server"]` tells the application which listener a request came by. The limit on open files is raised to
    what the limits need. `post` is what the supervisor of several has given to this worker. Runs on uvloop where it is
    installed. Must be called in the main thread.
    """
    limits = limits or ConnectionLimits()
    raise_file_limit(limits.connections_max)
    config = Config(
        app,
        http=RegistryProtocol.limited(limits),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    _StoppableServer(config, listeners, lifecycle, drain_timeout_s, post).run()


class _StoppableServer(Server):
    """uvicorn's course of things, with listeners of our own and the stop that the module describes."""

    def __init__(
        self,
        config: Config,
        listeners: Sequence[Listener],
        lifecycle: Lifecycle,
        drain_timeout_s: float,
        post: Post | None,
    ) -> None:
        super().__init__(config)
        self._post = post
        self._listeners = listeners
        self._lifecycle = lifecycle
        self._drain_timeout_s = drain_timeout_s
        self._acceptors: list[Acceptor] = []
        self._signals = 0
        self._is_leaving = False
        self._signalled = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept. uvicorn would give one TLS context to every socket, and accept by itself."""
        loop = asyncio.get_running_loop()
        config = self.config
        protocol_class: type[RegistryProtocol] = config.http_protocol_class  # type: ignore[assignment]
        limits = protocol_class.limits
        admission = Admission(
            per_address=limits.connections_per_address,
            in_all=limits.connections_max,
            trusted_proxies=limits.trusted_proxies,
        )
        for listener in self._listeners:
            acceptor = Acceptor(
                listener,
                admission,
                lambda: protocol_class(config, self.server_state, self.lifespan.state, loop),
                self._post.share if self._post is not None and listener.is_limited else None,
            )
            acceptor.start()
            self._acceptors.append(acceptor)
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Those that stop, and SIGHUP, which would end the process."""
        before = signal.signal(signal.SIGHUP, self._hang_up)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _hang_up(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._reload_certificates)

    def _reload_certificates(self) -> None:
        for listener in self._listeners:
            if listener.tls is not None:
                listener.tls.reload()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal. uvicorn would raise it again at the end, but a stop on request is a success."""
        if self._post is None:
            self._count(self._signals + 1)
        elif sig == signal.SIGTERM:
            # Some send it to all processes at once, and the supervisor says the same again: one stop in all.
            self._count(1)

    def _count(self, signals: int) -> None:
        if signals > self._signals:
            self._signals = signals
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._signalled.set)

    def _follow_orders(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._post is not None:
            loop.add_reader(self._post.orders, self._take_orders, self._post.orders)
            self._post.orders.send(READY)

    def _take_orders(self, orders: socket.socket) -> None:
        try:
            told = orders.recv(ORDERS_AT_ONCE)
        except BlockingIOError:
            return
        if not told and self._loop is not None:
            # The supervisor is gone: what it would start instead needs the sockets.
            self._loop.remove_reader(orders)
            told = CUT
        if RELOAD in told:
            self._reload_certificates()
        self._is_leaving |= LEAVE in told
        self._count(2 if CUT in told else 1 if STOP in told or LEAVE in told else 0)

    async def main_loop(self) -> None:
        """From the start of the listeners to the end of the drain."""
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        watches = [asyncio.create_task(listener.tls.watch()) for listener in self._listeners if listener.tls]
        clocks = [asyncio.create_task(self._keep_date()), *watches]
        try:
            allocator.settle()
            self._lifecycle.started()
            self._follow_orders(self._loop)
            if not self._signals:
                await self._signalled.wait()
            self._signalled.clear()
            self._lifecycle.draining()
            await self._drain()
        finally:
            for clock in clocks:
                clock.cancel()

    async def _keep_date(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self.on_tick(0)

    async def _drain(self) -> None:
        if self._is_leaving:
            await self._leave()
        running = set(self.server_state.tasks)
        await self._until_done(running, self._drain_timeout_s)
        if self._post is not None and not self._is_leaving:
            await self._leave()

    async def _leave(self) -> None:
        """Accept no more, while other workers do, and let those who have just come in ask for something."""
        for acceptor in self._acceptors:
            acceptor.leave()
        await self._until(lambda: not self._is_somebody_new, FIRST_REQUEST_S, is_cut_by_signals=True)

    async def _until_done(self, tasks: Collection["asyncio.Task[Any]"], timeout_s: float) -> None:
        """Return when all have ended, the time is over, or the next signal came."""
        if not tasks or self._signals > 1:
            return
        signalled = asyncio.create_task(self._signalled.wait())
        ended = asyncio.create_task(_all(tasks))
        await asyncio.wait([signalled, ended], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (signalled, ended):
            task.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything, and tell the owner."""
        for acceptor in self._acceptors:
            await acceptor.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until(self._is_empty, GRACE_S, is_cut_by_signals=True)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._until(self._is_empty, CANCEL_S, is_cut_by_signals=False)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._lifecycle.stop()

    def _is_empty(self) -> bool:
        return not self.server_state.tasks and not self.server_state.connections

    @property
    def _is_somebody_new(self) -> bool:
        """Whether anybody has come in and not asked for anything yet."""
        connections = cast("set[RegistryProtocol]", self.server_state.connections)
        return any(acceptor.are_on_their_way for acceptor in self._acceptors) or any(
            connection.is_fresh for connection in connections
        )

    async def _until(self, condition: Callable[[], bool], timeout_s: float, *, is_cut_by_signals: bool) -> None:
        until_s = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            is_cut = is_cut_by_signals and self._signals > 1
            if is_cut or asyncio.get_running_loop().time() >= until_s:
                return
            await asyncio.sleep(_POLL_S)


async def _all(tasks: Collection["asyncio.Task[Any]"]) -> None:
    await asyncio.wait(tasks)
