"""A SQLite database moves to PostgreSQL, whole and verified.

    target   empty, or the unfinished target of this very move; nobody may serve from it (`incoming`)
    source   closed for good (`moved`): what is copied cannot change, also between two attempts
    rows     table by table in the order of foreign keys, page by page in the order of keys; a page and how far it went
             are one transaction of the target, so an attempt that was killed goes on behind its last page
    check    every row of every table is read again on both sides and compared by count and hash
    open     the target forgets that it was incoming, and is the registry from then on

References of a table to itself may point forward (a referrer that was pushed before its subject): these are filled in
once all rows are there.
"""

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Select,
    String,
    Table,
    bindparam,
    collate,
    create_engine,
    delete,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.engine import URL, Connection, Row
from sqlalchemy.exc import DataError, IntegrityError

from registry.metadata import migrate, moved, sqlite
from registry.metadata.failures import translated
from registry.metadata.installation import IDS_SKIPPED
from registry.metadata.moved import Closed
from registry.metadata.postgresql import PostgresqlDatabase
from registry.metadata.schema import incoming, installation, metadata, objects

PAGE_ROWS = 2_000
PAGE_BYTES = 8 * 1024 * 1024
"""A page ends with the row that reaches either: manifests are up to some megabytes each."""
CONNECT_LIMIT_S = 10
REPLACEMENT = "\ufffd"

_TABLES = [table for table in metadata.sorted_tables if table is not incoming]
_NOT_COPIED = {installation.c.moved_to, installation.c.moved_at}
_START: dict[str, Any] = {"table": None, "key": None}


class CopyRefused(Exception):
    """The database cannot be moved, for a reason that the operator can change."""


@dataclass(frozen=True, slots=True)
class Step:
    """What has just been done: so many more rows of a table, out of `total` of all tables in this phase. `note` is
    something that the operator ought to know."""

    phase: Literal["copy", "verify"]
    table: str
    rows: int
    total: int
    note: str | None = None


def move(source: Path, target: PostgresqlDatabase, *, to: str, now: int) -> Generator[Step]:
    """Move the SQLite database in the file `source` to `target`, which is called `to` (without password). Blocks.

    After the last step the target is whole and the source closed. An attempt that ends before leaves the target
    unfinished, and, once it is prepared, the source closed: the same call goes on. Raises CopyRefused,
    DatabaseNotCurrent, DatabaseTooNew, DatabaseUnusable, LibraryTooOld, Unavailable, StorageFull.
    """
    with translated(), _reading(source) as reading, _filling(target) as engine:
        identity, closed = _look_at_source(reading)
        _require_usable(engine)
        target.migrate()
        began_at = _prepare(engine, identity, closed, to=to, now=now)
        if closed is None:
            with _writing(source) as connection:
                moved.close(connection, Closed(to, began_at))
        copy = _Copy(reading, engine)
        yield from copy.rows()
        copy.links()
        copy.sequences()
        yield from copy.verify()
        with engine.begin() as connection:
            connection.execute(delete(incoming))


def take_back(source: Path) -> bool:
    """Let the SQLite database in a file serve again that was moved away; False if it was not. Blocks.
    Raises CopyRefused, DatabaseNotCurrent, LibraryTooOld, Unavailable."""
    with translated(), _writing(source) as connection:
        migrate.require_current(connection)
        return moved.reopen(connection)


@contextmanager
def _reading(file: Path) -> Iterator[Connection]:
    engine = sqlite.reading_engine(_url_of(file), connections=1)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _filling(target: PostgresqlDatabase) -> Iterator[Engine]:
    """Connections past a pooler, whose transactions may take as long as they need."""
    engine = create_engine(target.direct_url, hide_parameters=True, connect_args={"connect_timeout": CONNECT_LIMIT_S})
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _writing(file: Path) -> Iterator[Connection]:
    """One transaction, with the write lock from its beginning."""
    engine = sqlite.writing_engine(_url_of(file), synchronous="FULL")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _url_of(file: Path) -> URL:
    """Raises CopyRefused: SQLite would make a new database where there is none."""
    if not file.is_file():
        raise CopyRefused(f"there is no database to move: {file} does not exist")
    return URL.create("sqlite", database=str(file))


def _look_at_source(connection: Connection) -> tuple[str, Closed | None]:
    """The installation that moves, and the move that an earlier attempt has begun."""
    with connection.begin():
        migrate.require_current(connection)
        identity = connection.execute(select(installation.c.identity)).scalar()
        if identity is None:
            raise CopyRefused("the database that shall move holds no registry: it has never been served from")
        if connection.execute(select(incoming.c.id)).first() is not None:
            raise CopyRefused("the database that shall move is itself the unfinished copy of another one")
        return identity, moved.find(connection)


