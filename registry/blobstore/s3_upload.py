"""One upload to S3: bytes wait in a file on this machine until they make a part, and the last ones until it ends.

What counts is what the ledger has: the parts that the service acknowledged, and the tail, a side object with what
followed them when a session ended. A process that dies leaves no more than that.

A session may have been replaced without knowing, because it was stopped for longer than its lease. All its steps in the
ledger fail then, and what it still does to the store harms nobody: a part that comes late has another name (`etag`)
than the recorded one, and for the final key see `s3_publish`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from registry.blobstore.base import Checkpoint, boot_id
from registry.blobstore.ledger import Part, Tail, Transfer
from registry.blobstore.resumable_hash import ResumableHash
from registry.blobstore.s3_client import PartsLost
from registry.blobstore.s3_lease import Lease
from registry.blobstore.s3_workshop import Workshop
from registry.blobstore.spool import SpoolFile
from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import OurFault, RegistryError, Unavailable, UploadBusy, UploadUnknown
from registry.core.limits import CHUNK_BYTES

FILL_BYTES = 4 * CHUNK_BYTES
"""Bytes that are hashed and written in one hop at most."""


@dataclass(slots=True)
class _FullPart:
    """A part that is full: its number, its bytes, and the hash of the upload up to its end. `task` sends it."""

    number: int
    file: SpoolFile
    hash_state: bytes | None
    task: asyncio.Task[None] | None = None


class S3Upload:
    """An upload that this process holds. One call at a time."""

    def __init__(self, shop: Workshop, transfer: Transfer, algorithm: Algorithm) -> None:
        """Raises nothing and waits for nothing: the tail is fetched when it is needed."""
        self.shop = shop
        self.upload_id = transfer.upload_id
        self.object_id = transfer.object_id
        self.offset = self.began = transfer.offset
        self.algorithm = algorithm
        self.multipart_id = transfer.multipart_id
        self.has_parts = transfer.parts_size > 0
        self.is_ending = False
        """Whether its session is ending: that may take long, and no bytes come meanwhile."""
        self.lease = Lease(transfer.hold, shop.ledger, shop.clock, self._is_busy)
        self.may_have_strays = False
        """Whether the service may know of a multipart upload of this object that nobody else does."""
        self._number = transfer.last_part + 1
        self._tail = transfer.tail
        self._recorded = transfer.offset
        self._hash = ResumableHash.load(algorithm, transfer.hash_state, transfer.offset)
        self._file: SpoolFile | None = None
        self._full: _FullPart | None = None
        self._is_lost = False
        # Whether the database did not say which object the upload has now.
        self._is_unsure = False
        # A session before may still be writing the whole object in one request, which nobody can stop.
        self._is_written_in_one = transfer.publishing is not None and not self.has_parts

    async def append(self, pieces: list[Bytes]) -> None:
        """Hash the pieces and write them to the spool; full parts are sent meanwhile. When it raises, `offset` says
        what was taken. Raises StorageFull, Unavailable, UploadBusy, UploadUnknown."""
        await self.lease.require()
        rest = [piece for piece in pieces if memoryview(piece).nbytes]
        while rest:
            file = await self.last_file()
            if file.size >= self.shop.part_sizes.of(self._number):
                file = await self._next_file(file)
            rest = await self.shop.hops.run(self._fill, file, rest)

    def known_digest(self, algorithm: Algorithm) -> Digest | None:
        """The digest of all bytes so far, None where they would have to be read."""
        running = self._hash
        is_known = running is not None and running.algorithm is algorithm and running.offset == self.offset
        return running.digest() if is_known and running is not None else None

    async def last_file(self) -> SpoolFile:
        """The bytes after the last full part. It begins with the tail that the session before has left. Raises
        StorageFull, Unavailable."""
        if self._file is None:
            self._file = await self._new_file() if self._tail is None else await self._fetched(self._tail)
        return self._file

    async def settle(self) -> None:
        """Wait for the part on its way; one that failed is tried again. Raises Unavailable, UploadBusy,
        UploadUnknown."""
        full = self._full
        if full is None:
            return
        task = full.task or self._start_sending(full)
        # When whoever waits here is cancelled, the part goes on.
        await asyncio.wait({task})
        full.task = None
        task.result()
        full.file.close()
        self._full = None

    async def put_part(self, number: int, file: SpoolFile) -> Part:
        """Send a file as a part. Raises Unavailable, UploadBusy; PartsLost if the service has lost the others."""
        await self.lease.require()
        if self._is_written_in_one:
            await self._change_object()
        shop, key = self.shop, self.shop.keys.object(self.object_id)
        multipart_id = self.multipart_id or await self._begin_multipart(key)
        etag = await shop.sends.run(shop.client.put_part, key, multipart_id, number, file.body(), file.size)
        return Part(number, etag, file.size)

    async def put_last_part(self) -> list[Part]:
        """Send what follows the full parts. It is not recorded: until the upload is published, more may follow. Returns
        all parts. Raises as `put_part`."""
        parts = await self.shop.ledger.parts(self.lease.hold)
        file = await self.last_file()
        if file.size:
            parts.append(await self.put_part(self._number, file))
        return parts

    async def keep(self) -> Checkpoint | None:
        """Store the tail, record it, and let go. Returns the digest of all bytes if it is known.

        Raises StorageFull, Unavailable, UploadBusy; then `offset` is what was recorded before.
        """
        if self._is_lost:
            return None
        if self.offset == self._recorded:
            await self.shop.ledger.release(self.lease.hold)
            return self._checkpoint()
        try:
            await self.settle()
            await self._store_tail()
        except RegistryError:
            self.offset = 0 if self._is_unsure else self._recorded
            with suppress(RegistryError):
                await self.shop.ledger.release(self.lease.hold)
            raise
        return self._checkpoint()

    async def remove(self) -> None:
        """Remove what it has left at the service, and forget it. Raises Unavailable, UploadBusy."""
        await self.lease.require()
        await self._stop_sending()
        await self.shop.give_up(self.lease.hold)

    async def lost(self) -> UploadUnknown:
        """The service has lost what it had acknowledged, or another session has published it: the client has to begin
        again, or finds it finished. Returns what to raise."""
        self._is_lost = True
        with suppress(RegistryError):
            await self.shop.give_up(self.lease.hold)
        return UploadUnknown("the S3 service has lost a part of this upload; begin again")

    async def start_over(self) -> None:
        """Go on as the upload of a new object, without any bytes. Raises Unavailable, UploadBusy.

        What the old object has left is removed with it, because it is dead from now on.
        """
        await self._stop_sending()
        await self._replace_object()
        self.offset = self.began = self._recorded = 0
        self.multipart_id = self._tail = None
        self.has_parts = False
        self._number = 1
        self._is_written_in_one = False
        self._hash = ResumableHash.begin(self.algorithm)
        self.close_files()

    def tail_keys(self) -> list[str]:
        """The key of the tail that the session before has left, if that is still there."""
        return [] if self._tail is None else [self.shop.keys.tail(self.object_id, self._tail.epoch)]

    async def close(self) -> None:
        """Wait for what is on its way, and close files. Idempotent."""
        self.lease.end()
        await self._stop_sending()
        self.close_files()

    def close_files(self) -> None:
        """Give the room in the spool back."""
        for file in (self._file, self._full.file if self._full else None):
            if file is not None:
                file.close()
        self._file = self._full = None

    def detach_file(self) -> SpoolFile | None:
        """The last file, for whoever closes it now."""
        file, self._file = self._file, None
        return file

    def _is_busy(self) -> bool:
        return self.is_ending or (self._full is not None and self._full.task is not None)

    def _fill(self, file: SpoolFile, pieces: list[Bytes]) -> list[Bytes]:
        """Take what fits into the part, about a batch at most; returns the rest. In a thread."""
        room = min(self.shop.part_sizes.of(self._number) - file.size, FILL_BYTES)
        for done, piece in enumerate(pieces):
            size = memoryview(piece).nbytes
            if size > room:
                view = memoryview(piece).cast("B")
                self._count(file, view[:room], room)
                return [view[room:], *pieces[done + 1 :]]
            self._count(file, piece, size)
            room -= size
        return []

    def _count(self, file: SpoolFile, piece: Bytes, size: int) -> None:
        if size == 0:
            return
        file.append(piece)
        self.offset += size
        if self._hash is not None:
            self._hash.update(piece)

    async def _new_file(self) -> SpoolFile:
        return await self.shop.hops.run(self.shop.spool.file, undo=SpoolFile.close)

    async def _fetched(self, tail: Tail) -> SpoolFile:
        kept = self.shop.kept.take(self.upload_id, tail.epoch)
        if kept is not None and kept.size == tail.size:
            return kept
        return await self.shop.sends.run(self._fetch_tail, tail, undo=SpoolFile.close)

    def _fetch_tail(self, tail: Tail) -> SpoolFile:
        file = self.shop.spool.file()
        try:
            self.shop.client.copy(self.shop.keys.tail(self.object_id, tail.epoch), file.append)
            if file.size != tail.size:
                raise Unavailable("the blob store failed: the last bytes of an upload are not in the bucket")
        except BaseException:
            file.close()
            raise
        return file

    async def _next_file(self, full: SpoolFile) -> SpoolFile:
        """Send a full part while the next one fills: there is never more than one on its way."""
        await self.settle()
        fresh = await self._new_file()
        self._full = _FullPart(self._number, full, self._hash_state())
        self._number += 1
        self._file = fresh
        self._start_sending(self._full)
        return fresh

    def _hash_state(self) -> bytes | None:
        return None if self._hash is None else self._hash.state()

    def _start_sending(self, full: _FullPart) -> asyncio.Task[None]:
        full.task = asyncio.get_running_loop().create_task(self._send(full))
        return full.task

    async def _stop_sending(self) -> None:
        """Wait for the end of what is on its way, whatever that is: a request cannot be taken back."""
        if self._full is not None and self._full.task is not None:
            await asyncio.wait({self._full.task})
            self._full.task.exception()
            self._full.task = None

    async def _send(self, full: _FullPart) -> None:
        try:
            part = await self.put_part(full.number, full.file)
        except PartsLost as error:
            raise await self.lost() from error
        await self.shop.ledger.record_part(self.lease.hold, part, full.hash_state)
        tails, before = self.tail_keys(), 0 if self._tail is None else self._tail.size
        self.has_parts = True
        self._recorded += part.size - before
        self._tail = None
        await self.shop.discard(*tails)

    async def _change_object(self) -> None:
        """Let the parts become a new object, whose key nobody else writes. What was recorded, no more than a tail, is
        in the first part."""
        tails = self.tail_keys()
        await self._replace_object()
        self.multipart_id = self._tail = None
        self._recorded = 0
        self._is_written_in_one = False
        await self.shop.discard(*tails)

    async def _replace_object(self) -> None:
        """Where the answer gets lost, asking again settles it: whatever object the upload has then is replaced."""
        self._is_unsure = True
        self.object_id = await self.shop.ledger.replace_object(self.lease.hold)
        self._is_unsure = False

    async def _begin_multipart(self, key: str) -> str:
        # Until the answer is here, there may be one that only the service knows of.
        had_strays, self.may_have_strays = self.may_have_strays, True
        multipart_id, is_second = await self.shop.calls.run(self.shop.client.begin_multipart, key)
        try:
            await self.shop.ledger.record_multipart(self.lease.hold, multipart_id)
        except UploadBusy:
            # Not so where the database failed: it may be recorded then.
            with suppress(OurFault):
                await self.shop.calls.run(self.shop.client.abort, key, multipart_id)
            raise
        self.may_have_strays = had_strays or is_second
        self.multipart_id = multipart_id
        return multipart_id

    async def _store_tail(self) -> None:
        """Put the side object, record it, and remove the one before. Where it might get the name of an object that is
        dead, nothing is stored: the next session goes on with what the ledger has."""
        if self._is_unsure:
            raise Unavailable("the database did not say what became of the upload; ask where it stands")
        shop, hold, old = self.shop, self.lease.hold, self.tail_keys()
        file = await self.last_file()
        if file.size == 0:
            await shop.ledger.keep(hold, None, self._hash_state())
            return
        await self.lease.require()
        key = shop.keys.tail(self.object_id, hold.epoch)
        await shop.sends.run(shop.client.put, key, file.body(), file.size)
        try:
            await shop.ledger.keep(hold, Tail(hold.epoch, file.size), self._hash_state())
        except UploadBusy:
            # Not so where the database failed: it may be recorded then.
            await shop.discard(key)
            raise
        await shop.discard(*old)
        self._file = None
        shop.kept.keep(self.upload_id, hold.epoch, file)

    def _checkpoint(self) -> Checkpoint | None:
        digest, boot = self.known_digest(self.algorithm), boot_id()
        return None if digest is None or boot is None else Checkpoint(self.offset, digest, boot)
