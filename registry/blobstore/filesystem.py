"""Blobs as files of a local disk: the reference back end.

    depotry-store.json                       which installation the store belongs to
    uploads/<upload id>                      the bytes of an unfinished upload
    uploads/<upload id>.part                 a copy that a commit is making of one session's share of an
    upload sha256/<first two hex>/<hex>.<object id> a published object; sha512 likewise

The truth about an upload is its file: its length is the offset, and whoever holds its `flock` may append. The
lock goes with the process, and bytes that were appended stay. Nothing ever cuts a file or writes in the
middle of one.

A commit syncs the file, renames it to its final name and syncs the directories, in this order, so that after
a power cut there is either no such name or all of its content. A sync that failed is final: Linux may have
dropped the pages and report success the next time, so the content goes with it.

A store that lost its marker is a disk that is not mounted. What it says is missing may well exist, so it
answers Unavailable, and `claim` has to come before the first use.

A network file system is not supported: it may lie about locks and syncs.
"""

import asyncio
import errno
import fcntl
import json
import os
import re
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple

import aiofiles

from registry.blobstore.base import BlobInfo, BlobReader, Checkpoint, ObjectKey, UploadSession, Usage
from registry.core.digest import Algorithm, Bytes, Digest, Hasher
from registry.core.errors import (
    ContentCorrupt,
    DigestMismatch,
    OurFault,
    StorageFull,
    Unavailable,
    UploadBusy,
    UploadUnknown,
)
from registry.core.limits import CHUNK_BYTES, MIB

