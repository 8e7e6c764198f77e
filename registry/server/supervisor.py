"""Several processes that serve the same sockets, under one that binds them, starts them, and starts them again.

    supervisor ── binds ── prepares, in a process of its own ── forks the workers ── waits
    worker     ── serves; takes orders over a pair of sockets, and says there when it accepts connections

A worker is a fork: it shares the memory of what was imported, starts in a moment, and inherits the listening sockets,
which stay open here, so no connection is lost in the queue of a worker that dies. A fork is safe because this process
has no other thread, runs no loop and opens no database: what needs one of these is done in a process of its own
(`apart`).

Signals: SIGTERM and SIGINT stop all, a second one cuts the waiting; SIGHUP has certificates read again; SIGUSR2
replaces the workers one by one. A worker that gets SIGTERM itself ends when its requests have, and is replaced. When
this process dies of whatever, the workers die with it.
"""

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, NoReturn, Protocol

from registry.server.balance import Loads
from registry.server.orders import CUT, LEAVE, ORDERS_AT_ONCE, READY, RELOAD, STOP, Post

SETTLED_S: Final = 1.0
"""A worker that served for this long did not die of its start."""
RESTART_FIRST_S: Final = 0.1
RESTART_MAX_S: Final = 10.0
"""A worker that dies at once is started again after the first of these, then twice that and so on, up to the second."""
FAILED: Final = 1
"""Exit status where something went wrong and nothing says more."""

_SUFFIXES: Final = ("", "b")
"""A worker has one of two names, because a new one begins before the old one has ended. There are no more, so that what
is kept by name stays small, however often one is started."""
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_SIGNALS: Final = (*_STOPPING, signal.SIGHUP, signal.SIGUSR2)
_PR_SET_PDEATHSIG: Final = 1

_log = logging.getLogger("depotry.supervisor")


class Crew(Protocol):
    """What the workers do. Nothing of it may start a thread in the supervisor."""

    def work(self, post: Post) -> None:
        """In a new process: serve, say READY over `post.orders`, and follow what comes there. Raises SystemExit with
        the status to end with. The name of one that is gone is given out again."""

    def started(self) -> None:
        """For the first time all workers accept connections."""

    def ended(self, name: str) -> None:
        """The worker of this name is gone."""


class ApartFailed(Exception):
    """The process that was to do something ended with this exit status, having said why; unless a signal killed it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status

    @property
    def signal(self) -> int | None:
        """What killed it, None if it ended by itself."""
        return self.status - 128 if self.status > 128 else None


@dataclass(eq=False, slots=True)
class _Worker:
    """A process that was started. `number` says which of the workers it is."""

    number: int
    name: str
    seat: int
    """Its place among the loads."""
    pid: int
    orders: socket.socket
    ready_at: float | None = None

    def tell(self, order: bytes) -> None:
        """Give an order; one that is gone needs none."""
        with contextlib.suppress(OSError):
            self.orders.send(order)


def apart(work: Callable[[], bytes]) -> bytes:
    """What `work` returns, done in a process of its own: its threads and connections end with it. Raises
    ApartFailed."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = _fork()
    if pid == 0:
        os.close(reading)

        def run() -> None:
            _die_with(parent)
            with open(writing, "wb") as pipe:
                pipe.write(work())

        _end_with(run)
    os.close(writing)
    with open(reading, "rb") as pipe:
        result = pipe.read()
    status = _status_of(os.waitpid(pid, 0)[1])
    if status:
        raise ApartFailed(status)
    return result


def supervise(crew: Crew, count: int, listeners: Sequence[socket.socket], *, stop_limit_s: float) -> int:
    """Keep `count` workers running until a signal says to stop; returns the exit status.

    `listeners` are closed here when the stop begins. A worker that has not ended `stop_limit_s` after that is killed,
    and makes the status 1. A worker that cannot start while the first ones do ends everything with its status. Must
    be called in the main thread, without another one.
    """
    # What is there now stays: looking through it again in each worker would copy all of its memory.
    gc.collect()
    gc.freeze()
    gc.enable()
    with _signals() as signals:
        return _Supervisor(crew, count, listeners, signals, stop_limit_s).run()


