"""The contract on a disk, and what only files promise: the order of syncs, locks, kills, and a disk that fails."""

import asyncio
import errno
import fcntl
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.blobstore import upload_file
from registry.blobstore.base import BlobInfo, BlobStore, Checkpoint, ObjectKey
from registry.blobstore.filesystem import FilesystemStore
from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import (
    ContentCorrupt,
    DigestMismatch,
    RegistryError,
    StorageFull,
    SyncFailed,
    Unavailable,
    UploadBusy,
    UploadUnknown,
)
from registry.core.limits import CHUNK_BYTES, MIB
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import (
    IDENTITY,
    Backend,
    delete,
    half_done,
    named,
    new_id,
    new_key,
    objects,
    put,
    read,
    running,
    sample,
    uploads,
)

REPOSITORY = Path(__file__).parents[2]

HOLDER = """
import asyncio, sys
from pathlib import Path
from registry.blobstore.filesystem import FilesystemStore

async def main(root, upload_id):
    session = await FilesystemStore(Path(root)).create_upload(upload_id, 1)
    for number in range(1 << 20):
        await session.write([bytes([number % 251]) * 65536])
        print(session.offset, flush=True)
        if not sys.stdin.readline():
            return

asyncio.run(main(*sys.argv[1:]))
"""
"""Writes a block a line that it is sent, holds the upload all the time, and tells its offset after each."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def backend(root: Path) -> AsyncIterator[Backend]:
    """A directory; another store over it stands for another process."""
    async with running(lambda: FilesystemStore(root, threads=4)) as backend:
        yield backend


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions at which uploads are read again."""
    positions: list[int] = []
    real = os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], position: int) -> int:
        positions.append(position)
        return real(descriptor, buffers, position)

    monkeypatch.setattr(os, "preadv", preadv)
    return positions


