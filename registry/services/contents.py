"""What is inside a repository, for people and programs: tags, their history, manifests and what belongs to them."""

from dataclasses import dataclass

from registry.core.access import RepositoryAccess
from registry.core.errors import FieldInvalid, ManifestUnknown, NameUnknown
from registry.core.names import Tag
from registry.metadata import tag_changes, tag_list
from registry.metadata.database import Connection, Database
from registry.metadata.tag_changes import TagChange
from registry.metadata.tag_list import Entry, Order, Page, Query

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
class Contents:
    """Looks into repositories. Raises NameUnknown for one that is not there."""

    database: Database

    async def tags(self, access: RepositoryAccess, query: Query) -> TagPage:
        """A page of tags. Raises FieldInvalid for an order that the list of a digest does not have."""
        if query.digest is not None and query.order is not Order.NAME:
            raise FieldInvalid("the tags of one digest are listed by name", field="sort")
        repository_id = existing(access)
        is_whole = not query.name_part and query.digest is None and query.with_fallback

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


def existing(access: RepositoryAccess) -> int:
    """The id of a repository. Raises NameUnknown."""
    if access.id is None:
        raise NameUnknown("no such repository", name=access.name)
    return access.id
