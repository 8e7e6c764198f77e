"""What a server on SQLite has written down, read and set past it."""

import sqlite3
from contextlib import closing
from typing import Any

from tests.running import Registry

_PASSING = {
    "sessions": ("seen_at", "address"),
    "jobs": None,
    "traffic": None,
    "pulls": None,
    "usage": None,
    "login_failures": None,
    "installation": None,
    "access_changes": None,
    "alembic_version": None,
}
"""Columns that change with every look, None for all of them."""


def everything(registry: Registry) -> dict[str, list[str]]:
    """All rows of all tables, but for what background work and every look change."""
    found: dict[str, list[str]] = {}
    with closing(_open(registry)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            passing = _PASSING.get(table, ())
            if passing is None or table.startswith("sqlite_") or "search" in table:
                continue
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in passing]
            quoted = ", ".join('"' + name + '"' for name in columns)
            found[table] = sorted(map(repr, database.execute(f"SELECT {quoted} FROM {table}")))
    return found


def change(registry: Registry, statement: str, *values: Any) -> None:
    """Change something as nobody could by a request: the past."""
    with closing(_open(registry)) as database, database:
        database.execute(statement, values)


def scalar(registry: Registry, statement: str, *values: Any) -> Any:
    """One value."""
    with closing(_open(registry)) as database:
        row = database.execute(statement, values).fetchone()
        return None if row is None else row[0]


def _open(registry: Registry) -> sqlite3.Connection:
    return sqlite3.connect(registry.data / "registry.db", timeout=10)
