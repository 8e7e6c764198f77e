"""What people write about a repository."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import accounts, readmes


@dataclass(frozen=True, slots=True)
class Readme:
    """A README as it was written, in Markdown. `updated_by` None: an account that is not known any more, or nobody's.
    Time in ms since 1970 UTC."""

    markdown: str
    updated_at: int
    updated_by: str | None


def get(connection: Connection, repository_id: int) -> Readme | None:
    """The README of a repository."""
    query = (
        select(readmes.c.markdown, readmes.c.updated_at, accounts.c.name)
        .outerjoin(accounts, accounts.c.id == readmes.c.updated_by)
        .where(readmes.c.repository_id == repository_id)
    )
    row = connection.execute(query).first()
    return None if row is None else Readme(*row)


def put(connection: Connection, repository_id: int, markdown: str, *, by: int | None, now: int) -> None:
    """Write it, in place of the one that is there."""
    values = {"markdown": markdown, "updated_at": now, "updated_by": by}
    statement = insert(connection, readmes).on_conflict_do_update(index_elements=["repository_id"], set_=values)
    connection.execute(statement, {"repository_id": repository_id, **values})


def remove(connection: Connection, repository_id: int) -> bool:
    """Take it away; False if there was none."""
    return connection.execute(delete(readmes).where(readmes.c.repository_id == repository_id)).rowcount == 1
