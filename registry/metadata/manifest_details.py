"""One manifest as people see it: its row, its tags, the indexes that it is a part of, and its blobs."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, bindparam, case, literal, null, select, union_all
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.names import Reference
from registry.metadata.schema import blobs, manifest_blobs, manifest_children, manifests, objects, tags
from registry.metadata.tag_list import Platform

NAMED_MAX = 100
"""Tags and parents that are named; `is_cut` says that there are more."""


@dataclass(frozen=True, slots=True)
class Row:
    """A manifest with its bytes. Sizes in bytes: `size` with everything below. Times in ms since 1970 UTC."""

    id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    payload: bytes
    size: int
    pushed_at: int
    subject: Digest | None
    has_subject: bool
    """Whether the repository holds the subject."""


@dataclass(frozen=True, slots=True)
class Parent:
    """An index that lists a manifest, and the platform that it gives to it."""

    digest: Digest
    platform: str | None


@dataclass(frozen=True, slots=True)
class Named:
    """What leads to a manifest."""

    tags: list[str]
    parents: list[Parent]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of a manifest. `object_id` None: there is none that could be read. `is_shared`: other manifests of the
    same repository use it too."""

    digest: Digest
    size: int
    object_id: int | None
    is_shared: bool


_ROW = select(
    manifests.c.id,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.payload,
    manifests.c.total_size,
    manifests.c.pushed_at,
    manifests.c.subject_digest,
    manifests.c.subject_id,
)
_BY_DIGEST = _ROW.where(manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest"))
_BY_TAG = _ROW.join(tags, tags.c.manifest_id == manifests.c.id).where(
    tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag")
)


def find(connection: Connection, repository_id: int, reference: Reference) -> Row | None:
    """The manifest that a reference names."""
    key: dict[str, object] = {"repository": repository_id}
    if reference.digest is not None:
        row = connection.execute(_BY_DIGEST, {**key, "digest": reference.digest.pack()}).first()
    else:
        row = connection.execute(_BY_TAG, {**key, "tag": reference.tag}).first()
    if row is None:
        return None
    return Row(
        id=row.id,
        digest=Digest.unpack(row.digest),
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        payload=row.payload,
        size=row.total_size,
        pushed_at=row.pushed_at,
        subject=None if row.subject_digest is None else Digest.unpack(row.subject_digest),
        has_subject=row.subject_id is not None,
    )


_PARENT = manifests.alias("parent")
_ITS_TAGS = (
    select(tags.c.name)
    .where(tags.c.manifest_id == bindparam("manifest"))
    .order_by(tags.c.name)
    .limit(NAMED_MAX + 1)
    .subquery("its_tags")
)
_ITS_PARENTS = (
    select(manifest_children.c.platform, _PARENT.c.digest)
    .join(_PARENT, _PARENT.c.id == manifest_children.c.parent_id)
    .where(manifest_children.c.child_id == bindparam("manifest"))
    .limit(NAMED_MAX + 1)
    .subquery("its_parents")
)
_NAMED = union_all(
    select(literal("tag", Text).label("kind"), _ITS_TAGS.c.name, null().label("digest")),
    select(literal("parent", Text), _ITS_PARENTS.c.platform, _ITS_PARENTS.c.digest),
)


def named(connection: Connection, manifest_id: int) -> Named:
    """The tags that point to a manifest and the indexes that list it; so many of each."""
    rows = connection.execute(_NAMED, {"manifest": manifest_id}).all()
    found = sorted(row.name for row in rows if row.kind == "tag")
    parents = [Parent(Digest.unpack(row.digest), row.name) for row in rows if row.kind == "parent"]
    is_cut = max(len(found), len(parents)) > NAMED_MAX
    return Named(found[:NAMED_MAX], parents[:NAMED_MAX], is_cut)


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a manifest is made of, as far as it is known: its blobs and, of an index, its parts, by digest."""

    blobs: dict[Digest, Blob]
    parts: dict[Digest, Platform]


_OTHER = manifest_blobs.alias("other")
_IS_SHARED = (
    select(_OTHER.c.manifest_id)
    .where(
        _OTHER.c.repository_id == manifest_blobs.c.repository_id,
        _OTHER.c.digest == manifest_blobs.c.digest,
        _OTHER.c.manifest_id != manifest_blobs.c.manifest_id,
    )
    .exists()
)
_BLOBS = (
    select(
        literal("blob", Text).label("kind"),
        manifest_blobs.c.digest,
        manifest_blobs.c.size,
        case((objects.c.corrupt_at.is_(None), objects.c.id), else_=null()).label("object_id"),
        case((_IS_SHARED, 1), else_=0).label("is_shared"),
        null().label("platform"),
        null().label("platforms"),
    )
    .select_from(manifest_blobs)
    .outerjoin(blobs, blobs.c.digest == manifest_blobs.c.linked_digest)
    .outerjoin(objects, objects.c.id == blobs.c.object_id)
    .where(manifest_blobs.c.manifest_id == bindparam("manifest"))
)
_PARTS = (
    select(
        literal("part", Text),
        manifest_children.c.digest,
        manifests.c.total_size,
        null(),
        null(),
        manifest_children.c.platform,
        manifests.c.platforms,
    )
    .select_from(manifest_children)
    .outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
    .where(manifest_children.c.parent_id == bindparam("manifest"))
)
_PIECES = union_all(_BLOBS, _PARTS)


def pieces(connection: Connection, manifest_id: int) -> Pieces:
    """What a manifest is made of; as much as one can name."""
    rows = connection.execute(_PIECES, {"manifest": manifest_id}).all()
    return Pieces(
        {blob.digest: blob for blob in (_blob(row) for row in rows if row.kind == "blob")},
        {part.digest: part for part in (_part(row) for row in rows if row.kind == "part")},
    )


def _blob(row: Any) -> Blob:
    return Blob(Digest.unpack(row.digest), row.size, row.object_id, bool(row.is_shared))


def _part(row: Any) -> Platform:
    name = row.platform or next(iter(json.loads(row.platforms or "[]")), None)
    return Platform(name, Digest.unpack(row.digest), row.size)
