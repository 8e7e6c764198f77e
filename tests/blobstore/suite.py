"""The contract of a blob store, as tests. A back end's module imports all of it and brings a fixture `backend`:

from tests.blobstore.suite import *

@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with running(lambda: FilesystemStore(tmp_path)) as backend:
        yield backend
"""

import asyncio
import random
import secrets
import uuid
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.blobstore.base import BlobInfo, BlobStore, Checkpoint, ObjectKey, UploadSession
from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import ContentCorrupt, DigestMismatch, Unavailable, UploadBusy, UploadUnknown
from registry.core.limits import CHUNK_BYTES

pytestmark = pytest.mark.anyio

IDENTITY = "11111111-2222-3333-4444-555555555555"
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
NOT_IDS = [
    "",
    "..",
    ".",
    "a/b",
    "../" + "0" * 29,
    "0" * 31,
    "0" * 33,
    "A" * 32,
    "0" * 31 + "\0",
    "0" * 32 + "\n",
]


@dataclass(slots=True)
class Backend:
    """A claimed store, and the means to open its bytes again as another process would."""

    make: Callable[[], BlobStore]
    stores: list[BlobStore] = field(default_factory=list)

    @property
    def store(self) -> BlobStore:
        return self.stores[0]

    def another(self) -> BlobStore:
        self.stores.append(self.make())
        return self.stores[-1]


@asynccontextmanager
async def running(make: Callable[[], BlobStore]) -> AsyncIterator[Backend]:
    """A store, claimed; closed in the end with all that were opened after it."""
    backend = Backend(make)
    try:
        await backend.another().claim(IDENTITY)
        yield backend
    finally:
        for store in backend.stores:
            await store.aclose()


@pytest.fixture
def store(backend: Backend) -> BlobStore:
    """The store that most tests need."""
    return backend.store


def new_id() -> str:
    return uuid.uuid4().hex


def new_key(content: bytes, algorithm: Algorithm = Algorithm.SHA256) -> ObjectKey:
    """A key for `content` that nobody has used."""
    return ObjectKey(Digest.of(content, algorithm), secrets.randbelow(2**62))


def sample(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def put(store: BlobStore, content: bytes) -> BlobInfo:
    """Publish `content` under a new id."""
    key = new_key(content)
    session = await store.create_upload(new_id(), key.object_id)
    await session.write([content])
    return await session.commit(key.digest)


async def read(store: BlobStore, key: ObjectKey, offset: int = 0, count: int | None = None) -> bytes:
    """A range of an object; all from `offset` if `count` is None."""
    reader = await store.open(key)
    try:
        wanted = reader.info.size - offset if count is None else count
        pieces = [piece async for piece in reader.chunks(offset, wanted)]
    finally:
        await reader.aclose()
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)
    return b"".join(pieces)


async def half_done(store: BlobStore, content: bytes) -> tuple[str, int, Checkpoint | None]:
    """A suspended upload of `content`: its id, the object's id and the checkpoint."""
    upload_id, object_id = new_id(), new_key(content).object_id
    session = await store.create_upload(upload_id, object_id)
    await session.write([content])
    return upload_id, object_id, await session.suspend()


async def objects(store: BlobStore) -> set[tuple[int, int]]:
    """Id and size of everything that is published."""
    return {(stored.object_id, stored.size) async for stored in store.iter_objects()}


def named(*infos: BlobInfo) -> set[tuple[int, int]]:
    """What `objects` should find."""
    return {(info.key.object_id, info.size) for info in infos}


async def delete(store: BlobStore, key: ObjectKey) -> None:
    await store.delete(key.object_id, key.digest)


async def uploads(store: BlobStore) -> set[str]:
    return {upload_id async for upload_id in store.iter_uploads()}


