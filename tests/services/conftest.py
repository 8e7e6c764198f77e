"""The use cases on a real database and the memory store, with a clock that is set by hand."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from registry.blobstore.memory import MemoryStore
from registry.core.access import RepositoryAccess
from registry.core.digest import Bytes, Digest
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import Reference, RepositoryName, Tag
from registry.metadata import repositories
from registry.metadata.database import Database
from registry.services.access import EVERYBODY, actor_of
from registry.services.catalog import Catalog
from registry.services.contents import Contents
from registry.services.counting import Counting
from registry.services.pull import Pull
from registry.services.pulls import Ignored, Pulls
from registry.services.push import Condition, ManifestPush, Push, Pushed, References
from registry.services.remove import Remove
from registry.services.tagging import Tagging
from registry.services.traffic import Traffic
from registry.services.uploads import Chunk, Source, Uploads
from tests.backends import Backend
from tests.core.test_manifest import encoded

LEASE_MS = 1_000_000
NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
NOBODY = actor_of(EVERYBODY, None)


async def body(*pieces: bytes) -> AsyncIterator[list[Bytes]]:
    """A request's body."""
    for piece in pieces:
        yield [piece]


@dataclass
class House:
    """Everything that a test calls."""

    database: Database
    store: MemoryStore = field(default_factory=MemoryStore)
    now: int = 1_000_000_000
    references: References = References.SPARSE_INDEX

    def clock(self) -> int:
        """The time that the test has set."""
        return self.now

    @property
    def uploads(self) -> Uploads:
        """Blobs in."""
        return Uploads(self.database, self.store, self.clock, LEASE_MS, ttl_ms=LEASE_MS, open_per_account=1000)

    @property
    def pull(self) -> Pull:
        """Everything out."""
        return Pull(self.database, self.store, self.clock, LEASE_MS)

    @property
    def push(self) -> Push:
        """Manifests in."""
        return Push(self.database, self.store, self.clock, self.references)

    def counting(self, ignored: Ignored | None = None) -> Counting:
        """Counts pulls."""
        return Counting(self.database, Pulls(self.clock, ignored), Traffic(self.clock), every_s=60)

    @property
    def remove(self) -> Remove:
        """Removal."""
        return Remove(self.database, self.clock, LEASE_MS)

    @property
    def contents(self) -> Contents:
        """What people see of a repository."""
        return Contents(self.database, self.store)

    @property
    def tagging(self) -> Tagging:
        """Tags to what is there."""
        return Tagging(self.database, self.clock)

    @property
    def catalog(self) -> Catalog:
        """Lists."""
        return Catalog(self.database, is_open=True)

    async def at(self, name: RepositoryName) -> RepositoryAccess:
        """The way in to a repository where access is open."""
        found = await self.database.read(lambda connection: repositories.find(connection, name))
        return RepositoryAccess(name, found, NOBODY)

    async def source(self, name: RepositoryName | None) -> Source:
        """Where to mount from: a repository, or any."""
        found = None if name is None else (await self.at(name)).id
        return Source(found, EVERYBODY, is_open=True)

    async def blob(self, content: bytes, name: RepositoryName = NAME) -> Digest:
        """Push a blob."""
        digest = Digest.of(content)
        assert await self.uploads.receive_whole(await self.at(name), digest, body(content)) is None
        return digest

    async def upload(self, *pieces: bytes) -> str:
        """An upload that holds these pieces."""
        upload_id = await self.uploads.start(await self.at(NAME))
        await self.uploads.append(await self.at(NAME), upload_id, Chunk(body(*pieces)))
        return upload_id

    async def manifest(self, document: dict[str, Any], *tags: str, condition: Condition | None = None) -> Pushed:
        """Push a manifest under tags, or by digest alone."""
        payload = encoded(document)
        push = ManifestPush(
            payload,
            document.get("mediaType", OCI_MANIFEST),
            tuple(Tag(tag) for tag in tags),
            Digest.of(payload),
            condition or Condition(),
        )
        return await self.push.manifest(await self.at(NAME), push)

    async def content(self, digest: Digest, name: RepositoryName = NAME) -> bytes:
        """Pull a blob."""
        reader = await self.pull.open_blob(await self.at(name), digest)
        try:
            return b"".join([piece async for piece in reader.chunks(0, reader.info.size)])
        finally:
            await reader.aclose()

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What SQL says."""
        return await self.database.read(lambda connection: [tuple(row) for row in connection.execute(text(query))])


def by_tag(tag: str) -> Reference:
    """A reference."""
    return Reference(tag=Tag(tag))


@pytest.fixture
def house(backend: Backend) -> House:
    """An empty one, on each kind of database."""
    return House(backend.new())
