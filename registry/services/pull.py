"""Pull: manifests, blobs and referrers out."""

from dataclasses import dataclass

from registry.blobstore.base import BlobReader, BlobStore, ObjectKey
from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import BlobUnknown, ContentCorrupt, ManifestUnknown, NameUnknown
from registry.core.limits import PAGE_MAX, REFERRERS_PAGE_BYTES
from registry.core.names import Reference
from registry.metadata import blobs, manifests, storage_moves
from registry.metadata.blobs import LinkedBlob
from registry.metadata.database import Connection, Database
from registry.metadata.manifests import ReferrersPage, ReferrersQuery, StoredManifest
from registry.services.clock import Clock


@dataclass(frozen=True, slots=True)
class Pull:
    """Reads. `lease_ms` is how long a blob stays that nothing refers to yet."""

    database: Database
    store: BlobStore
    clock: Clock
    lease_ms: int

    async def manifest(self, access: RepositoryAccess, reference: Reference) -> StoredManifest:
        """The manifest under a tag or digest. Raises NameUnknown or ManifestUnknown."""
        repository_id = _existing(access)
        found = await self.database.point(lambda connection: manifests.stored(connection, repository_id, reference))
        if found is None:
            raise ManifestUnknown("no such manifest", reference=str(reference))
        return found

    async def stat_blob(self, access: RepositoryAccess, digest: Digest) -> LinkedBlob:
        """A blob for somebody who may be about to push: a positive answer keeps it for half a lease at least (T6).

        A blob that is known as corrupt is not there, so that the client sends it again and heals it.
        Raises NameUnknown or BlobUnknown.
        """
        blob = await self._linked(access, digest)
        if blob.corrupt:
            raise BlobUnknown("the stored blob is corrupt; push it again", digest=str(digest))
        now = self.clock()
        if not blob.referenced and blob.protect_until < now + self.lease_ms // 2:
            until = now + self.lease_ms
            await self.database.write(lambda connection: blobs.protect(connection, digest, until=until))
            blob = await self._linked(access, digest)
        return blob

    async def open_blob(self, access: RepositoryAccess, digest: Digest) -> BlobReader:
        """A blob's bytes; the caller closes the reader. Raises NameUnknown, BlobUnknown or ContentCorrupt.

        An object that is missing or has the wrong size is marked, so that the next push of the digest replaces it.
        """
        blob = await self._linked(access, digest)
        if blob.corrupt:
            raise ContentCorrupt("the stored blob is corrupt", digest=str(digest))
        try:
            return await self._open_whole(blob)
        except ContentCorrupt:
            # It may have been collected, or moved to another object, since it was looked up.
            now = await self._linked(access, digest)
            if now.object_id != blob.object_id:
                return await self._open_whole(now)
            await self._mark_corrupt(blob)
            raise

    async def direct_url(self, access: RepositoryAccess, digest: Digest) -> str | None:
        """A URL that serves the blob past the registry, for a while; None if the store has none. Nobody looks whether
        the object is there. Raises NameUnknown, BlobUnknown or ContentCorrupt."""
        blob = await self._linked(access, digest)
        if blob.corrupt:
            raise ContentCorrupt("the stored blob is corrupt", digest=str(digest))
        return await self.store.direct_url(ObjectKey(digest, blob.object_id))

    async def _mark_corrupt(self, blob: LinkedBlob) -> None:
        """While blobs move between stores, one that is missing may be in a store that this process does not know."""
        now = self.clock()

        def mark(connection: Connection) -> None:
            if not storage_moves.is_unfinished(connection):
                blobs.mark_corrupt(connection, blob.object_id, now=now)

        await self.database.write(mark)

    async def referrers(
        self,
        access: RepositoryAccess,
        subject: Digest,
        *,
        artifact_types: list[str],
        after: int,
        count: int | None,
    ) -> ReferrersPage:
        """What refers to `subject`; empty for an unknown repository or digest."""
        wanted = ReferrersQuery(
            subject=subject,
            artifact_types=artifact_types,
            after=after,
            count=PAGE_MAX if count is None else min(count, PAGE_MAX),
            budget_bytes=REFERRERS_PAGE_BYTES,
        )
        repository_id = access.id
        if repository_id is None:
            return ReferrersPage([], None)
        return await self.database.read(lambda connection: manifests.referrers(connection, repository_id, wanted))

    async def _open_whole(self, blob: LinkedBlob) -> BlobReader:
        reader = await self.store.open(ObjectKey(blob.digest, blob.object_id))
        if reader.info.size != blob.size:
            await reader.aclose()
            raise ContentCorrupt("the stored blob has the wrong size", digest=str(blob.digest))
        return reader

    async def _linked(self, access: RepositoryAccess, digest: Digest) -> LinkedBlob:
        repository_id = _existing(access)
        blob = await self.database.point(lambda connection: blobs.linked(connection, repository_id, digest))
        if blob is None:
            raise BlobUnknown("no such blob in this repository", digest=str(digest))
        return blob


def _existing(access: RepositoryAccess) -> int:
    if access.id is None:
        raise NameUnknown("no such repository", name=access.name)
    return access.id
