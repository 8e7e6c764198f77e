"""Blobs, their links to repositories, and the objects behind them."""

from dataclasses import dataclass

from sqlalchemy import Update, bindparam, case, delete, exists, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.errors import Unavailable
from registry.metadata.insert import insert
from registry.metadata.schema import blobs, manifest_blobs, manifests, objects, repository_blobs


@dataclass(frozen=True, slots=True)
class LinkedBlob:
    """A blob as a repository shows it. `size` in bytes, `protect_until` in ms since 1970."""

    digest: Digest
    size: int
    object_id: int
    protect_until: int
    corrupt: bool
    referenced: bool
    """Whether a manifest of any repository uses it."""


_COLUMNS = (
    blobs.c.digest,
    blobs.c.size,
    blobs.c.object_id,
    blobs.c.protect_until,
    objects.c.corrupt_at,
    exists().where(manifest_blobs.c.linked_digest == blobs.c.digest).label("referenced"),
)
_LINKED = (
    select(*_COLUMNS)
    .select_from(repository_blobs)
    .join(blobs, blobs.c.digest == repository_blobs.c.digest)
    .join(objects, objects.c.id == blobs.c.object_id)
    .where(
        repository_blobs.c.repository_id == bindparam("repository"), repository_blobs.c.digest == bindparam("digest")
    )
)
_ANYWHERE = (
    select(*_COLUMNS)
    .join(objects, objects.c.id == blobs.c.object_id)
    .where(blobs.c.digest == bindparam("digest"))
    .where(exists().where(repository_blobs.c.digest == blobs.c.digest))
)
_SERVING = select(blobs.c.object_id).where(blobs.c.digest == bindparam("digest"))
_BLOB = (
    select(blobs.c.object_id, blobs.c.protect_until, objects.c.corrupt_at)
    .join(objects, objects.c.id == blobs.c.object_id)
    .where(blobs.c.digest == bindparam("digest"))
    .with_for_update(of=blobs, key_share=True)
)
_PROTECT = (
    update(blobs)
    .where(blobs.c.digest == bindparam("blob"), blobs.c.protect_until < bindparam("until"))
    .values(protect_until=bindparam("until"), review_at=bindparam("until"))
)
_HOLD = (
    update(blobs)
    .where(blobs.c.digest == bindparam("blob"))
    .values(
        protect_until=case(
            (blobs.c.protect_until < bindparam("until"), bindparam("until")), else_=blobs.c.protect_until
        ),
        review_at=case((blobs.c.protect_until < bindparam("until"), bindparam("until")), else_=blobs.c.protect_until),
    )
)
_LOCK = select(blobs.c.digest).where(blobs.c.digest == bindparam("blob")).with_for_update()
_REVIEW = update(blobs).where(blobs.c.digest == bindparam("blob")).values(review_at=blobs.c.protect_until)
_FILL_EDGES = (
    update(manifest_blobs)
    .where(
        manifest_blobs.c.repository_id == bindparam("repository"),
        manifest_blobs.c.digest == bindparam("blob"),
        manifest_blobs.c.linked_digest.is_(None),
    )
    .values(linked_digest=manifest_blobs.c.digest)
)
_BECOME_LIVE = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "uploading")
    .values(state="live", digest=bindparam("blob"), size=bindparam("bytes"))
)
_ABANDON = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "uploading")
    .values(state="dead", dead_at=bindparam("now"))
)
_DUPLICATE = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "uploading")
    .values(state="dead", dead_at=bindparam("now"), digest=bindparam("blob"), size=bindparam("bytes"))
)
_RETIRE = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "live")
    .values(state="dead", dead_at=bindparam("now"))
)
_USERS = (
    select(manifests.c.digest)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .where(
        manifest_blobs.c.repository_id == bindparam("repository"),
        manifest_blobs.c.digest == bindparam("digest"),
    )
    .limit(bindparam("count"))
)


