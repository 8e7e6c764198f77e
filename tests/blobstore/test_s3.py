"""The contract on versitygw, with the ledger that the registry uses, and what only this back end promises."""

import asyncio
import datetime as dt
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from registry.blobstore import resumable_hash, s3, s3_lease, s3_reader
from registry.blobstore.base import BlobInfo, BlobStore, ObjectKey, UploadSession
from registry.blobstore.ledger import LEASE_MS, Hold, Part
from registry.blobstore.resumable_hash import ResumableHash
from registry.blobstore.s3_client import Direct, PartsLost, S3Client
from registry.blobstore.s3_keys import PART_SIZES, Keys
from registry.blobstore.s3_workshop import Workshop
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ContentCorrupt, DigestMismatch, Unavailable, UploadBusy, UploadUnknown
from registry.core.limits import CHUNK_BYTES
from registry.services.transfers import Transfers
from tests.backends.s3 import S3Service, service
from tests.blobstore.s3_world import MIN_PART, QUICK, SMALL_PARTS, START, World
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import Backend, half_done, new_id, new_key, objects, put, read, sample, uploads
from tests.certificates import make_pair
from tests.running import free_port, wait_until


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture
async def world(versitygw: S3Service, tmp_path: Path) -> AsyncIterator[World]:
    """A bucket and a database of its own."""
    async with World.open(versitygw, tmp_path) as world:
        yield world


@pytest.fixture
def backend(world: World) -> Backend:
    """Stores on the same bucket and the same ledger."""
    return world.backend


BORDER = MIN_PART


@pytest.fixture
async def parts(versitygw: S3Service, tmp_path: Path) -> AsyncIterator[World]:
    """With parts of 5 MiB, the least that a service takes."""
    async with World.open(versitygw, tmp_path, part_sizes=SMALL_PARTS) as world:
        yield world


async def begun(world: World, content: bytes, *, store: BlobStore | None = None) -> tuple[str, int]:
    """A suspended upload of `content`: its id and its object's."""
    upload_id, object_id, _ = await half_done(store or world.backend.store, content)
    return upload_id, object_id


def assert_tidy(world: World, *infos: BlobInfo) -> None:
    """I8: nothing but these objects is in the bucket, no multipart upload and no file on this machine."""
    assert sorted(world.keys().values()) == sorted(info.size for info in infos)
    assert world.keys("checks/") == {}
    assert world.multiparts() == []
    assert not world.spool.exists() or list(world.spool.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, BORDER - 1, BORDER, BORDER + 1, 2 * BORDER, 3 * BORDER + 7])
