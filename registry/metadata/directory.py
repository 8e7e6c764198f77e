"""Lists of accounts, and of who belongs where: in pages by name."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, exists, func, or_, select, true
from sqlalchemy.engine import Connection

from registry.core.access import Role
from registry.metadata.access import is_active
from registry.metadata.schema import (
    accounts,
    grants,
    identities,
    members,
    repositories,
    second_factors,
    team_members,
    teams,
)
from registry.metadata.ways import VISIBLE

_AFTER_ALL = "~"
"""Sorts after every character of a name."""
_owner = accounts.alias("owner")


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account as lists show it. Times in ms since 1970 UTC."""

    id: int
    name: str
    kind: str
    title: str
    is_admin: bool
    is_active: bool
    has_password: bool
    has_second_factor: bool
    has_identity: bool
    """Whether it is somebody of an identity provider."""
    created_at: int
    disabled_at: int | None


def _one(account_id: Column[int], *where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the account has a row in the table of this column. Not EXISTS: for that PostgreSQL may read the whole
    table, however few accounts the page has."""
    found = select(account_id).where(account_id == accounts.c.id, *where).limit(1).correlate(accounts)
    return found.scalar_subquery().is_not(None)


_LISTED = (
    select(
        accounts.c.id,
        accounts.c.name,
        accounts.c.kind,
        accounts.c.title,
        accounts.c.is_admin,
        is_active(accounts, _owner),
        accounts.c.password_hash.is_not(None),
        _one(second_factors.c.account_id, second_factors.c.confirmed_at.is_not(None)),
        _one(identities.c.account_id),
        accounts.c.created_at,
        accounts.c.disabled_at,
    )
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
    .where(accounts.c.deleted_at.is_(None))
)


def of_kind(connection: Connection, kind: str, *, after: str, count: int, prefix: str = "") -> list[ListedAccount]:
    """The next accounts of one kind whose name begins with `prefix`."""
    query = _by_name(_LISTED.where(accounts.c.kind == kind), after=after, count=count)
    if prefix:
        query = query.where(accounts.c.name >= prefix, accounts.c.name < f"{prefix}{_AFTER_ALL}")
    return [_listed(row) for row in connection.execute(query)]


def robots_of(connection: Connection, owner_id: int, *, after: str, count: int) -> list[ListedAccount]:
    """The next robots of an account."""
    query = _by_name(_LISTED.where(accounts.c.owner_id == owner_id), after=after, count=count)
    return [_listed(row) for row in connection.execute(query)]


def _by_name(query: Select[Any], *, after: str, count: int) -> Select[Any]:
    return query.where(accounts.c.name > after).order_by(accounts.c.name).limit(count)


def _listed(row: Any) -> ListedAccount:
    return ListedAccount(*row[:4], *map(bool, row[4:9]), *row[9:])


@dataclass(frozen=True, slots=True)
class Membership:
    """An organization that an account belongs to."""

    organization: str
    title: str
    is_owner: bool


def memberships(connection: Connection, account_id: int, *, after: str, count: int) -> list[Membership]:
    """The next organizations of an account."""
    query = select(accounts.c.name, accounts.c.title, members.c.is_owner)
    query = query.join(members, members.c.organization_id == accounts.c.id).where(members.c.account_id == account_id)
    rows = connection.execute(_by_name(query, after=after, count=count))
    return [Membership(row[0], row[1], bool(row[2])) for row in rows]


def count_owned(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many organizations an account owns, counted up to `limit`."""
    mine = select(members.c.organization_id).where(members.c.account_id == account_id, members.c.is_owner)
    return len(connection.execute(mine.limit(limit)).all())


@dataclass(frozen=True, slots=True)
class ListedMember:
    """Somebody in an organization, or in one of its teams."""

    account_id: int
    name: str
    title: str
    is_active: bool
    is_owner: bool
    since: int
    """ms since 1970 UTC."""


def members_of(connection: Connection, organization_id: int, *, after: str, count: int) -> list[ListedMember]:
    """The next members and owners of an organization."""
    query = _people(members.c.is_owner, members.c.created_at)
    query = query.join(members, members.c.account_id == accounts.c.id)
    query = query.where(members.c.organization_id == organization_id)
    return _found_people(connection, _by_name(query, after=after, count=count))


def in_team(connection: Connection, team_id: int, *, after: str, count: int) -> list[ListedMember]:
    """The next people and robots in a team; `is_owner`: of its organization."""
    of_team = teams.c.organization_id == members.c.organization_id
    owns = exists().where(of_team, members.c.account_id == accounts.c.id, members.c.is_owner).correlate(accounts, teams)
    query = _people(owns, team_members.c.created_at).join(team_members, team_members.c.account_id == accounts.c.id)
    query = query.join(teams, teams.c.id == team_members.c.team_id).where(team_members.c.team_id == team_id)
    return _found_people(connection, _by_name(query, after=after, count=count))


def _people(is_owner: ColumnElement[bool], since: ColumnElement[int]) -> Select[Any]:
    columns = (accounts.c.id, accounts.c.name, accounts.c.title, is_active(accounts, _owner), is_owner, since)
    return select(*columns).select_from(accounts).outerjoin(_owner, _owner.c.id == accounts.c.owner_id)


def _found_people(connection: Connection, query: Select[Any]) -> list[ListedMember]:
    return [
        ListedMember(row[0], row[1], row[2], bool(row[3]), bool(row[4]), row[5]) for row in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class ListedTeam:
    """A team, with how many are in it."""

    id: int
    name: str
    external_group: str | None
    members: int
    created_at: int


_COUNTED = select(func.count()).where(team_members.c.team_id == teams.c.id).correlate(teams).scalar_subquery()
_TEAM = select(teams.c.id, teams.c.name, teams.c.external_group, _COUNTED, teams.c.created_at)


def find_team(connection: Connection, organization: str, name: str) -> int | None:
    """The id of a team by both names."""
    query = select(teams.c.id).join(accounts, accounts.c.id == teams.c.organization_id)
    where = (accounts.c.name == organization, accounts.c.deleted_at.is_(None), teams.c.name == name)
    found: int | None = connection.execute(query.where(*where)).scalar()
    return found


def teams_of(connection: Connection, organization_id: int, *, after: str, count: int) -> list[ListedTeam]:
    """The next teams of an organization."""
    query = _TEAM.where(teams.c.organization_id == organization_id, teams.c.name > after)
    return [ListedTeam(*row) for row in connection.execute(query.order_by(teams.c.name).limit(count))]


def team(connection: Connection, team_id: int) -> ListedTeam | None:
    """One of them."""
    row = connection.execute(_TEAM.where(teams.c.id == team_id)).first()
    return None if row is None else ListedTeam(*row)


@dataclass(frozen=True, slots=True)
class TeamRole:
    """A role of a team: on a repository, or on a namespace (`name/*`)."""

    id: int
    place: str
    role: Role


def roles_of_team(
    connection: Connection, team_id: int, account_id: int | None, *, after: int, count: int
) -> list[TeamRole]:
    """The next roles that were given to a team, oldest first: on whole namespaces, and on those repositories that an
    account may see."""
    namespace = accounts.alias("namespace")
    query = (
        select(grants.c.id, repositories.c.name, namespace.c.name, grants.c.role)
        .outerjoin(repositories, repositories.c.id == grants.c.repository_id)
        .outerjoin(namespace, namespace.c.id == grants.c.namespace_id)
        .where(grants.c.team_id == team_id, grants.c.id > after, or_(grants.c.repository_id.is_(None), VISIBLE))
        .order_by(grants.c.id)
        .limit(count)
    )
    rows = connection.execute(query, {"account": account_id})
    return [TeamRole(row[0], row[1] or f"{row[2]}/*", Role(row[3])) for row in rows]


# What is in a namespace

NAMED = 10


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes, or keeps from going, with an account: how many, and the names of the first NAMED repositories."""

    repositories: int
    first_repositories: list[str]
    teams: int
    robots: int
    members: int


def contents(connection: Connection, account_id: int) -> Contents:
    """What is in a namespace."""
    mine = (repositories.c.namespace_id == account_id, repositories.c.deleted_at.is_(None))
    first = select(repositories.c.name).where(*mine).order_by(repositories.c.name).limit(NAMED)
    counts = (
        select(func.count()).select_from(repositories).where(*mine),
        select(func.count()).select_from(teams).where(teams.c.organization_id == account_id),
        select(func.count())
        .select_from(accounts)
        .where(accounts.c.owner_id == account_id, accounts.c.deleted_at.is_(None)),
        select(func.count()).select_from(members).where(members.c.organization_id == account_id),
    )
    numbers = select(*(one.scalar_subquery().label(f"n{at}") for at, one in enumerate(counts))).subquery("numbers")
    names = first.subquery("names")
    # The numbers stand beside each name, and alone where there is none.
    query = select(numbers, names.c.name).select_from(numbers.outerjoin(names, true())).order_by(names.c.name)
    rows = connection.execute(query).all()
    named = [row[4] for row in rows if row[4] is not None]
    return Contents(rows[0][0], named, *rows[0][1:4])
