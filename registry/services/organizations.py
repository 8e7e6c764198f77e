"""Organizations, their members and teams: made and changed, each in one transaction with its audit; and their lists.

Who may do what here is not decided here, but for who may make an organization. A permit is asked again in the
transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from registry.core.access import Permit, Principal, account_subject
from registry.core.errors import AccountInvalid, AccountNameInvalid, AccountUnknown, Conflict, Denied
from registry.core.limits import LIST_PAGE_MAX, ORGANIZATIONS_PER_USER
from registry.core.names import AccountName, new_owner_name
from registry.metadata import access, accounts, audit, directory, grants
from registry.metadata.accounts import ORGANIZATION, USER, Account, Member, NewAccount
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.directory import ListedMember, ListedTeam, Membership, TeamRole
from registry.services import administration
from registry.services.accounts import add, existing, profile_texts
from registry.services.administration import By, actor_of
from registry.services.clock import Clock

__all__ = [
    "ListedMember",
    "ListedTeam",
    "Member",
    "Membership",
    "Organizations",
    "OrganizationsBy",
    "TeamRole",
    "existing_team",
]

T = TypeVar("T")


class OrganizationsBy(StrEnum):
    """Who may make an organization."""

    USERS = "users"
    ADMINS = "admins"


@dataclass(frozen=True, slots=True)
class Organizations:
    """Looks after organizations. Raises AccountUnknown for a name that nobody has."""

    database: Database
    clock: Clock
    made_by: OrganizationsBy = OrganizationsBy.USERS

    async def add(self, name: str, owner: str, by: By, *, title: str = "", description: str = "") -> None:
        """Add an organization with its first owner. Raises AccountNameInvalid, FieldInvalid; Denied for who may not,
        Conflict for who owns too many."""
        new = NewAccount(new_owner_name(name), ORGANIZATION)
        title, description = profile_texts(title, description)

        def make(connection: Connection, now: int) -> None:
            first = existing(connection, owner, USER)
            if isinstance(by, Permit):
                self._require_may_add(connection, first, by)
            organization_id = add(connection, new, by, now=now)
            accounts.set_profile(connection, organization_id, title=title, description=description)
            accounts.set_member(connection, organization_id, first.id, is_owner=True, now=now)
            access.note_changes(connection, [account_subject(first.id)], now=now)
            entry = Entry("member.set", target=f"{name}: {owner} owner", about=name)
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, make)

    def _require_may_add(self, connection: Connection, owner: Account, by: Permit) -> None:
        caller = existing(connection, by.actor.name)
        if caller.is_admin:
            return
        if self.made_by is OrganizationsBy.ADMINS or caller.id != owner.id:
            raise Denied("only admins of the instance make organizations here")
        if directory.count_owned(connection, owner.id, limit=ORGANIZATIONS_PER_USER) >= ORGANIZATIONS_PER_USER:
            raise Conflict(f"{owner.name} owns {ORGANIZATIONS_PER_USER} organizations, and no one may own more")

    async def of(self, account: str, *, after: str, count: int) -> list[Membership]:
        """The next organizations that an account belongs to, by name."""

        def read(connection: Connection) -> list[Membership]:
            account_id = existing(connection, account).id
            return directory.memberships(connection, account_id, after=after, count=_bounded(count))

        return await self.database.read(read)

    # Members

    async def members(self, organization: str, *, after: str = "", count: int = LIST_PAGE_MAX) -> list[ListedMember]:
        """The next members and owners, by name."""

        def read(connection: Connection) -> list[ListedMember]:
            group = existing(connection, organization, ORGANIZATION)
            return directory.members_of(connection, group.id, after=after, count=_bounded(count))

        return await self.database.read(read)

    async def member(self, organization: str, name: str) -> Member:
        """What somebody is in an organization. Raises AccountUnknown for who is nothing in it."""
        return await self.database.read(
            lambda connection: _member(connection, existing(connection, organization, ORGANIZATION), name)
        )

    async def set_member(
        self, organization: str, name: str, by: By, *, is_owner: bool, if_match: str | None = None
    ) -> Member:
        """Make a user a member or owner. Raises Conflict for the last owner, PreconditionFailed."""

        def change(connection: Connection, now: int) -> Member:
            group = existing(connection, organization, ORGANIZATION)
            account = existing(connection, name, USER)
            if if_match is not None:
                administration.require_version(_member(connection, group, name), if_match)
            if not is_owner:
                _require_another_owner(connection, group, account)
            accounts.set_member(connection, group.id, account.id, is_owner=is_owner, now=now)
            access.note_changes(connection, [account_subject(account.id)], now=now)
            role = "owner" if is_owner else "member"
            entry = Entry("member.set", target=f"{organization}: {name} {role}", about=organization)
            audit.append(connection, actor_of(by), [entry], now=now)
            return Member(account.id, account.name, is_owner)

        return await self._write(by, change)

    async def remove_member(self, organization: str, name: str, by: By, *, if_match: str | None = None) -> None:
        """Take a user out of an organization: out of its teams, and with every role in it. That is how one leaves, too.
        Raises Conflict for the last owner, PreconditionFailed."""

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            account = existing(connection, name)
            if if_match is not None:
                administration.require_version(_member(connection, group, name), if_match)
            _require_another_owner(connection, group, account)
            if not accounts.remove_member(connection, group.id, account.id):
                raise AccountUnknown(f"{name} is no member of {organization}")
            grants.remove_in_namespace(connection, account.id, group.id)
            access.note_changes(connection, [account_subject(account.id)], now=now)
            entry = Entry("member.removed", target=f"{organization}: {name}", about=organization)
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    # Teams

    async def teams(self, organization: str, *, after: str = "", count: int = LIST_PAGE_MAX) -> list[ListedTeam]:
        """The next teams, by name."""

        def read(connection: Connection) -> list[ListedTeam]:
            group = existing(connection, organization, ORGANIZATION)
            return directory.teams_of(connection, group.id, after=after, count=_bounded(count))

        return await self.database.read(read)

    async def team(self, organization: str, team: str) -> ListedTeam:
        """One of them."""

        def read(connection: Connection) -> ListedTeam:
            found = directory.team(connection, _team(connection, organization, team))
            assert found is not None
            return found

        return await self.database.read(read)

    async def in_team(
        self, place: tuple[str, str], *, after: str = "", count: int = LIST_PAGE_MAX
    ) -> list[ListedMember]:
        """The next people and robots in a team (`place`: organization, team), by name."""
        return await self.database.read(
            lambda connection: directory.in_team(
                connection, _team(connection, *place), after=after, count=_bounded(count)
            )
        )

    async def roles_of_team(
        self, place: tuple[str, str], caller: Principal, *, after: int = 0, count: int = LIST_PAGE_MAX
    ) -> list[TeamRole]:
        """The next roles that were given to a team, oldest first, as far as the caller may see where."""
        return await self.database.read(
            lambda connection: directory.roles_of_team(
                connection, _team(connection, *place), caller.account_id, after=after, count=_bounded(count)
            )
        )

    async def add_team(self, organization: str, team: str, by: By) -> None:
        """Add a team. Raises AccountNameInvalid, Conflict where there is one of this name."""
        checked = AccountName.parse(team)
        if "+" in checked:
            raise AccountNameInvalid("only the name of a robot has a +")

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            if not accounts.add_team(connection, group.id, checked, now=now):
                raise Conflict(f"{organization} has a team {team} already", field="name")
            entry = Entry("team.added", target=f"{organization}/{team}", about=organization)
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def remove_team(self, organization: str, team: str, by: By) -> None:
        """Remove a team and the roles that were given to it."""

        def change(connection: Connection, now: int) -> None:
            team_id = _team(connection, organization, team)
            # A team may have roles anywhere, so what changes is everything for its members.
            access.note_changes(connection, map(account_subject, accounts.in_team(connection, team_id)), now=now)
            accounts.remove_team(connection, team_id)
            entry = Entry("team.removed", target=f"{organization}/{team}", about=organization)
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def set_in_team(self, place: tuple[str, str], name: str, by: By, *, is_in: bool) -> None:
        """Put a member or robot of an organization into one of its teams (`place`: organization, team), or take it out.
        Raises AccountInvalid for somebody else."""
        organization, team = place

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            team_id = existing_team(connection, group.id, team)
            account = existing(connection, name)
            if is_in:
                belongs = account.owner_id == group.id or accounts.member(connection, group.id, account.id) is not None
                if not belongs:
                    raise AccountInvalid(f"{name} is neither a member nor a robot of {organization}", field="member")
                accounts.add_to_team(connection, team_id, account.id, now=now)
            elif not accounts.remove_from_team(connection, team_id, account.id):
                raise AccountUnknown(f"{name} is not in {organization}/{team}")
            access.note_changes(connection, [account_subject(account.id)], now=now)
            action = "team.joined" if is_in else "team.left"
            entry = Entry(action, target=f"{organization}/{team}: {name}", about=organization)
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def _write(self, by: By, change: Callable[[Connection, int], T]) -> T:
        return await administration.change(self.database, self.clock, by, change)


def existing_team(connection: Connection, organization_id: int, name: str) -> int:
    """The id of a team. Raises AccountUnknown."""
    team_id = accounts.find_team(connection, organization_id, name)
    if team_id is None:
        raise AccountUnknown(f"there is no team {name!r} in this organization")
    return team_id


def _team(connection: Connection, organization: str, team: str) -> int:
    found = directory.find_team(connection, organization, team)
    if found is not None:
        return found
    # Which of the two is not there?
    return existing_team(connection, existing(connection, organization, ORGANIZATION).id, team)


def _member(connection: Connection, group: Account, name: str) -> Member:
    found = accounts.member_named(connection, group.id, name)
    if found is None:
        # Nobody at all, or somebody else?
        existing(connection, name)
        raise AccountUnknown(f"{name} is no member of {group.name}")
    return found


def _bounded(count: int) -> int:
    """One more than a page may have tells whether there is a next one."""
    return min(count, LIST_PAGE_MAX + 1)


def _require_another_owner(connection: Connection, group: Account, account: Account) -> None:
    if accounts.is_only_owner(connection, group.id, account.id):
        raise Conflict(f"{account.name} is the only owner of {group.name}: make another one first")
