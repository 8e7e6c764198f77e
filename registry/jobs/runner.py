"""The runner: background work that any worker of any node may do, and never two of them at once.

Each kind of work is a row of the table `jobs`. A worker looks at the rows every few seconds, takes what is due by
compare-and-set, renews its lease while the work runs, and lets go with an account of what was done. A holder that has
not renewed its row for a whole lease is given up for dead: measured on the watcher's own stopwatch, so clocks of nodes
may differ. Should it still live, the epoch in the row is no longer its own, and each step that it tries to commit is
rolled back (`Turn.write`). What a step does outside of SQL has to be safe to do twice for that reason.

Work that fails is due again after a while that doubles from failure to failure, up to an hour. A server that stops
lets go between two steps, and somebody else goes on.
"""

import asyncio
import json
import logging
import os
import random
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from registry.core.errors import RegistryError
from registry.metadata import jobs as rows
from registry.metadata.database import Connection, Database
from registry.metadata.jobs import Held, JobState
from registry.services.clock import Clock

T = TypeVar("T")

LEASE_S = 30.0
LOOK_S = 3.0
"""Seconds between two looks, if nothing is due before."""
LOOK_MIN_S = 0.2
STOP_LIMIT_S = 10.0
"""Seconds that a step gets to end when the server stops; then it is cancelled, which its transaction survives."""
BACK_OFF_S = 5.0
BACK_OFF_MAX_S = 3600.0
JITTER = 0.1

_random = random.SystemRandom()


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Half way, because the server stops."""
    LOST = "lost"
    """Somebody else has taken the row meanwhile."""


class Stopped(Exception):
    """Raised between two steps of work that shall end."""


class Fenced(Exception):
    """The row is another's: what this step has changed is rolled back."""


class Observer(Protocol):
    """Is told what happens, on the loop; has to be quick, and must not raise."""

    def ran(self, kind: str, outcome: str, account: dict[str, int]) -> None:
        """A run ended; `account` counts what it did, also where it failed half way."""
        ...

    def looked(self, states: list[JobState]) -> None:
        """These are the rows now, also those of other workers' runs."""
        ...