class _Supervisor:
    """The living workers, and what is to become of them."""

    def __init__(
        self, crew: Crew, count: int, listeners: Sequence[socket.socket], signals: int, stop_limit_s: float
    ) -> None:
        self._crew = crew
        self._count = count
        self._listeners = listeners
        self._signals = signals
        self._stop_limit_s = stop_limit_s
        self._workers: list[_Worker] = []
        self._loads = Loads(count * len(_SUFFIXES))
        self._due: dict[int, float] = {}
        """When to start which worker again."""
        self._early_deaths: Counter[int] = Counter()
        self._replacing: deque[_Worker] = deque()
        """Those that a new one is to replace; the first one's is on its way, or it is told to stop."""
        self._is_first = True
        self._stops = 0
        self._kill_at = float("inf")
        self._status = 0

    def run(self) -> int:
        """From the first start to the last end."""
        self._due = dict.fromkeys(range(1, self._count + 1), 0.0)
        while self._workers or self._due:
            self._wait()
            now = monotonic()
            if now >= self._kill_at:
                self._kill()
            for number in [number for number, due in self._due.items() if due <= now]:
                del self._due[number]
                self._try_to_start(number)
        return self._status

    def _try_to_start(self, number: int) -> None:
        try:
            self._start(number)
        except OSError as error:
            delay_s = self._put_off(number, is_early=True)
            facts = {"worker": f"{number}", "error": error.strerror, "after_s": round(delay_s, 1)}
            _log.error("the system has no room for another process", extra=facts)

    def _wait(self) -> None:
        """Until something happens, and see to it."""
        next_at = min([*self._due.values(), self._kill_at])
        timeout_s = None if next_at == float("inf") else max(0.0, next_at - monotonic())
        ends = [self._signals, *(worker.orders.fileno() for worker in self._workers)]
        heard, _, _ = select.select(ends, [], [], timeout_s)
        for worker in [worker for worker in self._workers if worker.orders.fileno() in heard]:
            self._hear(worker)
        if self._signals in heard:
            for number in os.read(self._signals, ORDERS_AT_ONCE):
                self._signalled(number)

    def _start(self, number: int) -> None:
        taken = {worker.seat for worker in self._workers}
        first = (number - 1) * len(_SUFFIXES)
        seat = next(seat for seat in range(first, first + len(_SUFFIXES)) if seat not in taken)
        name = f"{number}{_SUFFIXES[seat - first]}"
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        parent = os.getpid()
        try:
            pid = _fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            # Their ends in this process would hide from the others that the supervisor is gone.
            for end in (ours, *(worker.orders for worker in self._workers)):
                end.close()

            def run() -> None:
                _die_with(parent)
                self._crew.work(Post(name, theirs, self._loads.share(seat)))

            _end_with(run)
        theirs.close()
        self._workers.append(_Worker(number, name, seat, pid, ours))

    def _hear(self, worker: _Worker) -> None:
        try:
            said = worker.orders.recv(ORDERS_AT_ONCE)
        except ConnectionError:
            said = b""
        if not said:
            self._bury(worker)
        elif READY in said:
            worker.ready_at = monotonic()
            self._is_ready(worker)

    def _is_ready(self, worker: _Worker) -> None:
        are_all_ready = not self._due and all(other.ready_at is not None for other in self._workers)
        if self._is_first and not self._stops and are_all_ready:
            self._is_first = False
            self._crew.started()
        if self._replacing and self._replacing[0].number == worker.number:
            self._replacing[0].tell(LEAVE)

    def _bury(self, worker: _Worker) -> None:
        """It is gone: say so, and see who takes its place."""
        status = _status_of(os.waitpid(worker.pid, 0)[1])
        worker.orders.close()
        self._workers.remove(worker)
        self._loads.share(worker.seat).withdraw()
        self._crew.ended(worker.name)
        if self._stops:
            self._status = self._status or (FAILED if status else 0)
        elif self._is_first and worker.ready_at is None:
            self._status = status or FAILED
            self._stop(CUT)
        elif any(other.number == worker.number for other in self._workers):
            self._go_on_replacing(worker)
        else:
            self._start_again(worker, status)

    def _start_again(self, worker: _Worker, status: int) -> None:
        is_early = worker.ready_at is None or monotonic() - worker.ready_at < SETTLED_S
        delay_s = self._put_off(worker.number, is_early=is_early)
        _log.log(
            logging.ERROR if status else logging.INFO,
            "a worker has ended, and is started again",
            extra={"worker": worker.name, "pid": worker.pid, "status": status, "after_s": round(delay_s, 1)},
        )

    def _put_off(self, number: int, *, is_early: bool) -> float:
        """Have a worker started again; returns in how many seconds."""
        early = self._early_deaths[number] = self._early_deaths[number] + 1 if is_early else 0
        # The power is bounded too: after some hours it would be no number any more.
        delay_s = min(RESTART_MAX_S, RESTART_FIRST_S * 2 ** min(early - 1, 30)) if early else 0.0
        self._due[number] = monotonic() + delay_s
        return delay_s

    def _signalled(self, number: int) -> None:
        if number in _STOPPING:
            self._stop(CUT if self._stops else STOP)
        elif number == signal.SIGHUP:
            for worker in self._workers:
                worker.tell(RELOAD)
        elif number == signal.SIGUSR2 and not self._replacing and not self._stops:
            self._replacing.extend(self._workers)
            self._replace_next()

    def _stop(self, order: bytes) -> None:
        self._stops += 1
        self._due.clear()
        self._replacing.clear()
        for worker in self._workers:
            worker.tell(order)
        # The workers have their own, and close them at the end: then nobody accepts, and clients are told so.
        for listener in self._listeners:
            listener.close()
        self._kill_at = min(self._kill_at, monotonic() + self._stop_limit_s)

    def _kill(self) -> None:
        self._kill_at = float("inf")
        self._status = self._status or FAILED
        for worker in self._workers:
            _log.error("a worker does not end, and is killed", extra={"worker": worker.name, "pid": worker.pid})
            os.kill(worker.pid, signal.SIGKILL)

    def _replace_next(self) -> None:
        """Start the one that replaces the next; those that have died meanwhile are new already."""
        while self._replacing and self._replacing[0] not in self._workers:
            self._replacing.popleft()
        if self._replacing:
            try:
                self._start(self._replacing[0].number)
            except OSError as error:
                _log.error("no room for a new worker, the old ones stay: %s", error.strerror)
                self._replacing.clear()

    def _go_on_replacing(self, gone: _Worker) -> None:
        """One of the two workers of a number is gone: the old one, and then it is the turn of the next; or the new one,
        and then the old one stays, and so do those after it."""
        if gone is not self._replacing[0]:
            _log.error("a new worker could not take over; the old ones stay", extra={"worker": gone.name})
            self._replacing.clear()
        else:
            _log.info("a worker was replaced", extra={"worker": gone.name, "pid": gone.pid})
            self._replace_next()


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor from which the numbers of signals are read that came to this process, in their order."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(reading)
        os.close(writing)


def _fork() -> int:
    """As `os.fork`, without a signal that is lost or reaches the wrong one. In the child SIGTERM does what it does by
    default, and the others nothing: those that a terminal sends to all processes are for the supervisor, which tells
    the workers."""
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads cannot be forked safely")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return pid


def _end_with(work: Callable[[], None]) -> NoReturn:
    """Do the work of a child and end it; nothing of the parent's course runs here a second time."""
    status = FAILED
    try:
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else FAILED
    except BaseException:  # noqa: BLE001 - the end of this process, and nobody after it would say why
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _die_with(parent: int) -> None:
    """Have this process killed when its parent dies, where the system can do that."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before it was asked for.
    if os.getppid() != parent:
        os._exit(FAILED)


def _status_of(waited: int) -> int:
    """The exit status as a shell has it: that of the process, or 128 and the signal that killed it."""
    code = os.waitstatus_to_exitcode(waited)
    return code if code >= 0 else 128 - code
