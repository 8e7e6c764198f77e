"""The file of one upload: locked, appended to, hashed on the way, and published at the end.

The file's length is the truth of what arrived. A hash counts if this process wrote every byte, or if a checkpoint of
this boot vouches for all of them; otherwise the bytes are read again.
"""

import asyncio
import errno
import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.blobstore.base import BlobInfo, Checkpoint, ObjectKey, boot_id
from registry.blobstore.layout import FILE_MODE, Names, remove_files, write_all
from registry.blobstore.threads import Arguments, T, Threads
from registry.core.digest import Algorithm, Bytes, Digest, Hasher
from registry.core.errors import DigestMismatch, UploadBusy, UploadUnknown
from registry.core.limits import CHUNK_BYTES, MIB

RUNNING_HASHES_MAX = 4096
"""Unfinished uploads whose running hash is kept between requests; about half a kilobyte each."""
RESERVE_STEP_BYTES = 16 * MIB
"""An upload looks at the free room once in so many bytes."""
PIECES_PER_CALL = 1024
"""IOV_MAX of Linux."""


@dataclass(slots=True)
class RunningHash:
    """The hash of the first `offset` bytes of an upload."""

    algorithm: Algorithm
    hasher: Hasher
    offset: int = 0

    def update(self, piece: Bytes, size: int) -> None:
        """Hash the next bytes; `size` is their number."""
        self.hasher.update(piece)
        self.offset += size

    def digest(self) -> Digest:
        """The digest of what was hashed so far."""
        return Digest(self.algorithm, self.hasher.digest())


class RunningHashes:
    """The running hashes of suspended uploads, the most recent ones. Used on the loop alone."""

    def __init__(self) -> None:
        self._by_upload: OrderedDict[str, RunningHash] = OrderedDict()

    def keep(self, upload_id: str, running: RunningHash | None) -> None:
        """Remember the hash of an upload that is put aside; the oldest one goes when there are too many."""
        self._by_upload.pop(upload_id, None)
        if running is not None:
            self._by_upload[upload_id] = running
        if len(self._by_upload) > RUNNING_HASHES_MAX:
            self._by_upload.popitem(last=False)

    def take(self, upload_id: str) -> RunningHash | None:
        """The hash of an upload, which is no longer remembered here."""
        return self._by_upload.pop(upload_id, None)


class UploadFile:
    """The locked file of one upload, and what is known of its bytes. In threads, one call at a time."""

    def __init__(self, upload_id: str, object_id: int, descriptor: int, names: "Names", *, reserve: int) -> None:
        self.upload_id = upload_id
        self.offset = os.fstat(descriptor).st_size
        self.running: RunningHash | None = None
        self.checkpoint: Checkpoint | None = None
        self._object_id = object_id
        self._descriptor = descriptor
        self._names = names
        self._layout = names.layout
        self._reserve = reserve
        self._began = self.offset
        self._look_for_room_at = self.offset

    def trust(self, running: RunningHash | None, algorithm: Algorithm) -> None:
        """Go on with this process's hash if no byte came in elsewhere since; begin one if empty."""
        if self.offset == 0:
            self.running = RunningHash(algorithm, algorithm.hasher())
        elif running is not None and running.offset == self.offset:
            self.running = running

    def append(self, pieces: list[Bytes]) -> None:
        """Write and hash the pieces. Raises StorageFull, or OSError with the count and the hash set right."""
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
        """Close the file; returns the digest of its bytes if it is known."""
        try:
            return self._checkpoint()
        finally:
            self.close()

    def abort(self) -> None:
        """Remove the upload."""
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
        boot = boot_id()
        if self.running is None or boot is None:
            return self._valid_checkpoint()
        return Checkpoint(self.offset, self.running.digest(), boot)

    def _own_share_is(self, expected: Digest) -> bool:
        if not 0 < self._began < self.offset:
            return False
        return self._hash_from(self._began, expected.algorithm).digest() == expected

    def _hash_from(self, start: int, algorithm: Algorithm) -> RunningHash:
        running = RunningHash(algorithm, algorithm.hasher(), start)
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
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remove(self) -> None:
        self.running = None
        remove_files(self._layout, self.upload_id)


class FileSession:
    """The exclusive right to append to one upload. Calls take turns, so no thread meets a closed file."""

    def __init__(
        self, upload: "UploadFile", hops: "Threads", commits: "Threads", forget: Callable[["FileSession"], None]
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

    async def _end(self, threads: "Threads", job: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        self._live = False
        try:
            return await threads.run(job, *arguments)
        finally:
            self._forget(self)


def lock(descriptor: int, path: Path) -> None:
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
