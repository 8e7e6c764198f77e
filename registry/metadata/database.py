"""The database as the services see it: functions that take a connection, each run as one transaction.

Three ways in. `point` is for one indexed statement: on SQLite it runs at once on the calling thread, which is cheaper
than a hop to another. `read` is a transaction in a small pool of threads. `write` returns after the commit. A function
never awaits, does nothing but SQL, and may be run again: a transaction that the database gave up is repeated.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

__all__ = ["Connection", "Database", "DatabaseUnusable", "Query"]

T = TypeVar("T")
Query = Callable[[Connection], T]


class DatabaseUnusable(Exception):
    """The database cannot be used as it is set up; the message names the setting."""


class Database(Protocol):
    """An open database. Every method raises Unavailable or StorageFull when the database fails."""

    async def point(self, query: Query[T]) -> T:
        """One indexed statement, on the newest commit. Only from the event loop's thread."""

    async def read(self, query: Query[T]) -> T:
        """A transaction that sees one state of the database."""

    async def write(self, query: Query[T], *, durable: bool = True) -> T:
        """A transaction that changes things; returns after its commit.

        With `durable=False` a power cut may take the change back (a crash of the process may not): for bookkeeping
        that the next request can work out again. What `query` raises rolls its own changes back and goes to the
        caller. If the caller is cancelled, or Unavailable is raised, the change may or may not be made.
        """

    async def check(self) -> None:
        """Really try it: a read and a write that changes nothing but reaches the log."""

    def listen(self, told: Callable[[], None]) -> None:
        """Call `told`, in whatever thread, soon after access was changed by anybody, until the database is closed. It
        may be called without a change, and may miss one: who listens looks for itself from time to time too."""

    def prepare(self) -> None:
        """Make it ready for a server that starts: an empty database gets its schema. Blocks. Raises
        migrate.DatabaseNotCurrent, migrate.DatabaseTooNew, DatabaseUnusable."""

    def migrate(self, say: Callable[[str], None] = ...) -> tuple[str | None, str]:
        """Bring the schema up to date; returns the revision before and after, and tells `say` why it waits. Blocks: for
        a start, not a request. Raises migrate.DatabaseTooNew, DatabaseUnusable."""

    def require_current(self) -> None:
        """Raises migrate.DatabaseNotCurrent, migrate.DatabaseTooNew unless the schema is that of this version;
        DatabaseUnusable. Blocks."""

    def close(self) -> None:
        """Finish what is queued and close every connection. Idempotent."""
