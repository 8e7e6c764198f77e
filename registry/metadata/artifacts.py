"""The artifacts of a repository by digest, newest first: manifests that are no parts of an index and refer to no other,
with the tags on them and the platforms of indexes. Other products' clients list repositories so."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, true, union_all
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.manifest import is_index
from registry.core.names import Reference
from registry.metadata.mixed import rows
from registry.metadata.schema import manifest_children, manifests, pulls, tags
from registry.metadata.tag_list import Platform, part_of, parts_of

TAGS_MAX, PLATFORMS_MAX = 100, 100
"""Of one artifact, what a list shows."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest that stands for itself. `size` in bytes, with everything below; times in ms since 1970 UTC."""

    id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    size: int
    pushed_at: int
    pulled_at: int | None
    tags: tuple[tuple[str, int], ...]
    """Names, and when each was set."""
    platforms: tuple[Platform, ...]
    """Of an index, its parts; of an image, itself."""


_PULLED = (
    select(func.max(pulls.c.last_at))
    .where(
        pulls.c.repository_id == manifests.c.repository_id,
        pulls.c.tag == "",
        pulls.c.digest == manifests.c.digest,
        pulls.c.day == 0,
    )
    .correlate(manifests)
    .scalar_subquery()
)
_COLUMNS = (
    manifests.c.id,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.total_size,
    manifests.c.platforms,
    manifests.c.pushed_at,
    _PULLED.label("pulled_at"),
)
# An OFFSET makes PostgreSQL ask for each row by itself, until there are enough: else it joins all of both.
_HAS_TAG = select(tags.c.name).where(tags.c.manifest_id == manifests.c.id).offset(0).exists()
_IS_PART = select(manifest_children.c.digest).where(manifest_children.c.child_id == manifests.c.id).offset(0).exists()


@dataclass(frozen=True, slots=True)
class Query:
    """Which artifacts. `is_tagged` None: all of them; `tag`: the one that this tag is on."""

    is_tagged: bool | None = None
    tag: str | None = None
    before: int | None = None
    """Those with a smaller id."""
    count: int = 10


def page(connection: Connection, repository_id: int, query: Query) -> list[Artifact]:
    """The next artifacts: one statement, and one for what belongs to them."""
    found = _those(repository_id, query, *_COLUMNS).limit(query.count)
    return _with_parts(connection, connection.execute(found).all())


def count(connection: Connection, repository_id: int, query: Query, *, at_most: int) -> int:
    """How many there are, counted up to a number."""
    some = _those(repository_id, query, manifests.c.id).limit(at_most).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def find(connection: Connection, repository_id: int, reference: Reference) -> Artifact | None:
    """One manifest, also one that a list leaves out."""
    found = connection.execute(_named(repository_id, reference, *_COLUMNS)).all()
    return next(iter(_with_parts(connection, found)), None)


def digest_of(connection: Connection, repository_id: int, reference: Reference) -> Digest | None:
    """The digest of a manifest."""
    packed = connection.execute(_named(repository_id, reference, manifests.c.digest)).scalar_one_or_none()
    return None if packed is None else Digest.unpack(packed)


def _named(repository_id: int, reference: Reference, *columns: Any) -> Select[Any]:
    query = select(*columns).where(manifests.c.repository_id == repository_id)
    if reference.digest is not None:
        return query.where(manifests.c.digest == reference.digest.pack())
    return query.where(manifests.c.id == _on(repository_id, str(reference.tag)))


def _those(repository_id: int, query: Query, *columns: Any) -> Select[Any]:
    where: list[ColumnElement[bool]] = [
        manifests.c.repository_id == repository_id,
        manifests.c.subject_digest.is_(None),
        ~_IS_PART,
    ]
    if query.before is not None:
        where.append(manifests.c.id < query.before)
    if query.is_tagged is not None:
        where.append(_HAS_TAG if query.is_tagged else ~_HAS_TAG)
    if query.tag is not None:
        where.append(manifests.c.id == _on(repository_id, query.tag))
    # As its index has it, so that nothing is sorted; no row has a subject.
    return select(*columns).where(*where).order_by(manifests.c.subject_digest.desc(), manifests.c.id.desc())


def _on(repository_id: int, tag: str) -> Any:
    """The manifest that a tag is on."""
    found = select(tags.c.manifest_id).where(tags.c.repository_id == repository_id, tags.c.name == tag)
    return found.scalar_subquery()


def _with_parts(connection: Connection, found: Sequence[Any]) -> list[Artifact]:
    """With the tags of each, and the parts of indexes: one statement."""
    if not found:
        return []
    names: dict[int, list[tuple[str, int]]] = {row.id: [] for row in found}
    parts: dict[int, list[Platform]] = {}
    its_parts = parts_of([row.id for row in found if is_index(row.media_type)], count=PLATFORMS_MAX).subquery(
        "its_parts"
    )
    for held in connection.execute(union_all(_tags_on(connection.dialect.name, list(names)), select(its_parts))):
        if held.kind == "tag":
            names[held.id].append((held.name, held.at))
        else:
            parts.setdefault(held.number, []).append(part_of(held))
    return [_artifact(row, sorted(names[row.id]), parts.get(row.id)) for row in found]


def _tags_on(dialect: str, manifest_ids: list[int]) -> Select[Any]:
    """Some TAGS_MAX tags of each: one of them may have a hundred thousand."""
    some = tags.alias("some")
    if dialect == "postgresql":
        its = select(some).where(some.c.manifest_id == manifests.c.id).limit(TAGS_MAX).lateral("its")
        found = rows("tag", id=its.c.manifest_id, name=its.c.name, at=its.c.updated_at)
        found = found.select_from(manifests.join(its, true()))
    else:
        its_rows: Select[Any] = select(literal_column("some.rowid")).select_from(some).limit(TAGS_MAX)
        its_rows = its_rows.where(some.c.manifest_id == manifests.c.id).correlate(manifests)
        chosen = literal_column("tags.rowid").in_(its_rows)
        found = rows("tag", id=tags.c.manifest_id, name=tags.c.name, at=tags.c.updated_at)
        found = found.select_from(manifests.join(tags, chosen))
    return found.where(manifests.c.id.in_(manifest_ids))


def _artifact(row: Any, names: list[tuple[str, int]], parts: list[Platform] | None) -> Artifact:
    digest = Digest.unpack(row.digest)
    if parts is None:
        parts = [Platform(row.id, name, digest, row.total_size) for name in json.loads(row.platforms or "[]")]
    return Artifact(
        id=row.id,
        digest=digest,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.total_size,
        pushed_at=row.pushed_at,
        pulled_at=row.pulled_at,
        tags=tuple(names),
        platforms=tuple(parts[:PLATFORMS_MAX]),
    )
