"""What is stored, day by day: of all, and of the namespaces that hold most."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select, tuple_
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import accounts, audit, blobs, repositories, usage

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
_BY_VISIBILITY = select(repositories.c.visibility, *_FIGURES).where(_ALIVE).group_by(repositories.c.visibility)
_BY_KIND = select(accounts.c.kind, func.count()).where(accounts.c.deleted_at.is_(None)).group_by(accounts.c.kind)
_BLOBS = select(func.count(), func.coalesce(func.sum(blobs.c.size), 0))
_NEWEST_CHANGE = select(func.max(audit.c.id))
_UNSETTLED = select(repositories.c.id).where(repositories.c.tally_at.is_not(None)).limit(1)
_LARGEST = (
    select(repositories.c.namespace_id, *_FIGURES)
    .where(_ALIVE)
    .group_by(repositories.c.namespace_id)
    .order_by(_SIZE.desc(), repositories.c.namespace_id)
    .limit(bindparam("count"))
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What there is. Sizes in bytes: `size_bytes` is the sum over repositories, `stored_bytes` each blob once."""

    users: int = 0
    organizations: int = 0
    robots: int = 0
    public: int = 0
    """Repositories."""
    private: int = 0
    tags: int = 0
    blobs: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    measured_at: int = 0
    """ms since 1970 UTC; 0 where nothing was measured yet."""
    newest_change: int | None = None
    """The last change of the audit that is counted in; None where some of them may not be."""


def measure(connection: Connection, *, now: int) -> Totals:
    """All of it. Reads every account, repository and blob."""
    newest = connection.execute(_NEWEST_CHANGE).scalar()
    is_settled = connection.execute(_UNSETTLED).first() is None
    accounts_of: dict[str, int] = {row[0]: row[1] for row in connection.execute(_BY_KIND)}
    of = {row[0]: row for row in connection.execute(_BY_VISIBILITY)}
    count, stored = connection.execute(_BLOBS).one()
    return Totals(
        users=accounts_of.get("user", 0),
        organizations=accounts_of.get("organization", 0),
        robots=accounts_of.get("robot", 0),
        public=of["public"][1] if "public" in of else 0,
        private=of["private"][1] if "private" in of else 0,
        tags=sum(int(row[2]) for row in of.values()),
        blobs=count,
        size_bytes=sum(int(row[3]) for row in of.values()),
        stored_bytes=int(stored),
        measured_at=now,
        newest_change=newest if is_settled else None,
    )


def sample(connection: Connection, totals: Totals, *, count: int = NAMESPACES_SAMPLED) -> list[Sample]:
    """All of it, and the `count` namespaces that hold most. Reads every repository."""
    number = totals.public + totals.private
    found = [Sample(ALL, number, totals.tags, totals.size_bytes, totals.stored_bytes)]
    for namespace_id, number, tags, size in connection.execute(_LARGEST, {"count": count}):
        found.append(Sample(INSTANCE if namespace_id is None else namespace_id, number, int(tags), int(size)))
    return found


def newest_change(connection: Connection) -> int | None:
    """The id of the last change in the audit."""
    found: int | None = connection.execute(_NEWEST_CHANGE).scalar()
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


@dataclass(frozen=True, slots=True)
class Stored:
    """A sample of a day, which is counted from 1970 UTC. `namespace` is the name of its account; None for all of it,
    and for what has no owner."""

    day: int
    namespace_id: int
    namespace: str | None
    repositories: int
    tags: int
    size_bytes: int
    stored_bytes: int


_STORED = (
    select(
        usage.c.day,
        usage.c.namespace_id,
        accounts.c.name,
        usage.c.repositories,
        usage.c.tags,
        usage.c.size_bytes,
        usage.c.stored_bytes,
    )
    .select_from(usage)
    .outerjoin(accounts, accounts.c.id == usage.c.namespace_id)
)
_NEWEST = select(func.max(usage.c.day)).where(usage.c.namespace_id == ALL).scalar_subquery()
_TOP = (
    _STORED.where(usage.c.day == _NEWEST, usage.c.namespace_id != ALL)
    .order_by(usage.c.size_bytes.desc(), usage.c.namespace_id)
    .limit(bindparam("count"))
)
_SERIES = _STORED.where(
    usage.c.namespace_id.in_(bindparam("namespaces", expanding=True)), usage.c.day >= bindparam("since")
).order_by(usage.c.namespace_id, usage.c.day)


def largest(connection: Connection, *, count: int) -> list[Stored]:
    """The namespaces that held most when it was measured last."""
    return [Stored(*row) for row in connection.execute(_TOP, {"count": count})]


def series(connection: Connection, namespace_ids: list[int], *, since: int) -> list[Stored]:
    """The samples of these namespaces (ALL for all of it) from the day `since` on, by namespace and day."""
    return [Stored(*row) for row in connection.execute(_SERIES, {"namespaces": namespace_ids, "since": since})]


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
