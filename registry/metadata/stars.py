"""Who likes which repository. The number that lists show is kept beside, exactly: it changes with the rows."""

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import repositories, stars


def add(connection: Connection, account_id: int, repository_id: int, *, now: int) -> bool:
    """An account likes a repository, which is held; False if it did already."""
    row = {"account_id": account_id, "repository_id": repository_id, "created_at": now}
    if connection.execute(insert(connection, stars).on_conflict_do_nothing(), row).rowcount != 1:
        return False
    _count(connection, repository_id, 1)
    return True


def remove(connection: Connection, account_id: int, repository_id: int) -> bool:
    """No longer; False if it did not."""
    mine = (stars.c.account_id == account_id, stars.c.repository_id == repository_id)
    if connection.execute(delete(stars).where(*mine)).rowcount != 1:
        return False
    _count(connection, repository_id, -1)
    return True


def remove_all(connection: Connection, account_id: int) -> None:
    """An account likes nothing any more."""
    liked = select(stars.c.repository_id).where(stars.c.account_id == account_id)
    # Held in the order of their ids, as everybody does who holds several.
    held = list(
        connection.execute(
            select(repositories.c.id)
            .where(repositories.c.id.in_(liked))
            .order_by(repositories.c.id)
            .with_for_update(key_share=True)
        ).scalars()
    )
    gone = select(stars.c.repository_id).where(stars.c.account_id == account_id, stars.c.repository_id.in_(held))
    fewer = update(repositories).where(repositories.c.id.in_(gone))
    connection.execute(fewer.values(star_count=repositories.c.star_count - 1))
    connection.execute(delete(stars).where(stars.c.account_id == account_id))


def has(connection: Connection, account_id: int, repository_id: int) -> bool:
    """Whether an account likes a repository."""
    mine = (stars.c.account_id == account_id, stars.c.repository_id == repository_id)
    return connection.execute(select(stars.c.account_id).where(*mine)).first() is not None


def _count(connection: Connection, repository_id: int, more: int) -> None:
    changed = update(repositories).where(repositories.c.id == repository_id)
    connection.execute(changed.values(star_count=repositories.c.star_count + more))
