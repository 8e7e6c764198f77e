"""What all sessions and readers of an S3 store share, and the steps that several of them take."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from registry.blobstore.base import BlobInfo, ObjectKey
from registry.blobstore.ledger import Clock, Hold, TransferLedger
from registry.blobstore.s3_client import S3Client
from registry.blobstore.s3_keys import Keys, PartSizes
from registry.blobstore.s3_reader import Answers, S3Reader
from registry.blobstore.spool import KeptFiles, Spool
from registry.blobstore.threads import Threads
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ContentCorrupt, OurFault


@dataclass(frozen=True, slots=True)
class Workshop:
    """Tools and materials. Three pools of threads, so that nothing waits for what takes longer: `hops` for files of
    this machine, `sends` for calls that carry content, `calls` for all others."""

    client: S3Client
    ledger: TransferLedger
    keys: Keys
    clock: Clock
    part_sizes: PartSizes
    spool: Spool
    kept: KeptFiles
    answers: Answers
    hops: Threads
    sends: Threads
    calls: Threads

    async def size(self, object_id: int) -> int | None:
        """Size of an object under its final key, None if it is missing. Raises Unavailable."""
        return await self.calls.run(self.client.size, self.keys.object(object_id))

    async def reader(self, key: ObjectKey) -> S3Reader:
        """An object opened for reading. Raises ContentCorrupt, Unavailable."""
        name = self.keys.object(key.object_id)
        asked = await self.answers.ask(name)
        if asked is None:
            raise ContentCorrupt("stored content is missing", digest=str(key.digest))
        return S3Reader(BlobInfo(key, asked[0]), name, self.answers, asked[1])

    async def digests(self, key: ObjectKey, *starts: int) -> list[Digest]:
        """Read an object and hash it from each of these offsets, by the algorithm of the key's digest. Raises
        ContentCorrupt, Unavailable."""
        algorithm: Algorithm = key.digest.algorithm
        hashers = [(start, algorithm.hasher()) for start in starts]
        reader, at = await self.reader(key), 0
        try:
            async for piece in reader.chunks(0, reader.info.size):
                view = memoryview(piece)
                for start, hasher in hashers:
                    if start < at + len(view):
                        await self.hops.run(hasher.update, view[max(0, start - at) :])
                at += len(view)
        finally:
            await reader.aclose()
        return [Digest(algorithm, hasher.digest()) for _, hasher in hashers]

    async def discard(self, *keys: str) -> None:
        """Remove what nobody needs any more. What cannot be removed now is found by a sweep."""
        for key in keys:
            with suppress(OurFault):
                await self.calls.run(self.client.delete, key)

    async def abort_multiparts(self, object_id: int, *, before: int | None = None) -> None:
        """Give up every multipart upload of an object, or those begun before a time. Raises Unavailable."""
        key = self.keys.object(object_id)
        for multipart in await self.calls.run(lambda: list(self.client.multiparts(key))):
            if multipart.key == key and _is_from(multipart.begun_at, before):
                await self.calls.run(self.client.abort, key, multipart.multipart_id)

    async def delete_tails(self, object_id: int, *, before: int | None = None) -> None:
        """Remove every tail of an object, or those from before a time. Raises Unavailable."""
        prefix, after = self.keys.tails(object_id), ""
        while listed := await self.calls.run(self.client.objects, prefix, after):
            for each in listed:
                if _is_from(each.modified_at, before):
                    await self.calls.run(self.client.delete, each.key)
            after = listed[-1].key

    async def give_up(self, hold: Hold) -> None:
        """End an upload, and then remove all that there is of it. Raises UploadBusy, and then nothing is removed: to
        look at the lease before would not do, because a process may stop between the two for as long as it likes.
        Raises Unavailable; what is left then goes with its object, which is dead."""
        await self.clear(await self.ledger.give_up(hold))

    async def clear(self, object_id: int) -> None:
        """Remove all that there is of an object that is dead. Raises Unavailable.

        The multipart uploads first: the Complete of a session that was stopped may still come, and what it makes before
        they are gone is removed after.
        """
        aborted = await asyncio.gather(self.abort_multiparts(object_id), return_exceptions=True)
        content = self.calls.run(self.client.delete, self.keys.object(object_id))
        removed = await asyncio.gather(content, self.delete_tails(object_id), return_exceptions=True)
        for result in (*aborted, *removed):
            if result is not None:
                raise result


def _is_from(moment: int, before: int | None) -> bool:
    return before is None or moment <= before
