"""Users and robots, and what is true of every account: made, changed and ended, each in one transaction with its audit.
Organizations with their members and teams: `organizations`.

Who may do what here is not decided here: the command line runs with the database in hand, and who signs up only makes
an account of its own. A permit is asked again in the transaction.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from registry.auth import passwords
from registry.auth.passwords import Passwords
from registry.core import texts
from registry.core.access import (
    Actor,
    Role,
    Visibility,
    account_subject,
    credential_subject,
    namespace_subject,
    session_subject,
)
from registry.core.errors import AccountInvalid, AccountNameInvalid, AccountUnknown, Conflict, PasswordInvalid
from registry.core.limits import DESCRIPTION_MAX_CHARS, LIST_PAGE_MAX, TITLE_MAX_CHARS
from registry.core.names import AccountName, new_owner_name
from registry.metadata import (
    access,
    accounts,
    audit,
    directory,
    grants,
    identities,
    logins,
    second_factors,
    sessions,
    stars,
    tokens,
)
from registry.metadata.accounts import ORGANIZATION, ROBOT, USER, Account, NewAccount
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.directory import Contents, ListedAccount
from registry.metadata.grants import Holder, Place
from registry.services import administration
from registry.services.administration import KEEP, By, Keep, actor_of
from registry.services.attempts import of_codes
from registry.services.clock import Clock

__all__ = [
    "ORGANIZATION",
    "ROBOT",
    "USER",
    "AccountChange",
    "Accounts",
    "Contents",
    "ListedAccount",
    "Profile",
    "add",
    "end_second_factor",
    "existing",
    "profile_of",
    "profile_texts",
]

T = TypeVar("T")
_LIST_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Profile:
    """What an account says of itself, and its state: what a write can demand to be as it was."""

    name: str
    kind: str
    title: str
    description: str
    default_visibility: Visibility | None
    """What new repositories of its namespace are; None: what the instance says."""
    is_admin: bool
    is_disabled: bool


def profile_of(account: Account) -> Profile:
    """What is said of an account."""
    return Profile(
        account.name,
        account.kind,
        account.title,
        account.description,
        account.default_visibility,
        account.is_admin,
        account.disabled_at is not None,
    )


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What shall be different of an account."""

    title: str | Keep = KEEP
    description: str | Keep = KEEP
    default_visibility: Visibility | Keep | None = KEEP
    is_admin: bool | Keep = KEEP
    is_disabled: bool | Keep = KEEP

    def checked(self) -> "AccountChange":
        """The same with its texts as they are kept. Raises FieldInvalid."""
        title = KEEP if self.title is KEEP else _title(self.title)
        description = KEEP if self.description is KEEP else _description(self.description)
        return replace(self, title=title, description=description)


def _title(text: str) -> str:
    return texts.one_line(text, "title", max_chars=TITLE_MAX_CHARS)


def _description(text: str) -> str:
    return texts.one_line(text, "description", max_chars=DESCRIPTION_MAX_CHARS)


