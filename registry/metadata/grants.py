"""Roles that were given: to an account or a team, on a repository or a whole namespace."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from registry.core.access import Role
from registry.metadata.insert import insert
from registry.metadata.schema import accounts, grants, repositories, teams


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a role: exactly one is set."""

    account_id: int | None = None
    team_id: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What a role is on: exactly one is set."""

    repository_id: int | None = None
    namespace_id: int | None = None


def put(connection: Connection, holder: Holder, place: Place, role: Role, *, now: int) -> None:
    """Give a role, in place of the one that the holder has there."""
    row = {
        "account_id": holder.account_id,
        "team_id": holder.team_id,
        "repository_id": place.repository_id,
        "namespace_id": place.namespace_id,
        "role": int(role),
        "created_at": now,
    }
    who = "account_id" if holder.team_id is None else "team_id"
    where = "repository_id" if place.namespace_id is None else "namespace_id"
    statement = insert(connection, grants).on_conflict_do_update(index_elements=[who, where], set_={"role": int(role)})
    connection.execute(statement, row)


def remove(connection: Connection, holder: Holder, place: Place) -> bool:
    """Take a role away; False if there was none."""
    where = (
        grants.c.account_id.is_not_distinct_from(holder.account_id),
        grants.c.team_id.is_not_distinct_from(holder.team_id),
        grants.c.repository_id.is_not_distinct_from(place.repository_id),
        grants.c.namespace_id.is_not_distinct_from(place.namespace_id),
    )
    return connection.execute(delete(grants).where(*where)).rowcount == 1


def remove_in_namespace(connection: Connection, account_id: int, namespace_id: int) -> None:
    """Take away every role that an account has in a namespace, on all of it or on single repositories."""
    inside = select(repositories.c.id).where(repositories.c.namespace_id == namespace_id)
    mine = grants.c.account_id == account_id
    connection.execute(delete(grants).where(mine, grants.c.namespace_id == namespace_id))
    connection.execute(delete(grants).where(mine, grants.c.repository_id.in_(inside)))


@dataclass(frozen=True, slots=True)
class Given:
    """A role with the names of its holder, `team:` before that of a team, and of its place, `/*` after a namespace."""

    holder: str
    place: str
    role: Role


def on(connection: Connection, place: Place) -> list[Given]:
    """Who has which role here."""
    namespace = accounts.alias("namespace")
    query = (
        select(accounts.c.name, teams.c.name, repositories.c.name, namespace.c.name, grants.c.role)
        .select_from(grants)
        .outerjoin(accounts, accounts.c.id == grants.c.account_id)
        .outerjoin(teams, teams.c.id == grants.c.team_id)
        .outerjoin(repositories, repositories.c.id == grants.c.repository_id)
        .outerjoin(namespace, namespace.c.id == grants.c.namespace_id)
        .where(
            grants.c.repository_id.is_not_distinct_from(place.repository_id),
            grants.c.namespace_id.is_not_distinct_from(place.namespace_id),
        )
        .order_by(grants.c.id)
    )
    return [
        Given(row[0] or f"team:{row[1]}", row[2] or f"{row[3]}/*", Role(row[4])) for row in connection.execute(query)
    ]
