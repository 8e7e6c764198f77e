"""`INSERT ... ON CONFLICT`, which each engine spells the same and SQLAlchemy keeps in each dialect."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Connection


def insert(connection: Connection, table: Table) -> Any:
    """An insert that has `on_conflict_do_nothing` and `on_conflict_do_update`; its result tells the number of rows."""
    found = insert_in(connection.dialect.name, table)
    return found.execution_options(preserve_rowcount=True) if connection.dialect.name == "postgresql" else found


def insert_in(dialect: str, table: Table) -> Any:
    """The same in the words of an engine. The other one's are not loaded."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
