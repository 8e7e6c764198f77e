"""Accounts, and who belongs to an organization and its teams."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, exists, or_, select, update
from sqlalchemy.engine import Connection

from registry.core.access import Visibility
from registry.core.names import AccountName
from registry.metadata.access import is_active
from registry.metadata.insert import insert
from registry.metadata.schema import (
    accounts,
    grants,
    identities,
    installation,
    members,
    repositories,
    second_factors,
    team_members,
    teams,
)

USER = "user"
ORGANIZATION = "organization"
ROBOT = "robot"


@dataclass(frozen=True, slots=True)
class Account:
    """An account. `is_active` is False also for a robot whose owner is not. Times in ms since 1970 UTC."""

    id: int
    name: str
    kind: str
    owner_id: int | None
    is_admin: bool
    is_active: bool
    title: str
    description: str
    default_visibility: Visibility | None
    created_at: int
    disabled_at: int | None
    password_hash: str | None
    revision: int
    """The newest change of access when this was read."""
    has_second_factor: bool = False
    has_identity: bool = False
    """Whether somebody signs in to it at an identity provider."""

    @property
    def needs_tokens(self) -> bool:
        """Whether clients get in with tokens only: a password alone would go round what protects the account."""
        return self.has_second_factor or self.has_identity


_owner = accounts.alias("owner")
_ACCOUNT = (
    select(
        accounts.c.id,
        accounts.c.name,
        accounts.c.kind,
        accounts.c.owner_id,
        accounts.c.is_admin,
        is_active(accounts, _owner).label("is_active"),
        accounts.c.title,
        accounts.c.description,
        accounts.c.default_visibility,
        accounts.c.created_at,
        accounts.c.disabled_at,
        accounts.c.password_hash,
        installation.c.access_revision,
        exists()
        .where(second_factors.c.account_id == accounts.c.id, second_factors.c.confirmed_at.is_not(None))
        .correlate(accounts)
        .label("has_second_factor"),
        exists().where(identities.c.account_id == accounts.c.id).correlate(accounts).label("has_identity"),
    )
    .select_from(installation)
    .join(accounts, accounts.c.deleted_at.is_(None))
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
)
_BY_NAME = _ACCOUNT.where(accounts.c.name == bindparam("name"))


def _account(row: Any) -> Account:
    visibility = row.default_visibility
    return Account(
        id=row.id,
        name=row.name,
        kind=row.kind,
        owner_id=row.owner_id,
        is_admin=bool(row.is_admin),
        is_active=bool(row.is_active),
        title=row.title,
        description=row.description,
        default_visibility=None if visibility is None else Visibility(visibility),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        password_hash=row.password_hash,
        revision=row.access_revision,
        has_second_factor=bool(row.has_second_factor),
        has_identity=bool(row.has_identity),
    )


def find(connection: Connection, name: str) -> Account | None:
    """The account of this name, unless it was deleted."""
    row = connection.execute(_BY_NAME, {"name": name}).first()
    return None if row is None else _account(row)


def is_given(connection: Connection, name: str) -> bool:
    """Whether an account has or had this name."""
    return connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() is not None


def page(connection: Connection, kind: str, *, after: str, count: int, owner_id: int | None = None) -> list[Account]:
    """The next accounts of one kind by name; with `owner_id` the robots of that account."""
    query = _ACCOUNT.where(accounts.c.kind == kind, accounts.c.name > after).order_by(accounts.c.name).limit(count)
    if owner_id is not None:
        query = query.where(accounts.c.owner_id == owner_id)
    return [_account(row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be."""

    name: AccountName
    kind: str
    password_hash: str | None = None
    is_admin: bool = False
    owner_id: int | None = None
    default_visibility: Visibility | None = None


