"""Moves of blobs from one store to another: between which two, and whether all is where it shall be."""

from dataclasses import dataclass

from sqlalchemy import exists, insert, select, update
from sqlalchemy.engine import Connection

from registry.metadata.schema import storage_moves


@dataclass(frozen=True, slots=True)
class StorageMove:
    """`source` and `target` are the names of stores. Until it is finished either may hold any blob."""

    id: int
    source: str
    target: str
    is_finished: bool

    @property
    def both(self) -> set[str]:
        """The two stores."""
        return {self.source, self.target}


def newest(connection: Connection) -> StorageMove | None:
    """The move that runs, or the last one."""
    columns = storage_moves.c
    row = connection.execute(
        select(columns.id, columns.source, columns.target, columns.finished_at).order_by(columns.id.desc()).limit(1)
    ).first()
    return None if row is None else StorageMove(row[0], row[1], row[2], row[3] is not None)


def left(connection: Connection) -> set[str]:
    """The stores that blobs have been moved away from, whether or not they came back later."""
    return set(connection.scalars(select(storage_moves.c.source).where(storage_moves.c.finished_at.is_not(None))))


def is_unfinished(connection: Connection) -> bool:
    """Whether a blob may be in a store that not every process knows."""
    return bool(connection.execute(select(exists().where(storage_moves.c.finished_at.is_(None)))).scalar())


def begin(connection: Connection, *, source: str, target: str, now: int) -> None:
    """From now on either store may hold any blob."""
    connection.execute(insert(storage_moves), {"source": source, "target": target, "began_at": now})


def turn(connection: Connection, move_id: int, *, source: str, target: str) -> None:
    """An unfinished move goes the other way, or its stores have other names."""
    where = (storage_moves.c.id == move_id, storage_moves.c.finished_at.is_(None))
    connection.execute(update(storage_moves).where(*where).values(source=source, target=target))


def finish(connection: Connection, *, source: str, target: str, now: int) -> None:
    """Every blob is in `target`."""
    unfinished = update(storage_moves).where(storage_moves.c.finished_at.is_(None))
    connection.execute(unfinished.values(source=source, target=target, finished_at=now))
