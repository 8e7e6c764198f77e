"""One change of many repositories, for admins of the instance, with what became of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.core.access import Visibility, repository_subject
from registry.core.errors import FieldInvalid, NameInvalid
from registry.core.limits import BULK_MAX
from registry.core.names import RepositoryName
from registry.metadata import access, audit, repositories
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.repositories import Repository
from registry.services import administration
from registry.services.administration import By, actor_of
from registry.services.clock import Clock


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one. `problem` None: it is done."""

    name: str
    problem: str | None = None


Change = Callable[[Connection, list[Repository], int], list[Entry]]


@dataclass(frozen=True, slots=True)
class Bulk:
    """Changes up to BULK_MAX repositories at once, in one transaction. Those that are not there, by the name that they
    have now, are told; the others are done."""

    database: Database
    clock: Clock

    async def set_visibility(self, names: Sequence[str], visibility: Visibility, by: By) -> list[Outcome]:
        """Who may pull them without a role. Raises FieldInvalid for too many."""

        def change(connection: Connection, found: list[Repository], now: int) -> list[Entry]:
            repositories.set_visibilities(connection, [one.id for one in found], visibility)
            return [Entry("repository.visibility", one.name, target=visibility.value) for one in found]

        return await self._all(names, change, by)

    async def delete(self, names: Sequence[str], by: By) -> list[Outcome]:
        """Delete them; what was in them goes in the background. Raises FieldInvalid for too many."""

        def change(connection: Connection, found: list[Repository], now: int) -> list[Entry]:
            repositories.begin_delete(connection, *(one.id for one in found), now=now)
            return [Entry("repository.deleted", one.name) for one in found]

        return await self._all(names, change, by)

    async def look(self, names: Sequence[str]) -> list[Outcome]:
        """What would become of each, without a change."""
        wanted = _checked(names)
        found = await self.database.read(lambda connection: repositories.named(connection, _valid(wanted)))
        return [_outcome(name, found) for name in wanted]

    async def _all(self, names: Sequence[str], change: Change, by: By) -> list[Outcome]:
        wanted = _checked(names)

        def work(connection: Connection, now: int) -> list[Outcome]:
            found = repositories.named(connection, _valid(wanted))
            ordered = sorted(found.values(), key=lambda one: one.id)
            entries = change(connection, ordered, now)
            access.note_changes(connection, [repository_subject(one.id) for one in ordered], now=now)
            audit.append(connection, actor_of(by), entries, now=now)
            return [_outcome(name, found) for name in wanted]

        return await administration.change(self.database, self.clock, by, work)


def _checked(names: Sequence[str]) -> list[str]:
    """Each once, in their order."""
    found = list(dict.fromkeys(names))
    if not 0 < len(found) <= BULK_MAX:
        raise FieldInvalid(f"names are 1 to {BULK_MAX} names of repositories", field="names")
    return found


def _valid(names: list[str]) -> list[RepositoryName]:
    found = []
    for name in names:
        try:
            found.append(RepositoryName.parse(name))
        except NameInvalid:
            continue
    return found


def _outcome(name: str, found: dict[str, Repository]) -> Outcome:
    return Outcome(name) if name in found else Outcome(name, "there is no repository of this name")
