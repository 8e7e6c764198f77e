"""The scrub: reads every stored object again and compares it with its digest.

Corrupt objects are marked. From then on the registry says that it does not have such a blob, clients send it again,
and the new bytes take the place of the bad ones. A mark on an object that is whole goes: a disk that was not mounted,
or a server that was started with another store, has left it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from registry.blobstore.base import BlobStore, ObjectKey
from registry.core.errors import ContentCorrupt
from registry.metadata import blobs
from registry.metadata.blobs import NewObject
from registry.metadata.database import Database
from registry.services.clock import Clock

PAGE = 256


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """One object that was read: its size in bytes, and what is wrong with it, None if nothing is."""

    object: NewObject
    problem: str | None


@dataclass(frozen=True, slots=True)
class Scrub:
    """Reads the store through the same contract as a download."""

    database: Database
    store: BlobStore
    clock: Clock

    async def run(self) -> AsyncIterator[Scrubbed]:
        """Every live object in the order of their ids, each once, as it was found. Objects that go meanwhile are
        no problem. Raises Unavailable when the store as a whole fails: that marks nothing."""
        after = 0
        while page := await self._page(after):
            sound: list[int] = []
            for stored in page:
                problem = await self._problem(stored)
                is_whole = problem is None
                if problem is not None and not await self._still_live(stored):
                    problem = None
                if problem is not None:
                    await self._mark(stored)
                elif is_whole:
                    sound.append(stored.object_id)
                yield Scrubbed(stored, problem)
            await self._mark_sound(sound)
            after = page[-1].object_id

    async def _page(self, after: int) -> list[NewObject]:
        return await self.database.read(lambda connection: blobs.live_page(connection, after=after, count=PAGE))

    async def _problem(self, stored: NewObject) -> str | None:
        try:
            reader = await self.store.open(ObjectKey(stored.digest, stored.object_id))
        except ContentCorrupt:
            return "missing"
        try:
            if reader.info.size != stored.size:
                return f"has {reader.info.size} bytes instead of {stored.size}"
            hasher = stored.digest.algorithm.hasher()
            async for piece in reader.chunks(0, stored.size):
                hasher.update(piece)
        except ContentCorrupt:
            return "ends too early"
        finally:
            await reader.aclose()
        return None if hasher.digest() == stored.digest.raw else "does not have its digest"

    async def _still_live(self, stored: NewObject) -> bool:
        page = await self.database.read(
            lambda connection: blobs.live_page(connection, after=stored.object_id - 1, count=1)
        )
        return bool(page) and page[0].object_id == stored.object_id

    async def _mark(self, stored: NewObject) -> None:
        now = self.clock()
        await self.database.write(lambda connection: blobs.mark_corrupt(connection, stored.object_id, now=now))

    async def _mark_sound(self, object_ids: list[int]) -> None:
        if await self.database.read(lambda connection: blobs.any_corrupt(connection, object_ids)):
            await self.database.write(lambda connection: blobs.mark_sound(connection, object_ids))
