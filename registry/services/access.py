"""Access to repositories: the facts, kept in memory while they hold, and what `core.access` makes of them."""

from collections import OrderedDict
from dataclasses import dataclass

from registry.auth.tokens import LEEWAY_S, Ticket
from registry.core.access import (
    Action,
    Actor,
    Facts,
    Principal,
    RepositoryAccess,
    Standing,
    Visibility,
    decide,
    namespace_subject,
    repository_subject,
)
from registry.core.errors import Unavailable
from registry.core.limits import FACTS_CACHED
from registry.core.names import AccountName, RepositoryName
from registry.metadata import access, repositories
from registry.metadata.database import Database
from registry.services.changes import Changes

_READ_TRIES = 5
EVERYBODY = Principal(None, "", "none")
"""Who has not logged in."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a principal may do to one repository, and the facts that say so."""

    actions: frozenset[Action]
    facts: Facts
    revision: int
    """They are known to hold up to this change."""


class Access:
    """Decides. With `is_open` everybody may do everything, as on a laptop."""

    def __init__(self, database: Database, changes: Changes, *, default_visibility: Visibility, is_open: bool) -> None:
        self._database = database
        self._changes = changes
        self._default_visibility = default_visibility
        self.is_open = is_open
        self._facts: OrderedDict[tuple[int | None, RepositoryName], Facts] = OrderedDict()

    @property
    def revision(self) -> int:
        """The newest change of access that is known here."""
        return self._changes.revision

    async def refresh(self) -> None:
        """Know of every change until now. Raises Unavailable."""
        await self._changes.refresh()

    async def rights(self, principal: Principal, name: RepositoryName) -> Rights:
        """What `principal` may do to the repository `name`, no older than the bound of `Changes`."""
        await self._changes.require_fresh()
        key = (principal.account_id, name)
        facts = self._facts.get(key)
        tries = 0
        # Asked again: while they were being read, others may have heard of a change that they do not know.
        while facts is None or not self._changes.hold(self._subjects(principal, facts), facts.revision):
            if tries == _READ_TRIES:
                raise Unavailable("access changes faster than it can be read", retry_after_s=1)
            tries += 1
            facts = await self._database.point(lambda connection: access.facts(connection, principal.account_id, name))
            self._remember(key, facts)
        return Rights(decide(facts, principal.limits, name), facts, max(facts.revision, self._changes.revision))

    async def standing(self, principal: Principal, namespace: AccountName | None) -> Standing:
        """What an account is beside any repository, and in one namespace. Raises Unavailable."""
        account_id = principal.account_id
        assert account_id is not None
        await self._changes.require_fresh()
        return await self._database.point(lambda connection: access.standing(connection, account_id, namespace))

    def entry(self, name: RepositoryName, rights: Rights, principal: Principal, actor: Actor) -> RepositoryAccess:
        """The way in to a repository that access was granted to."""
        facts = rights.facts
        return RepositoryAccess(
            name,
            facts.repository_id,
            actor,
            facts.namespace_id,
            facts.new_visibility or self._default_visibility,
            self._subjects(principal, facts),
            rights.revision,
        )

    async def open_entry(self, name: RepositoryName, actor: Actor) -> RepositoryAccess:
        """The way in where access is open to all; what is created belongs to the instance."""
        found = await self._database.point(lambda connection: repositories.find(connection, name))
        return RepositoryAccess(name, found, actor, None, self._default_visibility)

    async def granted_entry(self, name: RepositoryName, ticket: Ticket, actor: Actor) -> RepositoryAccess | None:
        """The way in that a token grants, None if it does no longer. A grant names a repository by id; or one that was
        not there when it was issued, and then counts for the one of that name that this account has made since."""
        grant = ticket.grants[name]
        principal = ticket.principal
        if grant.repository_id is not None:
            about = [*principal.subjects, repository_subject(grant.repository_id)]
            if grant.namespace_id is not None:
                about.append(namespace_subject(grant.namespace_id))
            return RepositoryAccess(
                name, grant.repository_id, actor, subjects=tuple(about), revision=principal.revision
            )
        rights = await self.rights(principal, name)
        facts = rights.facts
        is_mine = facts.created_by == actor.account_id and facts.created_at >= (ticket.issued_at_s - LEEWAY_S) * 1000
        if facts.namespace_id != grant.namespace_id or (facts.repository_id is not None and not is_mine):
            return None
        return self.entry(name, rights, principal, actor)

    def _remember(self, key: tuple[int | None, RepositoryName], facts: Facts) -> None:
        """What does not exist, or shows nothing to this account, is asked for each time: it may be made in a moment,
        and a private repository must not answer faster the second time than a missing one."""
        self._facts.pop(key, None)
        if facts.repository_id is None or not decide(facts, None, key[1]):
            return
        self._facts[key] = facts
        if len(self._facts) > FACTS_CACHED:
            self._facts.popitem(last=False)

    @staticmethod
    def _subjects(principal: Principal, facts: Facts) -> tuple[str, ...]:
        return (*principal.subjects, *facts.subjects)


def actor_of(principal: Principal, address: str | None) -> Actor:
    """A principal as the audit names it."""
    return Actor(principal.account_id, principal.name, principal.credential, address)
