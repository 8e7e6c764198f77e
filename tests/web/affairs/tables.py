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
        for table in _kept(database):
            passing = _PASSING.get(table) or ()
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in passing]
            quoted = ", ".join('"' + name + '"' for name in columns)
            found[table] = sorted(map(repr, database.execute(f"SELECT {quoted} FROM {table}")))
    return found


Row = dict[str, Any]
Cells = dict[str, dict[tuple[Any, ...], Row]]


def cells(registry: Registry) -> Cells:
    """The same as `everything`, by table, key and column."""
    found: Cells = {}
    with closing(_open(registry)) as database:
        for table in _kept(database):
            columns = database.execute(f"PRAGMA table_info({table})").fetchall()
            names = [row[1] for row in columns]
            keys = [row[1] for row in columns if row[5]]
            passing = _PASSING.get(table) or ()
            rows = [dict(zip(names, row, strict=True)) for row in database.execute(f"SELECT * FROM {table}")]
            found[table] = {
                tuple(row[key] for key in keys): {name: row[name] for name in names if name not in passing}
                for row in rows
            }
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


def _kept(database: sqlite3.Connection) -> list[str]:
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [
        table
        for table in names
        if _PASSING.get(table, ()) is not None and not table.startswith("sqlite_") and "search" not in table
    ]


def _open(registry: Registry) -> sqlite3.Connection:
    return sqlite3.connect(registry.data / "registry.db", timeout=10)
