"""The database as the services see it: functions that take a connection, each run as one transaction.

Three ways in. `point` is for one indexed statement: on SQLite it runs at once on the calling thread, which is cheaper
than a hop to another. `read` is a transaction in a small pool of threads. `write` goes to the writer, and returns
after the commit. A function never awaits, and does nothing but SQL.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL, Connection

from registry.metadata import installation, migrate, sqlite
from registry.metadata.failures import translated
from registry.metadata.writer import Writer

__all__ = ["Connection", "Database", "Query"]

T = TypeVar("T")
Query = Callable[[Connection], T]

READ_THREADS = 4


class Database:
    """An open database. Every method raises Unavailable or StorageFull when the database fails."""

    def __init__(self, path: Path) -> None:
        """Opens the SQLite database in the file `path`, and makes the file if it is missing. Raises
        sqlite.LibraryTooOld."""
        self.url = URL.create("sqlite", database=str(path))
        self._durable = sqlite.writing_engine(self.url, synchronous="FULL")
        self._relaxed = sqlite.writing_engine(self.url, synchronous="NORMAL")
        self._reading = sqlite.reading_engine(self.url, connections=READ_THREADS + 1)
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="sql-reader")
        self._writer = Writer(self._durable, self._relaxed)
        self._held: Connection | None = None

    async def point(self, query: Query[T]) -> T:
        """One indexed statement, on the newest commit. Only from the event loop's thread."""
        with translated():
            return query(self._point_connection())

    async def read(self, query: Query[T]) -> T:
        """A transaction that sees one state of the database."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)

    async def write(self, query: Query[T], *, durable: bool = True) -> T:
        """A transaction that changes things; returns after its commit.

        With `durable=False` a power cut may take the change back (a crash of the process may not): for bookkeeping
        that the next request can work out again. What `query` raises rolls its own changes back and goes to the
        caller. If the caller is cancelled, the change may or may not be made.
        """
        result: T = await asyncio.wrap_future(self._writer.submit(query, durable=durable))
        return result

    def migrate(self) -> tuple[str | None, str]:
        """Bring the schema up to date; returns the revision before and after. Blocks: for a start, not a request.
        Raises migrate.DatabaseTooNew."""
        return migrate.upgrade(self._durable)

    def require_current(self) -> None:
        """Raises migrate.DatabaseNotCurrent unless the schema is that of this version. Blocks."""
        with translated(), self._reading.connect() as connection:
            migrate.require_current(connection)

    async def check(self) -> None:
        """Really try it: a read and a write that changes nothing but reaches the log."""
        await self.read(installation.find)
        await self.write(installation.touch, durable=False)

    def _point_connection(self) -> Connection:
        if self._held is None:
            self._held = self._reading.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._held

    def _read(self, query: Query[T]) -> T:
        with translated(), self._reading.begin() as connection:
            return query(connection)

    def close(self) -> None:
        """Finish what is queued and close every connection. Idempotent."""
        self._writer.close()
        self._pool.shutdown(wait=True)
        if self._held is not None:
            self._held.close()
            self._held = None
        for engine in (self._durable, self._relaxed, self._reading):
            engine.dispose()
