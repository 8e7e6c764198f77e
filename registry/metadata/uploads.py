"""Uploads: the bookkeeping of blobs on their way in. The truth about the bytes is the blob store's."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, String, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.engine import Connection

from registry.core.access import RepositoryAccess
from registry.core.digest import Algorithm, Digest
from registry.metadata import blobs
from registry.metadata.schema import BigId, objects, transfers, uploads


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as SQL knows it. `offset` is a hint, in bytes; `object_id` is None once it is finished."""

    id: str
    repository_id: int
    object_id: int | None
    algorithm: Algorithm
    offset: int
    checkpoint_digest: Digest | None
    checkpoint_boot_id: str | None
    finished_digest: Digest | None


_FIND = select(
    uploads.c.id,
    uploads.c.repository_id,
    uploads.c.object_id,
    uploads.c.algorithm,
    uploads.c.offset,
    uploads.c.checkpoint_digest,
    uploads.c.checkpoint_boot_id,
    uploads.c.finished_digest,
).where(
    uploads.c.id == bindparam("id"),
    uploads.c.repository_id == bindparam("repository"),
    uploads.c.owner_id.is_not_distinct_from(bindparam("owner", type_=BigId)),
)
_RECORD = (
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.state == "open")
    .values(
        offset=bindparam("bytes"),
        checkpoint_digest=bindparam("checkpoint"),
        checkpoint_boot_id=bindparam("boot_id"),
        expires_at=bindparam("expires"),
    )
)
_FINISH = (
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.state != "finished")
    .values(
        state="finished",
        finished_digest=bindparam("digest"),
        object_id=None,
        checkpoint_digest=None,
        epoch=uploads.c.epoch + 1,
    )
)

_OPEN_OF_OWNER = (
    select(func.count())
    .select_from(uploads)
    .where(uploads.c.owner_id == bindparam("owner"), uploads.c.state == "open", uploads.c.expires_at > bindparam("now"))
)
_FINISHED = select(uploads.c.finished_digest).where(uploads.c.id == bindparam("upload"))
_OBJECT = select(uploads.c.object_id).where(uploads.c.id == bindparam("upload")).with_for_update()
_REMOVE = delete(uploads).where(uploads.c.id == bindparam("upload"), uploads.c.state != "finished")


def find(connection: Connection, access: RepositoryAccess, upload_id: str) -> Upload | None:
    """The upload, if it belongs to this repository and was begun by this account."""
    parameters = {"id": upload_id, "repository": access.id, "owner": access.actor.account_id}
    row = connection.execute(_FIND, parameters).first()
    if row is None:
        return None
    return Upload(
        id=row[0],
        repository_id=row[1],
        object_id=row[2],
        algorithm=Algorithm(row[3]),
        offset=row[4],
        checkpoint_digest=None if row[5] is None else Digest.unpack(row[5]),
        checkpoint_boot_id=row[6],
        finished_digest=None if row[7] is None else Digest.unpack(row[7]),
    )


def begin(
    connection: Connection,
    *,
    upload_id: str,
    repository_id: int,
    owner_id: int | None,
    algorithm: Algorithm,
    now: int,
    expires_at: int,
) -> int:
    """Write down a new upload and the object it will become; returns the object's id (T1)."""
    object_id = blobs.begin(connection, now=now)
    connection.execute(
        insert(uploads),
        {
            "id": upload_id,
            "repository_id": repository_id,
            "owner_id": owner_id,
            "object_id": object_id,
            "state": "open",
            "algorithm": int(algorithm),
            "offset": 0,
            "epoch": 1,
            "created_at": now,
            "expires_at": expires_at,
        },
    )
    return object_id


def open_of(connection: Connection, owner_id: int, *, now: int) -> int:
    """How many uploads an account has begun that are neither finished nor expired."""
    return connection.execute(_OPEN_OF_OWNER, {"owner": owner_id, "now": now}).scalar_one()


def record(
    connection: Connection,
    upload_id: str,
    *,
    offset: int,
    checkpoint: tuple[Digest, str] | None,
    expires_at: int,
) -> None:
    """Note how far an upload has come, and the digest of its bytes with the boot that computed it."""
    connection.execute(
        _RECORD,
        {
            "upload": upload_id,
            "bytes": offset,
            "checkpoint": None if checkpoint is None else checkpoint[0].pack(),
            "boot_id": None if checkpoint is None else checkpoint[1],
            "expires": expires_at,
        },
    )


def finish(connection: Connection, upload_id: str, digest: Digest) -> bool:
    """The upload became `digest`; False if it is finished already or gone."""
    return connection.execute(_FINISH, {"upload": upload_id, "digest": digest.pack()}).rowcount == 1