def add(connection: Connection, new: NewAccount, *, now: int) -> int | None:
    """Add an account; returns its id, or None where its name, or one that looks like it, is or was somebody's."""
    row = {
        "name": new.name,
        "canonical": new.name.canonical,
        "kind": new.kind,
        "owner_id": new.owner_id,
        "password_hash": new.password_hash,
        "is_admin": new.is_admin,
        "default_visibility": None if new.default_visibility is None else new.default_visibility.value,
        "created_at": now,
    }
    added = connection.execute(insert(connection, accounts).on_conflict_do_nothing(), row)
    if added.rowcount != 1:
        return None
    account_id: int = connection.execute(select(accounts.c.id).where(accounts.c.name == new.name)).scalar_one()
    return account_id


_LOCK = (
    select(accounts.c.id, accounts.c.deleted_at)
    .where(accounts.c.id.in_(bindparam("accounts", expanding=True)))
    .order_by(accounts.c.id)
    .with_for_update(key_share=True)
)


def lock(connection: Connection, *account_ids: int) -> bool:
    """Nobody else changes these accounts, or gives them tokens, until the transaction ends; False if one of them is
    gone."""
    rows = connection.execute(_LOCK, {"accounts": list(account_ids)}).all()
    return len(rows) == len(account_ids) and all(row.deleted_at is None for row in rows)


def set_password(connection: Connection, account_id: int, password_hash: str) -> None:
    """Replace the stored hash."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(password_hash=password_hash))


def replace_hash(connection: Connection, account_id: int, *, old: str, new: str) -> None:
    """Replace the stored hash of the same password, unless another password was set meanwhile."""
    where = (accounts.c.id == account_id, accounts.c.password_hash == old)
    connection.execute(update(accounts).where(*where).values(password_hash=new))


def set_disabled(connection: Connection, account_id: int, *, at: int | None) -> None:
    """Disable (at a time) or enable again (None)."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(disabled_at=at))


def set_admin(connection: Connection, account_id: int, *, is_admin: bool) -> None:
    """Make an account an admin of the instance, or no longer."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(is_admin=is_admin))


def set_default_visibility(connection: Connection, account_id: int, visibility: Visibility | None) -> None:
    """What new repositories of the namespace are; None: what the instance says."""
    value = None if visibility is None else visibility.value
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(default_visibility=value))


def set_profile(connection: Connection, account_id: int, *, title: str, description: str) -> None:
    """What is said about an account."""
    values = {"title": title, "description": description}
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


def mark_deleted(connection: Connection, account_id: int, *, now: int) -> None:
    """The account is gone; its row keeps the name from being given out again."""
    values = {"deleted_at": now, "password_hash": None, "is_admin": False}
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


def leave_everything(connection: Connection, account_id: int) -> None:
    """Take an account out of every organization and team, with every role that it has, and a namespace with every role
    and team in it."""
    connection.execute(
        delete(members).where(or_(members.c.account_id == account_id, members.c.organization_id == account_id))
    )
    connection.execute(delete(team_members).where(team_members.c.account_id == account_id))
    connection.execute(delete(teams).where(teams.c.organization_id == account_id))
    connection.execute(
        delete(grants).where(or_(grants.c.account_id == account_id, grants.c.namespace_id == account_id))
    )


def owns_repositories(connection: Connection, account_id: int) -> bool:
    """Whether any repository is in the namespace of this account."""
    where = (repositories.c.namespace_id == account_id, repositories.c.deleted_at.is_(None))
    return bool(connection.execute(select(exists().where(*where))).scalar())


def count_active_admins(connection: Connection) -> int:
    """How many admins of the instance can log in."""
    query = select(accounts.c.id).where(
        accounts.c.is_admin, accounts.c.disabled_at.is_(None), accounts.c.deleted_at.is_(None)
    )
    return len(connection.execute(query.limit(2)).all())


# Organizations and teams


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in an organization."""

    account_id: int
    name: str
    is_owner: bool


def set_member(connection: Connection, organization_id: int, account_id: int, *, is_owner: bool, now: int) -> None:
    """Make an account a member or owner, whatever it was."""
    row = {"organization_id": organization_id, "account_id": account_id, "is_owner": is_owner, "created_at": now}
    statement = insert(connection, members).on_conflict_do_update(
        index_elements=["organization_id", "account_id"], set_={"is_owner": is_owner}
    )
    connection.execute(statement, row)


