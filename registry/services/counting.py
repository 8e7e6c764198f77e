"""What was counted in memory is written down every few seconds, in one transaction, and once more at a clean stop.

A process that is killed loses what it has counted since the last time. Nothing is counted twice: what the database has
refused is kept and tried again, and what it may have taken without saying so (the connection broke in the middle of the
commit) is not tried again.
"""

import asyncio
import contextlib
import logging
from typing import Protocol

from registry.core.errors import CommitUnknown, RegistryError
from registry.core.limits import PULLS_PER_FLUSH
from registry.metadata import pulls as pull_rows
from registry.metadata import traffic as traffic_rows
from registry.metadata.database import Connection, Database
from registry.metadata.manifests import StoredManifest
from registry.metadata.pulls import Counted
from registry.services.pulls import Puller, Pulls
from registry.services.traffic import PULLS, Numbers, Traffic


class Observer(Protocol):
    """Is told what became of what was counted; has to be quick."""

    def written(self, pulls: int) -> None:
        """So many pulls are in the database."""
        ...

    def failed(self) -> None:
        """They could not be written, and are kept."""
        ...

    def lost(self, pulls: int) -> None:
        """So many will never be."""
        ...


class Counting:
    """Counts pulls and traffic of this process. Only for the event loop's thread."""

    def __init__(
        self, database: Database, pulls: Pulls, traffic: Traffic, *, every_s: float, observer: Observer | None = None
    ) -> None:
        """`every_s`: seconds between two times that it is written down."""
        self._database = database
        self._pulls = pulls
        self.traffic = traffic
        self._every_s = every_s
        self._observer = observer
        self._log = logging.getLogger("depotry.counting")
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._trouble: str | None = None
        self._lost = 0

    def pull(self, repository_id: int, manifest: StoredManifest, puller: Puller) -> None:
        """The manifest goes out to somebody."""
        if self._pulls.count(repository_id, manifest, puller):
            self.traffic.count(PULLS)
        # A database that is away is not asked more often because the memory fills up.
        if self._pulls.is_half_full and self._trouble is None:
            self._wake.set()

    def start(self) -> None:
        """Begin to write down what is counted, in a task of the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="counting")

    async def stop(self) -> None:
        """Write down what is left, and end. Idempotent."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def flush(self) -> None:
        """Write down what was counted. What could not be written is kept."""
        counted, numbers = self._pulls.take(), self.traffic.take()
        while counted or numbers:
            some, counted = counted[:PULLS_PER_FLUSH], counted[PULLS_PER_FLUSH:]
            if not await self._write(some, numbers):
                self._pulls.give_back(some + counted)
                self.traffic.give_back(numbers)
                break
            numbers = {}
        self._tell_lost(self._pulls.lost)

    async def _follow(self) -> None:
        while not self._is_stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._every_s)
            self._wake.clear()
            await self.flush()

    async def _write(self, counted: list[Counted], numbers: Numbers) -> bool:
        """False where it has to be tried again."""

        def write(connection: Connection) -> None:
            pull_rows.add(connection, counted)
            traffic_rows.add(connection, numbers)

        pulls = sum(one.pulls + one.parts for one in counted)
        try:
            await self._database.write(write, durable=False)
        except CommitUnknown:
            self._pulls.lost += pulls
            return True
        except RegistryError as error:
            if self._trouble != error.message:
                self._log.warning("pulls are counted, and cannot be written down: %s", error.message)
            self._trouble = error.message
            if self._observer is not None:
                self._observer.failed()
            return False
        self._trouble = None
        if self._observer is not None:
            self._observer.written(pulls)
        return True

    def _tell_lost(self, lost: int) -> None:
        if lost > self._lost:
            self._log.warning("pulls were lost before they could be written down", extra={"pulls": lost - self._lost})
            if self._observer is not None:
                self._observer.lost(lost - self._lost)
        self._lost = lost