@pytest.mark.parametrize("split", ["whole", "chunks", "nodes"])
async def test_sizes_around_the_borders_of_parts(parts: World, size: int, split: str) -> None:
    """In one session, in many on one node, and on a new node for each: the same bytes, and nothing left over."""
    content = sample(size, seed=size)
    key = new_key(content)
    upload_id = new_id()
    session = await parts.backend.store.create_upload(upload_id, key.object_id)
    step = max(1, size if split == "whole" else size // 3 + 1)
    for start in range(0, size, step):
        await session.write([content[start : start + step]])
        if split != "whole":
            await session.suspend()
            store = parts.backend.another() if split == "nodes" else parts.backend.store
            assert await store.upload_offset(upload_id) == min(start + step, size)
            session = await store.resume_upload(upload_id, key.object_id)
    info = await session.commit(key.digest)
    assert info == BlobInfo(key, size)
    assert await read(parts.backend.store, key) == content
    assert_tidy(parts, info)


async def test_a_small_blob_costs_one_request_and_a_download_one(world: World) -> None:
    info = await put(world.backend.store, sample(100_000))
    assert world.calls() - Counter(START) == Counter({"PutObject": 1})
    await read(world.backend.store, info.key)
    assert world.calls() - Counter(START) == Counter({"PutObject": 1, "GetObject": 1})


async def test_an_upload_goes_on_elsewhere_without_reading_what_was_stored(parts: World) -> None:
    """Another node fetches the tail, and nothing else; the node that stored it not even that. The hash goes along."""
    content = sample(2 * BORDER + 1000)
    cuts = [BORDER + 100, BORDER + 200, 2 * BORDER + 500, len(content)]
    upload_id, object_id = await begun(parts, content[: cuts[0]])
    stores = [parts.backend.store, parts.backend.another(), parts.backend.another()]
    for store, start, end in zip(stores, cuts, cuts[1:], strict=False):
        before = parts.calls()["GetObject"]
        session = await store.resume_upload(upload_id, object_id)
        await session.write([content[start:end]])
        assert parts.calls()["GetObject"] - before == (0 if store is stores[0] else 1)
        if end < len(content):
            await session.suspend()
    before = parts.calls()["GetObject"]
    info = await session.commit(Digest.of(content))
    assert parts.calls()["GetObject"] == before
    assert await read(stores[0], info.key) == content
    assert_tidy(parts, info)


async def test_without_the_library_the_object_is_read_again(parts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_hash, "_engine", lambda _algorithm: None)
    content = sample(2 * BORDER + 1000)
    upload_id, object_id = await begun(parts, content[: BORDER + 1])
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    await session.write([content[BORDER + 1 :]])
    info = await session.commit(Digest.of(content))
    assert await read(parts.backend.store, info.key) == content
    upload_id, object_id = await begun(parts, content[: BORDER + 1])
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    await session.write([content[BORDER + 1 :]])
    with pytest.raises(DigestMismatch) as caught:
        await session.commit(Digest.of(b"other"))
    assert caught.value.facts["actual"] == str(Digest.of(content))
    assert_tidy(parts, info)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_what_was_sent_once_more_in_parts_gets_a_new_object(parts: World, algorithm: Algorithm) -> None:
    """A client whose answer got lost sends everything again. The key of the object that was begun is not written a
    second time: the content moves to a new one, and the old one is dead."""
    content = sample(BORDER + 5000)
    upload_id, object_id = await begun(parts, content)
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    await session.write([content])
    info = await session.commit(Digest.of(content, algorithm))
    assert info.size == len(content) and info.key.object_id != object_id
    assert await read(parts.backend.store, info.key) == content
    assert await parts.backend.store.confirm(info.key) == info
    assert_tidy(parts, info)


@pytest.mark.parametrize("size", [1000, BORDER + 1000, 2 * BORDER + 1000])
@pytest.mark.parametrize("ending", ["abort", "mismatch", "remove", "delete"])
async def test_i8_whatever_ends_an_upload_leaves_nothing(parts: World, size: int, ending: str) -> None:
    store, content = parts.backend.store, sample(size)
    upload_id, object_id = await begun(parts, content[:-1])
    session = await store.resume_upload(upload_id, object_id)
    await session.write([content[-1:]])
    if ending == "abort":
        await session.abort()
    elif ending == "mismatch":
        with pytest.raises(DigestMismatch):
            await session.commit(Digest.of(b"other"))
    else:
        await session.suspend()
        await (store.remove_upload(upload_id) if ending == "remove" else store.delete(object_id, None))
    assert_tidy(parts)
    assert await uploads(store) == set()
    with pytest.raises(UploadUnknown):
        await store.resume_upload(upload_id, object_id)
    for _ in range(2):
        await store.delete(object_id, None)
        await store.remove_upload(upload_id)


async def abandoned(world: World, content: bytes) -> tuple[str, int, UploadSession]:
    """An upload whose process is stopped after it wrote `content`; its lease is over."""
    upload_id, object_id = new_id(), new_key(content).object_id
    session = await world.backend.store.create_upload(upload_id, object_id)
    await session.write([content])
    with pytest.raises(UploadBusy):
        await world.backend.another().resume_upload(upload_id, object_id)
    world.ahead_ms += LEASE_MS + 1
    return upload_id, object_id, session


async def sent(world: World, upload_id: str, offset: int) -> None:
    """Wait until so many bytes are recorded."""
    deadline = asyncio.get_running_loop().time() + 10
    while await world.backend.store.upload_offset(upload_id) != offset:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_cr01_a_dead_session_is_taken_over_after_its_lease(parts: World) -> None:
    """What it had in recorded parts counts, and nothing else."""
    content = sample(2 * BORDER + 1000)
    upload_id, object_id, _ = await abandoned(parts, content[: BORDER + 500])
    await sent(parts, upload_id, BORDER)
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    assert session.offset == BORDER
    await session.write([content[BORDER:]])
    info = await session.commit(Digest.of(content))
    assert await read(parts.backend.store, info.key) == content
    assert_tidy(parts, info)


@pytest.mark.parametrize("then", ["write", "commit", "suspend", "abort"])
async def test_cr06_a_zombie_changes_nothing_after_a_takeover(parts: World, then: str) -> None:
    content = sample(2 * BORDER + 1000)
    upload_id, object_id, zombie = await abandoned(parts, content[: BORDER + 500])
    await sent(parts, upload_id, BORDER)
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    before, keys = parts.calls(), parts.keys()
    wrong = {
        "write": lambda: zombie.write([bytes(2 * BORDER)]),
        "commit": lambda: zombie.commit(Digest.of(content[: BORDER + 500])),
        "suspend": zombie.suspend,
        "abort": zombie.abort,
    }
    with pytest.raises(UploadBusy):
        await wrong[then]()
    assert (parts.calls()["PutObject"], parts.calls()["UploadPart"]) == (before["PutObject"], before["UploadPart"])
    assert parts.keys() == keys
    await session.write([content[BORDER:]])
    info = await session.commit(Digest.of(content))
    assert await read(parts.backend.store, info.key) == content
    assert_tidy(parts, info)


async def taken_over(world: World, upload_id: str, object_id: int, content: bytes) -> BlobInfo:
    """Another node takes the upload after the lease, and finishes it from where it is recorded."""
    world.ahead_ms += LEASE_MS + 1
    session = await world.backend.another().resume_upload(upload_id, object_id)
    await session.write([content[session.offset :]])
    return await session.commit(Digest.of(content))


async def test_cr06_a_zombie_whose_part_comes_too_late_removes_nothing(
    parts: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told that there is no such multipart upload: because another session has published the object."""
    content = sample(2 * BORDER + 1000)
    upload_id, object_id = new_id(), new_key(content).object_id
    client, goes_on, put_part = parts.clients[0], threading.Event(), S3Client.put_part

    def late(*arguments: Any) -> str:
        assert goes_on.wait(30)
        return put_part(client, *arguments)

    monkeypatch.setattr(client, "put_part", late)
    zombie = await parts.backend.store.create_upload(upload_id, object_id)
    await zombie.write([content[: BORDER + 500]])
    await wait_for(lambda: len(parts.multiparts()) == 1)
    info = await taken_over(parts, upload_id, object_id, content)
    goes_on.set()
    with pytest.raises((UploadBusy, UploadUnknown)):
        await zombie.commit(Digest.of(content[: BORDER + 500]))
    assert await read(parts.backend.store, info.key) == content
    assert_tidy(parts, info)


async def test_cr06_a_part_that_comes_after_two_more_sessions_hits_nothing(
    parts: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which the first let go without having sent a part, and the second is about to publish."""
    content = sample(3 * BORDER + 1000)
    client, store, sent_late = parts.clients[0], parts.backend.another(), threading.Event()
    goes_on, put_part = threading.Event(), S3Client.put_part

    def late(*arguments: Any) -> str:
        if arguments[2] == 2:
            assert goes_on.wait(30)
        etag = put_part(client, *arguments)
        if arguments[2] == 2:
            sent_late.set()
        return etag

    monkeypatch.setattr(client, "put_part", late)
    upload_id, object_id, zombie = await abandoned(parts, content[: 2 * BORDER + 500])
    await sent(parts, upload_id, BORDER)
    session = await store.resume_upload(upload_id, object_id)
    await session.write([content[BORDER : BORDER + 10]])
    await session.suspend()
    session = await store.resume_upload(upload_id, object_id)
    await session.write([content[BORDER + 10 :]])
    await sent(parts, upload_id, 3 * BORDER)
    goes_on.set()
    await asyncio.to_thread(sent_late.wait, 30)
    info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content
    with pytest.raises((UploadBusy, UploadUnknown)):
        await zombie.suspend()
    assert_tidy(parts, info)


@pytest.mark.parametrize("size", [1000, BORDER + 1000])
@pytest.mark.parametrize("ending", ["abort", "mismatch", "remove"])
async def test_cr06_a_zombie_that_stops_before_it_removes_removes_nothing(
    parts: World, monkeypatch: pytest.MonkeyPatch, size: int, ending: str
) -> None:
    """It had the right when it looked, and loses it before its first request."""
    content = sample(size)
    upload_id, object_id = await begun(parts, content)
    store = parts.backend.store
    infos: list[BlobInfo | None] = []
    clear = Workshop.clear

    async def late(shop: Workshop, cleared: int) -> None:
        if not infos:
            infos.append(None)
            with suppress(UploadBusy, UploadUnknown):
                infos[0] = await taken_over(parts, upload_id, object_id, content)
        await clear(shop, cleared)

    monkeypatch.setattr(Workshop, "clear", late)
    with suppress(UploadBusy, UploadUnknown, DigestMismatch):
        if ending == "remove":
            await store.remove_upload(upload_id)
        else:
            session = await store.resume_upload(upload_id, object_id)
            await (session.abort() if ending == "abort" else session.commit(Digest.of(b"other")))
    [info] = infos
    # Whoever was told that it is published reads it.
    if info is not None:
        assert await read(store, info.key) == content
    assert_tidy(parts, *filter(None, infos))


@pytest.mark.parametrize("ending", ["remove", "delete"])
async def test_cr06_a_complete_that_comes_too_late_brings_nothing_back(
    parts: World, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """A session was stopped before its last request, which comes while its upload is removed: as soon as the object is
    removed there is nothing left that it could be made of."""
    content = sample(2 * BORDER)
    upload_id, object_id = await begun(parts, content)
    transfer = await parts.ledger.take(upload_id)
    recorded = await parts.ledger.parts(transfer.hold)
    await parts.ledger.release(transfer.hold)
    client, key = parts.clients[0], Keys(parts.location.prefix).object(object_id)
    delete, told = client.delete, list[str]()

    def delete_and_complete(name: str) -> None:
        delete(name)
        if name == key:
            assert transfer.multipart_id is not None
            try:
                client.complete(key, transfer.multipart_id, recorded)
            except PartsLost as error:
                told.append(str(error))

    monkeypatch.setattr(client, "delete", delete_and_complete)
    store = parts.backend.store
    await (store.remove_upload(upload_id) if ending == "remove" else store.delete(object_id, None))
    assert told == ["NoSuchUpload"]
    assert_tidy(parts)


async def wait_for(condition: Callable[[], bool]) -> None:
    """Without stopping the loop."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come")


@pytest.mark.parametrize("size", [1000, BORDER + 1000])
async def test_cr06_a_zombie_that_had_begun_to_publish_writes_to_another_key(parts: World, size: int) -> None:
    """The ledger says that somebody began to write the final key; nobody can tell whether that request still comes. A
    small blob gets a new object, and one in parts is read before it counts."""
    content = sample(size)
    upload_id, object_id = await begun(parts, content)
    transfer = await parts.ledger.take(upload_id)
    assert await parts.ledger.begin_publishing(transfer.hold, Digest.of(content))
    parts.ahead_ms += LEASE_MS + 1
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    before = parts.calls()["GetObject"]
    info = await session.commit(Digest.of(content))
    assert (info.key.object_id != object_id) == (size < BORDER)
    assert parts.calls()["GetObject"] - before >= 1
    assert await read(parts.backend.store, info.key) == content
    assert_tidy(parts, info)


async def test_cr06_a_zombie_that_writes_in_one_request_does_not_hit_what_became_of_parts(parts: World) -> None:
    """It had begun to publish little; whoever took over has got more, enough for parts."""
    content = sample(2 * BORDER + 1000)
    upload_id, object_id = await begun(parts, content[:1000])
    transfer = await parts.ledger.take(upload_id)
    assert await parts.ledger.begin_publishing(transfer.hold, Digest.of(content[:1000]))
    info = await taken_over(parts, upload_id, object_id, content)
    parts.clients[0].put(Keys(parts.location.prefix).object(object_id), content[:1000], 1000)
    assert await read(parts.backend.store, info.key) == content
    await parts.backend.store.delete(object_id, None)
    assert_tidy(parts, info)


@pytest.mark.parametrize("size", [1000, BORDER + 1000])
async def test_i7_a_crash_between_publishing_and_its_record_converges(parts: World, size: int) -> None:
    """The object is complete under its key, and the ledger does not know: a repeated commit finds it, and so does
    `confirm`, after reading it."""
    content = sample(size)
    info = await put(parts.backend.store, content)
    await forget_commit(parts, info.key.object_id)
    other = ObjectKey(Digest.of(b"other"), info.key.object_id)
    assert await parts.backend.another().confirm(other) is None
    assert await parts.backend.another().confirm(info.key) == info
    before = parts.calls()["GetObject"]
    assert await parts.backend.another().confirm(info.key) == info
    assert parts.calls()["GetObject"] == before, "it is vouched for now"
    assert await parts.backend.another().confirm(other) is None


@pytest.mark.parametrize(
    ("size", "call", "failure"),
    [
        (1000, "put", Unavailable("no answer")),
        (BORDER + 1000, "complete", Unavailable("no answer")),
        (BORDER + 1000, "complete", PartsLost("NoSuchUpload")),
    ],
)
async def test_an_older_object_under_the_key_is_not_taken_for_ours(
    parts: World, monkeypatch: pytest.MonkeyPatch, size: int, call: str, failure: Exception
) -> None:
    """A database that was set back gives an id out again. The object of the time before is as long, and the request
    that writes ours is not carried out and gets no answer, or none that tells. Whoever tries again gets through."""
    store, content = parts.backend.store, sample(size)
    upload_id, object_id = await begun(parts, content)
    key = Keys(parts.location.prefix).object(object_id)
    parts.service.client.put_object(Bucket=parts.location.bucket, Key=key, Body=bytes(size))

    def fail(*_: Any) -> None:
        raise failure

    session = await store.resume_upload(upload_id, object_id)
    with monkeypatch.context() as broken:
        broken.setattr(parts.clients[0], call, fail)
        with pytest.raises((Unavailable, UploadUnknown)):
            await session.commit(Digest.of(content))
    if isinstance(failure, PartsLost):
        assert await uploads(store) == set()
        info = await put(store, content)
    else:
        session = await store.resume_upload(upload_id, object_id)
        info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content
    if info.key.object_id != object_id:
        await store.delete(object_id, None)
    assert_tidy(parts, info)


@pytest.mark.parametrize("case", ["sent twice", "begun to publish", "in parts"])
async def test_an_upload_goes_on_after_a_new_object_that_nobody_was_told_of(
    parts: World, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The ledger has replaced the object, and the answer to that COMMIT is lost: nothing is stored under the name of
    the old one, and the next session stands where the ledger says."""
    store, content = parts.backend.store, sample(BORDER + 1000 if case == "in parts" else 1000)
    first = content[:BORDER] if case == "in parts" else content
    upload_id, object_id = await begun(parts, first[:100] if case == "begun to publish" else first)
    if case != "sent twice":
        transfer = await parts.ledger.take(upload_id)
        assert await parts.ledger.begin_publishing(transfer.hold, Digest.of(first))
        await parts.ledger.release(transfer.hold)
    replace_object = Transfers.replace_object

    async def lost(ledger: Transfers, hold: Hold) -> int:
        await replace_object(ledger, hold)
        raise Unavailable("the connection broke")

    session = await store.resume_upload(upload_id, object_id)
    with monkeypatch.context() as broken:
        broken.setattr(Transfers, "replace_object", lost)
        await session.write([content[session.offset :] or content])
        with pytest.raises(Unavailable):
            await session.commit(Digest.of(content))
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    await session.write([content[session.offset :]])
    info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content
    await store.delete(object_id, None)
    assert_tidy(parts, info)


@pytest.mark.parametrize("content", [b"", b"small"])
async def test_a_multipart_upload_without_parts_is_not_needed(parts: World, content: bytes) -> None:
    """Its first part could not be sent, and the client began again with less."""
    upload_id, object_id = await begun(parts, content)
    transfer = await parts.ledger.take(upload_id)
    name = Keys(parts.location.prefix).object(object_id)
    multipart_id, _ = parts.clients[0].begin_multipart(name)
    await parts.ledger.record_multipart(transfer.hold, multipart_id)
    await parts.ledger.release(transfer.hold)
    session = await parts.backend.another().resume_upload(upload_id, object_id)
    info = await session.commit(Digest.of(content))
    assert await read(parts.backend.store, info.key) == content
    assert_tidy(parts, info)


async def forget_commit(world: World, object_id: int) -> None:
    """As if the process had died before it could record a commit."""
    statement = "UPDATE transfers SET committed_size = NULL WHERE object_id = :id"
    await world.database.write(lambda connection: connection.execute(text(statement), {"id": object_id}))


async def test_a_tampered_hash_state_never_publishes_the_wrong_content(world: World) -> None:
    """Byte by byte: it is not loaded, or leads to another digest; never to a crash. Then the bytes are refused, or read
    again and taken; a wrong digest is refused in any case."""
    running = ResumableHash.begin(Algorithm.SHA256)
    running.update(sample(1000))
    state = running.state()
    assert state is not None and len(state) == 104
    loaded = 0
    for at in range(len(state)):
        bad = bytearray(state)
        bad[at] ^= 0xFF
        found = ResumableHash.load(Algorithm.SHA256, bytes(bad), 1000)
        if found is not None:
            loaded += 1
            found.update(b"more")
            assert found.offset == 1004
            assert len(found.digest().raw) == 32
    assert loaded > 0
    for wrong in (None, b"", state[:-1], state + b"\0", bytes(104), b"\xff" * 104):
        assert ResumableHash.load(Algorithm.SHA256, wrong, 1000) is None
    assert ResumableHash.load(Algorithm.SHA256, state, 1001) is None
    assert ResumableHash.load(Algorithm.SHA512, state, 1000) is None


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("size", [0, 1, 55, 64, 127, 128, 129, 300_000])
def test_a_hash_goes_on_from_its_state(algorithm: Algorithm, size: int) -> None:
    content = sample(size)
    running = ResumableHash.begin(algorithm)
    running.update(memoryview(content))
    again = ResumableHash.load(algorithm, running.state(), size)
    assert again is not None
    for part in (bytearray(b"and"), memoryview(b"more"), content * 2):
        again.update(part)
    assert again.digest() == Digest.of(content + b"andmore" + content * 2, algorithm)
    assert running.digest() == Digest.of(content, algorithm)


async def test_cr21_a_ledger_of_more_than_a_thousand_parts(world: World) -> None:
    """CR-21: none is forgotten, whatever a service shows on one page."""
    transfer = await world.ledger.begin(new_id(), 1)
    await world.ledger.record_multipart(transfer.hold, "multipart")
    for number in range(1, 1204):
        await world.ledger.record_part(transfer.hold, Part(number, f"etag {number}", 7), None)
    assert [part.number for part in await world.ledger.parts(transfer.hold)] == list(range(1, 1204))
    found = await world.ledger.find(transfer.upload_id)
    assert found is not None
    assert (found.offset, found.last_part) == (7 * 1203, 1203)


@pytest.mark.parametrize("object_id", [2**62 + 1, 2**63 - 1, 9_999_999_999_999_999_999])
async def test_foreign_names_are_ignored(world: World, object_id: int) -> None:
    """Also those that look like ours, and have an id that no database could take or go on behind."""
    key = Keys(world.location.prefix).object(object_id)
    world.service.client.put_object(Bucket=world.location.bucket, Key=key, Body=b"foreign")
    assert await objects(world.backend.store) == set()


def test_part_sizes_reach_five_tebibytes() -> None:
    sizes = [PART_SIZES.of(number) for number in range(1, 10_001)]
    assert sum(sizes) >= 5 * 1024**4
    assert min(sizes) >= 5 * 1024**2 and max(sizes) <= 5 * 1024**3
    assert sizes == sorted(sizes)


async def test_what_an_ended_upload_has_left_is_found_and_removed(parts: World) -> None:
    """CR-20: a multipart upload whose id nobody recorded, and a tail that nobody needs; of an object that is live, of
    one that is gone, and not of one that is being uploaded."""
    store, client, bucket = parts.backend.store, parts.service.client, parts.location.bucket
    info = await put(store, b"live")
    upload_id, object_id = await begun(parts, sample(BORDER + 100))
    keys = Keys(parts.location.prefix)
    for each in (info.key.object_id, 12345, object_id):
        client.create_multipart_upload(Bucket=bucket, Key=keys.object(each))
        client.put_object(Bucket=bucket, Key=keys.tail(each, 99), Body=b"tail")
    found = await uploads(store)
    strays = {f"{info.key.object_id:032x}", f"{12345:032x}"}
    assert found == strays | {upload_id}
    for stray in strays:
        await store.remove_upload(stray)
        await store.remove_upload(stray)
    assert await uploads(store) == {upload_id}
    assert await read(store, info.key) == b"live"
    await store.remove_upload(upload_id)
    assert_tidy(parts, info)


async def test_what_a_new_upload_has_is_not_removed_in_place_of_an_old_one(
    versitygw: S3Service, tmp_path: Path
) -> None:
    """After a return to an older database an id of something that was left may be given to an upload that is begun
    between the list and the removal: what is young, or has somebody, stays."""
    async with World.open(versitygw, tmp_path, part_sizes=SMALL_PARTS) as world:
        content = sample(BORDER + 100)
        upload_id, object_id = await begun(world, content)
        await world.backend.store.remove_upload(f"{object_id:032x}")
        session = await world.backend.store.resume_upload(upload_id, object_id)
        info = await session.commit(Digest.of(content))
        assert await read(world.backend.store, info.key) == content
        world.stray_age_ms = 3_600_000
        young = Keys(world.location.prefix).object(12345)
        world.service.client.create_multipart_upload(Bucket=world.location.bucket, Key=young)
        await world.backend.another().remove_upload(f"{12345:032x}")
        assert world.multiparts() == [young]


async def test_a_direct_url_serves_the_object(versitygw: S3Service, tmp_path: Path) -> None:
    async with World.open(versitygw, tmp_path, direct=Direct(None, 600)) as world:
        store, content = world.backend.store, sample(10_000)
        key = (await put(store, content)).key
        url = await store.direct_url(key)
        assert url is not None and url == await store.direct_url(key), "it is made once for a while"
        whole = httpx2.get(url)
        assert (whole.status_code, whole.content) == (200, content)
        assert whole.headers["content-type"] == "application/octet-stream"
        part = httpx2.get(url, headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, content[100:200])


async def test_a_direct_url_ends(versitygw: S3Service, tmp_path: Path) -> None:
    """And a new one is made."""
    async with World.open(versitygw, tmp_path, direct=Direct(None, 1)) as world:
        store = world.backend.store
        key = (await put(store, b"content")).key
        url = await store.direct_url(key)
        assert url is not None
        wait_until(lambda: httpx2.get(url).status_code == 403, what="the end of the URL")
        deadline = asyncio.get_running_loop().time() + 30
        while await store.direct_url(key) == url:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)


async def test_a_long_direct_url_is_kept_for_minutes(
    versitygw: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials that signed it may end long before it."""
    async with World.open(versitygw, tmp_path, direct=Direct(None, 86_400)) as world:
        made: list[str] = []
        direct_url = world.clients[0].direct_url

        def noted(*given: Any) -> str:
            made.append(direct_url(*given))
            return made[-1]

        monkeypatch.setattr(world.clients[0], "direct_url", noted)
        key = new_key(b"content")
        for now, count in ((1000.0, 1), (1299.0, 1), (1300.0, 2)):
            monkeypatch.setattr(s3, "monotonic", lambda now=now: now)
            await world.backend.store.direct_url(key)
            assert len(made) == count


async def test_a_long_end_of_a_session_keeps_its_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a service puts a large object together no bytes come, and nobody may take the upload over."""
    monkeypatch.setattr(s3_lease, "RENEW_S", 0.01)
    upload_id, key = new_id(), new_key(b"content")
    session = await world.backend.store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])
    begun_put, go_on = threading.Event(), threading.Event()
    put_object = world.clients[0].put

    def slowly(*arguments: Any) -> None:
        begun_put.set()
        assert go_on.wait(30)
        put_object(*arguments)

    monkeypatch.setattr(world.clients[0], "put", slowly)
    ending = asyncio.create_task(session.commit(key.digest))
    await asyncio.to_thread(begun_put.wait, 30)
    for _ in range(3):
        world.ahead_ms += LEASE_MS - 1000
        await leased_until(world, upload_id, world.clock() + LEASE_MS // 2)
        with pytest.raises(UploadBusy):
            await world.backend.another().resume_upload(upload_id, key.object_id)
    go_on.set()
    assert await ending == BlobInfo(key, 7)


async def leased_until(world: World, upload_id: str, moment: int) -> None:
    """Wait until a lease reaches so far."""
    statement = text("SELECT leased_until FROM transfers WHERE upload_id = :id")
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        until = await world.database.read(lambda each: each.execute(statement, {"id": upload_id}).scalar_one())
        if until >= moment:
            return
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_a_direct_url_is_for_the_address_that_clients_know(versitygw: S3Service, tmp_path: Path) -> None:
    async with World.open(versitygw, tmp_path, direct=Direct("https://s3.example.com", 600)) as world:
        url = await world.backend.store.direct_url(new_key(b""))
        assert url is not None and url.startswith(
            f"https://s3.example.com/{world.location.bucket}/some/prefix/objects/"
        )


async def test_slow_readers_share_a_bounded_number_of_connections(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not read for long gives its connection up, and goes on where it was."""
    monkeypatch.setattr(s3_reader, "OPEN_ANSWERS", 2)
    store, content = world.backend.store, sample(2 * CHUNK_BYTES + 5)
    key = (await put(store, content)).key
    readers = [await store.open(key) for _ in range(6)]
    iterators = [reader.chunks(0, len(content)) for reader in readers]
    firsts = [await anext(iterator) for iterator in iterators]
    rests = [b"".join([piece async for piece in iterator]) for iterator in iterators]
    assert all(first + rest == content for first, rest in zip(firsts, rests, strict=True))
    for reader in readers:
        await reader.aclose()


async def test_cr43_an_object_that_ends_early_is_corrupt(world: World) -> None:
    """The service says itself that there is less: that is not a connection that broke."""
    store = world.backend.store
    key = (await put(store, sample(1000))).key
    name = Keys(world.location.prefix).object(key.object_id)
    reader = await store.open(key)
    world.service.client.put_object(Bucket=world.location.bucket, Key=name, Body=b"short")
    with pytest.raises(ContentCorrupt):
        [piece async for piece in reader.chunks(500, 500)]
    await reader.aclose()


async def test_cr24_a_bucket_that_is_gone_is_no_absence(world: World) -> None:
    """I6: not of an object, not of an upload."""
    store = world.backend.store
    key = (await put(store, b"content")).key
    upload_id, _ = await begun(world, b"half")
    shutil.rmtree(world.service.folder / world.location.bucket)
    calls: list[Callable[[], object]] = [
        lambda: store.stat(key),
        lambda: store.confirm(key),
        lambda: store.open(key),
        lambda: store.delete(key.object_id, key.digest),
        lambda: store.remove_upload(upload_id),
        lambda: objects(store),
        lambda: uploads(store),
        store.identity,
        store.check,
    ]
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            await call()  # type: ignore[misc]
        assert "bucket does not exist (see storage)" in caught.value.message
    (world.service.folder / world.location.bucket).mkdir()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("bucket", "the bucket does not exist (see storage)"),
        ("key", "the access key is not known there (see s3_access_key_id)"),
        ("secret", "the secret is not that of the access key (see s3_secret_access_key_file)"),
        ("endpoint", "nothing answers at the address of the S3 service (see endpoint= in storage)"),
        ("clock", "the clocks of this machine and of the S3 service differ too much"),
    ],
)
def test_cr24_what_is_wrong_is_said_with_its_setting(
    versitygw: S3Service, monkeypatch: pytest.MonkeyPatch, wrong: str, told: str
) -> None:
    location, credentials = versitygw.location(), versitygw.credentials
    if wrong == "bucket":
        location = replace(location, bucket="no-such-bucket")
    if wrong == "key":
        credentials = replace(credentials, access_key_id="somebody-else")
    if wrong == "secret":
        credentials = replace(credentials, secret="wrong")
    if wrong == "endpoint":
        location = replace(location, endpoint=f"http://127.0.0.1:{free_port()}")
    if wrong == "clock":
        earlier = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=20)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: earlier.replace(tzinfo=None))
    client = S3Client(location, credentials, patience=QUICK)
    for call in (lambda: client.size("key"), lambda: client.open("key"), lambda: client.objects("")):
        with pytest.raises(Unavailable) as caught:
            call()
        assert told in caught.value.message
        assert credentials.secret not in repr(credentials)
    client.close()


def test_a_certificate_is_trusted_by_its_file_alone(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "s3")
    with service("versitygw", tmp_path / "service", tls=pair) as running:
        location = running.location()
        trusting = S3Client(replace(location, ca_file=pair.cert), running.credentials, patience=QUICK)
        assert trusting.objects("") == []
        doubting = S3Client(location, running.credentials, patience=QUICK)
        with pytest.raises(Unavailable) as caught:
            doubting.objects("")
        assert "is not trusted (see ca_file= in storage)" in caught.value.message
        for client in (trusting, doubting):
            client.close()