class Turn:
    """What running work is given: fenced transactions, a tally, and a word when it is time to stop."""

    def __init__(self, database: Database, held: Held, clock: Clock, *, lease_ms: int) -> None:
        self._database = database
        self.held = held
        self._clock = clock
        self._lease_ms = lease_ms
        self._ends_with: type[Exception] | None = None
        self.tally: Counter[str] = Counter()
        self.progress: Callable[[str, int], None] | None = None
        """Called with each addition to the tally, for a progress bar."""

    @property
    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        return self._clock()

    def count(self, name: str, number: int = 1) -> None:
        """Add to the account of this run."""
        self.tally[name] += number
        if self.progress is not None:
            self.progress(name, number)

    def stop(self) -> None:
        """Ask the work to end between two steps."""
        self._ends_with = self._ends_with or Stopped

    def check(self) -> None:
        """Between two steps: raises Stopped or Fenced when there should be no next one."""
        if self._ends_with is not None:
            raise self._ends_with()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """A transaction that reads."""
        self.check()
        return await self._database.read(query)

    async def write(self, step: Callable[[Connection], T], *, durable: bool = True) -> T:
        """A transaction that changes something if this run still holds its row; `durable` as `Database.write` has it.
        Raises Stopped before it, or Fenced, and then nothing has changed."""
        self.check()

        def fenced(connection: Connection) -> T:
            value = step(connection)
            if not rows.keep(connection, self.held, leased_until=self.now + self._lease_ms):
                raise Fenced
            return value

        return await self._database.write(fenced, durable=durable)

    async def repeat(self, name: str, step: Callable[[Connection], int]) -> None:
        """Repeat a step that changes a few rows, and says how many, until nothing is left for it."""
        while changed := await self.write(step):
            self.count(name, changed)

    async def previous(self) -> dict[str, Any]:
        """The account of the last run that did not fail; empty before the first."""
        text = await self._database.read(lambda connection: rows.result(connection, self.held.kind))
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}

    async def beat(self) -> None:
        """Renew the lease now and then until cancelled; a lost row ends the work at its next step."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            try:
                mine = await self._database.write(self._renew, durable=False)
            except RegistryError:
                continue
            if not mine:
                self._ends_with = Fenced

    def _renew(self, connection: Connection) -> bool:
        return rows.keep(connection, self.held, leased_until=self.now + self._lease_ms)


Work = Callable[[Turn], Coroutine[Any, Any, dict[str, Any] | None]]
"""Does the work, and returns what its account shall hold beside the tally."""


Wanted = Callable[[Connection, int], bool]
"""Whether there is work now, which is given in ms since 1970 UTC: one indexed statement."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work. `interval_ms` lies between the end of a run and the next one; where `wanted` says that there is
    something to do, it begins before, unless the last run failed."""

    kind: str
    interval_ms: int
    work: Work
    wanted: Wanted | None = None


@dataclass(slots=True)
class _Sighting:
    """A row as it was when it was last seen to change, and when that was on the own stopwatch, in seconds."""

    epoch: int
    leased_until: int
    since: float


class Runner:
    """Does the jobs of `jobs` that are due, in tasks of the running loop. One for each process."""

    def __init__(
        self,
        database: Database,
        jobs: list[Job],
        clock: Clock,
        *,
        observer: Observer | None = None,
        lease_s: float = LEASE_S,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._jobs = {job.kind: job for job in jobs}
        self._clock = clock
        self._observer = observer
        self._lease_s = lease_s
        self._stopwatch = stopwatch
        self._holder = f"{socket.gethostname()[:40]} {os.getpid()} {secrets.token_hex(4)}"
        self._log = logging.getLogger("depotry.jobs")
        self._sightings: dict[str, _Sighting] = {}
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._turns: dict[str, Turn] = {}
        self._stopping = asyncio.Event()
        self._trouble: str | None = None

    async def run(self) -> None:
        """Look for work until `stop`."""
        while not self._stopping.is_set():
            delay = await self._look_safely()
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                continue

    def ask_to_stop(self) -> None:
        """Begin nothing new, and let go of what runs between two steps. Returns at once; `stop` waits for it."""
        self._stopping.set()
        for turn in self._turns.values():
            turn.stop()

    async def stop(self) -> None:
        """Let go of everything. Idempotent."""
        self.ask_to_stop()
        running = set(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_LIMIT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def look(self) -> list[str]:
        """One look: begin what is due and free; returns the kinds. Raises Unavailable."""
        return [job.kind for job, seen in await self._takeable() if self._begin(job, seen)]

    async def settle(self) -> None:
        """Wait until nothing runs here."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    async def run_now(
        self,
        kind: str,
        *,
        progress: Callable[[str, int], None] | None = None,
        waiting: Callable[[], None] | None = None,
    ) -> dict[str, int]:
        """Do one kind of work now, due or not; returns its tally. Where another process does it, waits for that one to
        end first, after a call of `waiting`. Raises what the work raised, and Fenced when it was taken away."""
        job = self._jobs[kind]
        while (held := await self._take_now(kind)) is None:
            if waiting is not None:
                waiting()
            await asyncio.sleep(LOOK_MIN_S)
        turn = self._turn(held)
        turn.progress = progress
        carried_out = asyncio.ensure_future(self._carry_out(job, turn, None))
        try:
            failure, _ = await asyncio.shield(carried_out)
        except asyncio.CancelledError:
            # Nobody should have to wait for the lease to run out.
            turn.stop()
            await asyncio.wait([carried_out], timeout=STOP_LIMIT_S)
            raise
        if failure is not None:
            raise failure
        return dict(turn.tally)

    async def _take_now(self, kind: str) -> Held | None:
        for seen in await self._states():
            if seen.kind == kind and self._is_free(seen):
                return await self._take(seen)
        return None

    async def _look_safely(self) -> float:
        """Look, and return after how many seconds to look again."""
        try:
            await self.look()
            states = await self._states()
        except RegistryError as error:
            if self._trouble != error.message:
                self._log.warning("background work waits: %s", error.message)
            self._trouble = error.message
            return LOOK_S
        self._trouble = None
        if self._observer is not None:
            self._observer.looked(states)
        mine = [state for state in states if state.kind in self._jobs and state.holder is None]
        due_in = min((state.due_at - self._clock() for state in mine), default=int(LOOK_S * 1000)) / 1000
        return _jittered(min(max(due_in, LOOK_MIN_S), LOOK_S))

    async def _states(self) -> list[JobState]:
        states = await self._database.point(rows.states)
        if self._jobs.keys() - {state.kind for state in states}:
            await self._database.write(lambda connection: rows.ensure(connection, sorted(self._jobs)))
            states = await self._database.point(rows.states)
        return states

    async def _takeable(self) -> list[tuple[Job, JobState]]:
        now = self._clock()
        found = []
        for seen in await self._states():
            job = self._jobs.get(seen.kind)
            # Each is looked at, so that the stopwatch runs for those that others hold.
            is_free = self._is_free(seen)
            if job is None or seen.kind in self._running or not is_free:
                continue
            if seen.due_at <= now or await self._is_wanted(job, seen, now):
                found.append((job, seen))
        return found

    async def _is_wanted(self, job: Job, seen: JobState, now: int) -> bool:
        wanted = job.wanted
        if wanted is None or seen.failures:
            return False
        return await self._database.point(lambda connection: wanted(connection, now))

    def _is_free(self, seen: JobState) -> bool:
        """Whether nobody holds it, or somebody who has not renewed it for a whole lease while this process watched."""
        last = self._sightings.get(seen.kind)
        if last is None or (last.epoch, last.leased_until) != (seen.epoch, seen.leased_until):
            last = self._sightings[seen.kind] = _Sighting(seen.epoch, seen.leased_until, self._stopwatch())
        return seen.holder is None or self._stopwatch() - last.since >= self._lease_s

    def _begin(self, job: Job, seen: JobState) -> bool:
        if self._stopping.is_set():
            return False
        task = asyncio.get_running_loop().create_task(self._take_and_run(job, seen), name=f"job {job.kind}")
        self._running[job.kind] = task
        task.add_done_callback(lambda _: self._running.pop(job.kind, None))
        return True

    async def _take(self, seen: JobState) -> Held | None:
        now = self._clock()
        until = now + int(self._lease_s * 1000)
        return await self._database.write(
            lambda connection: rows.take(connection, seen, self._holder, now=now, leased_until=until), durable=False
        )

    async def _take_and_run(self, job: Job, seen: JobState) -> Outcome:
        try:
            held = await self._take(seen)
        except RegistryError:
            return Outcome.LOST
        if held is None:
            return Outcome.LOST
        _, outcome = await self._carry_out(job, self._turn(held), seen)
        return outcome

    def _turn(self, held: Held) -> Turn:
        return Turn(self._database, held, self._clock, lease_ms=int(self._lease_s * 1000))

    async def _carry_out(self, job: Job, turn: Turn, seen: JobState | None) -> tuple[Exception | None, Outcome]:
        """Run work whose row is held, and let go of it; returns what it raised, and how it ended."""
        self._turns[job.kind] = turn
        if self._stopping.is_set():
            turn.stop()
        beating = asyncio.create_task(turn.beat())
        try:
            failure, extra = await self._attempt(job, turn)
        finally:
            beating.cancel()
            del self._turns[job.kind]
        outcome = await self._let_go(job, turn, failure, extra)
        if outcome is Outcome.FAILED:
            self._log_failure(job, failure, None if seen is None else seen.last_error)
        if self._observer is not None:
            figures = {name: value for name, value in extra.items() if isinstance(value, int)}
            self._observer.ran(job.kind, outcome.value, {**turn.tally, **figures})
        return failure, outcome

    async def _attempt(self, job: Job, turn: Turn) -> tuple[Exception | None, dict[str, Any]]:
        try:
            return None, await job.work(turn) or {}
        except Exception as error:  # noqa: BLE001 - the boundary: work that fails is written down, and others go on
            return error, {}

    async def _let_go(self, job: Job, turn: Turn, failure: Exception | None, extra: dict[str, Any]) -> Outcome:
        if isinstance(failure, Fenced):
            return Outcome.LOST
        ended = self._clock()
        try:
            mine = await self._database.write(
                lambda connection: _end(connection, job, turn, ended=ended, failure=failure, extra=extra), durable=False
            )
        except RegistryError:
            # Nobody could be told: the lease runs out, and somebody does it again.
            mine = False
        if not mine:
            return Outcome.LOST
        if failure is None:
            return Outcome.DONE
        return Outcome.STOPPED if isinstance(failure, Stopped) else Outcome.FAILED

    def _log_failure(self, job: Job, failure: Exception | None, known: str | None) -> None:
        """Once for each change: work that fails every hour for the same reason would fill the log."""
        text = _text(failure)
        if text != known:
            expected = isinstance(failure, RegistryError)
            self._log.log(
                logging.WARNING if expected else logging.ERROR,
                "job %s failed: %s",
                job.kind,
                text,
                exc_info=None if expected else failure,
            )


