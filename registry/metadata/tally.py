"""The tally: what a list shows of a repository, counted again from what the repository holds.

Whoever changes a repository makes it due (`again`, in the same UPDATE as whatever else that writes about it). The tally
reads it in steps, none of which locks anything, and writes the result in one short transaction. If somebody has changed
it since, `tally_at` is another one: then the number of tags, which whoever changes them keeps up to date, is left
alone, and the repository is counted once more after a while. That while, and the one after a change, grow with the
number of manifests, so that a repository with a hundred thousand of them does not keep a processor busy while people
push to it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from registry.core.manifest import DOCKER_LIST, OCI_INDEX
from registry.metadata.insert import insert
from registry.metadata.pulls import ALL_TIME
from registry.metadata.schema import (
    blobs,
    manifest_blobs,
    manifests,
    pulls,
    repositories,
    repository_blobs,
    repository_facets,
    stars,
    tags,
)

DELAY_MS = 1_000
"""After a change, so that the next ones are counted with it."""
MANIFESTS_PER_MS = 10
"""So many more manifests make the delay a millisecond longer."""
FACETS_MAX = 100
"""Values of each kind that are kept for one repository."""
ARTIFACT, PLATFORM = "artifact", "platform"


class Due(NamedTuple):
    """A repository that is to be counted, and its `tally_at` when that was read."""

    id: int
    tally_at: int


def again(now: int | ColumnElement[int]) -> ColumnElement[int]:
    """What `repositories.tally_at` becomes when something changes in the repository: due soon, or, where it is due
    already, as soon as before and yet another value, so that a tally that runs notices."""
    later = now + DELAY_MS + repositories.c.manifest_count // MANIFESTS_PER_MS
    return case((repositories.c.tally_at.is_(None), later), else_=repositories.c.tally_at + 1)


_DUE = (
    select(repositories.c.id, repositories.c.tally_at)
    .where(repositories.c.tally_at <= bindparam("now"))
    .order_by(repositories.c.tally_at)
    .limit(bindparam("count"))
)


def due(connection: Connection, *, now: int, count: int) -> list[Due]:
    """Up to `count` repositories whose time has come, those that have waited longest first."""
    return [Due(row[0], row[1]) for row in connection.execute(_DUE, {"now": now, "count": count})]


# What a repository holds, page by page.


def _boundary(key: ColumnElement[bytes], owner: ColumnElement[int]) -> Select[bytes]:
    """The last key of a page: only the index is read for it."""
    after = bindparam("after", type_=LargeBinary())
    return (
        select(key)
        .where(owner == bindparam("repository"), key > after)
        .order_by(key)
        .offset(bindparam("count") - 1)
        .limit(1)
    )


def _within(key: ColumnElement[bytes], owner: ColumnElement[int]) -> ColumnElement[bool]:
    last = bindparam("last", type_=LargeBinary())
    return and_(
        owner == bindparam("repository"),
        key > bindparam("after", type_=LargeBinary()),
        or_(bindparam("is_last") == 1, key <= last),
    )


_LAST_MANIFEST = _boundary(manifests.c.digest, manifests.c.repository_id)
_HAS_TAG = select(tags.c.name).where(tags.c.manifest_id == manifests.c.id).exists()
_KINDS = (
    manifests.c.artifact_type,
    manifests.c.platforms,
    manifests.c.media_type.in_((OCI_INDEX, DOCKER_LIST)).label("is_index"),
    manifests.c.subject_digest.is_not(None).label("is_referrer"),
    _HAS_TAG.label("has_tag"),
)
_PAGE = (
    select(*_KINDS, manifests.c.payload_size, manifests.c.pushed_at)
    .where(_within(manifests.c.digest, manifests.c.repository_id))
    .subquery("page")
)
_OF_PAGE = tuple(_PAGE.c[:5])
_MANIFESTS = select(
    *_OF_PAGE,
    func.count().label("number"),
    func.sum(_PAGE.c.payload_size).label("size"),
    func.max(_PAGE.c.pushed_at).label("pushed_at"),
).group_by(*_OF_PAGE)
_LAST_BLOB = _boundary(repository_blobs.c.digest, repository_blobs.c.repository_id)
_IS_USED = (
    select(manifest_blobs.c.manifest_id)
    .where(
        manifest_blobs.c.repository_id == repository_blobs.c.repository_id,
        manifest_blobs.c.linked_digest == repository_blobs.c.digest,
    )
    .exists()
)
_other = repository_blobs.alias("other")
_IS_SHARED = (
    select(_other.c.repository_id)
    .where(_other.c.digest == repository_blobs.c.digest, _other.c.repository_id != repository_blobs.c.repository_id)
    .exists()
)
_BLOBS = (
    select(
        func.coalesce(func.sum(blobs.c.size), 0),
        func.coalesce(func.sum(case((_IS_SHARED, blobs.c.size), else_=0)), 0),
    )
    .select_from(repository_blobs)
    .join(blobs, blobs.c.digest == repository_blobs.c.digest)
    .where(_within(repository_blobs.c.digest, repository_blobs.c.repository_id), _IS_USED)
)
_TAGS = select(func.count(), func.max(tags.c.updated_at)).where(tags.c.repository_id == bindparam("repository"))


@dataclass(slots=True)
class Holding:
    """What was found so far. Sizes in bytes, times in ms since 1970 UTC."""

    tags: int = 0
    manifests: int = 0
    size_bytes: int = 0
    shared_bytes: int = 0
    pushed_at: int = 0
    artifacts: set[str] = field(default_factory=set)
    of_indexes: set[str] = field(default_factory=set)
    """Artifact types of what an index without one may name."""
    has_index: bool = False
    platforms: set[str] = field(default_factory=set)

    @property
    def facets(self) -> set[tuple[str, str]]:
        """What it can be found by."""
        artifacts = self.artifacts | (self.of_indexes if self.has_index else set())
        return {
            *((ARTIFACT, value) for value in sorted(artifacts)[:FACETS_MAX]),
            *((PLATFORM, value) for value in sorted(self.platforms)[:FACETS_MAX]),
        }


def count_tags(connection: Connection, repository_id: int, into: Holding) -> None:
    """The tags, and when the last one was set."""
    count, last = connection.execute(_TAGS, {"repository": repository_id}).one()
    into.tags = count
    into.pushed_at = max(into.pushed_at, last or 0)


def count_manifests(
    connection: Connection, repository_id: int, into: Holding, *, after: bytes, count: int
) -> bytes | None:
    """The next `count` manifests by digest; returns the digest of the last one, None at the end."""
    last = _last(connection, _LAST_MANIFEST, repository_id, after=after, count=count)
    for row in connection.execute(_MANIFESTS, _page(repository_id, after, last)):
        into.manifests += row.number
        into.size_bytes += int(row.size)
        into.pushed_at = max(into.pushed_at, row.pushed_at)
        if row.has_tag:
            into.platforms.update(_shown(json.loads(row.platforms) if row.platforms else []))
            into.has_index |= bool(row.is_index and row.artifact_type is None)
        if row.artifact_type is not None:
            if row.has_tag:
                into.artifacts.add(row.artifact_type)
            elif not row.is_referrer:
                into.of_indexes.add(row.artifact_type)
    return last


def _shown(platforms: list[str]) -> set[str]:
    """A platform, and the same without its variant: who looks for `linux/arm64` means `linux/arm64/v8` too."""
    return {*platforms, *("/".join(name.split("/")[:2]) for name in platforms)}


def count_blobs(connection: Connection, repository_id: int, into: Holding, *, after: bytes, count: int) -> bytes | None:
    """The next `count` blobs by digest, those that manifests use; returns the digest of the last, None at the end."""
    last = _last(connection, _LAST_BLOB, repository_id, after=after, count=count)
    size, shared = connection.execute(_BLOBS, _page(repository_id, after, last)).one()
    into.size_bytes += int(size)
    into.shared_bytes += int(shared)
    return last


def _last(
    connection: Connection, query: Select[bytes], repository_id: int, *, after: bytes, count: int
) -> bytes | None:
    parameters = {"repository": repository_id, "after": after, "count": count}
    found: bytes | None = connection.execute(query, parameters).scalar()
    return found


def _page(repository_id: int, after: bytes, last: bytes | None) -> dict[str, object]:
    return {"repository": repository_id, "after": after, "last": last or b"", "is_last": int(last is None)}


# The result.

_HOLD = (
    select(repositories.c.tally_at, repositories.c.shared_bytes)
    .where(repositories.c.id == bindparam("id"))
    .with_for_update(key_share=True)
)
_PULLS = (
    select(func.coalesce(func.sum(pulls.c.pulls), 0))
    .where(
        pulls.c.repository_id == repositories.c.id,
        pulls.c.tag == "",
        pulls.c.digest == literal(b"", LargeBinary()),
        pulls.c.day == ALL_TIME,
    )
    .scalar_subquery()
)
_STARS = select(func.count()).where(stars.c.repository_id == repositories.c.id).scalar_subquery()
_pushed = bindparam("pushed", type_=BigInteger())
_WRITE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repository"))
    .values(
        manifest_count=bindparam("manifests"),
        size_bytes=bindparam("size"),
        shared_bytes=bindparam("shared"),
        tag_count=case(
            (bindparam("is_current") == 1, bindparam("tags", type_=BigInteger())), else_=repositories.c.tag_count
        ),
        pushed_at=case((repositories.c.pushed_at < _pushed, _pushed), else_=repositories.c.pushed_at),
        pull_count=_PULLS,
        star_count=_STARS,
        tally_at=bindparam("next"),
    )
)
_FACETS = select(repository_facets.c.kind, repository_facets.c.value).where(
    repository_facets.c.repository_id == bindparam("repository")
)
_FORGET_FACETS = delete(repository_facets).where(
    repository_facets.c.repository_id == bindparam("repository"),
    tuple_(repository_facets.c.kind, repository_facets.c.value).in_(bindparam("facets", expanding=True)),
)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a tally: whether nothing had changed since it began, and whether the repository shares more or
    less than before."""

    is_current: bool
    shares_otherwise: bool


