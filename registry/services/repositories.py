"""Repositories as their administration sees them: names, visibility, roles, who owns them, and their end.

A repository that was renamed keeps its former names: they go on to mean it, for pull and push, until its admins give
them up. Another repository cannot take one before that.
"""

from dataclasses import dataclass, replace

from registry.core import texts
from registry.core.access import (
    Action,
    Actor,
    Principal,
    RepositoryAccess,
    Visibility,
    decide,
    repository_subject,
)
from registry.core.errors import AccountInvalid, AccountUnknown, Conflict, Denied, NameUnknown
from registry.core.limits import ALIASES_PER_REPOSITORY, DESCRIPTION_MAX_CHARS, LIST_PAGE_MAX
from registry.core.names import RepositoryName
from registry.metadata import access as access_rows
from registry.metadata import accounts, aliases, audit, readmes, repositories, stars
from registry.metadata.aliases import Alias, FormerName
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.readmes import Readme
from registry.metadata.repositories import Repository
from registry.services import administration, journal
from registry.services.accounts import existing
from registry.services.administration import KEEP, By, Keep, actor_of
from registry.services.clock import Clock

__all__ = [
    "STEP_ROWS",
    "Alias",
    "FormerName",
    "ReadmeState",
    "Repositories",
    "RepositoryChange",
    "Settings",
    "existing_repository",
    "readme_state",
    "settings_of",
    "still_there",
]

