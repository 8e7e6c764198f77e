"""Removal of tags, manifests and blobs. Nothing is erased here: collection takes what nobody refers to, later."""

from dataclasses import dataclass

from registry.core.digest import Digest
from registry.core.errors import BlobInUse, BlobUnknown, ManifestUnknown, NameUnknown
from registry.core.events import Event, EventKind
from registry.core.names import Reference, RepositoryName, Tag
from registry.metadata import blobs, manifests, outbox, repositories, tags
from registry.metadata.database import Connection, Database
from registry.services.clock import Clock

USERS_NAMED = 10
"""Manifests that are named when a blob cannot go because of them."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes. `lease_ms`: how long the blobs of a removed manifest stay at least."""

    database: Database
    clock: Clock
    lease_ms: int

    async def manifest(self, name: RepositoryName, reference: Reference) -> None:
        """Remove a tag alone, or by digest a manifest with all its tags (T7). Raises NameUnknown, ManifestUnknown."""
        if reference.tag is not None:
            tag = reference.tag
            await self.database.write(lambda connection: self._tag(connection, name, tag))
        else:
            digest = reference.digest
            assert digest is not None
            await self.database.write(lambda connection: self._manifest(connection, name, digest))

    async def blob(self, name: RepositoryName, digest: Digest) -> None:
        """Stop showing a blob in a repository. Raises NameUnknown, BlobUnknown, BlobInUse."""
        await self.database.write(lambda connection: self._blob(connection, name, digest))

    def _tag(self, connection: Connection, name: RepositoryName, tag: Tag) -> None:
        repository_id = _existing(connection, name)
        digest = tags.live(connection, repository_id, [tag]).get(tag)
        if digest is None:
            raise ManifestUnknown("no such tag", reference=tag)
        now = self.clock()
        tags.remove(connection, repository_id, [tag], now=now)
        outbox.append(connection, [Event(EventKind.TAG_DELETED, name, digest, tag=tag)], now=now)

    def _manifest(self, connection: Connection, name: RepositoryName, digest: Digest) -> None:
        repository_id = _existing(connection, name)
        manifest_id = manifests.find(connection, repository_id, digest, lock=True)
        if manifest_id is None:
            raise ManifestUnknown("no such manifest", reference=str(digest))
        now = self.clock()
        named = tags.of_manifest(connection, manifest_id)
        tags.remove_of_manifest(connection, manifest_id, now=now)
        manifests.protect_blobs(connection, manifest_id, until=now + self.lease_ms)
        manifests.remove(connection, manifest_id)
        events = [Event(EventKind.TAG_DELETED, name, digest, tag=tag) for tag in named]
        events.append(Event(EventKind.MANIFEST_DELETED, name, digest))
        outbox.append(connection, events, now=now)

    def _blob(self, connection: Connection, name: RepositoryName, digest: Digest) -> None:
        repository_id = _existing(connection, name)
        users = blobs.users(connection, repository_id, digest, count=USERS_NAMED)
        if users:
            raise BlobInUse("manifests of this repository use the blob", manifests=[str(user) for user in users])
        if not blobs.unlink(connection, repository_id, digest):
            raise BlobUnknown("no such blob in this repository", digest=str(digest))
        outbox.append(connection, [Event(EventKind.BLOB_UNLINKED, name, digest)], now=self.clock())


def _existing(connection: Connection, name: RepositoryName) -> int:
    repository_id = repositories.lock(connection, name)
    if repository_id is None:
        raise NameUnknown("no such repository", name=name)
    return repository_id
