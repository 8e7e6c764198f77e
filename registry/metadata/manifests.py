"""Manifests, their edges to blobs, children and subjects, and what a listing shows of them."""

import json
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, case, delete, func, literal, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.limits import INDEX_MAX_DEPTH, REFERRER_MAX_BYTES, SIZE_MAX
from registry.core.manifest import Descriptor, Manifest
from registry.core.names import Reference
from registry.metadata import locks
from registry.metadata.insert import insert
from registry.metadata.schema import (
    blobs,
    manifest_blobs,
    manifest_children,
    manifests,
    objects,
    repository_blobs,
    tags,
)


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest exactly as it was pushed."""

    digest: Digest
    media_type: str
    payload: bytes


_STORED = (manifests.c.digest, manifests.c.media_type, manifests.c.payload)
_BY_TAG = (
    select(*_STORED)
    .select_from(tags)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_BY_DIGEST = select(*_STORED).where(
    manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest")
)
_ID = select(manifests.c.id).where(
    manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest")
)
_LINK_BLOBS = (
    update(manifest_blobs)
    .where(manifest_blobs.c.manifest_id == bindparam("manifest"), manifest_blobs.c.linked_digest.is_(None))
    .where(
        select(repository_blobs.c.digest)
        .where(
            repository_blobs.c.repository_id == manifest_blobs.c.repository_id,
            repository_blobs.c.digest == manifest_blobs.c.digest,
        )
        .exists()
    )
    .values(linked_digest=manifest_blobs.c.digest)
)
_ABSENT = (
    select(manifest_blobs.c.digest)
    .where(manifest_blobs.c.manifest_id == bindparam("manifest"), manifest_blobs.c.linked_digest.is_(None))
    .where(
        ~select(repository_blobs.c.digest)
        .where(
            repository_blobs.c.repository_id == manifest_blobs.c.repository_id,
            repository_blobs.c.digest == manifest_blobs.c.digest,
        )
        .exists()
    )
    .limit(1)
)
_HOLD_BLOBS = (
    select(blobs.c.digest)
    .where(
        blobs.c.digest.in_(
            select(manifest_blobs.c.digest).where(
                manifest_blobs.c.manifest_id == bindparam("manifest"), manifest_blobs.c.linked_digest.is_(None)
            )
        )
    )
    .order_by(blobs.c.digest)
    .with_for_update(read=True, key_share=True)
)
_CHILD = (
    select(manifests.c.id)
    .where(
        manifests.c.repository_id == manifest_children.c.repository_id,
        manifests.c.digest == manifest_children.c.digest,
    )
    .scalar_subquery()
)
_LINK_CHILDREN = (
    update(manifest_children)
    .where(manifest_children.c.parent_id == bindparam("manifest"), manifest_children.c.child_id.is_(None))
    .values(child_id=_CHILD)
)
_LINK_PARENTS = (
    update(manifest_children)
    .where(
        manifest_children.c.repository_id == bindparam("repository"),
        manifest_children.c.digest == bindparam("manifest_digest"),
        manifest_children.c.child_id.is_(None),
    )
    .values(child_id=bindparam("manifest"))
)
_LINK_SUBJECT = update(manifests).where(manifests.c.id == bindparam("manifest")).values(subject_id=bindparam("subject"))
_LINK_REFERRERS = (
    update(manifests)
    .where(
        manifests.c.repository_id == bindparam("repository"),
        manifests.c.subject_digest == bindparam("manifest_digest"),
        manifests.c.subject_id.is_(None),
    )
    .values(subject_id=bindparam("manifest"))
)
_BLOB_EDGES = (
    select(manifest_blobs.c.digest, blobs.c.size)
    .outerjoin(blobs, blobs.c.digest == manifest_blobs.c.linked_digest)
    .outerjoin(objects, objects.c.id == blobs.c.object_id)
    .where(manifest_blobs.c.manifest_id == bindparam("manifest"), objects.c.corrupt_at.is_(None))
)
_CHILD_EDGES = (
    select(
        manifest_children.c.digest,
        manifests.c.payload_size,
        manifests.c.total_size,
        manifest_children.c.size,
    )
    .outerjoin(manifests, manifests.c.id == manifest_children.c.child_id)
    .where(manifest_children.c.parent_id == bindparam("manifest"))
)


def _levels(here: ColumnElement[int], there: ColumnElement[int]) -> Select[int]:
    """How many levels of indexes can be walked from a manifest along the edges from `here` to `there`, itself counted,
    until one more than the limit. Each (manifest, level) is visited once, however the levels are woven."""
    start = select(bindparam("manifest", type_=BigInteger).label("id"), literal(1).label("level"))
    walk = start.cte("walk", recursive=True)
    step = (
        select(there, walk.c.level + 1)
        .select_from(walk)
        .join(manifest_children, here == walk.c.id)
        .where(there.is_not(None), walk.c.level <= INDEX_MAX_DEPTH)
    )
    return select(func.max(walk.union(step).c.level))


_LEVELS_ABOVE = _levels(manifest_children.c.child_id, manifest_children.c.parent_id)
_LEVELS_BELOW = _levels(manifest_children.c.parent_id, manifest_children.c.child_id)
_MEASURE = (
    update(manifests)
    .where(manifests.c.id == bindparam("manifest"))
    .values(total_size=bindparam("bytes"), depth=bindparam("levels"))
)
_ITS_BLOBS = blobs.c.digest.in_(
    select(manifest_blobs.c.linked_digest).where(
        manifest_blobs.c.manifest_id.in_(bindparam("manifests", expanding=True)),
        manifest_blobs.c.linked_digest.is_not(None),
    )
)
_LOCK_BLOBS = select(blobs.c.digest).where(_ITS_BLOBS).order_by(blobs.c.digest).with_for_update(key_share=True)
_PROTECTED_UNTIL = case((blobs.c.protect_until < bindparam("until"), bindparam("until")), else_=blobs.c.protect_until)
_PROTECT_BLOBS = update(blobs).where(_ITS_BLOBS).values(protect_until=_PROTECTED_UNTIL, review_at=_PROTECTED_UNTIL)
_REFERRERS = (
    select(manifests.c.id, manifests.c.referrer_descriptor)
    .where(
        manifests.c.repository_id == bindparam("repository"),
        manifests.c.subject_digest == bindparam("subject"),
        manifests.c.id > bindparam("after"),
    )
    .order_by(manifests.c.id)
)


def stored(connection: Connection, repository_id: int, reference: Reference) -> StoredManifest | None:
    """The manifest that a reference names in a repository."""
    if reference.digest is not None:
        row = connection.execute(_BY_DIGEST, {"repository": repository_id, "digest": reference.digest.pack()}).first()
    else:
        row = connection.execute(_BY_TAG, {"repository": repository_id, "tag": reference.tag}).first()
    return None if row is None else StoredManifest(Digest.unpack(row[0]), row[1], row[2])


def find(connection: Connection, repository_id: int, digest: Digest, *, lock: bool = False) -> int | None:
    """The id of a manifest; with `lock` nothing can begin to point to it until the transaction ends."""
    query = _ID.with_for_update() if lock else _ID
    found: int | None = connection.execute(query, {"repository": repository_id, "digest": digest.pack()}).scalar()
    return found


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing shows of a manifest beside what it says itself: JSON texts, worked out at push."""

    platforms: list[str]
    config_summary: dict[str, object] | None


