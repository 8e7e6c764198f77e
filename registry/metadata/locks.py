"""Advisory locks of PostgreSQL, for what no row stands for; each until the transaction ends.

Nothing on SQLite: it has one writer. In the lock order of `schema` they come where each function says.
"""

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

_ARRIVALS = 1
_UPLOADS = 2
_NUMBERS = 0x7FFF_FFFF
"""The second part of a key has 31 bits: ids that share them wait for one another, which is no harm."""


def blob_arrives(connection: Connection, repository_id: int) -> None:
    """A blob is about to be shown in a repository; many may be at once. Right after the repository."""
    if _has_locks(connection):
        connection.execute(select(func.pg_advisory_xact_lock_shared(_ARRIVALS, repository_id & _NUMBERS)))


def no_blob_arrives(connection: Connection, repository_id: int) -> None:
    """Wait for those that are about to be shown in a repository, and let none in: what is not there then knows that a
    manifest waits for it when it comes. After the repository and its manifests."""
    if _has_locks(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_ARRIVALS, repository_id & _NUMBERS)))


def uploads_of(connection: Connection, account_id: int) -> None:
    """Nobody else counts the uploads of an account, or begins one. Before everything."""
    if _has_locks(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_UPLOADS, account_id & _NUMBERS)))


def _has_locks(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
