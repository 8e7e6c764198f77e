"""Uploads: blobs in, in one request or many, and mounts, which bring them in without bytes.

The order of steps is what keeps a promise: intent in SQL before the first byte; bytes durable under their final name
before SQL names them; the answer after the commit. See the storage protocol in `registry/README.md`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace

from registry.blobstore.base import BlobInfo, BlobStore, Checkpoint, ObjectKey, UploadSession
from registry.core.access import Principal, RepositoryAccess
from registry.core.byterange import ByteRange
from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import (
    ChunkOutOfOrder,
    DigestMismatch,
    OurFault,
    SizeInvalid,
    SyncFailed,
    TooManyRequests,
    UploadUnknown,
)
from registry.metadata import access as access_rows
from registry.metadata import audit, blobs, locks, repositories, uploads
from registry.metadata.audit import Entry
from registry.metadata.blobs import NewObject
from registry.metadata.database import Connection, Database
from registry.metadata.repositories import Locked
from registry.metadata.uploads import Upload
from registry.services import journal
from registry.services.clock import Clock

Body = AsyncIterator[list[Bytes]]
"""A request's body in batches of about 1 MiB, each a list of pieces."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one request sends to an upload: its bytes, and where the client says that they belong."""

    body: Body
    place: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a mount takes a blob from: a repository that the caller may pull, or anything that it may pull."""

    repository_id: int | None
    caller: Principal
    is_open: bool = False

    def blob(self, connection: Connection, digest: Digest) -> blobs.LinkedBlob | None:
        """The blob, if the source shows it to the caller. What the caller may not pull is not there."""
        if self.repository_id is not None:
            return blobs.linked(connection, self.repository_id, digest)
        # The same statement whether nobody has the blob or only others: neither the answer nor its time tells.
        caller = self.caller
        visible = self.is_open or access_rows.may_pull_somewhere(
            connection, caller.account_id, caller.limits, digest.pack()
        )
        return blobs.anywhere(connection, digest) if visible else None


class _EndedMeanwhile(Exception):
    """Another transaction has ended the upload."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Everything on the way to a blob. Times in milliseconds."""

    database: Database
    store: BlobStore
    clock: Clock
    lease_ms: int
    ttl_ms: int
    open_per_account: int
    """Uploads that one account may have open at once."""

    async def start(self, access: RepositoryAccess, algorithm: Algorithm = Algorithm.SHA256) -> str:
        """Begin an upload; returns its id. Raises StorageFull, TooManyRequests."""
        session, upload = await self._begin(access, algorithm)
        await session.suspend()
        return upload.id

    async def receive_whole(self, access: RepositoryAccess, digest: Digest, body: Body) -> str | None:
        """A blob in one request. Returns None when it is stored, or the id of an open upload if no byte came though
        `digest` is not that of nothing: some tools announce the digest first and send the content later.
        Raises DigestMismatch."""
        session, upload = await self._begin(access, digest.algorithm)
        try:
            await _write_all(session, Chunk(body))
            if session.offset == 0 and digest != Digest.of(b"", digest.algorithm):
                await session.suspend()
                return upload.id
            await self._commit(access, upload, session, digest)
        except BaseException:
            await _finished(self._give_up(upload, session))
            raise
        return None

    async def append(self, access: RepositoryAccess, upload_id: str, chunk: Chunk) -> int:
        """Add a chunk; returns how many bytes the upload has now.

        What arrives is kept, also when the client goes away in the middle. Raises UploadUnknown, UploadBusy,
        ChunkOutOfOrder, SizeInvalid.
        """
        upload = await self._open(access, upload_id)
        session = await self._resume(upload)
        before = session.offset
        try:
            _check_place(session, chunk)
            await _write_all(session, chunk)
        finally:
            await _finished(self._suspend(upload, session, before))
        return session.offset

    async def finish(self, access: RepositoryAccess, upload_id: str, digest: Digest, chunk: Chunk) -> None:
        """Add a last chunk, often empty, verify everything and make it a blob of the repository.

        Repeating it after a lost answer succeeds again. Raises as `append`, and DigestMismatch, after which the
        upload is gone.
        """
        upload = await self._find(access, upload_id)
        if upload.finished_digest == digest:
            return
        # Not asked again: another request may finish it between two questions.
        _require_unfinished(upload)
        try:
            session = await self._resume(upload)
        except UploadUnknown:
            await self._finish_interrupted(access, upload, digest)
            return
        before = session.offset
        try:
            _check_place(session, chunk)
            await _write_all(session, chunk)
            await self._commit(access, upload, session, digest)
        except DigestMismatch:
            await _finished(self._forget(upload))
            raise
        except BaseException:
            await _finished(self._suspend(upload, session, before))
            raise

    async def status(self, access: RepositoryAccess, upload_id: str) -> int:
        """How many bytes an upload has. Raises UploadUnknown."""
        upload = await self._open(access, upload_id)
        return await self.store.upload_offset(upload.id)

    async def cancel(self, access: RepositoryAccess, upload_id: str) -> None:
        """Give an upload up. Raises UploadUnknown, UploadBusy."""
        upload = await self._open(access, upload_id)
        await self.store.remove_upload(upload.id)
        await self._forget(upload)

    async def mount(self, access: RepositoryAccess, digest: Digest, source: Source) -> bool:
        """Show a blob of another repository in this one (T5). False if the source does not show it: the client then
        sends the bytes."""
        now = self.clock()

        def link(connection: Connection) -> bool:
            found = source.blob(connection, digest)
            if found is None or found.corrupt:
                return False
            repository = self._ensure(connection, access, now=now)
            access_rows.require_unchanged(connection, access)
            locks.blob_arrives(connection, repository.id)
            if not blobs.hold(connection, digest, until=now + self.lease_ms):
                return False
            blobs.link(connection, repository.id, digest, now=now)
            audit.append(connection, access.actor, [Entry("blob.mounted", repository.name, digest)], now=now)
            return True

        return await self.database.write(link)

    def _ensure(self, connection: Connection, access: RepositoryAccess, *, now: int) -> Locked:
        repository, created = repositories.ensure(connection, access, now=now)
        if created:
            journal.created(connection, access, now=now)
        return repository

    def _require_room(self, connection: Connection, access: RepositoryAccess, *, now: int) -> None:
        owner_id = access.actor.account_id
        if owner_id is not None:
            locks.uploads_of(connection, owner_id)
        if owner_id is not None and uploads.open_of(connection, owner_id, now=now) >= self.open_per_account:
            raise TooManyRequests(
                f"this account has {self.open_per_account} unfinished uploads; finish or cancel some", retry_after_s=60
            )

    async def _begin(self, access: RepositoryAccess, algorithm: Algorithm) -> tuple[UploadSession, Upload]:
        upload_id = secrets.token_hex(16)
        now = self.clock()

        def intend(connection: Connection) -> Upload:
            self._require_room(connection, access, now=now)
            repository_id = self._ensure(connection, access, now=now).id
            object_id = uploads.begin(
                connection,
                upload_id=upload_id,
                repository_id=repository_id,
                owner_id=access.actor.account_id,
                algorithm=algorithm,
                now=now,
                expires_at=now + self.ttl_ms,
            )
            return Upload(upload_id, repository_id, object_id, algorithm, 0, None, None, None)

        upload = await self.database.write(intend, durable=False)
        assert upload.object_id is not None
        try:
            return await self.store.create_upload(upload_id, upload.object_id, algorithm), upload
        except BaseException:
            # A full disk is asked again and again: each time must leave nothing behind.
            await _finished(self._forget(upload))
            raise

    async def _find(self, access: RepositoryAccess, upload_id: str) -> Upload:
        upload = await self.database.point(lambda connection: uploads.find(connection, access, upload_id))
        if upload is None:
            raise UploadUnknown("no such upload in this repository")
        return upload

    async def _open(self, access: RepositoryAccess, upload_id: str) -> Upload:
        upload = await self._find(access, upload_id)
        _require_unfinished(upload)
        return upload

    async def _resume(self, upload: Upload) -> UploadSession:
        assert upload.object_id is not None
        checkpoint = None
        if upload.checkpoint_digest is not None and upload.checkpoint_boot_id is not None:
            checkpoint = Checkpoint(upload.offset, upload.checkpoint_digest, upload.checkpoint_boot_id)
        return await self.store.resume_upload(upload.id, upload.object_id, upload.algorithm, checkpoint)

    async def _suspend(self, upload: Upload, session: UploadSession, before: int) -> None:
        checkpoint = await session.suspend()
        if session.offset == before:
            return
        known = None if checkpoint is None else (checkpoint.digest, checkpoint.boot_id)
        expires_at = self.clock() + self.ttl_ms
        await self.database.write(
            lambda connection: uploads.record(
                connection, upload.id, offset=session.offset, checkpoint=known, expires_at=expires_at
            ),
            durable=False,
        )

    async def _commit(self, access: RepositoryAccess, upload: Upload, session: UploadSession, digest: Digest) -> None:
        """Publish what the session holds. Once begun it goes through, also when the request is cancelled: half a
        commit is nobody's wish."""

        async def commit() -> None:
            await self._publish(access, upload, await session.commit(digest))

        await _finished(commit())

    async def _finish_interrupted(self, access: RepositoryAccess, upload: Upload, digest: Digest) -> None:
        """The bytes of this upload are no longer an upload's: another request has just finished it, or the process
        died between publishing them and telling SQL, which is done now. Raises UploadUnknown if neither is so, and
        SyncFailed once the object is given up; after any other failure it can be tried again."""
        # Asked again: a store may have given the upload another object meanwhile.
        upload = await self._find(access, upload.id)
        if upload.finished_digest == digest:
            return
        _require_unfinished(upload)
        assert upload.object_id is not None
        try:
            info = await self.store.confirm(ObjectKey(digest, upload.object_id))
        except SyncFailed:
            await _finished(self._forget(upload))
            raise
        if info is None:
            # The other request may have committed since, and removed its file because it was a duplicate.
            if (await self._find(access, upload.id)).finished_digest == digest:
                return
            raise UploadUnknown("no such upload in this repository")
        await _finished(self._publish(access, upload, info))

    async def _publish(self, access: RepositoryAccess, upload: Upload, info: BlobInfo) -> None:
        """T3: one transaction names the object, links the blob and ends the upload. An object that is not needed,
        because the blob was there, was never read by anybody and goes at once."""
        now = self.clock()
        digest = info.key.digest
        broken = await self._broken_object(info)

        def publish(connection: Connection) -> bool:
            # The upload's own: when it was begun there may have been no repository to be let in to.
            repository = repositories.lock(connection, replace(access, id=upload.repository_id))
            access_rows.require_unchanged(connection, access)
            locks.blob_arrives(connection, repository.id)
            new = NewObject(digest, info.key.object_id, info.size)
            claimed = blobs.claim(connection, new, broken=broken, until=now + self.lease_ms, now=now)
            blobs.link(connection, repository.id, digest, now=now)
            if not uploads.finish(connection, upload.id, digest):
                raise _EndedMeanwhile
            blobs.settle(connection, new, claimed, now=now)
            audit.append(connection, access.actor, [Entry("blob.pushed", repository.name, digest)], now=now)
            return claimed.is_served

        try:
            is_served = await self.database.write(publish)
        except _EndedMeanwhile:
            # By a twin of this request, or by its end: then the object is not for this one to name.
            if await self.database.point(lambda connection: uploads.finished_digest(connection, upload.id)) == digest:
                return
            raise UploadUnknown("the upload ended meanwhile") from None
        if not is_served:
            # The blob is stored, whatever becomes of this; T9 does it again.
            with suppress(OurFault):
                await self._remove_duplicate(info.key)

    async def _remove_duplicate(self, key: ObjectKey) -> None:
        await self.store.delete(key.object_id, key.digest)
        await self.database.write(lambda connection: blobs.forget_dead(connection, [key.object_id]), durable=False)

    async def _broken_object(self, info: BlobInfo) -> int | None:
        """The object that serves this digest today, if one look shows that its bytes are not there."""
        digest = info.key.digest
        known = await self.database.point(lambda connection: blobs.serving(connection, digest))
        if known is None:
            return None
        stored = await self.store.stat(ObjectKey(digest, known))
        return None if stored is not None and stored.size == info.size else known

    async def _give_up(self, upload: Upload, session: UploadSession) -> None:
        await session.abort()
        await self._forget(upload)

    async def _forget(self, upload: Upload) -> None:
        now = self.clock()

        def forget(connection: Connection) -> None:
            # Not the one that the request began with: a store may have given the upload another object.
            object_id = uploads.object_of(connection, upload.id)
            if object_id is not None and uploads.remove(connection, upload.id):
                blobs.abandon(connection, object_id, now=now)

        await self.database.write(forget, durable=False)


