"""Why somebody may see a repository, as SQL: conditions, and walks through indexes that each stop at a number of rows.

It is public; it is in a namespace that the caller owns or has a role on; a role on it was given to the caller; the
caller administers the instance. The same rule as `core.access.decide`: a test compares the two. A list is the union of
one walk a way, so that what others hide is not walked through, whoever asks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    SelectBase,
    and_,
    any_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.engine import Connection

from registry.core.access import TokenLimits, Visibility
from registry.metadata.schema import BigId, accounts, grants, members, repositories, team_members

CALLER: Any = bindparam("account", type_=BigId)
"""The account that asks, NULL for everybody."""

OWN_NAMESPACES = union(
    select(accounts.c.id).where(accounts.c.id == CALLER),
    select(members.c.organization_id).where(members.c.account_id == CALLER, members.c.is_owner),
    select(grants.c.namespace_id).where(grants.c.account_id == CALLER, grants.c.namespace_id.is_not(None)),
    select(grants.c.namespace_id)
    .join(team_members, team_members.c.team_id == grants.c.team_id)
    .where(team_members.c.account_id == CALLER, grants.c.namespace_id.is_not(None)),
)
OWN_REPOSITORIES = union(
    select(grants.c.repository_id).where(grants.c.account_id == CALLER, grants.c.repository_id.is_not(None)),
    select(grants.c.repository_id)
    .join(team_members, team_members.c.team_id == grants.c.team_id)
    .where(team_members.c.account_id == CALLER, grants.c.repository_id.is_not(None)),
)
ADMINISTERS = select(accounts.c.is_admin).where(accounts.c.id == CALLER).scalar_subquery()
_IS_ADMIN = exists().where(accounts.c.id == CALLER, accounts.c.is_admin)
VISIBLE = or_(
    repositories.c.visibility == Visibility.PUBLIC.value,
    repositories.c.namespace_id.in_(OWN_NAMESPACES),
    repositories.c.id.in_(OWN_REPOSITORIES),
    _IS_ADMIN,
)
"""For each of a few repositories: whether the caller may see it."""


def covered(entries: Iterable[str]) -> ColumnElement[bool]:
    """`TokenLimits.covers` as a condition."""
    listed = list(entries)
    exact = [entry for entry in listed if not entry.endswith("/*")]
    return or_(repositories.c.name.in_(exact), *(below(entry[:-2]) for entry in listed if entry.endswith("/*")))


def below(namespace: str) -> ColumnElement[bool]:
    """Names that begin with `namespace/`: what sorts between that and `namespace0`, the character after."""
    return and_(repositories.c.name > f"{namespace}/", repositories.c.name < f"{namespace}0")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a list, within the limits of its token. With `is_open` everybody sees everything."""

    account_id: int | None
    limits: TokenLimits | None = None
    is_open: bool = False

    @property
    def sees_nothing(self) -> bool:
        """Whether the token is not good for looking."""
        return self.limits is not None and not self.limits.pulls

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """What the limits of the token leave."""
        entries = None if self.limits is None else self.limits.repositories
        return [] if entries is None else [covered(entries)]

    @property
    def sees_all(self) -> ColumnElement[bool]:
        """Whether everything may be seen."""
        return true() if self.is_open else ADMINISTERS

    @property
    def may_see(self) -> ColumnElement[bool]:
        """For each of a few repositories: whether it may be seen."""
        return true() if self.is_open else VISIBLE


def place(namespace_id: Any, visibility: Visibility) -> Select[Any]:
    """A part of the lists: what a namespace has of one visibility. For `Walk.through_places`."""
    return select(namespace_id.label("namespace_id"), literal(visibility.value).label("visibility"))


def only_if(connection: Connection, condition: ColumnElement[bool], query: Select[Any], count: int) -> Select[Any]:
    """Up to `count` rows of a query, where a condition holds that is about none of them; else nothing, unread."""
    if connection.dialect.name == "postgresql":
        return query.where(condition).limit(count)
    return query.limit(case((condition, count), else_=0))


def among(connection: Connection, ids: SelectBase) -> ColumnElement[bool]:
    """Whether a repository is one of some few: looked up by id, however few repositories there are."""
    if connection.dialect.name == "postgresql":
        return repositories.c.id == any_(func.array(ids.scalar_subquery()))
    return repositories.c.id.in_(ids)


def _value(visibility: Visibility) -> ColumnElement[str]:
    return literal(visibility.value, repositories.c.visibility.type)


