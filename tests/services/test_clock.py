"""The clock that nodes share: that of the database, and what happens where it is another one."""

from collections.abc import Callable

import pytest

from registry.core.errors import Unavailable
from registry.services.clock import DIFFERENCE_MAX_MS, SharedClock, system_clock
from tests.backends import Backend
from tests.backends.postgresql import PostgresqlBackend
from tests.backends.sqlite import SqliteBackend

pytestmark = pytest.mark.anyio
CLOSE_MS = 2_000


def off_by(difference_ms: int) -> Callable[[], int]:
    """The clock of a machine that is wrong."""
    return lambda: system_clock() + difference_ms


@pytest.mark.parametrize("difference_ms", [-30_000, 0, 30_000])
async def test_nodes_agree_on_the_time(postgresql_backend: PostgresqlBackend, difference_ms: int) -> None:
    """CR-25: however wrong the clock of a node is, it means the database's time."""
    clock = SharedClock(postgresql_backend.new(), off_by(difference_ms))
    await clock.check()
    assert abs(clock() - system_clock()) < CLOSE_MS


@pytest.mark.parametrize(
    "difference_ms", [-DIFFERENCE_MAX_MS - CLOSE_MS, DIFFERENCE_MAX_MS + CLOSE_MS, 10 * 365 * 86_400_000]
)
async def test_a_clock_that_is_far_off_makes_a_node_unready(
    postgresql_backend: PostgresqlBackend, caplog: pytest.LogCaptureFixture, difference_ms: int
) -> None:
    """CR-25: it names both clocks, in the log once, and goes on when they agree again."""
    difference = [difference_ms]
    clock = SharedClock(postgresql_backend.new(), lambda: system_clock() + difference[0])
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"this machine says .* UTC, that of the database .* UTC"):
            await clock.check()
    assert len(caplog.records) == 1
    assert abs(clock() - system_clock()) < CLOSE_MS
    difference[0] = 0
    await clock.check()


async def test_a_file_has_no_clock(sqlite_backend: SqliteBackend) -> None:
    """SQLite is on this machine: its clock is the one that counts."""
    clock = SharedClock(sqlite_backend.new(), off_by(10 * DIFFERENCE_MAX_MS))
    await clock.check()
    assert clock() > system_clock() + DIFFERENCE_MAX_MS


async def test_a_database_that_is_gone_tells_no_time(backend: Backend) -> None:
    """The last difference that was known stays."""
    database = backend.new()
    clock = SharedClock(database)
    await clock.measure()
    before = clock()
    database.close()
    assert clock() >= before
