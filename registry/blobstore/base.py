"""The contract of a blob store; `tests/blobstore/suite.py` runs it on every back end.

A store knows objects, digests and upload ids. It knows nothing of repositories, users or HTTP.

The life of an object: its id is drawn from SQL and written down there before the first byte; an upload
session collects bytes; `commit` verifies them, makes them durable and publishes them under a name that
carries digest and id; SQL then names the object. No id, and so no name, is ever used twice: a delayed or
repeated delete can never hit content that somebody stored later.

Every method raises `Unavailable` (or `StorageFull`, one kind of it to a client) when the back end fails. A
failure is never reported as absence.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import UploadUnknown

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


OBJECT_ID_MAX = 2**62
"""No installation gets as far: a name with a higher id is none of ours, and databases could not take it."""


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """The name of one stored object: the digest of its content and the id that SQL gave it."""

    digest: Digest
    object_id: int


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A published object: its name and its size in bytes."""

    key: ObjectKey
    size: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A published object as the medium lists it: the id in its name, its size in bytes, and the digest where names
    carry one."""

    object_id: int
    size: int
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The digest of the first `offset` bytes of an upload, as the process that wrote them knew it.

    It saves reading the bytes again. It counts only on the node and boot that wrote it (`boot_id`), because a
    power cut may take bytes back that were never synced.
    """

    offset: int
    digest: Digest
    boot_id: str


def boot_id() -> str | None:
    """Changes with every boot of the machine, and so tells a power cut from a restart of the process. None where the
    system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def require_upload_id(upload_id: str) -> None:
    """Raises UploadUnknown for a text that is no id of an upload, which may be anything."""
    if _UPLOAD_ID.fullmatch(upload_id) is None:
        raise UploadUnknown("no such upload")


@dataclass(frozen=True, slots=True)
class Usage:
    """Room of the store's medium, in bytes. None where the back end has no such notion."""

    free: int | None
    total: int | None


class BlobReader(Protocol):
    """One object opened for reading. It stays readable when the object is deleted meanwhile."""

    @property
    def info(self) -> BlobInfo:
        """Name and actual size; the caller compares the size with what it expects."""
        ...

    @property
    def file(self) -> BinaryIO | None:
        """A real file for `sendfile`; None when the bytes are not in a local file."""
        ...

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """Exactly `count` bytes from `offset`, in pieces of at most 1 MiB. Several iterators may run at once.

        Raises ContentCorrupt when the object ends before that, after the pieces that could be read.
        """
        ...

    async def aclose(self) -> None:
        """Releases the object; its iterators have to be done. Idempotent."""
        ...


class UploadSession(Protocol):
    """The exclusive right to append to one upload: one live session an id, across workers.

    `write`, then exactly one of `commit`, `suspend` or `abort`; whichever comes first ends the session, and
    the others then do nothing (`commit` and `write` raise UploadBusy).
    """

    @property
    def offset(self) -> int:
        """Bytes accepted so far, by this session and all before it; readable after the end too."""
        ...

    async def write(self, data: list[Bytes]) -> None:
        """Append the pieces, in order, in one hop; the caller batches about 1 MiB.

        When it raises or is cancelled, what is appended is some prefix of the pieces, `offset` says how much,
        and the session is still good. Raises StorageFull or Unavailable.
        """
        ...

    async def commit(self, expected: Digest) -> BlobInfo:
        """Verify the whole content against `expected`, make it durable and publish it. Ends the session.

        If the whole does not match but what this session wrote does, then that is the content: a client that
        lost our answer has sent everything once more. Raises DigestMismatch (facts `expected` and `actual`,
        as text): nothing is published and the upload is gone. Raises Unavailable or StorageFull: nothing is
        published, and the upload is kept as by `suspend`, except where a sync failed: what it dropped is
        unknown, so the upload is gone. When it is cancelled it has been carried out, one way or the other,
        before the cancellation goes on.
        """
        ...

    async def suspend(self) -> Checkpoint | None:
        """Keep what arrived and release the right. Idempotent.

        Returns the digest of all bytes so far if this process hashed every one of them, or if a checkpoint
        that counts covers them all. Only the call that ends the session returns it.
        """
        ...

    async def abort(self) -> None:
        """Remove the upload. Idempotent; does nothing after a commit."""
        ...


class BlobStore(Protocol):
    """A back end."""

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload that will become object `object_id`, and hold it. `algorithm` is what to hash while
        streaming. An id is 32 lower-case hex digits. Raises UploadBusy if it exists already, UploadUnknown if
        it is none: neither this nor any other method lets such a text get as far as the medium."""
        ...

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Take up an upload where its bytes end. Raises UploadBusy while another session holds it,
        UploadUnknown if there is none (also when it was committed)."""
        ...

    async def upload_offset(self, upload_id: str) -> int:
        """Bytes that an upload has, without taking it. Raises UploadUnknown."""
        ...

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload that nobody holds. Succeeds when it is gone already. Raises UploadBusy."""
        ...

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """The published object, or None if there is none of this name."""
        ...

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As `stat`, and makes sure that the object and its name are durable.

        For a commit that is repeated after a crash: the upload is unknown by then, but nobody knows whether
        the name had been synced. When it raises SyncFailed, give the object up instead of asking again: a sync
        that failed once may claim success the next time. Any other failure says nothing, and may pass.
        """
        ...

    async def open(self, key: ObjectKey) -> BlobReader:
        """Open a published object. Raises ContentCorrupt if it is not there: whoever asks has it from SQL."""
        ...

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Remove what an object has left on the medium: its content, and what an upload of it began and nobody will
        finish. Succeeds when it is gone already. `digest` is None for one that SQL never knew as live; where names
        carry digests, such a one is found by `iter_objects` only."""
        ...

    async def direct_url(self, key: ObjectKey) -> str | None:
        """A short-lived URL that serves the object without us, or None if the back end has no such thing."""
        ...

    def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Every published object, in no order. Survives concurrent deletes."""
        ...

    def iter_uploads(self) -> AsyncIterator[str]:
        """The id of every unfinished upload, in no order. Survives concurrent removals."""
        ...

    async def usage(self) -> Usage:
        """Free and total room."""
        ...

    async def check(self) -> None:
        """Really try it: write, read back, delete. Raises Unavailable or StorageFull with the reason."""
        ...

    async def identity(self) -> str | None:
        """The id of the installation that this store belongs to, None for a store that was never used."""
        ...

    async def claim(self, identity: str) -> None:
        """Write the installation's id, durably, into a store that has none. Unavailable if it has another.

        Comes before the first use: a store without an identity may be a disk that is not mounted, so it may
        answer everything but `identity`, `claim` and `check` with Unavailable.
        """
        ...

    async def aclose(self) -> None:
        """Release threads and files. Unfinished uploads stay resumable. Idempotent."""
        ...
