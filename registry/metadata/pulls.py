"""Pulls as SQL keeps them: for a repository, a tag or a digest, by day and for all time; and their end.

What was counted in memory comes in batches. A batch is one statement: it finds the tags that point to a digest now, and
adds to what is there. The repositories are held before, so that none goes away meanwhile, and two batches that count
for the same ones come one after the other.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    LargeBinary,
    Select,
    Subquery,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata import given
from registry.metadata.insert import insert_in
from registry.metadata.schema import manifest_children, manifests, pulls, repositories, tags

TAGS_COUNTED = 100
"""Tags of one digest that a pull counts for, the first in byte order: more would make one pull a thousand writes."""
ALL_TIME = 0
"""The day of the rows that hold all time."""
_AFTER_ALL = "~"
"""Sorts after every character that a tag can have."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Pulls of one manifest on one day, which is counted from 1970 UTC. `digest` is packed."""

    repository_id: int
    digest: bytes
    day: int
    pulls: int
    """By whom it was meant: they count for the digest, its tags and the repository."""
    parts: int
    """As a part of an index that was pulled just before: they count for the digest alone."""
    last_at: int
    """ms since 1970 UTC."""


_HOLD = (
    select(repositories.c.id)
    .where(repositories.c.id.in_(bindparam("ids", expanding=True)), repositories.c.deleted_at.is_(None))
    .order_by(repositories.c.id)
    .with_for_update(key_share=True)
)


def add(connection: Connection, counted: Iterable[Counted]) -> None:
    """Add to the counts. What has been counted for a repository that is gone is left out."""
    batch = list(counted)
    if not batch:
        return
    ids = sorted({one.repository_id for one in batch})
    # Alone, and in their order: their sums are changed below, and two batches must not wait for each other.
    held = set(connection.execute(_HOLD, {"ids": ids}).scalars())
    rows = [one for one in batch if one.repository_id in held]
    if not rows:
        return
    add_up, insert_all = _statements(connection.dialect.name)
    if sums := _sums(rows):
        connection.execute(add_up, given.parameters(connection, "sums", sums))
    fields = [(one.repository_id, one.digest, one.day, one.pulls, one.parts, one.last_at) for one in rows]
    connection.execute(insert_all, given.parameters(connection, "counted", fields))


def _sums(rows: list[Counted]) -> list[tuple[int, int, int]]:
    sums: defaultdict[int, int] = defaultdict(int)
    last: defaultdict[int, int] = defaultdict(int)
    for one in rows:
        if one.pulls:
            sums[one.repository_id] += one.pulls
            last[one.repository_id] = max(last[one.repository_id], one.last_at)
    return [(repository_id, count, last[repository_id]) for repository_id, count in sums.items()]


@cache
def _statements(dialect: str) -> tuple[Any, Any]:
    """In the words of an engine: the one that adds to the sums of repositories, and the one that adds to all rows."""
    sums = given.rows(dialect, "sums", repository_id=BigInteger, pulls=BigInteger, last_at=BigInteger)
    is_later = repositories.c.pulled_at.is_(None) | (repositories.c.pulled_at < sums.c.last_at)
    add_up = (
        update(repositories)
        .where(repositories.c.id == sums.c.repository_id)
        .values(
            pull_count=repositories.c.pull_count + sums.c.pulls,
            pulled_at=case((is_later, sums.c.last_at), else_=repositories.c.pulled_at),
        )
    )
    columns = ("repository_id", "tag", "digest", "day", "pulls", "last_at")
    insert = insert_in(dialect, pulls).from_select(columns, _all_rows(dialect))
    new = insert.excluded
    insert = insert.on_conflict_do_update(
        index_elements=columns[:4],
        set_={
            "pulls": pulls.c.pulls + new.pulls,
            "last_at": case((pulls.c.last_at < new.last_at, new.last_at), else_=pulls.c.last_at),
        },
    )
    return add_up, insert


def _all_rows(dialect: str) -> Select[Any]:
    """The rows that a batch adds to: each key once, in their order."""
    batch = given.rows(
        dialect,
        "counted",
        repository_id=BigInteger,
        digest=LargeBinary,
        day=BigInteger,
        pulls=BigInteger,
        parts=BigInteger,
        last_at=BigInteger,
    )
    no_tag, no_digest = literal("", tags.c.name.type).label("tag"), literal(b"", LargeBinary()).label("digest")
    whole = union_all(
        select(batch.c.repository_id, no_tag, no_digest, batch.c.day, batch.c.pulls, batch.c.last_at),
        _of_tags(batch, no_digest),
    ).subquery("whole")
    one_day = union_all(
        select(whole).where(whole.c.pulls > 0),
        select(
            batch.c.repository_id,
            no_tag,
            batch.c.digest,
            batch.c.day,
            (batch.c.pulls + batch.c.parts).label("pulls"),
            batch.c.last_at,
        ),
    ).subquery("one_day")
    key = (one_day.c.repository_id, one_day.c.tag, one_day.c.digest)
    all_time = literal_column(str(ALL_TIME), BigInteger).label("day")
    both = union_all(
        select(*key, one_day.c.day, one_day.c.pulls, one_day.c.last_at),
        select(*key, all_time, one_day.c.pulls, one_day.c.last_at),
    ).subquery("both_days")
    keys = (both.c.repository_id, both.c.tag, both.c.digest, both.c.day)
    return select(*keys, func.sum(both.c.pulls), func.max(both.c.last_at)).group_by(*keys).order_by(*keys)


