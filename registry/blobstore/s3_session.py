"""The session of an upload to S3, as the contract has it: calls take turns, and one of them is the last."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

from registry.blobstore.base import BlobInfo, Checkpoint
from registry.blobstore.s3_publish import Publication
from registry.blobstore.s3_upload import S3Upload
from registry.blobstore.threads import T, unbroken
from registry.core.digest import Bytes, Digest
from registry.core.errors import RegistryError, StorageFull, Unavailable, UploadBusy


class S3Session:
    """The exclusive right to append to one upload."""

    def __init__(self, upload: S3Upload, forget: Callable[["S3Session"], None]) -> None:
        self._upload = upload
        self._forget = forget
        self._live = True
        self._turn = asyncio.Lock()

    @property
    def offset(self) -> int:
        """Bytes accepted so far; after the end, bytes that are kept."""
        return self._upload.offset

    async def write(self, data: list[Bytes]) -> None:
        """Append and hash the pieces. Raises StorageFull, Unavailable, and stays good; UploadBusy where another session
        has taken the upload, UploadUnknown where the service has lost it."""
        async with self._turn:
            self._require_live()
            await self._upload.append(data)

    async def commit(self, expected: Digest) -> BlobInfo:
        """Verify and publish. Raises DigestMismatch, StorageFull, Unavailable, UploadBusy, UploadUnknown."""
        async with self._turn:
            self._require_live()
            return await self._end(self._publish(expected))

    async def suspend(self) -> Checkpoint | None:
        """Store what is not in parts, and let go. Idempotent. Raises Unavailable, StorageFull or UploadBusy where that
        fails: what had been recorded before is kept, and `offset` says how much that is."""
        async with self._turn:
            return await self._end(self._upload.keep()) if self._live else None

    async def abort(self) -> None:
        """Remove the upload. Idempotent; does nothing after a commit."""
        async with self._turn:
            if self._live:
                await self._end(self._upload.remove())

    async def _publish(self, expected: Digest) -> BlobInfo:
        try:
            return await Publication(self._upload, expected).run()
        except (StorageFull, Unavailable):
            with suppress(RegistryError):
                await self._upload.keep()
            raise

    async def _end(self, last: Coroutine[None, None, T]) -> T:
        self._live = False
        self._upload.is_ending = True
        return await unbroken(self._closing(last))

    async def _closing(self, last: Coroutine[None, None, T]) -> T:
        try:
            return await last
        finally:
            await self._upload.close()
            self._forget(self)

    def _require_live(self) -> None:
        if not self._live:
            raise UploadBusy("the upload session has ended")
