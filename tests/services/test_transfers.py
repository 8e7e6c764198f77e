"""The ledger of an object store's uploads, on each kind of database: who holds an upload, and that nobody else changes
it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from registry.blobstore.ledger import LEASE_MS, Hold, Part, Tail
from registry.core.digest import Digest
from registry.core.errors import UploadBusy, UploadUnknown
from registry.metadata import blobs, transfers, uploads
from registry.metadata.database import Connection
from registry.metadata.postgresql import PostgresqlDatabase
from registry.services.transfers import Transfers
from tests.backends.postgresql import PostgresqlBackend
from tests.running import wait_until
from tests.services.conftest import NAME, House

pytestmark = pytest.mark.anyio

UPLOAD = "0" * 31 + "1"
DIGEST = Digest.of(b"content")


@pytest.fixture
def ledger(house: House) -> Transfers:
    """One with the clock of the house."""
    return Transfers(house.database, house.clock)


async def test_an_upload_is_begun_once(ledger: Transfers) -> None:
    made = await ledger.begin(UPLOAD, 7)
    assert (made.epoch, made.offset, made.object_id) == (1, 0, 7)
    for upload_id, object_id in ((UPLOAD, 7), (UPLOAD, 8), ("0" * 32, 7)):
        with pytest.raises(UploadBusy):
            await ledger.begin(upload_id, object_id)
    assert await ledger.find(UPLOAD) == await ledger.find_object(7)
    assert await ledger.find_object(8) is None


async def test_it_is_taken_when_it_is_free_or_its_lease_is_over(house: House, ledger: Transfers) -> None:
    made = await ledger.begin(UPLOAD, 7)
    house.now += LEASE_MS - 1
    with pytest.raises(UploadBusy):
        await ledger.take(UPLOAD)
    await ledger.renew(made.hold)
    house.now += LEASE_MS - 1
    with pytest.raises(UploadBusy):
        await ledger.take(UPLOAD)
    house.now += 1
    second = await ledger.take(UPLOAD)
    assert second.epoch == 2
    await ledger.release(second.hold)
    third = await ledger.take(UPLOAD)
    assert third.epoch == 3
    with pytest.raises(UploadUnknown):
        await ledger.take("0" * 32)


async def test_numbers_of_parts_that_may_come_late_are_skipped_for_good(house: House, ledger: Transfers) -> None:
    """CR-06: that of each holder that never let go; whoever comes after the next one does not use it either."""
    first = await ledger.begin(UPLOAD, 7)
    await ledger.record_multipart(first.hold, "multipart")
    await ledger.record_part(first.hold, Part(1, "etag", 100), None)
    for last_part in (2, 3):
        house.now += LEASE_MS
        assert (await ledger.take(UPLOAD)).last_part == last_part
    await ledger.release(Hold(UPLOAD, 3))
    last = await ledger.take(UPLOAD)
    assert (last.last_part, last.offset) == (3, 100)
    await ledger.record_part(last.hold, Part(4, "last", 50), None)
    assert await ledger.parts(last.hold) == [Part(1, "etag", 100), Part(4, "last", 50)]


async def test_of_many_that_take_it_at_once_one_has_it(ledger: Transfers) -> None:
    await ledger.release((await ledger.begin(UPLOAD, 7)).hold)
    results = await asyncio.gather(*(ledger.take(UPLOAD) for _ in range(16)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, UploadBusy) for result in results) == 15


async def test_whoever_was_replaced_changes_nothing(house: House, ledger: Transfers) -> None:
    """CR-06: each step names its epoch."""
    old = (await ledger.begin(UPLOAD, 7)).hold
    house.now += LEASE_MS
    current = (await ledger.take(UPLOAD)).hold
    await ledger.record_multipart(current, "multipart")
    await ledger.record_part(current, Part(1, "etag", 100), b"state")
    before = await ledger.find(UPLOAD)
    steps: list[Callable[[Hold], Awaitable[object]]] = [
        ledger.renew,
        ledger.release,
        lambda hold: ledger.keep(hold, Tail(hold.epoch, 5), None),
        lambda hold: ledger.record_multipart(hold, "other"),
        lambda hold: ledger.record_part(hold, Part(2, "other", 100), None),
        lambda hold: ledger.begin_publishing(hold, DIGEST),
        lambda hold: ledger.record_commit(hold, DIGEST, 100),
        ledger.replace_object,
        ledger.give_up,
    ]
    for step in steps:
        with pytest.raises(UploadBusy):
            await step(old)
    await ledger.remove(old)
    assert await ledger.find(UPLOAD) == before
    assert await ledger.parts(current) == [Part(1, "etag", 100)]
    assert await house.rows("SELECT id FROM objects") == []


async def test_parts_and_tail_make_the_offset(ledger: Transfers) -> None:
    hold = (await ledger.begin(UPLOAD, 7)).hold
    await ledger.keep(hold, Tail(1, 30), b"thirty")
    second = await ledger.take(UPLOAD)
    assert (second.offset, second.tail, second.hash_state) == (30, Tail(1, 30), b"thirty")
    await ledger.record_multipart(second.hold, "multipart")
    await ledger.record_part(second.hold, Part(1, "etag", 100), b"hundred")
    await ledger.record_part(second.hold, Part(1, "once more", 100), b"hundred")
    await ledger.record_part(second.hold, Part(3, "after a gap", 2**33), None)
    found = await ledger.find(UPLOAD)
    assert found is not None
    assert (found.offset, found.tail, found.hash_state, found.last_part) == (100 + 2**33, None, None, 3)
    assert await ledger.parts(second.hold) == [Part(1, "once more", 100), Part(3, "after a gap", 2**33)]


async def test_publishing_begins_once_and_a_commit_is_the_end(ledger: Transfers) -> None:
    hold = (await ledger.begin(UPLOAD, 7)).hold
    assert await ledger.begin_publishing(hold, DIGEST)
    assert not await ledger.begin_publishing(hold, DIGEST)
    assert await ledger.unfinished("", 10) == [UPLOAD]
    await ledger.record_commit(hold, DIGEST, 7)
    found = await ledger.find(UPLOAD)
    assert found is not None and (found.publishing, found.committed_size) == (DIGEST, 7)
    assert await ledger.unfinished("", 10) == []
    with pytest.raises(UploadUnknown):
        await ledger.take(UPLOAD)


async def test_a_new_object_takes_the_place_of_the_old_one(house: House, ledger: Transfers) -> None:
    """The upload's row follows, the old object is dead, and nothing that was recorded of it counts any more."""
    upload_id = await house.uploads.start(await house.at(NAME))
    [(old,)] = await house.rows("SELECT object_id FROM uploads")
    hold = (await ledger.begin(upload_id, old)).hold
    await ledger.record_multipart(hold, "multipart")
    await ledger.record_part(hold, Part(1, "etag", 100), b"state")
    assert await ledger.begin_publishing(hold, DIGEST)
    fresh = await ledger.replace_object(hold)
    found = await ledger.find_object(fresh)
    assert found is not None
    assert (found.offset, found.multipart_id, found.publishing, found.last_part) == (0, None, None, 0)
    assert await house.rows("SELECT object_id FROM uploads") == [(fresh,)]
    assert sorted(await house.rows("SELECT id, state FROM objects")) == [(old, "dead"), (fresh, "uploading")]
    assert await ledger.begin_publishing(hold, DIGEST)


