"""Failures of the database, as the errors of the registry: never absence, never the client's mistake."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from registry.core.errors import RegistryError, StorageFull, Unavailable

OUTAGES = (OperationalError, InternalError, PoolTimeout)
"""The database failed. Every other SQLAlchemyError is a mistake of ours, and stays what it is: a 500."""
MOVED = "this database has been moved to another place"
"""What a database says, by its triggers, to whoever writes to it after it was moved."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns an outage inside into Unavailable or StorageFull; the cause stays for the log."""
    try:
        yield
    except OUTAGES as error:
        raise translate(error) from error
    except DatabaseError as error:
        if not is_outage(error):
            raise
        raise translate(error) from error


def is_outage(error: BaseException | None) -> bool:
    """Whether the database failed, or is closed; else it is a mistake of ours."""
    if isinstance(error, OUTAGES):
        return True
    # The bare class: a file that is damaged or no database. Its subclasses are mistakes of ours.
    return type(error) is DatabaseError or (isinstance(error, DatabaseError) and MOVED in str(error.orig))


def translate(error: SQLAlchemyError) -> RegistryError:
    """The registry's error for an outage of the database."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if MOVED in text:
        return Unavailable(MOVED, retry_after_s=30)
    if "is full" in text:
        return StorageFull("the database's disk is full", retry_after_s=30)
    if isinstance(error, PoolTimeout) or "locked" in text:
        return Unavailable("the database is busy", retry_after_s=1)
    return Unavailable("the database does not answer", retry_after_s=5)
