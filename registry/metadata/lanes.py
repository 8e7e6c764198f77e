"""Threads that wait for a database in the place of the event loop: as many as there are connections, in two lanes.

Neither lane can take all of them, so slow reads leave room for writes and the other way round. Waiting is bounded in
number and in time: beyond that it is honest to say that the database is busy.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import Any, TypeVar

from registry.core.errors import Unavailable

T = TypeVar("T")
QUEUE_LIMIT = 1_024
WAIT_LIMIT_S = 5.0


class Lane(Enum):
    """What a piece of work is."""

    READ = "read"
    WRITE = "write"


@dataclass(eq=False, slots=True)
class _Job:
    lane: Lane
    work: Callable[[], Any]
    done: Future[Any] = field(default_factory=Future)
    queued_at: float = field(default_factory=monotonic)


class Lanes:
    """Runs work in at most `threads` threads, at least two, which are started as they are needed."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._most_of_a_lane = threads - max(1, threads // 4)
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._waiting: dict[Lane, deque[_Job]] = {lane: deque() for lane in Lane}
        self._running = dict.fromkeys(Lane, 0)
        self._idle = 0
        self._closing = False

    async def run(self, lane: Lane, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises Unavailable where it could not begin in time. A caller that is
        cancelled leaves running work to its end."""
        job = self._submit(lane, work)
        timer = asyncio.get_running_loop().call_later(WAIT_LIMIT_S, self._expire, job)
        try:
            result: T = await asyncio.wrap_future(job.done)
            return result
        finally:
            timer.cancel()

    def close(self) -> None:
        """Finish what was submitted, and end the threads. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _submit(self, lane: Lane, work: Callable[[], T]) -> _Job:
        job = _Job(lane, work)
        with self._changed:
            if self._closing:
                raise Unavailable("the database is closed")
            if len(self._waiting[lane]) >= QUEUE_LIMIT:
                raise Unavailable("too many requests wait for the database", retry_after_s=1)
            self._waiting[lane].append(job)
            self._changed.notify()
            # Those that are woken still count as idle: each of them takes one job.
            if self._idle < sum(map(len, self._waiting.values())) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._serve, name=f"sql-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return job

    def _expire(self, job: _Job) -> None:
        """The time of a job is over, unless it has begun."""
        with self._changed:
            if job not in self._waiting[job.lane]:
                return
            self._waiting[job.lane].remove(job)
        if not job.done.cancelled():
            job.done.set_exception(Unavailable("the database is busy", retry_after_s=1))

    def _serve(self) -> None:
        while (job := self._take()) is not None:
            if job.done.set_running_or_notify_cancel():
                _run(job)
            with self._changed:
                self._running[job.lane] -= 1

    def _take(self) -> _Job | None:
        """The next job, None once the lanes are closed. One that waits for room in its lane is taken by the thread that
        makes the room."""
        with self._changed:
            while (job := self._next()) is None:
                if self._closing:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._running[job.lane] += 1
            return job

    def _next(self) -> _Job | None:
        """The oldest job whose lane has room."""
        lanes = [lane for lane in Lane if self._waiting[lane] and self._running[lane] < self._most_of_a_lane]
        if not lanes:
            return None
        return self._waiting[min(lanes, key=lambda lane: self._waiting[lane][0].queued_at)].popleft()


def _run(job: _Job) -> None:
    try:
        value = job.work()
    except BaseException as error:  # noqa: BLE001 - whatever it was, it belongs to who waits for it
        job.done.set_exception(error)
    else:
        job.done.set_result(value)
