"""Former names of repositories, and what a name means: the repository that has it, or else the one that had it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, delete, func, null, select
from sqlalchemy.engine import Connection

from registry.core.names import RepositoryName
from registry.metadata.insert import insert
from registry.metadata.schema import repositories, repository_aliases
from registry.metadata.ways import VISIBLE

_named = repositories.alias("of_this_name")
_HAS_IT = select(_named.c.id).where(_named.c.name == bindparam("name"))
_HAD_IT = select(repository_aliases.c.repository_id).where(repository_aliases.c.name == bindparam("name"))
MEANT: ColumnElement[Any] = func.coalesce(_HAS_IT.scalar_subquery(), _HAD_IT.scalar_subquery())
"""The id of the repository that the parameter `name` means, NULL for none. Former names are looked up only where no
repository has the name; no name is both."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A former name, since a time in ms since 1970 UTC."""

    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class FormerName:
    """A former name, and the one that its repository has now; None where that is not to be known."""

    name: str
    now: str | None
    created_at: int


def find(connection: Connection, name: RepositoryName) -> int | None:
    """The id of the repository that had this name."""
    found: int | None = connection.execute(_HAD_IT, {"name": name}).scalar()
    return found


def of(connection: Connection, repository_id: int) -> list[Alias]:
    """The former names of a repository, in byte order. There are few: their number is limited."""
    query = (
        select(repository_aliases.c.name, repository_aliases.c.created_at)
        .where(repository_aliases.c.repository_id == repository_id)
        .order_by(repository_aliases.c.name)
    )
    return [Alias(row[0], row[1]) for row in connection.execute(query)]


def inside(
    connection: Connection, namespace: str, account_id: int | None, *, after: str, count: int
) -> list[FormerName]:
    """The next former names in a namespace, in byte order, wherever what they mean is now: what that is called there is
    told to an account that may see it."""
    name = repository_aliases.c.name
    query = (
        select(name, case((VISIBLE, repositories.c.name), else_=null()), repository_aliases.c.created_at)
        .join(repositories, repositories.c.id == repository_aliases.c.repository_id)
        .where(name > max(after, f"{namespace}/"), name < f"{namespace}0")
        .order_by(name)
        .limit(count)
    )
    return [FormerName(*row) for row in connection.execute(query, {"account": account_id})]


def add(connection: Connection, repository_id: int, name: str, *, now: int) -> None:
    """Let a name go on to mean a repository that is about to get another one. After `access.lock_changes`."""
    row = {"name": name, "repository_id": repository_id, "created_at": now}
    connection.execute(insert(connection, repository_aliases), row)


def remove(connection: Connection, repository_id: int, name: str) -> bool:
    """Give a former name up; False if it was none of this repository. After `access.lock_changes`."""
    mine = (repository_aliases.c.name == name, repository_aliases.c.repository_id == repository_id)
    return connection.execute(delete(repository_aliases).where(*mine)).rowcount == 1
