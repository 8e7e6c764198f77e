"""The contract through an observer, and what the observer reports."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from registry.blobstore.memory import MemoryStore
from registry.blobstore.observed import ObservedStore
from registry.core.digest import Digest
from registry.core.errors import ContentCorrupt, DigestMismatch, StorageFull
from registry.core.limits import CHUNK_BYTES
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import Backend, delete, new_id, new_key, put, read, running, sample, uploads

Report = tuple[str, str | None, int]


class Reports(list[Report]):
    """What was reported, without the times, which must be positive."""

    def __call__(self, operation: str, seconds: float, error: str | None, size_bytes: int) -> None:
        assert 0 <= seconds < 60
        self.append((operation, error, size_bytes))


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A memory store behind the observer."""
    store = ObservedStore(MemoryStore(), Reports())
    async with running(lambda: store) as backend:
        yield backend


async def test_a_push_and_a_pull_are_reported_with_their_bytes() -> None:
    reports = Reports()
    store = ObservedStore(MemoryStore(), reports)
    content = sample(CHUNK_BYTES + 5)
    info = await put(store, content)
    assert await read(store, info.key) == content
    assert reports == [
        ("create_upload", None, 0),
        ("write", None, len(content)),
        ("commit", None, len(content)),
        ("open", None, 0),
        ("read", None, CHUNK_BYTES),
        ("read", None, 5),
    ]


async def test_failures_are_reported_by_name_with_what_was_moved() -> None:
    reports = Reports()
    store = ObservedStore(MemoryStore(capacity_bytes=4), reports)
    session = await store.create_upload(new_id(), 1)
    with pytest.raises(StorageFull):
        await session.write([b"123", b"45"])
    with pytest.raises(DigestMismatch):
        await session.commit(Digest.of(b"12345"))
    with pytest.raises(ContentCorrupt):
        await store.open(new_key(b""))
    assert reports[1:] == [
        ("write", "StorageFull", 3),
        ("commit", "DigestMismatch", 0),
        ("open", "ContentCorrupt", 0),
    ]


class _Stalled(MemoryStore):
    """A store whose disk does not answer."""

    async def check(self) -> None:
        await asyncio.Event().wait()


async def test_a_cancellation_is_reported() -> None:
    reports = Reports()
    task = asyncio.create_task(ObservedStore(_Stalled(), reports).check())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert reports == [("check", "CancelledError", 0)]


async def test_the_other_operations_are_reported_by_their_names() -> None:
    reports = Reports()
    store = ObservedStore(MemoryStore(), reports)
    key, upload_id = new_key(b""), new_id()
    await store.claim("installation")
    await store.identity()
    await store.usage()
    await store.check()
    await store.stat(key)
    await store.confirm(key)
    await store.direct_url(key)
    await delete(store, key)
    await (await store.create_upload(upload_id, 1)).suspend()
    assert await uploads(store) == {upload_id}
    await store.upload_offset(upload_id)
    await (await store.resume_upload(upload_id, 1)).abort()
    await store.remove_upload(upload_id)
    assert " ".join(operation for operation, _, _ in reports) == (
        "claim identity usage check stat confirm direct_url delete create_upload suspend iter_uploads"
        " upload_offset resume_upload abort remove_upload"
    )
