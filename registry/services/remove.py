"""Removal of tags, manifests and blobs. Nothing is erased here: collection takes what nobody refers to, later."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import BlobInUse, BlobUnknown, FieldInvalid, ManifestUnknown, NameUnknown
from registry.core.events import Event, EventKind
from registry.core.names import Reference, Tag
from registry.metadata import blobs, manifests, removal, repositories, tags
from registry.metadata.access import require_unchanged
from registry.metadata.database import Connection, Database
from registry.metadata.removal import ManifestLeft, TagsLeft, Whole
from registry.metadata.repositories import Hold, Locked
from registry.metadata.tags import Change
from registry.services import journal
from registry.services.clock import Clock
from registry.services.contents import existing
from registry.services.push import Condition, require_condition

USERS_NAMED = 10
"""Manifests that are named when a blob cannot go because of them."""
TAGS_MAX = 100
"""Tags that are removed at once."""


@dataclass(frozen=True, slots=True)
class TagsRemoval:
    """Tags that go, with what they point to, and those that are not there. `left`: what stays, where that was asked
    for."""

    tags: dict[str, Digest]
    missing: tuple[str, ...]
    left: TagsLeft | None = None


@dataclass(frozen=True, slots=True)
class ManifestRemoval:
    """A manifest that goes, with its tags. `left`: what stays, where that was asked for."""

    digest: Digest
    tags: tuple[str, ...]
    left: ManifestLeft | None = None


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

    async def tags(
        self,
        access: RepositoryAccess,
        names: Sequence[Tag],
        condition: Condition | None = None,
        *,
        dry_run: bool = False,
    ) -> TagsRemoval:
        """Remove tags, all in one transaction; those that are not there are no error. With `dry_run` say what that
        would mean, and change nothing. Raises NameUnknown, FieldInvalid for too many, PreconditionFailed."""
        if len(names) > TAGS_MAX:
            raise FieldInvalid(f"at most {TAGS_MAX} tags are removed at once", field="tags")
        wanted = sorted(set(names))

        def preview(connection: Connection) -> TagsRemoval:
            repository_id = existing(access)
            require_condition(connection, repository_id, tuple(wanted), condition or Condition(), lock=False)
            found = tags.live(connection, repository_id, list(wanted), lock=False)
            return _tags_removal(wanted, found, removal.left_by_tags(connection, repository_id, sorted(found)))

        def remove(connection: Connection) -> TagsRemoval:
            repository = _held(connection, access)
            require_condition(connection, repository.id, tuple(wanted), condition or Condition())
            return _tags_removal(wanted, self._tags(connection, access, repository, wanted))

        return await (self.database.read(preview) if dry_run else self.database.write(remove))

    async def image(self, access: RepositoryAccess, digest: Digest, *, dry_run: bool = False) -> ManifestRemoval:
        """Remove a manifest with all its tags. With `dry_run` say what that would mean, and change nothing. Raises
        NameUnknown, ManifestUnknown."""

        def preview(connection: Connection) -> ManifestRemoval:
            manifest_id, named = _selected(connection, existing(access), digest, lock=False)
            return ManifestRemoval(digest, tuple(named), removal.left_by_manifest(connection, manifest_id))

        def remove(connection: Connection) -> ManifestRemoval:
            return ManifestRemoval(digest, tuple(self._manifest(connection, access, digest)))

        return await (self.database.read(preview) if dry_run else self.database.write(remove))

    async def leftover(self, access: RepositoryAccess, digest: Digest) -> list[Digest]:
        """Remove a manifest to which neither a tag nor an index leads, and return those of its parts to which nothing
        leads then. Empty, and nothing has changed, where something leads to it by now, or it is gone. Raises
        NameUnknown."""

        def remove(connection: Connection) -> list[Digest]:
            repository = _held(connection, access)
            manifest_id = manifests.find(connection, repository.id, digest, lock=True)
            if manifest_id is None or tags.of_manifest(connection, manifest_id):
                return []
            left = removal.left_by_manifest(connection, manifest_id)
            if left.parents:
                return []
            self._end(connection, access, repository, digest, manifest_id=manifest_id, named=[])
            return left.children

        return await self.database.write(remove)

    async def preview(self, access: RepositoryAccess) -> Whole:
        """What a repository holds, which all goes with it. Raises NameUnknown."""
        repository_id = existing(access)
        found = await self.database.read(lambda connection: removal.whole(connection, repository_id))
        if found is None:
            raise NameUnknown("no such repository", name=access.name)
        return found

    async def blob(self, access: RepositoryAccess, digest: Digest) -> None:
        """Stop showing a blob in a repository. Raises NameUnknown, BlobUnknown, BlobInUse."""
        await self.database.write(lambda connection: self._blob(connection, access, digest))

    def _tag(self, connection: Connection, access: RepositoryAccess, tag: Tag) -> None:
        if not self._tags(connection, access, _held(connection, access), [tag]):
            raise ManifestUnknown("no such tag", reference=tag)

    def _tags(
        self, connection: Connection, access: RepositoryAccess, repository: Locked, names: Sequence[Tag]
    ) -> dict[str, Digest]:
        """Remove those that are there; returns what they pointed to."""
        found = tags.live(connection, repository.id, list(names))
        if not found:
            return found
        now = self.clock()
        tags.remove(connection, repository.id, sorted(found), change=Change(now, access.actor.account_id))
        repositories.note_change(connection, repository.id, tags_more=-len(found), is_push=False, now=now)
        events = [Event(EventKind.TAG_DELETED, repository.name, digest, tag=tag) for tag, digest in found.items()]
        journal.changed(connection, access.actor, events, now=now)
        return found

    def _manifest(self, connection: Connection, access: RepositoryAccess, digest: Digest) -> list[str]:
        """Remove a manifest; returns the tags that went with it."""
        repository = _held(connection, access)
        manifest_id, named = _selected(connection, repository.id, digest, lock=True)
        self._end(connection, access, repository, digest, manifest_id=manifest_id, named=named)
        return named

    def _end(
        self,
        connection: Connection,
        access: RepositoryAccess,
        repository: Locked,
        digest: Digest,
        *,
        manifest_id: int,
        named: list[str],
    ) -> None:
        now = self.clock()
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


def _selected(connection: Connection, repository_id: int, digest: Digest, *, lock: bool) -> tuple[int, list[str]]:
    """What goes with a digest: the manifest's id, and its tags. Raises ManifestUnknown."""
    manifest_id = manifests.find(connection, repository_id, digest, lock=lock)
    if manifest_id is None:
        raise ManifestUnknown("no such manifest", reference=str(digest))
    return manifest_id, tags.of_manifest(connection, manifest_id)


def _tags_removal(wanted: list[Tag], found: dict[str, Digest], left: TagsLeft | None = None) -> TagsRemoval:
    return TagsRemoval(found, tuple(str(name) for name in wanted if name not in found), left)


def _held(connection: Connection, access: RepositoryAccess) -> Locked:
    """The repository, held alone. Raises NameUnknown, or Unauthenticated where access has changed by the time that it
    is held."""
    repository = repositories.lock(connection, access, Hold.ALONE)
    require_unchanged(connection, access)
    return repository
