"""Uploads: the bookkeeping of blobs on their way in. The truth about the bytes is the blob store's."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from registry.core.access import RepositoryAccess
from registry.core.digest import Algorithm, Digest
from registry.metadata.schema import BigId, objects, uploads


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
    if connection.dialect.name == "postgresql":
        # A crash of the database must not take an id back: it would be given out a second time, while who had it first
        # still writes under its name.
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
    created = connection.execute(insert(objects), {"state": "uploading", "created_at": now})
    object_id: int = created.inserted_primary_key[0]  # type: ignore[index]
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


def remove(connection: Connection, upload_id: str) -> bool:
    """Forget an upload that did not come to its end; False if it is finished or gone."""
    return connection.execute(_REMOVE, {"upload": upload_id}).rowcount == 1
