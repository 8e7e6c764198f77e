"""Namespaces as people see them: those in which a caller may see something, and what is said about one.

Their list jumps from the first name of one to the first name of the next along the index of what may be seen, so that
it costs as much as it shows, however much a namespace holds or hides. It is in the order of `name/`, as the names of
repositories are.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, literal, or_, select, true, union
from sqlalchemy.engine import Connection

from registry.core.access import Role, Visibility
from registry.core.shelf import ListedNamespace, NamespacePage, NamespacesPage, RepositoriesQuery
from registry.metadata import shelf
from registry.metadata.schema import accounts, grants, members, repositories, team_members
from registry.metadata.ways import CALLER, OWN_NAMESPACES, OWN_REPOSITORIES, Viewer, Walk

_IS_ACCOUNT = and_(accounts.c.kind != "robot", accounts.c.deleted_at.is_(None))
_AFTER_ALL = "~"
"""Sorts after every character of a name."""


@dataclass(frozen=True, slots=True)
class _Jumps:
    """Names of namespaces behind `after`, of those that begin with `prefix`."""

    connection: Connection
    viewer: Viewer
    after: str
    prefix: str
    count: int

    def through(self, visibility: Visibility, need: ColumnElement[bool] | None) -> Select[Any]:
        """Those that have something of one visibility; `need` has to hold for looking."""
        first = self._next(visibility, literal(self._start, repositories.c.name.type)).label("name")
        found = select(first, literal(1).label("step")).where(true() if need is None else need)
        jumps: Any = found.cte(f"jumps_{visibility.value}", recursive=True)
        behind = self._first_part(jumps.c.name) + literal("0")
        further = select(self._next(visibility, behind), jumps.c.step + 1)
        jumps = jumps.union_all(further.where(jumps.c.name.is_not(None), jumps.c.step < self.count))
        return select(self._first_part(jumps.c.name).label("name")).where(jumps.c.name.is_not(None))

    def own(self) -> Select[Any]:
        """Those that are the caller's own, and hold something."""
        holds = exists().where(repositories.c.namespace_id == accounts.c.id, *self._there)
        return select(accounts.c.name).where(accounts.c.id.in_(OWN_NAMESPACES), holds)

    def given(self) -> Select[Any]:
        """Those of what was given to the caller one by one."""
        query = select(self._first_part(repositories.c.name).label("name")).distinct()
        return query.where(repositories.c.id.in_(OWN_REPOSITORIES), *self._there)

    @property
    def _there(self) -> tuple[ColumnElement[bool], ...]:
        return (repositories.c.deleted_at.is_(None), repositories.c.name > self._start, *self._conditions)

    @property
    def _start(self) -> str:
        return max(f"{self.after}0" if self.after else "", self.prefix)

    @property
    def _conditions(self) -> tuple[ColumnElement[bool], ...]:
        ends = [repositories.c.name < f"{self.prefix}{_AFTER_ALL}"] if self.prefix else []
        return (repositories.c.name.like("%/%"), *ends, *self.viewer.conditions)

    def _next(self, visibility: Visibility, behind: Any) -> Any:
        walk = Walk(self.connection, repositories.c.name, False, (behind,), 1, self._conditions)
        found = walk.through_visibility(visibility)
        return found.with_only_columns(found.selected_columns.key).scalar_subquery()

    def _first_part(self, name: Any) -> Any:
        if self.connection.dialect.name == "postgresql":
            return func.split_part(name, "/", 1, type_=repositories.c.name.type)
        return func.substr(name, 1, func.instr(name, "/") - 1)