def _require_unfinished(upload: Upload) -> None:
    if upload.finished_digest is not None:
        raise UploadUnknown("this upload is finished", digest=str(upload.finished_digest))


def _check_place(session: UploadSession, chunk: Chunk) -> None:
    if chunk.place is not None and chunk.place.offset != session.offset:
        raise ChunkOutOfOrder("the chunk does not begin where the upload stands", offset=session.offset)


async def _write_all(session: UploadSession, chunk: Chunk) -> None:
    """Write the body."""
    if chunk.place is not None:
        await _write_exactly(session, chunk.body, chunk.place.count)
        return
    async for batch in chunk.body:
        await session.write(batch)


async def _write_exactly(session: UploadSession, body: Body, count: int) -> None:
    """Write a body that has to have `count` bytes; raises SizeInvalid if it has not.

    Each batch is held back until the next one is there, so that a body of one batch is refused without a trace. Where
    the client or the server goes away, what arrived is kept.
    """
    received = 0
    held: list[Bytes] = []
    try:
        async for batch in body:
            received += sum(len(piece) for piece in batch)
            if received > count:
                raise SizeInvalid("the body is longer than its Content-Range", content_range_bytes=count)
            if held:
                await session.write(held)
            held = batch
        if received != count:
            raise SizeInvalid(
                "the body is shorter than its Content-Range", content_range_bytes=count, body_bytes=received
            )
    except SizeInvalid:
        raise
    except BaseException:
        if held:
            await session.write(held)
        raise
    if held:
        await session.write(held)


async def _finished(work: Coroutine[None, None, None]) -> None:
    """Run to the end, whatever happens to the request meanwhile; its cancellation comes after."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error from None
        raise
