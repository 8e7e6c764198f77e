"""An S3 store for tests: a bucket, a ledger on SQLite, and calls that are counted."""

import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from registry.blobstore import s3_model
from registry.blobstore.s3 import S3Store
from registry.blobstore.s3_client import Credentials, Direct, Patience, S3Client
from registry.blobstore.s3_keys import PART_SIZES, PartSizes
from registry.blobstore.s3_location import S3Location
from registry.blobstore.spool import Spool
from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase
from registry.services.clock import system_clock
from registry.services.transfers import Transfers
from tests.backends.s3 import S3Service
from tests.blobstore.suite import Backend, running

MIN_PART = 5 * 1024 * 1024
"""What a service takes as a part that is not the last."""
SMALL_PARTS = PartSizes(((10_000, MIN_PART),))
START = {"GetObject": 2, "PutObject": 1}
"""Calls that claiming a bucket takes."""
QUICK = Patience(connect_timeout_s=2, read_timeout_s=5, attempts=2)


class CountedClient(S3Client):
    """Counts the calls of the library that it makes."""

    shared: ClassVar[Any] = None
    """One session of the library for all: it takes a while to make one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        CountedClient.shared = self._session = CountedClient.shared or s3_model.new_session()
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    def _make(self, endpoint: str | None, patience: Patience) -> Any:
        client = super()._make(endpoint, patience)
        client.meta.events.register("before-send.s3", self._count)
        return client

    def _count(self, event_name: str, **_: Any) -> None:
        with self._counting:
            self.counts[event_name.rpartition(".")[2]] += 1


@dataclass
class World:
    """Stores on one bucket."""

    service: S3Service
    location: S3Location
    database: Database
    spool: Path
    part_sizes: PartSizes = PART_SIZES
    direct: Direct | None = None
    credentials: Credentials | None = None
    """Those of somebody else than the owner of the service."""
    patience: Patience = QUICK
    stray_age_ms: int = 0
    ahead_ms: int = 0
    """How far the clock of the leases is ahead of that of the machine."""
    clients: list[CountedClient] = field(default_factory=list)
    backend: Backend = field(init=False)

    @classmethod
    @asynccontextmanager
    async def open(cls, service: S3Service, folder: Path, **options: Any) -> AsyncIterator["World"]:
        """A fresh bucket, database and spool, and a claimed store."""
        database = SqliteDatabase(folder / "ledger.db")
        database.migrate()
        world = cls(service, service.location(prefix="some/prefix/"), database, folder / "spool", **options)
        try:
            async with running(world.make) as backend:
                world.backend = backend
                yield world
        finally:
            database.close()

    def clock(self) -> int:
        """The time that leases count by."""
        return system_clock() + self.ahead_ms

    @property
    def ledger(self) -> Transfers:
        """The real one."""
        return Transfers(self.database, self.clock)

    def make(self) -> S3Store:
        """Another store on the same, as another process would have it."""
        client = CountedClient(self.location, self.credentials or self.service.credentials, patience=self.patience)
        self.clients.append(client)
        return S3Store(
            client,
            self.ledger,
            Spool(self.spool),
            self.clock,
            direct=self.direct,
            part_sizes=self.part_sizes,
            stray_age_ms=self.stray_age_ms,
        )

    def keys(self, below: str = "objects/") -> dict[str, int]:
        """What is in the bucket below a part of the prefix, with sizes."""
        prefix = self.location.prefix + below
        found = self.service.keys(self.location.bucket, prefix)
        return {key.removeprefix(prefix): size for key, size in found.items()}

    def multiparts(self) -> list[str]:
        """Unfinished multipart uploads."""
        return self.service.multiparts(self.location.bucket)

    def calls(self) -> Counter[str]:
        """Calls of all stores so far, by name."""
        total: Counter[str] = Counter()
        for client in self.clients:
            total += client.counts
        return total