def add(
    connection: Connection,
    repository_id: int,
    manifest: Manifest,
    *,
    digest: Digest,
    listing: Listing,
    now: int,
) -> tuple[int, bool]:
    """Store a manifest and its edges; returns its id and whether it is new. Edges are asserted again for a known one.
    The repository is held alone.

    Edges to content that the repository holds get their target, in both directions.
    """
    key = {"repository": repository_id, "digest": digest.pack()}
    row = _row(repository_id, manifest, digest=digest, listing=listing, now=now)
    statement = insert(connection, manifests).on_conflict_do_nothing(index_elements=["repository_id", "digest"])
    new = connection.execute(statement, row).rowcount == 1
    manifest_id: int = connection.execute(_ID, key).scalar_one()
    _assert_edges(connection, repository_id, manifest_id, manifest)
    if manifest.subject is not None:
        subject_id = find(connection, repository_id, manifest.subject.digest)
        connection.execute(_LINK_SUBJECT, {"manifest": manifest_id, "subject": subject_id})
    target = {"repository": repository_id, "manifest_digest": digest.pack(), "manifest": manifest_id}
    connection.execute(_LINK_PARENTS, target)
    connection.execute(_LINK_REFERRERS, target)
    return manifest_id, new


def _row(repository_id: int, manifest: Manifest, *, digest: Digest, listing: Listing, now: int) -> dict[str, object]:
    subject = manifest.subject
    subject_digest = None if subject is None else subject.digest.pack()
    referrer = None if subject is None else _referrer(manifest, digest)
    return {
        "repository_id": repository_id,
        "digest": digest.pack(),
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "payload_size": len(manifest.payload),
        "total_size": len(manifest.payload),
        "depth": 1,
        "platforms": json.dumps(listing.platforms) if listing.platforms else None,
        "config_summary": json.dumps(listing.config_summary) if listing.config_summary else None,
        "subject_digest": subject_digest,
        "subject_id": None,
        "pushed_at": now,
        "referrer_descriptor": referrer,
        "payload": manifest.payload,
    }


def _referrer(manifest: Manifest, digest: Digest) -> str:
    """The descriptor that the referrers list shows, as JSON; without annotations where it would fill a page."""
    shown = manifest.referrer_descriptor(digest)
    text = json.dumps(shown, ensure_ascii=False)
    if len(text.encode("utf-8")) > REFERRER_MAX_BYTES:
        del shown["annotations"]
        text = json.dumps(shown, ensure_ascii=False)
    return text