def profile_texts(title: str, description: str) -> tuple[str, str]:
    """Both as they are kept. Raises FieldInvalid."""
    return _title(title), _description(description)


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

    async def page(self, kind: str, *, after: str, count: int, prefix: str = "") -> list[ListedAccount]:
        """The next accounts of a kind, by name, of those whose name begins with `prefix`."""
        bounded = min(count, LIST_PAGE_MAX + 1)
        return await self.database.read(
            lambda connection: directory.of_kind(connection, kind, after=after, count=bounded, prefix=prefix)
        )

    async def robots(self, owner: str, *, after: str, count: int) -> list[ListedAccount]:
        """The next robots of an account, by name."""
        bounded = min(count, LIST_PAGE_MAX + 1)

        def read(connection: Connection) -> list[ListedAccount]:
            return directory.robots_of(connection, existing(connection, owner).id, after=after, count=bounded)

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
                add(connection, new, by, now=now)
            return [new.name for new in found]

        return await self._write(by, add_all)

    async def add_robot(self, name: str, role: Role, by: By) -> None:
        """Add a robot, called `<owner>+<own name>`, with a role on the whole namespace of its owner; NONE for roles on
        single repositories only. Raises AccountNameInvalid."""
        checked = AccountName.parse(name, new=True)
        owner_name, plus, _ = checked.partition("+")
        if not plus:
            raise AccountNameInvalid("the name of a robot is that of its owner, a + and its own: acme+ci")

        def make(connection: Connection, now: int) -> None:
            owner = existing(connection, owner_name)
            if owner.kind == ROBOT:
                raise AccountInvalid("a robot has no robots", field="name")
            robot_id = add(connection, NewAccount(checked, ROBOT, owner_id=owner.id), by, now=now)
            if role is not Role.NONE:
                grants.put(connection, Holder(robot_id), Place(namespace_id=owner.id), role, now=now)
                entry = Entry("role.given", target=f"{name} {role.name.lower()} on {owner_name}/*", about=name)
                audit.append(connection, actor_of(by), [entry], now=now)

        await self._write(by, make)

    async def set_password(self, name: str, password: str, by: By, *, keep_session: int | None = None) -> None:
        """Give a user another password; every login that was begun ends, and every session but `keep_session`. Raises
        PasswordInvalid."""
        hashed = await self.passwords.hash(password)

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name, USER)
            accounts.set_password(connection, account.id, hashed)
            logins.clear(connection, logins.account_subject(name))
            known = [token.id for token in tokens.of_account(connection, account.id, tokens.REFRESH)]
            ended = tokens.remove(connection, known)
            subjects = [account_subject(account.id), *map(credential_subject, ended)]
            subjects += _end_sessions(connection, account.id, keep=keep_session)
            access.note_changes(connection, subjects, now=now)
            audit.append(connection, actor_of(by), [Entry("password.set", target=name, about=name)], now=now)

        await self._write(by, change)

    async def sign_out(self, name: str, by: By) -> int:
        """End every session of a user; returns how many there were."""

        def change(connection: Connection, now: int) -> int:
            account = existing(connection, name, USER)
            ended = _end_sessions(connection, account.id)
            access.note_changes(connection, ended, now=now)
            audit.append(connection, actor_of(by), [Entry("sessions.ended", target=name, about=name)], now=now)
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

    async def profile(self, name: str, kind: str | None = None) -> Profile:
        """What an account says of itself, and its state. Raises AccountUnknown also for one of another kind."""
        return profile_of(await self.database.read(lambda connection: existing(connection, name, kind)))

    async def update(
        self, name: str, wanted: AccountChange, by: By, *, kind: str | None = None, if_match: str | None = None
    ) -> Profile:
        """Change an account, all that is wanted or nothing, and return what it is then. Raises FieldInvalid, Conflict
        for the last admin, PreconditionFailed."""
        checked = wanted.checked()

        def change(connection: Connection, now: int) -> Profile:
            account = existing(connection, name, kind)
            administration.require_version(profile_of(account), if_match)
            changed = _change(connection, account, checked, now=now)
            access.note_changes(connection, changed.subjects, now=now)
            audit.append(connection, actor_of(by), changed.entries, now=now)
            return profile_of(existing(connection, name))

        return await self._write(by, change)

    async def set_disabled(self, name: str, by: By, *, is_disabled: bool) -> None:
        """Disable an account, with its robots, or enable it again, also where too many failed logins keep it out.
        Raises Conflict for the last admin."""
        await self.update(name, AccountChange(is_disabled=is_disabled), by)

    async def set_admin(self, name: str, by: By, *, is_admin: bool) -> None:
        """Make a user an admin of the instance, or no longer. Raises Conflict for the last admin."""
        await self.update(name, AccountChange(is_admin=is_admin), by)

    async def set_default_visibility(self, name: str, visibility: Visibility, by: By) -> None:
        """What new repositories of a namespace are."""
        await self.update(name, AccountChange(default_visibility=visibility), by)

    async def contents(self, name: str, kind: str | None = None, *, if_match: str | None = None) -> Contents:
        """What is in a namespace: what goes with its account, and the repositories that keep it from going. Raises
        AccountUnknown also for an account of another kind, PreconditionFailed."""

        def read(connection: Connection) -> Contents:
            account = existing(connection, name, kind)
            administration.require_version(profile_of(account), if_match)
            return directory.contents(connection, account.id)

        return await self.database.read(read)

    async def delete(self, name: str, by: By, *, kind: str | None = None, if_match: str | None = None) -> None:
        """End an account with its robots, tokens, roles and stars. Its name is never given out again. Raises Conflict
        while it owns repositories, for the last admin, and for the only owner of an organization."""

        def change(connection: Connection, now: int) -> None:
            account = existing(connection, name, kind)
            administration.require_version(profile_of(account), if_match)
            robots = accounts.page(connection, ROBOT, after="", count=_LIST_MAX, owner_id=account.id)
            # Nobody makes tokens of them meanwhile, or repositories in the namespace.
            accounts.lock(connection, account.id, *(robot.id for robot in robots))
            _require_another_admin(connection, account)
            alone = accounts.organizations_of_only_owner(connection, account.id)
            if alone:
                raise Conflict(f"{name} is the only owner of {alone[0]}: make another one first")
            if accounts.owns_repositories(connection, account.id):
                raise Conflict(f"{name} owns repositories: delete them, or move them elsewhere, first")
            for one in (*robots, account):
                _end(connection, one, now=now)
                audit.append(
                    connection, actor_of(by), [Entry("account.deleted", target=one.name, about=one.name)], now=now
                )

        await self._write(by, change)

    async def _add(self, new: NewAccount, by: By) -> None:
        await self._write(by, lambda connection, now: add(connection, new, by, now=now))

    async def _write(self, by: By, change: Callable[[Connection, int], T]) -> T:
        return await administration.change(self.database, self.clock, by, change)


