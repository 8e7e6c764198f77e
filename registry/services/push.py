"""Push: a manifest in, with its tags, in one transaction (T4)."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from registry.blobstore.base import BlobReader, BlobStore, ObjectKey
from registry.core import manifest as manifest_rules
from registry.core.access import RepositoryAccess
from registry.core.digest import Algorithm, Digest
from registry.core.errors import (
    ContentCorrupt,
    DigestMismatch,
    ManifestInvalid,
    PreconditionFailed,
    ReferencesUnknown,
)
from registry.core.events import Event, EventKind
from registry.core.limits import CONFIG_MAX_BYTES, ERROR_DETAIL_MAX, INDEX_MAX_DEPTH, PARSE_INLINE_BYTES
from registry.core.manifest import DOCKER_CONFIG, OCI_CONFIG, Descriptor, Manifest
from registry.core.names import Tag
from registry.metadata import access as access_rows
from registry.metadata import blobs, manifests, repositories, tags
from registry.metadata.database import Connection, Database
from registry.metadata.manifests import Held, Listing
from registry.metadata.repositories import Hold
from registry.metadata.tags import Change
from registry.services import journal
from registry.services.clock import Clock


class References(StrEnum):
    """What has to be in the repository before a manifest that refers to it."""

    STRICT = "strict"
    """Config, layers, and the children of an index."""
    SPARSE_INDEX = "sparse-index"
    """Config and layers; children of an index may be missing."""
    OFF = "off"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a conditional PUT demands of the digest that each tag points to now: that it is one of `if_match`, or
    none of `if_none_match`. `*` stands for any. None demands nothing."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """A manifest to store: its bytes, the tags that shall point to it, the digest that the client announced."""

    payload: bytes
    content_type: str | None
    tags: tuple[Tag, ...]
    announced: Digest | None
    condition: Condition = Condition()


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of it."""

    digest: Digest
    subject: Digest | None


@dataclass(frozen=True, slots=True)
class Push:
    """Stores manifests."""

    database: Database
    store: BlobStore
    clock: Clock
    references: References

    async def manifest(self, access: RepositoryAccess, push: ManifestPush) -> Pushed:
        """Store a manifest and point its tags to it.

        Raises ManifestInvalid, DigestMismatch, ReferencesUnknown, PreconditionFailed; then nothing has changed.
        """
        manifest, digest = await _read(push)
        listing = await self._listing(access, manifest)
        now = self.clock()
        await self.database.write(
            lambda connection: self._put(connection, access, manifest, push, (digest, listing, now))
        )
        return Pushed(digest, None if manifest.subject is None else manifest.subject.digest)

    def _put(
        self,
        connection: Connection,
        access: RepositoryAccess,
        manifest: Manifest,
        push: ManifestPush,
        made: tuple[Digest, Listing, int],
    ) -> None:
        digest, listing, now = made
        repository, created = repositories.ensure(connection, access, Hold.ALONE, now=now)
        repository_id, name = repository.id, repository.name
        # After whatever was waited for.
        access_rows.require_unchanged(connection, access)
        if created:
            journal.created(connection, access, now=now)
        require_condition(connection, repository_id, push.tags, push.condition)
        manifest_id, new = manifests.add(connection, repository_id, manifest, digest=digest, listing=listing, now=now)
        held = manifests.measure(connection, manifest_id, manifest)
        self._check_references(manifest, held)
        change = Change(now, access.actor.account_id)
        pointed = tags.point(
            connection, repository_id, list(push.tags), manifest_id=manifest_id, digest=digest, change=change
        )
        if new or pointed.changed:
            repositories.note_change(connection, repository_id, tags_more=pointed.created, is_push=True, now=now)
        media_type = manifest.media_type
        events = [Event(EventKind.MANIFEST_PUSHED, name, digest, media_type=media_type)] if new else []
        events += [Event(EventKind.TAG_SET, name, digest, tag=tag, media_type=media_type) for tag in pointed.changed]
        journal.changed(connection, access.actor, events, now=now)

    def _check_references(self, manifest: Manifest, held: Held) -> None:
        if held.levels > INDEX_MAX_DEPTH:
            raise ManifestInvalid(f"indexes are nested in more than {INDEX_MAX_DEPTH} levels")
        missing: list[Descriptor] = []
        if self._needs_blobs(manifest):
            missing += _missing(manifest.blobs, held.blobs)
        if self.references is References.STRICT:
            missing += _missing(manifest.children, held.children)
        if missing:
            named = [str(entry.digest) for entry in missing[:ERROR_DETAIL_MAX]]
            raise ReferencesUnknown(
                "the repository does not hold everything that the manifest refers to",
                missing=named,
                missing_count=len(missing),
            )

    def _needs_blobs(self, manifest: Manifest) -> bool:
        if self.references is References.SPARSE_INDEX:
            return manifest.kind is manifest_rules.Kind.IMAGE
        return self.references is References.STRICT

    async def _listing(self, access: RepositoryAccess, manifest: Manifest) -> Listing:
        config = await self._config(access, manifest.config)
        if config is None:
            return Listing(manifest.platforms, None)
        platform = manifest_rules.platform_name(config)
        return Listing([platform] if platform else [], manifest_rules.config_summary(config))

    async def _config(self, access: RepositoryAccess, entry: Descriptor | None) -> dict[str, Any] | None:
        """An image's config, read here once, or None if there is none that could be shown."""
        repository_id = access.id
        if repository_id is None or entry is None or entry.size > CONFIG_MAX_BYTES:
            return None
        if entry.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            return None
        blob = await self.database.point(lambda connection: blobs.linked(connection, repository_id, entry.digest))
        if blob is None or blob.corrupt or blob.size > CONFIG_MAX_BYTES:
            return None
        try:
            reader = await self.store.open(ObjectKey(blob.digest, blob.object_id))
            content = await _read_all(reader, blob.size)
        except ContentCorrupt:
            now = self.clock()
            await self.database.write(lambda connection: blobs.mark_corrupt(connection, blob.object_id, now=now))
            return None
        return manifest_rules.parse_config(content)


