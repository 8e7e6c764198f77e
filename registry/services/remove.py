"""Removal of tags, manifests and blobs. Nothing is erased here: collection takes what nobody refers to, later."""

from dataclasses import dataclass

from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import BlobInUse, BlobUnknown, ManifestUnknown
from registry.core.events import Event, EventKind
from registry.core.names import Reference, Tag
from registry.metadata import blobs, manifests, repositories, tags
from registry.metadata.access import require_unchanged
from registry.metadata.database import Connection, Database
from registry.metadata.repositories import Hold, Locked
from registry.metadata.tags import Change
from registry.services import journal
from registry.services.clock import Clock

USERS_NAMED = 10
"""Manifests that are named when a blob cannot go because of them."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes. `lease_ms`: how long the blobs of a removed manifest stay at least."""

    database: Database
    clock: Clock
    lease_ms: int

    async def manifest(self, access: RepositoryAccess, reference: Reference) -> None:
        """Remove a tag alone, or by digest a manifest with all its tags (T7). Raises NameUnknown, ManifestUnknown."""
        if reference.tag is not None:
            tag = reference.tag
            await self.database.write(lambda connection: self._tag(connection, access, tag))
        else:
            digest = reference.digest
            assert digest is not None
            await self.database.write(lambda connection: self._manifest(connection, access, digest))

    async def blob(self, access: RepositoryAccess, digest: Digest) -> None:
        """Stop showing a blob in a repository. Raises NameUnknown, BlobUnknown, BlobInUse."""
        await self.database.write(lambda connection: self._blob(connection, access, digest))

    def _tag(self, connection: Connection, access: RepositoryAccess, tag: Tag) -> None:
        repository = _held(connection, access)
        digest = tags.live(connection, repository.id, [tag]).get(tag)
        if digest is None:
            raise ManifestUnknown("no such tag", reference=tag)
        now = self.clock()
        tags.remove(connection, repository.id, [tag], change=Change(now, access.actor.account_id))
        repositories.note_change(connection, repository.id, tags_more=-1, is_push=False, now=now)
        events = [Event(EventKind.TAG_DELETED, repository.name, digest, tag=tag)]
        journal.changed(connection, access.actor, events, now=now)

    def _manifest(self, connection: Connection, access: RepositoryAccess, digest: Digest) -> None:
        repository = _held(connection, access)
        manifest_id = manifests.find(connection, repository.id, digest, lock=True)
        if manifest_id is None:
            raise ManifestUnknown("no such manifest", reference=str(digest))
        now = self.clock()
        named = tags.of_manifest(connection, manifest_id)
        tags.remove_of_manifest(connection, manifest_id, change=Change(now, access.actor.account_id))
        repositories.note_change(connection, repository.id, tags_more=-len(named), is_push=False, now=now)
        manifests.protect_blobs(connection, [manifest_id], until=now + self.lease_ms)
        manifests.remove(connection, manifest_id)
        events = [Event(EventKind.TAG_DELETED, repository.name, digest, tag=tag) for tag in named]
        events.append(Event(EventKind.MANIFEST_DELETED, repository.name, digest))
        journal.changed(connection, access.actor, events, now=now)

    def _blob(self, connection: Connection, access: RepositoryAccess, digest: Digest) -> None:
        repository = _held(connection, access)
        blobs.lock(connection, digest)
        users = blobs.users(connection, repository.id, digest, count=USERS_NAMED)
        if users:
            raise BlobInUse("manifests of this repository use the blob", manifests=[str(user) for user in users])
        if not blobs.unlink(connection, repository.id, digest):
            raise BlobUnknown("no such blob in this repository", digest=str(digest))
        events = [Event(EventKind.BLOB_UNLINKED, repository.name, digest)]
        journal.changed(connection, access.actor, events, now=self.clock())


def _held(connection: Connection, access: RepositoryAccess) -> Locked:
    """The repository, held alone. Raises NameUnknown, or Unauthenticated where access has changed by the time that it
    is held."""
    repository = repositories.lock(connection, access, Hold.ALONE)
    require_unchanged(connection, access)
    return repository
