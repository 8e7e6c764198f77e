"""A database moves from SQLite to PostgreSQL: row by row the same, whatever interrupts it, and never half of it."""

import asyncio
import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from registry.core.errors import Unavailable
from registry.metadata import copy, migrate, moved
from registry.metadata.copy import CopyRefused, Step
from registry.metadata.database import Connection, Database
from registry.metadata.installation import IDS_SKIPPED
from registry.metadata.moved import DatabaseIncomplete, DatabaseMoved
from registry.metadata.postgresql import PostgresqlDatabase
from registry.metadata.schema import audit, incoming, installation, manifests, metadata, outbox, tokens
from registry.metadata.sqlite import SqliteDatabase
from tests.backends.postgresql import Cluster
from tests.metadata.full import LATE, counts, everything, fill
from tests.running import wait_until

NOW = 1_700_000_000_000
TO = "postgresql://somewhere/else"


@dataclass
class Pair:
    """A source with content, and an empty target."""

    source: SqliteDatabase
    target: PostgresqlDatabase
    url: str

    @property
    def file(self) -> Path:
        """The source's file."""
        return Path(str(self.source.url.database))

    def steps(self) -> Generator[Step]:
        """The move, to be carried out."""
        return copy.move(self.file, self.target, to=TO, now=NOW)

    def in_source(self, query: Any) -> Any:
        """What a function of a connection finds."""
        return asyncio.run(self.source.read(query))

    def in_target(self, query: Any) -> Any:
        """The same over there."""
        return asyncio.run(self.target.read(query))

    def change_target(self, statement: Any) -> None:
        """As somebody who has no business there."""
        change(self.target, statement)


def change(database: Database, statement: Any, parameters: Any = None) -> None:
    """Carry out one statement."""

    def execute(connection: Connection) -> None:
        connection.execute(statement, parameters)

    asyncio.run(database.write(execute))


@pytest.fixture
def pair(tmp_path: Path, cluster: Cluster) -> Iterator[Pair]:
    """With rows in every table."""
    name = cluster.empty()
    source = SqliteDatabase(tmp_path / "registry.db")
    source.migrate()
    asyncio.run(source.write(fill))
    found = Pair(source, PostgresqlDatabase(cluster.url(name)), cluster.url(name))
    yield found
    found.source.close()
    found.target.close()
    cluster.drop(name)


def test_every_row_of_every_table_is_there(pair: Pair) -> None:
    """Compared value by value, without the checksum's help."""
    before = pair.in_source(everything)
    assert {name for name, rows in before.items() if not rows} == {"incoming"}
    steps = list(pair.steps())
    assert pair.in_target(everything) == before
    rows = sum(map(len, before.values()))
    for phase in ("copy", "verify"):
        assert sum(step.rows for step in steps if step.phase == phase) == rows
        assert {step.total for step in steps if step.phase == phase} == {rows}
    assert pair.in_target(moved.require_here) is None


def test_no_id_is_given_out_twice(pair: Pair) -> None:
    """Also none that was deleted before the move, or lost in a power cut."""
    list(pair.steps())
    given = {
        row[0]: row[1] for row in pair.in_source(lambda each: each.execute(text("SELECT * FROM sqlite_sequence")).all())
    }
    assert given["outbox"] == 12 + LATE
    following = text("SELECT nextval(pg_get_serial_sequence(:table, 'id'))")
    for name, highest in given.items():
        number = asyncio.run(
            pair.target.write(lambda each, name=name: each.execute(following, {"table": name}).scalar_one())  # type: ignore[misc]
        )
        assert number == highest + 1 + (IDS_SKIPPED if name == "objects" else 0), name


def test_references_that_point_forward_are_kept(pair: Pair) -> None:
    """A referrer that came before its subject; and a chain of tokens."""
    forward = select(manifests.c.id, manifests.c.subject_id).where(manifests.c.subject_id > manifests.c.id)
    before = pair.in_source(lambda each: each.execute(forward).all())
    assert before
    list(pair.steps())
    assert pair.in_target(lambda each: each.execute(forward).all()) == before
    assert pair.in_target(lambda each: each.execute(select(tokens.c.parent_id).where(tokens.c.id == 5)).scalar()) == 4


@pytest.mark.parametrize("pages", [(copy.PAGE_ROWS, copy.PAGE_BYTES), (5, copy.PAGE_BYTES), (1000, 1)])
def test_it_goes_on_after_any_step(pair: Pair, monkeypatch: pytest.MonkeyPatch, pages: tuple[int, int]) -> None:
    """I7: broken off after each number of steps in turn, each time by another process for all that the target knows."""
    monkeypatch.setattr(copy, "PAGE_ROWS", pages[0])
    monkeypatch.setattr(copy, "PAGE_BYTES", pages[1])
    before = pair.in_source(everything)
    for count in itertools.count(1, 7):
        steps = pair.steps()
        taken = list(itertools.islice(steps, count))
        steps.close()
        if len(taken) < count:
            break
        with pytest.raises(DatabaseIncomplete):
            pair.in_target(moved.require_here)
    assert count > 7
    assert pair.in_target(everything) == before
    assert pair.in_target(moved.require_here) is None


