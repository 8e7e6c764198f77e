"""A database that moves to another place is closed for good first: from then on nobody can write to it, also no server
that has been running on it, and so what is copied stays true, however long it takes and however often it is broken off.

SQLite itself refuses the writes, by triggers; a server answers 503 to whatever needs one, and goes on with pulls.
"""

import fcntl
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from registry.metadata.failures import MOVED
from registry.metadata.schema import incoming, installation, metadata

_EVENTS = ("INSERT", "UPDATE", "DELETE")
_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits."""
_OPEN_BYTE = 128
"""Of the shared-memory file beside a database with a write-ahead log: who has it open holds a shared lock on it."""


class DatabaseMoved(Exception):
    """The database lives in another place now, or is on its way there."""


class DatabaseIncomplete(Exception):
    """The database is the unfinished copy of another one."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Where the database goes, without password, and since when (ms since 1970), which tells one move from the next."""

    to: str
    at: int


def require_here(connection: Connection) -> None:
    """Refuse a database that was moved away, or that is not whole yet. Raises DatabaseMoved, DatabaseIncomplete."""
    if connection.execute(select(incoming.c.id)).first() is not None:
        raise DatabaseIncomplete(
            "another database is being moved into this one, and that is not finished: run the same"
            " `depotry migrate --from … --to …` again, it goes on where it stopped"
        )
    closed = find(connection)
    if closed is not None:
        raise DatabaseMoved(
            f"this database has been moved to {closed.to}: serve from there (see --database). If that move is not"
            " finished, run `depotry migrate --from … --to …` again; to take it back and serve from here, without"
            " anything that was pushed there meanwhile: `depotry migrate --undo --from …`"
        )


def find(connection: Connection) -> Closed | None:
    """The move of this database, None if it is here to stay."""
    row = connection.execute(select(installation.c.moved_to, installation.c.moved_at)).first()
    return None if row is None or row[0] is None else Closed(row[0], row[1])


def close(connection: Connection, closed: Closed) -> None:
    """Let nobody write to this SQLite database any more, from this transaction's commit on."""
    connection.execute(update(installation).values(moved_to=closed.to, moved_at=closed.at))
    for name, table, event in _triggers(connection):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, '{MOVED}'); END"
        )


def reopen(connection: Connection) -> bool:
    """Let this SQLite database be written to again; False if it was not closed."""
    if find(connection) is None:
        return False
    for name, _table, _event in _triggers(connection):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    connection.execute(update(installation).values(moved_to=None, moved_at=None))
    return True


def _triggers(connection: Connection) -> list[tuple[str, str, str]]:
    """Name, table and event of each trigger of a closed database."""
    quote = connection.dialect.identifier_preparer.quote
    return [
        (quote(f"moved_{table.name}_{event.lower()}"), quote(table.name), event)
        for table in metadata.sorted_tables
        for event in _EVENTS
    ]


def other_process(file: Path) -> int | None:
    """A process that has the SQLite database in `file` open, None if there is none or the system does not tell. Only
    before this process opens it: closing a file here would take this process's own locks away."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        descriptor = os.open(f"{file}-shm", os.O_RDWR)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _OPEN_BYTE, 1, 0)
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else process
