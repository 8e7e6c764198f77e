"""The time, as something that is handed in.

Leases, graces and windows are compared by whichever node comes next, so all nodes have to mean the same time: that of
the database, where it is a server. A node asks for it now and then, and goes by its own clock and the difference.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from registry.core.errors import RegistryError, Unavailable
from registry.metadata import installation
from registry.metadata.database import Database

Clock = Callable[[], int]
"""Returns milliseconds since 1970 UTC, as SQL stores them."""

MEASURED_EACH_S = 10.0
SLOW_ANSWER_MS = 1_000
"""An answer that took longer says too little about the moment at which it was given."""
DIFFERENCE_MAX_MS = 60_000
"""Beyond this a clock is not a little off but wrong, and S3 and TLS fail with it."""


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


class SharedClock:
    """A `Clock` that all nodes of one database share. Only for the event loop's thread, but for calling it."""

    def __init__(self, database: Database, own: Clock = system_clock) -> None:
        self._database = database
        self._own = own
        self._ahead_ms = 0
        """By how much the database's clock is ahead of this machine's."""
        self._is_wrong = False
        self._log = logging.getLogger("depotry.clock")

    def __call__(self) -> int:
        """The time."""
        return self._own() + self._ahead_ms

    async def measure(self) -> None:
        """Compare the clocks. Does nothing where the database has none of its own. Raises Unavailable."""
        asked = time.monotonic_ns()
        shown = await self._database.point(installation.clock)
        took_ms = (time.monotonic_ns() - asked) // 1_000_000
        if shown is None or took_ms > SLOW_ANSWER_MS:
            return
        self._ahead_ms = shown + took_ms // 2 - self._own()
        was_wrong, self._is_wrong = self._is_wrong, abs(self._ahead_ms) > DIFFERENCE_MAX_MS
        if self._is_wrong and not was_wrong:
            self._log.error(self._difference())

    async def check(self) -> None:
        """Raises Unavailable where the clocks differ so much that one of them must be wrong."""
        await self.measure()
        if self._is_wrong:
            raise Unavailable(self._difference())

    async def follow(self) -> None:
        """Measure from time to time until cancelled."""
        while True:
            await asyncio.sleep(MEASURED_EACH_S)
            try:
                await self.measure()
            except RegistryError as error:
                self._log.warning("the database does not tell the time: %s", error.message)

    def _difference(self) -> str:
        own = self._own()
        return (
            f"the clock of this machine says {_shown(own)}, that of the database {_shown(own + self._ahead_ms)}:"
            " one of the two is wrong"
        )


def _shown(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
