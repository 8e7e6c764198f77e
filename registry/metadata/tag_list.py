"""Tags as people see them: pages in several orders, each tag with what it points to, its platforms, signatures, pulls.

A page is one statement, its platforms another, however many there are: each order is that of an index, a page begins
where the one before it ended, and what is shown of a tag was worked out when it was pushed. A filter on names walks
through so many tags and no more; where it ends before the page is full, the page is short and the next goes on there.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Subquery,
    Table,
    and_,
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
from registry.metadata.mixed import rows
from registry.metadata.schema import accounts, manifest_children, manifests, pulls, repositories, tags

WALK_MAX = 2_000
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
    it. `size` in bytes, with all layers. `id` and `size` are None where the repository does not hold the part."""

    id: int | None
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
    manifest_id: int
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
    chosen = _filtered(connection.dialect.name, repository_id, query) if is_filtered else _walk(repository_id, query)
    rows = connection.execute(_shown(connection, chosen)).all()
    found = list(takewhile(lambda row: not row.is_end, rows))
    next_after = None
    if len(found) > query.count:
        next_after = _position(query.order, found[query.count - 1])
    elif len(found) < len(rows):
        # The walk ended there, before the page was full. The next one begins after it.
        next_after = _position(query.order, rows[len(found)])
    return Page(_with_platforms(connection, found[: query.count]), next_after)


def get(connection: Connection, repository_id: int, name: str) -> Entry | None:
    """One tag, with its platforms: one statement."""
    here = (tags.c.repository_id == repository_id, tags.c.name == name)
    first = select(literal(1).label("place")).add_columns(_NO_END)
    walked = _columns(first).where(*here).subquery("walked")
    entry, parts = _shown(connection, walked).subquery("entry"), _parts_of(select(tags.c.manifest_id).where(*here))
    found = connection.execute(select(entry, *parts.c).select_from(entry.outerjoin(parts, true()))).all()
    if not found:
        return None
    held = (row[-len(PART) :] for row in found)
    its_parts = [
        _platform(*values) for values in sorted((one for one in held if one[1]), key=lambda one: bytes(one[1]))
    ]
    return _entry(found[0], its_parts or None)


def _parts_of(manifest_id: Select[Any]) -> Subquery:
    """The first parts of one index, and one more that says that there are more."""
    found = (
        select(*(column.label(f"part_{name}") for name, column in PART.items()))
        .select_from(manifest_children)
        .outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
        .where(manifest_children.c.parent_id == manifest_id.scalar_subquery())
    )
    return found.order_by(manifest_children.c.digest).limit(PLATFORMS_MAX + 1).subquery("parts")


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


_NO_END = literal_column("0", Integer).label("is_end")


def _walk(repository_id: int, query: Query) -> Subquery:
    """The next tags, one more than the page has, each with its place among them, from 1."""
    limit = query.count + 1
    if query.order is Order.VERSION:
        found = _by_version(repository_id, query, limit)
    else:
        found = (
            _after(_of(repository_id, query.digest), query, *_keys(tags, query.order)).limit(limit).subquery("found")
        )
    place = func.row_number().over(order_by=_in_order(found, query, found.c.phase)).label("place")
    return select(found, place, _NO_END).order_by(place).limit(limit).subquery("walked")


def _filtered(dialect: str, repository_id: int, query: Query) -> Subquery:
    """The next tags that match among WALK_MAX, and after them the one that the walk ended with, `is_end`, if it did.

    Only names are looked at, in the index that has them in their order: a name costs a sixth of a row. What else is
    known of a tag is looked up for those that match."""
    keys = _keys(tags, query.order)
    pieces = []
    for phase, walk in enumerate(_walks(repository_id, query, select(tags.c.name, *keys))):
        seen = walk.limit(WALK_MAX).subquery()
        label = literal_column(str(phase), Integer).label("phase")
        matching = select(label, _NO_END, seen.c.name).where(_matches(dialect, seen, query))
        pieces.append(matching.order_by(*_in_order(seen, query)).limit(query.count + 1).subquery())
        end = walk.offset(WALK_MAX - 1).limit(1).subquery()
        pieces.append(select(label, literal_column("1", Integer).label("is_end"), end.c.name).subquery())
    found = union_all(*map(select, pieces)).subquery("found")
    place = func.row_number().over(order_by=_in_order(tags, query, found.c.phase, found.c.is_end)).label("place")
    here = and_(tags.c.repository_id == repository_id, tags.c.name == found.c.name)
    return _columns(select(place, found.c.is_end)).select_from(found.join(tags, here)).subquery("walked")


def _walks(repository_id: int, query: Query, columns: Select[Any]) -> list[Select[Any]]:
    """What a filter walks along, one after the other: by version those that have a key, then those that wait for it."""
    if query.order is not Order.VERSION:
        return [_after(_where(columns, repository_id, query.digest), query, *_keys(tags, query.order))]
    start, is_waiting = _waiting(query)
    here = columns.where(tags.c.repository_id == repository_id)
    waiting = _after(here.where(tags.c.version_key.is_(None)), start)
    keyed = here.where(tags.c.version_key.is_not(None))
    return [waiting] if is_waiting else [_after(keyed, query, tags.c.version_key), waiting]


