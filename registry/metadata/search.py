"""The index that repositories are searched by: pieces of three letters of names and descriptions, and who may see them.

SQLite: an FTS5 table with the trigram tokenizer; PostgreSQL: a table with a GIN index of pg_trgm. Triggers keep it like
`repositories`, in the same transaction (migration 0004). It does not decide: it names repositories that are worth
looking at, and none that others hide, so that neither results nor the time they take tell of those.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    column,
    func,
    literal,
    or_,
    select,
    table,
    union,
)
from sqlalchemy.engine import Connection

from registry.core.search import SearchText, intact_parts
from registry.metadata.schema import repositories
from registry.metadata.ways import ADMINISTERS, OWN_NAMESPACES, Viewer, only_if

TABLE = "repository_search"
_EDGES = str.maketrans(".-_", "///")
"""Names stand in the index with `/` around each of their words."""
_ESCAPE = "\\"
_FOR_ALL, _FOR_ADMINS = 0, -1
"""In `seen_by`, beside the namespace."""

_table = Table(
    TABLE,
    MetaData(),
    Column("repository_id", BigInteger, primary_key=True),
    Column("seen_by", ARRAY(BigInteger), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
)
"""On PostgreSQL."""
_virtual: Any = table(TABLE, column("rowid", BigInteger))
"""On SQLite. Its columns are named by what is matched: name, description, visibility, owner."""
_description: Any = func.lower(repositories.c.description)


def is_of_the_index(name: str | None) -> bool:
    """Whether a table, or an index of one, is part of it: those are no tables of the schema."""
    return name is not None and name.removeprefix("ix_").startswith(TABLE)


def holds(search: SearchText, *, in_name: bool = False) -> ColumnElement[bool]:
    """Whether a repository has every word, in its name or its description."""
    if in_name:
        return and_(*(_has(repositories.c.name, word) for word in search.words))
    return and_(*(or_(_has(repositories.c.name, word), _has(_description, word)) for word in search.words))


def may_be_meant(search: SearchText) -> ColumnElement[bool]:
    """Whether a repository has every word, or a name that may have one that is a letter off: for some few."""
    edged = _edged(repositories.c.name)
    return or_(holds(search), and_(*(_is_near(edged, word) for word in search.words)))


def _is_near(edged: Any, word: str) -> ColumnElement[bool]:
    pairs = (and_(*(_has(edged, part) for part in pair if part)) for pair in intact_parts(word))
    return or_(_has(edged, word), *pairs)


def _edged(name: Any) -> Any:
    for mark in ".-_":
        name = func.replace(name, mark, "/")
    return literal("/") + name + literal("/")


@dataclass(frozen=True, slots=True)
class Index:
    """Looks for at most `count` repositories that the viewer may see, but for those that it was given one by one; each
    method selects their `id`, in no order."""

    connection: Connection
    viewer: Viewer
    count: int

    def of_words(self, search: SearchText, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Those that may have every word: too many, never too few. There has to be a word that is long enough."""
        return self._found(_every([_either(word) for word in search.indexed]), *conditions)

    def of_last_part(self, search: SearchText, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Those whose name may have the text as a whole part."""
        return self._found(_in_name(f"/{search.whole}/"), *conditions)

    def of_beginning(self, search: SearchText, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Those whose name may have a word that begins with the text, which has two letters at least."""
        return self._found(_in_name(f"/{search.whole}"), *conditions)

    def of_typos(self, search: SearchText, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Those whose name may have every word, or one that is a letter off: too many, never too few."""
        return self._found(_every([_nearly(word) for word in search.indexed]), *conditions)

    def only_if(self, condition: ColumnElement[bool], query: Select[Any]) -> Select[Any]:
        """One of these where a condition holds that is about no repository; else nothing."""
        return only_if(self.connection, condition, query, self.count)

    def _found(self, wanted: "_Wanted", *conditions: ColumnElement[bool]) -> Select[Any]:
        is_postgresql = self.connection.dialect.name == "postgresql"
        key: Any = _table.c.repository_id if is_postgresql else _virtual.c.rowid
        query = select(key.label("id")).limit(self.count)
        if is_postgresql:
            shown = [] if self.viewer.is_open else [_table.c.seen_by.bool_op("&&")(_SEEN_BY)]
            # One by one, until there are enough: a join of its own making may read all of both first.
            itself = select(repositories.c.id).where(repositories.c.id == key, *conditions).correlate(_table)
            fits = [itself.offset(0).exists()] if conditions else []
            return query.where(wanted.like, *shown, *fits)
        if conditions:
            query = query.join(repositories, repositories.c.id == key).where(*conditions)
        match: Any = wanted.match
        if not self.viewer.is_open:
            match = literal("(") + _SHOWN + literal(f") AND ({match})")
        return query.where(column(TABLE).op("MATCH")(match))


_own = OWN_NAMESPACES.subquery("own").c.id
_SEEN_BY: Any = func.array(
    union(
        select(literal(_FOR_ALL, BigInteger).label("id")),
        select(_own),
        select(literal(_FOR_ADMINS, BigInteger)).where(ADMINISTERS),
    ).scalar_subquery()
)
"""For whom a caller looks. It is a condition of the index: a look at each row would go through those of others."""
_OWNER = func.char(*(19968 + (_own.op(">>")(bits).op("&")(4095)) for bits in (0, 12, 24)))
_OF_OWN = select(func.group_concat(' OR owner:"' + _OWNER + '"', "")).scalar_subquery()
_SHOWN: Any = (
    literal('visibility:"pub"') + func.coalesce(_OF_OWN, "") + case((ADMINISTERS, ' OR visibility:"prv"'), else_="")
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A condition in the words of both engines."""

    match: str
    like: ColumnElement[bool]


def _in_name(text: str) -> _Wanted:
    marked = text.translate(_EDGES)
    return _Wanted(f"name:{_quoted(marked)}", _has(_table.c.name, marked))


def _either(word: str) -> _Wanted:
    in_name = _in_name(word)
    described = _has(_table.c.description, word)
    return _Wanted(f"({in_name.match} OR description:{_quoted(word)})", or_(in_name.like, described))


def _nearly(word: str) -> _Wanted:
    """In the name, or one that may be a letter off."""
    pairs = [_every([_in_name(part) for part in pair if part]) for pair in intact_parts(word)]
    return _any([_in_name(word), *pairs])


def _every(parts: list[_Wanted]) -> _Wanted:
    return _Wanted(f"({' AND '.join(part.match for part in parts)})", and_(*(part.like for part in parts)))


def _any(parts: list[_Wanted]) -> _Wanted:
    return _Wanted(f"({' OR '.join(part.match for part in parts)})", or_(*(part.like for part in parts)))


def _quoted(text: str) -> str:
    """Nothing in it is an operator."""
    return '"' + text.replace('"', '""') + '"'


def _has(place: Any, text: str) -> ColumnElement[bool]:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    found: ColumnElement[bool] = place.like(f"%{text}%", escape=_ESCAPE)
    return found