def _assert_edges(connection: Connection, repository_id: int, manifest_id: int, manifest: Manifest) -> None:
    if manifest.blobs:
        rows = [_edge(repository_id, entry, manifest_id=manifest_id) for entry in manifest.blobs]
        connection.execute(insert(connection, manifest_blobs).on_conflict_do_nothing(), rows)
        if connection.execute(_ABSENT, {"manifest": manifest_id}).first() is not None:
            # A blob that arrives at this moment would not see the edge, and the edge not the blob.
            locks.no_blob_arrives(connection, repository_id)
        # In their order; from here nothing that is found takes them away.
        connection.execute(_HOLD_BLOBS, {"manifest": manifest_id})
        connection.execute(_LINK_BLOBS, {"manifest": manifest_id})
    if manifest.children:
        rows = [
            _edge(repository_id, entry, parent_id=manifest_id) | {"platform": entry.platform}
            for entry in manifest.children
        ]
        connection.execute(insert(connection, manifest_children).on_conflict_do_nothing(), rows)
        connection.execute(_LINK_CHILDREN, {"manifest": manifest_id})


def _edge(repository_id: int, entry: Descriptor, **end: int) -> dict[str, object]:
    return {"repository_id": repository_id, "digest": entry.digest.pack(), "size": entry.size, **end}


@dataclass(frozen=True, slots=True)
class Held:
    """What of a manifest's references the repository holds, with sizes in bytes, and in how many levels the indexes
    nest that it is a part of: above it and below it."""

    blobs: dict[Digest, int]
    children: dict[Digest, int]
    levels: int


def measure(connection: Connection, manifest_id: int, manifest: Manifest) -> Held:
    """Look up what a stored manifest refers to, and write its total size and depth down.

    A corrupt blob does not count as held, so that a client sends it again. The size of a child that is not here is
    taken from its descriptor.
    """
    held_blobs = {
        Digest.unpack(row[0]): row[1]
        for row in connection.execute(_BLOB_EDGES, {"manifest": manifest_id})
        if row[1] is not None
    }
    children = connection.execute(_CHILD_EDGES, {"manifest": manifest_id}).all() if manifest.children else []
    total = len(manifest.payload) + sum(entry.size for entry in manifest.blobs)
    total += sum(row[3] if row[2] is None else row[2] for row in children)
    key = {"manifest": manifest_id}
    depth = connection.execute(_LEVELS_BELOW, key).scalar_one() if children else 1
    above = connection.execute(_LEVELS_ABOVE, key).scalar_one()
    connection.execute(_MEASURE, {"manifest": manifest_id, "bytes": min(total, SIZE_MAX), "levels": depth})
    held_children = {Digest.unpack(row[0]): row[1] for row in children if row[1] is not None}
    return Held(blobs=held_blobs, children=held_children, levels=above + depth - 1)


def protect_blobs(connection: Connection, manifest_ids: list[int], *, until: int) -> None:
    """Lengthen the leases of the blobs of manifests that are about to go, and have all of them reviewed when they end:
    also those whose lease is long enough already, since each is about to lose a reference."""
    # Locked by digest first: an UPDATE takes its rows in any order, and two that share blobs could wait for each other.
    connection.execute(_LOCK_BLOBS, {"manifests": manifest_ids})
    connection.execute(_PROTECT_BLOBS, {"manifests": manifest_ids, "until": until})


def remove(connection: Connection, manifest_id: int) -> None:
    """Delete a manifest that no tag points to; parents and referrers keep its digest and lose the target."""
    connection.execute(delete(manifests).where(manifests.c.id == manifest_id))


_ROWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """Descriptors as JSON texts, and the id to go on after, None at the end."""

    descriptors: list[str]
    next_after: int | None


@dataclass(frozen=True, slots=True)
class ReferrersQuery:
    """Which referrers: `artifact_types` empty means all; at most `count` entries and `budget_bytes` of JSON."""

    subject: Digest
    artifact_types: list[str]
    after: int
    count: int
    budget_bytes: int


def referrers(connection: Connection, repository_id: int, query: ReferrersQuery) -> ReferrersPage:
    """The manifests whose subject is `query.subject`, oldest first; empty where there is none."""
    statement = _REFERRERS
    if query.artifact_types:
        statement = statement.where(manifests.c.artifact_type.in_(query.artifact_types))
    parameters = {"repository": repository_id, "subject": query.subject.pack(), "after": query.after}
    found: list[str] = []
    size = last = 0
    if query.count == 0:
        return ReferrersPage([], None)
    # In pieces: what is beyond the budget is not fetched.
    statement = statement.limit(query.count + 1).execution_options(yield_per=_ROWS_AT_ONCE)
    with connection.execute(statement, parameters) as rows:
        for row in rows:
            size += len(row[1].encode("utf-8")) + 1
            if found and (size > query.budget_bytes or len(found) == query.count):
                return ReferrersPage(found, last)
            found.append(row[1])
            last = row[0]
    return ReferrersPage(found, None)