@pytest.mark.parametrize("first", ["replaced", "forgotten"])
async def test_an_upload_that_is_forgotten_while_its_object_changes(
    postgresql_backend: PostgresqlBackend, first: str
) -> None:
    """Whichever of two transactions comes first, the other one waits for it: no object stays that nobody will become.
    (SQLite has one writer at a time.)"""
    database = postgresql_backend.new()
    assert isinstance(database, PostgresqlDatabase)
    house = House(database)
    ledger = Transfers(database, house.clock)
    upload_id = await house.upload(b"x")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    hold = (await ledger.begin(upload_id, object_id)).hold
    is_done, go_on = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        if first == "replaced":
            transfers.replace_object(connection, upload_id, held=hold.epoch, now=1)
        else:
            assert uploads.remove(connection, upload_id)
            blobs.abandon(connection, object_id, now=1)
        is_done.set()
        assert go_on.wait(30)

    changing = asyncio.ensure_future(database.write(change))
    await asyncio.to_thread(is_done.wait, 30)
    other: Awaitable[object]
    other = house.uploads.cancel(await house.at(NAME), upload_id) if first == "replaced" else ledger.give_up(hold)
    following = asyncio.ensure_future(other)

    cluster, name = postgresql_backend.cluster, str(database.url.database)
    await asyncio.to_thread(wait_until, lambda: following.done() or cluster.is_waiting(name))
    go_on.set()
    await asyncio.gather(changing, following)
    assert await house.rows("SELECT id FROM uploads") == []
    assert await house.rows("SELECT id FROM objects WHERE state <> 'dead'") == []


async def test_an_object_is_taken_from_whoever_holds_it(ledger: Transfers) -> None:
    hold = (await ledger.begin(UPLOAD, 7)).hold
    seized = await ledger.seize(7)
    assert seized is not None and seized.epoch == 2
    with pytest.raises(UploadBusy):
        await ledger.renew(hold)
    await ledger.remove(seized.hold)
    await ledger.remove(seized.hold)
    assert await ledger.seize(7) is None
    assert await ledger.find(UPLOAD) is None


async def test_a_removed_upload_takes_its_parts_along(house: House, ledger: Transfers) -> None:
    hold = (await ledger.begin(UPLOAD, 7)).hold
    await ledger.record_part(hold, Part(1, "etag", 100), None)
    await ledger.remove(hold)
    count = await house.database.read(
        lambda connection: connection.execute(text("SELECT count(*) FROM transfer_parts")).scalar()
    )
    assert count == 0


async def test_pages_of_unfinished_uploads(ledger: Transfers) -> None:
    ids = [f"{number:032x}" for number in range(5)]
    for number, upload_id in enumerate(ids):
        await ledger.begin(upload_id, number)
    assert await ledger.unfinished("", 2) == ids[:2]
    assert await ledger.unfinished(ids[1], 10) == ids[2:]