async def test_invisible_before_commit(store: BlobStore) -> None:
    content = sample(100_000)
    key, upload_id = new_key(content), new_id()
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([content])
    assert session.offset == len(content)
    assert await store.stat(key) is None
    assert await objects(store) == set()
    assert await uploads(store) == {upload_id}
    await session.abort()


async def test_commit_publishes_exactly_the_bytes(backend: Backend) -> None:
    store, content = backend.store, sample(3 * CHUNK_BYTES + 17)
    info = await put(store, content)
    assert info == BlobInfo(ObjectKey(Digest.of(content), info.key.object_id), len(content))
    for each in (store, backend.another()):
        assert await each.stat(info.key) == info
        assert await each.confirm(info.key) == info
        assert await read(each, info.key) == content
        assert await objects(each) == named(info)
        assert await uploads(each) == set()


async def test_digest_mismatch_publishes_nothing_and_leaves_nothing(store: BlobStore) -> None:
    content, upload_id, expected = sample(5000), new_id(), Digest.of(b"other")
    session = await store.create_upload(upload_id, 1)
    await session.write([content])
    with pytest.raises(DigestMismatch) as caught:
        await session.commit(expected)
    assert caught.value.facts == {"expected": str(expected), "actual": str(Digest.of(content))}
    assert await objects(store) == set()
    assert await uploads(store) == set()
    with pytest.raises(UploadUnknown):
        await store.resume_upload(upload_id, 1)


async def test_equal_content_twice_is_two_objects(store: BlobStore) -> None:
    first, second = await put(store, b"same"), await put(store, b"same")
    assert first.key.digest == second.key.digest
    assert await objects(store) == named(first, second)
    await delete(store, first.key)
    assert await read(store, second.key) == b"same"


async def test_cr29_parallel_commits_of_one_digest_all_succeed(backend: Backend) -> None:
    """CR-29: 32 at once, over two stores on the same bytes."""
    content = sample(300_000)
    stores = (backend.store, backend.another())
    infos = await asyncio.gather(*(put(stores[turn % 2], content) for turn in range(32)))
    assert await objects(backend.store) == named(*infos)
    assert len(set(infos)) == 32
    for info in infos:
        assert await read(backend.store, info.key) == content


async def test_suspended_upload_goes_on_elsewhere(backend: Backend) -> None:
    content = sample(250_000)
    upload_id, object_id, _ = await half_done(backend.store, content[:100_000])
    other = backend.another()
    assert await other.upload_offset(upload_id) == 100_000
    session = await other.resume_upload(upload_id, object_id)
    assert session.offset == 100_000
    await session.write([content[100_000:]])
    info = await session.commit(Digest.of(content))
    assert await read(backend.store, info.key) == content


async def test_commit_verifies_what_earlier_sessions_wrote(backend: Backend) -> None:
    upload_id, object_id, _ = await half_done(backend.store, b"wrong first half")
    session = await backend.another().resume_upload(upload_id, object_id)
    await session.write([b", second half"])
    with pytest.raises(DigestMismatch):
        await session.commit(Digest.of(b"right first half, second half"))
    assert await objects(backend.store) == set()


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_content_that_was_sent_once_more_is_taken(store: BlobStore, algorithm: Algorithm) -> None:
    """A client whose answer got lost sends the whole blob in its last request."""
    content = sample(2 * CHUNK_BYTES + 3)
    upload_id, object_id, _ = await half_done(store, content)
    session = await store.resume_upload(upload_id, object_id)
    await session.write([content])
    info = await session.commit(Digest.of(content, algorithm))
    assert info.size == len(content)
    assert await read(store, info.key) == content
    assert await uploads(store) == set()


async def test_one_live_session_an_upload(backend: Backend) -> None:
    store, other = backend.store, backend.another()
    upload_id = new_id()
    session = await store.create_upload(upload_id, 1)
    for each in (store, other):
        with pytest.raises(UploadBusy):
            await each.resume_upload(upload_id, 1)
        with pytest.raises(UploadBusy):
            await each.create_upload(upload_id, 1)
        with pytest.raises(UploadBusy):
            await each.remove_upload(upload_id)
    await session.suspend()
    with pytest.raises(UploadBusy):
        await other.create_upload(upload_id, 1)
    await (await other.resume_upload(upload_id, 1)).abort()


