"""Many rows in parameters of fixed number: a statement that takes them stays one text, prepared once, however many they
are.

SQLite takes them as one JSON text, an array of arrays, with bytes in hexadecimal; PostgreSQL as an array for each
column, whose length its planner sees.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    LargeBinary,
    String,
    Subquery,
    Text,
    bindparam,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.engine import Connection

Type = type[BigInteger] | type[LargeBinary] | type[String]


def rows(dialect: str, name: str, /, **columns: Type) -> Subquery:
    """What `parameters` gives under `name`, as a table of that name with these columns, in the words of an engine."""
    if dialect == "sqlite":
        each = func.json_each(bindparam(name, type_=Text())).table_valued("value", name=f"{name}_each")
        fields = [_field(each.c.value, place, kind).label(key) for place, (key, kind) in enumerate(columns.items())]
        return select(*fields).select_from(each).subquery(name)
    arrays = [bindparam(f"{name}_{place}", type_=ARRAY(kind())) for place, kind in enumerate(columns.values())]
    typed = [column(key, kind()) for key, kind in columns.items()]
    table = func.unnest(*arrays).table_valued(*typed, name=f"{name}_each")
    return select(*table.render_derived().c).subquery(name)


def _field(row: Any, place: int, kind: Type) -> Any:
    value = func.json_extract(row, literal_column(f"'$[{place}]'"), type_=kind())
    return func.unhex(value, type_=kind()) if kind is LargeBinary else value


def parameters(connection: Connection, name: str, given: Iterable[tuple[object, ...]]) -> dict[str, object]:
    """The parameters for these rows, at least one."""
    if connection.dialect.name == "sqlite":
        plain = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in given]
        return {name: json.dumps(plain, separators=(",", ":"))}
    return {f"{name}_{place}": list(column) for place, column in enumerate(zip(*given, strict=True))}
