"""How an upload to S3 becomes an object: verified, under its final key, and known to the ledger as such.

The final key is written by one session alone, the first that says so in the ledger. What its request answers counts.
When there is no answer, nothing counts but what is read from the key: a database that was set back to a backup may have
given out the id of an older object, which is still there and may be as long. Where an earlier session had begun, it may
have been stopped in the middle, and its request may still come: then too nothing counts but what is read; and what fits
into one request gets a new object, whose key is its own.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from registry.blobstore.base import BlobInfo, ObjectKey
from registry.blobstore.s3_client import PartsLost
from registry.blobstore.s3_upload import S3Upload
from registry.blobstore.s3_workshop import Workshop
from registry.blobstore.spool import SpoolFile
from registry.core.digest import Digest
from registry.core.errors import ContentCorrupt, DigestMismatch, OurFault, RegistryError, Unavailable


@dataclass(frozen=True, slots=True)
class Publication:
    """One attempt to publish `upload` as `expected`."""

    upload: S3Upload
    expected: Digest

    async def run(self) -> BlobInfo:
        """Raises DigestMismatch after the upload is removed; Unavailable, StorageFull, UploadBusy, UploadUnknown."""
        await self.upload.lease.require()
        await self.upload.settle()
        return await (self._of_parts() if self.upload.has_parts else self._in_one())

    @property
    def _shop(self) -> Workshop:
        return self.upload.shop

    @property
    def _key(self) -> ObjectKey:
        return ObjectKey(self.expected, self.upload.object_id)

    @property
    def _may_be_sent_twice(self) -> bool:
        """Whether what this session got may be the whole blob once more."""
        return 0 < self.upload.began < self.upload.offset

    async def _in_one(self) -> BlobInfo:
        upload, hops = self.upload, self._shop.hops
        file = await upload.last_file()
        whole = upload.known_digest(self.expected.algorithm)
        if whole is None:
            whole = await hops.run(file.digest, 0, self.expected.algorithm)
        if whole == self.expected:
            return await self._put(file)
        is_twice = self._may_be_sent_twice and self.expected == await hops.run(
            file.digest, upload.began, self.expected.algorithm
        )
        if not is_twice:
            raise await self._refused(whole)
        return await self._again_from_file(file, upload.began)

    async def _put(self, file: SpoolFile) -> BlobInfo:
        if not await self._shop.ledger.begin_publishing(self.upload.lease.hold, self.expected):
            if await self._is_there(file.size):
                return await self._record(file.size)
            return await self._again_from_file(file, 0)
        key = self._shop.keys.object(self.upload.object_id)
        try:
            await self._shop.sends.run(self._shop.client.put, key, file.body(), file.size)
        except Unavailable:
            if not await self._is_there(file.size):
                raise
        return await self._record(file.size)

    async def _of_parts(self) -> BlobInfo:
        upload = self.upload
        known = upload.known_digest(self.expected.algorithm)
        if known not in (None, self.expected) and not self._may_be_sent_twice:
            raise await self._refused(known)
        is_first = await self._shop.ledger.begin_publishing(upload.lease.hold, self.expected)
        doubt = await self._complete()
        if known == self.expected and is_first and doubt is None:
            return await self._record(upload.offset)
        whole, own = await self._read(0, upload.began)
        if whole == self.expected:
            return await self._record(upload.offset)
        if own == self.expected and self._may_be_sent_twice:
            return await self._again_from_object()
        if doubt is not None:
            await self._fail(doubt)
        raise await self._refused(whole)

    async def _complete(self) -> PartsLost | Unavailable | None:
        """Make the object of its parts. Returns what leaves it open whether this is what is under the key now, though
        that is as long; None where the service says so."""
        upload, shop = self.upload, self._shop
        failed: PartsLost | Unavailable | None = None
        try:
            parts = await upload.put_last_part()
            assert upload.multipart_id is not None
            key = shop.keys.object(upload.object_id)
            await shop.sends.run(shop.client.complete, key, upload.multipart_id, parts)
        except (PartsLost, Unavailable) as error:
            failed = error
        size = await shop.size(upload.object_id)
        if size == upload.offset:
            return failed
        if size is None and failed is None:
            raise Unavailable("the blob store failed: the S3 service does not show the object yet")
        return await self._fail(failed)

    async def _fail(self, failed: PartsLost | Unavailable | None) -> NoReturn:
        """The object was not made: raises what tells whether its parts are there still, or the upload is gone."""
        if isinstance(failed, Unavailable):
            raise failed
        raise await self.upload.lost() from failed

    async def _record(self, size: int) -> BlobInfo:
        """The content is there and right: say so in the ledger, and tidy up."""
        upload, shop = self.upload, self._shop
        tails = upload.tail_keys()
        await shop.ledger.record_commit(upload.lease.hold, self.expected, size)
        await shop.discard(*tails)
        is_begun_in_vain = upload.multipart_id is not None and not upload.has_parts
        if upload.may_have_strays or is_begun_in_vain:
            with suppress(OurFault):
                await shop.abort_multiparts(upload.object_id)
        return BlobInfo(self._key, size)

    async def _has_size(self, size: int) -> bool:
        return await self._shop.size(self.upload.object_id) == size

    async def _is_there(self, size: int) -> bool:
        """Whether what an earlier session has written is this content."""
        if not await self._has_size(size):
            return False
        return await self._read(0) == [self.expected]

    async def _read(self, *starts: int) -> list[Digest]:
        """The digests of what is under the key, from each of these offsets."""
        try:
            return await self._shop.digests(self._key, *starts)
        except ContentCorrupt as error:
            raise Unavailable("the blob store failed: the S3 service does not show the object yet") from error

    async def _again_from_file(self, file: SpoolFile, start: int) -> BlobInfo:
        """Publish what is in the file from `start` as a new object."""
        upload, old = self.upload, self.upload.object_id
        upload.detach_file()
        try:
            await upload.start_over()
            pieces = file.pieces(start)
            while (piece := await self._shop.hops.run(next, pieces, None)) is not None:
                await upload.append([piece])
        finally:
            file.close()
        info = await self.run()
        await self._clear(old)
        return info

    async def _again_from_object(self) -> BlobInfo:
        """Publish what this session got as a new object. Its parts are bytes of the old one by now: read them there."""
        upload, began = self.upload, self.upload.began
        count = upload.offset - began
        reader = await self._shop.reader(self._key)
        try:
            old = upload.object_id
            await upload.start_over()
            async for piece in reader.chunks(began, count):
                await upload.append([piece])
        finally:
            await reader.aclose()
        info = await self.run()
        await self._clear(old)
        return info

    async def _clear(self, object_id: int) -> None:
        """Nobody needs the old object; collection tries again, because it is dead."""
        with suppress(OurFault):
            await self._shop.clear(object_id)

    async def _refused(self, actual: Digest | None) -> DigestMismatch:
        """Remove the upload; returns what to raise. What cannot be removed now goes with its object, which is dead."""
        with suppress(RegistryError):
            await self.upload.remove()
        return DigestMismatch("the content does not have this digest", expected=str(self.expected), actual=str(actual))
