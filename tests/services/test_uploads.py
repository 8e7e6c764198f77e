"""Uploads: from bytes to a blob, once and only once."""

import errno
import os
from pathlib import Path

import pytest

from registry.blobstore.base import BlobInfo, ObjectKey
from registry.blobstore.filesystem import FilesystemStore
from registry.blobstore.memory import MemoryStore
from registry.core.byterange import ByteRange
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ChunkOutOfOrder, DigestMismatch, SizeInvalid, Unavailable, UploadUnknown
from registry.services.uploads import Chunk
from tests.services.conftest import LEASE_MS, NAME, OTHER, House, body

pytestmark = pytest.mark.anyio


async def test_a_blob_is_what_was_sent(house: House) -> None:
    """In one request, in chunks, and in the algorithm that only the end names."""
    assert await house.content(await house.blob(b"one request")) == b"one request"
    upload_id = await house.upload(b"two ", b"chunks")
    digest = Digest.of(b"two chunks and an end", Algorithm.SHA512)
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body(b" and an end")))
    assert await house.content(digest) == b"two chunks and an end"


async def test_one_object_a_digest(house: House) -> None:
    """I8: pushing content again, to any repository, leaves one live object; the other bytes and rows go at once."""
    digest = await house.blob(b"x")
    await house.blob(b"x")
    await house.blob(b"x", OTHER)
    assert await house.rows("SELECT state, count(*) FROM objects GROUP BY state") == [("live", 1)]
    assert [info.digest async for info in house.store.iter_objects()] == [digest]


async def test_a_finished_upload_answers_again(house: House) -> None:
    """I7: the same PUT after a lost answer succeeds and changes nothing; another digest does not exist there."""
    upload_id = await house.upload(b"x")
    digest = Digest.of(b"x")
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    before = await house.rows("SELECT * FROM objects")
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    assert await house.rows("SELECT * FROM objects") == before
    with pytest.raises(UploadUnknown):
        await house.uploads.finish(await house.at(NAME), upload_id, Digest.of(b"y"), Chunk(body()))
    with pytest.raises(UploadUnknown):
        await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(b"z")))


async def test_sql_learns_later_of_what_the_store_published(house: House) -> None:
    """A process that died between publishing the bytes and telling SQL: the repeated PUT only tells SQL."""
    upload_id = await house.upload(b"x")
    digest = Digest.of(b"x")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    session = await house.store.resume_upload(upload_id, object_id)
    await session.commit(digest)
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    assert await house.content(digest) == b"x"


async def test_a_sync_that_failed_is_not_asked_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR-10: after a crash between publishing and telling SQL, a failed sync gives the object up: never 201 for it."""
    store = FilesystemStore(tmp_path / "blobs")
    await store.claim("a")
    house.store = store  # type: ignore[assignment]
    upload_id = await house.upload(b"x")
    digest = Digest.of(b"x")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    session = await store.resume_upload(upload_id, object_id)
    await session.commit(digest)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable):
            await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    with pytest.raises(UploadUnknown):
        await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    assert await house.content(await house.blob(b"x")) == b"x"
    await store.aclose()


class Failing(MemoryStore):
    """A store that fails in `confirm`, for as long as a test wants."""

    is_down = False

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As any, where it is not down."""
        if self.is_down:
            raise Unavailable("the S3 service asks for fewer requests")
        return await super().confirm(key)


async def test_a_store_that_is_down_for_a_while_costs_no_upload(house: House) -> None:
    """Its failure says nothing about the object that was published before a crash: the next PUT finds it."""
    store = house.store = Failing()
    upload_id = await house.upload(b"x")
    digest = Digest.of(b"x")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    session = await store.resume_upload(upload_id, object_id)
    await session.commit(digest)
    store.is_down = True
    with pytest.raises(Unavailable):
        await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    store.is_down = False
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body()))
    assert await house.content(digest) == b"x"


async def test_a_wrong_digest_publishes_nothing_and_ends_the_upload(house: House) -> None:
    """And a new upload of the right content is not in its way."""
    upload_id = await house.upload(b"x")
    with pytest.raises(DigestMismatch):
        await house.uploads.finish(await house.at(NAME), upload_id, Digest.of(b"y"), Chunk(body()))
    with pytest.raises(UploadUnknown):
        await house.uploads.status(await house.at(NAME), upload_id)
    with pytest.raises(DigestMismatch):
        await house.uploads.receive_whole(await house.at(NAME), Digest.of(b"y"), body(b"x"))
    assert await house.rows("SELECT * FROM blobs") == []
    assert await house.rows("SELECT * FROM uploads") == []
    assert [upload async for upload in house.store.iter_uploads()] == []
    assert await house.content(await house.blob(b"y")) == b"y"


