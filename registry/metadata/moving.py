"""Objects on their way from one store to another: a copy gets an id of its own, and takes the old one's place in one
transaction."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata import blobs as blob_rows
from registry.metadata.blobs import NewObject
from registry.metadata.schema import blobs, objects, uploads

_UPLOAD = exists().where(uploads.c.object_id == objects.c.id)
_SERVED = (
    select(blobs.c.object_id)
    .where(blobs.c.digest == bindparam("digest"), blobs.c.object_id == bindparam("object"))
    .with_for_update()
)
_BECOME_LIVE = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "uploading")
    .values(state="live", size=bindparam("bytes"))
)
_SERVE_FROM = update(blobs).where(blobs.c.digest == bindparam("blob")).values(object_id=bindparam("object"))
_RETIRE = (
    update(objects)
    .where(objects.c.id == bindparam("object"), objects.c.state == "live")
    .values(state="dead", dead_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What SQL says of an object. `has_upload`: an upload can still make it live."""

    state: str
    is_corrupt: bool
    has_upload: bool


def draw(connection: Connection, digest: Digest, *, now: int) -> int:
    """Write down the copy of a blob before its first byte; returns its id.

    No upload is made of it, and so nothing but this move can make it live. Its digest is known from the beginning, so
    that whoever removes what is dead finds it under every name that it can have.
    """
    return blob_rows.begin(connection, now=now, digest=digest)


def swap(connection: Connection, old: NewObject, copy_id: int, *, now: int) -> bool:
    """Serve a blob from its copy, and retire the old object. False if the blob is no longer served from `old`: it was
    deleted, collected or healed meanwhile, or the copy was given up; then the copy is dead."""
    parameters = {"digest": old.digest.pack(), "object": old.object_id}
    if connection.execute(_SERVED, parameters).first() is None:
        blob_rows.abandon(connection, copy_id, now=now)
        return False
    if connection.execute(_BECOME_LIVE, {"object": copy_id, "bytes": old.size}).rowcount != 1:
        return False
    connection.execute(_SERVE_FROM, {"blob": old.digest.pack(), "object": copy_id})
    if connection.execute(_RETIRE, {"object": old.object_id, "now": now}).rowcount != 1:
        raise RuntimeError(f"object {old.object_id} serves a blob and is not live")
    return True


def newest(connection: Connection) -> int:
    """The highest id of an object, 0 if there is none."""
    found: int | None = connection.execute(select(func.max(objects.c.id))).scalar()
    return found or 0


def states(connection: Connection, object_ids: Iterable[int]) -> dict[int, ObjectState]:
    """What SQL knows of these objects; one that it does not know is left out."""
    rows = connection.execute(
        select(objects.c.id, objects.c.state, objects.c.corrupt_at, _UPLOAD).where(objects.c.id.in_(list(object_ids)))
    )
    return {row[0]: ObjectState(row[1], row[2] is not None, bool(row[3])) for row in rows}


def open_uploads(connection: Connection, upload_ids: Iterable[str]) -> int:
    """How many of these uploads can still be finished."""
    rows = connection.execute(
        select(uploads.c.id).where(uploads.c.id.in_(list(upload_ids)), uploads.c.state != "finished")
    )
    return len(rows.all())


def leftovers(connection: Connection, *, before: int, count: int) -> list[int]:
    """Copies that were begun before a time and never came to their end: their move was killed."""
    where = (objects.c.state == "uploading", objects.c.created_at < before, ~_UPLOAD)
    return list(connection.execute(select(objects.c.id).where(*where).order_by(objects.c.id).limit(count)).scalars())
