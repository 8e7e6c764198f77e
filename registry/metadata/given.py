"""Many rows in one parameter: a statement that takes them stays one text, prepared once, however many they are.

The rows travel as a JSON text, an array of arrays; bytes in hexadecimal.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    LargeBinary,
    String,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

Type = type[BigInteger] | type[LargeBinary] | type[String]


def rows(dialect: str, name: str, /, **columns: Type) -> Subquery:
    """What the parameter `name` gives, as a table of that name with these columns, in the words of an engine."""
    text = bindparam(name, type_=Text())
    if dialect == "sqlite":
        each = func.json_each(text).table_valued("value", name=f"{name}_each")
    else:
        each = func.jsonb_array_elements(cast(text, JSONB)).table_valued(column("value", JSONB), name=f"{name}_each")
    found = [_field(dialect, each.c.value, place, kind).label(key) for place, (key, kind) in enumerate(columns.items())]
    return select(*found).select_from(each).subquery(name)


def _field(dialect: str, row: Any, place: int, kind: Type) -> Any:
    if dialect == "sqlite":
        value = func.json_extract(row, literal_column(f"'$[{place}]'"), type_=kind())
        return func.unhex(value, type_=kind()) if kind is LargeBinary else value
    value = row.op("->>", return_type=Text())(literal_column(str(place)))
    return func.decode(value, literal_column("'hex'"), type_=kind()) if kind is LargeBinary else cast(value, kind())


def packed(values: Iterable[Iterable[object]]) -> str:
    """The parameter for these rows."""
    return json.dumps(
        [[value.hex() if isinstance(value, bytes) else value for value in row] for row in values],
        separators=(",", ":"),
    )
