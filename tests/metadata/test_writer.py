"""The writer: order, isolation of units from each other, shared commits, and honest failures."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from registry.core.errors import Unavailable
from registry.metadata import sqlite, writer
from registry.metadata.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio


def add(number: int) -> Callable[[Connection], int]:
    """A unit of work that leaves a row."""

    def unit(connection: Connection) -> int:
        row = {"created_at": number, "event": str(number)}
        connection.execute(text("INSERT INTO outbox (created_at, event) VALUES (:created_at, :event)"), row)
        return number

    return unit


async def rows(database: SqliteDatabase) -> list[int]:
    """What is committed, in order."""
    query = text("SELECT created_at FROM outbox ORDER BY id")
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


class Gate:
    """A unit that keeps the writer busy until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, connection: Connection) -> None:
        """Wait."""
        self.entered.set()
        assert self.open.wait(10)


async def test_units_run_in_order_and_return_after_the_commit(database: SqliteDatabase) -> None:
    """What a caller is told is already there for every reader."""
    for number in range(5):
        assert await database.write(add(number)) == number
        assert (await rows(database))[-1] == number
    assert await rows(database) == list(range(5))


async def test_waiting_units_share_one_commit(database: SqliteDatabase) -> None:
    """Twenty units that wait while another runs cost one transaction, not twenty."""
    commits: list[None] = []
    event.listen(database._durable, "commit", lambda _connection: commits.append(None))
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    others = [asyncio.create_task(database.write(add(number))) for number in range(20)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *others)
    assert len(commits) == 2
    assert await rows(database) == list(range(20))


async def test_a_unit_that_fails_takes_nothing_along(database: SqliteDatabase) -> None:
    """Alone or in a batch: its own changes are rolled back, the others commit, and its error is its caller's."""

    def bad(connection: Connection) -> None:
        add(99)(connection)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await database.write(bad)
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks = [asyncio.create_task(database.write(unit)) for unit in (add(1), bad, add(2))]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(results[2], ValueError)
    assert await rows(database) == [1, 2]


async def test_a_relaxed_unit_rides_along_with_a_durable_one(database: SqliteDatabase) -> None:
    """A batch with one durable unit commits durably; one without uses the other connection."""
    used: list[str] = []
    event.listen(database._durable, "commit", lambda _connection: used.append("durable"))
    event.listen(database._relaxed, "commit", lambda _connection: used.append("relaxed"))
    await database.write(add(1), durable=False)
    await database.write(add(2))
    assert used == ["relaxed", "durable"]


async def test_a_locked_database_is_busy_and_not_broken(database: SqliteDatabase, tmp_path: Path) -> None:
    """CR-13: a writer that cannot get the lock within its time limit says 503, and works again afterwards."""
    for engine in (database._durable, database._relaxed):
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=100")
    # Not the standard library's module: two copies of SQLite in one process do not see each other's locks.
    other = sqlite.library().connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy") as caught:
        await database.write(add(1))
    assert caught.value.facts["retry_after_s"] == 1
    assert await rows(database) == []
    other.execute("ROLLBACK")
    other.close()
    await database.write(add(2))
    assert await rows(database) == [2]


async def test_a_full_queue_is_refused(database: SqliteDatabase) -> None:
    """I10: what waits is bounded."""
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    waiting = [asyncio.create_task(database.write(add(0))) for _ in range(writer.QUEUE_LIMIT)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        await database.write(add(1))
    gate.open.set()
    await asyncio.gather(first, *waiting)


async def test_a_unit_whose_caller_left_before_it_began_is_not_run(database: SqliteDatabase) -> None:
    """Nobody was told of it, and nobody waits for it."""
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    gone = asyncio.create_task(database.write(add(1)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    await first
    await database.write(add(2))
    assert await rows(database) == [2]


async def test_a_stale_unit_is_refused(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that waited longer than the limit gets 503 instead of a late surprise."""
    monkeypatch.setattr(writer, "WAIT_LIMIT_S", -1.0)
    with pytest.raises(Unavailable, match="busy"):
        await database.write(add(1))
    assert await rows(database) == []


async def test_a_unit_that_breaks_the_database_fails_alone(database: SqliteDatabase) -> None:
    """More variables than a statement may have look like an outage: the others of the batch run again and commit."""

    def breaks(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT {','.join('?' * 300_000)}", tuple(range(300_000)))

    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    units: list[Callable[[Connection], object]] = [add(1), breaks, add(2), add(3)]
    tasks = [asyncio.create_task(database.write(unit)) for unit in units]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(results[2], Unavailable)
    assert sorted(await rows(database)) == [1, 2, 3]


async def test_a_batch_of_large_units_is_cut(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits behind large units does not wait for all of them: each commits when its time is over."""
    monkeypatch.setattr(writer, "BATCH_LIMIT_S", -1.0)
    commits: list[None] = []
    event.listen(database._durable, "commit", lambda _connection: commits.append(None))
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    others = [asyncio.create_task(database.write(add(number))) for number in range(5)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *others)
    assert len(commits) == 6
    assert await rows(database) == list(range(5))