async def _read(push: ManifestPush) -> tuple[Manifest, Digest]:
    def read() -> tuple[Manifest, Digest]:
        return manifest_rules.parse(push.payload, push.content_type), _digest_of(push)

    return read() if len(push.payload) <= PARSE_INLINE_BYTES else await asyncio.to_thread(read)


async def _read_all(reader: BlobReader, size: int) -> bytes:
    try:
        return b"".join([piece async for piece in reader.chunks(0, size)])
    finally:
        await reader.aclose()


def _digest_of(push: ManifestPush) -> Digest:
    algorithm = Algorithm.SHA256 if push.announced is None else push.announced.algorithm
    digest = Digest.of(push.payload, algorithm)
    if push.announced is not None and push.announced != digest:
        raise DigestMismatch(
            "the manifest does not have the digest that was announced",
            expected=str(push.announced),
            actual=str(digest),
        )
    return digest


def require_condition(
    connection: Connection, repository_id: int, names: tuple[Tag, ...], condition: Condition, *, lock: bool = True
) -> None:
    """Raises PreconditionFailed unless each of the tags points to what the condition demands, and with `lock` goes on
    to do so until the transaction ends."""
    if condition == Condition():
        return
    current = tags.live(connection, repository_id, list(names), lock=lock)
    for tag in names:
        digest = current.get(tag)
        shown = None if digest is None else str(digest)
        if condition.if_none_match is not None and _matches(shown, condition.if_none_match):
            raise PreconditionFailed("the tag points to what If-None-Match names", tag=tag, current=shown)
        if condition.if_match is not None and not _matches(shown, condition.if_match):
            raise PreconditionFailed("the tag does not point to what If-Match names", tag=tag, current=shown)


def _matches(current: str | None, wanted: tuple[str, ...]) -> bool:
    return current is not None and ("*" in wanted or current in wanted)


def _missing(wanted: tuple[Descriptor, ...], held: dict[Digest, int]) -> list[Descriptor]:
    """Those of `wanted` that are needed here and not held. Raises ManifestInvalid where a size is wrong."""
    for entry in wanted:
        size = held.get(entry.digest)
        if size is not None and size != entry.size:
            raise ManifestInvalid(
                "a descriptor gives a wrong size", digest=str(entry.digest), size=entry.size, actual_size=size
            )
    return [entry for entry in wanted if entry.digest not in held and not entry.elsewhere]
