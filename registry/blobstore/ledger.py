"""What an object store has to write down about uploads, and cannot keep in the store itself.

A file system has locks and lengths; an object store has neither. So who holds an upload, which parts it has and where
its hash stands are facts in SQL. This is what the store asks for; the composition root hands in what does it.

Every step names the epoch of whoever takes it, and changes nothing once somebody else has taken the upload since. A
holder that was stopped for a while, and goes on without knowing that it was replaced, so does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry.core.digest import Digest

LEASE_MS = 10_000
"""How long an upload is held since its holder said so last."""

Clock = Callable[[], int]
"""Returns milliseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to one upload, given out with this epoch."""

    upload_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that the service has acknowledged; its size in bytes."""

    number: int
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows the parts of a suspended upload: the epoch in the name of its side object, and its size in bytes."""

    epoch: int
    size: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """An upload as the ledger knows it, without the list of its parts."""

    upload_id: str
    object_id: int
    epoch: int
    multipart_id: str | None
    parts_size: int
    """Bytes in the recorded parts."""
    last_part: int
    """The highest number of a part that is recorded, or skipped because whoever lost the upload may still send it; 0
    without any."""
    tail: Tail | None
    hash_state: bytes | None
    """A running hash of all recorded bytes, as `resumable_hash` saves it."""
    publishing: Digest | None
    """What its object was to become when somebody began to publish it. None: nobody has."""
    committed_size: int | None
    """The size of the published object, verified against `publishing`. None: it is not published yet."""

    @property
    def offset(self) -> int:
        """Bytes that the upload has for sure."""
        return self.parts_size + (self.tail.size if self.tail else 0)

    @property
    def hold(self) -> Hold:
        """The right that this row was taken with."""
        return Hold(self.upload_id, self.epoch)


class TransferLedger(Protocol):
    """The ledger. Every method raises Unavailable or StorageFull when the database fails; those that take a `Hold`
    raise UploadBusy once another one was given out, or the upload is gone."""

    async def begin(self, upload_id: str, object_id: int) -> Transfer:
        """Write down a new upload, held. Raises UploadBusy if there is one of this id, or of this object."""
        ...

    async def take(self, upload_id: str) -> Transfer:
        """Take an upload that nobody holds, or whose lease is over. Raises UploadBusy; UploadUnknown if there is none,
        or if it is committed."""
        ...

    async def seize(self, object_id: int) -> Transfer | None:
        """Take the upload of an object whoever holds it; None if there is none."""
        ...

    async def renew(self, hold: Hold) -> None:
        """Hold it for another `LEASE_MS`."""
        ...

    async def release(self, hold: Hold) -> None:
        """Let go of an upload, as it is recorded."""
        ...

    async def keep(self, hold: Hold, tail: Tail | None, hash_state: bytes | None) -> None:
        """Record the tail, which replaces the one before, and let go."""
        ...

    async def record_multipart(self, hold: Hold, multipart_id: str) -> None:
        """Record the multipart upload, before its first part."""
        ...

    async def record_part(self, hold: Hold, part: Part, hash_state: bytes | None) -> None:
        """Record a part, which holds what was the tail before."""
        ...

    async def parts(self, hold: Hold) -> list[Part]:
        """The recorded parts, by number."""
        ...

    async def begin_publishing(self, hold: Hold, digest: Digest) -> bool:
        """Record that the object's final key is about to be written. False if that had begun before: what is or will be
        under the key may then come from somebody else, and counts only after it was read."""
        ...

    async def record_commit(self, hold: Hold, digest: Digest, size: int) -> None:
        """The object is under its key, and its content was verified. Ends the upload."""
        ...

    async def replace_object(self, hold: Hold) -> int:
        """Give the upload a new object, and no bytes; returns the new object's id. The old object is dead."""
        ...

    async def give_up(self, hold: Hold) -> int:
        """Forget an upload, and let its object be dead, before any of its remains are removed: whoever has lost the
        right without knowing would remove what another session has published. Returns the object's id."""
        ...

    async def remove(self, hold: Hold) -> None:
        """Forget an upload whose remains have been removed. Succeeds when it is gone already."""
        ...

    async def find(self, upload_id: str) -> Transfer | None:
        """The upload of this id, also a committed one."""
        ...

    async def find_object(self, object_id: int) -> Transfer | None:
        """The upload of this object, also a committed one."""
        ...

    async def vouch(self, object_id: int, digest: Digest, size: int) -> None:
        """The object was read, and has this digest and size: whoever asks for it again need not read it."""
        ...

    async def unfinished(self, after: str, count: int) -> list[str]:
        """Ids of uploads that are not committed, in order, the next `count` after `after`."""
        ...