def write(connection: Connection, due: Due, holding: Holding, *, now: int) -> Written | None:
    """Write down what a repository holds; None if it is gone."""
    before = connection.execute(_HOLD, {"id": due.id}).first()
    if before is None:
        return None
    is_current = before[0] == due.tally_at
    later = now + DELAY_MS + holding.manifests // MANIFESTS_PER_MS
    # A statement of its own: what it sums up is of after the repository was held.
    connection.execute(
        _WRITE,
        {
            "repository": due.id,
            "manifests": holding.manifests,
            "size": holding.size_bytes,
            "shared": holding.shared_bytes,
            "tags": holding.tags,
            "pushed": holding.pushed_at,
            "is_current": int(is_current),
            "next": None if is_current else later,
        },
    )
    _write_facets(connection, due.id, holding.facets)
    return Written(is_current, before[1] != holding.shared_bytes)


def _write_facets(connection: Connection, repository_id: int, wanted: set[tuple[str, str]]) -> None:
    there = {(row[0], row[1]) for row in connection.execute(_FACETS, {"repository": repository_id})}
    if gone := sorted(there - wanted):
        connection.execute(_FORGET_FACETS, {"repository": repository_id, "facets": gone})
    if new := sorted(wanted - there):
        rows = [{"repository_id": repository_id, "kind": kind, "value": value} for kind, value in new]
        connection.execute(insert(connection, repository_facets).on_conflict_do_nothing(), rows)