THREADS_DEFAULT = 8
RUNNING_HASHES_MAX = 4096
"""Unfinished uploads whose running hash is kept between requests; about half a kilobyte each."""
RESERVE_STEP_BYTES = 16 * MIB
"""An upload looks at the free room once in so many bytes."""
PIECES_PER_CALL = 1024
"""IOV_MAX of Linux."""
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_UPLOAD_FILE = re.compile(r"([0-9a-f]{32})(?:\.part)?")
_OBJECT_FILE = re.compile(r"([0-9a-f]{64}|[0-9a-f]{128})\.(0|[1-9][0-9]{0,18})")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROBE = b"depotry tries whether it can write here\n"

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are."""

    root: Path

    @property
    def marker(self) -> Path:
        return self.root / "depotry-store.json"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    def upload(self, upload_id: str) -> Path:
        return self.uploads / upload_id

    def part(self, upload_id: str) -> Path:
        return self.uploads / f"{upload_id}.part"

    def object(self, key: ObjectKey) -> Path:
        encoded = key.digest.hex
        return self.root / key.digest.algorithm.label / encoded[:2] / f"{encoded}.{key.object_id}"

    def require_marker(self) -> None:
        """Called where something is not there, before that is believed. Raises Unavailable."""
        if not self.marker.exists():
            raise Unavailable("the blob store has lost its marker: is its disk mounted?")

    def require_room(self, wanted: int, reserve: int) -> None:
        """Raises StorageFull if `wanted` more bytes would leave less than `reserve` free."""
        if reserve and _usage(os.statvfs(self.root))[0] - wanted < reserve:
            raise StorageFull("the blob store is full up to its reserve", reserve_bytes=reserve)


class FilesystemStore:
    """A blob store below the directory `root`.

    `threads` bounds the blocking calls that run at once, and again the commits, which take longer: a slow
    disk that syncs does not stop the transfers. Uploads stop when less than `reserve_bytes` would stay free,
    so that the database on the same disk never meets a full one.
    """

    def __init__(self, root: Path, *, threads: int = THREADS_DEFAULT, reserve_bytes: int = 0) -> None:
        self._layout = _Layout(root)
        self._reserve = reserve_bytes
        self._names = _Names(self._layout)
        self._hops = _Threads("depotry-blobs", threads)
        self._commits = _Threads("depotry-commits", threads)
        self._hashes = _RunningHashes()
        self._sessions: set[_Session] = set()
        self._claimed = False

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload and hold it. Raises UploadBusy if the id exists, UploadUnknown if it is no id."""
        _require_upload_id(upload_id)
        upload = await self._hops.run(self._create, upload_id, object_id, undo=_Upload.close)
        upload.trust(None, algorithm)
        return self._session(upload)

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Take up an upload at the end of its file. Raises UploadBusy or UploadUnknown."""
        _require_upload_id(upload_id)
        upload = await self._hops.run(self._resume, upload_id, object_id, checkpoint, undo=_Upload.close)
        upload.trust(self._hashes.take(upload_id), algorithm)
        return self._session(upload)

    async def upload_offset(self, upload_id: str) -> int:
        """Length of the upload's file, in bytes. Raises UploadUnknown."""
        _require_upload_id(upload_id)
        return await self._hops.run(self._upload_size, upload_id)

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload that nobody holds; nothing happens if it is gone. Raises UploadBusy."""
        _require_upload_id(upload_id)
        await self._hops.run(self._remove_upload, upload_id)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """Name and actual size of a published object, or None. Raises Unavailable."""
        return await self._hops.run(self._stat, key)

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As `stat`, after syncing the object and its name. Raises Unavailable or StorageFull."""
        return await self._commits.run(self._confirm, key)

    async def open(self, key: ObjectKey) -> BlobReader:
        """Open an object; its size is the actual one, for the caller to compare. Raises ContentCorrupt."""
        return await self._hops.run(self._open, key, undo=_Reader.close)

    async def delete(self, key: ObjectKey) -> None:
        """Remove an object. Not synced: whoever repeats it after a power cut succeeds. Raises Unavailable."""
        await self._hops.run(self._delete, key)

    async def direct_url(self, key: ObjectKey) -> str | None:
        """None: a file has no address of its own."""
        return None

    async def iter_objects(self) -> AsyncIterator[BlobInfo]:
        """Every object, one directory a hop. Names that are not ours are skipped. Raises Unavailable."""
        for algorithm in Algorithm:
            for directory in await self._hops.run(self._object_directories, algorithm):
                for info in await self._hops.run(_list_objects, directory, algorithm):
                    yield info

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Every id that has a file among the uploads, held or not. Raises Unavailable."""
        for upload_id in await self._hops.run(self._list_uploads):
            yield upload_id

    async def usage(self) -> Usage:
        """Room of the file system for an ordinary user, in bytes. Raises Unavailable."""
        return Usage(*_usage(await self._hops.run(os.statvfs, self._layout.root)))

    async def check(self) -> None:
        """Write a small file, sync it, read it back and remove it. Raises Unavailable or StorageFull."""
        if not await self._hops.run(self._probe):
            raise Unavailable("the blob store does not read what was written")

    async def identity(self) -> str | None:
        """What `claim` wrote, or None. Raises Unavailable if it cannot be read."""
        try:
            async with aiofiles.open(self._layout.marker, "rb", executor=self._hops.executor) as file:
                identity = _parse_marker(await file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failure(error) from error
        self._claimed = True
        return identity

    async def claim(self, identity: str) -> None:
        """Make directories and marker, durably. Idempotent. Raises Unavailable if another's is there."""
        await self._hops.run(self._claim, identity)

    async def aclose(self) -> None:
        """Suspend open sessions and wait for the threads. Idempotent. Readers are their owners' to close."""
        for session in list(self._sessions):
            await session.suspend()
        await self._hops.aclose()
        await self._commits.aclose()

    def _session(self, upload: "_Upload") -> "_Session":
        session = _Session(upload, self._hops, self._commits, self._forget)
        self._sessions.add(session)
        return session

    def _forget(self, session: "_Session") -> None:
        self._sessions.discard(session)
        self._hashes.keep(session.upload.upload_id, session.upload.running)

    # What follows runs in a thread.

    def _create(self, upload_id: str, object_id: int) -> "_Upload":
        self._layout.require_room(0, self._reserve)
        path = self._layout.upload(upload_id)
        try:
            descriptor = self._create_file(path)
        except FileExistsError:
            raise UploadBusy("an upload of this id exists") from None
        _lock(descriptor, path)
        return _Upload(upload_id, object_id, descriptor, self._names, reserve=self._reserve)

    def _create_file(self, path: Path) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
        try:
            return os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            # A copy of a store need not have carried its uploads along.
            self._layout.require_marker()
            _make_durably(self._layout.uploads)
            return os.open(path, flags, FILE_MODE)

    def _resume(self, upload_id: str, object_id: int, checkpoint: Checkpoint | None) -> "_Upload":
        descriptor = self._take(upload_id)
        upload = _Upload(upload_id, object_id, descriptor, self._names, reserve=self._reserve)
        if checkpoint is not None and checkpoint.offset == upload.offset and checkpoint.boot_id == _boot_id():
            upload.checkpoint = checkpoint
        return upload

    def _take(self, upload_id: str) -> int:
        """Open and lock an upload's file. Raises UploadBusy or UploadUnknown."""
        path = self._layout.upload(upload_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._layout.require_marker()
            raise UploadUnknown("no such upload") from None
        _lock(descriptor, path)
        return descriptor

    def _upload_size(self, upload_id: str) -> int:
        try:
            return os.stat(self._layout.upload(upload_id)).st_size
        except FileNotFoundError:
            self._layout.require_marker()
            raise UploadUnknown("no such upload") from None

    def _remove_upload(self, upload_id: str) -> None:
        try:
            descriptor = self._take(upload_id)
        except UploadUnknown:
            self._layout.part(upload_id).unlink(missing_ok=True)
            return
        try:
            _remove_files(self._layout, upload_id)
        finally:
            os.close(descriptor)

    def _stat(self, key: ObjectKey) -> BlobInfo | None:
        try:
            return BlobInfo(key, os.stat(self._layout.object(key), follow_symlinks=False).st_size)
        except FileNotFoundError:
            self._layout.require_marker()
            return None

    def _confirm(self, key: ObjectKey) -> BlobInfo | None:
        path = self._layout.object(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._layout.require_marker()
            return None
        try:
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        self._names.sync(path)
        return BlobInfo(key, size)

    def _open(self, key: ObjectKey) -> "_Reader":
        try:
            file = self._layout.object(key).open("rb")
        except FileNotFoundError:
            self._layout.require_marker()
            raise ContentCorrupt("stored content is missing", digest=str(key.digest)) from None
        return _Reader(BlobInfo(key, os.fstat(file.fileno()).st_size), file, self._hops)

    def _delete(self, key: ObjectKey) -> None:
        try:
            os.unlink(self._layout.object(key))
        except FileNotFoundError:
            self._layout.require_marker()

    def _object_directories(self, algorithm: Algorithm) -> list[Path]:
        if self._claimed:
            self._layout.require_marker()
        directory = self._layout.root / algorithm.label
        try:
            return sorted(directory / name for name in os.listdir(directory) if re.fullmatch("[0-9a-f]{2}", name))
        except FileNotFoundError:
            return []

    def _list_uploads(self) -> list[str]:
        self._layout.require_marker()
        names = os.listdir(self._layout.uploads) if self._layout.uploads.exists() else []
        return sorted({match[1] for name in names if (match := _UPLOAD_FILE.fullmatch(name))})

    def _probe(self) -> bool:
        directory = self._layout.uploads if self._layout.marker.exists() else self._layout.root
        if self._claimed:
            self._layout.require_marker()
        path = directory / ".check"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, FILE_MODE)
        try:
            # Two checks take turns; the lock of a file that the other has removed hinders nobody.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.pwrite(descriptor, _PROBE, 0)
            os.fsync(descriptor)
            return os.pread(descriptor, len(_PROBE), 0) == _PROBE
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _claim(self, identity: str) -> None:
        _make_durably(self._layout.root)
        with _locked_directory(self._layout.root):
            if not self._layout.marker.exists():
                _make_durably(self._layout.uploads)
                _write_marker(self._layout, identity)
            elif _parse_marker(self._layout.marker.read_bytes()) != identity:
                raise Unavailable("the blob store belongs to another installation")
        self._claimed = True


class _Session:
    """The exclusive right to append to one upload. Calls take turns, so no thread meets a closed file."""

    def __init__(
        self, upload: "_Upload", hops: "_Threads", commits: "_Threads", forget: Callable[["_Session"], None]
    ) -> None:
        self.upload = upload
        self._hops = hops
        self._commits = commits
        self._forget = forget
        self._live = True
        self._turn = asyncio.Lock()

    @property
    def offset(self) -> int:
        """Length of the upload's file, in bytes."""
        return self.upload.offset

    async def write(self, data: list[Bytes]) -> None:
        """Append and hash the pieces in one hop. Raises StorageFull or Unavailable, and stays good."""
        async with self._turn:
            self._require_live()
            await self._hops.run(self.upload.append, data)

    async def commit(self, expected: Digest) -> BlobInfo:
        """Verify, sync, rename, sync the directories. Raises DigestMismatch, StorageFull or Unavailable."""
        async with self._turn:
            self._require_live()
            return await self._end(self._commits, self.upload.commit, expected)

    async def suspend(self) -> Checkpoint | None:
        """Close the file, which unlocks it. Idempotent; only the first call returns a checkpoint."""
        async with self._turn:
            return await self._end(self._hops, self.upload.suspend) if self._live else None

    async def abort(self) -> None:
        """Remove the upload. Idempotent; does nothing after a commit."""
        async with self._turn:
            if self._live:
                await self._end(self._hops, self.upload.abort)

    def _require_live(self) -> None:
        if not self._live:
            raise UploadBusy("the upload session has ended")

    async def _end(self, threads: "_Threads", job: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        self._live = False
        try:
            return await threads.run(job, *arguments)
        finally:
            self._forget(self)


@dataclass(slots=True)
class _RunningHash:
    """The hash of the first `offset` bytes of an upload."""

    algorithm: Algorithm
    hasher: Hasher
    offset: int = 0

    def update(self, piece: Bytes, size: int) -> None:
        self.hasher.update(piece)
        self.offset += size

    def digest(self) -> Digest:
        return Digest(self.algorithm, self.hasher.digest())


class _RunningHashes:
    """The running hashes of suspended uploads, the most recent ones. Used on the loop alone."""

    def __init__(self) -> None:
        self._by_upload: OrderedDict[str, _RunningHash] = OrderedDict()

    def keep(self, upload_id: str, running: _RunningHash | None) -> None:
        self._by_upload.pop(upload_id, None)
        if running is not None:
            self._by_upload[upload_id] = running
        if len(self._by_upload) > RUNNING_HASHES_MAX:
            self._by_upload.popitem(last=False)

    def take(self, upload_id: str) -> _RunningHash | None:
        return self._by_upload.pop(upload_id, None)


class _Upload:
    """The locked file of one upload, and what is known of its bytes. In threads, one call at a time."""

    def __init__(self, upload_id: str, object_id: int, descriptor: int, names: "_Names", *, reserve: int) -> None:
        self.upload_id = upload_id
        self.offset = os.fstat(descriptor).st_size
        self.running: _RunningHash | None = None
        self.checkpoint: Checkpoint | None = None
        self._object_id = object_id
        self._descriptor = descriptor
        self._names = names
        self._layout = names.layout
        self._reserve = reserve
        self._began = self.offset
        self._look_for_room_at = self.offset

    def trust(self, running: _RunningHash | None, algorithm: Algorithm) -> None:
        """Go on with this process's hash if no byte came in elsewhere since; begin one if empty."""
        if self.offset == 0:
            self.running = _RunningHash(algorithm, algorithm.hasher())
        elif running is not None and running.offset == self.offset:
            self.running = running

    def append(self, pieces: list[Bytes]) -> None:
        self._require_room(pieces)
        rest = pieces
        try:
            while rest:
                rest = self._write_some(rest)
        except OSError:
            self._recount()
            raise

    def commit(self, expected: Digest) -> BlobInfo:
        """Whatever is raised before the rename leaves the upload as it was, except where a sync failed."""
        try:
            self._recount()
            actual = self._digest(expected.algorithm)
            if actual == expected:
                return self._publish_all(expected)
            if self._own_share_is(expected):
                return self._publish_own_share(expected)
            self._remove()
        finally:
            self.close()
        raise DigestMismatch("the content does not have this digest", expected=str(expected), actual=str(actual))

    def suspend(self) -> Checkpoint | None:
        try:
            return self._checkpoint()
        finally:
            self.close()

    def abort(self) -> None:
        try:
            self._remove()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, which unlocks it."""
        os.close(self._descriptor)

    def _require_room(self, pieces: list[Bytes]) -> None:
        if self.offset >= self._look_for_room_at:
            self._layout.require_room(sum(memoryview(piece).nbytes for piece in pieces), self._reserve)
            self._look_for_room_at = self.offset + RESERVE_STEP_BYTES

    def _write_some(self, pieces: list[Bytes]) -> list[Bytes]:
        """One call of the system; returns what is left of the pieces."""
        written = os.writev(self._descriptor, pieces[:PIECES_PER_CALL])
        rest = self._account(pieces, written)
        if written == 0 and len(rest) == len(pieces):
            raise OSError(errno.EIO, "the file takes no bytes")
        return rest

    def _account(self, pieces: list[Bytes], written: int) -> list[Bytes]:
        for done, piece in enumerate(pieces):
            size = memoryview(piece).nbytes
            if size > written:
                view = memoryview(piece).cast("B")
                self._count(view[:written], written)
                return [view[written:], *pieces[done + 1 :]]
            self._count(piece, size)
            written -= size
        return []

    def _count(self, piece: Bytes, size: int) -> None:
        self.offset += size
        if self.running is not None:
            self.running.update(piece, size)

    def _recount(self) -> None:
        """The file's length is the truth: where it differs from the count, the hash is worth nothing."""
        size = os.fstat(self._descriptor).st_size
        if size != self.offset:
            self.offset = size
            self.running = None

    def _digest(self, algorithm: Algorithm) -> Digest:
        """The digest of all bytes, reading them only if nobody vouches for one."""
        if self.running is not None and self.running.algorithm is algorithm:
            return self.running.digest()
        checkpoint = self._valid_checkpoint()
        if checkpoint is not None and checkpoint.digest.algorithm is algorithm:
            return checkpoint.digest
        self.running = self._hash_from(0, algorithm)
        return self.running.digest()

    def _valid_checkpoint(self) -> Checkpoint | None:
        unchanged = self.checkpoint is not None and self.checkpoint.offset == self.offset
        return self.checkpoint if unchanged else None

    def _checkpoint(self) -> Checkpoint | None:
        boot_id = _boot_id()
        if self.running is None or boot_id is None:
            return self._valid_checkpoint()
        return Checkpoint(self.offset, self.running.digest(), boot_id)

    def _own_share_is(self, expected: Digest) -> bool:
        if not 0 < self._began < self.offset:
            return False
        return self._hash_from(self._began, expected.algorithm).digest() == expected

    def _hash_from(self, start: int, algorithm: Algorithm) -> _RunningHash:
        running = _RunningHash(algorithm, algorithm.hasher(), start)
        for piece in self._pieces_from(start):
            running.update(piece, len(piece))
        return running

    def _pieces_from(self, start: int) -> Iterator[memoryview]:
        """The file from `start`, in pieces of 1 MiB; each is overwritten by the next."""
        buffer = memoryview(bytearray(min(CHUNK_BYTES, self.offset - start)))
        while start < self.offset:
            count = os.preadv(self._descriptor, [buffer[: self.offset - start]], start)
            if count == 0:
                raise OSError(errno.EIO, "the file ends before its length")
            yield buffer[:count]
            start += count

    def _publish_all(self, expected: Digest) -> BlobInfo:
        try:
            os.fsync(self._descriptor)
        except OSError:
            # What a failed sync has dropped is not known, and the next one may claim success.
            with suppress(OSError):
                self._remove()
            raise
        info = self._names.publish(
            self._layout.upload(self.upload_id), ObjectKey(expected, self._object_id), self.offset
        )
        self.running = None
        return info

    def _publish_own_share(self, expected: Digest) -> BlobInfo:
        part = self._layout.part(self.upload_id)
        try:
            self._copy_own_share(part)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        info = self._names.publish(part, ObjectKey(expected, self._object_id), self.offset - self._began)
        # The content is published; an upload that cannot be removed now goes when it expires.
        with suppress(OSError):
            self._remove()
        return info

    def _copy_own_share(self, part: Path) -> None:
        descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, FILE_MODE)
        try:
            for piece in self._pieces_from(self._began):
                _write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remove(self) -> None:
        self.running = None
        _remove_files(self._layout, self.upload_id)


class _Names:
    """The names of published objects, and which of their directories this process knows to be durable."""

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout
        self._durable: set[Path] = set()

    def publish(self, source: Path, key: ObjectKey, size: int) -> BlobInfo:
        """Rename a synced file to its final name, durably."""
        target = self.layout.object(key)
        for directory in (target.parent.parent, target.parent):
            with suppress(FileExistsError):
                os.mkdir(directory, DIRECTORY_MODE)
                self._durable.discard(directory)
        os.rename(source, target)
        try:
            self.sync(target)
        except OSError:
            # Nothing must be left that could be taken for durable when somebody asks again.
            with suppress(OSError):
                target.unlink(missing_ok=True)
            raise
        return BlobInfo(key, size)

    def sync(self, target: Path) -> None:
        """Sync the directory of an object, those above it, and the one that the object came from.

        A directory that exists may be another process's, made and not synced yet: so each process syncs each
        of them once, not only the ones that it made.
        """
        _sync_directory(target.parent)
        for directory in (target.parent, target.parent.parent):
            if directory not in self._durable:
                _sync_directory(directory.parent)
                self._durable.add(directory)
        # Else the old name could come back after a power cut, and appending to it would change the object.
        with suppress(FileNotFoundError):
            _sync_directory(self.layout.uploads)


@dataclass(frozen=True, slots=True)
class _Reader:
    """An open file. Chunks are read by position, so several iterators do not disturb each other."""

    info: BlobInfo
    file: BinaryIO
    hops: "_Threads"

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """`count` bytes from `offset`, one piece a hop. Raises ContentCorrupt if the file ends before."""
        end = offset + count
        while offset < end:
            wanted = min(CHUNK_BYTES, end - offset)
            piece = await self.hops.run(os.pread, self.file.fileno(), wanted, offset)
            if not piece:
                raise ContentCorrupt("stored content is too short", digest=str(self.info.key.digest))
            yield piece
            offset += len(piece)

    async def aclose(self) -> None:
        """Close the file. Idempotent. The iterators have to be done."""
        # Whoever closes a deleted file last waits until the disk has freed it.
        if not self.file.closed and os.fstat(self.file.fileno()).st_nlink == 0 and not self.hops.closed:
            await self.hops.run(self.close)
        self.close()

    def close(self) -> None:
        self.file.close()


class _Threads:
    """A bounded pool for calls that block."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)
        self.closed = False

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The pool itself. Raises Unavailable once it is closed."""
        if self.closed:
            raise Unavailable("the blob store is closed")
        return self._executor

    async def run(
        self,
        job: Callable[[*Arguments], T],
        *arguments: *Arguments,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """The job's result. An OSError becomes StorageFull or Unavailable.

        A job cannot be stopped half way. So a cancellation waits until it is done, lets `undo` release what
        it returned, and goes on only then: nobody closes a file that a thread still writes to.
        """
        hop = asyncio.get_running_loop().run_in_executor(self.executor, job, *arguments)
        cancellation: asyncio.CancelledError | None = None
        while not hop.done():
            try:
                await asyncio.wait((hop,))
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            if hop.exception() is None and undo is not None:
                undo(hop.result())
            raise cancellation
        with _translated():
            return hop.result()

    async def aclose(self) -> None:
        """Refuse new jobs and wait for the running ones. Idempotent."""
        self.closed = True
        await asyncio.to_thread(self._executor.shutdown)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failure(error) from error


def _failure(error: OSError) -> OurFault:
    """What an error of the system means to the caller. Its text holds a path, so it stays in the chain."""
    if error.errno in _FULL:
        return StorageFull("the blob store is full")
    reason = os.strerror(error.errno) if error.errno is not None else "unknown error"
    return Unavailable(f"the blob store failed: {reason}")


def _require_upload_id(upload_id: str) -> None:
    if _UPLOAD_ID.fullmatch(upload_id) is None:
        raise UploadUnknown("no such upload")


def _lock(descriptor: int, path: Path) -> None:
    """Take the exclusive right to the file that `path` names now; closes the descriptor if that fails.

    Between opening a file and locking it a commit may have renamed it. Appending then would change published
    content, so the name has to lead to the same file still.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
            raise UploadUnknown("no such upload")
    except BlockingIOError:
        os.close(descriptor)
        raise UploadBusy("another session holds this upload") from None
    except FileNotFoundError:
        os.close(descriptor)
        raise UploadUnknown("no such upload") from None
    except (OSError, UploadUnknown):
        os.close(descriptor)
        raise


def _remove_files(layout: _Layout, upload_id: str) -> None:
    layout.part(upload_id).unlink(missing_ok=True)
    layout.upload(upload_id).unlink(missing_ok=True)


def _list_objects(directory: Path, algorithm: Algorithm) -> list[BlobInfo]:
    try:
        with os.scandir(directory) as entries:
            found = [_object_of(entry, directory.name, algorithm) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [info for info in found if info is not None]


def _object_of(entry: os.DirEntry[str], prefix: str, algorithm: Algorithm) -> BlobInfo | None:
    match = _OBJECT_FILE.fullmatch(entry.name)
    if match is None or not match[1].startswith(prefix) or len(match[1]) != 2 * algorithm.size_bytes:
        return None
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    key = ObjectKey(Digest(algorithm, bytes.fromhex(match[1])), int(match[2]))
    return BlobInfo(key, status.st_size) if stat.S_ISREG(status.st_mode) else None


def _usage(room: os.statvfs_result) -> tuple[int, int]:
    """Free and total bytes for an ordinary user."""
    return room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize


def _boot_id() -> str | None:
    """Changes with every start of the machine; None where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_durably(directory: Path) -> None:
    """Make a directory and what is missing above it."""
    if directory.exists():
        return
    _make_durably(directory.parent)
    with suppress(FileExistsError):
        os.mkdir(directory, DIRECTORY_MODE)
    _sync_directory(directory.parent)


@contextmanager
def _locked_directory(directory: Path) -> Iterator[None]:
    """Processes that do the same here take turns."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_marker(layout: _Layout, identity: str) -> None:
    draft = layout.marker.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, FILE_MODE)
    try:
        _write_all(descriptor, memoryview(json.dumps({"identity": identity}).encode()))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, layout.marker)
    _sync_directory(layout.root)


def _parse_marker(text: bytes) -> str:
    """Raises Unavailable."""
    try:
        marker = json.loads(text)
    except ValueError:
        marker = None
    identity = marker.get("identity") if isinstance(marker, dict) else None
    if not isinstance(identity, str):
        raise Unavailable("the marker of the blob store cannot be read")
    return identity
