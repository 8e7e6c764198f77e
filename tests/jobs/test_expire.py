"""Expiry, T10: uploads that nobody goes on with leave nothing in SQL or the store; those that somebody is at, stay."""

import pytest

from registry.blobstore.base import BlobInfo, ObjectKey
from registry.blobstore.memory import MemoryStore
from registry.core.digest import Algorithm, Digest
from registry.core.errors import UploadUnknown
from registry.jobs.upkeep import EXPIRE
from registry.metadata import logins
from registry.metadata.database import Connection
from registry.services.uploads import Chunk
from tests.jobs.conftest import GRACES, collect_all, work
from tests.services.conftest import LEASE_MS, NAME, House, body

pytestmark = pytest.mark.anyio


async def left(house: House) -> tuple[int, int, int]:
    """Rows of uploads, rows of objects, uploads in the store."""
    [(uploads,), (objects,)] = await house.rows(
        "SELECT count(*) FROM uploads UNION ALL SELECT count(*) FROM objects WHERE state <> 'dead'"
    )
    return uploads, objects, len([upload async for upload in house.store.iter_uploads()])


async def test_an_upload_ends_when_it_has_been_idle_for_too_long(house: House) -> None:
    """T10: not before; then row and bytes go, and a client is told that there is no such upload."""
    upload_id = await house.upload(b"begun")
    house.now += LEASE_MS
    await work(house, EXPIRE)
    assert await left(house) == (1, 1, 1)
    await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(b" and gone on with")))
    house.now += LEASE_MS
    await work(house, EXPIRE)
    assert await left(house) == (1, 1, 1)
    house.now += 1
    assert await work(house, EXPIRE) == {"expired": 1, "expired_bytes": 22}
    assert await left(house) == (0, 0, 0)
    with pytest.raises(UploadUnknown):
        await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(b"?")))
    await collect_all(house)
    assert await house.rows("SELECT * FROM objects") == []


async def test_an_upload_that_somebody_holds_stays(house: House) -> None:
    """A body that takes longer than the lifetime: its upload is left alone, and gets more time."""
    upload_id = await house.upload(b"slow ")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    session = await house.store.resume_upload(upload_id, object_id)
    house.now += LEASE_MS + 1
    assert await work(house, EXPIRE) == {"busy": 1}
    assert await house.rows("SELECT expires_at FROM uploads") == [(house.now + LEASE_MS,)]
    await session.write([b"body"])
    await session.suspend()
    digest = Digest.of(b"slow body")
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    assert await house.content(digest) == b"slow body"


async def test_an_upload_without_bytes_in_the_store_ends_too(house: House) -> None:
    """A crash may leave the row alone. But it may also be that the bytes have just been published: not at once."""
    upload_id = await house.upload(b"x")
    await house.store.remove_upload(upload_id)
    house.now += LEASE_MS + 60_000
    assert await work(house, EXPIRE) == {}
    house.now += 1
    assert await work(house, EXPIRE) == {"expired": 1}
    assert await left(house) == (0, 0, 0)


async def test_an_upload_that_is_being_committed_stays(house: House) -> None:
    """Its body took longer than the lifetime, and expiry comes between the last byte and the transaction (T3)."""

    class Expiring(MemoryStore):
        async def stat(self, key: ObjectKey) -> BlobInfo | None:
            """As any, after a round."""
            house.now += LEASE_MS + 1
            assert await work(house, EXPIRE) == {"forgotten": 1}
            return await super().stat(key)

    house.store = Expiring()
    await house.blob(b"same")
    digest = await house.blob(b"same")
    assert await house.content(digest) == b"same"


async def test_a_finished_upload_is_forgotten(house: House) -> None:
    """It answers a repeated PUT until its time is over; the blob stays."""
    upload_id = await house.upload(b"done")
    digest = Digest.of(b"done")
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    house.now += LEASE_MS
    await work(house, EXPIRE)
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    house.now += 1
    assert await work(house, EXPIRE) == {"forgotten": 1}
    assert await house.rows("SELECT state FROM objects") == [("live",)]
    assert await house.content(digest) == b"done"


