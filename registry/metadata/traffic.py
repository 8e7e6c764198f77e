"""What the instance did in each hour and in each day: one number a name and time, which only grows."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, String, bindparam, delete, select, tuple_
from sqlalchemy.engine import Connection

from registry.metadata import given
from registry.metadata.insert import insert_in
from registry.metadata.schema import traffic

HOUR, DAY = 1, 24
"""How many hours a number is about."""

_KEY = (traffic.c.name, traffic.c.hours, traffic.c.begins)
_OLD = (
    select(*_KEY)
    .where(traffic.c.hours == bindparam("hours"), traffic.c.begins < bindparam("before"))
    .order_by(traffic.c.begins)
    .limit(bindparam("count"))
)
_TRIM = delete(traffic).where(tuple_(*_KEY).in_(_OLD))
_SINCE = (
    select(traffic.c.name, traffic.c.begins, traffic.c.value)
    .where(traffic.c.hours == bindparam("hours"), traffic.c.begins >= bindparam("since"))
    .order_by(traffic.c.begins)
)


def add(connection: Connection, counted: Mapping[tuple[str, int], int]) -> None:
    """Add to the numbers of (name, hour since 1970 UTC), and to those of their days."""
    if not counted:
        return
    rows: Counter[tuple[str, int, int]] = Counter()
    for (name, hour), value in counted.items():
        rows[name, HOUR, hour] += value
        rows[name, DAY, hour // DAY * DAY] += value
    # In their order: several nodes add to the same rows.
    sorted_rows = [(*key, rows[key]) for key in sorted(rows)]
    connection.execute(_insert(connection.dialect.name), given.parameters(connection, "counted", sorted_rows))


@cache
def _insert(dialect: str) -> Any:
    counted = given.rows(dialect, "counted", name=String, hours=BigInteger, begins=BigInteger, value=BigInteger)
    columns = ("name", "hours", "begins", "value")
    # Grouped, so that SQLite does not take the ON below for one of a join.
    rows = select(counted).group_by(*counted.c).order_by(*counted.c[:3])
    insert = insert_in(dialect, traffic).from_select(columns, rows)
    return insert.on_conflict_do_update(
        index_elements=columns[:3], set_={"value": traffic.c.value + insert.excluded.value}
    )


def since(connection: Connection, hours: int, begins: int) -> list[tuple[str, int, int]]:
    """The numbers about so many hours each, HOUR or DAY, from the hour `begins` on: name, hour with which each begins,
    value; the oldest first."""
    rows = connection.execute(_SINCE, {"hours": hours, "since": begins})
    return [(row[0], row[1], row[2]) for row in rows]


def trim(connection: Connection, hours: int, *, before: int, count: int) -> int:
    """Remove up to `count` numbers about so many hours that begin before an hour; returns how many."""
    return connection.execute(_TRIM, {"hours": hours, "before": before, "count": count}).rowcount
