"""`INSERT ... ON CONFLICT`, which each engine spells the same and SQLAlchemy keeps in each dialect."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def insert(connection: Connection, table: Table) -> Any:
    """An insert that has `on_conflict_do_nothing` and `on_conflict_do_update`; its result tells the number of rows."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).execution_options(preserve_rowcount=True)
    return sqlite.insert(table)
