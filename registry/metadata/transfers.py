"""Uploads to an object store: who holds them, and what of them is stored. One function is one step of the ledger.

`publishing` is a digest without a size, `committed` one with its size, in the same two columns. A part without bytes is
a number that is skipped: a holder that never let go may still send a part under it.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.errors import UploadBusy, UploadUnknown
from registry.metadata import blobs
from registry.metadata.insert import insert
from registry.metadata.schema import BigId, transfer_parts, transfers, uploads


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer; sizes in bytes, times in ms since 1970."""

    upload_id: str
    object_id: int
    epoch: int
    leased_until: int
    multipart_id: str | None
    tail_epoch: int | None
    tail_size: int
    hash_state: bytes | None
    digest: Digest | None
    """What its object is to be, or is, once `committed_size` is known."""
    committed_size: int | None
    parts_size: int
    last_part: int
    """The highest number of a part, also of one that is skipped."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """An acknowledged part."""

    number: int
    etag: str
    size: int


_OF_UPLOAD = transfer_parts.c.upload_id == transfers.c.upload_id
_COLUMNS = (
    transfers.c.upload_id,
    transfers.c.object_id,
    transfers.c.epoch,
    transfers.c.leased_until,
    transfers.c.multipart_id,
    transfers.c.tail_epoch,
    transfers.c.tail_size,
    transfers.c.hash_state,
    transfers.c.committed_digest,
    transfers.c.committed_size,
    select(func.coalesce(func.sum(transfer_parts.c.size), 0)).where(_OF_UPLOAD).scalar_subquery(),
    select(func.coalesce(func.max(transfer_parts.c.number), 0)).where(_OF_UPLOAD).scalar_subquery(),
)
_FIND = select(*_COLUMNS).where(transfers.c.upload_id == bindparam("upload"))
_FIND_OBJECT = select(*_COLUMNS).where(transfers.c.object_id == bindparam("object", type_=BigId))
_LOCK = select(transfers.c.epoch).where(transfers.c.upload_id == bindparam("upload")).with_for_update()
_LOCK_OBJECT = select(transfers.c.upload_id).where(transfers.c.object_id == bindparam("object")).with_for_update()
_HELD = (transfers.c.upload_id == bindparam("upload"), transfers.c.epoch == bindparam("held"))
_TAKE = (
    update(transfers)
    .where(transfers.c.upload_id == bindparam("upload"))
    .values(epoch=transfers.c.epoch + 1, leased_until=bindparam("until"))
)
_LEASE = update(transfers).where(*_HELD).values(leased_until=bindparam("until"))
_KEEP = (
    update(transfers)
    .where(*_HELD)
    .values(leased_until=0, tail_epoch=bindparam("tail"), tail_size=bindparam("bytes"), hash_state=bindparam("state"))
)
_MULTIPART = update(transfers).where(*_HELD).values(multipart_id=bindparam("multipart"))
_NO_TAIL = update(transfers).where(*_HELD).values(tail_epoch=None, tail_size=0, hash_state=bindparam("state"))
_PARTS = (
    select(transfer_parts.c.number, transfer_parts.c.etag, transfer_parts.c.size)
    .where(transfer_parts.c.upload_id == bindparam("upload"), transfer_parts.c.size > 0)
    .order_by(transfer_parts.c.number)
)
_NO_PARTS = delete(transfer_parts).where(transfer_parts.c.upload_id == bindparam("upload"))
_PUBLISH = (
    update(transfers).where(*_HELD, transfers.c.committed_digest.is_(None)).values(committed_digest=bindparam("digest"))
)
_COMMIT = (
    update(transfers)
    .where(*_HELD)
    .values(
        committed_digest=bindparam("digest"),
        committed_size=bindparam("bytes"),
        leased_until=0,
        multipart_id=None,
        tail_epoch=None,
        tail_size=0,
        hash_state=None,
    )
)
_VOUCH = (
    update(transfers)
    .where(transfers.c.object_id == bindparam("object"), transfers.c.committed_size.is_(None))
    .values(committed_digest=bindparam("digest"), committed_size=bindparam("bytes"))
)
_REPLACE = (
    update(transfers)
    .where(*_HELD)
    .values(
        object_id=bindparam("fresh"),
        multipart_id=None,
        tail_epoch=None,
        tail_size=0,
        hash_state=None,
        committed_digest=None,
    )
)
_OBJECT_OF_UPLOAD = update(uploads).where(uploads.c.id == bindparam("upload")).values(object_id=bindparam("fresh"))
_OBJECT_NAMED = select(uploads.c.object_id).where(uploads.c.id == bindparam("upload")).with_for_update()
_REMOVE = delete(transfers).where(*_HELD)
_UNFINISHED = (
    select(transfers.c.upload_id)
    .where(transfers.c.upload_id > bindparam("after"), transfers.c.committed_size.is_(None))
    .order_by(transfers.c.upload_id)
    .limit(bindparam("count"))
)


def begin(connection: Connection, upload_id: str, object_id: int, *, until: int, now: int) -> TransferRow:
    """Write down a new transfer, held. Raises UploadBusy if the upload or the object has one."""
    row = {
        "upload_id": upload_id,
        "object_id": object_id,
        "epoch": 1,
        "leased_until": until,
        "tail_size": 0,
        "created_at": now,
    }
    if connection.execute(insert(connection, transfers).on_conflict_do_nothing(), row).rowcount != 1:
        raise UploadBusy("an upload of this id exists")
    return _required(find(connection, upload_id))


def take(connection: Connection, upload_id: str, *, until: int, now: int) -> TransferRow:
    """Take a transfer; returns it as it was before, with its new epoch. After a holder that has not let go, the number
    of the part that it may be sending is skipped for good. Raises UploadBusy, UploadUnknown."""
    connection.execute(_LOCK, {"upload": upload_id})
    row = find(connection, upload_id)
    if row is None or row.committed_size is not None:
        raise UploadUnknown("no such upload")
    if row.leased_until > now:
        raise UploadBusy("another session holds this upload")
    if row.leased_until and row.multipart_id is not None:
        row = replace(row, last_part=row.last_part + 1)
        skipped = {"upload_id": upload_id, "number": row.last_part, "etag": "", "size": 0}
        connection.execute(insert(connection, transfer_parts), skipped)
    return _taken(connection, row, until=until)


def seize(connection: Connection, object_id: int, *, until: int) -> TransferRow | None:
    """Take the transfer of an object from whoever holds it."""
    connection.execute(_LOCK_OBJECT, {"object": object_id})
    row = find_object(connection, object_id)
    return None if row is None else _taken(connection, row, until=until)


def lease(connection: Connection, upload_id: str, *, held: int, until: int) -> None:
    """Hold it until then; 0 lets go. Raises UploadBusy."""
    _step(connection, _LEASE, upload_id, held, until=until)


def keep(
    connection: Connection, upload_id: str, *, held: int, tail: tuple[int, int] | None, hash_state: bytes | None
) -> None:
    """Record the tail (epoch and size) and the hash of everything, and let go. Raises UploadBusy."""
    epoch, size = tail or (None, 0)
    _step(connection, _KEEP, upload_id, held, tail=epoch, bytes=size, state=hash_state)


def record_multipart(connection: Connection, upload_id: str, *, held: int, multipart_id: str) -> None:
    """Record the multipart upload. Raises UploadBusy."""
    _step(connection, _MULTIPART, upload_id, held, multipart=multipart_id)


def record_part(connection: Connection, upload_id: str, *, held: int, part: PartRow, hash_state: bytes | None) -> None:
    """Record a part, which holds the tail. Raises UploadBusy."""
    _step(connection, _NO_TAIL, upload_id, held, state=hash_state)
    statement = insert(connection, transfer_parts)
    statement = statement.on_conflict_do_update(
        index_elements=["upload_id", "number"],
        set_={"etag": statement.excluded.etag, "size": statement.excluded.size},
    )
    row = {"upload_id": upload_id, "number": part.number, "etag": part.etag, "size": part.size}
    connection.execute(statement, row)


def parts(connection: Connection, upload_id: str) -> list[PartRow]:
    """The recorded parts, by number; the service takes at most 10,000."""
    return [PartRow(row[0], row[1], row[2]) for row in connection.execute(_PARTS, {"upload": upload_id})]


def begin_publishing(connection: Connection, upload_id: str, *, held: int, digest: Digest) -> bool:
    """Record that the final key is about to be written; False if that had begun before. Raises UploadBusy."""
    parameters = {"upload": upload_id, "held": held, "digest": digest.pack()}
    if connection.execute(_PUBLISH, parameters).rowcount == 1:
        return True
    row = find(connection, upload_id)
    if row is None or row.epoch != held:
        raise UploadBusy("another session has taken this upload")
    return False


def record_commit(connection: Connection, upload_id: str, *, held: int, digest: Digest, size: int) -> None:
    """The object is published and verified; its parts are no longer needed. Raises UploadBusy."""
    _step(connection, _COMMIT, upload_id, held, digest=digest.pack(), bytes=size)
    connection.execute(_NO_PARTS, {"upload": upload_id})


def vouch(connection: Connection, object_id: int, digest: Digest, *, size: int) -> None:
    """The object was read and has this digest and size."""
    connection.execute(_VOUCH, {"object": object_id, "digest": digest.pack(), "bytes": size})


def replace_object(connection: Connection, upload_id: str, *, held: int, now: int) -> int:
    """A new object for the upload, which has no bytes then; the old one is dead. Raises UploadBusy."""
    row = find(connection, upload_id)
    if row is None or row.epoch != held:
        raise UploadBusy("another session has taken this upload")
    fresh = blobs.begin(connection, now=now)
    connection.execute(_OBJECT_OF_UPLOAD, {"upload": upload_id, "fresh": fresh})
    blobs.abandon(connection, row.object_id, now=now)
    _step(connection, _REPLACE, upload_id, held, fresh=fresh)
    connection.execute(_NO_PARTS, {"upload": upload_id})
    return fresh


def give_up(connection: Connection, upload_id: str, *, held: int, now: int) -> int:
    """Forget it for good; returns its object, which is dead from this commit on, so nobody can have made it live or
    will. An upload that still names the object gets an empty one. Raises UploadBusy."""
    row = find(connection, upload_id)
    if row is None or row.epoch != held:
        raise UploadBusy("another session has taken this upload")
    if connection.execute(_OBJECT_NAMED, {"upload": upload_id}).scalar() == row.object_id:
        connection.execute(_OBJECT_OF_UPLOAD, {"upload": upload_id, "fresh": blobs.begin(connection, now=now)})
    blobs.abandon(connection, row.object_id, now=now)
    if connection.execute(_REMOVE, {"upload": upload_id, "held": held}).rowcount != 1:
        raise UploadBusy("another session has taken this upload")
    return row.object_id


def remove(connection: Connection, upload_id: str, *, held: int) -> None:
    """Forget it, with its parts; nothing happens if it is gone or somebody else's."""
    connection.execute(_REMOVE, {"upload": upload_id, "held": held})


