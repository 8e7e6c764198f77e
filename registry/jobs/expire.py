"""Expiry (T10): uploads that nobody goes on with, and what they have left in SQL."""

from dataclasses import dataclass
from functools import partial

from registry.blobstore.base import BlobStore
from registry.core.errors import OurFault, UploadBusy, UploadUnknown
from registry.jobs.runner import Turn
from registry.metadata import uploads
from registry.metadata.uploads import Expired

PAGE = 100
ROWS_PER_STEP = 200
PUBLISHING_MS = 60_000
"""An upload without bytes may be one whose object has just been published, and whose row is about to say so."""
ORPHAN_TTLS = 2
"""Objects that were begun so many lifetimes of an upload ago, and that none will become, are dead."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Ends uploads whose time is over. `ttl_ms`: how long an upload may be idle."""

    store: BlobStore
    ttl_ms: int

    async def __call__(self, turn: Turn) -> None:
        """Raises what the store raised last, after the others have been tried."""
        now = turn.now
        failure = await self._unfinished(turn, now)
        orphans_before = now - ORPHAN_TTLS * self.ttl_ms
        await turn.repeat("forgotten", lambda each: uploads.forget_finished(each, now=now, count=ROWS_PER_STEP))
        await turn.repeat(
            "orphans",
            lambda each: uploads.abandon_orphans(each, before=orphans_before, now=now, count=ROWS_PER_STEP),
        )
        await turn.repeat("transfers", lambda each: uploads.forget_transfers(each, count=ROWS_PER_STEP))
        if failure is not None:
            raise failure

    async def _unfinished(self, turn: Turn, now: int) -> OurFault | None:
        after = (-1, "")
        failure: OurFault | None = None
        while page := await turn.read(partial(uploads.expired, now=now, after=after, count=PAGE)):
            after = (page[-1].expires_at, page[-1].id)
            for upload in page:
                try:
                    await self._end(turn, upload, now)
                except OurFault as error:
                    failure = error
        return failure

    async def _end(self, turn: Turn, upload: Expired, now: int) -> None:
        """Hold it, so that nobody can append; forget it in SQL, unless it went on before it was held; and only then
        remove its bytes. A crash after the second step leaves bytes that no row names, for the sweep."""
        try:
            session = await self.store.resume_upload(upload.id, upload.object_id, upload.algorithm)
        except UploadBusy:
            until = turn.now + self.ttl_ms
            await turn.write(lambda connection: uploads.lengthen(connection, upload.id, expires_at=until))
            turn.count("busy")
            return
        except UploadUnknown:
            if upload.expires_at < now - PUBLISHING_MS and await self._forget(turn, upload, now):
                turn.count("expired")
            return
        try:
            if await self._forget(turn, upload, now):
                turn.count("expired_bytes", session.offset)
                turn.count("expired")
                await session.abort()
        finally:
            await session.suspend()

    async def _forget(self, turn: Turn, upload: Expired, now: int) -> bool:
        return await turn.write(lambda connection: uploads.expire(connection, upload, now=now))
