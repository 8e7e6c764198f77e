"""The sweep (T11): what is in the store and SQL has never heard of, or has forgotten.

Such things are left by a crash between two steps, such as a file that was renamed to its final name for an upload that
nobody finished. The store is listed first, and SQL is asked afterwards: what belongs to the registry is written down
there before its first byte (T1), and stays until its bytes are gone (T9), so nothing that is needed can look unknown,
whatever the clocks say. A stranger is removed when it has been seen twice, with two days in between: time to notice
that a wrong database has been put beside the store.

A database that was set back to an older backup would give out ids again that the store has objects of. So once all of
the store is listed, and before anything is removed, ids go on behind the highest of them; each stranger is looked up
once more then. Nothing less than a list tells the highest id, so no start can do the same.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from registry.blobstore.base import OBJECT_ID_MAX, BlobStore, StoredObject
from registry.core.digest import Digest
from registry.core.errors import UploadBusy
from registry.jobs.runner import Turn
from registry.metadata import collection, installation, uploads

T = TypeVar("T")

STRANGER_AGE_MS = 48 * 3_600_000
STRANGERS_MAX = 5_000
"""Strangers that are remembered from one sweep to the next; more are found when these are gone."""
LOOKED_UP_AT_ONCE = 500
BEHIND_MAX = OBJECT_ID_MAX - 2**32
"""Ids do not go on behind a higher one than this, which nobody can have come to by counting: those that follow must be
ids as well."""


@dataclass(slots=True)
class _Strangers:
    """What SQL does not know: the time of its first sighting by its id, in ms since 1970 UTC."""

    before: dict[str, int]
    now: int
    age_ms: int
    seen: dict[str, int] = field(default_factory=dict)

    def is_ripe(self, name: str) -> bool:
        """Note a stranger; True if it was first seen long enough ago. A sighting in the future is none."""
        first = min(self.before.get(name, self.now), self.now)
        if self.now - first >= self.age_ms and name in self.before:
            return True
        if len(self.seen) < STRANGERS_MAX:
            self.seen[name] = first
        return False


@dataclass(frozen=True, slots=True)
class Sweep:
    """Sweeps. `age_ms` lies between the first sighting of a stranger and its end."""

    store: BlobStore
    age_ms: int = STRANGER_AGE_MS

    async def __call__(self, turn: Turn) -> dict[str, Any]:
        """The account holds the strangers that were seen, for the next sweep."""
        known = (await turn.previous()).get("strangers")
        strangers = _Strangers(known if isinstance(known, dict) else {}, turn.now, self.age_ms)
        await self._objects(turn, strangers)
        await self._uploads(turn, strangers)
        return {"strangers": strangers.seen}

    async def _objects(self, turn: Turn, strangers: _Strangers) -> None:
        ripe: list[StoredObject] = []
        highest = 0
        async for page in _pages(self.store.iter_objects()):
            turn.count("listed", len(page))
            turn.count("listed_bytes", sum(stored.size for stored in page))
            highest = max([highest, *(each.object_id for each in page if each.object_id <= BEHIND_MAX)])
            ripe += [stored for stored in await self._unknown(turn, page) if strangers.is_ripe(_name(stored))]
        if ripe or await turn.read(installation.last_id) < highest:
            await turn.write(partial(installation.skip_ids, seen=highest))
        for stored in ripe:
            # As many statements as strangers, and these are few.
            if await self._unknown(turn, [stored]):
                await self.store.delete(stored.object_id, stored.digest)
                turn.count("removed")
                turn.count("removed_bytes", stored.size)

    async def _unknown(self, turn: Turn, listed: list[StoredObject]) -> list[StoredObject]:
        ids = [stored.object_id for stored in listed]
        known = await turn.read(partial(collection.known, object_ids=ids))
        return [stored for stored in listed if _is_stranger(stored, known)]

    async def _uploads(self, turn: Turn, strangers: _Strangers) -> None:
        async for page in _pages(self.store.iter_uploads()):
            known = await turn.read(partial(uploads.known, upload_ids=page))
            for upload_id in page:
                if upload_id not in known and strangers.is_ripe(upload_id):
                    turn.check()
                    await self._remove_upload(turn, upload_id)

    async def _remove_upload(self, turn: Turn, upload_id: str) -> None:
        try:
            await self.store.remove_upload(upload_id)
        except UploadBusy:
            return
        turn.count("uploads_removed")


async def _pages(listed: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    """What is listed, in pieces of `LOOKED_UP_AT_ONCE`, none of them empty."""
    page: list[T] = []
    async for each in listed:
        page.append(each)
        if len(page) == LOOKED_UP_AT_ONCE:
            yield page
            page = []
    if page:
        yield page


def _name(stored: StoredObject) -> str:
    return f"{stored.object_id} {stored.digest or ''}".rstrip()


def _is_stranger(stored: StoredObject, known: dict[int, Digest | None]) -> bool:
    """Whether SQL has no object of this id, or one of another content: then the id was given out again after the
    database had been set back to a backup."""
    if stored.object_id not in known:
        return True
    digest = known[stored.object_id]
    return digest is not None and stored.digest is not None and digest != stored.digest