@contextmanager
def another_process(root: Path, upload_id: str) -> Iterator[subprocess.Popen[str]]:
    """One that holds the upload and has written its first block; killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), upload_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "65536\n"
            yield process
        finally:
            process.kill()


def path_of(root: Path, key: ObjectKey) -> Path:
    return root / key.digest.algorithm.label / key.digest.hex[:2] / f"{key.digest.hex}.{key.object_id}"


def fail(monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, when: Callable[[int], bool]) -> None:
    """Let a call of the system on a descriptor fail with `number` where `when` says so."""
    real = getattr(os, call)

    def failing(descriptor: int, *arguments: object) -> object:
        if when(descriptor):
            raise OSError(number, os.strerror(number))
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, call, failing)


def is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def is_file(descriptor: int) -> bool:
    return not is_directory(descriptor)


# Names and places


async def test_the_layout_is_the_documented_one(store: BlobStore, root: Path) -> None:
    info = await put(store, b"content")
    upload_id, _, _ = await half_done(store, b"half")
    assert path_of(root, info.key).read_bytes() == b"content"
    assert (root / "uploads" / upload_id).read_bytes() == b"half"
    assert json.loads((root / "depotry-store.json").read_text()) == {"identity": IDENTITY}
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_foreign_names_are_ignored(store: BlobStore, root: Path) -> None:
    info = await put(store, b"content")
    encoded = info.key.digest.hex
    directory = path_of(root, info.key).parent
    other = root / "sha256" / ("00" if encoded[:2] != "00" else "01")
    other.mkdir(exist_ok=True)
    for name in (encoded, f"{encoded}.", f"{encoded}.01", f"{encoded}.1x", f"{encoded.upper()}.1", ".1", "x"):
        (directory / name).touch()
    (directory / f"{encoded}.{2**62 + 1}").touch()
    (other / f"{encoded}.1").touch()
    (directory / f"{encoded}.12").mkdir()
    (directory / f"{encoded}.13").symlink_to(path_of(root, info.key))
    (root / "sha256" / "zz").mkdir()
    (root / "sha256" / "fe.txt").touch()
    (root / "uploads" / "README").touch()
    assert await objects(store) == named(info)
    assert await uploads(store) == set()


async def test_a_store_that_was_never_used_has_no_identity_but_can_be_checked(root: Path) -> None:
    root.mkdir()
    store = FilesystemStore(root)
    assert await store.identity() is None
    await store.check()
    assert list(root.iterdir()) == []
    await store.aclose()


async def test_a_marker_that_cannot_be_read_is_a_failure(store: BlobStore, root: Path) -> None:
    for text in ("", "{", "[]", '{"identity": 1}'):
        (root / "depotry-store.json").write_text(text)
        with pytest.raises(Unavailable):
            await store.identity()


async def test_i6_nothing_is_missing_on_a_disk_that_is_not_mounted(backend: Backend, root: Path) -> None:
    """I6: a failure is never reported as absence, and nothing is written below the mount point."""
    store = backend.store
    key, upload_id = (await put(store, b"content")).key, new_id()
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    calls: list[Callable[[], object]] = [
        lambda: store.stat(key),
        lambda: store.confirm(key),
        lambda: store.open(key),
        lambda: delete(store, key),
        lambda: store.create_upload(upload_id, 1),
        lambda: store.resume_upload(upload_id, 1),
        lambda: store.upload_offset(upload_id),
        lambda: objects(store),
        lambda: uploads(store),
        store.check,
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call()  # type: ignore[misc]
    assert await store.identity() is None
    assert list(root.iterdir()) == []


async def test_a_copy_without_uploads_takes_new_ones(store: BlobStore, root: Path) -> None:
    (root / "uploads").rmdir()
    assert await uploads(store) == set()
    await put(store, b"content")


# Durability


@pytest.mark.parametrize(("call", "kind"), [("fsync", SyncFailed), ("open", Unavailable)])
async def test_only_a_sync_that_failed_says_that_content_is_lost(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str, kind: type[Exception]
) -> None:
    """A directory that could not be opened to be synced, for want of descriptors, may be the next time."""
    info = await put(store, b"content")
    usual = getattr(os, call)

    def failing(where: object, *others: int) -> object:
        if call == "fsync":
            raise OSError(errno.EIO, "Input/output error")
        if others[0] & os.O_DIRECTORY:
            raise OSError(errno.EMFILE, "Too many open files", str(where))
        return usual(where, *others)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(Unavailable) as caught:
        await store.confirm(info.key)
    assert type(caught.value) is kind


async def test_cr07_commit_syncs_file_then_renames_then_syncs_directories(
    store: BlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR-07: recorded calls of one commit; each of them really happens."""
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def recording_fsync(descriptor: int) -> None:
        fsync(descriptor)
        calls.append("fsync " + os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(root)))

    def recording_rename(source: Path, target: Path) -> None:
        rename(source, target)
        calls.append(f"rename {source} {target}".replace(str(root), ""))

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "rename", recording_rename)
    key, upload_id = new_key(b"content"), new_id()
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])
    assert calls == []
    await session.commit(key.digest)
    target = str(path_of(Path("/"), key))
    prefix = key.digest.hex[:2]
    assert calls == [
        f"fsync /uploads/{upload_id}",
        f"rename /uploads/{upload_id} {target}",
        f"fsync /sha256/{prefix}",
        "fsync /sha256",
        "fsync ",
        "fsync /uploads",
    ]
    # The directories above are durable from now on, as far as this process is concerned.
    calls.clear()
    await put(store, b"content")
    assert [call for call in calls if call.startswith("fsync")][1:] == [f"fsync /sha256/{prefix}", "fsync /uploads"]
    calls.clear()
    await store.confirm(key)
    assert calls == [f"fsync {target}", f"fsync /sha256/{prefix}", "fsync /uploads"]


async def test_claim_syncs_the_marker_before_its_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(root.parent)))

    monkeypatch.setattr(os, "fsync", recording)
    store = FilesystemStore(root)
    await store.claim(IDENTITY)
    await store.aclose()
    assert synced == ["", "/store", "/store/depotry-store.tmp", "/store"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_cr10_an_upload_whose_sync_failed_is_gone(
    store: BlobStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """CR-10: a second sync could succeed although pages were dropped, so there is none."""
    key, upload_id = new_key(b"content"), new_id()
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])
    with monkeypatch.context() as patch:
        fail(patch, "fsync", number, when=is_file)
        with pytest.raises(StorageFull if number == errno.ENOSPC else Unavailable):
            await session.commit(key.digest)
    assert await store.stat(key) is None
    with pytest.raises(UploadUnknown):
        await store.resume_upload(upload_id, key.object_id)
    assert (await put(store, b"content")).size == 7


