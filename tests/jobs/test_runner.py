"""The runner: nothing runs twice at once, the dead lose their work, zombies change nothing, failures wait longer."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from registry.core.errors import Unavailable
from registry.jobs import runner as runner_module
from registry.jobs.runner import BACK_OFF_MAX_S, Fenced, Job, Runner, Stopped, Turn
from registry.metadata import jobs as rows
from registry.metadata.database import Connection
from registry.metadata.jobs import JobState
from registry.metadata.sqlite import SqliteDatabase
from tests.running import wait_until
from tests.services.conftest import House

pytestmark = pytest.mark.anyio

KIND = "test"
INTERVAL_MS = 60_000
LEASE_S = 30.0


@dataclass
class Bench:
    """Work that the test steps through, and a stopwatch that it sets."""

    house: House
    seconds: float = 0.0
    running: int = 0
    most: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)

    def runner(self, name: str = "one") -> Runner:
        """A worker with this work."""

        async def work(turn: Turn) -> dict[str, int]:
            self.running += 1
            self.most = max(self.most, self.running)
            self.runs[name] += 1
            try:
                turn.count("steps")
                await turn.write(lambda connection: mark(connection, f"{name} began"))
                await self.may_go_on.wait()
                if self.failures:
                    raise self.failures.pop()
                await turn.write(lambda connection: mark(connection, f"{name} ended"))
            finally:
                self.running -= 1
            return {"extra": 7}

        return Runner(
            self.house.database,
            [Job(KIND, INTERVAL_MS, work)],
            self.house.clock,
            lease_s=LEASE_S,
            stopwatch=lambda: self.seconds,
        )

    async def marks(self) -> list[str]:
        """What committed."""
        return [row[0] for row in await self.house.rows("SELECT event FROM outbox ORDER BY id")]

    async def state(self) -> JobState:
        """The row."""
        [state] = await self.house.database.read(rows.states)
        return state

    async def until_marked(self, count: int) -> None:
        """Wait for work to have come so far."""
        while len(await self.marks()) < count:  # noqa: ASYNC110 - what is waited for is in SQL
            await asyncio.sleep(0.001)


def mark(connection: Connection, what: str) -> None:
    """Change something."""
    connection.execute(text("INSERT INTO outbox (created_at, event) VALUES (0, :what)"), {"what": what})


@pytest.fixture
async def bench(house: House) -> AsyncIterator[Bench]:
    """One on an empty house."""
    bench = Bench(house)
    yield bench
    bench.may_go_on.set()


async def test_work_is_done_and_written_down(bench: Bench) -> None:
    """Due at once when it is new, then after its interval, with the account of the run."""
    runner = bench.runner()
    bench.may_go_on.set()
    assert await runner.look() == [KIND]
    await runner.settle()
    state = await bench.state()
    assert (state.holder, state.failures, state.last_error) == (None, 0, None)
    assert state.finished_at == state.started_at == bench.house.now
    assert abs(state.due_at - bench.house.now - INTERVAL_MS) <= INTERVAL_MS // 10
    assert await bench.house.database.read(lambda connection: rows.result(connection, KIND)) == (
        '{"steps": 1, "extra": 7}'
    )
    assert await runner.look() == []
    bench.house.now = state.due_at
    assert await runner.look() == [KIND]
    await runner.settle()
    assert (await bench.state()).epoch == 2


async def test_never_twice_at_once(bench: Bench) -> None:
    """Twenty workers that look at the same moment, again and again: one works, and the next one after it."""
    workers = [bench.runner(str(number)) for number in range(20)]
    for number in range(3):
        bench.may_go_on.clear()
        await asyncio.gather(*(worker.look() for worker in workers))
        await bench.until_marked(2 * number + 1)
        await asyncio.gather(*(worker.look() for worker in workers))
        bench.may_go_on.set()
        await asyncio.gather(*(worker.settle() for worker in workers))
        assert await asyncio.gather(*(worker.look() for worker in workers)) == [[]] * 20
        bench.house.now += 2 * INTERVAL_MS
    assert bench.most == 1
    assert bench.runs.total() == 3


async def test_the_work_of_the_dead_is_taken_over_and_zombies_are_fenced(bench: Bench) -> None:
    """CR-06: a holder that does not renew its row for a lease loses it; awake again, its step changes nothing."""
    zombie, other = bench.runner("zombie"), bench.runner("other")
    await zombie.look()
    await bench.until_marked(1)
    # Whatever the clocks say: only a lease on the watcher's own stopwatch counts.
    bench.house.now += 10 * INTERVAL_MS
    assert await other.look() == []
    bench.seconds += LEASE_S - 1
    assert await other.look() == []
    bench.seconds += 1
    assert await other.look() == [KIND]
    await bench.until_marked(2)
    bench.may_go_on.set()
    await asyncio.gather(zombie.settle(), other.settle())
    assert await bench.marks() == ["zombie began", "other began", "other ended"]
    state = await bench.state()
    assert (state.epoch, state.failures, state.holder) == (2, 0, None)


async def test_a_holder_that_renews_keeps_its_work(bench: Bench) -> None:
    """A step renews the row, and so does time (`Turn.beat`): the stopwatch of whoever watches begins again."""
    holder, other = bench.runner("holder"), bench.runner("other")
    await holder.look()
    await bench.until_marked(1)
    for _ in range(5):
        assert await other.look() == []
        bench.seconds += LEASE_S - 1
        bench.house.now += 20_000
        held = rows.Held(KIND, 1, (await bench.state()).holder or "")
        until = bench.house.now + 30_000
        assert await bench.house.database.write(
            lambda connection, held=held, until=until: rows.keep(connection, held, leased_until=until)  # type: ignore[misc]
        )
        assert await other.look() == []
    assert bench.runs == {"holder": 1}


async def test_failures_wait_longer_each_time(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Doubling to an hour, jittered. The error is kept, and logged once for each change; a success forgets all that."""
    runner = bench.runner()
    bench.may_go_on.set()
    waits = []
    for number in range(14):
        bench.failures.append(Unavailable("the store does not answer" if number < 13 else "another reason"))
        assert await runner.look() == [KIND]
        await runner.settle()
        state = await bench.state()
        assert (state.failures, state.holder) == (number + 1, None)
        waits.append((state.due_at - bench.house.now) / 1000)
        bench.house.now = state.due_at
    for number, wait in enumerate(waits):
        expected = min(5 * 2**number, BACK_OFF_MAX_S)
        assert 0.85 * expected <= wait <= 1.15 * expected
    assert (await bench.state()).last_error == "another reason"
    assert [record.message for record in caplog.records] == [
        "job test failed: the store does not answer",
        "job test failed: another reason",
    ]
    await runner.look()
    await runner.settle()
    state = await bench.state()
    assert (state.failures, state.last_error) == (0, None)


