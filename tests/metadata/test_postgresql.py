"""PostgreSQL as a database of ours: limits, repetition where it is safe, honest failures."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from registry.core.digest import Algorithm, Digest
from registry.core.errors import StorageFull, Unavailable
from registry.metadata import access, blobs, lanes, moving
from registry.metadata.lanes import Lane, Lanes
from registry.metadata.postgresql import PostgresqlDatabase
from tests.backends.postgresql import PostgresqlBackend
from tests.running import wait_until

pytestmark = pytest.mark.anyio

ADD = text("INSERT INTO outbox (created_at, event) VALUES (:number, 'x')")
INSTALL = text("INSERT INTO installation (id, identity, boot_id, created_at) VALUES (1, 'a', 'b', 0)")
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def database(postgresql_backend: PostgresqlBackend) -> PostgresqlDatabase:
    """An empty one."""
    found = postgresql_backend.new()
    assert isinstance(found, PostgresqlDatabase)
    return found


def setting(name: str) -> Callable[[Connection], str]:
    """What the session says of a setting."""
    return lambda connection: str(connection.execute(text(f"SHOW {name}")).scalar())


async def numbers(database: PostgresqlDatabase) -> list[int]:
    """What was added."""
    query = text("SELECT created_at FROM outbox ORDER BY id")
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def test_everything_has_a_limit(database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend) -> None:
    """On statements, locks and idle transactions; in the session past a pooler, in the transaction through one, whose
    sessions stay as they were."""
    url = postgresql_backend.cluster.url(str(database.url.database))
    pooled = PostgresqlDatabase(url, direct=url, connections=2)
    wanted = {"statement_timeout": "10s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s"}
    try:
        for name, value in wanted.items():
            for way in (database.point, database.read, database.write, pooled.read, pooled.write):
                assert await way(setting(name)) == value
            assert await pooled.point(setting(name)) == "0"
    finally:
        pooled.close()


async def test_what_each_way_is(database: PostgresqlDatabase) -> None:
    """A read has one snapshot and changes nothing, a write is READ COMMITTED; only bookkeeping is not synced."""
    assert await database.read(setting("transaction_isolation")) == "repeatable read"
    assert await database.read(setting("transaction_read_only")) == "on"
    assert await database.write(setting("transaction_isolation")) == "read committed"
    assert await database.write(setting("synchronous_commit")) == "on"
    relaxed = [await database.write(setting("synchronous_commit"), durable=False) for _ in range(8)]
    assert relaxed == ["off"] * 8
    assert await database.write(setting("synchronous_commit")) == "on"


async def test_an_object_id_is_synced_whoever_draws_it(database: PostgresqlDatabase) -> None:
    """Also where the transaction is bookkeeping: a crash that took the id back would give it out a second time."""
    database.migrate()
    digest = Digest(Algorithm.SHA256, bytes(32))
    draws: list[Callable[[Connection], int]] = [
        lambda connection: blobs.begin(connection, now=1),
        lambda connection: moving.draw(connection, digest, now=1),
    ]
    for draw in draws:

        def unit(connection: Connection, draw: Callable[[Connection], int] = draw) -> str:
            draw(connection)
            return setting("synchronous_commit")(connection)

        assert await database.write(unit, durable=False) == "on"


async def test_a_unit_that_raises_changes_nothing(database: PostgresqlDatabase) -> None:
    """And its error is its caller's."""

    def unit(connection: Connection) -> None:
        connection.execute(ADD, {"number": 1})
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await database.write(unit)
    assert await numbers(database) == []


async def test_a_deadlock_is_nobodys_failure(database: PostgresqlDatabase) -> None:
    """The one that is given up for the other runs again."""
    await database.write(lambda connection: [connection.execute(ADD, {"number": number}) for number in (1, 2)] and None)
    both_hold = threading.Barrier(2)
    tries: list[int] = []

    def crossing(first: int, second: int) -> Callable[[Connection], None]:
        def unit(connection: Connection) -> None:
            tries.append(first)
            lock = text("SELECT 1 FROM outbox WHERE created_at = :number FOR UPDATE")
            connection.execute(lock, {"number": first})
            if len(tries) <= 2:
                both_hold.wait(30)
            connection.execute(lock, {"number": second})

        return unit

    await asyncio.gather(database.write(crossing(1, 2)), database.write(crossing(2, 1)))
    assert len(tries) == 3


