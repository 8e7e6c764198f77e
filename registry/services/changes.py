"""What has changed about access lately, known in memory, so that no request has to ask the database.

A decision is remembered with the revision at which it was made and the subjects it is about; it holds until one of them
has a newer change. Every worker reads new changes each second, and one that could not for 5 s refuses to decide: so a
revocation holds everywhere within 5 s.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import monotonic

from registry.core.errors import RegistryError
from registry.core.limits import ACCESS_STALE_S, CHANGES_KEPT_MS, CHANGES_KNOWN, CHANGES_POLL_S
from registry.metadata import access
from registry.metadata.database import Database

_NEVER = (0, 0.0)


class Changes:
    """The newest change of each subject. Only for the event loop's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By subject, oldest first: the revision, and when it was read here."""
        self._read_at = -ACCESS_STALE_S
        self._reading = asyncio.Lock()
        self._log = logging.getLogger("depotry.access")
        self.revision = 0
        """The newest change that is known here."""
        self._floor = 0
        """Of changes up to this one it is not known any more what they were about: nothing older holds."""
        self.on_change: list[Callable[[set[str]], None]] = []
        """Called with the subjects that changed."""

    def hold(self, subjects: Iterable[str], revision: int) -> bool:
        """Whether nothing about these subjects has changed since `revision`. What is older than what is known does not
        hold."""
        if revision < self._floor:
            return False
        newest = self._newest
        return all(newest.get(subject, _NEVER)[0] <= revision for subject in subjects)

    async def require_fresh(self) -> None:
        """Make sure that changes are known up to 5 s ago. Raises Unavailable when they cannot be read."""
        if monotonic() - self._read_at > ACCESS_STALE_S:
            await self.refresh()

    async def refresh(self) -> None:
        """Know of every change that was committed before this call. Raises Unavailable."""
        called = monotonic()
        # In turn: what was read first must not be taken for the newest. Of those who wait, one reads for all.
        async with self._reading:
            if self._read_at < called:
                await self._read()

    async def _read(self) -> None:
        began = monotonic()
        found, newest = await self._database.point(lambda connection: access.changes_after(connection, self.revision))
        self._read_at = began
        # Revisions have no gaps: where one is missing, it was removed before it was read here.
        first = found[0][0] if found else newest + 1
        if first > self.revision + 1:
            self._floor = first - 1
        for revision, subject in found:
            self._newest[subject] = (revision, began)
            self._newest.move_to_end(subject)
        self.revision = max(self.revision, newest)
        if found:
            self._forget_old(began)
            subjects = {subject for _, subject in found}
            for told in self.on_change:
                told(subjects)

    def _forget_old(self, now: float) -> None:
        """What is a day old, or too much. Decisions that are older still do not hold from then on."""
        while self._newest:
            subject, (revision, read_at) = next(iter(self._newest.items()))
            if now - read_at < CHANGES_KEPT_MS / 1000 and len(self._newest) <= CHANGES_KNOWN:
                return
            del self._newest[subject]
            self._floor = max(self._floor, revision)

    async def follow(self) -> None:
        """Read new changes each second, and whenever the database tells of one, until cancelled."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def tell() -> None:
            # In a moment at which the server ends, its loop may be gone.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told.set)

        self._database.listen(tell)
        while True:
            told.clear()
            try:
                await self.refresh()
            except RegistryError as error:
                self._log.warning("changes of access cannot be read: %s", error.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), CHANGES_POLL_S)
