"""Blobs in memory: for tests, and for trying the registry out. What it holds ends with the process.

It keeps every promise of the contract that does not speak of another process. Its methods never wait, so
nothing can come between the steps of one.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import BinaryIO

from registry.blobstore.base import (
    BlobInfo,
    BlobReader,
    Checkpoint,
    ObjectKey,
    StoredObject,
    UploadSession,
    Usage,
    require_upload_id,
)
from registry.core.digest import Algorithm, Bytes, Digest, Hasher
from registry.core.errors import (
    ContentCorrupt,
    DigestMismatch,
    StorageFull,
    Unavailable,
    UploadBusy,
    UploadUnknown,
)
from registry.core.limits import CHUNK_BYTES, MIB

CAPACITY_DEFAULT_BYTES = 1024 * MIB

_BOOT_ID = "memory"


@dataclass(slots=True)
class _Upload:
    """The bytes of an unfinished upload, their running hash, and whether a session holds it."""

    algorithm: Algorithm
    hasher: Hasher
    content: bytearray = field(default_factory=bytearray)
    held: bool = True

    def digest(self, algorithm: Algorithm) -> Digest:
        if algorithm is self.algorithm:
            return Digest(algorithm, self.hasher.digest())
        return Digest.of(self.content, algorithm)


@dataclass(slots=True)
class _Shelf:
    """What the store and its sessions share."""

    capacity: int
    objects: dict[ObjectKey, bytes] = field(default_factory=dict)
    uploads: dict[str, _Upload] = field(default_factory=dict)
    sessions: set["_Session"] = field(default_factory=set)

    def free(self) -> int:
        used = sum(map(len, self.objects.values())) + sum(len(each.content) for each in self.uploads.values())
        return max(0, self.capacity - used)


class MemoryStore:
    """A blob store of at most `capacity_bytes`, unfinished uploads included."""

    def __init__(self, *, capacity_bytes: int = CAPACITY_DEFAULT_BYTES) -> None:
        self._shelf = _Shelf(capacity_bytes)
        self._identity: str | None = None

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload and hold it. Raises UploadBusy if the id exists, UploadUnknown if it is no id."""
        require_upload_id(upload_id)
        if upload_id in self._shelf.uploads:
            raise UploadBusy("an upload of this id exists")
        self._shelf.uploads[upload_id] = _Upload(algorithm, algorithm.hasher())
        return self._session(upload_id, object_id)

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Take up an upload that nobody holds. Raises UploadBusy or UploadUnknown."""
        upload = self._upload(upload_id)
        if upload.held:
            raise UploadBusy("another session holds this upload")
        upload.held = True
        return self._session(upload_id, object_id)

    async def upload_offset(self, upload_id: str) -> int:
        """Bytes of an upload. Raises UploadUnknown."""
        return len(self._upload(upload_id).content)

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload that nobody holds; nothing happens if it is gone. Raises UploadBusy."""
        require_upload_id(upload_id)
        upload = self._shelf.uploads.get(upload_id)
        if upload is not None and upload.held:
            raise UploadBusy("another session holds this upload")
        self._shelf.uploads.pop(upload_id, None)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """Name and size of a published object, or None."""
        content = self._shelf.objects.get(key)
        return None if content is None else BlobInfo(key, len(content))

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As `stat`: nothing here is more durable than the process."""
        return await self.stat(key)

    async def open(self, key: ObjectKey) -> BlobReader:
        """A reader of the object's bytes, which outlive its deletion. Raises ContentCorrupt."""
        content = self._shelf.objects.get(key)
        if content is None:
            raise ContentCorrupt("stored content is missing", digest=str(key.digest))
        return _Reader(BlobInfo(key, len(content)), content)

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Remove an object; nothing happens if it is gone."""
        if digest is not None:
            self._shelf.objects.pop(ObjectKey(digest, object_id), None)

    async def direct_url(self, key: ObjectKey) -> str | None:
        """None: memory has no address for others."""
        return None

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Every object that was there at the start and has not been deleted since."""
        for key in list(self._shelf.objects):
            info = await self.stat(key)
            if info is not None:
                yield StoredObject(key.object_id, info.size, key.digest)

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Every unfinished upload, held or not."""
        for upload_id in list(self._shelf.uploads):
            yield upload_id

    async def usage(self) -> Usage:
        """What the capacity leaves, in bytes."""
        return Usage(free=self._shelf.free(), total=self._shelf.capacity)

    async def check(self) -> None:
        """Nothing can fail here."""

    async def identity(self) -> str | None:
        """What `claim` was told, or None."""
        return self._identity

    async def claim(self, identity: str) -> None:
        """Remember the installation's id. Idempotent. Raises Unavailable if there is another."""
        if self._identity not in (None, identity):
            raise Unavailable("the blob store belongs to another installation")
        self._identity = identity

    async def aclose(self) -> None:
        """Suspend open sessions. The store can be used again, as a new process would. Idempotent."""
        for session in list(self._shelf.sessions):
            await session.suspend()

    def _upload(self, upload_id: str) -> _Upload:
        require_upload_id(upload_id)
        upload = self._shelf.uploads.get(upload_id)
        if upload is None:
            raise UploadUnknown("no such upload")
        return upload

    def _session(self, upload_id: str, object_id: int) -> "_Session":
        session = _Session(self._shelf, upload_id, object_id)
        self._shelf.sessions.add(session)
        return session


