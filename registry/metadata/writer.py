"""One thread that owns the write lock and commits for everybody who waits at that moment.

A commit costs an fsync, whatever it holds. While one is running, the next units of work queue up, and all of them
share the next commit: eight clients that push at once pay for one. Each unit runs in its own savepoint, so that one
that fails takes nothing along.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from registry.core.errors import Unavailable
from registry.metadata.failures import OUTAGES, is_outage, translate

QUEUE_LIMIT = 1_024
BATCH_LIMIT = 64
BATCH_LIMIT_S = 0.2
"""After this much work a batch is committed, so that who waits behind large units does not wait for all of them."""
WAIT_LIMIT_S = 5.0
"""A unit that could not begin within this gets 503: the client tries again, and the queue cannot grow stale."""


@dataclass(slots=True)
class _Unit:
    """A function to run in a transaction, and the future that gets what it returns after the commit."""

    function: Callable[[Connection], Any]
    durable: bool
    done: Future[Any] = field(default_factory=Future)
    queued_at: float = field(default_factory=monotonic)
    begun: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    failed: Exception | None = None


class _UnitFailed(Exception):
    """The database failed in the middle of this unit: it may be the unit's own doing."""

    def __init__(self, unit: _Unit) -> None:
        super().__init__()
        self.unit = unit


class Writer:
    """Runs units of work in their order, in batches. `durable` ones are on the disk before their future is done."""

    def __init__(self, durable: Engine, relaxed: Engine) -> None:
        self._durable = durable
        self._relaxed = relaxed
        self._queue: queue.Queue[_Unit | None] = queue.Queue(QUEUE_LIMIT)
        self._backlog: deque[_Unit] = deque()
        """Taken from the queue, and not run yet. Of the thread alone."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sql-writer", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[Connection], Any], *, durable: bool) -> Future[Any]:
        """Queue a unit. The future raises what `function` raised, or Unavailable/StorageFull if the database failed.
        Raises Unavailable when too many are waiting."""
        unit = _Unit(function, durable)
        try:
            self._queue.put_nowait(unit)
        except queue.Full:
            raise Unavailable("too many writes are waiting", retry_after_s=1) from None
        return unit.done

    def close(self) -> None:
        """Finish what is queued, then end the thread. Idempotent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._run_batch(batch)

    def _next_batch(self) -> list[_Unit]:
        """What waits now, at least one unit; nothing once the writer is closed and all is done."""
        if not self._backlog and not self._closing:
            self._take(self._queue.get())
        while len(self._backlog) < BATCH_LIMIT and not self._closing:
            try:
                self._take(self._queue.get_nowait())
            except queue.Empty:
                break
        return [self._backlog.popleft() for _ in range(min(len(self._backlog), BATCH_LIMIT))]

    def _take(self, unit: _Unit | None) -> None:
        if unit is None:
            self._closing = True
        else:
            self._backlog.append(unit)

    def _run_batch(self, batch: list[_Unit]) -> None:
        engine = self._durable if any(unit.durable for unit in batch) else self._relaxed
        outcomes: list[tuple[_Unit, _Outcome]] = []
        try:
            with engine.connect() as connection, connection.begin() as transaction:
                self._attempt_all(batch, connection, outcomes)
                if len(batch) == 1 and outcomes and outcomes[0][1].failed:
                    transaction.rollback()
        except _UnitFailed as broken:
            # All of it was rolled back. The others run again, without the one that may break every batch.
            outcomes = [(broken.unit, _Outcome(failed=_failure_of(broken.__cause__)))]
        except Exception as error:  # noqa: BLE001 - this thread must outlive everything, or every write waits for ever
            failed = [unit for unit, _ in outcomes] or [unit for unit in batch if self._may_begin(unit)]
            outcomes = [(unit, _Outcome(failed=_failure_of(error))) for unit in failed]
        for unit, outcome in outcomes:
            _settle(unit, outcome)
        self._backlog.extendleft(unit for unit in reversed(batch) if not unit.done.done())

    def _attempt_all(
        self, batch: list[_Unit], connection: Connection, outcomes: list[tuple[_Unit, "_Outcome"]]
    ) -> None:
        """Run the units until the time for a batch is over; what is left runs in the next one."""
        ends_at = monotonic() + BATCH_LIMIT_S
        for unit in batch:
            if outcomes and monotonic() > ends_at:
                return
            if self._may_begin(unit):
                outcomes.append((unit, _attempt(unit, connection, alone=len(batch) == 1)))

    def _may_begin(self, unit: _Unit) -> bool:
        """Whether somebody still waits for it, and not for too long. A unit that begins again may."""
        if unit.begun or unit.done.done():
            return unit.begun and not unit.done.done()
        if not unit.done.set_running_or_notify_cancel():
            return False
        unit.begun = True
        if monotonic() - unit.queued_at > WAIT_LIMIT_S:
            unit.done.set_exception(Unavailable("the database is busy", retry_after_s=1))
            return False
        return True


def _attempt(unit: _Unit, connection: Connection, *, alone: bool) -> _Outcome:
    """Run one unit; its error is its own. Raises _UnitFailed when the database failed, which may have rolled the whole
    batch back."""
    savepoint = None if alone else connection.begin_nested()
    try:
        value = unit.function(connection)
    except OUTAGES as error:
        raise _UnitFailed(unit) from error
    except Exception as error:  # noqa: BLE001 - the boundary between a unit and this thread: it goes to the unit's caller
        if savepoint is not None:
            savepoint.rollback()
        return _Outcome(failed=_failure_of(error))
    if savepoint is not None:
        savepoint.commit()
    return _Outcome(value=value)


def _failure_of(error: BaseException | None) -> Exception:
    """What the callers are told: an outage as the registry's own error, anything else as it is."""
    if isinstance(error, SQLAlchemyError) and is_outage(error):
        failure = translate(error)
        failure.__cause__ = error
        return failure
    return error if isinstance(error, Exception) else RuntimeError("the writer was interrupted")


def _settle(unit: _Unit, outcome: _Outcome) -> None:
    if outcome.failed is not None:
        unit.done.set_exception(outcome.failed)
    else:
        unit.done.set_result(outcome.value)
