"""Processes that write one SQLite database take turns: each gets about as many, and none waits for long."""

import json
import subprocess
import sys
from pathlib import Path

from registry.metadata import sqlite
from registry.metadata.turns import Turns
from tests.server.conftest import ROOT

PROCESSES = 4
SECONDS = 3.0

WRITER = """if True:
    import json, sys, time
    from sqlalchemy import text
    from sqlalchemy.engine import URL
    from registry.metadata import sqlite

    engine = sqlite.writing_engine(URL.create("sqlite", database=sys.argv[1]), synchronous="NORMAL")
    sys.stdin.readline()
    turns, longest, ends_at = 0, 0.0, time.monotonic() + float(sys.argv[2])
    while (began := time.monotonic()) < ends_at:
        with engine.begin() as connection:
            longest = max(longest, time.monotonic() - began)
            connection.execute(text("INSERT INTO counted DEFAULT VALUES"))
            # Most of the time the lock is taken, as when each commit waits for a disk.
            time.sleep(0.005)
        turns += 1
    print(json.dumps([turns, longest]))
"""


def test_busy_processes_get_the_lock_in_turns(tmp_path: Path) -> None:
    """Without courtesy the one that has it keeps it, and another waits for seconds."""
    path = tmp_path / "turns.db"
    with sqlite.library().connect(path) as connection:
        connection.execute("CREATE TABLE counted (id INTEGER PRIMARY KEY)")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(SECONDS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    results = [json.loads(writer.communicate(timeout=60)[0]) for writer in writers]
    turns = [result[0] for result in results]
    longest_s = max(result[1] for result in results)
    print(f"turns {turns}, longest wait {longest_s:.2f} s")
    assert min(turns) > max(turns) / 4
    assert longest_s < 1.5


def test_who_is_alone_does_not_wait(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask() -> bool:
        asked.append(1)
        return True

    turns = Turns(tmp_path / "x.db", 5)
    assert not turns.somebody_waits()
    turns.take(ask)
    assert len(asked) == 1


def test_where_no_file_can_be_made_the_lock_is_had_all_the_same(tmp_path: Path) -> None:
    """A folder that cannot be written is none of its business: what it means, SQLite says."""
    answers = iter([False, False, True])
    Turns(tmp_path / "missing" / "x.db", 5).take(lambda: next(answers))
    assert next(answers, None) is None


def test_asking_ends_with_the_time(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask() -> bool:
        asked.append(1)
        return False

    Turns(tmp_path / "x.db", 0.1).take(ask)
    assert len(asked) > 10
