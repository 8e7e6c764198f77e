"""The repositories that lead: those that were pulled most, and those that hold most."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, bindparam, select, union_all
from sqlalchemy.engine import Connection

from registry.core.access import Visibility
from registry.metadata.schema import repositories


@dataclass(frozen=True, slots=True)
class Ranked:
    """A repository as a ranking shows it. Sizes in bytes, times in ms since 1970 UTC."""

    name: str
    visibility: Visibility
    pulls: int
    pulled_at: int | None
    size_bytes: int
    tags: int


def _top(column: Column[int]) -> Select[Any]:
    shown = (
        repositories.c.name,
        repositories.c.visibility,
        repositories.c.pull_count.label("pull_count"),
        repositories.c.pulled_at,
        repositories.c.size_bytes.label("size_bytes"),
        repositories.c.tag_count,
        repositories.c.id,
    )
    # Each visibility by itself: so an index gives the first ones in their order.
    each = [
        select(
            select(*shown)
            .where(repositories.c.visibility == visibility.value, repositories.c.deleted_at.is_(None))
            .order_by(column.desc(), repositories.c.id.desc())
            .limit(bindparam("count"))
            .subquery(visibility.value)
        )
        for visibility in Visibility
    ]
    both = union_all(*each).subquery("leading")
    return select(*both.c[:6]).order_by(both.c[column.name].desc(), both.c.id.desc()).limit(bindparam("count"))


_MOST_PULLED = _top(repositories.c.pull_count)
_LARGEST = _top(repositories.c.size_bytes)


def top(connection: Connection, *, by_size: bool, count: int) -> list[Ranked]:
    """The `count` that are largest, or else were pulled most, whoever may see them."""
    rows = connection.execute(_LARGEST if by_size else _MOST_PULLED, {"count": count})
    return [Ranked(row[0], Visibility(row[1]), row[2], row[3], row[4], row[5]) for row in rows]
