"""The composition root: from settings to a running application. The one module that knows every room."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from registry import __version__
from registry.api.asgi import App, HeldBytes
from registry.api.dispatch import Dispatch
from registry.api.metrics import Metrics
from registry.api.observe import Observed
from registry.api.operate import Readiness, operator_app, public_app
from registry.api.v2.routes import DistributionApi
from registry.api.v2.target import Services
from registry.blobstore.base import BlobStore
from registry.blobstore.filesystem import FilesystemStore
from registry.blobstore.observed import ObservedStore
from registry.config import Settings
from registry.core.limits import MANIFESTS_HELD_BYTES
from registry.metadata.database import Database
from registry.services.catalog import Catalog
from registry.services.clock import system_clock
from registry.services.installation import Installation
from registry.services.pull import Pull
from registry.services.push import Push, References
from registry.services.remove import Remove
from registry.services.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept: facts and bytes."""

    database: Database
    blobs: BlobStore

    async def open(self) -> None:
        """Check that the two belong together. Raises WrongPair."""
        await Installation(self.database, self.blobs, system_clock).open()

    async def close(self) -> None:
        """Finish what is queued and close both. Idempotent."""
        await self.blobs.aclose()
        self.database.close()


def open_database(settings: Settings) -> Database:
    """The database of these settings; its folder is made if it is missing."""
    path = settings.database_path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Database(path)


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store of these settings."""
    return FilesystemStore(settings.storage_path, reserve_bytes=settings.storage_reserve_bytes)


def open_stores(settings: Settings, *, upgrade: bool) -> Stores:
    """Open both and check that they belong together, with `upgrade` after bringing the database up to date; without it
    the database has to be current, because a server may be running on it. Blocks; for a start.

    Raises WrongPair, DatabaseTooNew, DatabaseNotCurrent, LibraryTooOld, Unavailable.
    """
    database = open_database(settings)
    stores = Stores(database, open_blobs(settings))
    try:
        if upgrade:
            database.migrate()
        else:
            database.require_current()
        asyncio.run(stores.open())
    except BaseException:
        asyncio.run(stores.close())
        raise
    return stores


class Application:
    """The server's application, and what the server tells it (`server.run.Lifecycle`)."""

    def __init__(self, settings: Settings, stores: Stores, *, operator_port: int, announce: Callable[[], None]) -> None:
        metrics = Metrics()
        blobs = ObservedStore(stores.blobs, metrics.record_store)
        self._stores = stores
        self._announce = announce
        self._data = settings.data.absolute()
        self._log = logging.getLogger("depotry")
        self._readiness = Readiness({"database": stores.database.check, "storage": blobs.check})
        self._observed = Observed(
            Dispatch(
                DistributionApi(services(settings, stores.database, blobs)),
                public_app(self._readiness),
                operator_app(self._readiness, metrics),
                operator_port=operator_port,
            ),
            metrics,
        )

    @property
    def asgi(self) -> App:
        """What the server calls for each request."""
        return self._observed

    def started(self) -> None:
        """The listeners accept."""
        self._announce()
        self._log.info("started", extra={"version": __version__, "data": str(self._data)})

    def draining(self) -> None:
        """The server was told to stop: no new work should be sent here."""
        self._readiness.draining = True
        self._log.info("stopping: running requests may end")

    async def stop(self) -> None:
        """The last request has ended."""
        await self._stores.close()
        self._log.info("stopped")


def services(settings: Settings, database: Database, blobs: BlobStore) -> Services:
    """The use cases on these stores."""
    lease_ms = settings.lease_s * 1000
    clock = system_clock
    return Services(
        pull=Pull(database, blobs, clock, lease_ms),
        push=Push(database, blobs, clock, References(settings.references)),
        uploads=Uploads(database, blobs, clock, lease_ms, ttl_ms=settings.upload_ttl_s * 1000),
        remove=Remove(database, clock, lease_ms),
        catalog=Catalog(database),
        manifest_max_bytes=settings.manifest_max_bytes,
        verify_on_read=settings.verify_on_read,
        held=HeldBytes(MANIFESTS_HELD_BYTES),
    )