def linked(connection: Connection, repository_id: int, digest: Digest) -> LinkedBlob | None:
    """The blob, if the repository shows it."""
    row = connection.execute(_LINKED, {"repository": repository_id, "digest": digest.pack()}).first()
    return None if row is None else LinkedBlob(digest, row[1], row[2], row[3], row[4] is not None, bool(row[5]))


def anywhere(connection: Connection, digest: Digest) -> LinkedBlob | None:
    """The blob, if any repository shows it."""
    row = connection.execute(_ANYWHERE, {"digest": digest.pack()}).first()
    return None if row is None else LinkedBlob(digest, row[1], row[2], row[3], row[4] is not None, bool(row[5]))


def serving(connection: Connection, digest: Digest) -> int | None:
    """The object that a blob is served from, also where no repository shows it now."""
    object_id: int | None = connection.execute(_SERVING, {"digest": digest.pack()}).scalar()
    return object_id


def protect(connection: Connection, digest: Digest, *, until: int) -> None:
    """Lengthen the lease of a blob to `until`, and have it reviewed then; a longer one stays."""
    connection.execute(_PROTECT, {"blob": digest.pack(), "until": until})


def hold(connection: Connection, digest: Digest, *, until: int) -> bool:
    """Keep a blob from being collected until the transaction ends, and by its lease until `until` at least. False if it
    is gone."""
    return connection.execute(_HOLD, {"blob": digest.pack(), "until": until}).rowcount == 1


def begin(connection: Connection, *, now: int, digest: Digest | None = None) -> int:
    """Write down an object before its first byte; returns its id. Its `digest` is told where it is known already."""
    if connection.dialect.name == "postgresql":
        # A crash of the database must not take an id back: it would be given out a second time, while who had it first
        # still writes under its name.
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
    row = {"state": "uploading", "digest": None if digest is None else digest.pack(), "created_at": now}
    object_id: int = connection.execute(insert(connection, objects), row).inserted_primary_key[0]  # type: ignore[index]
    return object_id