def _of_tags(batch: Subquery, no_digest: Any) -> Select[Any]:
    """A row for each tag that points to a digest, up to the limit."""
    other = tags.alias("other")
    first_beyond = (
        select(other.c.name)
        .where(other.c.manifest_id == manifests.c.id)
        .order_by(other.c.name)
        .offset(TAGS_COUNTED)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(batch.c.repository_id, tags.c.name, no_digest, batch.c.day, batch.c.pulls, batch.c.last_at)
        .select_from(batch)
        .join(
            manifests,
            (manifests.c.repository_id == batch.c.repository_id) & (manifests.c.digest == batch.c.digest),
        )
        .join(tags, tags.c.manifest_id == manifests.c.id)
        .where(tags.c.name < func.coalesce(first_beyond, literal(_AFTER_ALL, tags.c.name.type)))
    )


# Questions.


@dataclass(frozen=True, slots=True)
class Day:
    """Pulls of one day, which is counted from 1970 UTC."""

    day: int
    pulls: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """Pulls of all time, and when the last one was, in ms since 1970 UTC."""

    pulls: int
    last_at: int | None
    """None where there was none."""


_DAYS = (
    select(pulls.c.day, pulls.c.pulls)
    .where(
        pulls.c.repository_id == bindparam("repository"),
        pulls.c.tag == bindparam("tag"),
        pulls.c.digest == bindparam("digest", type_=LargeBinary()),
        pulls.c.day >= bindparam("since"),
        pulls.c.day > ALL_TIME,
    )
    .order_by(pulls.c.day)
)
# Both conditions in full: only so does SQLite know that the index of these rows will do.
_TOP_TAGS = (
    select(pulls.c.tag, pulls.c.pulls, pulls.c.last_at)
    .where(
        pulls.c.repository_id == bindparam("repository"),
        pulls.c.day == literal_column(str(ALL_TIME)),
        pulls.c.tag != literal_column("''"),
    )
    .order_by(pulls.c.pulls.desc(), pulls.c.tag.desc())
    .limit(bindparam("count"))
)
_INDEX = (
    select(manifests.c.id)
    .where(
        manifests.c.repository_id == bindparam("repository"),
        manifests.c.digest == bindparam("digest", type_=LargeBinary()),
    )
    .scalar_subquery()
)
_LISTED = (
    select(manifest_children.c.digest, manifest_children.c.platform)
    .where(manifest_children.c.parent_id == _INDEX)
    .order_by(manifest_children.c.digest)
    .limit(bindparam("count"))
    .subquery("listed")
)
_PARTS = select(_LISTED, func.coalesce(pulls.c.pulls, 0), pulls.c.last_at).outerjoin(
    pulls,
    (pulls.c.repository_id == bindparam("repository"))
    & (pulls.c.tag == "")
    & (pulls.c.digest == _LISTED.c.digest)
    & (pulls.c.day == ALL_TIME),
)
_OF_REPOSITORY = select(repositories.c.pull_count, repositories.c.pulled_at).where(
    repositories.c.id == bindparam("repository")
)
_TARGET = (
    select(manifests.c.digest)
    .select_from(tags)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
)


def of_repository(connection: Connection, repository_id: int) -> Pulled:
    """The sum."""
    row = connection.execute(_OF_REPOSITORY, {"repository": repository_id}).first()
    return Pulled(0, None) if row is None else Pulled(row[0], row[1])


def target(connection: Connection, repository_id: int, tag: str) -> Digest | None:
    """What a tag points to now."""
    found = connection.execute(_TARGET, {"repository": repository_id, "tag": tag}).scalar()
    return None if found is None else Digest.unpack(found)


def days(connection: Connection, repository_id: int, *, tag: str = "", digest: bytes = b"", since: int) -> list[Day]:
    """Pulls a day of a repository, or of a tag or a (packed) digest in it, from the day `since` on; days without one
    are left out."""
    wanted = {"repository": repository_id, "tag": tag, "digest": digest, "since": since}
    return [Day(row[0], row[1]) for row in connection.execute(_DAYS, wanted)]


