"""Collection: unreferenced blobs die (T8), the bytes of the dead leave the store (T9), and the review of all blobs."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from registry.blobstore.base import BlobStore
from registry.core.errors import OurFault
from registry.jobs.runner import Turn
from registry.metadata import blobs, collection
from registry.metadata.collection import DeadObject, Reviewed

REVIEWS_PER_STEP = 100
"""Blobs of one transaction: about ten milliseconds on SQLite, where everybody else waits for it."""
WALK_PAGE = 1_000
REMOVALS_PER_STEP = 64
REMOVALS_AT_ONCE = 8


async def collect(turn: Turn) -> dict[str, Any] | None:
    """Review every blob whose review is due, and collect those that neither a manifest nor a lease keeps."""
    now = turn.now
    while True:
        step: Reviewed = await turn.write(
            lambda connection: collection.review(connection, now=now, count=REVIEWS_PER_STEP)
        )
        if not step.looked_at:
            return None
        turn.count("reviewed", step.looked_at)
        turn.count("collected", step.collected)
        turn.count("collected_bytes", step.collected_bytes)


async def review_all(turn: Turn) -> dict[str, Any] | None:
    """Walk all blobs, and have those reviewed that nothing refers to and that nobody has marked for it."""
    after = b""
    while True:
        page = await turn.read(partial(collection.walk, after=after, count=WALK_PAGE))
        if page.last is None:
            return None
        turn.count("walked", page.count)
        for start in range(0, len(page.forgotten), REVIEWS_PER_STEP):
            some = page.forgotten[start : start + REVIEWS_PER_STEP]
            await turn.write(partial(collection.review_again, digests=some))
            turn.count("found", len(some))
        after = page.last


@dataclass(frozen=True, slots=True)
class RemoveDead:
    """Removes what is dead from the store, once it has been dead for `grace_ms`."""

    store: BlobStore
    grace_ms: int

    async def __call__(self, turn: Turn) -> dict[str, Any]:
        """Each object: first its content, then its row, so that a crash between the two only repeats the first. Raises
        what the store raised last, after every object has been tried that there was any hope for."""
        before = turn.now - self.grace_ms
        after = (-1, -1)
        failure: OurFault | None = None
        while page := await self._page(turn, before, after):
            after = (page[-1].dead_at, page[-1].id)
            removed, failed = await self._remove(page)
            await self._forget(turn, removed)
            failure = failed or failure
            if not removed:
                # Not one of so many: the store is down, and the next ones would wait for nothing.
                break
        if failure is not None:
            raise failure
        count, size = await turn.read(collection.waiting)
        return {"dead": count, "dead_bytes": size}

    async def _page(self, turn: Turn, before: int, after: tuple[int, int]) -> list[DeadObject]:
        return await turn.read(
            lambda connection: collection.dead(connection, before=before, after=after, count=REMOVALS_PER_STEP)
        )

    async def _remove(self, page: list[DeadObject]) -> tuple[list[DeadObject], OurFault | None]:
        """Those whose content is gone now, and what kept one of the others."""
        free = asyncio.Semaphore(REMOVALS_AT_ONCE)

        async def remove(dead: DeadObject) -> OurFault | None:
            async with free:
                try:
                    await self.store.delete(dead.id, dead.digest)
                except OurFault as error:
                    return error
            return None

        failures = await asyncio.gather(*map(remove, page))
        removed = [dead for dead, failed in zip(page, failures, strict=True) if failed is None]
        return removed, next((failed for failed in failures if failed is not None), None)

    async def _forget(self, turn: Turn, removed: list[DeadObject]) -> None:
        if removed:
            ids = [dead.id for dead in removed]
            await turn.write(lambda connection: blobs.forget_dead(connection, ids))
            turn.count("removed", len(removed))
            turn.count("removed_bytes", sum(dead.size or 0 for dead in removed))