def finished_digest(connection: Connection, upload_id: str) -> Digest | None:
    """What an upload became, None if it is not finished or not there."""
    packed = connection.execute(_FINISHED, {"upload": upload_id}).scalar()
    return None if packed is None else Digest.unpack(packed)


def object_of(connection: Connection, upload_id: str) -> int | None:
    """The object that an upload is to become, None if it is finished or not there. The upload is held until the
    transaction ends: an object store may be giving it another object right now, and the one that is told would be dead
    already, the other one nobody's."""
    object_id: int | None = connection.execute(_OBJECT, {"upload": upload_id}).scalar()
    return object_id


def remove(connection: Connection, upload_id: str) -> bool:
    """Forget an upload that did not come to its end; False if it is finished or gone."""
    return connection.execute(_REMOVE, {"upload": upload_id}).rowcount == 1


# Expiry (T10).


@dataclass(frozen=True, slots=True)
class Expired:
    """An unfinished upload whose time is over."""

    id: str
    object_id: int
    algorithm: Algorithm
    expires_at: int


_EXPIRED = (
    select(uploads.c.id, uploads.c.object_id, uploads.c.algorithm, uploads.c.expires_at)
    .where(
        uploads.c.state != "finished",
        uploads.c.expires_at < bindparam("now"),
        tuple_(uploads.c.expires_at, uploads.c.id)
        > tuple_(bindparam("after_at", type_=BigInteger), bindparam("after_id", type_=String)),
    )
    .order_by(uploads.c.expires_at, uploads.c.id)
    .limit(bindparam("count"))
)
_EXPIRE = delete(uploads).where(
    uploads.c.id == bindparam("upload"), uploads.c.state != "finished", uploads.c.expires_at < bindparam("now")
)
_LENGTHEN = update(uploads).where(uploads.c.id == bindparam("upload")).values(expires_at=bindparam("expires"))
_KNOWN = select(uploads.c.id).where(uploads.c.id.in_(bindparam("ids", expanding=True)))


def expired(connection: Connection, *, now: int, after: tuple[int, str], count: int) -> list[Expired]:
    """The next unfinished uploads whose time is over, by (expires_at, id)."""
    parameters = {"now": now, "after_at": after[0], "after_id": after[1], "count": count}
    rows = connection.execute(_EXPIRED, parameters)
    return [Expired(row[0], row[1], Algorithm(row[2]), row[3]) for row in rows]


def expire(connection: Connection, upload: Expired, *, now: int) -> bool:
    """Forget an unfinished upload whose time is still over, and with it what it would have become; False if it went on
    or ended meanwhile."""
    # Not the one that was listed: a store may have given the upload another object.
    object_id = object_of(connection, upload.id)
    if object_id is None or connection.execute(_EXPIRE, {"upload": upload.id, "now": now}).rowcount != 1:
        return False
    blobs.abandon(connection, object_id, now=now)
    return True


def lengthen(connection: Connection, upload_id: str, *, expires_at: int) -> None:
    """Somebody is at it: look again later."""
    connection.execute(_LENGTHEN, {"upload": upload_id, "expires": expires_at})


def forget_finished(connection: Connection, *, now: int, count: int) -> int:
    """Remove up to `count` finished uploads that need not be remembered any more; returns how many."""
    old = select(uploads.c.id).where(uploads.c.state == "finished", uploads.c.expires_at < now).limit(count)
    old = old.with_for_update(skip_locked=True)
    return connection.execute(delete(uploads).where(uploads.c.id.in_(old))).rowcount


def abandon_orphans(connection: Connection, *, before: int, now: int, count: int) -> int:
    """Objects that were begun before a time and that no upload will become are dead; up to `count`."""
    named = select(uploads.c.id).where(uploads.c.object_id == objects.c.id).exists()
    orphans = (
        select(objects.c.id)
        .where(objects.c.state == "uploading", objects.c.created_at < before, ~named)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    dead = update(objects).where(objects.c.id.in_(orphans), objects.c.state == "uploading")
    return connection.execute(dead.values(state="dead", dead_at=now)).rowcount


def forget_transfers(connection: Connection, *, count: int) -> int:
    """Remove up to `count` rows of transfers that have nothing left in the store: the upload has ended, and its object
    is live or gone."""
    going_on = select(uploads.c.id).where(uploads.c.id == transfers.c.upload_id, uploads.c.state != "finished").exists()
    unsettled = select(objects.c.id).where(objects.c.id == transfers.c.object_id, objects.c.state != "live").exists()
    over = select(transfers.c.upload_id).where(~going_on, ~unsettled).limit(count).with_for_update(skip_locked=True)
    return connection.execute(delete(transfers).where(transfers.c.upload_id.in_(over))).rowcount


def known(connection: Connection, upload_ids: list[str]) -> set[str]:
    """Those of these ids that name an upload."""
    return set(connection.execute(_KNOWN, {"ids": upload_ids}).scalars())
