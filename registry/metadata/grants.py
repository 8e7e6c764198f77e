"""Roles that were given: to an account or a team, on a repository or a whole namespace."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, literal, or_, select, union_all
from sqlalchemy.engine import Connection

from registry.core.access import Role
from registry.metadata.insert import insert
from registry.metadata.schema import BigId, accounts, grants, members, repositories, teams


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
    """A role with the names of its holder, `team:organization/team` for a team, and of its place, `/*` after a
    namespace."""

    holder: str
    place: str
    role: Role


_of_team = accounts.alias("of_team")


def on(connection: Connection, place: Place) -> list[Given]:
    """Who has which role here."""
    namespace = accounts.alias("namespace")
    query = (
        select(accounts.c.name, teams.c.name, repositories.c.name, namespace.c.name, grants.c.role, _of_team.c.name)
        .select_from(grants)
        .outerjoin(accounts, accounts.c.id == grants.c.account_id)
        .outerjoin(teams, teams.c.id == grants.c.team_id)
        .outerjoin(_of_team, _of_team.c.id == teams.c.organization_id)
        .outerjoin(repositories, repositories.c.id == grants.c.repository_id)
        .outerjoin(namespace, namespace.c.id == grants.c.namespace_id)
        .where(
            grants.c.repository_id.is_not_distinct_from(place.repository_id),
            grants.c.namespace_id.is_not_distinct_from(place.namespace_id),
        )
        .order_by(grants.c.id)
    )
    return [
        Given(row[0] or f"team:{row[5]}/{row[1]}", row[2] or f"{row[3]}/*", Role(row[4]))
        for row in connection.execute(query)
    ]


# Who has access, in one list


class Way(StrEnum):
    """Why somebody has a role on a repository."""

    OWNER = "owner"
    """Owns the namespace: is the user, or an owner of the organization."""
    NAMESPACE = "namespace"
    """Was given the role on the whole namespace."""
    REPOSITORY = "repository"
    """Was given the role on the repository."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Somebody's role, and why. `holder_kind`: `user`, `robot` or `team`; a team is named `team:organization/team`."""

    holder: str
    holder_kind: str
    title: str
    role: Role
    way: Way
    position: tuple[int, int]
    """Where it stands in the list."""


_WAYS = (Way.OWNER, Way.NAMESPACE, Way.REPOSITORY)


def standings(
    connection: Connection, place: Place, namespace_id: int | None, *, after: tuple[int, int] | None, count: int
) -> list[Standing]:
    """Who has access to a place in the namespace: its owners, then who has a role on all of it, then who has one on the
    repository; without the admins of the instance, who have access to everything."""
    parts = [_owners(namespace_id), _given(Way.NAMESPACE, Place(namespace_id=namespace_id))]
    if place.repository_id is not None:
        parts.append(_given(Way.REPOSITORY, place))
    found = union_all(*(select(_next(part, after, count).subquery()) for part in parts)).subquery()
    rows = connection.execute(select(found).order_by(found.c.way, found.c.id).limit(count)).all()
    return [_standing(row) for row in rows]


def _next(part: Select[Any], after: tuple[int, int] | None, count: int) -> Select[Any]:
    listed = part.subquery()
    query = select(listed).order_by(listed.c.way, listed.c.id).limit(count)
    if after is None:
        return query
    way, last = after
    return query.where(or_(listed.c.way > way, and_(listed.c.way == way, listed.c.id > last)))


def _owners(namespace_id: int | None) -> Select[Any]:
    """The user itself, or the owners of the organization."""
    owns = select(members.c.account_id).where(members.c.organization_id == namespace_id, members.c.is_owner)
    is_user = and_(accounts.c.id == namespace_id, accounts.c.kind == "user")
    columns = _columns(Way.OWNER, accounts.c.id, literal(int(Role.ADMIN)))
    return select(*columns, *_nobody()).where(or_(is_user, accounts.c.id.in_(owns)))


def _given(way: Way, place: Place) -> Select[Any]:
    where = (
        grants.c.namespace_id == place.namespace_id
        if place.repository_id is None
        else grants.c.repository_id == place.repository_id
    )
    return (
        select(*_columns(way, grants.c.id, grants.c.role), teams.c.name.label("team"), _of_team.c.name.label("of"))
        .select_from(grants)
        .outerjoin(accounts, accounts.c.id == grants.c.account_id)
        .outerjoin(teams, teams.c.id == grants.c.team_id)
        .outerjoin(_of_team, _of_team.c.id == teams.c.organization_id)
        .where(where)
    )


def _columns(way: Way, number: ColumnElement[int], role: ColumnElement[int]) -> tuple[Any, ...]:
    return (
        literal(_WAYS.index(way), BigId).label("way"),
        number.label("id"),
        role.label("role"),
        accounts.c.name.label("holder"),
        accounts.c.kind.label("kind"),
        accounts.c.title.label("title"),
    )


def _nobody() -> tuple[Any, ...]:
    none = literal(None, teams.c.name.type)
    return none.label("team"), none.label("of")


def _standing(row: Any) -> Standing:
    is_team = row.team is not None
    return Standing(
        holder=f"team:{row.of}/{row.team}" if is_team else row.holder,
        holder_kind="team" if is_team else row.kind,
        title="" if is_team else row.title,
        role=Role(row.role),
        way=_WAYS[row.way],
        position=(row.way, row.id),
    )


def one(connection: Connection, holder: Holder, place: Place) -> Role:
    """The role that a holder has at a place, NONE for none."""
    query = select(grants.c.role).where(
        grants.c.account_id.is_not_distinct_from(holder.account_id),
        grants.c.team_id.is_not_distinct_from(holder.team_id),
        grants.c.repository_id.is_not_distinct_from(place.repository_id),
        grants.c.namespace_id.is_not_distinct_from(place.namespace_id),
    )
    return Role(connection.execute(query).scalar() or 0)
