"""The contract on two stores as one, both in memory or both on disk, and what was begun in the previous one."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.blobstore.base import BlobStore, ObjectKey
from registry.blobstore.filesystem import FilesystemStore
from registry.blobstore.memory import MemoryStore
from registry.blobstore.several import SeveralStore
from registry.core.digest import Digest
from registry.core.errors import ContentCorrupt, StorageFull, SyncFailed, Unavailable, UploadUnknown
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import IDENTITY, Backend, half_done, named, new_key, objects, put, read, running, uploads


@pytest.fixture(params=["memory", "disk"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Both halves of a kind."""
    memories = MemoryStore(), MemoryStore()

    def make() -> BlobStore:
        if request.param == "memory":
            return SeveralStore(*memories)
        return SeveralStore(FilesystemStore(tmp_path / "new"), FilesystemStore(tmp_path / "old"))

    async with running(make) as backend:
        yield backend


@pytest.fixture
def both(backend: Backend) -> SeveralStore:
    """The store with its halves."""
    assert isinstance(backend.store, SeveralStore)
    return backend.store


async def test_what_is_new_goes_to_the_current_store(both: SeveralStore) -> None:
    info = await put(both, b"new")
    assert await both.current.stat(info.key) == info
    assert await both.previous.stat(info.key) is None


async def test_what_the_previous_store_has_is_there(both: SeveralStore) -> None:
    """Read, found by every question, listed once, and gone from both after a delete."""
    old, new = await put(both.previous, b"old"), await put(both.current, b"new")
    for info, content in ((old, b"old"), (new, b"new"), (old, b"old")):
        assert await both.stat(info.key) == info
        assert await both.confirm(info.key) == info
        assert await read(both, info.key) == content
        assert await both.direct_url(info.key) is None
    assert await objects(both) == named(old, new)
    await both.delete(old.key.object_id, old.key.digest)
    assert await both.stat(old.key) is None
    assert await objects(both.previous) == set()


async def test_an_upload_ends_where_it_began(both: SeveralStore) -> None:
    upload_id, object_id, checkpoint = await half_done(both.previous, b"one ")
    assert await uploads(both) == {upload_id}
    assert await both.upload_offset(upload_id) == 4
    session = await both.resume_upload(upload_id, object_id, checkpoint=checkpoint)
    await session.write([b"whole"])
    info = await session.commit(Digest.of(b"one whole"))
    assert await both.previous.stat(info.key) == info
    assert await read(both, info.key) == b"one whole"


async def test_an_upload_of_the_previous_store_can_be_removed(both: SeveralStore) -> None:
    upload_id, object_id, _ = await half_done(both.previous, b"some")
    await both.remove_upload(upload_id)
    with pytest.raises(UploadUnknown):
        await both.resume_upload(upload_id, object_id)


async def test_identity_is_that_of_both(tmp_path: Path) -> None:
    """Neither half alone makes it a store of the installation."""
    current, previous = MemoryStore(), MemoryStore()
    both = SeveralStore(current, previous)
    await previous.claim(IDENTITY)
    assert await both.identity() is None
    await both.claim(IDENTITY)
    assert (await current.identity(), await both.identity()) == (IDENTITY, IDENTITY)
    stranger = MemoryStore()
    await stranger.claim("another installation")
    with pytest.raises(Unavailable):
        await SeveralStore(current, stranger).identity()


@pytest.fixture
async def half_down(tmp_path: Path) -> AsyncIterator[tuple[SeveralStore, FilesystemStore]]:
    """Two stores of which the current one fails, and the previous one."""
    gone, previous = FilesystemStore(tmp_path / "gone"), FilesystemStore(tmp_path / "old")
    await previous.claim(IDENTITY)
    both = SeveralStore(gone, previous)
    yield both, previous
    await both.aclose()


async def test_a_store_that_fails_does_not_hide_the_other(half_down: tuple[SeveralStore, FilesystemStore]) -> None:
    both, previous = half_down
    info = await put(previous, b"old")
    assert await both.stat(info.key) == info
    assert await read(both, info.key) == b"old"


async def test_i6_a_failure_is_never_absence(half_down: tuple[SeveralStore, FilesystemStore]) -> None:
    """I6: one store fails and the other lacks the object, so nobody knows."""
    both, _ = half_down
    key = new_key(b"nowhere")
    for call in (both.stat, both.confirm, both.open, both.direct_url):
        with pytest.raises(Unavailable):
            await call(key)
    with pytest.raises(Unavailable):
        await both.delete(key.object_id, key.digest)


async def test_only_the_current_store_has_to_have_room(tmp_path: Path) -> None:
    full = FilesystemStore(tmp_path / "full", reserve_bytes=2**62)
    good = MemoryStore()
    await SeveralStore(good, full).claim(IDENTITY)
    await SeveralStore(good, full).check()
    with pytest.raises(StorageFull):
        await SeveralStore(full, good).check()
    await full.aclose()


async def test_what_neither_has_is_corrupt(both: SeveralStore) -> None:
    with pytest.raises(ContentCorrupt):
        await both.open(ObjectKey(Digest.of(b"x"), 7))


async def test_a_sync_that_failed_is_told_also_where_the_other_store_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the object would be asked for again, and its next sync may claim success."""
    both = SeveralStore(FilesystemStore(tmp_path / "not mounted"), FilesystemStore(tmp_path / "old"))
    await both.previous.claim(IDENTITY)
    info = await put(both.previous, b"content")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SyncFailed):
        await both.confirm(info.key)
    await both.aclose()