def _in_order(found: Subquery | Table, query: Query, *first: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [*first, *(_directed(part, query) for part in (*_keys(found, query.order), found.c.name))]


def _keys(found: Subquery | Table, order: Order) -> list[ColumnElement[Any]]:
    """What an order goes by, but for the name."""
    if order is Order.NAME:
        return []
    return [found.c.updated_at if order is Order.PUSHED else found.c.version_key]


def _of(repository_id: int, digest: Digest | None) -> Select[Any]:
    return _where(_columns(select(literal_column("0", Integer).label("phase"))), repository_id, digest)


def _where(query: Select[Any], repository_id: int, digest: Digest | None) -> Select[Any]:
    if digest is None:
        return query.where(tags.c.repository_id == repository_id)
    its = select(manifests.c.id).where(manifests.c.repository_id == repository_id, manifests.c.digest == digest.pack())
    return query.where(tags.c.manifest_id == its.scalar_subquery())


def _by_version(repository_id: int, query: Query, limit: int) -> Subquery:
    """First those that have a key. Those that wait for one are found apart: engines do not agree where NULL sorts."""
    waiting = _columns(select(literal_column("1", Integer).label("phase")))
    waiting = waiting.where(tags.c.repository_id == repository_id, tags.c.version_key.is_(None))
    start, is_waiting = _waiting(query)
    pieces = [_after(waiting, start).limit(limit).subquery("waiting")]
    if not is_waiting:
        keyed = _of(repository_id, None).where(tags.c.version_key.is_not(None))
        pieces.insert(0, _after(keyed, query, tags.c.version_key).limit(limit).subquery("keyed"))
    return union_all(*(select(piece) for piece in pieces)).subquery("found")


def _waiting(query: Query) -> tuple[Query, bool]:
    """Where those that wait for a key begin, and whether the page begins among them."""
    after = query.after
    if after is None or after.key is not None:
        return replace(query, after=None), False
    return query, True


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


def _matches(dialect: str, walked: Subquery, query: Query) -> ColumnElement[bool]:
    found: list[ColumnElement[bool]] = [true()]
    if query.name_part:
        # SQLite does not tell cases of ASCII apart, and tags have no other letters.
        name = walked.c.name if dialect == "sqlite" else func.lower(walked.c.name)
        found.append(name.contains(query.name_part.lower(), autoescape=True))
    if not query.with_fallback:
        found.append(or_(walked.c.name < "sha256-", walked.c.name >= "sha256."))
    return and_(*found)


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
            walked.c.is_end,
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
    name = fallback_name(connection.dialect.name, manifests.c.digest, literal(".sig"))
    is_its = and_(_FALLBACK_TAG.c.repository_id == manifests.c.repository_id, _FALLBACK_TAG.c.name == name)
    return or_(referrer, select(_FALLBACK_TAG.c.name).where(is_its).exists())


def fallback_name(dialect: str, digest: ColumnElement[bytes], suffix: ColumnElement[str]) -> ColumnElement[str]:
    """The tag that stands for a referrer, where clients cannot make one: `sha256-<hex>` and a suffix."""
    raw = func.substr(digest, 2)
    text = func.encode(raw, "hex") if dialect == "postgresql" else func.lower(func.hex(raw))
    return literal("sha256-").concat(text).concat(suffix)


def _with_platforms(connection: Connection, found: Any) -> list[Entry]:
    parents = sorted({row.manifest_id for row in found if is_index(row.media_type)})
    parts: dict[int, list[Platform]] = {}
    if parents:
        for row in connection.execute(parts_of(parents, count=PLATFORMS_MAX)):
            parts.setdefault(row.number, []).append(part_of(row))
    return [_entry(row, parts.get(row.manifest_id)) for row in found]


def _entry(row: Any, parts: list[Platform] | None) -> Entry:
    digest = Digest.unpack(row.digest)
    if parts is None:
        names = json.loads(row.platforms) if row.platforms else []
        is_alone = not is_index(row.media_type)
        parts = [Platform(row.manifest_id, name, digest, row.total_size) for name in names if is_alone]
    shown = parts[:PLATFORMS_MAX]
    images = tuple(part for part in shown if not part.is_attestation)
    return Entry(
        name=row.name,
        manifest_id=row.manifest_id,
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


PART: dict[str, ColumnElement[Any]] = {
    "id": manifest_children.c.child_id,
    "digest": manifest_children.c.digest,
    "name": manifest_children.c.platform,
    "text": manifests.c.platforms,
    "size": manifests.c.total_size,
}
"""What is read of a part of an index."""
_BEYOND = manifest_children.alias("beyond")
_PARENT = manifests.alias("parent")


def parts_of(parents: list[int], *, count: int) -> Select[Any]:
    """Selects rows of the parts of indexes, whose ids are their `number`: at most `count` of each, and one more that
    says that there are more."""
    beyond = select(_BEYOND.c.digest).where(_BEYOND.c.parent_id == _PARENT.c.id).order_by(_BEYOND.c.digest)
    end = func.coalesce(beyond.offset(count + 1).limit(1).scalar_subquery(), literal(_AFTER_ALL, LargeBinary()))
    # Limits that cut nothing off tell planners to work this out once for each parent, and that there are few.
    some = select(_PARENT.c.id, end.label("end")).where(_PARENT.c.id.in_(parents)).limit(len(parents)).subquery("some")
    here = and_(manifest_children.c.parent_id == some.c.id, manifest_children.c.digest < some.c.end)
    found = rows("part", number=manifest_children.c.parent_id, **PART)
    found = found.select_from(some).join(manifest_children, here)
    found = found.outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
    in_order = found.order_by(manifest_children.c.parent_id, manifest_children.c.digest)
    return in_order.limit((count + 1) * len(parents))


def part_of(row: Any) -> Platform:
    """What a row says of a part."""
    return _platform(row.id, row.digest, row.name, row.text, row.size)


def _platform(part_id: int | None, digest: bytes, given: str | None, own: str | None, size: int | None) -> Platform:
    """The platform is the one that the index gives to the part, else the first of its own (JSON)."""
    return Platform(part_id, given or next(iter(json.loads(own or "[]")), None), Digest.unpack(digest), size)
