"""Tags as people see them: pages in several orders, each tag with what it points to, its platforms, signatures, pulls.

A page is one statement, its platforms another, however many there are: each order is that of an index, a page begins
where the one before it ended, and what is shown of a tag was worked out when it was pushed. A filter on names walks
through so many tags and no more; where it ends before the page is full, the page is short and the next goes on there.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Subquery,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.engine import Connection

from registry.core.artifacts import SIGNATURES, UNKNOWN_PLATFORM
from registry.core.digest import Digest
from registry.core.manifest import is_index
from registry.metadata.schema import accounts, manifest_children, manifests, pulls, repositories, tags

WALK_MAX = 5_000
"""Tags that a filter looks at for one page."""
PLATFORMS_MAX = 50
"""Parts of an index that a list shows; `Entry.is_cut` says that there are more."""
_AFTER_ALL = b"\xff"
"""Sorts after every packed digest."""


class Order(StrEnum):
    """What tags are ordered by, each with the name last."""

    NAME = "name"
    PUSHED = "pushed"
    """When the tag was last moved."""
    VERSION = "version"
    """What is no version comes before all versions, and what has no key yet, at the end in both directions."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the name, and before it what the order goes by, None for a name alone or a missing key."""

    key: int | str | None
    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which tags. `name_part` is matched anywhere in the name, without case; a `digest` is listed by name only."""

    order: Order = Order.NAME
    descending: bool = False
    after: Position | None = None
    count: int = 100
    name_part: str = ""
    digest: Digest | None = None
    with_fallback: bool = True
    """Whether to list the tags that stand for referrers, `sha256-<hex>` and so on."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A part of an index, or an image that stands alone. `name`: `os/architecture[/variant]`, None where nothing says
    it. `size` in bytes, with all layers; None where the repository does not hold the part."""

    name: str | None
    digest: Digest
    size: int | None

    @property
    def is_attestation(self) -> bool:
        """Whether it is no image but what a builder says about one."""
        return self.name == UNKNOWN_PLATFORM


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag. `size` in bytes, with everything below; times in ms since 1970 UTC."""

    name: str
    digest: Digest
    media_type: str
    artifact_type: str | None
    size: int
    pushed_at: int
    pushed_by: str | None
    """None where nobody had logged in, or nobody knows any more."""
    changes: int
    """How often the tag was set or deleted, now included."""
    pulls: int
    pulled_at: int | None
    is_signed: bool
    platforms: tuple[Platform, ...] = ()
    """Without attestations, which are counted apart."""
    attestations: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Tags, and where the next page begins, None at the end. A page may be short, or empty, and not the last."""

    entries: list[Entry]
    next_after: Position | None


def page(connection: Connection, repository_id: int, query: Query) -> Page:
    """A page of the tags of a repository, with their platforms."""
    is_filtered = bool(query.name_part) or not query.with_fallback
    limit = WALK_MAX if is_filtered else query.count + 1
    walked = _walk(repository_id, query, limit)
    rows = connection.execute(_shown(connection, _chosen(walked, query, limit))).all()
    kept, next_after = rows[: query.count], None
    if len(rows) > query.count:
        next_after = _position(query.order, rows[query.count - 1])
    elif rows and rows[-1].place == limit:
        # The walk ended there, with a tag that may match or not. The next page begins after it.
        next_after = _position(query.order, rows[-1])
        kept = [row for row in rows if row.place < limit or _is_match(row.name, query)]
    return Page(_with_platforms(connection, kept), next_after)


def get(connection: Connection, repository_id: int, name: str) -> Entry | None:
    """One tag."""
    one = _columns(select(literal(1).label("place"))).where(tags.c.repository_id == repository_id, tags.c.name == name)
    rows = connection.execute(_shown(connection, one.subquery("walked"))).all()
    return next(iter(_with_platforms(connection, rows)), None)


def count(connection: Connection, repository_id: int) -> int:
    """How many tags the repository has."""
    found: int = connection.execute(
        select(repositories.c.tag_count).where(repositories.c.id == repository_id)
    ).scalar_one()
    return max(found, 0)


# The walk: tags in their order.


def _columns(query: Select[Any]) -> Select[Any]:
    return query.add_columns(
        tags.c.repository_id,
        tags.c.name,
        tags.c.manifest_id,
        tags.c.version,
        tags.c.updated_at,
        tags.c.updated_by,
        tags.c.version_key,
    )


def _walk(repository_id: int, query: Query, limit: int) -> Subquery:
    """The next tags, each with its place among them, from 1."""
    if query.order is Order.VERSION:
        found = _by_version(repository_id, query, limit)
    else:
        key = (tags.c.updated_at,) if query.order is Order.PUSHED else ()
        found = _after(_of(repository_id, query.digest), query, *key).limit(limit).subquery("found")
    parts = [found.c.phase, *_keys(found, query.order), found.c.name]
    order = [parts[0], *(_directed(part, query) for part in parts[1:])]
    place = func.row_number().over(order_by=order).label("place")
    return select(found, place).order_by(place).limit(limit).subquery("walked")


def _keys(found: Subquery, order: Order) -> list[ColumnElement[Any]]:
    if order is Order.NAME:
        return []
    return [found.c.updated_at if order is Order.PUSHED else found.c.version_key]


def _of(repository_id: int, digest: Digest | None) -> Select[Any]:
    query = _columns(select(literal_column("0", Integer).label("phase")))
    if digest is None:
        return query.where(tags.c.repository_id == repository_id)
    its = select(manifests.c.id).where(manifests.c.repository_id == repository_id, manifests.c.digest == digest.pack())
    return query.where(tags.c.manifest_id == its.scalar_subquery())


def _by_version(repository_id: int, query: Query, limit: int) -> Subquery:
    """First those that have a key. Those that wait for one are found apart: engines do not agree where NULL sorts."""
    after = query.after
    everything = _of(repository_id, None)
    waiting = _columns(select(literal_column("1", Integer).label("phase")))
    waiting = waiting.where(tags.c.repository_id == repository_id, tags.c.version_key.is_(None))
    is_waiting = after is not None and after.key is None
    start = replace(query, after=Position(None, after.name) if after is not None and is_waiting else None)
    pieces = [_after(waiting, start).limit(limit).subquery("waiting")]
    if not is_waiting:
        keyed = everything.where(tags.c.version_key.is_not(None))
        pieces.insert(0, _after(keyed, query, tags.c.version_key).limit(limit).subquery("keyed"))
    return union_all(*(select(piece) for piece in pieces)).subquery("found")


def _after(select_from: Select[Any], query: Query, *keys: ColumnElement[Any]) -> Select[Any]:
    """In the order of these keys and then the name, what comes after the position."""
    parts = (*keys, tags.c.name)
    ordered = select_from.order_by(*(_directed(part, query) for part in parts))
    if query.after is None:
        return ordered
    values = (query.after.key, query.after.name)[-len(parts) :]
    place = tuple_(*(literal(value, part.type) for value, part in zip(values, parts, strict=True)))
    here = tuple_(*parts)
    return ordered.where(here < place if query.descending else here > place)


def _directed(part: ColumnElement[Any], query: Query) -> ColumnElement[Any]:
    return part.desc() if query.descending else part.asc()


def _chosen(walked: Subquery, query: Query, limit: int) -> Subquery:
    """Those that match, and the one that the walk ended with, before anything else is looked up about them."""
    chosen = select(walked).where(or_(_matches(walked, query), walked.c.place == limit))
    return chosen.order_by(walked.c.place).limit(query.count + 1).subquery("chosen")


def _matches(walked: Subquery, query: Query) -> ColumnElement[bool]:
    found: list[ColumnElement[bool]] = [true()]
    if query.name_part:
        found.append(func.lower(walked.c.name).contains(query.name_part.lower(), autoescape=True))
    if not query.with_fallback:
        found.append(or_(walked.c.name < "sha256-", walked.c.name >= "sha256."))
    return and_(*found)


def _is_match(name: str, query: Query) -> bool:
    is_fallback = "sha256-" <= name < "sha256."
    return query.name_part.lower() in name.lower() and (query.with_fallback or not is_fallback)


def _position(order: Order, row: Any) -> Position:
    keys = {Order.NAME: None, Order.PUSHED: row.updated_at, Order.VERSION: row.version_key}
    return Position(keys[order], row.name)


# What is shown of each.

_OF_TAG = pulls.alias("of_tag")
_SIGNER = manifests.alias("signer")
_FALLBACK_TAG = tags.alias("fallback_tag")


def _shown(connection: Connection, walked: Subquery) -> Select[Any]:
    is_all_time = and_(
        _OF_TAG.c.repository_id == walked.c.repository_id,
        _OF_TAG.c.tag == walked.c.name,
        _OF_TAG.c.digest == literal(b"", LargeBinary()),
        _OF_TAG.c.day == literal_column("0", Integer),
    )
    return (
        select(
            walked.c.place,
            walked.c.name,
            walked.c.manifest_id,
            walked.c.version,
            walked.c.updated_at,
            walked.c.version_key,
            manifests.c.digest,
            manifests.c.media_type,
            manifests.c.artifact_type,
            manifests.c.total_size,
            manifests.c.platforms,
            accounts.c.name.label("pushed_by"),
            func.coalesce(_OF_TAG.c.pulls, 0).label("pulls"),
            _OF_TAG.c.last_at,
            _is_signed(connection).label("is_signed"),
        )
        .select_from(walked)
        .join(manifests, manifests.c.id == walked.c.manifest_id)
        .outerjoin(accounts, accounts.c.id == walked.c.updated_by)
        .outerjoin(_OF_TAG, is_all_time)
        .order_by(walked.c.place)
    )


def _is_signed(connection: Connection) -> ColumnElement[bool]:
    """A referrer that is a signature, or the tag that stands for one."""
    referrer = (
        select(_SIGNER.c.id)
        .where(
            _SIGNER.c.repository_id == manifests.c.repository_id,
            _SIGNER.c.subject_digest == manifests.c.digest,
            _SIGNER.c.artifact_type.in_(SIGNATURES),
        )
        .exists()
    )
    raw = func.substr(manifests.c.digest, 2)
    is_postgresql = connection.dialect.name == "postgresql"
    text = func.encode(raw, "hex") if is_postgresql else func.lower(func.hex(raw))
    by_tag = (
        select(_FALLBACK_TAG.c.name)
        .where(
            _FALLBACK_TAG.c.repository_id == manifests.c.repository_id,
            _FALLBACK_TAG.c.name == literal("sha256-").concat(text).concat(".sig"),
        )
        .exists()
    )
    return or_(referrer, by_tag)


def _with_platforms(connection: Connection, rows: Any) -> list[Entry]:
    parents = sorted({row.manifest_id for row in rows if is_index(row.media_type)})
    parts = children(connection, parents, count=PLATFORMS_MAX) if parents else {}
    return [_entry(row, parts.get(row.manifest_id)) for row in rows]


def _entry(row: Any, parts: list[Platform] | None) -> Entry:
    digest = Digest.unpack(row.digest)
    if parts is None:
        names = json.loads(row.platforms) if row.platforms else []
        parts = [Platform(name, digest, row.total_size) for name in names if not is_index(row.media_type)]
    shown = parts[:PLATFORMS_MAX]
    images = tuple(part for part in shown if not part.is_attestation)
    return Entry(
        name=row.name,
        digest=digest,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.total_size,
        pushed_at=row.updated_at,
        pushed_by=row.pushed_by,
        changes=row.version,
        pulls=row.pulls,
        pulled_at=row.last_at,
        is_signed=bool(row.is_signed),
        platforms=tuple(sorted(images, key=lambda part: (part.name or "~", str(part.digest)))),
        attestations=len(shown) - len(images),
        is_cut=len(parts) > PLATFORMS_MAX,
    )


_BEYOND = manifest_children.alias("beyond")
_PARENT = manifests.alias("parent")
_FIRST_BEYOND = (
    select(_BEYOND.c.digest)
    .where(_BEYOND.c.parent_id == _PARENT.c.id)
    .order_by(_BEYOND.c.digest)
    .offset(bindparam("parts", type_=BigInteger))
    .limit(1)
    .scalar_subquery()
)
# Limits that cut nothing off tell planners to work this out once for each parent, and that there are few.
_PARENTS = (
    select(_PARENT.c.id, func.coalesce(_FIRST_BEYOND, literal(_AFTER_ALL, LargeBinary())).label("end"))
    .where(_PARENT.c.id.in_(bindparam("parents", expanding=True)))
    .limit(bindparam("parent_count"))
    .subquery("parents")
)
_CHILDREN = (
    select(
        manifest_children.c.parent_id,
        manifest_children.c.digest,
        manifest_children.c.platform,
        manifests.c.platforms,
        manifests.c.total_size,
    )
    .select_from(_PARENTS)
    .join(
        manifest_children,
        and_(manifest_children.c.parent_id == _PARENTS.c.id, manifest_children.c.digest < _PARENTS.c.end),
    )
    .outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
    .order_by(manifest_children.c.parent_id, manifest_children.c.digest)
    .limit(bindparam("row_count"))
)


def children(connection: Connection, parents: list[int], *, count: int) -> dict[int, list[Platform]]:
    """The parts of indexes, by the index's id: at most `count` each, and one more that says that there are more."""
    found: dict[int, list[Platform]] = {}
    rows = (count + 1) * len(parents)
    wanted = {"parents": parents, "parts": count + 1, "parent_count": len(parents), "row_count": rows}
    for row in connection.execute(_CHILDREN, wanted):
        name = row.platform or next(iter(json.loads(row.platforms or "[]")), None)
        found.setdefault(row.parent_id, []).append(Platform(name, Digest.unpack(row.digest), row.total_size))
    return found
