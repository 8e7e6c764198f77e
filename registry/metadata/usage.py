"""What is stored, day by day: of all, and of the namespaces that hold most."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select, tuple_
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import blobs, repositories, usage

ALL = 0
"""Stands for all namespaces."""
INSTANCE = -1
"""Stands for what has no owner and so belongs to the instance."""
NAMESPACES_SAMPLED = 1_000
"""Of how many namespaces each day keeps a sample: of those that hold most."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is stored in a namespace. Sizes in bytes; `stored_bytes` is 0 but for all of it."""

    namespace_id: int
    repositories: int
    tags: int
    size_bytes: int
    stored_bytes: int = 0


_SIZE = func.coalesce(func.sum(repositories.c.size_bytes), 0)
_FIGURES = (func.count(), func.coalesce(func.sum(repositories.c.tag_count), 0), _SIZE)
_ALIVE = repositories.c.deleted_at.is_(None)
_LARGEST = (
    select(repositories.c.namespace_id, *_FIGURES)
    .where(_ALIVE)
    .group_by(repositories.c.namespace_id)
    .order_by(_SIZE.desc(), repositories.c.namespace_id)
    .limit(bindparam("count"))
)
_EVERYTHING = select(*_FIGURES, select(func.coalesce(func.sum(blobs.c.size), 0)).scalar_subquery()).where(_ALIVE)


def measure(connection: Connection, *, count: int = NAMESPACES_SAMPLED) -> list[Sample]:
    """All of it, and the `count` namespaces that hold most. Reads every repository and every blob."""
    number, tags, size, stored = connection.execute(_EVERYTHING).one()
    found = [Sample(ALL, number, int(tags), int(size), int(stored))]
    for namespace_id, number, tags, size in connection.execute(_LARGEST, {"count": count}):
        found.append(Sample(INSTANCE if namespace_id is None else namespace_id, number, int(tags), int(size)))
    return found


def write(connection: Connection, day: int, samples: list[Sample]) -> None:
    """The samples of a day, in the place of earlier ones. Days are counted from 1970 UTC."""
    rows = [
        {
            "day": day,
            "namespace_id": one.namespace_id,
            "repositories": one.repositories,
            "tags": one.tags,
            "size_bytes": one.size_bytes,
            "stored_bytes": one.stored_bytes,
        }
        for one in sorted(samples, key=lambda one: one.namespace_id)
    ]
    statement = insert(connection, usage)
    figures = ("repositories", "tags", "size_bytes", "stored_bytes")
    statement = statement.on_conflict_do_update(
        index_elements=["day", "namespace_id"], set_={name: statement.excluded[name] for name in figures}
    )
    connection.execute(statement, rows)


_OLD = (
    select(usage.c.day, usage.c.namespace_id)
    .where(usage.c.day < bindparam("before"))
    .order_by(usage.c.day)
    .limit(bindparam("count"))
)
_TRIM = delete(usage).where(tuple_(usage.c.day, usage.c.namespace_id).in_(_OLD))


def trim(connection: Connection, *, before_day: int, count: int) -> int:
    """Remove up to `count` samples of days before a day; returns how many."""
    return connection.execute(_TRIM, {"before": before_day, "count": count}).rowcount
