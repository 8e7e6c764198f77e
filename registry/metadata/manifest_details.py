"""One manifest as people see it: its row, its tags, the indexes that it is a part of, and its blobs; and with it, where
a page shows that too, what refers to it. All of it is one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, CompoundSelect, Select, bindparam, case, null, select, union_all
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.names import Reference
from registry.metadata import referrer_tree
from registry.metadata.mixed import rows
from registry.metadata.referrer_tree import Walk
from registry.metadata.schema import blobs, manifest_blobs, manifest_children, manifests, objects, tags
from registry.metadata.tag_list import PART, Platform, part_of

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


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a manifest is made of, as far as it is known: its blobs and, of an index, its parts, by digest."""

    blobs: dict[Digest, Blob]
    parts: dict[Digest, Platform]


@dataclass(frozen=True, slots=True)
class Known:
    """What SQL knows of a manifest."""

    row: Row
    named: Named
    pieces: Pieces


def find(connection: Connection, repository_id: int, reference: Reference) -> int | None:
    """The id of the manifest that a reference names."""
    if reference.digest is not None:
        wanted: dict[str, object] = {"repository": repository_id, "digest": reference.digest.pack()}
        found = connection.execute(_BY_DIGEST, wanted)
    else:
        found = connection.execute(_BY_TAG, {"repository": repository_id, "tag": reference.tag})
    return found.scalar_one_or_none()


def known(connection: Connection, manifest_id: int) -> Known:
    """A manifest that is there, with what belongs to it."""
    found = _known(connection.execute(_ABOUT, {"manifest": manifest_id}).all())
    assert found is not None
    return found


def look(
    connection: Connection, repository_id: int, manifest_id: int | None, root: Digest
) -> tuple[Known | None, Walk]:
    """The same, or nothing for no id, and what refers to `root`, which may be the index that it is a part of."""
    wanted = {"repository": repository_id, "manifest": manifest_id, "root": root.pack()}
    found = connection.execute(_with_referrers(connection.dialect.name), wanted).all()
    return _known(found), referrer_tree.walk_of(found)


# The statements

_BY_DIGEST = select(manifests.c.id).where(
    manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest")
)
_BY_TAG = select(tags.c.manifest_id).where(
    tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag")
)

_ID = bindparam("manifest", type_=BigInteger())
_PARENT = manifests.alias("parent")
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


def _about() -> list[Select[Any]]:
    """What `_known` reads. Of `manifest`: with an id planners know how much there is of each kind."""
    own = rows(
        "manifest",
        id=manifests.c.id,
        digest=manifests.c.digest,
        subject=manifests.c.subject_digest,
        media_type=manifests.c.media_type,
        artifact_type=manifests.c.artifact_type,
        size=manifests.c.total_size,
        at=manifests.c.pushed_at,
        number=manifests.c.subject_id,
        payload=manifests.c.payload,
    )
    return [own.where(manifests.c.id == _ID), *_leading_to(), _blobs(), _parts()]


def _leading_to() -> tuple[Select[Any], Select[Any]]:
    """Tags and parents; so many of each."""
    its_tags = select(tags.c.name).where(tags.c.manifest_id == _ID).order_by(tags.c.name)
    its_parents = (
        select(manifest_children.c.platform, _PARENT.c.digest)
        .join(_PARENT, _PARENT.c.id == manifest_children.c.parent_id)
        .where(manifest_children.c.child_id == _ID)
    )
    some_tags = its_tags.limit(NAMED_MAX + 1).subquery("its_tags")
    some_parents = its_parents.limit(NAMED_MAX + 1).subquery("its_parents")
    parents = rows("parent", digest=some_parents.c.digest, name=some_parents.c.platform)
    return rows("tag", name=some_tags.c.name), parents


def _blobs() -> Select[Any]:
    found = rows(
        "blob",
        id=case((objects.c.corrupt_at.is_(None), objects.c.id), else_=null()),
        digest=manifest_blobs.c.digest,
        size=manifest_blobs.c.size,
        number=case((_IS_SHARED, 1), else_=0),
    )
    found = found.select_from(manifest_blobs).outerjoin(blobs, blobs.c.digest == manifest_blobs.c.linked_digest)
    return found.outerjoin(objects, objects.c.id == blobs.c.object_id).where(manifest_blobs.c.manifest_id == _ID)


def _parts() -> Select[Any]:
    found = rows("part", **PART).select_from(manifest_children)
    found = found.outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
    return found.where(manifest_children.c.parent_id == _ID)


_ABOUT = union_all(*_about())


@cache
def _with_referrers(dialect: str) -> CompoundSelect[Any]:
    return union_all(*_about(), *referrer_tree.parts(dialect))


# What its rows say


def _known(found: Sequence[Any]) -> Known | None:
    row = next((row for row in found if row.kind == "manifest"), None)
    if row is None:
        return None
    return Known(
        _row(row),
        _named(found),
        Pieces(
            {blob.digest: blob for blob in (_blob(row) for row in found if row.kind == "blob")},
            {part.digest: part for part in (part_of(row) for row in found if row.kind == "part")},
        ),
    )


def _row(row: Any) -> Row:
    return Row(
        id=row.id,
        digest=Digest.unpack(row.digest),
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        payload=row.payload,
        size=row.size,
        pushed_at=row.at,
        subject=None if row.subject is None else Digest.unpack(row.subject),
        has_subject=row.number is not None,
    )


def _named(found: Sequence[Any]) -> Named:
    names = sorted(row.name for row in found if row.kind == "tag")
    parents = [Parent(Digest.unpack(row.digest), row.name) for row in found if row.kind == "parent"]
    is_cut = max(len(names), len(parents)) > NAMED_MAX
    return Named(names[:NAMED_MAX], parents[:NAMED_MAX], is_cut)


def _blob(row: Any) -> Blob:
    return Blob(Digest.unpack(row.digest), row.size, row.id, bool(row.number))
