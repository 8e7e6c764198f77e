"""Repositories as their administration sees them: names, visibility, roles, who owns them, and their end.

A repository that was renamed keeps its former names: they go on to mean it, for pull and push, until its admins give
them up. Another repository cannot take one before that.
"""

from dataclasses import dataclass

from registry.core.access import (
    Action,
    Actor,
    Principal,
    RepositoryAccess,
    Role,
    Visibility,
    account_subject,
    decide,
    namespace_subject,
    repository_subject,
)
from registry.core.errors import AccountInvalid, AccountUnknown, Conflict, Denied, NameUnknown
from registry.core.limits import ALIASES_PER_REPOSITORY
from registry.core.names import RepositoryName
from registry.metadata import access as access_rows
from registry.metadata import accounts, aliases, audit, grants, repositories
from registry.metadata.accounts import ORGANIZATION
from registry.metadata.aliases import Alias
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.grants import Given, Holder, Place
from registry.metadata.repositories import Repository
from registry.services import administration
from registry.services.accounts import existing, existing_team
from registry.services.administration import By, actor_of
from registry.services.clock import Clock

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

    async def entry(self, name: RepositoryName, actor: Actor) -> RepositoryAccess:
        """The way in for who needs no permit."""
        found = await self.database.read(lambda connection: repositories.get(connection, name))
        if found is None:
            raise _unknown(name)
        return RepositoryAccess(name, found.id, actor)

    async def all(self, prefix: str = "") -> list[Repository]:
        """Every repository whose name begins with `prefix`, by name."""
        return await self.database.read(
            lambda connection: repositories.page(connection, after="", count=_LIST_MAX, prefix=prefix)
        )

    async def set_visibility(self, target: RepositoryAccess, visibility: Visibility) -> None:
        """Who may pull without a role."""

        def change(connection: Connection, now: int) -> None:
            repository = _there(connection, target)
            repositories.set_visibility(connection, repository.id, visibility)
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            entry = Entry("repository.visibility", repository.name, target=visibility.value)
            audit.append(connection, target.actor, [entry], now=now)

        await administration.change(self.database, self.clock, target, change)

    async def assign(self, target: RepositoryAccess, owner: str | None) -> None:
        """Let an account own a repository of its namespace, or the instance (None): for those that were there before
        the account. Raises AccountInvalid for an account of another name."""

        def change(connection: Connection, now: int) -> None:
            repository = _there(connection, target)
            namespace = RepositoryName(repository.name).namespace
            if owner is not None and namespace != owner:
                raise AccountInvalid(f"{repository.name} can belong to {namespace or 'the instance'} only")
            owner_id = None if owner is None else existing(connection, owner).id
            repositories.assign(connection, repository.id, owner_id)
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(
                connection, target.actor, [Entry("repository.assigned", repository.name, target=owner)], now=now
            )

        await administration.change(self.database, self.clock, target, change)

    # Names

    async def move(self, target: RepositoryAccess, new: RepositoryName, mover: Principal | None) -> None:
        """Rename a repository, or move it to another namespace: then who may create there owns it from now on, the
        roles on its old namespace end for it, and those on itself stay. Its name goes on to mean it. `mover` None may
        everything. Raises Denied, Conflict, AccountUnknown."""

        def change(connection: Connection, now: int) -> None:
            repository = _there(connection, target)
            _require_may_move(connection, repository, new, mover)
            if new == repository.name:
                return
            former = {alias.name for alias in aliases.of(connection, repository.id)}
            if new not in former and len(former) >= ALIASES_PER_REPOSITORY:
                raise Conflict(f"{repository.name} has {ALIASES_PER_REPOSITORY} former names: give some up first")
            is_transfer = not _stays(repository, new)
            if is_transfer:
                repositories.assign(connection, repository.id, _new_owner(connection, new))
                access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            # Otherwise nobody may do more or less than before, and pushes under way go on by id.
            if not repositories.rename(connection, repository, new, now=now):
                raise Conflict(f"{new} is the name of another repository, or was", field="name")
            action = "repository.transferred" if is_transfer else "repository.renamed"
            there = (
                Entry(action, repository.name, target=f"to {new}"),
                Entry(action, new, target=f"from {repository.name}"),
            )
            audit.append(connection, target.actor, list(there), now=now)

        await administration.change(self.database, self.clock, target, change)

    async def aliases(self, target: RepositoryAccess) -> list[Alias]:
        """The former names of a repository that still mean it, in byte order."""
        return await self.database.read(lambda connection: aliases.of(connection, _there(connection, target).id))

    async def remove_alias(self, target: RepositoryAccess, name: RepositoryName) -> None:
        """Give a former name up: it means nothing any more, and is free for another repository."""

        def change(connection: Connection, now: int) -> None:
            repository = _there(connection, target)
            if not aliases.remove(connection, repository.id, name):
                raise NameUnknown(f"{name} is no former name of {repository.name}", name=name)
            # Tokens name a repository by id: one that was got for this name must not reach it any more.
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, target.actor, [Entry("alias.removed", repository.name, target=name)], now=now)

        await administration.change(self.database, self.clock, target, change)

    # Roles

    async def roles(self, place: str) -> list[Given]:
        """Who has which role on a repository, or on a namespace (`name/*`)."""
        return await self.database.read(lambda connection: grants.on(connection, _place(connection, place)))

    async def give(self, place: str, holder: str, role: Role, by: By) -> None:
        """Give a role on a repository, or on a namespace (`name/*`), to an account or a team (`team:acme/devs`), in
        place of the one it has there; NONE takes it away. Raises AccountUnknown, AccountInvalid."""

        def change(connection: Connection, now: int) -> None:
            where = _place(connection, place)
            who, subject = _holder(connection, holder)
            if role is not Role.NONE:
                grants.put(connection, who, where, role, now=now)
            elif not grants.remove(connection, who, where):
                raise AccountUnknown(f"{holder} has no role on {place}")
            access_rows.note_changes(connection, [subject or _subject(where)], now=now)
            action = "role.given" if role is not Role.NONE else "role.taken"
            entry = Entry(
                action, None if place.endswith("/*") else place, target=f"{holder} {role.name.lower()} on {place}"
            )
            audit.append(connection, actor_of(by), [entry], now=now)

        await administration.change(self.database, self.clock, by, change)

    # The end

    async def delete(self, target: RepositoryAccess) -> None:
        """Delete a repository with everything in it. Its name is free at once and means nothing of it any more; its
        rows go in steps, and a delete that was interrupted is finished by the next one."""

        def begin(connection: Connection, now: int) -> None:
            repository = _there(connection, target)
            if repository.name != target.name:
                raise Conflict(f"{target.name} is a former name of {repository.name}: delete that one, by its name")
            repositories.begin_delete(connection, repository.id, now=now)
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, target.actor, [Entry("repository.deleted", repository.name)], now=now)

        await self.finish_deletes()
        await administration.change(self.database, self.clock, target, begin)
        await self.finish_deletes()

    async def finish_deletes(self) -> None:
        """Empty what is being deleted."""
        for repository_id in await self.database.read(repositories.deleted):
            while await self._empty(repository_id):
                pass

    async def _empty(self, repository_id: int) -> bool:
        now = self.clock()

        def empty(connection: Connection) -> bool:
            return repositories.empty_step(
                connection, repository_id, count=STEP_ROWS, now=now, until=now + self.lease_ms
            )

        return await self.database.write(empty)