def _end(
    connection: Connection, job: Job, turn: Turn, *, ended: int, failure: Exception | None, extra: dict[str, Any]
) -> bool:
    """Write down how a run ended; False if the row is another's."""
    held = turn.held
    if failure is None:
        outcome = json.dumps({**turn.tally, **extra})
        due_at = ended + int(_jittered(job.interval_ms))
        return rows.finish(connection, held, now=ended, due_at=due_at, outcome=outcome)
    if isinstance(failure, Stopped):
        return rows.release(connection, held, due_at=ended)
    seen = next(state for state in rows.states(connection) if state.kind == job.kind)
    return rows.fail(connection, held, due_at=ended + _back_off_ms(seen.failures), error=_text(failure))


def _back_off_ms(failures: int) -> int:
    """After so many failures before this one."""
    seconds = min(BACK_OFF_S * 2 ** min(failures, 20), BACK_OFF_MAX_S)
    return int(_jittered(seconds) * 1000)


def _jittered(amount: float) -> float:
    return amount * _random.uniform(1 - JITTER, 1 + JITTER)


def _text(failure: Exception | None) -> str:
    if isinstance(failure, RegistryError):
        cause = failure.__cause__
        return (failure.message + ("" if cause is None else f": {cause}"))[: rows.ERROR_MAX]
    return f"{type(failure).__name__}: {failure}"[: rows.ERROR_MAX]