async def test_many_expire_in_pages(house: House) -> None:
    """More than one page of each, with one in between that is held."""
    ids = [await house.upload(str(number).encode()) for number in range(250)]
    [(object_id,)] = await house.rows(f"SELECT object_id FROM uploads WHERE id = '{ids[120]}'")
    session = await house.store.resume_upload(ids[120], object_id, Algorithm.SHA256)
    house.now += LEASE_MS + 1
    did = await work(house, EXPIRE)
    assert (did["expired"], did["busy"]) == (249, 1)
    await session.abort()


async def test_objects_that_nobody_will_become_die(house: House) -> None:
    """After two lifetimes, and not those that an upload names."""
    await house.upload(b"x")
    await house.database.write(
        lambda connection: connection.exec_driver_sql(
            f"INSERT INTO objects (state, created_at) VALUES ('uploading', {house.now})"
        )
    )
    house.now += 2 * LEASE_MS
    await house.rows("SELECT 1")
    await house.database.write(
        lambda connection: connection.exec_driver_sql(f"UPDATE uploads SET expires_at = {house.now}").rowcount
    )
    assert await work(house, EXPIRE) == {}
    house.now += 1
    await house.database.write(
        lambda connection: connection.exec_driver_sql(f"UPDATE uploads SET expires_at = {house.now}").rowcount
    )
    assert await work(house, EXPIRE) == {"orphans": 1}
    assert await house.rows("SELECT state, dead_at FROM objects ORDER BY id") == [
        ("uploading", None),
        ("dead", house.now),
    ]


async def test_transfers_go_when_nothing_of_them_is_left(house: House) -> None:
    """Those of live objects and of objects that are gone; not of open uploads, and not of what T9 has yet to remove."""
    open_id, finished_id, expired_id = [await house.upload(name) for name in (b"open", b"finished", b"expired")]
    [(object_of_open,), (object_of_finished,), (object_of_expired,)] = await house.rows(
        "SELECT object_id FROM uploads ORDER BY object_id"
    )
    for upload_id, object_id in (
        (open_id, object_of_open),
        (finished_id, object_of_finished),
        (expired_id, object_of_expired),
        ("0" * 32, 999_999),
    ):
        await house.database.write(
            lambda connection, upload_id=upload_id, object_id=object_id: connection.exec_driver_sql(  # type: ignore[misc]
                "INSERT INTO transfers (upload_id, object_id, epoch, leased_until, tail_size, created_at)"
                f" VALUES ('{upload_id}', {object_id}, 0, 0, 0, 0)"
            )
        )
    await house.uploads.finish(await house.at(NAME), finished_id, Digest.of(b"finished"), Chunk(body()))
    house.now += 1
    await house.database.write(
        lambda connection: connection.exec_driver_sql(f"UPDATE uploads SET expires_at = 0 WHERE id = '{expired_id}'")
    )
    assert await work(house, EXPIRE) == {"expired": 1, "expired_bytes": 7, "transfers": 2}
    assert await house.rows("SELECT object_id FROM transfers ORDER BY 1") == [(object_of_open,), (object_of_expired,)]
    await collect_all(house)
    await work(house, EXPIRE)
    assert await house.rows("SELECT object_id FROM transfers") == [(object_of_open,)]


async def test_sql_is_tidied(house: House) -> None:
    """Events after a week, failed logins after their window, tokens a month after their end; in pages."""
    day = 24 * 3_600_000
    house.now = 100 * day

    def fill(connection: Connection) -> None:
        for number in range(1200):
            at = house.now - 7 * day - (1 if number < 1100 else 0)
            connection.exec_driver_sql(f"INSERT INTO outbox (created_at, event) VALUES ({at}, '{number}')")
        for number in range(700):
            logins.count_attempt(connection, [f"account:{number}"], now=house.now, window_ms=10**15)

    await house.database.write(fill)
    assert await work(house, "trim-outbox") == {"events": 1100}
    house.now += GRACES.login_window_ms
    assert await work(house, "forget-logins") == {}
    house.now += 1
    assert await work(house, "forget-logins") == {"failures": 700}