# Who is touched by it.

_partner = repository_blobs.alias("partner")
_third = repository_blobs.alias("third")
_IS_OF_THREE = (
    select(_third.c.repository_id)
    .where(
        _third.c.digest == _partner.c.digest,
        _third.c.repository_id.not_in((repository_blobs.c.repository_id, _partner.c.repository_id)),
    )
    .exists()
)
_PARTNERS = (
    select(_partner.c.repository_id)
    .distinct()
    .select_from(repository_blobs)
    .join(
        _partner,
        and_(
            _partner.c.digest == repository_blobs.c.digest,
            _partner.c.repository_id != repository_blobs.c.repository_id,
        ),
    )
    .where(repository_blobs.c.repository_id == bindparam("repository"), ~_IS_OF_THREE)
    .limit(bindparam("count"))
)
_ONCE_MORE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repository"), repositories.c.tally_at.is_(None))
    .values(tally_at=bindparam("now"))
)


def partners(connection: Connection, repository_id: int, *, count: int) -> list[int]:
    """Up to `count` repositories that share blobs with this one and with no other: what it shares has changed, and so
    has what they do."""
    return sorted(connection.execute(_PARTNERS, {"repository": repository_id, "count": count}).scalars())


def count_again(connection: Connection, repository_ids: list[int], *, now: int) -> None:
    """Make these due, in their order."""
    if repository_ids:
        connection.execute(_ONCE_MORE, [{"repository": each, "now": now} for each in sorted(repository_ids)])


_WALK = (
    select(repositories.c.id)
    .where(repositories.c.id > bindparam("after"))
    .order_by(repositories.c.id)
    .limit(bindparam("count"))
)


def walk(connection: Connection, *, after: int, count: int) -> list[int]:
    """The next repositories by id, for whoever has all of them counted again."""
    return list(connection.execute(_WALK, {"after": after, "count": count}).scalars())


# Keys that tags are ordered by as versions.

_UNKEYED = (
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.version_key.is_(None))
    .order_by(tags.c.name)
    .limit(bindparam("count"))
)
_KEY = (
    update(tags)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
    .values(version_key=bindparam("key"))
)


def give_version_keys(
    connection: Connection, repository_id: int, version_key: Callable[[str], str], *, count: int
) -> int:
    """Give up to `count` tags that have no key theirs; returns how many."""
    names = list(connection.execute(_UNKEYED, {"repository": repository_id, "count": count}).scalars())
    if names:
        rows = [{"repository": repository_id, "tag": name, "key": version_key(name)} for name in names]
        connection.execute(_KEY, rows)
    return len(names)


def lacks_version_keys(connection: Connection, repository_id: int) -> bool:
    """Whether a tag of the repository has no key."""
    return connection.execute(_UNKEYED, {"repository": repository_id, "count": 1}).first() is not None