def _unknown(name: str) -> NameUnknown:
    return NameUnknown(f"there is no repository {name}", name=name)


def _there(connection: Connection, target: RepositoryAccess) -> Repository:
    found = None if target.id is None else repositories.by_id(connection, target.id)
    if found is None:
        raise _unknown(target.name)
    return found


def _existing(connection: Connection, name: RepositoryName) -> Repository:
    found = repositories.get(connection, name)
    if found is None:
        raise _unknown(name)
    return found


def _stays(repository: Repository, new: RepositoryName) -> bool:
    """Whether the new name is in the namespace of the old one. Names of one component have none: each is a place of
    its own, which only the instance gives."""
    old = RepositoryName(repository.name).namespace
    return old is not None and old == new.namespace


def _require_may_move(
    connection: Connection, repository: Repository, new: RepositoryName, mover: Principal | None
) -> None:
    """That who administers the repository may do so is known. Raises Denied."""
    if mover is None:
        return
    if mover.limits is not None and not mover.limits.covers(new):
        raise Denied(f"the token that was shown is not good for {new}", name=new)
    if _stays(repository, new):
        return
    facts = access_rows.facts_of_new(connection, mover.account_id, new)
    if Action.PUSH not in decide(facts, mover.limits, new):
        raise Denied(f"this account may not create repositories in {new.namespace or 'no namespace'}", name=new)


def _new_owner(connection: Connection, new: RepositoryName) -> int | None:
    """The account that owns a name, None for the instance. Raises AccountInvalid."""
    if new.namespace is None:
        return None
    account = accounts.find(connection, new.namespace)
    if account is None:
        if accounts.is_given(connection, new.namespace):
            raise AccountInvalid(f"the account {new.namespace} was deleted")
        return None
    if not account.is_active:
        raise AccountInvalid(f"{new.namespace} is disabled")
    return account.id


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
