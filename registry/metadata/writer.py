"""One thread that owns the write lock and commits for everybody who waits at that moment.

A commit costs an fsync, whatever it holds. While one is running, the next units of work queue up, and all of them
share the next commit: eight clients that push at once pay for one. Each unit runs in its own savepoint, so that one
that fails takes nothing along.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from registry.core.errors import Unavailable
from registry.metadata.failures import OUTAGES, translate

QUEUE_LIMIT = 1_024
BATCH_LIMIT = 64
WAIT_LIMIT_S = 5.0
"""A unit that could not begin within this gets 503: the client tries again, and the queue cannot grow stale."""


@dataclass(slots=True)
class _Unit:
    """A function to run in a transaction, and the future that gets what it returns after the commit."""

    function: Callable[[Connection], Any]
    durable: bool
    done: Future[Any] = field(default_factory=Future)
    queued_at: float = field(default_factory=monotonic)


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    failed: Exception | None = None


class Writer:
    """Runs units of work in their order, in batches. `durable` ones are on the disk before their future is done."""

    def __init__(self, durable: Engine, relaxed: Engine) -> None:
        self._durable = durable
        self._relaxed = relaxed
        self._queue: queue.Queue[_Unit | None] = queue.Queue(QUEUE_LIMIT)
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
        while (unit := self._queue.get()) is not None:
            batch = [unit]
            stop = False
            while len(batch) < BATCH_LIMIT and not stop:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                else:
                    batch.append(more)
            self._run_batch([entry for entry in batch if self._may_begin(entry)])
            if stop:
                return

    def _may_begin(self, unit: _Unit) -> bool:
        if not unit.done.set_running_or_notify_cancel():
            return False
        if monotonic() - unit.queued_at > WAIT_LIMIT_S:
            unit.done.set_exception(Unavailable("the database is busy", retry_after_s=1))
            return False
        return True

    def _run_batch(self, batch: list[_Unit]) -> None:
        if not batch:
            return
        engine = self._durable if any(unit.durable for unit in batch) else self._relaxed
        try:
            with engine.connect() as connection, connection.begin() as transaction:
                outcomes = [_attempt(unit, connection, alone=len(batch) == 1) for unit in batch]
                if len(batch) == 1 and outcomes[0].failed:
                    transaction.rollback()
        except OUTAGES as error:
            failure = translate(error)
            failure.__cause__ = error
            outcomes = [_Outcome(failed=failure)] * len(batch)
        except Exception as error:  # noqa: BLE001 - this thread must outlive everything, or every write waits for ever
            damaged = translate(error) if type(error) is DatabaseError else error
            outcomes = [_Outcome(failed=damaged)] * len(batch)
        for unit, outcome in zip(batch, outcomes, strict=True):
            if outcome.failed is not None:
                unit.done.set_exception(outcome.failed)
            else:
                unit.done.set_result(outcome.value)


def _attempt(unit: _Unit, connection: Connection, *, alone: bool) -> _Outcome:
    """Run one unit; its error is its own. An outage of the database goes up and fails the batch, because the engine
    may have rolled all of it back."""
    savepoint = None if alone else connection.begin_nested()
    try:
        value = unit.function(connection)
    except OUTAGES:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary between a unit and this thread: it goes to the unit's caller
        if savepoint is not None:
            savepoint.rollback()
        return _Outcome(failed=error)
    if savepoint is not None:
        savepoint.commit()
    return _Outcome(value=value)
