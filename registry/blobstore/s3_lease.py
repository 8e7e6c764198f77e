"""The lease of an upload session: renewed while something goes on, and asked for again before anything is changed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from registry.blobstore.ledger import LEASE_MS, Clock, Hold, TransferLedger
from registry.core.errors import RegistryError, UploadBusy

RENEW_S = LEASE_MS / 3000
FRESH_MS = LEASE_MS * 7 // 10
"""A lease that was renewed within this is not asked for again before a step."""


class Lease:
    """Whether this session still has the right to its upload. It is not renewed while nothing comes: a client that has
    gone without a word loses the upload to the same one on another connection."""

    def __init__(self, hold: Hold, ledger: TransferLedger, clock: Clock, is_busy: Callable[[], bool]) -> None:
        """`is_busy` tells whether something long is going on. Begins to renew at once, on the running loop."""
        self.hold = hold
        self._ledger = ledger
        self._clock = clock
        self._is_busy = is_busy
        self._renewed_at = clock()
        self._touched = False
        self._lost = False
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def require(self) -> None:
        """Raises UploadBusy if another session has taken the upload, Unavailable."""
        self._touched = True
        if self._lost or abs(self._clock() - self._renewed_at) > FRESH_MS:
            await self._renew()

    def end(self) -> None:
        """Renew it no more. Idempotent."""
        self._task.cancel()

    async def _renew(self) -> None:
        now = self._clock()
        try:
            await self._ledger.renew(self.hold)
        except UploadBusy:
            self._lost = True
            raise
        self._renewed_at = now

    async def _keep(self) -> None:
        while not self._lost:
            await asyncio.sleep(RENEW_S)
            if self._touched or self._is_busy():
                self._touched = False
                # What fails now is asked for again before the next step.
                with suppress(RegistryError):
                    await self._renew()