def test_kills(tmp_path: Path, cluster: Cluster) -> None:
    """I7: `kill -9` at random moments of a larger move; the source refuses to serve all the time, the target until the
    end."""
    name = cluster.empty()
    source = SqliteDatabase(tmp_path / "registry.db")
    source.migrate()
    asyncio.run(source.write(fill))
    events = [{"created_at": number, "event": f"{number}" * 20} for number in range(60_000)]
    change(source, insert(outbox), events)
    before = asyncio.run(source.read(everything))
    command = [sys.executable, "-m", "registry", "migrate", "--data", str(tmp_path)]
    command += ["--from", f"sqlite:///{tmp_path}/registry.db", "--to", cluster.url(name)]
    target = PostgresqlDatabase(cluster.url(name))
    rng = random.Random()
    reached = []
    for _ in range(6):
        had = rows_in(cluster, name)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda p=process, n=had: p.poll() is not None or rows_in(cluster, name) > n)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(rows_in(cluster, name))
        with pytest.raises(DatabaseMoved):
            asyncio.run(source.read(moved.require_here))
        if process.returncode == 0:
            break
        with pytest.raises(DatabaseIncomplete):
            asyncio.run(target.read(moved.require_here))
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0 or "moved already" in last.stderr, last.stderr
    assert asyncio.run(target.read(everything)) == before
    print(f"rows at each kill: {reached}")
    assert reached == sorted(reached)
    source.close()
    target.close()


def rows_in(cluster: Cluster, name: str) -> int:
    """How much of the outbox is there; 0 before there is one."""
    with cluster.connect(name) as connection:
        if connection.execute("SELECT to_regclass('outbox')").fetchone() == (None,):
            return 0
        found = connection.execute("SELECT count(*) FROM outbox").fetchone()
    assert found is not None
    number: int = found[0]
    return number


def test_nobody_writes_to_a_database_that_has_moved(pair: Pair) -> None:
    """Whoever had it open before: each table refuses each kind of change, and reads go on."""
    list(pair.steps())
    for table in metadata.sorted_tables:
        for statement in (
            f"DELETE FROM {table.name}",
            f"UPDATE {table.name} SET {table.c[0].name} = {table.c[0].name}",
        ):
            if pair.in_source(counts)[table.name]:
                with pytest.raises(Unavailable, match="moved"):
                    change(pair.source, text(statement))
        with pytest.raises(Unavailable, match="moved"):
            change(pair.source, insert_anything(table))
    with pytest.raises(DatabaseMoved, match=TO):
        pair.in_source(moved.require_here)


def insert_anything(table: Any) -> Any:
    """An insert that yields to a row that is there, as most of ours do."""
    first = table.c[0].name
    return text(f'INSERT INTO {table.name} ("{first}") VALUES (1) ON CONFLICT DO NOTHING')


def test_it_can_be_taken_back(pair: Pair) -> None:
    """The old database works again, and the unfinished target can never be gone on with: it would lack what came
    between."""
    steps = pair.steps()
    list(itertools.islice(steps, 5))
    steps.close()
    assert copy.take_back(pair.file)
    assert not copy.take_back(pair.file)
    pair.in_source(moved.require_here)
    change(pair.source, delete(outbox))
    with pytest.raises(CopyRefused, match="taken back"):
        list(pair.steps())
    pair.in_source(moved.require_here)


def test_nul_is_replaced_and_told(pair: Pair) -> None:
    """PostgreSQL has no such text; the operator hears of it."""
    row = {"at": 1, "actor": "a\0b", "credential": "x", "action": "\0", "target": "\0\0"}
    change(pair.source, insert(audit), row)
    notes = [step.note for step in pair.steps() if step.note]
    assert len(notes) == 1
    assert "3 texts of audit held a NUL" in str(notes[0])
    actors = pair.in_target(lambda each: each.execute(select(audit.c.actor).where(audit.c.at == 1)).scalars().all())
    assert "a\N{REPLACEMENT CHARACTER}b" in actors


def test_what_postgresql_does_not_take_is_named(pair: Pair) -> None:
    """SQLite keeps a text of any length; the row itself stays out of the message."""
    row = {"at": 1, "actor": "x", "credential": "x", "action": "secret" * 50}
    change(pair.source, insert(audit), row)
    with pytest.raises(CopyRefused, match="does not take a row of audit: value too long") as caught:
        list(pair.steps())
    assert "secret" not in str(caught.value)
    with pytest.raises(DatabaseIncomplete):
        pair.in_target(moved.require_here)


@pytest.mark.parametrize("what", ["changed", "lost", "added"])
def test_a_copy_that_differs_is_not_opened(pair: Pair, what: str) -> None:
    """Somebody writes to the target in the middle: the comparison finds it, and nobody can serve from there."""
    changes: dict[str, Any] = {
        "changed": update(installation).values(created_at=5),
        "lost": delete(outbox).where(outbox.c.id == 3),
        "added": insert(outbox).values(created_at=1, event="x"),
    }
    for step in (steps := pair.steps()):
        if step.phase == "verify":
            steps.close()
            break
    pair.change_target(changes[what])
    with pytest.raises(CopyRefused, match="differs"):
        list(pair.steps())
    with pytest.raises(DatabaseIncomplete):
        pair.in_target(moved.require_here)


