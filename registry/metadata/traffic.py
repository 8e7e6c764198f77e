"""What the instance did in each hour: one number a name and hour, which only grows."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, String, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from registry.metadata import given
from registry.metadata.schema import traffic

_OLD = (
    select(traffic.c.name, traffic.c.hour)
    .where(traffic.c.hour < bindparam("before"))
    .order_by(traffic.c.hour)
    .limit(bindparam("count"))
)
_TRIM = delete(traffic).where(tuple_(traffic.c.name, traffic.c.hour).in_(_OLD))


def add(connection: Connection, counted: Mapping[tuple[str, int], int]) -> None:
    """Add to the numbers of (name, hour since 1970 UTC)."""
    if counted:
        # In their order: several nodes add to the same rows.
        rows = ((*key, counted[key]) for key in sorted(counted))
        connection.execute(_insert(connection.dialect.name), {"counted": given.packed(rows)})


@cache
def _insert(dialect: str) -> Any:
    counted = given.rows(dialect, "counted", name=String, hour=BigInteger, value=BigInteger)
    engine = postgresql if dialect == "postgresql" else sqlite
    columns = ("name", "hour", "value")
    # Grouped, so that SQLite does not take the ON below for one of a join.
    rows = select(counted).group_by(counted.c.name, counted.c.hour, counted.c.value).order_by(*counted.c[:2])
    insert = engine.insert(traffic).from_select(columns, rows)
    return insert.on_conflict_do_update(
        index_elements=columns[:2], set_={"value": traffic.c.value + insert.excluded.value}
    )


def trim(connection: Connection, *, before_hour: int, count: int) -> int:
    """Remove up to `count` numbers of hours before an hour; returns how many."""
    return connection.execute(_TRIM, {"before": before_hour, "count": count}).rowcount
