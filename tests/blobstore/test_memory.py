"""The contract on memory, and its limit."""

from collections.abc import AsyncIterator

import pytest

from registry.blobstore.memory import MemoryStore
from registry.core.digest import Digest
from registry.core.errors import StorageFull
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import Backend, delete, new_id, put, read, running


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """Another process cannot be had: the same store stands for it."""
    store = MemoryStore()
    async with running(lambda: store) as backend:
        yield backend


async def test_a_store_that_was_never_used_has_no_identity() -> None:
    assert await MemoryStore().identity() is None


async def test_a_full_store_says_so_and_goes_on_when_there_is_room() -> None:
    store = MemoryStore(capacity_bytes=10)
    old = await put(store, b"123456")
    session = await store.create_upload(new_id(), 1)
    with pytest.raises(StorageFull):
        await session.write([b"abc", b"defg"])
    assert session.offset == 3
    assert (await store.usage()).free == 1
    await delete(store, old.key)
    await session.write([b"defg"])
    info = await session.commit(Digest.of(b"abcdefg"))
    assert await read(store, info.key) == b"abcdefg"