async def test_a_chunk_belongs_to_the_end(house: House) -> None:
    """CR-34, CR-35: a gap, an overlap or a repeated chunk is refused with the right offset, and nothing changes."""
    upload_id = await house.upload(b"0123")
    for start in (0, 3, 5):
        with pytest.raises(ChunkOutOfOrder) as caught:
            await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(b"45"), ByteRange(start, 2)))
        assert caught.value.facts["offset"] == 4
    assert await house.uploads.status(await house.at(NAME), upload_id) == 4
    assert await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(b"45"), ByteRange(4, 2))) == 6


@pytest.mark.parametrize("sent", [b"4", b"456"])
async def test_a_chunk_is_as_long_as_it_says(house: House, sent: bytes) -> None:
    """CR-37: more or fewer bytes than `Content-Range` names."""
    upload_id = await house.upload(b"0123")
    with pytest.raises(SizeInvalid):
        await house.uploads.append(await house.at(NAME), upload_id, Chunk(body(sent), ByteRange(4, 2)))


async def test_an_upload_belongs_to_its_repository(house: House) -> None:
    """SEC-050: the id of an upload means nothing in another repository."""
    upload_id = await house.upload(b"x")
    for attempt in (
        house.uploads.status(await house.at(OTHER), upload_id),
        house.uploads.cancel(await house.at(OTHER), upload_id),
        house.uploads.append(await house.at(OTHER), upload_id, Chunk(body(b"y"))),
        house.uploads.finish(await house.at(OTHER), upload_id, Digest.of(b"x"), Chunk(body())),
    ):
        with pytest.raises(UploadUnknown):
            await attempt
    assert await house.uploads.status(await house.at(NAME), upload_id) == 1


async def test_a_cancelled_upload_is_gone(house: House) -> None:
    """Its bytes too, and its object is dead."""
    upload_id = await house.upload(b"x")
    await house.uploads.cancel(await house.at(NAME), upload_id)
    with pytest.raises(UploadUnknown):
        await house.uploads.status(await house.at(NAME), upload_id)
    assert [upload async for upload in house.store.iter_uploads()] == []
    assert await house.rows("SELECT state FROM objects") == [("dead",)]


async def test_an_announced_digest_without_bytes_opens_an_upload(house: House) -> None:
    """Old tools send the content later; but the empty blob is complete."""
    assert await house.uploads.receive_whole(await house.at(NAME), Digest.of(b""), body()) is None
    upload_id = await house.uploads.receive_whole(await house.at(NAME), Digest.of(b"x"), body())
    assert upload_id is not None
    await house.uploads.finish(await house.at(NAME), upload_id, Digest.of(b"x"), Chunk(body(b"x")))
    assert await house.content(Digest.of(b"x")) == b"x"


async def test_a_mount_links_what_the_source_shows(house: House) -> None:
    """T5: without bytes; from a repository that does not show it, or of a corrupt blob, there is no mount."""
    digest = await house.blob(b"x")
    assert await house.uploads.mount(await house.at(OTHER), digest, await house.source(NAME))
    assert await house.uploads.mount(await house.at(OTHER), digest, await house.source(None))
    assert await house.content(digest, OTHER) == b"x"
    assert not await house.uploads.mount(await house.at(OTHER), Digest.of(b"y"), await house.source(None))
    hidden = await house.blob(b"hidden", OTHER)
    assert not await house.uploads.mount(await house.at(NAME), hidden, await house.source(NAME))
    await house.database.write(lambda connection: connection.exec_driver_sql("UPDATE objects SET corrupt_at = 1"))
    assert not await house.uploads.mount(await house.at(NAME), hidden, await house.source(OTHER))


async def test_a_corrupt_blob_is_replaced_by_the_next_push(house: House) -> None:
    """CR-31: the new bytes serve, under a new object; the old object is dead."""
    digest = await house.blob(b"x")
    await house.database.write(lambda connection: connection.exec_driver_sql("UPDATE objects SET corrupt_at = 1"))
    await house.blob(b"x")
    assert await house.content(digest) == b"x"
    assert await house.rows("SELECT state, corrupt_at FROM objects ORDER BY id") == [("dead", 1), ("live", None)]


async def test_a_lost_object_is_replaced_though_nobody_noticed(house: House) -> None:
    """CR-31: one look at the store, when the same content comes again, is enough."""
    digest = await house.blob(b"x")
    [info] = [info async for info in house.store.iter_objects()]
    await house.store.delete(info.object_id, info.digest)
    await house.blob(b"x")
    assert await house.content(digest) == b"x"


async def test_the_lease_of_an_unused_blob_is_lengthened(house: House) -> None:
    """T6: a positive answer holds for half a lease at least, and costs no write while the lease is long."""
    digest = await house.blob(b"x")
    await house.pull.stat_blob(await house.at(NAME), digest)
    assert await house.rows("SELECT protect_until FROM blobs") == [(house.now + LEASE_MS,)]
    house.now += LEASE_MS // 2 + 1
    await house.pull.stat_blob(await house.at(NAME), digest)
    assert await house.rows("SELECT protect_until FROM blobs") == [(house.now + LEASE_MS,)]
