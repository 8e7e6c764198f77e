"""Two stores as one, while blobs move from the previous one to the current one.

What is new goes to the current store. What is asked for is looked up there first and then in the previous one. An
upload ends where it began, and a delete goes to both. An object never changes its store (who moves content gives it a
new id), so where one was found is remembered.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from registry.blobstore.base import (
    BlobInfo,
    BlobReader,
    BlobStore,
    Checkpoint,
    ObjectKey,
    StoredObject,
    UploadSession,
    Usage,
)
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ContentCorrupt, OurFault, StorageFull, SyncFailed, Unavailable, UploadUnknown

PLACES_MAX = 16_384
"""Objects of which it is remembered where they are; about a hundred bytes each."""

T = TypeVar("T")


class SeveralStore:
    """A `current` store and a `previous` one."""

    def __init__(self, current: BlobStore, previous: BlobStore) -> None:
        self.current = current
        self.previous = previous
        self._places: OrderedDict[int, BlobStore] = OrderedDict()

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload in the current store. Raises UploadBusy, UploadUnknown."""
        return await self.current.create_upload(upload_id, object_id, algorithm)

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Take up an upload where it was begun. Raises UploadBusy, UploadUnknown."""
        try:
            return await self.current.resume_upload(upload_id, object_id, algorithm, checkpoint)
        except UploadUnknown:
            return await self.previous.resume_upload(upload_id, object_id, algorithm, checkpoint)

    async def upload_offset(self, upload_id: str) -> int:
        """Bytes of an upload of either store. Raises UploadUnknown."""
        try:
            return await self.current.upload_offset(upload_id)
        except UploadUnknown:
            return await self.previous.upload_offset(upload_id)

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload from both. Raises UploadBusy."""
        await self.current.remove_upload(upload_id)
        await self.previous.remove_upload(upload_id)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """The object of either store, or None if neither has it. Raises Unavailable."""
        return await self._first(key, lambda store: store.stat(key))

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """As `stat`, made durable where it is. Raises Unavailable, SyncFailed."""
        return await self._first(key, lambda store: store.confirm(key))

    async def open(self, key: ObjectKey) -> BlobReader:
        """Open the object of either store. Raises ContentCorrupt if neither has it, Unavailable."""

        async def open_in(store: BlobStore) -> BlobReader | None:
            with suppress(ContentCorrupt):
                return await store.open(key)
            return None

        reader = await self._first(key, open_in)
        if reader is None:
            raise ContentCorrupt("stored content is missing", digest=str(key.digest))
        return reader

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Remove what an object has left in either. Raises Unavailable."""
        self._places.pop(object_id, None)
        await self.current.delete(object_id, digest)
        await self.previous.delete(object_id, digest)

    async def direct_url(self, key: ObjectKey) -> str | None:
        """The URL of the store that has the object, None if that has no such thing or neither has the object."""
        if await self.stat(key) is None:
            return None
        return await self._places[key.object_id].direct_url(key)

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Every object of both."""
        for store in (self.current, self.previous):
            async for stored in store.iter_objects():
                yield stored

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Every unfinished upload of both."""
        for store in (self.current, self.previous):
            async for upload_id in store.iter_uploads():
                yield upload_id

    async def usage(self) -> Usage:
        """Room of the current store: nothing new goes to the other."""
        return await self.current.usage()

    async def check(self) -> None:
        """Try both. The previous one may be full: that may be why it is left. Raises Unavailable or StorageFull."""
        await self.current.check()
        with suppress(StorageFull):
            await self.previous.check()

    async def identity(self) -> str | None:
        """The id of the installation that both belong to, None unless both carry one. Raises Unavailable where they
        differ."""
        current, previous = await self.current.identity(), await self.previous.identity()
        if None not in (current, previous) and current != previous:
            raise Unavailable("storage and storage_previous belong to different installations")
        return current if previous is not None else None

    async def claim(self, identity: str) -> None:
        """Write the installation's id into whichever has none. Raises Unavailable if one has another."""
        await self.current.claim(identity)
        await self.previous.claim(identity)

    async def aclose(self) -> None:
        """Close both. Idempotent."""
        await self.current.aclose()
        await self.previous.aclose()

    async def _first(self, key: ObjectKey, ask: Callable[[BlobStore], Awaitable[T | None]]) -> T | None:
        """What the first store that has the object answers, None if neither has it.

        A store that fails cannot say that it lacks the object; but the other one can have it.
        """
        failed: OurFault | None = None
        for store in self._order(key):
            try:
                found = await ask(store)
            except OurFault as error:
                failed = error if failed is None or isinstance(error, SyncFailed) else failed
                continue
            if found is not None:
                self._remember(key, store)
                return found
        if failed is not None:
            raise failed
        return None

    def _order(self, key: ObjectKey) -> tuple[BlobStore, BlobStore]:
        if self._places.get(key.object_id) is self.previous:
            return self.previous, self.current
        return self.current, self.previous

    def _remember(self, key: ObjectKey, store: BlobStore) -> None:
        self._places[key.object_id] = store
        self._places.move_to_end(key.object_id)
        if len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)