def _prepare(target: Engine, identity: str, closed: Closed | None, *, to: str, now: int) -> int:
    """Make the target ready for this move, or find that it is; returns when the move began. Raises CopyRefused."""
    with target.begin() as connection:
        found = connection.execute(select(incoming.c.identity, incoming.c.began_at, incoming.c.position)).first()
        if found is None:
            is_copy = connection.execute(select(installation.c.identity)).scalar() == identity
            if closed is None and is_copy:
                raise CopyRefused(
                    "the target holds an older copy of this database, which has been taken back since: nothing must be"
                    " served from there any more; drop it, and give this one an empty database"
                )
            if closed is not None and closed.to != to:
                raise CopyRefused(
                    f"this database has been moved to {closed.to}, or is on its way there: give that as --to, or"
                    " take it back first (--undo)"
                )
            if is_copy:
                raise CopyRefused("this database has been moved already: the target is whole, serve from there")
            _require_empty(connection)
            began_at = now if closed is None else closed.at
            row = {"id": 1, "identity": identity, "began_at": began_at, "position": json.dumps(_START)}
            connection.execute(insert(incoming), row)
            return began_at
    is_same = found.identity == identity and (
        closed.at == found.began_at if closed is not None else json.loads(found.position) == _START
    )
    if not is_same:
        raise CopyRefused(
            "the target holds an unfinished move of another database, or one that was taken back meanwhile: give this"
            " one an empty database"
        )
    return cast("int", found.began_at)


def _require_usable(target: Engine) -> None:
    """Nothing of somebody else, and no older schema: a registry may live there. Raises CopyRefused."""
    with target.connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        found = migrate.current(connection)
        names = set(inspect(connection).get_table_names())
    if encoding != "UTF8":
        raise CopyRefused(f"the target stores text as {encoding}: make a database with the encoding UTF8")
    if found is None and names & metadata.tables.keys():
        raise CopyRefused("the target is not empty: it has tables of something else")
    if found is not None and found < migrate.head():
        raise CopyRefused(
            f"the target is not empty: it holds a database with the older schema {found}. If it may be overwritten,"
            " make it empty first"
        )


def _require_empty(connection: Connection) -> None:
    """No row in any table."""
    held = connection.execute(
        union_all(*(select(literal(table.name)).where(select(table).exists()) for table in _TABLES))
    ).scalars()
    names = sorted(held)
    if names:
        raise CopyRefused(f"the target is not empty: there are rows in {', '.join(names)}")


class _Copy:
    """One attempt. `source` is a connection to the closed database."""

    def __init__(self, source: Connection, target: Engine) -> None:
        self._source = source
        self._target = target
        self._counts = _counts(source)

    def rows(self) -> Iterator[Step]:
        """Every row that is not there yet, a page at a time."""
        with self._target.connect() as connection:
            position = connection.execute(select(incoming.c.position)).scalar_one()
        begun, key = _unpack(position)
        names = [table.name for table in _TABLES]
        first = 0 if begun is None else names.index(begun)
        for table in _TABLES[:first]:
            yield self._step("copy", table, self._counts[table.name])
        for table in _TABLES[first:]:
            after = key if table.name == begun else None
            if after is not None:
                yield self._step("copy", table, self._already(table))
            for page in _pages(self._source.execute(_rows_after(table, after)), _key_places(table)):
                position = self._write(table, page, position)
                note = None if not page.cleaned else _cleaned_note(table, page.cleaned)
                yield self._step("copy", table, len(page.rows), note)

    def _write(self, table: Table, page: "_Page", position: str) -> str:
        """A page and how far it goes, in one transaction; returns that. Two attempts at once cannot both do it."""
        reached = _pack(table, page.key)
        with self._target.begin() as connection:
            moved_on = update(incoming).where(incoming.c.position == position).values(position=reached)
            if connection.execute(moved_on).rowcount != 1:
                raise CopyRefused("somebody else is writing to the target: is this move running twice?")
            try:
                connection.execute(insert(table), [_without_forward_links(table, row) for row in page.rows])
            except (DataError, IntegrityError) as error:
                # Only its first line: the others hold the row.
                reason = str(error.orig).partition("\n")[0]
                raise CopyRefused(f"PostgreSQL does not take a row of {table.name}: {reason}") from None
        return reached

    def _already(self, table: Table) -> int:
        with self._target.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def links(self) -> None:
        """References of a table to itself that point forward: their rows exist by now."""
        for table in _TABLES:
            for column in _self_references(table):
                forward = select(table.c.id, column).where(column > table.c.id).order_by(table.c.id)
                link = update(table).where(table.c.id == bindparam("row")).values({column: bindparam("link")})
                for part in self._source.execute(forward).partitions(PAGE_ROWS):
                    with self._target.begin() as connection:
                        connection.execute(link, [{"row": row[0], "link": row[1]} for row in part])

    def sequences(self) -> None:
        """No id is given out twice: the target goes on behind the highest one that the source ever gave out, and for
        objects behind those too that it may have lost in a power cut since its last start."""
        given = {row[0]: row[1] for row in self._source.execute(text("SELECT name, seq FROM sqlite_sequence"))}
        set_to = text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :highest)")
        with self._target.begin() as connection:
            for table in _TABLES:
                if table.c.get("id") is None or table.c.id.identity is None:
                    continue
                highest = self._source.execute(select(func.max(table.c.id))).scalar() or 0
                highest = max(highest, given.get(table.name, 0)) + (IDS_SKIPPED if table is objects else 0)
                if highest:
                    connection.execute(set_to, {"table": table.name, "highest": highest})

    def verify(self) -> Iterator[Step]:
        """Read everything again on both sides. Raises CopyRefused at the first table that differs."""
        for table in _TABLES:
            mine = _checksum(self._source, table)
            with self._target.connect() as connection:
                theirs = _checksum(connection, table)
            if mine != theirs:
                raise CopyRefused(
                    f"the copy of {table.name} differs: {mine[0]} rows here, {theirs[0]} there. Somebody has written to"
                    " the target: take the move back (--undo), make the target empty, and begin again"
                )
            yield self._step("verify", table, mine[0])

    def _step(self, phase: Literal["copy", "verify"], table: Table, rows: int, note: str | None = None) -> Step:
        return Step(phase, table.name, rows, sum(self._counts.values()), note)