def find(connection: Connection, upload_id: str) -> TransferRow | None:
    """The transfer of an upload."""
    return _read(connection.execute(_FIND, {"upload": upload_id}).first())


def find_object(connection: Connection, object_id: int) -> TransferRow | None:
    """The transfer of an object."""
    return _read(connection.execute(_FIND_OBJECT, {"object": object_id}).first())


def unfinished(connection: Connection, *, after: str, count: int) -> list[str]:
    """Ids of uploads that are not committed, the next ones after `after`."""
    return list(connection.execute(_UNFINISHED, {"after": after, "count": count}).scalars())


def _step(connection: Connection, step: object, upload_id: str, held: int, **values: object) -> None:
    parameters = {"upload": upload_id, "held": held, **values}
    if connection.execute(step, parameters).rowcount != 1:  # type: ignore[call-overload]
        raise UploadBusy("another session has taken this upload")


def _taken(connection: Connection, row: TransferRow, *, until: int) -> TransferRow:
    connection.execute(_TAKE, {"upload": row.upload_id, "until": until})
    return replace(row, epoch=row.epoch + 1)


def _read(row: Row[*tuple[Any, ...]] | None) -> TransferRow | None:
    if row is None:
        return None
    return TransferRow(
        upload_id=row[0],
        object_id=row[1],
        epoch=row[2],
        leased_until=row[3],
        multipart_id=row[4],
        tail_epoch=row[5],
        tail_size=row[6],
        hash_state=row[7],
        digest=None if row[8] is None else Digest.unpack(row[8]),
        committed_size=row[9],
        # PostgreSQL adds up in a type of its own.
        parts_size=int(row[10]),
        last_part=row[11],
    )


def _required(row: TransferRow | None) -> TransferRow:
    assert row is not None
    return row
