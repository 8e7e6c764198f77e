"""What is inside a repository, for people and programs: tags, their history, manifests and what belongs to them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from registry.blobstore.base import BlobStore, ObjectKey
from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import FieldInvalid, ManifestUnknown, NameUnknown, OurFault
from registry.core.limits import CONFIG_MAX_BYTES, PARSE_INLINE_BYTES, SIZE_MAX
from registry.core.names import Reference, Tag
from registry.metadata import artifacts, manifest_details, referrer_tree, tag_changes, tag_list
from registry.metadata.artifacts import Artifact
from registry.metadata.artifacts import Query as ArtifactQuery
from registry.metadata.database import Connection, Database
from registry.metadata.manifest_details import Known
from registry.metadata.referrer_tree import Walk
from registry.metadata.tag_changes import TagChange
from registry.metadata.tag_list import Entry, Order, Page, Platform, Position, Query
from registry.services.manifest_view import ManifestView, view, with_config
from registry.services.referrer_view import Referrers, tree

__all__ = [
    "Artifact",
    "ArtifactQuery",
    "ChangePage",
    "Contents",
    "Entry",
    "Order",
    "Page",
    "Platform",
    "Position",
    "Query",
    "TagChange",
    "TagPage",
]

T = TypeVar("T")

PAGE_MAX = 100
"""Tags or changes in one page."""


@dataclass(frozen=True, slots=True)
class TagPage:
    """A page of tags. `total`: how many the repository has, None where a filter leaves some out."""

    page: Page
    total: int | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes of tags, newest first. `next_before` is where the next page begins, None at the end."""

    changes: list[TagChange]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """A manifest with the tree of what refers to it."""

    manifest: ManifestView
    referrers: Referrers


Choose = Callable[[Entry], Platform | None]
"""Which part of an index to look at."""


@dataclass(frozen=True, slots=True)
class TagLook:
    """A tag, with the tree of what refers to it. `manifest`: the one that it points to, or the part of it, which is
    None where the repository does not hold that."""

    entry: Entry
    part: Platform | None
    manifest: ManifestView | None
    referrers: Referrers


