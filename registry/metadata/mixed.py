"""Rows of several kinds in one statement: a thing with all that belongs to it is asked for once."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, LargeBinary, Select, Text, cast, literal, null, select
from sqlalchemy.types import TypeEngine

_SHAPE: dict[str, TypeEngine[Any]] = {
    "id": BigInteger(),
    "digest": LargeBinary(),
    "subject": LargeBinary(),
    "name": Text(),
    "media_type": Text(),
    "artifact_type": Text(),
    "size": BigInteger(),
    "at": BigInteger(),
    "number": BigInteger(),
    "text": Text(),
    "payload": LargeBinary(),
}
"""What any of them may have. Those without a meaning of their own, `number` and `text`, say what their kind needs."""


def rows(kind: str, **columns: ColumnElement[Any]) -> Select[Any]:
    """Rows of a `kind`, as a part of a UNION ALL: they have these columns, and nothing in the others."""
    assert columns.keys() <= _SHAPE.keys()
    filled = (columns.get(name, cast(null(), of_type)).label(name) for name, of_type in _SHAPE.items())
    return select(literal(kind, Text).label("kind"), *filled)