def refused(pair: Pair, match: str) -> None:
    """The move does not begin, and the source stays open."""
    with pytest.raises(CopyRefused, match=match):
        list(pair.steps())
    pair.in_source(moved.require_here)


def test_a_target_with_content_is_refused(pair: Pair) -> None:
    pair.target.migrate()
    pair.change_target(insert(outbox).values(created_at=1, event="x"))
    refused(pair, "not empty: there are rows in outbox")


def test_an_empty_target_with_the_schema_is_taken(pair: Pair) -> None:
    """Somebody has run `depotry migrate` on it."""
    pair.target.migrate()
    assert list(pair.steps())


def test_somebody_elses_tables_are_refused(pair: Pair) -> None:
    pair.change_target(text("CREATE TABLE accounts (balance integer)"))
    refused(pair, "tables of something else")


def test_an_older_schema_is_refused(pair: Pair) -> None:
    """It may be the registry that somebody wants to keep."""
    pair.target.migrate()
    pair.change_target(text("UPDATE alembic_version SET version_num = '0001'"))
    refused(pair, "older schema 0001")


def test_a_newer_schema_is_refused(pair: Pair) -> None:
    pair.target.migrate()
    pair.change_target(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.DatabaseTooNew):
        list(pair.steps())
    pair.in_source(moved.require_here)


def test_the_unfinished_target_of_another_database_is_refused(pair: Pair) -> None:
    pair.target.migrate()
    row = {"id": 1, "identity": "another", "position": '{"table": null, "key": null}', "began_at": NOW}
    pair.change_target(insert(incoming).values(row))
    refused(pair, "unfinished move of another database")


def test_a_move_that_is_over_is_not_repeated(pair: Pair) -> None:
    list(pair.steps())
    with pytest.raises(CopyRefused, match="moved already"):
        list(pair.steps())


def test_a_copy_of_what_was_taken_back_is_not_served_from(pair: Pair) -> None:
    """It is whole, and lacks what came after."""
    list(pair.steps())
    assert copy.take_back(pair.file)
    with pytest.raises(CopyRefused, match="older copy"):
        list(pair.steps())
    pair.in_source(moved.require_here)


@pytest.mark.parametrize("steps", [5, None])
def test_a_database_moves_to_one_place(pair: Pair, cluster: Cluster, steps: int | None) -> None:
    """Whether or not it has got there; two whole copies beside each other would both be served from."""
    begun = pair.steps()
    list(itertools.islice(begun, steps))
    begun.close()
    other = PostgresqlDatabase(cluster.url(cluster.empty()))
    with pytest.raises(CopyRefused, match=f"moved to {TO}"):
        list(copy.move(pair.file, other, to="postgresql://elsewhere/depotry", now=NOW))
    other.close()


def test_a_wrong_encoding_is_refused(pair: Pair, cluster: Cluster) -> None:
    """It could not hold all names."""
    cluster.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    latin = PostgresqlDatabase(cluster.url("latin"))
    refused(Pair(pair.source, latin, ""), "LATIN1")
    latin.close()
    cluster.drop("latin")


def test_a_database_without_a_registry_is_refused(pair: Pair, tmp_path: Path) -> None:
    """And one that is not there is not made."""
    empty = SqliteDatabase(tmp_path / "empty.db")
    empty.migrate()
    empty.close()
    for name, match in (("empty.db", "holds no registry"), ("missing.db", "does not exist")):
        with pytest.raises(CopyRefused, match=match):
            list(copy.move(tmp_path / name, pair.target, to=TO, now=NOW))
    assert not (tmp_path / "missing.db").exists()


def test_an_older_source_is_refused(pair: Pair) -> None:
    change(pair.source, text("UPDATE alembic_version SET version_num = '0002'"))
    with pytest.raises(migrate.DatabaseNotCurrent):
        list(pair.steps())


def test_two_moves_at_once_do_not_mix(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one is told."""
    monkeypatch.setattr(copy, "PAGE_ROWS", 3)
    slow = pair.steps()
    list(itertools.islice(slow, 6))
    list(pair.steps())
    with pytest.raises((CopyRefused, IntegrityError), match="running twice"):
        list(slow)
    pair.in_target(moved.require_here)


def test_a_process_that_has_the_database_open_is_noticed(tmp_path: Path) -> None:
    """By the lock that SQLite itself holds for it; the process is named."""
    file = tmp_path / "registry.db"
    database = SqliteDatabase(file)
    database.migrate()
    database.close()
    assert moved.other_process(file) is None
    program = (
        "import sys; from pathlib import Path; from registry.metadata.sqlite import SqliteDatabase;"
        "d = SqliteDatabase(Path(sys.argv[1])); d.require_current(); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        assert moved.other_process(file) == holder.pid
        holder.communicate(b"")
    assert moved.other_process(file) is None