@dataclass(frozen=True, slots=True)
class NewObject:
    """Content that the store has published and SQL is about to name."""

    digest: Digest
    object_id: int
    size: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a new object: whether its blob is served from it, and from which object it was served before."""

    is_served: bool
    replaced: int | None = None


def claim(connection: Connection, new: NewObject, *, broken: int | None, until: int, now: int) -> Claim:
    """Make content available (the first half of T3 of the storage protocol; `settle` is the other). Whoever else
    publishes the same digest waits.

    A healthy blob of this digest stays on the object it has. One that is known as corrupt, or whose object is `broken`,
    moves to the new object.
    """
    packed = new.digest.pack()
    row = {"size": new.size, "object_id": new.object_id, "protect_until": until, "review_at": until}
    statement = insert(connection, blobs).on_conflict_do_nothing()
    for _ in range(_CLAIM_TRIES):
        existing = connection.execute(_BLOB, {"digest": packed}).first()
        if existing is not None and existing[2] is None and existing[0] != broken:
            protect(connection, new.digest, until=until)
            return Claim(is_served=False)
        if existing is not None:
            connection.execute(update(blobs).where(blobs.c.digest == packed), row)
            return Claim(is_served=True, replaced=existing[0])
        if connection.execute(statement, {"digest": packed, "created_at": now, **row}).rowcount == 1:
            return Claim(is_served=True)
        # Another one was quicker: its blob is looked at.
    raise Unavailable("the blob is made and collected all the time", retry_after_s=1)


_CLAIM_TRIES = 5


def settle(connection: Connection, new: NewObject, claimed: Claim, *, now: int) -> None:
    """The objects of a claim: the new one is live, or dead where it is not needed; the one before it is dead. After the
    upload has ended: then nobody else takes the new one away."""
    made = {"object": new.object_id, "blob": new.digest.pack(), "bytes": new.size}
    if not claimed.is_served:
        _once(connection, _DUPLICATE, {**made, "now": now})
        return
    _once(connection, _BECOME_LIVE, made)
    if claimed.replaced is not None:
        _once(connection, _RETIRE, {"object": claimed.replaced, "now": now})


def abandon(connection: Connection, object_id: int, *, now: int) -> None:
    """An object that was never published, or not needed, is dead. A live one is never touched."""
    connection.execute(_ABANDON, {"object": object_id, "now": now})


def forget_dead(connection: Connection, object_ids: list[int]) -> int:
    """Dead objects whose content is gone from the store need no row any more (T9); returns how many had one."""
    mine = (objects.c.id.in_(object_ids), objects.c.state == "dead")
    return connection.execute(delete(objects).where(*mine)).rowcount


def _once(connection: Connection, step: Update, parameters: dict[str, object]) -> None:
    """Take an object from one state to the next. Anything but one row means that somebody else owns it."""
    if connection.execute(step, parameters).rowcount != 1:
        raise RuntimeError(f"object {parameters['object']} is not in the state that it was left in")


def link(connection: Connection, repository_id: int, digest: Digest, *, now: int) -> None:
    """Show a blob that is held in a repository, also to the manifests that were waiting for it. After
    `locks.blob_arrives`."""
    packed = digest.pack()
    row = {"repository_id": repository_id, "digest": packed, "created_at": now}
    connection.execute(insert(connection, repository_blobs).on_conflict_do_nothing(), row)
    connection.execute(_FILL_EDGES, {"repository": repository_id, "blob": packed})


def lock(connection: Connection, digest: Digest) -> None:
    """Until the transaction ends no manifest can begin to use the blob, nor can it be collected."""
    connection.execute(_LOCK, {"blob": digest.pack()})


def unlink(connection: Connection, repository_id: int, digest: Digest) -> bool:
    """Stop showing a blob in a repository, and have it reviewed when its lease is over; False if it was not shown."""
    connection.execute(_REVIEW, {"blob": digest.pack()})
    where = (repository_blobs.c.repository_id == repository_id, repository_blobs.c.digest == digest.pack())
    return connection.execute(delete(repository_blobs).where(*where)).rowcount == 1


def users(connection: Connection, repository_id: int, digest: Digest, *, count: int) -> list[Digest]:
    """Up to `count` manifests of the repository that use the blob."""
    found = connection.execute(_USERS, {"repository": repository_id, "digest": digest.pack(), "count": count}).scalars()
    return [Digest.unpack(packed) for packed in found]


def mark_corrupt(connection: Connection, object_id: int, *, now: int) -> None:
    """This object's bytes are not what they should be: the next push of its digest replaces it."""
    where = (objects.c.id == object_id, objects.c.state == "live", objects.c.corrupt_at.is_(None))
    connection.execute(update(objects).where(*where).values(corrupt_at=now))


def mark_sound(connection: Connection, object_ids: list[int]) -> int:
    """The bytes of these objects are what they should be, whatever was said of them; returns how many were marked as
    corrupt. What has failed before may have been the way to them."""
    where = (objects.c.id.in_(object_ids), objects.c.state == "live", objects.c.corrupt_at.is_not(None))
    return connection.execute(update(objects).where(*where).values(corrupt_at=None)).rowcount


def any_corrupt(connection: Connection, object_ids: list[int]) -> bool:
    """Whether one of these objects is marked as corrupt."""
    where = (objects.c.id.in_(object_ids), objects.c.corrupt_at.is_not(None))
    return bool(connection.execute(select(exists().where(*where))).scalar())


def live_page(connection: Connection, *, after: int, count: int) -> list[NewObject]:
    """The next live objects by id after `after`, for whoever walks all of them."""
    rows = connection.execute(
        select(objects.c.digest, objects.c.id, objects.c.size)
        .where(objects.c.state == "live", objects.c.dead_at.is_(None), objects.c.id > after)
        .order_by(objects.c.id)
        .limit(count)
    )
    return [NewObject(Digest.unpack(row[0]), row[1], row[2]) for row in rows]