class _Session:
    """The exclusive right to append to one upload."""

    def __init__(self, shelf: _Shelf, upload_id: str, object_id: int) -> None:
        self._shelf = shelf
        self._upload_id = upload_id
        self._object_id = object_id
        self._upload = shelf.uploads[upload_id]
        self._began = len(self._upload.content)
        self._live = True

    @property
    def offset(self) -> int:
        """Bytes of the upload."""
        return len(self._upload.content)

    async def write(self, data: list[Bytes]) -> None:
        """Append and hash the pieces that fit, in order. Raises StorageFull at the first that does not."""
        self._require_live()
        free = self._shelf.free()
        for piece in data:
            free -= memoryview(piece).nbytes
            if free < 0:
                raise StorageFull("the blob store is full")
            self._upload.hasher.update(piece)
            self._upload.content += piece

    async def commit(self, expected: Digest) -> BlobInfo:
        """Verify and publish, in one step. Raises DigestMismatch."""
        self._require_live()
        self._end()
        content = bytes(self._upload.content)
        actual = self._upload.digest(expected.algorithm)
        if actual != expected and 0 < self._began < len(content):
            content = content[self._began :]
        if actual != expected and Digest.of(content, expected.algorithm) != expected:
            raise DigestMismatch("the content does not have this digest", expected=str(expected), actual=str(actual))
        key = ObjectKey(expected, self._object_id)
        self._shelf.objects[key] = content
        return BlobInfo(key, len(content))

    async def suspend(self) -> Checkpoint | None:
        """Let others resume. Idempotent; only the first call returns a checkpoint."""
        if not self._live:
            return None
        self._live = False
        self._upload.held = False
        self._shelf.sessions.discard(self)
        return Checkpoint(self.offset, self._upload.digest(self._upload.algorithm), _BOOT_ID)

    async def abort(self) -> None:
        """Forget the upload. Idempotent; does nothing after a commit."""
        if self._live:
            self._end()

    def _end(self) -> None:
        """Whatever becomes of it, the upload is no more."""
        self._live = False
        self._shelf.sessions.discard(self)
        del self._shelf.uploads[self._upload_id]

    def _require_live(self) -> None:
        if not self._live:
            raise UploadBusy("the upload session has ended")


@dataclass(frozen=True, slots=True)
class _Reader:
    """One object's bytes."""

    info: BlobInfo
    content: bytes

    @property
    def file(self) -> BinaryIO | None:
        """None: there is no file."""
        return None

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """`count` bytes from `offset`. Raises ContentCorrupt where the content ends before."""
        end = offset + count
        while offset < end:
            piece = self.content[offset : min(offset + CHUNK_BYTES, end)]
            if not piece:
                raise ContentCorrupt("stored content is too short", digest=str(self.info.key.digest))
            yield piece
            offset += len(piece)
            # Others get their turn, as between the hops of a disk.
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Nothing is held. Idempotent."""
