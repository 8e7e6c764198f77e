"""The move of blobs from one store to another, while servers serve from both.

Each blob in turn: a copy with an id of its own is written down in SQL, its bytes are copied and hashed, published, and
one transaction lets the copy take the old object's place. Whoever asks finds the one or the other. A move that is
killed leaves copies that never became live; they expire, and the next move goes on with what the previous store has.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from registry.blobstore.base import BlobReader, BlobStore, ObjectKey, UploadSession
from registry.core.errors import ContentCorrupt, DigestMismatch, Unavailable, UploadBusy
from registry.metadata import blobs, moving
from registry.metadata.blobs import NewObject
from registry.metadata.database import Database
from registry.metadata.moving import ObjectState
from registry.services.clock import Clock

PAGE = 256
PASSES_MAX = 3
"""Walks over all blobs: uploads that end in the previous store meanwhile bring new ones there."""
ATTEMPTS = 5
FIRST_PAUSE_S = 0.5

T = TypeVar("T")


class Outcome(Enum):
    """What became of one blob."""

    MOVED = "moved"
    THERE = "there"
    """It is in the new store already."""
    GONE = "gone"
    """It was deleted or replaced meanwhile."""
    CORRUPT = "corrupt"
    """Its bytes are not what they should be, and are left alone."""
    MISSING = "missing"
    """Neither store has it."""


@dataclass(frozen=True, slots=True)
class Handled:
    """One blob, what became of it, and what is wrong with it, None if nothing is."""

    object: NewObject
    outcome: Outcome
    problem: str | None = None


@dataclass(slots=True)
class Left:
    """What lies in the previous store; sizes in bytes."""

    live: int = 0
    """Blobs that are served from there, without the corrupt ones."""
    corrupt: int = 0
    dead: int = 0
    dead_bytes: int = 0
    uploads: int = 0
    """Uploads that can still be finished there."""


@dataclass(slots=True)
class Plan:
    """What there is to move; size in bytes."""

    blobs: int = 0
    size: int = 0


@dataclass(slots=True)
class Move:
    """Moves every live blob of `previous` to `current`, `parallel` at once."""

    database: Database
    current: BlobStore
    previous: BlobStore
    clock: Clock
    parallel: int
    expiry_ms: int
    """Age at which a copy that did not come to its end is given up."""
    on_bytes: Callable[[int], None] = lambda _count: None
    """Is told of bytes as they are dealt with."""
    left: Left = field(default_factory=Left)
    """What lies in the previous store after a run."""
    _known: set[int] = field(default_factory=set)
    """Objects whose problem has been reported."""

    async def plan(self) -> Plan:
        """What there is to move. Changes nothing."""
        plan = Plan()
        async for page in self._pages():
            stats = await asyncio.gather(*(self.previous.stat(_key_of(stored)) for stored in page))
            for info in filter(None, stats):
                plan.blobs += 1
                plan.size += info.size
        return plan

    async def run(self) -> AsyncIterator[Handled]:
        """Every live blob in the order of ids, as it was dealt with; one with a problem once. Can be broken off at any
        point, repeated, and run beside servers. Raises Unavailable or StorageFull when a store fails for longer."""
        await self._clear()
        for _ in range(PASSES_MAX):
            async for handled in self._walk():
                if handled.problem is None or handled.object.object_id not in self._known:
                    yield handled
                if handled.problem is not None:
                    self._known.add(handled.object.object_id)
            self.left = await self._look()
            if self.left.live == 0:
                return

    async def _look(self) -> Left:
        """What still lies in the previous store, by what SQL says of it."""
        left = Left()
        batch: dict[int, int] = {}
        async for stored in self.previous.iter_objects():
            batch[stored.object_id] = stored.size
            if len(batch) == PAGE:
                await self._count(batch, left)
                batch = {}
        await self._count(batch, left)
        ids: list[str] = []
        async for upload_id in self.previous.iter_uploads():
            ids.append(upload_id)
            if len(ids) == PAGE:
                left.uploads += await self._open_uploads(ids)
                ids = []
        left.uploads += await self._open_uploads(ids)
        return left

    async def _count(self, batch: dict[int, int], left: Left) -> None:
        found = await self.database.read(lambda connection: moving.states(connection, batch))
        for object_id, state in found.items():
            if state.state == "live":
                left.corrupt += state.is_corrupt
                left.live += not state.is_corrupt
            elif state.state == "dead":
                left.dead += 1
                left.dead_bytes += batch[object_id]
            elif state.has_upload:
                # Published, and its upload can be finished by a repeated request.
                left.uploads += 1

    async def _open_uploads(self, ids: list[str]) -> int:
        return await self.database.read(lambda connection: moving.open_uploads(connection, ids))

    async def _pages(self) -> AsyncIterator[list[NewObject]]:
        """Every object that is live now. Newer ones are in the current store, copies among them."""
        after, newest = 0, await self.database.read(moving.newest)
        while page := await self._page(after):
            yield [stored for stored in page if stored.object_id <= newest]
            after = page[-1].object_id
            if after >= newest:
                return

    async def _page(self, after: int) -> list[NewObject]:
        return await self.database.read(lambda connection: blobs.live_page(connection, after=after, count=PAGE))

    async def _walk(self) -> AsyncIterator[Handled]:
        """Every live blob, `parallel` at once. What one raises ends all."""
        running: set[asyncio.Task[Handled]] = set()
        try:
            async for page in self._pages():
                for stored in page:
                    running.add(asyncio.create_task(self._persistently(stored)))
                    if len(running) >= self.parallel:
                        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        for task in done:
                            yield task.result()
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _persistently(self, stored: NewObject) -> Handled:
        """A store or database that is busy for a moment does not end the move."""
        pause_s = FIRST_PAUSE_S
        for _ in range(ATTEMPTS - 1):
            with suppress(Unavailable):
                return await self._handle(stored)
            await asyncio.sleep(pause_s)
            pause_s *= 2
        return await self._handle(stored)

    async def _handle(self, stored: NewObject) -> Handled:
        try:
            reader = await self.previous.open(_key_of(stored))
        except ContentCorrupt:
            return await self._not_in_previous(stored)
        try:
            return await self._move(stored, reader)
        finally:
            await reader.aclose()

    async def _not_in_previous(self, stored: NewObject) -> Handled:
        info = await self.current.stat(_key_of(stored))
        if info is not None and info.size == stored.size:
            self.on_bytes(stored.size)
            return Handled(stored, Outcome.THERE)
        state = await self._state(stored)
        if state is None or state.state != "live":
            return Handled(stored, Outcome.GONE)
        if info is not None:
            return Handled(stored, Outcome.CORRUPT, f"has {info.size} bytes instead of {stored.size} in the new store")
        outcome = Outcome.CORRUPT if state.is_corrupt else Outcome.MISSING
        return Handled(stored, outcome, "is in neither store")

    async def _move(self, stored: NewObject, reader: BlobReader) -> Handled:
        if reader.info.size != stored.size:
            return await self._corrupt(stored, f"has {reader.info.size} bytes instead of {stored.size}")
        now = self.clock()
        copy_id = await self.database.write(
            lambda connection: moving.draw(connection, stored.digest, now=now), durable=False
        )
        try:
            session = await self.current.create_upload(_upload_id(copy_id), copy_id, stored.digest.algorithm)
            await self._copy(reader, session, stored)
        except (DigestMismatch, ContentCorrupt) as error:
            await self._abandon(copy_id)
            short = isinstance(error, ContentCorrupt)
            return await self._corrupt(stored, "ends too early" if short else "does not have its digest")
        except BaseException:
            await asyncio.shield(self._abandon(copy_id))
            raise
        return await self._swap(stored, copy_id)

    async def _copy(self, reader: BlobReader, session: UploadSession, stored: NewObject) -> None:
        """The bytes, hashed on the way, and published if they have the digest. Raises DigestMismatch and
        ContentCorrupt."""
        copied = 0
        try:
            async for piece in reader.chunks(0, stored.size):
                await session.write([piece])
                copied += len(piece)
                self.on_bytes(len(piece))
            await session.commit(stored.digest)
        except BaseException:
            self.on_bytes(-copied)
            await asyncio.shield(session.abort())
            raise

    async def _swap(self, stored: NewObject, copy_id: int) -> Handled:
        """If the commit fails, nobody knows whether it was made: so nothing is removed here then."""
        now = self.clock()
        if await self.database.write(lambda connection: moving.swap(connection, stored, copy_id, now=now)):
            return Handled(stored, Outcome.MOVED)
        await self.current.delete(copy_id, stored.digest)
        return Handled(stored, Outcome.GONE)

    async def _corrupt(self, stored: NewObject, problem: str) -> Handled:
        """Mark it, so that the next push of its digest heals it, unless it has gone meanwhile."""
        state = await self._state(stored)
        if state is None or state.state != "live":
            return Handled(stored, Outcome.GONE)
        now = self.clock()
        await self.database.write(lambda connection: blobs.mark_corrupt(connection, stored.object_id, now=now))
        return Handled(stored, Outcome.CORRUPT, problem)

    async def _state(self, stored: NewObject) -> ObjectState | None:
        found = await self.database.read(lambda connection: moving.states(connection, [stored.object_id]))
        return found.get(stored.object_id)

    async def _abandon(self, copy_id: int) -> None:
        now = self.clock()
        await self.database.write(lambda connection: blobs.abandon(connection, copy_id, now=now), durable=False)

    async def _clear(self) -> None:
        """Give up the copies of moves that were killed long ago; whoever removes dead objects removes their bytes."""
        before = self.clock() - self.expiry_ms
        while found := await self.database.read(
            lambda connection: moving.leftovers(connection, before=before, count=PAGE)
        ):
            for copy_id in found:
                # First in SQL: from then on nobody can let it become live.
                await self._abandon(copy_id)
                with suppress(UploadBusy):
                    await self.current.remove_upload(_upload_id(copy_id))


def _key_of(stored: NewObject) -> ObjectKey:
    return ObjectKey(stored.digest, stored.object_id)


def _upload_id(copy_id: int) -> str:
    """The upload of a copy, found again from the copy's id, and no id that a store gives to anything else."""
    return f"c{copy_id:031x}"
