"""Blobs in an S3 bucket. Keys are in `s3_keys`; who holds an upload, its parts and its hash are in the ledger.

Objects go straight to their final key, which nobody reads before SQL names it: a small one in one request, a larger one
in parts. Nothing is copied at commit, and nothing is ever renamed.

Lists are for sweeps alone. That something is missing is believed only of one object, when the service itself says so.
"""

import json
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

from registry.blobstore.base import (
    BlobInfo,
    BlobReader,
    Checkpoint,
    ObjectKey,
    StoredObject,
    UploadSession,
    Usage,
    require_upload_id,
)
from registry.blobstore.layout import parse_marker
from registry.blobstore.ledger import Clock, Transfer, TransferLedger
from registry.blobstore.s3_access import require_permissions
from registry.blobstore.s3_client import Direct, S3Client
from registry.blobstore.s3_keys import PART_SIZES, Keys, PartSizes
from registry.blobstore.s3_reader import OPEN_ANSWERS, Answers
from registry.blobstore.s3_session import S3Session
from registry.blobstore.s3_upload import S3Upload
from registry.blobstore.s3_workshop import Workshop
from registry.blobstore.spool import KeptFiles, Spool
from registry.blobstore.threads import Threads
from registry.core.digest import Algorithm, Digest
from registry.core.errors import ContentCorrupt, RegistryError, Unavailable, UploadUnknown

CALL_THREADS = 12
SEND_THREADS = 8
FILE_THREADS = 4
CONNECTIONS = CALL_THREADS + SEND_THREADS + OPEN_ANSWERS
STRAY_AGE_MS = 24 * 3_600_000
"""What an upload may have left at the service is looked at once it is older: a session may be about to record it."""
URLS_CACHED = 4096
URLS_KEPT_S = 300
"""A URL ends with the credentials of a role that signed it, whatever it says. The library gets new ones when these
count for ten more minutes, so what is given out counts for five at least."""
PERMISSIONS_TRIED_S = 60
"""Reading and writing are tried at each check, all other permissions once in this time: a service takes money for
each call."""
PAGE = 1000

_STRAY_ID = re.compile(r"0{16}[0-9a-f]{16}")
_PROBE = b"depotry tries whether it can write here\n"