async def test_a_mistake_of_ours_is_a_failure_like_another(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the worker lives on."""
    runner = bench.runner()
    bench.may_go_on.set()
    bench.failures.append(ZeroDivisionError("oops"))
    await runner.look()
    await runner.settle()
    assert (await bench.state()).last_error == "ZeroDivisionError: oops"
    assert caplog.records[0].exc_info is not None


async def test_a_stop_lets_go_between_two_steps(bench: Bench) -> None:
    """And somebody else may go on at once. Nothing new begins after it."""
    stopped, other = bench.runner("stopped"), bench.runner("other")
    await stopped.look()
    await bench.until_marked(1)
    stopping = asyncio.create_task(stopped.stop())
    await asyncio.sleep(0)
    bench.may_go_on.set()
    await stopping
    assert await bench.marks() == ["stopped began"]
    state = await bench.state()
    assert (state.holder, state.failures, state.due_at) == (None, 0, bench.house.now)
    bench.house.now += 1
    assert await stopped.look() == []
    assert await other.look() == [KIND]
    await other.settle()
    assert (await bench.marks())[1:] == ["other began", "other ended"]


async def test_a_stop_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that hangs is cancelled; its row is for others when its lease is over."""
    monkeypatch.setattr(runner_module, "STOP_LIMIT_S", 0.01)
    runner = bench.runner()
    await runner.look()
    await bench.until_marked(1)
    await runner.stop()
    assert bench.running == 0
    assert (await bench.state()).holder is not None


async def test_now_waits_for_who_runs_it(bench: Bench) -> None:
    """`run_now` never runs beside another; it begins when that one has ended, due or not."""
    server, command = bench.runner("server"), bench.runner("command")
    await server.look()
    await bench.until_marked(1)
    told = asyncio.Event()
    asked = asyncio.create_task(command.run_now(KIND, waiting=told.set))
    await told.wait()
    assert bench.runs == {"server": 1}
    bench.may_go_on.set()
    assert await asked == {"steps": 1}
    assert bench.most == 1


async def test_now_says_what_went_wrong(bench: Bench) -> None:
    """And lets go."""
    bench.may_go_on.set()
    bench.failures.append(Unavailable("no"))
    with pytest.raises(Unavailable):
        await bench.runner().run_now(KIND)
    assert (await bench.state()).holder is None


async def test_now_that_is_interrupted_lets_go(bench: Bench) -> None:
    """Ctrl-C leaves no row that others would have to wait for."""
    asked = asyncio.create_task(bench.runner().run_now(KIND))
    await bench.until_marked(1)
    asked.cancel()
    await asyncio.sleep(0)
    bench.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (await bench.state()).holder is None


async def test_steps_of_a_lost_turn(bench: Bench) -> None:
    """Fenced as long as it lives, and Stopped once it was asked to; nothing is written either way."""
    database = bench.house.database
    await database.write(lambda connection: rows.ensure(connection, [KIND]))
    state = await bench.state()
    held = await database.write(lambda connection: rows.take(connection, state, "me", now=0, leased_until=1))
    assert held is not None
    # Of two that saw the same row, one gets it.
    assert await database.write(lambda connection: rows.take(connection, state, "you", now=0, leased_until=2)) is None
    turn = Turn(database, held, bench.house.clock, lease_ms=1000)
    await turn.write(lambda connection: mark(connection, "mine"))
    newer = await bench.state()
    assert await database.write(lambda connection: rows.take(connection, newer, "you", now=0, leased_until=2))
    with pytest.raises(Fenced):
        await turn.write(lambda connection: mark(connection, "not mine"))
    assert not await database.write(lambda connection: rows.finish(connection, held, now=1, due_at=2, outcome="{}"))
    turn.stop()
    with pytest.raises(Stopped):
        turn.check()
    assert await bench.marks() == ["mine"]


CHILD = """
import asyncio, sys
from pathlib import Path
from registry.jobs.runner import Job, Runner
from registry.metadata import jobs as rows
from registry.metadata.sqlite import SqliteDatabase
from registry.services.clock import system_clock
from tests.jobs.test_runner import KIND, mark

async def work(turn):
    await turn.write(lambda connection: mark(connection, sys.argv[2]))
    print("began", flush=True)
    if sys.argv[2] == "killed":
        await asyncio.sleep(600)

async def main():
    database = SqliteDatabase(Path(sys.argv[1]))
    runner = Runner(database, [Job(KIND, 600_000, work)], system_clock, lease_s=1.0)
    looking = asyncio.create_task(runner.run())
    while not any(state.finished_at for state in await database.read(rows.states)):
        await asyncio.sleep(0.05)
    await runner.stop()
    await looking
    database.close()

asyncio.run(main())
"""


def test_the_work_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """`kill -9` of the holder: another process waits for the lease to run out, and does it."""
    path = tmp_path / "registry.db"
    database = SqliteDatabase(path)
    database.migrate()
    database.close()

    def start(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CHILD, str(path), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])

    killed = start("killed")
    assert killed.stdout is not None and killed.stdout.readline() == "began\n"
    heir = start("heir")
    try:
        killed.kill()
        wait_until(lambda: heir.poll() is not None, what="the end of the heir")
        assert heir.returncode == 0
    finally:
        for process in (killed, heir):
            process.kill()
            process.communicate()
    database = SqliteDatabase(path)
    [state] = asyncio.run(database.read(rows.states))
    assert (state.epoch, state.holder, state.failures) == (2, None, 0)
    database.close()
