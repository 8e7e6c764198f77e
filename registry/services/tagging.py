"""Tagging: a tag is pointed to a manifest that the repository holds: to bring back what it was, or to promote it."""

from dataclasses import dataclass

from registry.core.access import RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown
from registry.core.events import Event, EventKind
from registry.core.names import Reference, Tag
from registry.metadata import access as access_rows
from registry.metadata import manifests, repositories, tags
from registry.metadata.database import Connection, Database
from registry.metadata.repositories import Hold
from registry.metadata.tags import Change
from registry.services import journal
from registry.services.clock import Clock
from registry.services.push import Condition, require_condition


@dataclass(frozen=True, slots=True)
class Tagging:
    """Sets tags. Who may push may do it: they could push the same manifest again."""

    database: Database
    clock: Clock

    async def point(
        self, access: RepositoryAccess, tag: Tag, digest: Digest, condition: Condition | None = None
    ) -> bool:
        """Point a tag, which need not exist, to a manifest of its repository; False where it does so already. Raises
        NameUnknown, ManifestUnknown, PreconditionFailed; then nothing has changed."""
        now = self.clock()

        def change(connection: Connection) -> bool:
            repository = repositories.lock(connection, access, Hold.ALONE)
            access_rows.require_unchanged(connection, access)
            require_condition(connection, repository.id, (tag,), condition or Condition())
            found = manifests.stored(connection, repository.id, Reference(digest=digest))
            manifest_id = manifests.find(connection, repository.id, digest)
            if found is None or manifest_id is None:
                raise ManifestUnknown("no such manifest", reference=str(digest))
            by = Change(now, access.actor.account_id)
            pointed = tags.point(connection, repository.id, [tag], manifest_id=manifest_id, digest=digest, change=by)
            if not pointed.changed:
                return False
            repositories.note_change(connection, repository.id, tags_more=pointed.created, is_push=True, now=now)
            event = Event(EventKind.TAG_SET, repository.name, digest, tag=tag, media_type=found.media_type)
            journal.changed(connection, access.actor, [event], now=now)
            return True

        return await self.database.write(change)