async def test_a_lock_that_is_held_too_long_is_busy(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """CR-13: 503 with a second to wait, after a bounded time."""
    await database.write(lambda connection: connection.execute(INSTALL).rowcount)
    with postgresql_backend.cluster.connect(str(database.url.database)) as other, other.transaction():
        other.execute("SELECT 1 FROM installation FOR UPDATE")
        with pytest.raises(Unavailable) as caught:
            await database.write(access.lock_changes)
    assert caught.value.facts["retry_after_s"] == 1


def killing(backend: PostgresqlBackend, *, times: int, runs: list[int]) -> Callable[[Connection], int]:
    """A unit whose connection is cut in the middle, the first `times` times."""

    def unit(connection: Connection) -> int:
        pid = connection.execute(PID).scalar_one()
        runs.append(pid)
        connection.execute(ADD, {"number": len(runs)})
        if len(runs) <= times:
            backend.cluster.run(f"SELECT pg_terminate_backend({pid})")
        return len(connection.execute(text("SELECT 1 FROM outbox")).all())

    return unit


async def test_a_connection_that_broke_is_replaced_once(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """CR-15: before COMMIT was sent nothing has happened, so the unit runs again, once."""
    runs: list[int] = []
    assert await database.write(killing(postgresql_backend, times=1, runs=runs)) == 1
    assert len(set(runs)) == 2
    assert await numbers(database) == [2]
    runs.clear()
    with pytest.raises(Unavailable):
        await database.write(killing(postgresql_backend, times=9, runs=runs))
    assert len(runs) == 2
    assert await numbers(database) == [2]


async def test_idle_connections_that_broke_are_replaced(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """After a restart of PostgreSQL nobody is told of it, whichever way is taken first and however many are open."""
    name = database.url.database
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    for way in (database.point, database.read, database.write):
        await asyncio.gather(*(database.write(lambda connection: connection.execute(PID).scalar()) for _ in range(20)))
        postgresql_backend.cluster.run(cut)
        assert await way(lambda connection: connection.execute(text("SELECT 7")).scalar()) == 7


async def test_a_commit_that_nobody_answers_is_not_repeated(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """I7: whether it went through nobody knows, so the client decides to ask again."""
    runs: list[int] = []

    def unit(connection: Connection) -> None:
        runs.append(1)
        connection.execute(ADD, {"number": 1})
        # What comes next is the COMMIT.
        pid = connection.execute(PID).scalar_one()
        postgresql_backend.cluster.run(f"SELECT pg_terminate_backend({pid})")

    with pytest.raises(Unavailable, match="commit"):
        await database.write(unit)
    assert runs == [1]


async def test_a_commit_that_fails_for_sure_is_told_as_it_is(database: PostgresqlDatabase) -> None:
    """A constraint that is checked at the end is a mistake of ours, not an outage."""
    await database.write(
        lambda connection: (
            connection.execute(
                text("ALTER TABLE outbox ADD CONSTRAINT late UNIQUE (created_at) DEFERRABLE INITIALLY DEFERRED")
            ).rowcount
        )
    )

    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(ADD, {"number": 1})

    with pytest.raises(Exception, match="late"):
        await database.write(twice)
    assert await numbers(database) == []


async def test_statements_that_change_their_table_survive_it(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """Statements are prepared; a migration that adds a column meanwhile changes nothing for them."""
    for number in range(12):
        await database.write(lambda connection: connection.execute(ADD, {"number": 0}).rowcount)
        assert len(await numbers(database)) == number + 1
        if number == 8:
            postgresql_backend.cluster.run("ALTER TABLE outbox ADD COLUMN more TEXT", name=str(database.url.database))


@pytest.mark.parametrize(
    ("state", "kind", "wait_s"),
    [
        ("53100", StorageFull, 30),
        ("53300", Unavailable, 1),
        ("57014", Unavailable, 1),
        ("40001", Unavailable, 1),
        ("40P01", Unavailable, 1),
        ("55P03", Unavailable, 1),
        ("57P01", Unavailable, 5),
        ("57P03", Unavailable, 5),
        ("08006", Unavailable, 5),
        ("25006", Unavailable, 5),
        ("42501", Unavailable, 5),
        ("XX001", Unavailable, 5),
    ],
)
async def test_each_state_is_what_it_is(database: PostgresqlDatabase, state: str, kind: type, wait_s: int) -> None:
    """I6: as PostgreSQL raises them."""
    raising = text(f"DO $$ BEGIN RAISE 'made up' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(kind) as caught:
        await database.write(lambda connection: connection.execute(raising).rowcount)
    assert caught.value.facts["retry_after_s"] == wait_s  # type: ignore[attr-defined]


async def test_our_mistakes_stay_mistakes(database: PostgresqlDatabase) -> None:
    """A missing column, a broken constraint, a NUL: not the database's failure."""

    def run(statement: str) -> Callable[[Connection], int]:
        return lambda connection: connection.execute(text(statement)).rowcount

    for statement in ("SELECT nothing FROM outbox", "INSERT INTO outbox (created_at) VALUES (1)"):
        with pytest.raises(Exception) as caught:
            await database.write(run(statement))
        assert not isinstance(caught.value, Unavailable)


async def test_notices_arrive_and_come_back(
    database: PostgresqlDatabase, postgresql_backend: PostgresqlBackend
) -> None:
    """A change of access by another process is told at once; also after the listening connection was lost."""
    other = postgresql_backend.again(database)
    await database.write(lambda connection: connection.execute(INSTALL).rowcount)
    told: list[int] = []
    database.listen(lambda: told.append(1))
    await asyncio.to_thread(wait_until, lambda: len(told) == 1, what="the first word")

    def change(connection: Connection) -> None:
        access.lock_changes(connection)
        access.note_changes(connection, ["r1"], now=1)

    await other.write(change)
    await asyncio.to_thread(wait_until, lambda: len(told) == 2, what="a notice")
    postgresql_backend.cluster.run(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.url.database}'"
        " AND query LIKE 'LISTEN%'"
    )
    await asyncio.to_thread(wait_until, lambda: len(told) == 3, what="the word that it is back")
    await other.write(change)
    await asyncio.to_thread(wait_until, lambda: len(told) == 4, what="a notice")


async def test_a_lane_leaves_room_for_the_other() -> None:
    """Reads that hang, however many, do not keep a write from running; and a queue is no place to wait for ever."""
    found = Lanes(4)
    go_on = threading.Event()
    reads = [asyncio.ensure_future(found.run(Lane.READ, lambda: go_on.wait(60))) for _ in range(20)]
    await asyncio.sleep(0)
    assert await found.run(Lane.WRITE, lambda: 7) == 7
    go_on.set()
    assert all(await asyncio.gather(*reads))
    found.close()


async def test_each_job_gets_a_thread() -> None:
    """Two that come at once while one thread is idle run at once."""
    found = Lanes(4)
    both = threading.Barrier(2)
    await found.run(Lane.WRITE, lambda: None)
    await asyncio.gather(*(found.run(Lane.WRITE, lambda: both.wait(30)) for _ in range(2)))
    found.close()


async def test_waiting_for_a_lane_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time and in number; who left before its turn is not run."""
    monkeypatch.setattr(lanes, "WAIT_LIMIT_S", 0.05)
    monkeypatch.setattr(lanes, "QUEUE_LIMIT", 2)
    found = Lanes(2)
    go_on, ran = threading.Event(), []
    running = asyncio.ensure_future(found.run(Lane.READ, lambda: go_on.wait(60)))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(found.run(Lane.READ, lambda: ran.append(1))) for _ in range(3)]
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in refused] == [Unavailable] * 3
    leaving = asyncio.ensure_future(found.run(Lane.READ, lambda: ran.append(2)))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go_on.set()
    await running
    found.close()
    assert ran == []
    with pytest.raises(Unavailable):
        await found.run(Lane.READ, lambda: None)


async def test_the_pool_is_the_limit(postgresql_backend: PostgresqlBackend) -> None:
    """As many connections as were asked for, however many want one."""
    first = postgresql_backend.new()
    assert isinstance(first, PostgresqlDatabase)
    name = str(first.url.database)
    database = PostgresqlDatabase(postgresql_backend.cluster.url(name), connections=3)
    try:
        sleep = text("SELECT pg_backend_pid(), pg_sleep(0.01)")
        pids = await asyncio.gather(
            *(database.point(lambda connection: connection.execute(sleep).scalar()) for _ in range(30))
        )
        assert len(set(pids)) <= 3
    finally:
        database.close()


async def test_no_password_in_what_it_shows() -> None:
    """Neither as a text nor in errors."""
    database = PostgresqlDatabase("postgresql://me:in@url@127.0.0.1:1/x", password="from file")
    try:
        with pytest.raises(Unavailable) as caught:
            await database.point(setting("work_mem"))
        shown = f"{caught.value} {caught.value.__cause__} {database.url} {database.url!r}"
        assert "from file" not in shown and "in@url" not in shown
        assert isinstance(caught.value.__cause__, Exception)
    finally:
        database.close()
