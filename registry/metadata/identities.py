"""Which account somebody of an identity provider is, and which groups of the provider are teams here."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import accounts, identities, members, sign_ons, team_members, teams


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody of a provider. `name` is for people only. Times in ms since 1970 UTC."""

    issuer: str
    subject: str
    account_id: int
    account_name: str
    name: str
    created_at: int
    used_at: int


_IDENTITY = select(
    identities.c.issuer,
    identities.c.subject,
    identities.c.account_id,
    accounts.c.name.label("account_name"),
    identities.c.name,
    identities.c.created_at,
    identities.c.used_at,
).join(accounts, accounts.c.id == identities.c.account_id)
_BY_KEY = _IDENTITY.where(identities.c.issuer == bindparam("issuer"), identities.c.subject == bindparam("subject"))


def find(connection: Connection, issuer: str, subject: str) -> Identity | None:
    """The account of somebody, by what a provider never gives to anybody else."""
    row = connection.execute(_BY_KEY, {"issuer": issuer, "subject": subject}).first()
    return None if row is None else Identity(*row)


def of_account(connection: Connection, account_id: int) -> list[Identity]:
    """The identities of an account, by issuer."""
    query = _IDENTITY.where(identities.c.account_id == account_id).order_by(identities.c.issuer, identities.c.subject)
    return [Identity(*row) for row in connection.execute(query)]


def add(connection: Connection, key: tuple[str, str], account_id: int, *, name: str, now: int) -> bool:
    """Somebody (`key`: issuer, subject) is this account; False where it is one already, this or another."""
    row = {"issuer": key[0], "subject": key[1], "account_id": account_id, "name": name}
    row |= {"created_at": now, "used_at": now}
    return connection.execute(insert(connection, identities).on_conflict_do_nothing(), row).rowcount == 1


def used(connection: Connection, key: tuple[str, str], *, name: str, at: int) -> None:
    """Note the last use, and what the provider calls somebody now."""
    where = (identities.c.issuer == key[0], identities.c.subject == key[1])
    connection.execute(update(identities).where(*where).values(name=name, used_at=at))


def remove(connection: Connection, account_id: int) -> int:
    """An account is nobody of any provider any more; returns how many it was."""
    return connection.execute(delete(identities).where(identities.c.account_id == account_id)).rowcount


# Sign-ons


def take_answer(connection: Connection, state_hash: bytes, *, expires_at: int) -> bool:
    """Take the answer of a single sign-on; False where it was taken before."""
    row = {"state_hash": state_hash, "expires_at": expires_at}
    return connection.execute(insert(connection, sign_ons).on_conflict_do_nothing(), row).rowcount == 1


def forget_answers(connection: Connection, *, now: int, count: int) -> int:
    """Forget up to `count` that nobody could give a second time any more; returns how many."""
    old = select(sign_ons.c.state_hash).where(sign_ons.c.expires_at <= now).limit(count)
    return connection.execute(delete(sign_ons).where(sign_ons.c.state_hash.in_(old))).rowcount


# Groups and teams


@dataclass(frozen=True, slots=True)
class MappedTeam:
    """A team whose members are those of a group. `is_in`: whether the account in question is one."""

    id: int
    organization_id: int
    organization: str
    name: str
    group: str
    is_in: bool


def mapped_teams(connection: Connection, account_id: int) -> list[MappedTeam]:
    """All teams that stand for a group, as seen by an account, in the order of their ids."""
    is_in = team_members.c.account_id.is_not(None)
    query = (
        select(teams.c.id, teams.c.organization_id, accounts.c.name, teams.c.name, teams.c.external_group, is_in)
        .join(accounts, accounts.c.id == teams.c.organization_id)
        .outerjoin(team_members, (team_members.c.team_id == teams.c.id) & (team_members.c.account_id == account_id))
        .where(teams.c.external_group.is_not(None), accounts.c.deleted_at.is_(None))
        .order_by(teams.c.id)
    )
    return [MappedTeam(row[0], row[1], row[2], row[3], row[4], is_in=bool(row[5])) for row in connection.execute(query)]


def join(connection: Connection, account_id: int, joined: Iterable[MappedTeam], *, now: int) -> None:
    """Put an account into teams, and first into their organizations, where it is in none of them."""
    by_id = {team.id: team.organization_id for team in joined}
    belongs = [
        {"organization_id": organization_id, "account_id": account_id, "is_owner": False, "created_at": now}
        for organization_id in sorted(set(by_id.values()))
    ]
    connection.execute(insert(connection, members).on_conflict_do_nothing(), belongs)
    rows = [{"team_id": team_id, "account_id": account_id, "created_at": now} for team_id in sorted(by_id)]
    connection.execute(insert(connection, team_members).on_conflict_do_nothing(), rows)


def leave(connection: Connection, account_id: int, left: Iterable[MappedTeam]) -> None:
    """Take an account out of teams."""
    where = (team_members.c.account_id == account_id, team_members.c.team_id.in_([team.id for team in left]))
    connection.execute(delete(team_members).where(*where))


def set_group(connection: Connection, team_id: int, group: str | None) -> None:
    """The group whose members are a team's; None for a team like others."""
    connection.execute(update(teams).where(teams.c.id == team_id).values(external_group=group))