class S3Store:
    """A blob store in the bucket of `client`. `clock` is for leases; `direct` says how clients reach objects
    themselves, None that they do not."""

    def __init__(
        self,
        client: S3Client,
        ledger: TransferLedger,
        spool: Spool,
        clock: Clock,
        *,
        direct: Direct | None = None,
        part_sizes: PartSizes = PART_SIZES,
        stray_age_ms: int = STRAY_AGE_MS,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._direct = direct
        self._stray_age = stray_age_ms
        self._keys = Keys(client.location.prefix)
        calls = Threads("depotry-s3", CALL_THREADS)
        self._shop = Workshop(
            client=client,
            ledger=ledger,
            keys=self._keys,
            clock=clock,
            part_sizes=part_sizes,
            spool=spool,
            kept=KeptFiles(),
            answers=Answers(client, calls),
            hops=Threads("depotry-spool", FILE_THREADS),
            sends=Threads("depotry-send", SEND_THREADS),
            calls=calls,
        )
        self._sessions: set[S3Session] = set()
        self._urls: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._probe_key = self._keys.check(secrets.token_hex(16))
        self._probing = threading.Lock()
        self._tried_until = 0.0

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Begin an upload and hold it. Nothing is sent yet. Raises UploadBusy, UploadUnknown, Unavailable."""
        require_upload_id(upload_id)
        return self._session(await self._ledger.begin(upload_id, object_id), algorithm)

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Take up an upload after what is recorded of it. The ledger knows its object and its hash better than the
        caller. Raises UploadBusy, UploadUnknown, Unavailable."""
        require_upload_id(upload_id)
        return self._session(await self._ledger.take(upload_id), algorithm)

    async def upload_offset(self, upload_id: str) -> int:
        """Bytes in recorded parts and tail. Raises UploadUnknown, Unavailable."""
        require_upload_id(upload_id)
        transfer = await self._ledger.find(upload_id)
        if transfer is None or transfer.committed_size is not None:
            raise UploadUnknown("no such upload")
        return transfer.offset

    async def remove_upload(self, upload_id: str) -> None:
        """Remove an upload that nobody holds, or by an id of `iter_uploads` what an ended one has left. Raises
        UploadBusy, Unavailable."""
        require_upload_id(upload_id)
        if await self._ledger.find(upload_id) is None:
            if _STRAY_ID.fullmatch(upload_id):
                await self._remove_leftovers(int(upload_id, 16))
            return
        with suppress(UploadUnknown):
            transfer = await self._ledger.take(upload_id)
            await self._shop.give_up(transfer.hold)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """Name and actual size of a published object, or None. Raises Unavailable."""
        size = await self._shop.size(key.object_id)
        return None if size is None else BlobInfo(key, size)

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """The object, if it was verified for this digest: the key does not tell. Where the ledger does not say so, the
        object is read. Raises Unavailable."""
        size = await self._shop.size(key.object_id)
        if size is None:
            return None
        transfer = await self._ledger.find_object(key.object_id)
        if transfer is not None and transfer.committed_size == size:
            return BlobInfo(key, size) if transfer.publishing == key.digest else None
        try:
            [actual] = await self._shop.digests(key, 0)
        except ContentCorrupt:
            return None
        if actual != key.digest:
            return None
        await self._ledger.vouch(key.object_id, key.digest, size)
        return BlobInfo(key, size)

    async def open(self, key: ObjectKey) -> BlobReader:
        """Ask for the whole object; a reader that wants less asks again. Raises ContentCorrupt, Unavailable."""
        return await self._shop.reader(key)

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Remove an object, with everything that an upload of it has left at the service and in the ledger. Raises
        Unavailable."""
        transfer = await self._ledger.find_object(object_id)
        if transfer is not None and transfer.committed_size is None:
            transfer = await self._ledger.seize(object_id)
        await self._shop.clear(object_id)
        if transfer is not None:
            await self._ledger.remove(transfer.hold)

    async def direct_url(self, key: ObjectKey) -> str | None:
        """A presigned URL, the same one for half of its life, and some minutes at most; None where clients are not sent
        to the service."""
        direct = self._direct
        if direct is None:
            return None
        now = monotonic()
        known, until = self._urls.get(key.object_id, ("", 0.0))
        if now < until:
            return known
        # In a thread: the credentials of a role may have to be fetched again.
        url = await self._shop.calls.run(self._client.direct_url, self._keys.object(key.object_id), direct)
        self._urls[key.object_id] = (url, now + min(direct.ttl_s / 2, URLS_KEPT_S))
        self._urls.move_to_end(key.object_id)
        if len(self._urls) > URLS_CACHED:
            self._urls.popitem(last=False)
        return url

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Every object, a page a call. Keys that are not ours are skipped. Raises Unavailable."""
        async for object_id, size, _, tail_epoch in self._listed():
            if tail_epoch is None:
                yield StoredObject(object_id, size, None)

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Every upload that is not committed, and for each object that has something left of an ended one an id that
        `remove_upload` takes. Raises Unavailable."""
        after = ""
        while page := await self._ledger.unfinished(after, PAGE):
            for upload_id in page:
                yield upload_id
            after = page[-1]
        seen: set[int] = set()
        async for object_id in self._leftovers():
            if object_id not in seen and await self._is_ended(object_id):
                seen.add(object_id)
                yield f"{object_id:032x}"

    async def usage(self) -> Usage:
        """A bucket has no end."""
        return Usage(free=None, total=None)

    async def check(self) -> None:
        """Write a small object, read it back and remove it; once in a while, and the first time, try also whatever else
        has to be allowed. Raises Unavailable or StorageFull."""
        if not await self._shop.calls.run(self._probe):
            raise Unavailable("the blob store does not read what was written")

    async def identity(self) -> str | None:
        """What `claim` wrote, or None. Raises Unavailable."""
        return await self._shop.calls.run(self._read_marker)

    async def claim(self, identity: str) -> None:
        """Write the marker where there is none, and look what is there then. Raises Unavailable."""
        await self._shop.calls.run(self._claim, identity)

    async def aclose(self) -> None:
        """Suspend open sessions, wait for the threads, close connections. Idempotent."""
        for session in list(self._sessions):
            # What cannot be stored now is sent again by the client.
            with suppress(RegistryError):
                await session.suspend()
        self._shop.answers.close_all()
        self._shop.kept.close()
        for threads in (self._shop.hops, self._shop.sends, self._shop.calls):
            await threads.aclose()
        self._client.close()

    def _session(self, transfer: Transfer, algorithm: Algorithm) -> S3Session:
        session = S3Session(S3Upload(self._shop, transfer, algorithm), self._sessions.discard)
        self._sessions.add(session)
        return session

    async def _listed(self) -> AsyncIterator[tuple[int, int, int, int | None]]:
        """Id, size, time and tail's epoch of every key of ours."""
        after = ""
        while page := await self._shop.calls.run(self._client.objects, self._keys.objects, after):
            for each in page:
                named = self._keys.parse(each.key)
                if named is not None:
                    yield named.object_id, each.size, each.modified_at, named.tail_epoch
            after = page[-1].key

    async def _leftovers(self) -> AsyncIterator[int]:
        """Objects that have an old multipart upload or an old tail."""
        before = self._clock() - self._stray_age
        for multipart in await self._shop.calls.run(lambda: list(self._client.multiparts(self._keys.objects))):
            named = self._keys.parse(multipart.key)
            if named is not None and multipart.begun_at <= before:
                yield named.object_id
        async for object_id, _, modified_at, tail_epoch in self._listed():
            if tail_epoch is not None and modified_at <= before:
                yield object_id

    async def _remove_leftovers(self, object_id: int) -> None:
        """Only what is old: a database that was set back may have given the id to a new upload since it was listed."""
        before = self._clock() - self._stray_age
        if await self._is_ended(object_id):
            await self._shop.abort_multiparts(object_id, before=before)
            await self._shop.delete_tails(object_id, before=before)

    async def _is_ended(self, object_id: int) -> bool:
        transfer = await self._ledger.find_object(object_id)
        return transfer is None or transfer.committed_size is not None

    # What follows runs in a thread.

    def _probe(self) -> bool:
        # One name, so that a service that lets nobody delete does not fill up; so one at a time.
        with self._probing:
            if monotonic() >= self._tried_until:
                require_permissions(self._client, self._keys.check("permissions"))
                self._tried_until = monotonic() + PERMISSIONS_TRIED_S
            self._client.put(self._probe_key, _PROBE, len(_PROBE))
            try:
                found = self._client.read(self._probe_key)
            finally:
                self._client.delete(self._probe_key)
        return found == _PROBE

    def _read_marker(self) -> str | None:
        text = self._client.read(self._keys.marker)
        return None if text is None else parse_marker(text)

    def _claim(self, identity: str) -> None:
        if self._read_marker() is None:
            text = json.dumps({"identity": identity}).encode()
            self._client.put(self._keys.marker, text, len(text), once=True)
        if self._read_marker() != identity:
            raise Unavailable("the blob store belongs to another installation")


def require_readable(ca_file: Path) -> None:
    """Raises Unavailable if a file of certificates cannot be read."""
    try:
        ca_file.read_bytes()
    except OSError as error:
        raise Unavailable(f"storage: ca_file {ca_file} cannot be read: {error.strerror}") from None
