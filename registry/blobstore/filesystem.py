"""Blobs as files of a local disk: the reference back end.

    depotry-store.json                       which installation the store belongs to
    uploads/<upload id>                      the bytes of an unfinished upload
    uploads/<upload id>.part                 a copy that a commit is making of one session's share of an upload
    sha256/<first two hex>/<hex>.<object id> a published object; sha512 likewise

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

import fcntl
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiofiles

from registry.blobstore.base import (
    BlobInfo,
    BlobReader,
    Checkpoint,
    ObjectKey,
    StoredObject,
    UploadSession,
    Usage,
    boot_id,
    require_upload_id,
)
from registry.blobstore.layout import (
    FILE_MODE,
    Layout,
    Names,
    list_objects,
    locked_directory,
    make_durably,
    parse_marker,
    remove_files,
    room_of,
    write_marker,
)
from registry.blobstore.threads import Threads, failure
from registry.blobstore.upload_file import FileSession, RunningHashes, UploadFile, lock
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ContentCorrupt, SyncFailed, Unavailable, UploadBusy, UploadUnknown
from registry.core.limits import CHUNK_BYTES

THREADS_DEFAULT = 8

_UPLOAD_FILE = re.compile(r"([0-9a-f]{32})(?:\.part)?")
_PROBE = b"depotry tries whether it can write here\n"


class FilesystemStore:
    """A blob store below the directory `root`.

    `threads` bounds the blocking calls that run at once, and again the commits, which take longer: a slow
    disk that syncs does not stop the transfers. Uploads stop when less than `reserve_bytes` would stay free,
    so that the database on the same disk never meets a full one.
    """

    def __init__(self, root: Path, *, threads: int = THREADS_DEFAULT, reserve_bytes: int = 0) -> None:
        self._layout = Layout(root)
        self._reserve = reserve_bytes
        self._names = Names(self._layout)
        self._hops = Threads("depotry-blobs", threads)
        self._commits = Threads("depotry-commits", threads)
        self._hashes = RunningHashes()
        self._sessions: set[FileSession] = set()
        self._claimed = False

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload and hold it. Raises UploadBusy if the id exists, UploadUnknown if it is no id."""
        require_upload_id(upload_id)
        upload = await self._hops.run(self._create, upload_id, object_id, undo=UploadFile.close)
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
        require_upload_id(upload_id)
        upload = await self._hops.run(self._resume, upload_id, object_id, checkpoint, undo=UploadFile.close)
        upload.trust(self._hashes.take(upload_id), algorithm)
        return self._session(upload)

    async def upload_offset(self, upload_id: str) -> int:
        """Length of the upload's file, in bytes. Raises UploadUnknown."""
        require_upload_id(upload_id)
        return await self._hops.run(self._upload_size, upload_id)

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload that nobody holds; nothing happens if it is gone. Raises UploadBusy."""
        require_upload_id(upload_id)
        await self._hops.run(self._remove_upload, upload_id)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """Name and actual size of a published object, or None. Raises Unavailable."""
        return await self._hops.run(self._stat, key)

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As `stat`, after syncing the object and its name. Raises Unavailable, SyncFailed."""
        return await self._commits.run(self._confirm, key)

    async def open(self, key: ObjectKey) -> BlobReader:
        """Open an object; its size is the actual one, for the caller to compare. Raises ContentCorrupt."""
        return await self._hops.run(self._open, key, undo=FileReader.close)

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Remove an object. Not synced: whoever repeats it after a power cut succeeds. Raises Unavailable."""
        if digest is not None:
            await self._hops.run(self._delete, ObjectKey(digest, object_id))

    async def direct_url(self, key: ObjectKey) -> str | None:
        """None: a file has no address of its own."""
        return None

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Every object, one directory a hop. Names that are not ours are skipped. Raises Unavailable."""
        for algorithm in Algorithm:
            for directory in await self._hops.run(self._object_directories, algorithm):
                for info in await self._hops.run(list_objects, directory, algorithm):
                    yield info

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Every id that has a file among the uploads, held or not. Raises Unavailable."""
        for upload_id in await self._hops.run(self._list_uploads):
            yield upload_id

    async def usage(self) -> Usage:
        """Room of the file system for an ordinary user, in bytes. Raises Unavailable."""
        return Usage(*room_of(await self._hops.run(os.statvfs, self._layout.root)))

    async def check(self) -> None:
        """Write a small file, sync it, read it back and remove it. Raises Unavailable or StorageFull."""
        if not await self._hops.run(self._probe):
            raise Unavailable("the blob store does not read what was written")

    async def identity(self) -> str | None:
        """What `claim` wrote, or None. Raises Unavailable if it cannot be read."""
        try:
            async with aiofiles.open(self._layout.marker, "rb", executor=self._hops.executor) as file:
                identity = parse_marker(await file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error) from error
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

    def _session(self, upload: "UploadFile") -> "FileSession":
        session = FileSession(upload, self._hops, self._commits, self._forget)
        self._sessions.add(session)
        return session

    def _forget(self, session: "FileSession") -> None:
        self._sessions.discard(session)
        self._hashes.keep(session.upload.upload_id, session.upload.running)

    # What follows runs in a thread.

    def _create(self, upload_id: str, object_id: int) -> "UploadFile":
        self._layout.require_room(0, self._reserve)
        path = self._layout.upload(upload_id)
        try:
            descriptor = self._create_file(path)
        except FileExistsError:
            raise UploadBusy("an upload of this id exists") from None
        lock(descriptor, path)
        return UploadFile(upload_id, object_id, descriptor, self._names, reserve=self._reserve)

    def _create_file(self, path: Path) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
        try:
            return os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            # A copy of a store need not have carried its uploads along.
            self._layout.require_marker()
            make_durably(self._layout.uploads)
            return os.open(path, flags, FILE_MODE)

    def _resume(self, upload_id: str, object_id: int, checkpoint: Checkpoint | None) -> "UploadFile":
        descriptor = self._take(upload_id)
        upload = UploadFile(upload_id, object_id, descriptor, self._names, reserve=self._reserve)
        if checkpoint is not None and checkpoint.offset == upload.offset and checkpoint.boot_id == boot_id():
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
        lock(descriptor, path)
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
            remove_files(self._layout, upload_id)
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
            size = os.fstat(descriptor).st_size
            os.fsync(descriptor)
            self._names.sync(path)
        except OSError as error:
            # What has a name could not be opened: that says nothing of what a sync would have said.
            if error.filename is not None:
                raise
            raise SyncFailed(failure(error).message) from error
        finally:
            os.close(descriptor)
        return BlobInfo(key, size)

    def _open(self, key: ObjectKey) -> "FileReader":
        try:
            file = self._layout.object(key).open("rb")
        except FileNotFoundError:
            self._layout.require_marker()
            raise ContentCorrupt("stored content is missing", digest=str(key.digest)) from None
        return FileReader(BlobInfo(key, os.fstat(file.fileno()).st_size), file, self._hops)

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
        self._layout.require_room(0, self._reserve)
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
        make_durably(self._layout.root)
        with locked_directory(self._layout.root):
            if not self._layout.marker.exists():
                make_durably(self._layout.uploads)
                write_marker(self._layout, identity)
            elif parse_marker(self._layout.marker.read_bytes()) != identity:
                raise Unavailable("the blob store belongs to another installation")
        self._claimed = True


@dataclass(frozen=True, slots=True)
class FileReader:
    """An open file. Chunks are read by position, so several iterators do not disturb each other."""

    info: BlobInfo
    file: BinaryIO
    hops: "Threads"

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
