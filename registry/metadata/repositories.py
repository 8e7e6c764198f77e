"""Repositories: found and made by name."""

from sqlalchemy import bindparam, exists, select
from sqlalchemy.engine import Connection

from registry.core.names import RepositoryName
from registry.metadata.insert import insert
from registry.metadata.schema import manifests, repositories

_FIND = select(repositories.c.id).where(repositories.c.name == bindparam("name"))
_LOCK = _FIND.with_for_update(read=True, key_share=True)
_PAGE = (
    select(repositories.c.name)
    .where(repositories.c.name > bindparam("after"))
    .where(exists().where(manifests.c.repository_id == repositories.c.id))
    .order_by(repositories.c.name)
    .limit(bindparam("count"))
)


def find(connection: Connection, name: RepositoryName) -> int | None:
    """The id of a repository, or None."""
    found: int | None = connection.execute(_FIND, {"name": name}).scalar()
    return found


def lock(connection: Connection, name: RepositoryName) -> int | None:
    """As `find`, and the repository stays until the transaction ends."""
    found: int | None = connection.execute(_LOCK, {"name": name}).scalar()
    return found


def ensure(connection: Connection, name: RepositoryName, *, now: int) -> int:
    """The id of the repository, which is made if it does not exist; it stays until the transaction ends."""
    found = lock(connection, name)
    if found is None:
        connection.execute(
            insert(connection, repositories).on_conflict_do_nothing(index_elements=["name"]),
            {"name": name, "created_at": now},
        )
        found = lock(connection, name)
    assert found is not None
    return found


def page(connection: Connection, *, after: str, count: int) -> list[str]:
    """The next `count` names after `after`, in byte order, of repositories that hold a manifest."""
    return list(connection.execute(_PAGE, {"after": after, "count": count}).scalars())
