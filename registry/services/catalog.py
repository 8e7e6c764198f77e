"""Lists: repositories, and the tags of one."""

from dataclasses import dataclass

from registry.core.errors import NameUnknown
from registry.core.limits import CATALOG_PAGE_DEFAULT, PAGE_MAX, TAGS_UNPAGED_MAX
from registry.core.names import RepositoryName
from registry.metadata import repositories, tags
from registry.metadata.database import Database


@dataclass(frozen=True, slots=True)
class Page:
    """Names in byte order; `more` says that others follow the last."""

    names: list[str]
    more: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """Lists of names. `count` None is the default of each list, 0 an empty page; it is cut to the limit."""

    database: Database

    async def repositories(self, *, after: str, count: int | None) -> Page:
        """Repositories that hold something."""
        limit = CATALOG_PAGE_DEFAULT if count is None else min(count, PAGE_MAX)
        names = await self.database.read(lambda connection: repositories.page(connection, after=after, count=limit + 1))
        return _page(names, limit)

    async def tags(self, name: RepositoryName, *, after: str, count: int | None) -> Page:
        """The tags of a repository. Raises NameUnknown."""
        limit = TAGS_UNPAGED_MAX if count is None else min(count, PAGE_MAX)
        repository_id = await self.database.point(lambda connection: repositories.find(connection, name))
        if repository_id is None:
            raise NameUnknown("no such repository", name=name)
        names = await self.database.read(
            lambda connection: tags.page(connection, repository_id, after=after, count=limit + 1)
        )
        return _page(names, limit)


def _page(names: list[str], limit: int) -> Page:
    return Page(names[:limit], more=limit > 0 and len(names) > limit)
