"""Repositories as their administration sees them: visibility, roles, who owns them, and their end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from registry.core.access import Actor, Role, Visibility, account_subject, namespace_subject, repository_subject
from registry.core.errors import AccountInvalid, AccountUnknown, NameUnknown
from registry.core.names import RepositoryName
from registry.metadata import access, audit, grants, repositories
from registry.metadata.accounts import ORGANIZATION
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.grants import Given, Holder, Place
from registry.metadata.repositories import Repository
from registry.services.accounts import existing, existing_team
from registry.services.clock import Clock

T = TypeVar("T")
STEP_ROWS = 500
"""Rows of each kind in one transaction while a repository is emptied: pushes wait no longer than that takes."""
_LIST_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Repositories:
    """Looks after repositories. Raises NameUnknown for one that is not there."""

    database: Database
    clock: Clock
    lease_ms: int
    """How long the blobs of a deleted repository stay at least."""

    async def all(self, prefix: str = "") -> list[Repository]:
        """Every repository whose name begins with `prefix`, by name."""
        return await self.database.read(
            lambda connection: repositories.page(connection, after="", count=_LIST_MAX, prefix=prefix)
        )

    async def set_visibility(self, name: RepositoryName, visibility: Visibility, actor: Actor) -> None:
        """Who may pull without a role."""

        def change(connection: Connection, now: int) -> None:
            repository = _existing(connection, name)
            repositories.set_visibility(connection, repository.id, visibility)
            access.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, actor, [Entry("repository.visibility", name, target=visibility.value)], now=now)

        await self._write(change)

    async def assign(self, name: RepositoryName, owner: str | None, actor: Actor) -> None:
        """Let an account own a repository of its namespace, or the instance (None): for those that were there before
        the account. Raises AccountInvalid for an account of another name."""

        def change(connection: Connection, now: int) -> None:
            repository = _existing(connection, name)
            if owner is not None and name.namespace != owner:
                raise AccountInvalid(f"{name} can belong to {name.namespace or 'the instance'} only")
            owner_id = None if owner is None else existing(connection, owner).id
            repositories.assign(connection, repository.id, owner_id)
            access.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, actor, [Entry("repository.assigned", name, target=owner)], now=now)

        await self._write(change)

    async def roles(self, place: str) -> list[Given]:
        """Who has which role on a repository, or on a namespace (`name/*`)."""
        return await self.database.read(lambda connection: grants.on(connection, _place(connection, place)))

    async def give(self, place: str, holder: str, role: Role, actor: Actor) -> None:
        """Give a role on a repository, or on a namespace (`name/*`), to an account or a team (`team:acme/devs`), in
        place of the one it has there; NONE takes it away. Raises AccountUnknown, AccountInvalid."""

        def change(connection: Connection, now: int) -> None:
            where = _place(connection, place)
            who, subject = _holder(connection, holder)
            if role is not Role.NONE:
                grants.put(connection, who, where, role, now=now)
            elif not grants.remove(connection, who, where):
                raise AccountUnknown(f"{holder} has no role on {place}")
            access.note_changes(connection, [subject or _subject(where)], now=now)
            action = "role.given" if role is not Role.NONE else "role.taken"
            entry = Entry(
                action, None if place.endswith("/*") else place, target=f"{holder} {role.name.lower()} on {place}"
            )
            audit.append(connection, actor, [entry], now=now)

        await self._write(change)

    async def delete(self, name: RepositoryName, actor: Actor) -> None:
        """Delete a repository with everything in it. Its name is free at once and means nothing of it any more; its
        rows go in steps, and a delete that was interrupted is finished by the next one."""

        def begin(connection: Connection, now: int) -> None:
            repository = _existing(connection, name)
            repositories.begin_delete(connection, repository.id, now=now)
            access.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, actor, [Entry("repository.deleted", name)], now=now)

        await self.finish_deletes()
        await self._write(begin)
        await self.finish_deletes()

    async def finish_deletes(self) -> None:
        """Empty what is being deleted."""
        for repository_id in await self.database.read(repositories.deleted):
            while await self._empty(repository_id):
                pass

    async def _empty(self, repository_id: int) -> bool:
        return await self._write(
            lambda connection, now: repositories.empty_step(
                connection, repository_id, count=STEP_ROWS, now=now, until=now + self.lease_ms
            )
        )

    async def _write(self, change: Callable[[Connection, int], T]) -> T:
        now = self.clock()

        def locked(connection: Connection) -> T:
            access.lock_changes(connection)
            return change(connection, now)

        return await self.database.write(locked)


def _existing(connection: Connection, name: RepositoryName) -> Repository:
    found = repositories.get(connection, name)
    if found is None:
        raise NameUnknown(f"there is no repository {name}", name=name)
    return found


def _place(connection: Connection, text: str) -> Place:
    if text.endswith("/*"):
        return Place(namespace_id=existing(connection, text[:-2]).id)
    return Place(repository_id=_existing(connection, RepositoryName.parse(text)).id)


def _holder(connection: Connection, text: str) -> tuple[Holder, str | None]:
    """Who, and what changes for them, None where that is a team: then it changes for the place."""
    if text.startswith("team:"):
        organization, _, team = text.removeprefix("team:").partition("/")
        group = existing(connection, organization, ORGANIZATION)
        return Holder(team_id=existing_team(connection, group.id, team)), None
    account = existing(connection, text)
    if account.kind == ORGANIZATION:
        raise AccountInvalid(f"{text} is an organization: give roles to its members, teams and robots")
    return Holder(account.id), account_subject(account.id)


def _subject(place: Place) -> str:
    if place.repository_id is not None:
        return repository_subject(place.repository_id)
    assert place.namespace_id is not None
    return namespace_subject(place.namespace_id)