def top_tags(connection: Connection, repository_id: int, *, count: int) -> list[tuple[str, Pulled]]:
    """The tags of a repository that were pulled most."""
    rows = connection.execute(_TOP_TAGS, {"repository": repository_id, "count": count})
    return [(row[0], Pulled(row[1], row[2])) for row in rows]


def parts(
    connection: Connection, repository_id: int, digest: bytes, *, count: int
) -> list[tuple[Digest, str | None, Pulled]]:
    """What an index names, by packed digest, up to `count`, those that were pulled most first: digest, platform as the
    index says it, and pulls."""
    rows = connection.execute(_PARTS, {"repository": repository_id, "digest": digest, "count": count}).all()
    found = [(Digest.unpack(row[0]), row[1], Pulled(row[2], row[3])) for row in rows]
    return sorted(found, key=lambda part: (-part[2].pulls, str(part[0])))


# Their end.

_KEY = (pulls.c.repository_id, pulls.c.tag, pulls.c.digest, pulls.c.day)
_OLD = (
    select(*_KEY)
    .where(pulls.c.day > ALL_TIME, pulls.c.day < bindparam("before"))
    .order_by(pulls.c.day)
    .limit(bindparam("count"))
)
_TRIM = delete(pulls).where(tuple_(*_KEY).in_(_OLD))
_ROWS_OF = select(*_KEY).where(pulls.c.repository_id == bindparam("repository")).limit(bindparam("count"))
_FORGET = delete(pulls).where(tuple_(*_KEY).in_(_ROWS_OF))


def trim(connection: Connection, *, before_day: int, count: int) -> int:
    """Remove up to `count` rows of days before a day; returns how many."""
    return connection.execute(_TRIM, {"before": before_day, "count": count}).rowcount


def forget(connection: Connection, repository_id: int, *, count: int) -> int:
    """Remove up to `count` rows of a repository; returns how many."""
    return connection.execute(_FORGET, {"repository": repository_id, "count": count}).rowcount


Key = tuple[int, str, bytes]
"""Repository, tag and packed digest of a row."""

_PLACE = tuple_(pulls.c.repository_id, pulls.c.tag, pulls.c.digest)
# Asked one by one: an EXISTS could be answered by reading all tags of all repositories.
_TAG_IS_THERE = (
    select(literal_column("1"))
    .where(tags.c.repository_id == pulls.c.repository_id, tags.c.name == pulls.c.tag)
    .limit(1)
    .scalar_subquery()
)
_MANIFEST_IS_THERE = (
    select(literal_column("1"))
    .where(manifests.c.repository_id == pulls.c.repository_id, manifests.c.digest == pulls.c.digest)
    .limit(1)
    .scalar_subquery()
)
_WALK = (
    select(
        pulls.c.repository_id,
        pulls.c.tag,
        pulls.c.digest,
        case(
            (pulls.c.tag != "", _TAG_IS_THERE),
            (pulls.c.digest != literal(b"", LargeBinary()), _MANIFEST_IS_THERE),
            else_=literal_column("1"),
        ),
    )
    .where(
        pulls.c.day == ALL_TIME,
        tuple_(
            bindparam("after_repository", type_=BigInteger()),
            bindparam("after_tag", type_=pulls.c.tag.type),
            bindparam("after_digest", type_=LargeBinary()),
        )
        < _PLACE,
    )
    .order_by(pulls.c.repository_id, pulls.c.tag, pulls.c.digest)
    .limit(bindparam("count"))
)
_FORGET_KEYS = delete(pulls).where(pulls.c.day == ALL_TIME, _PLACE.in_(bindparam("keys", expanding=True)))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of all time that were walked through: the last one, None at the end; how many; and which of them are about a
    tag or a manifest that is no longer there."""

    last: Key | None
    count: int
    gone: list[Key]


BEFORE_ALL: Key = (0, "", b"")


def walk(connection: Connection, *, after: Key, count: int) -> Page:
    """The next rows of all time by their key, for whoever looks at all of them."""
    place = {"after_repository": after[0], "after_tag": after[1], "after_digest": after[2], "count": count}
    rows = connection.execute(_WALK, place).all()
    if not rows:
        return Page(None, 0, [])
    keys: list[Key] = [(row[0], row[1], row[2]) for row in rows]
    return Page(keys[-1], len(rows), [key for key, row in zip(keys, rows, strict=True) if not row[3]])


def forget_keys(connection: Connection, keys: list[Key]) -> int:
    """Remove what stands for all time about these; their days go with the years."""
    return connection.execute(_FORGET_KEYS, {"keys": keys}).rowcount