def remove_member(connection: Connection, organization_id: int, account_id: int) -> bool:
    """Take an account out of an organization and all its teams; False if it was in none."""
    of_organization = select(teams.c.id).where(teams.c.organization_id == organization_id)
    connection.execute(
        delete(team_members).where(team_members.c.account_id == account_id, team_members.c.team_id.in_(of_organization))
    )
    where = (members.c.organization_id == organization_id, members.c.account_id == account_id)
    return connection.execute(delete(members).where(*where)).rowcount == 1


def is_only_owner(connection: Connection, organization_id: int, account_id: int) -> bool:
    """Whether an account owns an organization, and nobody else does."""
    owners = select(members.c.account_id).where(members.c.organization_id == organization_id, members.c.is_owner)
    return list(connection.execute(owners.limit(2)).scalars()) == [account_id]


def member(connection: Connection, organization_id: int, account_id: int) -> Member | None:
    """What an account is in an organization, None if nothing."""
    return _member(connection, members.c.organization_id == organization_id, members.c.account_id == account_id)


def member_named(connection: Connection, organization_id: int, name: str) -> Member | None:
    """The same, of the account with this name."""
    return _member(connection, members.c.organization_id == organization_id, accounts.c.name == name)


def _member(connection: Connection, *conditions: ColumnElement[bool]) -> Member | None:
    query = (
        select(accounts.c.id, accounts.c.name, members.c.is_owner)
        .join(members, members.c.account_id == accounts.c.id)
        .where(*conditions)
    )
    row = connection.execute(query).first()
    return None if row is None else Member(row[0], row[1], bool(row[2]))


def organizations_of_only_owner(connection: Connection, account_id: int) -> list[str]:
    """The organizations that an account alone owns."""
    other = members.alias("other")
    others = exists().where(
        other.c.organization_id == members.c.organization_id, other.c.is_owner, other.c.account_id != account_id
    )
    query = (
        select(accounts.c.name)
        .join(members, members.c.organization_id == accounts.c.id)
        .where(members.c.account_id == account_id, members.c.is_owner, ~others.correlate(members))
    )
    return list(connection.execute(query).scalars())


def add_team(connection: Connection, organization_id: int, name: str, *, now: int) -> bool:
    """Add a team; False if there is one of this name."""
    row = {"organization_id": organization_id, "name": name, "created_at": now}
    return connection.execute(insert(connection, teams).on_conflict_do_nothing(), row).rowcount == 1


def find_team(connection: Connection, organization_id: int, name: str) -> int | None:
    """The id of a team."""
    query = select(teams.c.id).where(teams.c.organization_id == organization_id, teams.c.name == name)
    found: int | None = connection.execute(query).scalar()
    return found


def remove_team(connection: Connection, team_id: int) -> None:
    """Remove a team and what was given to it."""
    connection.execute(delete(teams).where(teams.c.id == team_id))


def belonging(connection: Connection, organization_id: int) -> list[int]:
    """The ids of everybody who is in an organization or one of its teams, robots too."""
    in_teams = (
        select(team_members.c.account_id)
        .join(teams, teams.c.id == team_members.c.team_id)
        .where(teams.c.organization_id == organization_id)
    )
    direct = select(members.c.account_id).where(members.c.organization_id == organization_id)
    return list(connection.execute(direct.union(in_teams)).scalars())


def in_team(connection: Connection, team_id: int) -> list[int]:
    """The ids of everybody in a team."""
    return list(
        connection.execute(select(team_members.c.account_id).where(team_members.c.team_id == team_id)).scalars()
    )


def add_to_team(connection: Connection, team_id: int, account_id: int, *, now: int) -> None:
    """Put an account into a team. Idempotent."""
    row = {"team_id": team_id, "account_id": account_id, "created_at": now}
    connection.execute(insert(connection, team_members).on_conflict_do_nothing(), row)


def remove_from_team(connection: Connection, team_id: int, account_id: int) -> bool:
    """Take an account out of a team; False if it was not in it."""
    where = (team_members.c.team_id == team_id, team_members.c.account_id == account_id)
    return connection.execute(delete(team_members).where(*where)).rowcount == 1
