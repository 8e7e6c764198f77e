"""A database with rows in every table, and values that two engines could understand differently."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, Column, LargeBinary, String, Table, delete, func, insert, select
from sqlalchemy.engine import Connection

from registry.metadata.schema import incoming, metadata

TEXTS = (
    "",
    "plain",
    "Z",
    "a-b",
    "a_b",
    "aB",
    "tab\tnew\nline",
    "back\\slash \\N",
    "quote'\"",
    "é ß 中 🐳",
    "NULL",
    "  ",
)
"""Their order differs between languages; some mean something to one of the two engines."""
NUMBERS = (0, 1, 2**31, 2**53 + 1, 2**62)
LATE = 7
"""So many rows at the end of every numbered table are deleted again: their ids have been given out."""
CHOICES: dict[str, Callable[[int], Any]] = {
    "installation.id": lambda _: 1,
    "installation.identity": lambda _: "identity of the source",
    "installation.moved_to": lambda _: None,
    "installation.moved_at": lambda _: None,
    "accounts.kind": lambda n: ("user", "organization", "robot")[n % 3],
    "accounts.owner_id": lambda n: 1 if n % 3 == 2 else None,
    "tokens.kind": lambda n: ("personal", "refresh")[n % 2],
    "tokens.parent_id": lambda n: n or None,
    "grants.role": lambda n: n % 3 + 1,
    "grants.account_id": lambda n: n + 1 if n % 2 else None,
    "grants.team_id": lambda n: None if n % 2 else n + 1,
    "grants.repository_id": lambda n: n + 1 if n % 4 < 2 else None,
    "grants.namespace_id": lambda n: None if n % 4 < 2 else n + 1,
    "repository_facets.kind": lambda n: ("artifact", "platform")[n % 2],
    "objects.state": lambda n: ("uploading", "live", "dead")[n % 3],
    "uploads.state": lambda n: ("open", "finalizing", "finished")[n % 3],
    # A referrer may be there before its subject, and after it.
    "manifests.subject_id": lambda n: (None, n + 3, n, 1)[n % 4],
    "manifest_blobs.linked_digest": lambda _: None,
}


def fill(connection: Connection, rows: int = 12) -> None:
    """Write so many rows into every table of an empty database (one where there can be no more)."""
    keys: dict[str, list[Any]] = {}
    for table in metadata.sorted_tables:
        if table is incoming:
            continue
        count = 1 if table.name == "installation" else rows
        found = [_row(table, number, keys) for number in range(count)]
        # In one statement, because a row may refer to a later one.
        late = [] if "id" not in table.c or table.c.id.identity is None else [_row(table, count + LATE - 1, keys)]
        _write(connection, table, found, late)
        keys[table.name] = [tuple(row[column.name] for column in table.primary_key) for row in found]


def _write(connection: Connection, table: Table, rows: list[dict[str, Any]], late: list[dict[str, Any]]) -> None:
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.execute(insert(table), rows)
    if late and table.name != "audit":
        for row in late:
            connection.execute(insert(table), row)
        connection.execute(delete(table).where(table.c.id == late[0]["id"]))


def _row(table: Table, number: int, keys: dict[str, list[Any]]) -> dict[str, Any]:
    row = {column.name: _value(column, number, keys) for column in table.c}
    if table.name == "manifest_blobs" and number % 2:
        row["repository_id"], row["linked_digest"] = keys["repository_blobs"][number]
        row["digest"] = row["linked_digest"]
    return row


def _value(column: Column[Any], number: int, keys: dict[str, list[Any]]) -> Any:
    chosen = CHOICES.get(f"{column.table.name}.{column.name}")
    if chosen is not None:
        return chosen(number)
    if column.name == "id" and column.identity is not None:
        return number + 1
    for reference in column.foreign_keys:
        parents = keys[reference.column.table.name]
        place = [each.name for each in reference.column.table.primary_key].index(reference.column.name)
        return parents[number % len(parents)][place]
    if column.nullable and number % 3 == 2:
        return None
    return _plain(column, number)


def _plain(column: Column[Any], number: int) -> Any:
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, LargeBinary):
        return bytes([number, 0, 255, 10, 92]) * (1 + number % 3)
    if isinstance(column.type, String):
        is_one = column.primary_key or column.unique or column.table.name in ("teams", "tags", "tag_history")
        text = TEXTS[number % len(TEXTS)]
        return f"{text}{number}" if is_one else text
    if column.primary_key or column.unique:
        return number
    is_big = column.type.__class__.__name__ == "BigInteger" and column.name not in ("id", "account_id")
    return NUMBERS[number % len(NUMBERS)] if is_big else number


def everything(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but what only one of two databases has to say."""
    found = {}
    for table in metadata.sorted_tables:
        columns = [column for column in table.c if column.name not in ("moved_to", "moved_at")]
        rows = [tuple(row) for row in connection.execute(select(*columns))]
        found[table.name] = sorted(rows, key=repr)
    return found


def counts(connection: Connection) -> dict[str, int]:
    """Rows of every table."""
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }
