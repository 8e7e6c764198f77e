"""Users, organizations, teams and robots: made, changed and ended, each in one transaction with its audit.

Who may do what here is not decided here: the command line runs with the database in hand, and who signs up only makes
an account of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from registry.auth import passwords
from registry.auth.passwords import Passwords
from registry.core.access import (
    Actor,
    Role,
    Visibility,
    account_subject,
    credential_subject,
    namespace_subject,
    session_subject,
)
from registry.core.errors import AccountInvalid, AccountNameInvalid, AccountUnknown, PasswordInvalid
from registry.core.names import AccountName, new_owner_name
from registry.metadata import (
    access,
    accounts,
    audit,
    grants,
    identities,
    logins,
    second_factors,
    sessions,
    tokens,
)
from registry.metadata.accounts import ORGANIZATION, ROBOT, USER, Account, Member, NewAccount
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.grants import Holder, Place
from registry.services import administration
from registry.services.administration import By, actor_of
from registry.services.attempts import of_codes
from registry.services.clock import Clock

T = TypeVar("T")
_LIST_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Accounts:
    """Looks after accounts. Every method that changes something says who wanted it, and raises AccountUnknown for a
    name that nobody has."""

    database: Database
    passwords: Passwords
    clock: Clock

    async def has_admin(self) -> bool:
        """Whether anybody administers the instance."""
        return await self.database.read(accounts.count_active_admins) > 0

    async def get(self, name: str) -> Account:
        """One account."""
        return await self.database.read(lambda connection: existing(connection, name))

    async def has_password(self, name: str, password: str) -> bool:
        """Whether there is such an account with this password."""
        account = await self.database.read(lambda connection: accounts.find(connection, name))
        return account is not None and await self.passwords.verify(account.password_hash, password)

    async def all(self, kind: str, owner: str | None = None) -> list[Account]:
        """Every account of a kind, by name; with `owner` the robots of that account."""

        def read(connection: Connection) -> list[Account]:
            owner_id = None if owner is None else existing(connection, owner).id
            return accounts.page(connection, kind, after="", count=_LIST_MAX, owner_id=owner_id)

        return await self.database.read(read)

    async def add_user(self, name: str, password: str, by: By, *, is_admin: bool = False) -> None:
        """Add a user. Raises AccountNameInvalid, PasswordInvalid."""
        new = new_owner_name(name)
        hashed = await self.passwords.hash(password)
        await self._add(NewAccount(new, USER, hashed, is_admin), by)

    async def import_users(self, lines: Iterable[str], by: By) -> list[str]:
        """Add the users of an `htpasswd` file of bcrypt lines, all or none; returns their names. Raises
        AccountNameInvalid, PasswordInvalid with the number of the line."""
        found: list[NewAccount] = []
        for number, line in enumerate(lines, start=1):
            name, colon, hashed = line.strip().partition(":")
            if not line.strip() or line.startswith("#"):
                continue
            if not colon:
                raise AccountInvalid(f"line {number} is not name:hash")
            try:
                passwords.check_bcrypt(hashed)
                found.append(NewAccount(new_owner_name(name), USER, hashed))
            except (AccountNameInvalid, PasswordInvalid) as error:
                raise type(error)(f"line {number}: {error.message}") from None

        def add_all(connection: Connection, now: int) -> list[str]:
            for new in found:
                _add(connection, new, by, now=now)
            return [new.name for new in found]

        return await self._write(by, add_all)

    async def add_organization(self, name: str, owner: str, by: By) -> None:
        """Add an organization with its first owner. Raises AccountNameInvalid."""
        new = NewAccount(new_owner_name(name), ORGANIZATION)

        def add(connection: Connection, now: int) -> None:
            first = existing(connection, owner, USER)
            organization_id = _add(connection, new, by, now=now)
            accounts.set_member(connection, organization_id, first.id, is_owner=True, now=now)
            access.note_changes(connection, [account_subject(first.id)], now=now)
            audit.append(connection, actor_of(by), [Entry("member.set", target=f"{name}: {owner} owner")], now=now)

        await self._write(by, add)

    async def add_robot(self, name: str, role: Role, by: By) -> None:
        """Add a robot, called `<owner>+<own name>`, with a role on the whole namespace of its owner; NONE for roles on
        single repositories only. Raises AccountNameInvalid."""
        checked = AccountName.parse(name, new=True)
        owner_name, plus, _ = checked.partition("+")
        if not plus:
            raise AccountNameInvalid("the name of a robot is that of its owner, a + and its own: acme+ci")

        def add(connection: Connection, now: int) -> None:
            owner = existing(connection, owner_name)
            robot_id = _add(connection, NewAccount(checked, ROBOT, owner_id=owner.id), by, now=now)
            if role is not Role.NONE:
                grants.put(connection, Holder(robot_id), Place(namespace_id=owner.id), role, now=now)
                entry = Entry("role.given", target=f"{name} {role.name.lower()} on {owner_name}/*")
                audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, add)

    async def set_password(self, name: str, password: str, by: By, *, keep_session: int | None = None) -> None:
        """Give a user another password; every login that was begun ends, and every session but `keep_session`. Raises
        PasswordInvalid."""
        hashed = await self.passwords.hash(password)

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name, USER)
            accounts.set_password(connection, account.id, hashed)
            logins.clear(connection, logins.account_subject(name))
            ended = [token.id for token in tokens.of_account(connection, account.id, tokens.REFRESH)]
            tokens.remove(connection, ended)
            subjects = [account_subject(account.id), *map(credential_subject, ended)]
            subjects += _end_sessions(connection, account.id, keep=keep_session)
            access.note_changes(connection, subjects, now=now)
            audit.append(connection, actor_of(by), [Entry("password.set", target=name)], now=now)

        await self._write(by, change)

    async def sign_out(self, name: str, by: By) -> int:
        """End every session of a user; returns how many there were."""

        def change(connection: Connection, now: int) -> int:
            account = existing(connection, name, USER)
            ended = _end_sessions(connection, account.id)
            access.note_changes(connection, ended, now=now)
            audit.append(connection, actor_of(by), [Entry("sessions.ended", target=name)], now=now)
            return len(ended)

        return await self._write(by, change)

    async def take_off_second_factor(self, name: str, by: By) -> None:
        """Take the second factor off a user who has lost it. Raises AccountInvalid where there is none."""
        await self._write(
            by,
            lambda connection, now: end_second_factor(
                connection, existing(connection, name, USER), actor_of(by), now=now
            ),
        )

    async def set_disabled(self, name: str, by: By, *, is_disabled: bool) -> None:
        """Disable an account, with its robots, or enable it again, also where too many failed logins keep it out.
        Raises AccountInvalid for the last admin."""

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name)
            if is_disabled:
                _require_another_admin(connection, account)
            accounts.set_disabled(connection, account.id, at=now if is_disabled else None)
            logins.clear(connection, logins.account_subject(name))
            robots = accounts.page(connection, ROBOT, after="", count=_LIST_MAX, owner_id=account.id)
            subjects = [account_subject(one.id) for one in (account, *robots)]
            # Who is enabled again signs in again.
            subjects += _end_sessions(connection, account.id)
            access.note_changes(connection, subjects, now=now)
            action = "account.disabled" if is_disabled else "account.enabled"
            audit.append(connection, actor_of(by), [Entry(action, target=name)], now=now)

        await self._write(by, change)

    async def set_admin(self, name: str, by: By, *, is_admin: bool) -> None:
        """Make a user an admin of the instance, or no longer. Raises AccountInvalid for the last admin."""

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name, USER)
            if not is_admin:
                _require_another_admin(connection, account)
            accounts.set_admin(connection, account.id, is_admin=is_admin)
            access.note_changes(connection, [account_subject(account.id)], now=now)
            entry = Entry("account.admin", target=f"{name}: {'yes' if is_admin else 'no'}")
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def set_default_visibility(self, name: str, visibility: Visibility, by: By) -> None:
        """What new repositories of a namespace are."""

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name)
            accounts.set_default_visibility(connection, account.id, visibility)
            access.note_changes(connection, [namespace_subject(account.id)], now=now)
            entry = Entry("account.default-visibility", target=f"{name}: {visibility}")
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def delete(self, name: str, by: By, *, kind: str | None = None) -> None:
        """End an account with its robots, tokens and roles. Its name is never given out again. Raises AccountInvalid
        while it owns repositories, for the last admin, and for the only owner of an organization."""

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name, kind)
            robots = accounts.page(connection, ROBOT, after="", count=_LIST_MAX, owner_id=account.id)
            # Nobody makes tokens of them meanwhile, or repositories in the namespace.
            accounts.lock(connection, account.id, *(robot.id for robot in robots))
            _require_another_admin(connection, account)
            alone = accounts.organizations_of_only_owner(connection, account.id)
            if alone:
                raise AccountInvalid(f"{name} is the only owner of {alone[0]}: make another one first")
            if accounts.owns_repositories(connection, account.id):
                raise AccountInvalid(f"{name} owns repositories: delete them, or assign them to the instance, first")
            for one in (*robots, account):
                _end(connection, one, now=now)
                audit.append(connection, actor_of(by), [Entry("account.deleted", target=one.name)], now=now)

        await self._write(by, change)

    # Organizations

    async def members(self, organization: str) -> list[Member]:
        """Everybody in an organization."""
        return await self.database.read(
            lambda connection: accounts.members_of(connection, existing(connection, organization, ORGANIZATION).id)
        )

    async def teams(self, organization: str) -> dict[str, list[str]]:
        """The teams of an organization with their members."""
        return await self.database.read(
            lambda connection: accounts.teams_of(connection, existing(connection, organization, ORGANIZATION).id)
        )

    async def set_member(self, organization: str, name: str, by: By, *, is_owner: bool) -> None:
        """Make a user a member or owner. Raises AccountInvalid for the last owner."""

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            account = existing(connection, name, USER)
            if not is_owner:
                _require_another_owner(connection, group, account)
            accounts.set_member(connection, group.id, account.id, is_owner=is_owner, now=now)
            access.note_changes(connection, [account_subject(account.id)], now=now)
            entry = Entry("member.set", target=f"{organization}: {name} {'owner' if is_owner else 'member'}")
            audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, change)

    async def remove_member(self, organization: str, name: str, by: By) -> None:
        """Take a user out of an organization: out of its teams, and with every role in it. Raises AccountInvalid for
        the last owner."""

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            account = existing(connection, name)
            _require_another_owner(connection, group, account)
            if not accounts.remove_member(connection, group.id, account.id):
                raise AccountUnknown(f"{name} is no member of {organization}")
            grants.remove_in_namespace(connection, account.id, group.id)
            access.note_changes(connection, [account_subject(account.id)], now=now)
            audit.append(connection, actor_of(by), [Entry("member.removed", target=f"{organization}: {name}")], now=now)

        await self._write(by, change)

    async def add_team(self, organization: str, team: str, by: By) -> None:
        """Add a team. Raises AccountNameInvalid."""
        checked = AccountName.parse(team)
        if "+" in checked:
            raise AccountNameInvalid("only the name of a robot has a +")

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            if not accounts.add_team(connection, group.id, checked, now=now):
                raise AccountInvalid(f"{organization} has a team {team} already")
            audit.append(connection, actor_of(by), [Entry("team.added", target=f"{organization}/{team}")], now=now)

        await self._write(by, change)

    async def remove_team(self, organization: str, team: str, by: By) -> None:
        """Remove a team and the roles that were given to it."""

        def change(connection: Connection, now: int) -> None:
            group = existing(connection, organization, ORGANIZATION)
            team_id = existing_team(connection, group.id, team)
            # A team may have roles anywhere, so what changes is everything for its members.
            access.note_changes(connection, map(account_subject, accounts.in_team(connection, team_id)), now=now)
            accounts.remove_team(connection, team_id)
            audit.append(connection, actor_of(by), [Entry("team.removed", target=f"{organization}/{team}")], now=now)

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
                    raise AccountInvalid(f"{name} is neither a member nor a robot of {organization}")
                accounts.add_to_team(connection, team_id, account.id, now=now)
            elif not accounts.remove_from_team(connection, team_id, account.id):
                raise AccountUnknown(f"{name} is not in {organization}/{team}")
            access.note_changes(connection, [account_subject(account.id)], now=now)
            action = "team.joined" if is_in else "team.left"
            audit.append(connection, actor_of(by), [Entry(action, target=f"{organization}/{team}: {name}")], now=now)

        await self._write(by, change)

    async def _add(self, new: NewAccount, by: By) -> None:
        await self._write(by, lambda connection, now: _add(connection, new, by, now=now))

    async def _write(self, by: By, change: Callable[[Connection, int], T]) -> T:
        return await administration.change(self.database, self.clock, by, change)


def existing(connection: Connection, name: str, kind: str | None = None) -> Account:
    """The account of this name. Raises AccountUnknown, also for one of another kind."""
    account = accounts.find(connection, name)
    if account is None or (kind is not None and account.kind != kind):
        raise AccountUnknown(f"there is no {kind or 'account'} {name!r}")
    return account


def existing_team(connection: Connection, organization_id: int, name: str) -> int:
    """The id of a team. Raises AccountUnknown."""
    team_id = accounts.find_team(connection, organization_id, name)
    if team_id is None:
        raise AccountUnknown(f"there is no team {name!r} in this organization")
    return team_id


def _add(connection: Connection, new: NewAccount, by: By, *, now: int) -> int:
    account_id = accounts.add(connection, new, now=now)
    if account_id is None:
        raise AccountNameInvalid(
            f"the name {new.name} is taken, or was, or looks like one that is; names are never given out twice"
        )
    audit.append(connection, actor_of(by), [Entry(f"{new.kind}.added", target=new.name)], now=now)
    return account_id


def _end(connection: Connection, account: Account, *, now: int) -> None:
    ended = [
        token.id
        for kind in (tokens.PERSONAL, tokens.REFRESH)
        for token in tokens.of_account(connection, account.id, kind)
    ]
    tokens.remove(connection, ended)
    ended_sessions = _end_sessions(connection, account.id)
    second_factors.remove(connection, account.id)
    identities.remove(connection, account.id)
    others = accounts.belonging(connection, account.id)
    accounts.leave_everything(connection, account.id)
    accounts.mark_deleted(connection, account.id, now=now)
    subjects = [*map(account_subject, (account.id, *others)), namespace_subject(account.id)]
    subjects += [*map(credential_subject, ended), *ended_sessions]
    access.note_changes(connection, subjects, now=now)


def end_second_factor(connection: Connection, account: Account, actor: Actor, *, now: int) -> None:
    """Take the second factor off an account. After `access.lock_changes`. Raises AccountInvalid where there is none."""
    accounts.lock(connection, account.id)
    logins.clear(connection, of_codes(account.id))
    if not second_factors.remove(connection, account.id):
        raise AccountInvalid(f"{account.name} has no second factor")
    access.note_changes(connection, [account_subject(account.id)], now=now)
    audit.append(connection, actor, [Entry("second-factor.off", target=account.name)], now=now)


def _end_sessions(connection: Connection, account_id: int, *, keep: int | None = None) -> list[str]:
    """Returns the subjects to note."""
    known = [one for one in sessions.ids_of_account(connection, account_id) if one != keep]
    return [session_subject(one) for one in sessions.remove(connection, account_id, known)]


def _require_another_admin(connection: Connection, account: Account) -> None:
    if account.is_admin and account.is_active and accounts.count_active_admins(connection) < 2:
        raise AccountInvalid(f"{account.name} is the only admin of the instance: make another one first")


def _require_another_owner(connection: Connection, group: Account, account: Account) -> None:
    members = accounts.members_of(connection, group.id)
    owners = [member.account_id for member in members if member.is_owner]
    if owners == [account.id]:
        raise AccountInvalid(f"{account.name} is the only owner of {group.name}: make another one first")
