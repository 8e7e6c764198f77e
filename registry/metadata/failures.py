"""Failures of the database, as the errors of the registry: never absence, never the client's mistake."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from registry.core.errors import RegistryError, StorageFull, Unavailable, WritesClosed

OUTAGES = (OperationalError, InternalError, PoolTimeout)
"""The database failed. Every other SQLAlchemyError is a mistake of ours, and stays what it is: a 500."""
MOVED = "this database has been moved to another place"
"""What a database says, by its triggers, to whoever writes to it after it was moved."""

# SQLSTATE, as PostgreSQL tells it.
_DISK_FULL = "53100"
_READ_ONLY = "25006"
_FORBIDDEN = "42501"
REPEATABLE = frozenset({"40001", "40P01", "55P03"})
"""The transaction was given up for another one, or waited too long for a lock: it may go through the next time."""
_BUSY = REPEATABLE | {"53000", "53200", "53300", "57014"}


@contextmanager
def translated() -> Iterator[None]:
    """Turns an outage inside into Unavailable or StorageFull; the cause stays for the log."""
    try:
        yield
    except (DatabaseError, PoolTimeout) as error:
        if not is_outage(error):
            raise
        raise translate(error) from error


def is_outage(error: BaseException | None) -> bool:
    """Whether the database failed or is closed, and it is not what it was asked."""
    # The bare class: a file that is damaged or no database. Its other subclasses are mistakes of ours.
    if isinstance(error, OUTAGES) or type(error) is DatabaseError or sqlstate(error) == _FORBIDDEN:
        return True
    return isinstance(error, DatabaseError) and MOVED in str(error.orig)


def sqlstate(error: BaseException | None) -> str | None:
    """The SQLSTATE that came with an error, None where none did, as with SQLite and lost connections."""
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def translate(error: SQLAlchemyError) -> RegistryError:
    """The registry's error for an outage of the database."""
    state = sqlstate(error)
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if MOVED in text:
        return WritesClosed(MOVED, retry_after_s=30)
    if state == _DISK_FULL or (state is None and "is full" in text):
        return StorageFull("the database's disk is full", retry_after_s=30)
    if isinstance(error, PoolTimeout) or state in _BUSY or (state is None and "locked" in text):
        return Unavailable("the database is busy", retry_after_s=1)
    if state == _READ_ONLY:
        return Unavailable("the database is read-only", retry_after_s=5)
    if state == _FORBIDDEN:
        return Unavailable("the database does not allow its user what the registry needs", retry_after_s=5)
    return Unavailable("the database does not answer", retry_after_s=5)