@pytest.mark.parametrize("ending", ["commit", "suspend", "abort"])
async def test_an_ended_session_does_nothing_more(store: BlobStore, ending: str) -> None:
    upload_id, key = new_id(), new_key(b"content")
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])
    endings: dict[str, Callable[[], object]] = {
        "commit": lambda: session.commit(key.digest),
        "suspend": session.suspend,
        "abort": session.abort,
    }
    await endings[ending]()  # type: ignore[misc]
    for _ in range(2):
        assert await session.suspend() is None
        await session.abort()
    with pytest.raises(UploadBusy):
        await session.write([b"more"])
    with pytest.raises(UploadBusy):
        await session.commit(key.digest)
    assert session.offset == len(b"content")
    assert (await store.stat(key) is not None) == (ending == "commit")
    assert await uploads(store) == ({upload_id} if ending == "suspend" else set())


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
async def test_cr36_the_empty_blob(store: BlobStore, pieces: list[Bytes]) -> None:
    """CR-36: with no write at all, and with empty ones; also when it was suspended in between."""
    upload_id = new_id()
    session = await store.create_upload(upload_id, 7)
    if pieces:
        await session.write(pieces)
    await session.suspend()
    session = await store.resume_upload(upload_id, 7)
    info = await session.commit(Digest.parse(EMPTY))
    assert info.size == 0
    assert await read(store, info.key) == b""


@pytest.mark.parametrize(
    ("offset", "count"),
    [
        (0, 0),
        (0, 1),
        (0, CHUNK_BYTES),
        (CHUNK_BYTES - 1, 2),
        (777, 2 * CHUNK_BYTES),
        (3 * CHUNK_BYTES + 4, 1),
    ],
)
async def test_ranges(store: BlobStore, offset: int, count: int) -> None:
    content = sample(3 * CHUNK_BYTES + 5)
    info = await put(store, content)
    assert await read(store, info.key, offset, count) == content[offset : offset + count]


async def test_iterators_of_one_reader_are_independent(store: BlobStore) -> None:
    content = sample(2 * CHUNK_BYTES)
    reader = await store.open((await put(store, content)).key)
    whole, middle = reader.chunks(0, len(content)), reader.chunks(500, CHUNK_BYTES + 1)
    first = await anext(whole)
    assert b"".join([piece async for piece in middle]) == content[500 : 501 + CHUNK_BYTES]
    assert first + b"".join([piece async for piece in whole]) == content
    await reader.aclose()
    await reader.aclose()


async def test_a_reader_beyond_the_end_says_so_after_what_there_is(store: BlobStore) -> None:
    reader = await store.open((await put(store, b"short")).key)
    chunks = reader.chunks(1, 10)
    assert await anext(chunks) == b"hort"
    with pytest.raises(ContentCorrupt):
        await anext(chunks)
    await reader.aclose()


async def test_delete_while_somebody_reads(store: BlobStore) -> None:
    content = sample(2 * CHUNK_BYTES)
    key = (await put(store, content)).key
    reader = await store.open(key)
    chunks = reader.chunks(0, len(content))
    first = await anext(chunks)
    await delete(store, key)
    await delete(store, key)
    assert first + b"".join([piece async for piece in chunks]) == content
    await reader.aclose()
    assert await store.stat(key) is None
    assert await store.confirm(key) is None
    with pytest.raises(ContentCorrupt):
        await store.open(key)