def existing(connection: Connection, name: str, kind: str | None = None) -> Account:
    """The account of this name. Raises AccountUnknown, also for one of another kind."""
    account = accounts.find(connection, name)
    if account is None or (kind is not None and account.kind != kind):
        raise AccountUnknown(f"there is no {kind or 'account'} {name!r}")
    return account


def add(connection: Connection, new: NewAccount, by: By, *, now: int) -> int:
    """A new account; its id. After `access.lock_changes`. Raises AccountNameInvalid for a name that is not free."""
    account_id = accounts.add(connection, new, now=now)
    if account_id is None:
        raise AccountNameInvalid(
            f"the name {new.name} is taken, or was, or looks like one that is; names are never given out twice"
        )
    audit.append(connection, actor_of(by), [Entry(f"{new.kind}.added", target=new.name, about=new.name)], now=now)
    return account_id


@dataclass(slots=True)
class _Changed:
    """What a change is about, and what the audit says of it."""

    subjects: list[str]
    entries: list[Entry]


def _change(connection: Connection, account: Account, wanted: AccountChange, *, now: int) -> _Changed:
    name, done = account.name, _Changed([], [])
    if wanted.title is not KEEP or wanted.description is not KEEP:
        title = account.title if wanted.title is KEEP else wanted.title
        description = account.description if wanted.description is KEEP else wanted.description
        accounts.set_profile(connection, account.id, title=title, description=description)
        done.entries.append(Entry("account.described", target=name, about=name))
    if wanted.default_visibility is not KEEP:
        accounts.set_default_visibility(connection, account.id, wanted.default_visibility)
        done.subjects.append(namespace_subject(account.id))
        shown = wanted.default_visibility or "as the instance"
        done.entries.append(Entry("account.default-visibility", target=f"{name}: {shown}", about=name))
    if wanted.is_admin is not KEEP:
        _set_admin(connection, account, done, is_admin=wanted.is_admin)
    if wanted.is_disabled is not KEEP:
        _set_disabled(connection, account, done, at=now if wanted.is_disabled else None)
    return done


def _set_admin(connection: Connection, account: Account, done: _Changed, *, is_admin: bool) -> None:
    if account.kind != USER:
        raise AccountUnknown(f"there is no user {account.name!r}")
    if not is_admin:
        _require_another_admin(connection, account)
    accounts.set_admin(connection, account.id, is_admin=is_admin)
    done.subjects.append(account_subject(account.id))
    done.entries.append(Entry("account.admin", target=f"{account.name}: {'yes' if is_admin else 'no'}"))


def _set_disabled(connection: Connection, account: Account, done: _Changed, *, at: int | None) -> None:
    if at is not None:
        _require_another_admin(connection, account)
    accounts.set_disabled(connection, account.id, at=at)
    logins.clear(connection, logins.account_subject(account.name))
    robots = accounts.page(connection, ROBOT, after="", count=_LIST_MAX, owner_id=account.id)
    done.subjects += [account_subject(one.id) for one in (account, *robots)]
    # Who is enabled again signs in again.
    done.subjects += _end_sessions(connection, account.id)
    action = "account.enabled" if at is None else "account.disabled"
    done.entries.append(Entry(action, target=account.name, about=account.name))


def _end(connection: Connection, account: Account, *, now: int) -> None:
    known = [
        token.id
        for kind in (tokens.PERSONAL, tokens.REFRESH)
        for token in tokens.of_account(connection, account.id, kind)
    ]
    ended = tokens.remove(connection, known)
    ended_sessions = _end_sessions(connection, account.id)
    second_factors.remove(connection, account.id)
    identities.remove(connection, account.id)
    stars.remove_all(connection, account.id)
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
    audit.append(connection, actor, [Entry("second-factor.off", target=account.name, about=account.name)], now=now)


def _end_sessions(connection: Connection, account_id: int, *, keep: int | None = None) -> list[str]:
    """Returns the subjects to note."""
    known = [one for one in sessions.ids_of_account(connection, account_id) if one != keep]
    return [session_subject(one) for one in sessions.remove(connection, account_id, known)]


def _require_another_admin(connection: Connection, account: Account) -> None:
    if account.is_admin and account.is_active and accounts.count_active_admins(connection) < 2:
        raise Conflict(f"{account.name} is the only admin of the instance: make another one first")
