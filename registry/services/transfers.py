"""The ledger of an object store's uploads, on the database. Each step is one short transaction.

Taking an upload, beginning to publish it and giving it up are durable: were they forgotten by a database that fails
over, two holders could have the same epoch, and what was removed could still be published. What the other steps record
can be found out, or sent, again.
"""

from dataclasses import dataclass

from registry.blobstore.ledger import LEASE_MS, Hold, Part, Tail, Transfer
from registry.core.digest import Digest
from registry.metadata import transfers
from registry.metadata.database import Database
from registry.metadata.transfers import PartRow, TransferRow
from registry.services.clock import Clock


@dataclass(frozen=True, slots=True)
class Transfers:
    """`TransferLedger` on a database; leases count by `clock`."""

    database: Database
    clock: Clock

    async def begin(self, upload_id: str, object_id: int) -> Transfer:
        """Write down a new upload, held. Raises UploadBusy."""
        now = self.clock()
        row = await self.database.write(
            lambda connection: transfers.begin(connection, upload_id, object_id, until=now + LEASE_MS, now=now),
            durable=False,
        )
        return _transfer(row)

    async def take(self, upload_id: str) -> Transfer:
        """Take an upload that nobody holds. Raises UploadBusy, UploadUnknown."""
        now = self.clock()
        row = await self.database.write(
            lambda connection: transfers.take(connection, upload_id, until=now + LEASE_MS, now=now)
        )
        return _transfer(row)

    async def seize(self, object_id: int) -> Transfer | None:
        """Take the upload of an object whoever holds it."""
        until = self.clock() + LEASE_MS
        row = await self.database.write(lambda connection: transfers.seize(connection, object_id, until=until))
        return None if row is None else _transfer(row)

    async def renew(self, hold: Hold) -> None:
        """Hold it for another lease. Raises UploadBusy."""
        await self._lease(hold, self.clock() + LEASE_MS)

    async def release(self, hold: Hold) -> None:
        """Let go of it. Raises UploadBusy."""
        await self._lease(hold, 0)

    async def keep(self, hold: Hold, tail: Tail | None, hash_state: bytes | None) -> None:
        """Record the tail and let go. Raises UploadBusy."""
        known = None if tail is None else (tail.epoch, tail.size)
        await self.database.write(
            lambda connection: transfers.keep(
                connection, hold.upload_id, held=hold.epoch, tail=known, hash_state=hash_state
            ),
            durable=False,
        )

    async def record_multipart(self, hold: Hold, multipart_id: str) -> None:
        """Record the multipart upload. Raises UploadBusy."""
        await self.database.write(
            lambda connection: transfers.record_multipart(
                connection, hold.upload_id, held=hold.epoch, multipart_id=multipart_id
            ),
            durable=False,
        )

    async def record_part(self, hold: Hold, part: Part, hash_state: bytes | None) -> None:
        """Record a part. Raises UploadBusy."""
        row = PartRow(part.number, part.etag, part.size)
        await self.database.write(
            lambda connection: transfers.record_part(
                connection, hold.upload_id, held=hold.epoch, part=row, hash_state=hash_state
            ),
            durable=False,
        )

    async def parts(self, hold: Hold) -> list[Part]:
        """The recorded parts, by number."""
        rows = await self.database.read(lambda connection: transfers.parts(connection, hold.upload_id))
        return [Part(row.number, row.etag, row.size) for row in rows]

    async def begin_publishing(self, hold: Hold, digest: Digest) -> bool:
        """Record that the final key is about to be written; False if that had begun before. Raises UploadBusy."""
        return await self.database.write(
            lambda connection: transfers.begin_publishing(connection, hold.upload_id, held=hold.epoch, digest=digest)
        )

    async def record_commit(self, hold: Hold, digest: Digest, size: int) -> None:
        """The object is published and verified. Raises UploadBusy."""
        await self.database.write(
            lambda connection: transfers.record_commit(
                connection, hold.upload_id, held=hold.epoch, digest=digest, size=size
            ),
            durable=False,
        )

    async def replace_object(self, hold: Hold) -> int:
        """A new object for the upload, which has no bytes then. Raises UploadBusy."""
        now = self.clock()
        return await self.database.write(
            lambda connection: transfers.replace_object(connection, hold.upload_id, held=hold.epoch, now=now),
            durable=False,
        )

    async def give_up(self, hold: Hold) -> int:
        """Forget it, and let its object be dead. Raises UploadBusy."""
        now = self.clock()
        return await self.database.write(
            lambda connection: transfers.give_up(connection, hold.upload_id, held=hold.epoch, now=now)
        )

    async def remove(self, hold: Hold) -> None:
        """Forget it."""
        await self.database.write(
            lambda connection: transfers.remove(connection, hold.upload_id, held=hold.epoch), durable=False
        )

    async def find(self, upload_id: str) -> Transfer | None:
        """The upload of this id."""
        row = await self.database.read(lambda connection: transfers.find(connection, upload_id))
        return None if row is None else _transfer(row)

    async def find_object(self, object_id: int) -> Transfer | None:
        """The upload of this object."""
        row = await self.database.read(lambda connection: transfers.find_object(connection, object_id))
        return None if row is None else _transfer(row)

    async def vouch(self, object_id: int, digest: Digest, size: int) -> None:
        """The object was read, and is this."""
        await self.database.write(
            lambda connection: transfers.vouch(connection, object_id, digest, size=size), durable=False
        )

    async def unfinished(self, after: str, count: int) -> list[str]:
        """Ids of uploads that are not committed, the next ones after `after`."""
        return await self.database.read(lambda connection: transfers.unfinished(connection, after=after, count=count))

    async def _lease(self, hold: Hold, until: int) -> None:
        await self.database.write(
            lambda connection: transfers.lease(connection, hold.upload_id, held=hold.epoch, until=until),
            durable=False,
        )


def _transfer(row: TransferRow) -> Transfer:
    return Transfer(
        upload_id=row.upload_id,
        object_id=row.object_id,
        epoch=row.epoch,
        multipart_id=row.multipart_id,
        parts_size=row.parts_size,
        last_part=row.last_part,
        tail=None if row.tail_epoch is None else Tail(row.tail_epoch, row.tail_size),
        hash_state=row.hash_state,
        publishing=row.digest,
        committed_size=row.committed_size,
    )