async def test_a_cancelled_write_leaves_the_session_good(store: BlobStore) -> None:
    content = sample(4 * CHUNK_BYTES)
    session = await store.create_upload(new_id(), 1)
    task = asyncio.create_task(session.write([content]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert 0 <= session.offset <= len(content)
    await session.write([content[session.offset :]])
    info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content


@pytest.mark.parametrize("text", NOT_IDS)
async def test_what_is_no_id_is_unknown(store: BlobStore, text: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.create_upload(text, 1),
        lambda: store.resume_upload(text, 1),
        lambda: store.upload_offset(text),
        lambda: store.remove_upload(text),
    ]
    for call in calls:
        with pytest.raises(UploadUnknown):
            await call()  # type: ignore[misc]
    assert await uploads(store) == set()


@pytest.mark.parametrize("streamed", Algorithm)
@pytest.mark.parametrize("asked", Algorithm)
async def test_any_algorithm_at_commit(backend: Backend, streamed: Algorithm, asked: Algorithm) -> None:
    content, upload_id = sample(CHUNK_BYTES + 1), new_id()
    key = new_key(content, asked)
    session = await backend.store.create_upload(upload_id, key.object_id, streamed)
    await session.write([content[:1000]])
    checkpoint = await session.suspend()
    session = await backend.another().resume_upload(upload_id, key.object_id, streamed, checkpoint)
    await session.write([content[1000:]])
    assert await session.commit(key.digest) == BlobInfo(key, len(content))
    assert await objects(backend.store) == named(BlobInfo(key, len(content)))
    assert await read(backend.store, key) == content


async def test_iteration_survives_concurrent_deletes(store: BlobStore) -> None:
    infos = {await put(store, bytes([number])) for number in range(40)}
    seen = set()
    async for stored in store.iter_objects():
        seen.add((stored.object_id, stored.size))
        for other in infos:
            if named(other).isdisjoint(seen):
                await delete(store, other.key)
    assert seen <= named(*infos)
    assert await objects(store) <= seen


async def test_removing_an_upload(store: BlobStore) -> None:
    upload_id, object_id, _ = await half_done(store, b"some")
    await store.remove_upload(upload_id)
    await store.remove_upload(upload_id)
    with pytest.raises(UploadUnknown):
        await store.resume_upload(upload_id, object_id)
    with pytest.raises(UploadUnknown):
        await store.upload_offset(upload_id)


async def test_a_session_that_wrote_nothing_has_no_share_of_its_own(store: BlobStore) -> None:
    """Or the digest of nothing would publish nothing in place of what was uploaded."""
    upload_id, object_id, _ = await half_done(store, b"content")
    session = await store.resume_upload(upload_id, object_id)
    with pytest.raises(DigestMismatch):
        await session.commit(Digest.parse(EMPTY))


@pytest.mark.parametrize("ending", ["commit", "abort"])
async def test_an_ended_upload_is_unknown(store: BlobStore, ending: str) -> None:
    upload_id = new_id()
    session = await store.create_upload(upload_id, 1)
    await (session.abort() if ending == "abort" else session.commit(Digest.parse(EMPTY)))
    with pytest.raises(UploadUnknown):
        await store.resume_upload(upload_id, 1)
    with pytest.raises(UploadUnknown):
        await store.upload_offset(upload_id)
    await store.remove_upload(upload_id)


async def test_a_checkpoint_tells_the_digest_so_far(backend: Backend) -> None:
    content = sample(10_000)
    upload_id, object_id, checkpoint = await half_done(backend.store, content)
    assert checkpoint is not None
    assert (checkpoint.offset, checkpoint.digest) == (len(content), Digest.of(content))
    session = await backend.another().resume_upload(upload_id, object_id, checkpoint=checkpoint)
    info = await session.commit(Digest.of(content))
    assert await read(backend.store, info.key) == content


@pytest.mark.parametrize("shift", [-1, 0, 4])
async def test_a_checkpoint_of_other_bytes_is_not_believed(backend: Backend, shift: int) -> None:
    """One that the upload has overtaken, and one that it only reaches later."""
    content = sample(10_000)
    upload_id, object_id, true = await half_done(backend.store, content)
    assert true is not None
    false = Checkpoint(true.offset + shift, Digest.of(b"lie"), true.boot_id)
    session = await backend.another().resume_upload(upload_id, object_id, checkpoint=false)
    await session.write([b"more"])
    info = await session.commit(Digest.of(content + b"more"))
    assert await read(backend.store, info.key) == content + b"more"


async def test_all_kinds_of_pieces(store: BlobStore) -> None:
    """Bytes, bytearrays and views, empty ones among them, of elements larger than a byte, and many at once."""
    content = sample(40_000)
    words = array("I", range(1000))
    small: list[Bytes] = [content[at : at + 10] for at in range(0, len(content), 10)]
    pieces = [b"", bytearray(b"abc"), memoryview(b"xdefx")[1:4], memoryview(words), b"", *small, b""]
    session = await store.create_upload(new_id(), 1)
    await session.write(pieces)
    whole = b"abcdef" + words.tobytes() + content
    assert session.offset == len(whole)
    info = await session.commit(Digest.of(whole))
    assert await read(store, info.key) == whole


async def test_identity_is_written_once(backend: Backend) -> None:
    for each in (backend.store, backend.another()):
        assert await each.identity() == IDENTITY
        await each.claim(IDENTITY)
        with pytest.raises(Unavailable):
            await each.claim("another installation")
        assert await each.identity() == IDENTITY


async def test_check_leaves_nothing_behind(store: BlobStore) -> None:
    await asyncio.gather(*(store.check() for _ in range(8)))
    assert await objects(store) == set()
    assert await uploads(store) == set()


async def test_usage_is_in_bytes(store: BlobStore) -> None:
    usage = await store.usage()
    if usage.free is not None and usage.total is not None:
        assert 0 < usage.free <= usage.total


async def test_a_direct_url_is_a_url_or_none(store: BlobStore) -> None:
    url = await store.direct_url((await put(store, b"content")).key)
    assert url is None or url.startswith(("http://", "https://"))


async def test_closing_keeps_open_uploads_resumable(backend: Backend) -> None:
    upload_id = new_id()
    session = await backend.store.create_upload(upload_id, 1)
    await session.write([b"kept"])
    await backend.store.aclose()
    await backend.store.aclose()
    with pytest.raises((UploadBusy, Unavailable)):
        await session.write([b"late"])
    session = await backend.another().resume_upload(upload_id, 1)
    assert session.offset == len(b"kept")
    await session.abort()


async def test_confirm_knows_what_stat_knows(store: BlobStore) -> None:
    info = await put(store, b"content")
    assert await store.confirm(info.key) == info
    missing = ObjectKey(info.key.digest, info.key.object_id + 1)
    assert await store.confirm(missing) is None
    assert await store.stat(missing) is None


STEPS = st.lists(
    st.tuples(
        st.lists(st.binary(max_size=300), max_size=4),
        st.sampled_from(["write", "suspend", "move", "checkpoint"]),
    ),
    max_size=8,
)


@given(steps=STEPS, asked=st.sampled_from(Algorithm))
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_splits_and_pauses_give_the_same_bytes(
    backend: Backend, steps: list[tuple[list[bytes], str]], asked: Algorithm
) -> None:
    stores, content = (backend.store, backend.another()), b""
    upload_id, object_id = new_id(), new_key(b"").object_id
    session: UploadSession = await stores[0].create_upload(upload_id, object_id)
    for pieces, then in steps:
        await session.write(list(pieces))
        content += b"".join(pieces)
        assert session.offset == len(content)
        if then != "write":
            checkpoint = await session.suspend()
            session = await stores[then == "move"].resume_upload(
                upload_id, object_id, checkpoint=checkpoint if then == "checkpoint" else None
            )
    info = await session.commit(Digest.of(content, asked))
    assert info.size == len(content)
    assert await read(backend.store, info.key) == content
