"""The installation: one database and one store that belong together, checked at every start."""

import secrets
from dataclasses import dataclass

from registry.blobstore.base import BlobStore, boot_id
from registry.metadata import installation, moved
from registry.metadata.database import Database
from registry.services.clock import Clock

IDS_SKIPPED = 1_000_000
"""Object ids that may have been given out without reaching the disk before a power cut."""


class WrongPair(Exception):
    """The database and the store do not belong together: going on could lose what the other one holds."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Looks after the pair."""

    database: Database
    store: BlobStore
    clock: Clock

    async def open(self) -> str:
        """Check that database and store are a pair, and make them one if both are new; returns its id.

        A new database next to a store with content is refused: it would serve nothing, and collection would take
        all of it. After a reboot object ids are skipped, because the newest ones may have been lost with unsynced
        bookkeeping, and no id may be given out twice. Raises WrongPair.
        """
        # Where the system has no boot id, every start counts as a boot: that is only more careful.
        boot = boot_id() or secrets.token_hex(16)
        # In this order: the row is there before the mark, so another process that starts now cannot mislead.
        carried = await self.store.identity()
        known = await self.database.read(installation.find)
        if known is None:
            if carried is not None:
                raise WrongPair(
                    "the database is new, but the blob store holds the content of another installation; give both of"
                    " the same one, or empty folders"
                )
            known = await self._create(boot)
        if carried is None:
            await self._claim(known.identity)
        elif carried != known.identity:
            raise WrongPair("the blob store belongs to another database")
        if known.boot_id != boot:
            await self.database.write(lambda connection: installation.note_boot(connection, boot, skip=IDS_SKIPPED))
        return known.identity

    async def _create(self, boot: str) -> installation.Installed:
        made = installation.Installed(secrets.token_hex(16), boot)
        now = self.clock()
        return await self.database.write(lambda connection: installation.create(connection, made, now=now))

    async def _claim(self, identity: str) -> None:
        """Mark a store as ours, unless SQL knows of content that ought to be in it."""
        if await self.store.identity() == identity:
            return
        if await self.database.read(installation.has_content):
            raise WrongPair(
                "the database knows of blobs, but the blob store is empty or not mounted: its mark is missing"
            )
        async for _ in self.store.iter_objects():
            raise WrongPair("the blob store holds content, but no mark of the installation that it belongs to")
        await self.store.claim(identity)