def page(connection: Connection, viewer: Viewer, *, after: str, count: int, prefix: str = "") -> NamespacesPage:
    """The next namespaces behind `after` in which the viewer may see something."""
    if viewer.sees_nothing:
        return NamespacesPage([], None)
    jumps = _Jumps(connection, viewer, after, prefix, count + 1)
    parts = [jumps.through(Visibility.PUBLIC, None), jumps.through(Visibility.PRIVATE, viewer.sees_all)]
    if viewer.account_id is not None and not viewer.is_open:
        parts += [jumps.own(), jumps.given()]
    found = union(*(select(part.c.name) for part in [part.subquery() for part in parts])).subquery("found")
    named = found.outerjoin(accounts, and_(accounts.c.name == found.c.name, _IS_ACCOUNT))
    query = select(found.c.name, accounts.c.kind, accounts.c.title, accounts.c.description).select_from(named)
    edge = found.c.name + literal("/")
    query = query.where(edge > f"{after}/", *([found.c.name.startswith(prefix, autoescape=True)] if prefix else []))
    rows = connection.execute(query.order_by(edge).limit(count + 1), {"account": viewer.account_id}).all()
    entries = [ListedNamespace(row.name, row.kind, row.title or "", row.description or "") for row in rows[:count]]
    return NamespacesPage(entries, entries[-1].name if len(rows) > count else None)


def find(connection: Connection, viewer: Viewer, name: str, *, with_numbers: bool = False) -> NamespacePage | None:
    """What is said about a namespace, None unless the viewer may see something in it, or belongs to it."""
    if viewer.sees_nothing:
        return None
    held = shelf.ids(connection, viewer, RepositoriesQuery(namespace=name), count=1).subquery("held")
    is_member = exists().where(members.c.organization_id == accounts.c.id, members.c.account_id == CALLER)
    governs = or_(accounts.c.id == CALLER, is_member.where(members.c.is_owner), viewer.sees_all)
    belongs = and_(accounts.c.id.is_not(None), or_(is_member, governs))
    shows = exists(select(held.c.id))
    one = select(literal(1).label("one")).subquery("one")
    query = select(
        accounts.c.kind,
        accounts.c.title,
        accounts.c.description,
        belongs.label("is_inside"),
        and_(accounts.c.id.is_not(None), governs).label("is_governed"),
    )
    query = query.select_from(one.outerjoin(accounts, and_(accounts.c.name == name, _IS_ACCOUNT)))
    query = query.where(shows if viewer.conditions else or_(shows, belongs))
    row = connection.execute(query, {"account": viewer.account_id}).first()
    if row is None:
        return None
    about = ListedNamespace(name, row.kind, row.title or "", row.description or "")
    found = NamespacePage(about, bool(row.is_inside), bool(row.is_governed))
    return _numbered(connection, viewer, found) if with_numbers else found


def _numbered(connection: Connection, viewer: Viewer, found: NamespacePage) -> NamespacePage:
    held = shelf.ids(connection, viewer, RepositoriesQuery(namespace=found.namespace.name)).subquery("held")
    sums = [func.coalesce(func.sum(column), 0) for column in (repositories.c.star_count, repositories.c.pull_count)]
    query = select(func.count(), *sums).select_from(held.join(repositories, repositories.c.id == held.c.id))
    count, star_count, pull_count = map(int, connection.execute(query, {"account": viewer.account_id}).one())
    return replace(found, repository_count=count, star_count=star_count, pull_count=pull_count)


_WRITES = grants.c.role >= Role.WRITE
_OPEN = union(
    select(accounts.c.id).where(accounts.c.id == CALLER, accounts.c.kind != "robot"),
    select(members.c.organization_id).where(members.c.account_id == CALLER, members.c.is_owner),
    select(grants.c.namespace_id).where(grants.c.account_id == CALLER, grants.c.namespace_id.is_not(None), _WRITES),
    select(grants.c.namespace_id)
    .join(team_members, team_members.c.team_id == grants.c.team_id)
    .where(team_members.c.account_id == CALLER, grants.c.namespace_id.is_not(None), _WRITES),
)
"""Where an account may make repositories: in its own namespace, as an owner, or with a role on all of it."""
_OPEN_MAX = 500


def open_to(connection: Connection, account_id: int) -> list[str]:
    """The names of namespaces in which an account may make repositories, its own first."""
    query = select(accounts.c.name).where(accounts.c.id.in_(_OPEN), accounts.c.deleted_at.is_(None))
    query = query.order_by(accounts.c.id != CALLER, accounts.c.name).limit(_OPEN_MAX)
    return list(connection.execute(query, {"account": account_id}).scalars())