@dataclass(slots=True)
class _Page:
    """Rows for the target, the key of the last one as the source has it, and how many texts were cleaned."""

    rows: list[dict[str, Any]]
    key: list[Any]
    cleaned: int


def _pages(rows: Any, key_places: list[int]) -> Iterator[_Page]:
    """Rows in pages of a bounded size."""
    page, size = _Page([], [], 0), 0
    for row in rows:
        values, cleaned = _clean(row)
        page.rows.append(dict(zip(row._fields, values, strict=True)))
        page.key = [row[place] for place in key_places]
        page.cleaned += cleaned
        size += sum(len(value) for value in values if isinstance(value, str | bytes))
        if len(page.rows) >= PAGE_ROWS or size >= PAGE_BYTES:
            yield page
            page, size = _Page([], [], 0), 0
    if page.rows:
        yield page


def _clean(row: Row[Any]) -> tuple[tuple[Any, ...], int]:
    """The row as PostgreSQL can store it: no NUL in texts; and in how many there was one."""
    dirty = sum(1 for value in row if isinstance(value, str) and "\0" in value)
    if not dirty:
        return tuple(row), 0
    return tuple(value.replace("\0", REPLACEMENT) if isinstance(value, str) else value for value in row), dirty


def _cleaned_note(table: Table, count: int) -> str:
    return f"{count} texts of {table.name} held a NUL character, which PostgreSQL cannot store: it is {REPLACEMENT} now"


def _columns(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if column not in _NOT_COPIED]


def _key_places(table: Table) -> list[int]:
    names = [column.name for column in _columns(table)]
    return [names.index(column.name) for column in table.primary_key]


def _rows_after(table: Table, key: list[Any] | None) -> Select[Any]:
    """All rows in the order of keys, behind one of them."""
    columns = list(table.primary_key)
    rows = select(*_columns(table)).order_by(*columns)
    return rows if key is None else rows.where(tuple_(*columns) > tuple_(*map(literal, key)))


def _self_references(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if any(reference.column.table is table for reference in column.foreign_keys)]


def _without_forward_links(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    for column in _self_references(table):
        if row[column.name] is not None and row[column.name] > row["id"]:
            row[column.name] = None
    return row


def _counts(connection: Connection) -> dict[str, int]:
    """The rows of each table."""
    each = (select(literal(table.name), select(func.count()).select_from(table).scalar_subquery()) for table in _TABLES)
    return {row[0]: row[1] for row in connection.execute(union_all(*each))}


def _checksum(connection: Connection, table: Table) -> tuple[int, str]:
    """The number of rows, and a hash over all of them in the order of keys, the same on both engines."""
    order = [_ordered(connection, column) for column in table.primary_key]
    # A manifest may be megabytes: few are held at once.
    buffer = 16 if "payload" in table.c else PAGE_ROWS
    options = {"stream_results": True, "max_row_buffer": buffer}
    hasher, count = hashlib.sha256(), 0
    for row in connection.execute(select(*_columns(table)).order_by(*order), execution_options=options):
        hasher.update(repr(_clean(row)[0]).encode())
        count += 1
    return count, hasher.hexdigest()


def _ordered(connection: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """A key as both engines sort it: byte by byte."""
    is_text = isinstance(column.type, String) and connection.dialect.name == "postgresql"
    return collate(column, "C") if is_text else column


def _pack(table: Table, key: list[Any]) -> str:
    packed = [{"bytes": value.hex()} if isinstance(value, bytes) else value for value in key]
    return json.dumps({"table": table.name, "key": packed})


def _unpack(position: str) -> tuple[str | None, list[Any] | None]:
    """The table that was being copied, and its last key; None at the start."""
    found = json.loads(position)
    key = found["key"]
    if key is not None:
        key = [bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value for value in key]
    return found["table"], key