@dataclass(frozen=True, slots=True)
class Walk:
    """The next `count` repositories that fit the conditions, in the order of a column, ids breaking ties. Each method
    selects their `id` and `key`, the value of that column."""

    connection: Connection
    column: Column[Any]
    descending: bool
    after: tuple[Any, ...] | None
    """The last key, and the last id unless the column is unique, as values or as SQL; None from the beginning."""
    count: int
    conditions: tuple[ColumnElement[bool], ...] = ()

    def where(self, *conditions: ColumnElement[bool]) -> "Walk":
        """The same, with more conditions."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def through_visibility(self, visibility: Visibility) -> Select[Any]:
        """All that are of one visibility."""
        return self._joined(self._along([repositories.c.visibility], [_value(visibility)]))

    def through_names_below(self, namespace: str, visibility: Visibility) -> Select[Any]:
        """All below a name that are of one visibility, whoever owns them. Only in the order of names."""
        column, value = repositories.c.visibility, _value(visibility)
        if not self._is_postgresql:
            return self._sorted(self._all.where(column == value, below(namespace), *self._behind), self._keys)
        place_and_name = tuple_(column, self.column)
        ends = [tuple_(value, literal(f"{namespace}{end}", self.column.type)) for end in "/0"]
        behind = [] if self.after is None else [self._beyond([column, self.column], [value, *self._after])]
        here = self._all.where(place_and_name > ends[0], place_and_name < ends[1], *behind)
        return self._sorted(here, [column, *self._keys])

    def through_names(self) -> Select[Any]:
        """All there are. Only in the order of names, which has an index of its own."""
        return self._sorted(self._all.where(*self._behind), self._keys)

    def through_places(self, places: SelectBase) -> Select[Any]:
        """The first of all in these places: each is walked by itself, and stops by itself."""
        around = places.subquery("places")
        columns = [repositories.c.namespace_id, repositories.c.visibility]
        along = self._along(columns, [around.c.namespace_id, around.c.visibility])
        if self._is_postgresql:
            inside = along[0].correlate(around).lateral("inside")
            return self._first(select(inside.c.id, inside.c.key).select_from(around.join(inside, true())), inside)
        listed = repositories.alias("listed")
        found = select(listed.c.id, listed.c[self.column.name].label("key")).select_from(around.join(listed, true()))
        ids = union_all(*(select(part.c.id) for part in [one.correlate(around).subquery() for one in along]))
        return self._first(found.where(listed.c.id.in_(ids)), found.selected_columns)

    def through_unowned(self, visibility: Visibility, namespace: str) -> Select[Any]:
        """What the instance owns below a name, of one visibility. Not in the order of names."""
        nobody = repositories.c.namespace_id.is_(None)
        # No bounds of an index: where everything is in one namespace, the order has to be walked along.
        start = f"{namespace}/"
        is_below = func.substr(repositories.c.name, 1, len(start)) == start
        here = (nobody, repositories.c.visibility == visibility.value, is_below)
        return self._sorted(self._all.where(*here, *self._behind), self._keys)

    def through_ids(self, ids: SelectBase) -> Select[Any]:
        """Of these few."""
        chosen = among(self.connection, ids)
        query = self._all.where(*self._behind, chosen)
        if not self._is_postgresql:
            return self._sorted(query, self._keys)
        # All of them first: else it may walk through everything else in the order of the list.
        few = query.offset(0).subquery()
        return self._first(select(few.c.id, few.c.key), few)

    def only_if(self, condition: ColumnElement[bool], query: Select[Any]) -> Select[Any]:
        """One of the walks where a condition holds that is about no repository; else nothing, without a step."""
        return only_if(self.connection, condition, query, self.count)

    def first_of(self, parts: list[Select[Any]]) -> Select[Any]:
        """The first of all that the walks found."""
        return self._joined(parts, union)

    def _joined(self, parts: list[Select[Any]], how: Any = union_all) -> Select[Any]:
        if len(parts) == 1:
            return parts[0]
        found = how(*(select(part.c.id, part.c.key) for part in [part.subquery() for part in parts])).subquery()
        return self._first(select(found.c.id, found.c.key), found)

    def _first(self, query: Select[Any], columns: Any) -> Select[Any]:
        keys = getattr(columns, "c", columns)
        return query.order_by(*self._directed([keys.key, keys.id])).limit(self.count)

    @property
    def _is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    @property
    def _keys(self) -> list[Any]:
        return [self.column] if self.column is repositories.c.name else [self.column, repositories.c.id]

    @property
    def _all(self) -> Select[Any]:
        found = select(repositories.c.id, self.column.label("key"))
        return found.where(repositories.c.deleted_at.is_(None), *self.conditions)

    @property
    def _after(self) -> list[ColumnElement[Any]]:
        keys = zip(self._keys, self.after or (), strict=False)
        return [value if isinstance(value, ColumnElement) else literal(value, key.type) for key, value in keys]

    @property
    def _behind(self) -> list[ColumnElement[bool]]:
        return [] if self.after is None else [self._beyond(self._keys, self._after)]

    def _along(self, columns: list[Any], values: list[Any]) -> list[Select[Any]]:
        """Along an index that begins with these columns, where they have these values: one or two stretches of it."""
        if self._is_postgresql:
            # Bounds in place of equality: with that it would know the columns to be constant, and may walk through
            # everything by another index that has the order as well.
            start, end = tuple_(*columns), tuple_(*values)
            bounds = [start >= end, start <= end]
            if self.after is not None:
                behind = self._beyond([*columns, *self._keys], [*values, *self._after])
                bounds = [behind, bounds[0] if self.descending else bounds[1]]
            return [self._sorted(self._all.where(*bounds), [*columns, *self._keys])]
        here = self._all.where(*(column == value for column, value in zip(columns, values, strict=True)))
        if self.after is None or len(self._keys) == 1:
            return [self._sorted(here.where(*self._behind), self._keys)]
        # Two columns at once are bounds of a walk only by the first of them: equal values are a stretch of their own.
        (key, number), (last, last_id) = self._keys, self._after
        equal = here.where(key == last, self._beyond([number], [last_id]))
        return [self._sorted(part, self._keys) for part in (equal, here.where(self._beyond([key], [last])))]

    def _beyond(self, keys: list[Any], values: list[Any]) -> ColumnElement[bool]:
        if len(keys) == 1:
            key, value = keys[0], values[0]
            beyond: ColumnElement[bool] = key < value if self.descending else key > value
            return beyond
        return tuple_(*keys) < tuple_(*values) if self.descending else tuple_(*keys) > tuple_(*values)

    def _sorted(self, query: Select[Any], keys: list[Any]) -> Select[Any]:
        return query.order_by(*self._directed(keys)).limit(self.count)

    def _directed(self, keys: list[Any]) -> list[Any]:
        return [key.desc() if self.descending else key for key in keys]
