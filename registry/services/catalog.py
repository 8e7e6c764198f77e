"""Lists: repositories, and the tags of one."""

from dataclasses import dataclass

from registry.core.access import Principal, RepositoryAccess
from registry.core.limits import CATALOG_PAGE_DEFAULT, PAGE_MAX, TAGS_UNPAGED_MAX
from registry.metadata import access as access_rows
from registry.metadata import tags
from registry.metadata.database import Database
from registry.services.contents import existing


@dataclass(frozen=True, slots=True)
class Page:
    """Names in byte order; `more` says that others follow the last."""

    names: list[str]
    more: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """Lists of names. `count` None is the default of each list, 0 an empty page; it is cut to the limit."""

    database: Database
    is_open: bool

    async def repositories(self, caller: Principal, *, after: str, count: int | None) -> Page:
        """Repositories that hold something and that the caller may pull; all of them where access is open to all."""
        limit = CATALOG_PAGE_DEFAULT if count is None else min(count, PAGE_MAX)
        if self.is_open:
            names = await self.database.read(
                lambda connection: access_rows.everything(connection, after=after, count=limit + 1)
            )
        else:
            names = await self.database.read(
                lambda connection: access_rows.page(
                    connection, caller.account_id, caller.limits, after=after, count=limit + 1
                )
            )
        return _page(names, limit)

    async def tags(self, access: RepositoryAccess, *, after: str, count: int | None) -> Page:
        """The tags of a repository. Raises NameUnknown."""
        limit = TAGS_UNPAGED_MAX if count is None else min(count, PAGE_MAX)
        repository_id = existing(access)
        names = await self.database.read(
            lambda connection: tags.page(connection, repository_id, after=after, count=limit + 1)
        )
        return _page(names, limit)


def _page(names: list[str], limit: int) -> Page:
    return Page(names[:limit], more=limit > 0 and len(names) > limit)
