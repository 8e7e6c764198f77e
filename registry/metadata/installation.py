"""The row that says which installation this database is, and some figures of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, cast, delete, exists, extract, func, insert, select, text, update
from sqlalchemy.engine import Connection

from registry.metadata import collection
from registry.metadata.insert import insert as insert_or
from registry.metadata.schema import blobs, installation, manifests, objects, repositories, tags, uploads

IDS_SKIPPED = 1_000_000
"""Object ids that may have been given out without anything that tells of them: before a power cut they had not reached
the disk, and before the return to a backup their objects were not in the store yet."""


LOCK_LIMIT_MS = 200


@dataclass(frozen=True, slots=True)
class Installed:
    """`identity` never changes; `boot_id` is that of the last start."""

    identity: str
    boot_id: str


def find(connection: Connection) -> Installed | None:
    """The installation, None in a new database."""
    row = connection.execute(select(installation.c.identity, installation.c.boot_id)).first()
    return None if row is None else Installed(row[0], row[1])


def create(connection: Connection, made: Installed, *, now: int) -> Installed:
    """Write the row of a new database; returns the row that is there, which another process may have written."""
    row = {"id": 1, "identity": made.identity, "boot_id": made.boot_id, "created_at": now}
    connection.execute(insert_or(connection, installation).on_conflict_do_nothing(), row)
    found = find(connection)
    assert found is not None
    return found


_CLOCK = select(cast(extract("epoch", func.clock_timestamp()) * 1000, BigInteger))


def clock(connection: Connection) -> int | None:
    """What the clock of the database says, in ms since 1970 UTC; None where it is that of this machine."""
    if connection.dialect.name != "postgresql":
        return None
    return connection.execute(_CLOCK).scalar_one()


def touch(connection: Connection) -> None:
    """Write the row as it is, to learn whether writing works. Where somebody holds it, that somebody writes already."""
    free = select(installation.c.id).with_for_update(skip_locked=True)
    connection.execute(update(installation).where(installation.c.id.in_(free)).values(identity=installation.c.identity))


def has_content(connection: Connection) -> bool:
    """Whether any blob is known."""
    return bool(connection.execute(select(exists().where(blobs.c.digest.is_not(None)))).scalar())


def note_boot(connection: Connection, boot_id: str) -> None:
    """Remember the boot of this machine. Where the database is a file of it, give out no object id within `IDS_SKIPPED`
    of the newest one that is known; a database server did not boot with us, and makes ids durable (`blobs.begin`)."""
    connection.execute(update(installation).values(boot_id=boot_id))
    if connection.dialect.name != "postgresql":
        _give_out_after(connection, last_id(connection) + IDS_SKIPPED)


_LAST_ID = {
    "sqlite": text("SELECT seq FROM sqlite_sequence WHERE name = 'objects'"),
    "postgresql": text("SELECT pg_sequence_last_value(pg_get_serial_sequence('objects', 'id')::regclass)"),
}
_SET_LAST_ID = text("SELECT setval(pg_get_serial_sequence('objects', 'id'), :id)")


def last_id(connection: Connection) -> int:
    """The newest object id that was given out or skipped, 0 before the first."""
    return connection.execute(_LAST_ID[connection.dialect.name]).scalar() or 0


def skip_ids(connection: Connection, seen: int) -> None:
    """Let an object of the id `seen` be none that is yet to come: where ids have not got as far, go on `IDS_SKIPPED`
    behind it. Once this is committed, every id up to `seen` has its row, or has had it, or will never be given out."""
    if connection.dialect.name == "postgresql":
        # Nobody is then between drawing an id, which is seen by all at once, and the commit of its row, which is not.
        # Whoever pushes queues up behind this, so it does not wait for a VACUUM: the job comes again.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_LIMIT_MS}")
        connection.exec_driver_sql("LOCK TABLE objects IN SHARE ROW EXCLUSIVE MODE")
    if seen > last_id(connection):
        _give_out_after(connection, seen + IDS_SKIPPED)


def _give_out_after(connection: Connection, last: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_SET_LAST_ID, {"id": last})
        return
    connection.execute(insert(objects), {"id": last, "state": "dead", "created_at": 0, "dead_at": 0})
    connection.execute(delete(objects).where(objects.c.id == last))


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts, and sizes in bytes."""

    repositories: int
    tags: int
    manifests: int
    manifest_bytes: int
    blobs: int
    blob_bytes: int
    corrupt_objects: int
    dead_objects: int
    dead_bytes: int
    uploads_open: int


def stats(connection: Connection) -> Stats:
    """What the registry holds, counted."""

    def count(table: object, *where: object) -> int:
        query = select(func.count()).select_from(table).where(*where)  # type: ignore[arg-type]
        return connection.execute(query).scalar_one()

    def total(column: Any) -> int:
        # A sum of integers is a decimal number to PostgreSQL.
        return int(connection.execute(select(func.coalesce(func.sum(column), 0))).scalar_one())

    dead_objects, dead_bytes = collection.waiting(connection)
    return Stats(
        repositories=count(repositories),
        tags=count(tags),
        manifests=count(manifests),
        manifest_bytes=total(manifests.c.payload_size),
        blobs=count(blobs),
        blob_bytes=total(blobs.c.size),
        corrupt_objects=count(objects, objects.c.state == "live", objects.c.corrupt_at.is_not(None)),
        dead_objects=dead_objects,
        dead_bytes=dead_bytes,
        uploads_open=count(uploads, uploads.c.state != "finished"),
    )