async def test_cr10_an_object_whose_name_was_not_synced_is_gone(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, upload_id = new_key(b"content"), new_id()
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])
    with monkeypatch.context() as patch:
        fail(patch, "fsync", errno.EIO, when=is_directory)
        with pytest.raises(Unavailable):
            await session.commit(key.digest)
    assert await store.stat(key) is None
    assert await uploads(store) == set()


async def test_a_rename_that_fails_keeps_the_upload(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key, upload_id = new_key(b"content"), new_id()
    session = await store.create_upload(upload_id, key.object_id)
    await session.write([b"content"])

    def rename(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "no room for the name", source)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(StorageFull) as caught:
            await session.commit(key.digest)
    assert str(store) not in caught.value.message
    session = await store.resume_upload(upload_id, key.object_id)
    assert await session.commit(key.digest) == BlobInfo(key, 7)


# Locks and late writers


async def test_a_lock_holds_across_processes_and_ends_with_a_kill(store: BlobStore, root: Path) -> None:
    upload_id = new_id()
    with another_process(root, upload_id) as process:
        with pytest.raises(UploadBusy):
            await store.resume_upload(upload_id, 1)
        with pytest.raises(UploadBusy):
            await store.remove_upload(upload_id)
        assert await store.upload_offset(upload_id) == 65536
        process.kill()
        process.wait()
        session = await store.resume_upload(upload_id, 1)
    assert session.offset == 65536
    info = await session.commit(Digest.of(bytes(65536)))
    assert await read(store, info.key) == bytes(65536)


async def test_cr01_what_arrived_before_a_kill_is_there(store: BlobStore, root: Path) -> None:
    """CR-01: killed while it writes, whenever that is; the upload goes on where its bytes end."""
    upload_id, blocks = new_id(), 40
    with another_process(root, upload_id) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n" * blocks)
        process.stdin.flush()
        told = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.kill()
        process.wait()
    session = await store.resume_upload(upload_id, 1)
    assert told <= session.offset <= (blocks + 1) * 65536
    content = b"".join(bytes([number]) * 65536 for number in range(blocks + 2))
    await session.write([content[session.offset :]])
    info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content


async def test_cr33_a_writer_that_comes_too_late_cannot_change_an_object(
    store: BlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR-33: another process commits between our opening of the file and our locking it."""
    upload_id, object_id, _ = await half_done(store, b"content")
    target = path_of(root, ObjectKey(Digest.of(b"content"), object_id))
    target.parent.mkdir(parents=True)
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        (root / "uploads" / upload_id).rename(target)
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        with pytest.raises(UploadUnknown):
            await store.resume_upload(upload_id, object_id)
    assert target.read_bytes() == b"content"


async def test_cr33_the_name_may_lead_to_another_file_by_then(
    store: BlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id, object_id, _ = await half_done(store, b"content")
    path = root / "uploads" / upload_id
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.rename(root / "published")
        path.touch()
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        with pytest.raises(UploadUnknown):
            await store.resume_upload(upload_id, object_id)


async def test_a_link_in_place_of_an_upload_is_not_followed(store: BlobStore, root: Path) -> None:
    upload_id = new_id()
    (root / "outside").write_bytes(b"precious")
    (root / "uploads" / upload_id).symlink_to(root / "outside")
    with pytest.raises(Unavailable):
        await store.resume_upload(upload_id, 1)
    assert (root / "outside").read_bytes() == b"precious"


# Hashing


async def test_bytes_are_read_again_only_where_nobody_vouches_for_them(backend: Backend, reads: list[int]) -> None:
    content = sample(2 * CHUNK_BYTES + 1)
    expected = Digest.of(content)

    upload_id, object_id, checkpoint = await half_done(backend.store, content)
    await (await backend.store.resume_upload(upload_id, object_id)).commit(expected)
    assert reads == []

    upload_id, object_id, checkpoint = await half_done(backend.store, content)
    session = await backend.another().resume_upload(upload_id, object_id, checkpoint=checkpoint)
    assert await session.suspend() == checkpoint
    session = await backend.another().resume_upload(upload_id, object_id, checkpoint=checkpoint)
    await session.commit(expected)
    assert reads == []

    upload_id, object_id, _ = await half_done(backend.store, content)
    session = await backend.another().resume_upload(upload_id, object_id)
    assert await session.suspend() is None
    await (await backend.another().resume_upload(upload_id, object_id)).commit(expected)
    assert reads == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]


async def test_a_checkpoint_of_another_boot_is_checked_against_the_bytes(backend: Backend) -> None:
    upload_id, object_id, true = await half_done(backend.store, b"content")
    assert true is not None
    assert true.boot_id
    lie = Digest.of(b"what was written before the power went")
    false = Checkpoint(true.offset, lie, "another boot")
    session = await backend.another().resume_upload(upload_id, object_id, checkpoint=false)
    with pytest.raises(DigestMismatch):
        await session.commit(lie)


async def test_a_running_hash_does_not_outlive_foreign_bytes(backend: Backend) -> None:
    """Another process took the upload over in between."""
    upload_id, object_id, _ = await half_done(backend.store, b"one ")
    session = await backend.another().resume_upload(upload_id, object_id)
    await session.write([b"two "])
    await session.suspend()
    session = await backend.store.resume_upload(upload_id, object_id)
    await session.write([b"three"])
    info = await session.commit(Digest.of(b"one two three"))
    assert await read(backend.store, info.key) == b"one two three"


async def test_running_hashes_are_bounded(store: BlobStore, monkeypatch: pytest.MonkeyPatch, reads: list[int]) -> None:
    monkeypatch.setattr(upload_file, "RUNNING_HASHES_MAX", 2)
    kept = [await half_done(store, b"content") for _ in range(3)]
    for upload_id, object_id, _ in reversed(kept):
        await (await store.resume_upload(upload_id, object_id)).commit(Digest.of(b"content"))
    assert reads == [0]


async def test_a_share_that_is_published_alone_leaves_no_copy(store: BlobStore, root: Path) -> None:
    upload_id, object_id, _ = await half_done(store, b"lost")
    (root / "uploads" / f"{upload_id}.part").write_bytes(b"left by a kill, and longer than the content")
    session = await store.resume_upload(upload_id, object_id)
    await session.write([b"content"])
    info = await session.commit(Digest.of(b"content"))
    assert await read(store, info.key) == b"content"
    assert list((root / "uploads").iterdir()) == []


async def test_i8_a_copy_that_was_left_is_removed_with_its_upload(store: BlobStore, root: Path) -> None:
    for whole in (True, False):
        upload_id, _, _ = await half_done(store, b"lost")
        (root / "uploads" / f"{upload_id}.part").touch()
        if not whole:
            (root / "uploads" / upload_id).unlink()
        assert await uploads(store) == {upload_id}
        await store.remove_upload(upload_id)
        assert list((root / "uploads").iterdir()) == []


# Disks that fail


async def test_cr11_short_writes_lose_nothing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    """CR-11: the system takes 1000 bytes a call, across the borders of pieces."""
    writev = os.writev

    def short(descriptor: int, pieces: list[bytes]) -> int:
        return writev(descriptor, [b"".join(pieces)[:1000]])

    monkeypatch.setattr(os, "writev", short)
    content = sample(33_333)
    session = await store.create_upload(new_id(), 1)
    await session.write([content[:10], content[10:2500], b"", bytearray(content[2500:2501]), content[2501:]])
    assert session.offset == len(content)
    info = await session.commit(Digest.of(content))
    assert await read(store, info.key) == content
    assert reads == []


async def test_cr11_a_write_that_fails_half_way_counts_what_the_file_has(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR-11: bytes reach the file although the call fails."""
    session = await store.create_upload(new_id(), 1)
    await session.write([b"one "])
    writev = os.writev

    def failing(descriptor: int, pieces: list[bytes]) -> int:
        writev(descriptor, [pieces[0][:2]])
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", failing)
        with pytest.raises(Unavailable):
            await session.write([b"two "])
    assert session.offset == len(b"one tw")
    await session.write([b"o three"])
    info = await session.commit(Digest.of(b"one two three"))
    assert await read(store, info.key) == b"one two three"


async def test_a_file_that_takes_no_bytes_is_a_failure(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await store.create_upload(new_id(), 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda *_: 0)
        with pytest.raises(Unavailable):
            await session.write([b"content"])
    await session.abort()


async def test_cr09_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    """CR-09: everything readable meanwhile, and no restart needed."""
    async with running(lambda: FilesystemStore(small_disk)) as backend:
        store, content = backend.store, sample(30 * MIB)
        old = await put(store, sample(20 * MIB, seed=1))
        session = await store.create_upload(new_id(), 1)
        pieces: list[Bytes] = [content[at : at + 70_000] for at in range(0, len(content), 70_000)]
        with pytest.raises(StorageFull):
            await session.write(pieces)
        assert 15 * MIB < session.offset < 21 * MIB
        with pytest.raises(StorageFull):
            await put(store, b"more" * CHUNK_BYTES)
        assert await read(store, old.key) == sample(20 * MIB, seed=1)
        await delete(store, old.key)
        await session.write([content[session.offset :]])
        info = await session.commit(Digest.of(content))
        assert await read(store, info.key) == content


async def test_cr09_a_full_disk_keeps_the_upload_where_a_share_has_to_be_copied(small_disk: Path) -> None:
    async with running(lambda: FilesystemStore(small_disk)) as backend:
        store, content = backend.store, sample(15 * MIB)
        upload_id, object_id, _ = await half_done(store, content[: 14 * MIB])
        session = await store.resume_upload(upload_id, object_id)
        await session.write([content])
        with pytest.raises(StorageFull):
            await session.commit(Digest.of(content))
        assert await uploads(store) == {upload_id}
        assert await store.upload_offset(upload_id) == 29 * MIB
        assert len(list((small_disk / "uploads").iterdir())) == 1


async def test_cr09_uploads_stop_at_the_reserve(small_disk: Path) -> None:
    """CR-09: long before the disk is full, for the database's sake; pulls and deletes go on."""
    store = FilesystemStore(small_disk, reserve_bytes=20 * MIB)
    await store.claim(IDENTITY)
    session = await store.create_upload(new_id(), 1)
    for _ in range(32):
        await session.write([bytes(MIB)])
    with pytest.raises(StorageFull) as caught:
        await session.write([bytes(MIB)])
    assert caught.value.facts == {"reserve_bytes": 20 * MIB}
    assert session.offset == 32 * MIB
    with pytest.raises(StorageFull):
        await store.create_upload(new_id(), 2)
    with pytest.raises(StorageFull):
        await session.write([b"more"])
    await session.abort()
    await put(store, b"content")
    await store.aclose()


async def test_cr11_no_descriptors_left_is_a_failure_that_passes(store: BlobStore) -> None:
    """CR-11: EMFILE is Unavailable, never absence."""
    info = await put(store, b"content")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        for call in (store.open(info.key), store.create_upload(new_id(), 1), store.check(), store.identity()):
            with pytest.raises(Unavailable):
                await call
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await read(store, info.key) == b"content"


async def test_cr12_a_short_object_is_found_by_its_size_and_by_its_reader(store: BlobStore, root: Path) -> None:
    """CR-12."""
    info = await put(store, b"content")
    os.truncate(path_of(root, info.key), 3)
    assert await store.stat(info.key) == BlobInfo(info.key, 3)
    reader = await store.open(info.key)
    assert reader.info.size == 3
    chunks = reader.chunks(0, info.size)
    assert await anext(chunks) == b"con"
    with pytest.raises(ContentCorrupt):
        await anext(chunks)
    await reader.aclose()


async def test_errors_hold_no_paths(store: BlobStore, root: Path) -> None:
    (root / "sha256").touch()
    session = await store.create_upload(new_id(), 1)
    with pytest.raises(Unavailable) as caught:
        await session.commit(Digest.of(b""))
    assert str(root) not in caught.value.message + repr(caught.value.facts)


# Threads and cancellation


async def test_cr38_a_write_is_carried_out_before_its_cancellation(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CR-38: the client is gone in the middle of a write; what it sent is kept, and hashed."""
    loop, entered, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    writev = os.writev

    def slow(descriptor: int, pieces: list[bytes]) -> int:
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(60)
        return writev(descriptor, pieces)

    upload_id = new_id()
    session = await store.create_upload(upload_id, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", slow)
        task = asyncio.create_task(session.write([b"all ", b"of it"]))
        await entered.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert session.offset == 9
    checkpoint = await session.suspend()
    assert checkpoint is not None
    assert checkpoint.digest == Digest.of(b"all of it")
    await store.remove_upload(upload_id)


async def test_a_cancelled_commit_is_carried_out(store: BlobStore) -> None:
    key = new_key(b"content")
    session = await store.create_upload(new_id(), key.object_id)
    await session.write([b"content"])
    task = asyncio.create_task(session.commit(key.digest))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.stat(key) == BlobInfo(key, 7)
    assert await uploads(store) == set()


async def test_what_a_cancelled_call_had_opened_is_closed(store: BlobStore) -> None:
    info, upload_id = await put(store, b"content"), new_id()
    before = len(os.listdir("/proc/self/fd"))
    for call in (store.open(info.key), store.create_upload(upload_id, 1)):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(os.listdir("/proc/self/fd")) == before
    await (await store.resume_upload(upload_id, 1)).abort()


async def test_i8_failures_leave_no_descriptors(store: BlobStore) -> None:
    """I8."""
    upload_id, missing = new_id(), new_key(b"missing")
    held = await store.create_upload(upload_id, 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        session = await store.create_upload(new_id(), 2)
        await session.write([b"content"])
        calls: list[Callable[[], object]] = [
            lambda: store.create_upload(upload_id, 1),
            lambda: store.resume_upload(upload_id, 1),
            lambda: store.resume_upload(new_id(), 1),
            lambda: store.remove_upload(upload_id),
            lambda: store.open(missing),
            lambda session=session: session.commit(missing.digest),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(RegistryError):
                await call()  # type: ignore[misc]
    assert len(os.listdir("/proc/self/fd")) == before
    await held.abort()


async def test_a_closed_store_is_unavailable_and_its_readers_still_close(backend: Backend) -> None:
    store = backend.store
    key = (await put(store, b"content")).key
    reader = await store.open(key)
    await delete(store, key)
    await store.aclose()
    for call in (store.stat(key), store.identity(), store.create_upload(new_id(), 1)):
        with pytest.raises(Unavailable):
            await call
    await reader.aclose()
    assert reader.file is not None
    assert reader.file.closed
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("depotry")]


async def test_nothing_waits_on_the_loop(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of the system that can wait for a disk is made in one of the store's threads."""
    names: set[str] = set()

    def watched(call: str) -> None:
        real = getattr(os, call)

        def note(*arguments: object, **options: object) -> object:
            names.add(threading.current_thread().name.partition("_")[0])
            return real(*arguments, **options)

        monkeypatch.setattr(os, call, note)

    for call in ("open", "writev", "fsync", "rename", "unlink", "mkdir", "pread", "preadv", "listdir", "scandir"):
        watched(call)
    info = await put(store, b"content")
    upload_id, object_id, _ = await half_done(store, b"content")
    session = await store.resume_upload(upload_id, object_id)
    await session.commit(Digest.of(b"content", Algorithm.SHA512))
    assert await read(store, info.key) == b"content"
    assert len(await objects(store)) == 2
    await store.check()
    await delete(store, info.key)
    assert names == {"depotry-blobs", "depotry-commits"}


async def test_the_file_of_a_reader_is_a_real_one(store: BlobStore) -> None:
    reader = await store.open((await put(store, b"content")).key)
    assert reader.file is not None
    assert os.pread(reader.file.fileno(), 100, 0) == b"content"
    assert not os.get_inheritable(reader.file.fileno())
    await reader.aclose()