@dataclass(frozen=True, slots=True)
class Contents:
    """Looks into repositories. Raises NameUnknown for one that is not there."""

    database: Database
    store: BlobStore

    async def tags(self, access: RepositoryAccess, query: Query, *, with_total: bool = True) -> TagPage:
        """A page of tags, and how many there are. Raises FieldInvalid for an order that the list of a digest does not
        have."""
        if query.digest is not None and query.order is not Order.NAME:
            raise FieldInvalid("the tags of one digest are listed by name", field="sort")
        _require_position(query)
        repository_id = existing(access)
        is_whole = with_total and not query.name_part and query.digest is None and query.with_fallback

        def read(connection: Connection) -> TagPage:
            total = tag_list.count(connection, repository_id) if is_whole else None
            return TagPage(tag_list.page(connection, repository_id, query), total)

        return await self.database.read(read)

    async def tag(self, access: RepositoryAccess, tag: Tag) -> Entry:
        """One tag. Raises ManifestUnknown."""
        repository_id = existing(access)
        found = await self.database.read(lambda connection: tag_list.get(connection, repository_id, tag))
        if found is None:
            raise ManifestUnknown("no such tag", reference=tag)
        return found

    async def artifacts(
        self, access: RepositoryAccess, query: ArtifactQuery, *, count_to: int
    ) -> tuple[list[Artifact], int]:
        """What stands for itself in the repository, newest first, and how many there are, counted up to a number."""
        repository_id = existing(access)
        return await self.database.read(
            lambda connection: (
                artifacts.page(connection, repository_id, query),
                artifacts.count(connection, repository_id, replace(query, before=None), at_most=count_to),
            )
        )

    async def artifact(self, access: RepositoryAccess, reference: Reference) -> Artifact:
        """One manifest, with its tags and platforms. Raises ManifestUnknown."""
        return await self._found(access, reference, artifacts.find)

    async def digest(self, access: RepositoryAccess, reference: Reference) -> Digest:
        """The digest of a manifest. Raises ManifestUnknown."""
        return await self._found(access, reference, artifacts.digest_of)

    async def _found(
        self, access: RepositoryAccess, reference: Reference, find: Callable[[Connection, int, Reference], T | None]
    ) -> T:
        repository_id = existing(access)
        found = await self.database.read(lambda connection: find(connection, repository_id, reference))
        if found is None:
            raise ManifestUnknown("no such manifest", reference=str(reference))
        return found

    async def history(self, access: RepositoryAccess, tag: Tag | None, *, before: int | None, count: int) -> ChangePage:
        """The changes of a tag, also of one that is gone, or of all tags, newest first. Empty for a tag that never
        was."""
        repository_id = existing(access)

        def read(connection: Connection) -> list[TagChange]:
            if tag is None:
                return tag_changes.of_repository(connection, repository_id, before=before, count=count + 1)
            return tag_changes.of_tag(connection, repository_id, tag, before=before, count=count + 1)

        found = await self.database.read(read)
        if len(found) <= count:
            return ChangePage(found, None)
        last = found[count - 1]
        return ChangePage(found[:count], last.id if tag is None else last.number)

    async def manifest(self, access: RepositoryAccess, reference: Reference) -> ManifestView:
        """A manifest with its parts, what leads to it, and what its config says, as far as that can be read. Raises
        ManifestUnknown."""
        repository_id = existing(access)

        def read(connection: Connection) -> Known:
            return manifest_details.known(connection, _manifest_id(connection, repository_id, reference))

        return await self._view(await self.database.read(read))

    async def look(self, access: RepositoryAccess, digest: Digest) -> Look:
        """What a page shows of a manifest. Raises ManifestUnknown."""
        repository_id = existing(access)

        def read(connection: Connection) -> tuple[Known | None, Walk]:
            manifest_id = _manifest_id(connection, repository_id, Reference(digest=digest))
            return manifest_details.look(connection, repository_id, manifest_id, digest)

        known, walk = await self.database.read(read)
        assert known is not None
        return Look(await self._view(known), tree(digest, walk))

    async def look_at_tag(self, access: RepositoryAccess, tag: Tag, choose: Choose) -> TagLook:
        """What a page shows of a tag: of an index the part that is chosen, if any. Raises ManifestUnknown."""
        repository_id = existing(access)

        def read(connection: Connection) -> tuple[Entry, Platform | None, tuple[Known | None, Walk]]:
            entry = tag_list.get(connection, repository_id, tag)
            if entry is None:
                raise ManifestUnknown("no such tag", reference=tag)
            part = choose(entry)
            shown = entry.manifest_id if part is None else part.id
            return entry, part, manifest_details.look(connection, repository_id, shown, entry.digest)

        entry, part, (known, walk) = await self.database.read(read)
        shown = None if known is None else await self._view(known)
        return TagLook(entry, part, shown, tree(entry.digest, walk))

    async def referrers(self, access: RepositoryAccess, subject: Digest) -> Referrers:
        """What refers to a manifest, directly or not; empty where nothing does, or there is none."""
        repository_id = existing(access)
        found = await self.database.read(lambda connection: referrer_tree.walk(connection, repository_id, subject))
        return tree(subject, found)

    async def _view(self, known: Known) -> ManifestView:
        found = await _inline_if_small(len(known.row.payload), lambda: view(known))
        content = await self._config(known, found)
        if content is None:
            return found
        return await _inline_if_small(len(content), lambda: with_config(found, content))

    async def _config(self, known: Known, found: ManifestView) -> bytes | None:
        """The config's bytes; None where they cannot be had, are too many, or are not those that were pushed."""
        config = found.config
        blob = None if config is None else known.pieces.blobs.get(config.digest)
        if blob is None or blob.object_id is None or blob.size > CONFIG_MAX_BYTES:
            return None
        try:
            reader = await self.store.open(ObjectKey(blob.digest, blob.object_id))
            try:
                if reader.info.size != blob.size:
                    return None
                content = b"".join([piece async for piece in reader.chunks(0, blob.size)])
            finally:
                await reader.aclose()
        except OurFault:
            # What the config would tell is not worth an error: everything else is there.
            return None
        return content if Digest.of(content, blob.digest.algorithm) == blob.digest else None


def _manifest_id(connection: Connection, repository_id: int, reference: Reference) -> int:
    found = manifest_details.find(connection, repository_id, reference)
    if found is None:
        raise ManifestUnknown("no such manifest", reference=str(reference))
    return found


async def _inline_if_small(size: int, work: Callable[[], T]) -> T:
    return work() if size <= PARSE_INLINE_BYTES else await asyncio.to_thread(work)


def _require_position(query: Query) -> None:
    """A page begins where one of the same order can have ended. Raises FieldInvalid."""
    if query.after is None:
        return
    key = query.after.key
    is_time = isinstance(key, int) and abs(key) <= SIZE_MAX
    fits = {
        Order.NAME: key is None,
        Order.PUSHED: is_time,
        Order.VERSION: key is None or isinstance(key, str),
    }
    if not fits[query.order]:
        raise FieldInvalid("after belongs to a list in another order", field="after")


def existing(access: RepositoryAccess) -> int:
    """The id of a repository. Raises NameUnknown."""
    if access.id is None:
        raise NameUnknown("no such repository", name=access.name)
    return access.id
