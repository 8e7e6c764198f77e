"""SQLite: which library is good enough, how a connection is set up so that a commit is a promise, and the database.

A point runs at once on the calling thread; reads in a few threads; writes go to the one writer.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection

from registry.core.errors import OurFault
from registry.metadata import installation, migrate
from registry.metadata.database import Query
from registry.metadata.failures import translated
from registry.metadata.turns import Turns
from registry.metadata.writer import Writer

T = TypeVar("T")

MINIMUM_VERSION = (3, 51, 3)
"""Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections write and checkpoint at once."""

BUSY_TIMEOUT_MS = 5_000
READ_THREADS = 4
SPARE_BYTES = 128 * 1024
"""For the index of the write-ahead log, which is 32 KiB, and the first pages of the log."""


class LibraryTooOld(Exception):
    """No SQLite library on this machine is safe to use."""


def library() -> ModuleType:
    """The DBAPI module to use: the packaged one if it is installed, else the standard one. Raises LibraryTooOld."""
    try:
        from pysqlite3 import dbapi2 as packaged
    except ImportError:
        packaged = None
    found: ModuleType = packaged if packaged is not None else sqlite3
    version = tuple(int(part) for part in found.sqlite_version.split("."))
    if version < MINIMUM_VERSION:
        wanted = ".".join(map(str, MINIMUM_VERSION))
        raise LibraryTooOld(
            f"SQLite {found.sqlite_version} can corrupt a database that several connections write; {wanted} or newer"
            " is needed: pip install pysqlite3, or a Python that is built with a newer SQLite"
        )
    return found


def _require_full_text(module: ModuleType) -> None:
    """Raises LibraryTooOld."""
    connection = module.connect(":memory:")
    has_it = connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]
    connection.close()
    if not has_it:
        raise LibraryTooOld(
            f"SQLite {module.sqlite_version} was built without FTS5, which searches need: use pysqlite3"
        )


def writing_engine(url: URL, *, synchronous: str) -> Engine:
    """An engine of one connection whose transactions begin with the write lock: a transaction that reads first and
    asks for the lock later can be refused at once, whatever the time limit. `synchronous` is FULL or NORMAL."""
    # The waiting is done by `Turns`; once the lock is had, there is nothing more to wait for.
    engine = _engine(url, pool_size=1, pragmas=[f"synchronous={synchronous}", "busy_timeout=0"])
    assert url.database is not None
    turns = Turns(Path(url.database), BUSY_TIMEOUT_MS / 1000)

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Connection) -> None:
        plain: Any = connection.connection.driver_connection
        turns.take(lambda: _is_answered(plain))
        if not plain.in_transaction:
            # Asked once more by SQLAlchemy, whose errors are known to everybody.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _is_answered(plain: Any) -> bool:
    """Ask for the lock. False while another connection has it; True if it is had, or cannot be for another reason."""
    try:
        plain.execute("BEGIN IMMEDIATE")
    except library().OperationalError as error:
        return "locked" not in str(error)
    return True


def reading_engine(url: URL, *, connections: int) -> Engine:
    """An engine for reads: each statement sees the newest commit, or each transaction if one is begun."""
    pragmas = ["query_only=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"]
    engine = _engine(url, pool_size=connections, pragmas=pragmas)

    @event.listens_for(engine, "begin")
    def begin_deferred(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN")

    return engine


def _engine(url: URL, *, pool_size: int, pragmas: list[str]) -> Engine:
    engine = create_engine(
        url,
        module=library(),
        pool_size=pool_size,
        max_overflow=0,
        pool_reset_on_return=None,
        hide_parameters=True,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise RuntimeError(f"SQLite cannot use a write-ahead log here (journal mode {mode}): is this a local disk?")
        common = ["foreign_keys=ON", "temp_store=MEMORY", "cache_size=-16384", "journal_size_limit=67108864"]
        for pragma in [*common, *pragmas]:
            cursor.execute(f"PRAGMA {pragma}")
        if cursor.execute("PRAGMA foreign_keys").fetchone()[0] != 1:
            raise RuntimeError("SQLite was built without foreign keys")
        cursor.close()

    return engine


class _Spare:
    """Room on the disk that is kept for a start when nothing else is left: a file beside the database."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Take it, if there is room and it is not taken yet."""
        if self._path.exists():
            return
        try:
            # Not a hole: blocks that are really there.
            self._path.write_bytes(os.urandom(SPARE_BYTES))
        except OSError:
            self.release()

    def release(self) -> bool:
        """Give it back; False if there was none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


class SqliteDatabase:
    """A file, as `database.Database` promises it."""

    def __init__(self, path: Path) -> None:
        """Opens the database in the file `path`, and makes the file if it is missing. Raises LibraryTooOld."""
        _require_full_text(library())
        self.url = URL.create("sqlite", database=str(path))
        self._spare = _Spare(Path(f"{path}-spare"))
        self._durable = writing_engine(self.url, synchronous="FULL")
        self._relaxed = writing_engine(self.url, synchronous="NORMAL")
        self._reading = reading_engine(self.url, connections=READ_THREADS + 1)
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="sql-reader")
        self._writer = Writer(self._durable, self._relaxed)
        self._held: Connection | None = None

    async def point(self, query: Query[T]) -> T:
        """On this thread."""
        with translated():
            return query(self._point_connection())

    async def read(self, query: Query[T]) -> T:
        """In a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)

    async def write(self, query: Query[T], *, durable: bool = True) -> T:
        """In the writer's thread, in one commit with others."""
        result: T = await asyncio.wrap_future(self._writer.submit(query, durable=durable))
        return result

    async def check(self) -> None:
        """A read, and a write to the log."""
        await self.read(installation.find)
        await self.write(installation.touch, durable=False)

    def listen(self, told: Callable[[], None]) -> None:
        """Nobody tells: other processes are found out about by looking."""

    def prepare(self) -> None:
        """Every server brings the file up to date: there is no other machine that could use it. On a full disk the
        spare room is used, without which the log could not even be begun; pushes are refused then, and pulls go on."""
        try:
            self.migrate()
        except OurFault:
            if not self._spare.release():
                raise
            self._durable.dispose()
            self.migrate()
        else:
            self._spare.keep()

    def migrate(self, say: Callable[[str], None] = lambda _text: None) -> tuple[str | None, str]:
        """Under the write lock."""
        return migrate.upgrade(self._durable)

    def require_current(self) -> None:
        """By the revision in the file."""
        with translated(), self._reading.connect() as connection:
            migrate.require_current(connection)

    def _point_connection(self) -> Connection:
        if self._held is None:
            self._held = self._reading.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._held

    def _read(self, query: Query[T]) -> T:
        with translated(), self._reading.begin() as connection:
            return query(connection)

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        self._writer.close()
        self._pool.shutdown(wait=True)
        if self._held is not None:
            self._held.close()
            self._held = None
        for engine in (self._durable, self._relaxed, self._reading):
            engine.dispose()