STEP_ROWS = 500
"""Rows of each kind in one transaction while a repository is emptied: pushes wait no longer than that takes."""
_LIST_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What the admins of a repository can change, and a write can demand to be as it was."""

    name: str
    description: str
    visibility: Visibility


def settings_of(repository: Repository) -> Settings:
    """The settings of a repository that was read."""
    return Settings(repository.name, repository.description, repository.visibility)


@dataclass(frozen=True, slots=True)
class ReadmeState:
    """What a write of the README can demand to be as it was."""

    markdown: str


def readme_state(readme: Readme | None) -> ReadmeState:
    """None is as good as an empty one."""
    return ReadmeState("" if readme is None else readme.markdown)


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """What shall be different of a repository."""

    description: str | Keep = KEEP
    visibility: Visibility | Keep = KEEP

    def checked(self) -> "RepositoryChange":
        """The same with its text as it is kept. Raises FieldInvalid."""
        if self.description is KEEP:
            return self
        text = texts.one_line(self.description, "description", max_chars=DESCRIPTION_MAX_CHARS)
        return replace(self, description=text)


@dataclass(frozen=True, slots=True)
class Repositories:
    """Looks after repositories. Raises NameUnknown for one that is not there."""

    database: Database
    clock: Clock
    lease_ms: int
    """How long the blobs of a deleted repository stay at least."""

    async def entry(self, name: RepositoryName, actor: Actor) -> RepositoryAccess:
        """The way in for who needs no permit."""
        found = await self.database.read(lambda connection: existing_repository(connection, name))
        return RepositoryAccess(name, found.id, actor)

    async def create(
        self, target: RepositoryAccess, wanted: RepositoryChange, *, actions: frozenset[Action]
    ) -> Settings:
        """Make a repository that holds nothing, for who was let in to push to it with these actions: without that of
        its admins it is as visible as the namespace says. Raises FieldInvalid, Denied, and Conflict where there is one
        of this name, or one that had it."""
        checked = wanted.checked()
        visibility = target.visibility if checked.visibility is KEEP else checked.visibility
        if visibility is not target.visibility and Action.ADMINISTER not in actions:
            raise Denied(f"repositories that you make there are {target.visibility.value}", field="visibility")

        def change(connection: Connection, now: int) -> None:
            new = replace(target, visibility=visibility)
            made, is_new = repositories.ensure(connection, new, now=now)
            if not is_new:
                raise Conflict(f"there is a repository {target.name}, or one that had this name", field="name")
            if checked.description is not KEEP:
                repositories.describe(connection, made.id, checked.description)
            journal.created(connection, new, now=now)

        await administration.change(self.database, self.clock, target, change)
        return Settings(str(target.name), "" if checked.description is KEEP else checked.description, visibility)

    async def all(self, prefix: str = "") -> list[Repository]:
        """Every repository whose name begins with `prefix`, by name."""
        return await self.database.read(
            lambda connection: repositories.page(connection, after="", count=_LIST_MAX, prefix=prefix)
        )

    async def settings(self, target: RepositoryAccess) -> Settings:
        """What its admins can change of a repository."""
        return await self.database.read(lambda connection: settings_of(still_there(connection, target)))

    async def update(
        self, target: RepositoryAccess, wanted: RepositoryChange, *, if_match: str | None = None
    ) -> Settings:
        """Change a repository, all that is wanted or nothing, and return what it is then. Raises FieldInvalid,
        PreconditionFailed."""
        checked = wanted.checked()

        def change(connection: Connection, now: int) -> Settings:
            repository = still_there(connection, target)
            administration.require_version(settings_of(repository), if_match)
            entries: list[Entry] = []
            if checked.description is not KEEP:
                repositories.describe(connection, repository.id, checked.description)
                entries.append(Entry("repository.described", repository.name))
            if checked.visibility is not KEEP:
                repositories.set_visibility(connection, repository.id, checked.visibility)
                access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
                entries.append(Entry("repository.visibility", repository.name, target=checked.visibility.value))
            audit.append(connection, target.actor, entries, now=now)
            return settings_of(still_there(connection, target))

        return await administration.change(self.database, self.clock, target, change)

    async def set_visibility(self, target: RepositoryAccess, visibility: Visibility) -> None:
        """Who may pull without a role."""
        await self.update(target, RepositoryChange(visibility=visibility))

    async def readme(self, target: RepositoryAccess) -> Readme | None:
        """What people wrote about a repository, None for nothing."""
        return await self.database.read(lambda connection: readmes.get(connection, still_there(connection, target).id))

    async def put_readme(self, target: RepositoryAccess, markdown: str, *, if_match: str | None = None) -> None:
        """Write the README; an empty text takes it away. Raises FieldInvalid, PreconditionFailed."""
        text = texts.markdown(markdown)

        def change(connection: Connection, now: int) -> None:
            repository = still_there(connection, target)
            if if_match is not None:
                administration.require_version(readme_state(readmes.get(connection, repository.id)), if_match)
            if text:
                readmes.put(connection, repository.id, text, by=target.actor.account_id, now=now)
            else:
                readmes.remove(connection, repository.id)
            audit.append(connection, target.actor, [Entry("repository.readme", repository.name)], now=now)

        await administration.change(self.database, self.clock, target, change)

    # Stars

    async def is_starred(self, target: RepositoryAccess) -> bool:
        """Whether the caller likes a repository."""
        account_id = target.actor.account_id
        assert account_id is not None
        return await self.database.read(
            lambda connection: stars.has(connection, account_id, still_there(connection, target).id)
        )

    async def star(self, target: RepositoryAccess, *, is_starred: bool) -> None:
        """The caller likes a repository, or no longer. Idempotent. Others need not wait for it as for a change of
        access."""
        account_id = target.actor.account_id
        assert account_id is not None
        now = self.clock()

        def change(connection: Connection) -> None:
            # Nobody ends the account meanwhile, and its stars.
            if not accounts.lock(connection, account_id):
                raise AccountUnknown("there is no such account any more")
            repository = repositories.lock(connection, target)
            access_rows.require_unchanged(connection, target)
            if is_starred:
                changed = stars.add(connection, account_id, repository.id, now=now)
            else:
                changed = stars.remove(connection, account_id, repository.id)
            if changed:
                action = "star.added" if is_starred else "star.removed"
                audit.append(connection, target.actor, [Entry(action, repository.name)], now=now)

        await self.database.write(change)

    async def assign(self, target: RepositoryAccess, owner: str | None) -> None:
        """Let an account own a repository of its namespace, or the instance (None): for those that were there before
        the account. Raises AccountInvalid for an account of another name."""

        def change(connection: Connection, now: int) -> None:
            repository = still_there(connection, target)
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
            repository = still_there(connection, target)
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
        return await self.database.read(lambda connection: aliases.of(connection, still_there(connection, target).id))

    async def remove_alias(self, target: RepositoryAccess, name: RepositoryName) -> None:
        """Give a former name up: it means nothing any more, and is free for another repository."""

        def change(connection: Connection, now: int) -> None:
            repository = still_there(connection, target)
            if not aliases.remove(connection, repository.id, name):
                raise NameUnknown(f"{name} is no former name of {repository.name}", name=name)
            # Tokens name a repository by id: one that was got for this name must not reach it any more.
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, target.actor, [Entry("alias.removed", repository.name, target=name)], now=now)

        await administration.change(self.database, self.clock, target, change)

    async def free_name(self, namespace: str, name: RepositoryName, by: By) -> None:
        """Take back a former name in a namespace, whoever has the repository that it means now: for the owners of the
        namespace. Raises AccountUnknown."""

        def change(connection: Connection, now: int) -> None:
            existing(connection, namespace)
            repository_id = aliases.find(connection, name) if name.namespace == namespace else None
            if repository_id is None:
                raise NameUnknown(f"{name} is no former name in {namespace}", name=name)
            aliases.remove(connection, repository_id, name)
            access_rows.note_changes(connection, [repository_subject(repository_id)], now=now)
            audit.append(connection, actor_of(by), [Entry("alias.removed", name)], now=now)

        await administration.change(self.database, self.clock, by, change)

    async def former_names(self, namespace: str, caller: Principal, *, after: str, count: int) -> list[FormerName]:
        """The next former names in a namespace, with what they mean now, as far as the caller may see that."""
        bounded = min(count, LIST_PAGE_MAX + 1)
        return await self.database.read(
            lambda connection: aliases.inside(connection, namespace, caller.account_id, after=after, count=bounded)
        )

    # The end

    async def to_delete(self, target: RepositoryAccess, *, if_match: str | None = None) -> Settings:
        """The settings of a repository that could be deleted now, without a change. Raises as `begin_delete`."""
        return await self.database.read(lambda connection: settings_of(_doomed(connection, target, if_match)))

    async def begin_delete(self, target: RepositoryAccess, *, if_match: str | None = None) -> None:
        """Delete a repository: its names mean nothing from now on. What was in it goes in steps, in the background.
        Raises Conflict for a former name, PreconditionFailed."""

        def begin(connection: Connection, now: int) -> None:
            repository = _doomed(connection, target, if_match)
            repositories.begin_delete(connection, repository.id, now=now)
            access_rows.note_changes(connection, [repository_subject(repository.id)], now=now)
            audit.append(connection, target.actor, [Entry("repository.deleted", repository.name)], now=now)

        await administration.change(self.database, self.clock, target, begin)

    async def delete(self, target: RepositoryAccess) -> None:
        """Delete a repository with everything in it. Its name is free at once and means nothing of it any more; its
        rows go in steps, and a delete that was interrupted is finished by the next one."""

        await self.finish_deletes()
        await self.begin_delete(target)
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


def still_there(connection: Connection, target: RepositoryAccess) -> Repository:
    """The repository that somebody was let in to. Raises NameUnknown."""
    found = None if target.id is None else repositories.by_id(connection, target.id)
    if found is None:
        raise _unknown(target.name)
    return found


def _doomed(connection: Connection, target: RepositoryAccess, if_match: str | None) -> Repository:
    """The repository that is to be deleted. Raises NameUnknown, Conflict for a former name, PreconditionFailed."""
    found = still_there(connection, target)
    if found.name != target.name:
        raise Conflict(f"{target.name} is a former name of {found.name}: delete that one, by its name")
    administration.require_version(settings_of(found), if_match)
    return found


def existing_repository(connection: Connection, name: RepositoryName) -> Repository:
    """The repository that has or had this name. Raises NameUnknown."""
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
            raise AccountInvalid(f"the account {new.namespace} was deleted", field="name")
        return None
    if not account.is_active:
        raise AccountInvalid(f"{new.namespace} is disabled", field="name")
    return account.id
