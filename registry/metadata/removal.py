"""What a removal means for what stays: who points there too, who loses a part, what nothing leads to any more."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, func, select
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata.schema import manifest_blobs, manifest_children, manifests, repositories, tags

NAMED_MAX = 100
"""Of each kind so many are named."""


@dataclass(frozen=True, slots=True)
class TagsLeft:
    """What stays when tags go: other tags on the same manifests, and manifests that no tag points to then."""

    same_digest: list[tuple[str, Digest]]
    untagged: list[Digest]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ManifestLeft:
    """What stays when a manifest goes. `parents`: indexes that lose a part; `referrers`: manifests that lose their
    subject; `children`: parts that no tag and no other index leads to then. `freed_bytes`: at most, when what only it
    uses in this repository is collected."""

    parents: list[Digest]
    referrers: list[Digest]
    children: list[Digest]
    freed_bytes: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """What a repository holds. `manifests` and `size_bytes` as they were counted last."""

    tags: int
    manifests: int
    size_bytes: int


_OTHER_TAG = tags.alias("other_tag")
_ITS_TAGS = (
    select(tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name.in_(bindparam("names", expanding=True)))
    .distinct()
)
_SAME_DIGEST = (
    select(tags.c.name, manifests.c.digest)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.manifest_id.in_(_ITS_TAGS), tags.c.name.not_in(bindparam("names", expanding=True)))
    .order_by(tags.c.manifest_id, tags.c.name)
    .limit(NAMED_MAX + 1)
)
_UNTAGGED = (
    select(manifests.c.digest)
    .where(
        manifests.c.id.in_(_ITS_TAGS),
        ~select(_OTHER_TAG.c.name)
        .where(
            _OTHER_TAG.c.manifest_id == manifests.c.id,
            _OTHER_TAG.c.name.not_in(bindparam("names", expanding=True)),
        )
        .exists(),
    )
    .order_by(manifests.c.id)
)


def left_by_tags(connection: Connection, repository_id: int, names: list[str]) -> TagsLeft:
    """What would stay if these tags went. There are few of them."""
    if not names:
        return TagsLeft([], [], is_cut=False)
    wanted = {"repository": repository_id, "names": names}
    others = [(row.name, Digest.unpack(row.digest)) for row in connection.execute(_SAME_DIGEST, wanted)]
    untagged = [Digest.unpack(packed) for packed in connection.execute(_UNTAGGED, wanted).scalars()]
    return TagsLeft(others[:NAMED_MAX], untagged, is_cut=len(others) > NAMED_MAX)


_PARENTS = (
    select(manifests.c.digest)
    .join(manifest_children, manifest_children.c.parent_id == manifests.c.id)
    .where(manifest_children.c.child_id == bindparam("manifest"))
    .limit(NAMED_MAX + 1)
)
_REFERRERS = select(manifests.c.digest).where(manifests.c.subject_id == bindparam("manifest")).limit(NAMED_MAX + 1)
_OTHER_PARENT = manifest_children.alias("other_parent")
_CHILDREN = (
    select(manifests.c.digest)
    .join(manifest_children, manifest_children.c.child_id == manifests.c.id)
    .where(
        manifest_children.c.parent_id == bindparam("manifest"),
        ~select(tags.c.name).where(tags.c.manifest_id == manifests.c.id).exists(),
        ~select(_OTHER_PARENT.c.parent_id)
        .where(
            _OTHER_PARENT.c.child_id == manifests.c.id,
            _OTHER_PARENT.c.parent_id != bindparam("manifest", type_=BigInteger),
        )
        .exists(),
    )
    .order_by(manifest_children.c.digest)
    .limit(NAMED_MAX + 1)
)
_OTHER_USE = manifest_blobs.alias("other_use")
_FREED = select(func.coalesce(func.sum(manifest_blobs.c.size), 0)).where(
    manifest_blobs.c.manifest_id == bindparam("manifest"),
    manifest_blobs.c.linked_digest.is_not(None),
    ~select(_OTHER_USE.c.manifest_id)
    .where(
        _OTHER_USE.c.repository_id == manifest_blobs.c.repository_id,
        _OTHER_USE.c.digest == manifest_blobs.c.digest,
        _OTHER_USE.c.manifest_id != manifest_blobs.c.manifest_id,
    )
    .exists(),
)


def left_by_manifest(connection: Connection, manifest_id: int) -> ManifestLeft:
    """What would stay if a manifest went."""
    key = {"manifest": manifest_id}

    def named(query: Select[Any]) -> list[Digest]:
        return [Digest.unpack(packed) for packed in connection.execute(query, key).scalars()]

    found = [named(query) for query in (_PARENTS, _REFERRERS, _CHILDREN)]
    parents, referrers, children = (digests[:NAMED_MAX] for digests in found)
    freed = int(connection.execute(_FREED, key).scalar_one())
    return ManifestLeft(parents, referrers, children, freed, is_cut=any(len(one) > NAMED_MAX for one in found))


def whole(connection: Connection, repository_id: int) -> Whole | None:
    """What a repository holds, None where it is gone."""
    query = select(
        repositories.c.tag_count,
        repositories.c.manifest_count,
        repositories.c.size_bytes,
    ).where(repositories.c.id == repository_id, repositories.c.deleted_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else Whole(max(row[0], 0), row[1], row[2])
