"""Looking around: lists of repositories and namespaces, and what somebody who types may mean.

What the REST API, the pages, `docker search` and the views for other products' clients show. Everybody sees what it may
pull, within the limits of its token; where access is open to all, everything.
"""

from dataclasses import dataclass, replace

from registry.core.access import Principal, RepositoryAccess
from registry.core.errors import AccountUnknown, FieldInvalid, NameUnknown
from registry.core.limits import LIST_PAGE_MAX, NUMBERED_MAX
from registry.core.search import SearchText
from registry.core.shelf import (
    NamespacePage,
    NamespacesPage,
    NumberedPage,
    Order,
    RepositoriesPage,
    RepositoriesQuery,
    RepositoryPage,
    Suggestions,
)
from registry.metadata import namespaces, shelf
from registry.metadata.database import Connection, Database
from registry.metadata.ways import Viewer
from registry.services.contents import existing


@dataclass(frozen=True, slots=True)
class Browse:
    """Lists. A page of repositories has at most LIST_PAGE_MAX entries."""

    database: Database
    is_open: bool

    async def repositories(self, caller: Principal, wanted: RepositoriesQuery) -> RepositoriesPage:
        """A page of repositories. Raises FieldInvalid for a place that a page of this order cannot end at."""
        _require_position(wanted)
        bounded = replace(wanted, count=min(wanted.count, LIST_PAGE_MAX))
        viewer = self._viewer(caller)
        return await self.database.read(lambda connection: shelf.page(connection, viewer, bounded))

    async def repository(
        self, caller: Principal, access: RepositoryAccess, *, is_whole: bool = False, with_facets: bool = False
    ) -> RepositoryPage:
        """What the pages of a repository show of it, which the caller was let in to; with `with_facets` what it holds
        too, with `is_whole` that and its README. Raises NameUnknown."""
        viewer, repository_id = self._viewer(caller), existing(access)
        found = await self.database.read(
            lambda connection: shelf.one(connection, viewer, repository_id, is_whole=is_whole, with_facets=with_facets)
        )
        if found is None:
            raise NameUnknown("no such repository", name=access.name)
        return found

    async def numbered(self, caller: Principal, wanted: RepositoriesQuery, page: int) -> NumberedPage:
        """A page by its number, from 1, of `wanted.count` entries each; or the one behind `wanted.after`, whatever its
        number. Without types and platforms. Raises FieldInvalid behind NUMBERED_MAX entries."""
        size = min(wanted.count, LIST_PAGE_MAX)
        start = 0 if wanted.after is not None else (page - 1) * size
        if start >= NUMBERED_MAX:
            raise FieldInvalid(f"pages by number end at {NUMBERED_MAX} entries: follow the next one", field="page")
        _require_position(wanted)
        viewer = self._viewer(caller)
        reached = replace(wanted, count=start + size, with_total=False, with_facets=False)

        def look(connection: Connection) -> NumberedPage:
            found = shelf.page(connection, viewer, reached)
            total = shelf.total(connection, viewer, wanted, at_most=NUMBERED_MAX)
            return NumberedPage(found.entries[start:], found.next_after, total)

        return await self.database.read(look)

    async def suggest(self, caller: Principal, search: SearchText, count: int) -> Suggestions:
        """Repositories that fit best, and namespaces whose name begins so; nothing for no text."""
        viewer = self._viewer(caller)
        bounded = min(count, LIST_PAGE_MAX)
        wanted = RepositoriesQuery(search=search, order=Order.RELEVANCE, count=bounded)

        def look(connection: Connection) -> Suggestions:
            found = shelf.page(connection, viewer, wanted, with_facets=False)
            begun = namespaces.page(connection, viewer, after="", count=bounded, prefix=search.whole)
            return Suggestions(found.entries, begun.entries)

        return await self.database.read(look) if search.words else Suggestions([], [])

    async def namespaces(self, caller: Principal, *, after: str, count: int, prefix: str = "") -> NamespacesPage:
        """Namespaces in which the caller may see something, from the one behind `after` on, of those whose name begins
        with `prefix`."""
        viewer = self._viewer(caller)
        bounded = min(count, NUMBERED_MAX)
        return await self.database.read(
            lambda connection: namespaces.page(connection, viewer, after=after, count=bounded, prefix=prefix)
        )

    async def spaces(self, caller: Principal) -> list[str]:
        """Namespaces in which the caller may make repositories, its own first; those of an admin of the instance, who
        may everywhere, as if it were none. None are named to who shows a token for some repositories only."""
        account_id = caller.account_id
        if account_id is None or (caller.limits is not None and caller.limits.repositories is not None):
            return []
        return await self.database.read(lambda connection: namespaces.open_to(connection, account_id))

    async def namespace(self, caller: Principal, name: str, *, with_numbers: bool = False) -> NamespacePage:
        """One namespace. Raises AccountUnknown unless the caller may see something in it, or belongs to it."""
        viewer = self._viewer(caller)
        found = await self.database.read(
            lambda connection: namespaces.find(connection, viewer, name, with_numbers=with_numbers)
        )
        if found is None:
            raise AccountUnknown("there is no such namespace")
        return found

    def _viewer(self, caller: Principal) -> Viewer:
        return Viewer(caller.account_id, caller.limits, is_open=self.is_open)


def _require_position(wanted: RepositoriesQuery) -> None:
    """A page begins where one of the same order can have ended. Raises FieldInvalid."""
    if wanted.after is not None and isinstance(wanted.after[0], str) != _is_text(wanted):
        raise FieldInvalid("after belongs to a list in another order", field="after")


def _is_text(wanted: RepositoriesQuery) -> bool:
    """Whether a position in this list begins with a text."""
    if wanted.order is Order.RELEVANCE:
        return bool(wanted.search.words)
    return wanted.order is Order.NAME
