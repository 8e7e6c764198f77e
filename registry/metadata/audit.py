"""The audit: who did what, written with the change itself, and never changed.

Its pages are newest first, by time and then by id. Each filter has an index in that order. Where there are several, one
of them leads, and a page looks at so many of its rows and no more: it may then show few, or none, and go on from there.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, literal, or_, select, tuple_, union, union_all
from sqlalchemy.engine import Connection

from registry.core.access import Actor
from registry.core.digest import Digest
from registry.metadata.schema import audit

SCANNED_ROWS = 2_000
"""Rows of the filter that leads which one page looks at."""
Position = tuple[int, int]
"""Where a page ends: time and id of a row."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done to what. `target` names what is no repository or digest: a tag, an account, a role. `about`: the
    account that this is about, where no repository says it: its owners see the row."""

    action: str
    repository: str | None = None
    digest: Digest | None = None
    target: str | None = None
    about: str | None = None


def append(connection: Connection, actor: Actor, entries: list[Entry], *, now: int) -> None:
    """Add entries of one actor."""
    if not entries:
        return
    who = {
        "at": now,
        "account_id": actor.account_id,
        "actor": actor.name,
        "credential": actor.credential,
        "address": actor.address,
        # Whoever uses the command line may be called as an account is.
        "owner": None if actor.account_id is None else _first(actor.name, "+"),
    }
    rows = [
        {
            **who,
            "action": entry.action,
            "repository": entry.repository,
            "digest": None if entry.digest is None else entry.digest.pack(),
            "target": entry.target,
            "namespace": _namespace(entry),
        }
        for entry in entries
    ]
    connection.execute(insert(audit), rows)


def _namespace(entry: Entry) -> str | None:
    if entry.about is not None:
        return _first(entry.about, "+")
    return _first(entry.repository, "/") if entry.repository is not None and "/" in entry.repository else None


def _first(text: str, separator: str) -> str:
    return text.partition(separator)[0]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows; None does not restrict. `action` may end in `*`. Times in ms since 1970 UTC."""

    actor: str | None = None
    action: str | None = None
    repository: str | None = None
    digest: Digest | None = None
    address: str | None = None
    since: int | None = None
    until: int | None = None
    within: str | None = None
    """What concerns one account: what it and its robots did, and what was done to what is in its namespace. Addresses
    of others are not shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, as it is printed."""

    id: int
    at: int
    actor: str
    credential: str
    address: str | None
    action: str
    repository: str | None
    digest: str | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. `next_before` is where the next page begins, None at the end."""

    rows: list[Row]
    next_before: Position | None


def page(connection: Connection, wanted: Filter, *, before: Position | None, count: int) -> Page:
    """The newest `count` rows that match, or fewer; with `before`, of those before it."""
    conditions = _conditions(wanted)
    # Without more conditions the first of the first of each part are the first of all.
    looked_at = SCANNED_ROWS if conditions else count + 1
    parts = [_part(lead, wanted, before).limit(looked_at).subquery() for lead in _leads(connection, wanted)]
    if not parts:
        return Page([], None)
    edge = _edge(connection, parts) if conditions else None
    found = union(*(select(part.c.id) for part in parts)) if len(parts) > 1 else select(parts[0].c.id)
    query = select(*_COLUMNS).where(audit.c.id.in_(found), *conditions)
    if edge is not None:
        query = query.where(tuple_(audit.c.at, audit.c.id) >= tuple_(*map(literal, edge)))
    rows = connection.execute(query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(count + 1)).all()
    shown = [_row(row, wanted.within) for row in rows[:count]]
    if len(rows) > count:
        return Page(shown, (shown[-1].at, shown[-1].id))
    return Page(shown, edge)


def actions(connection: Connection) -> list[str]:
    """Every action that there is a row of, in byte order. Jumps from one to the next along the index."""
    first = select(func.min(audit.c.action).label("action")).cte("actions", recursive=True)
    following = select(func.min(audit.c.action)).where(audit.c.action > first.c.action).scalar_subquery()
    walk = first.union_all(select(following).where(first.c.action.is_not(None)))
    return list(connection.execute(select(walk.c.action).where(walk.c.action.is_not(None))).scalars())


_COLUMNS = (
    audit.c.id,
    audit.c.at,
    audit.c.actor,
    audit.c.credential,
    audit.c.address,
    audit.c.action,
    audit.c.repository,
    audit.c.digest,
    audit.c.target,
    audit.c.owner,
)


def _leads(connection: Connection, wanted: Filter) -> list[ColumnElement[bool] | None]:
    """The filter that is looked up by an index, the one that leaves least; in parts, where it is of several."""
    if wanted.digest is not None:
        return [audit.c.digest == wanted.digest.pack()]
    for column in (audit.c.repository, audit.c.actor):
        value = getattr(wanted, column.name)
        if value is not None and _leads_inside(value, wanted.within):
            return [column == value]
    if wanted.within is not None:
        return [audit.c.namespace == wanted.within, audit.c.owner == wanted.within]
    if wanted.address is not None:
        return [audit.c.address == wanted.address]
    if wanted.action is None:
        return [None]
    if not wanted.action.endswith("*"):
        return [audit.c.action == wanted.action]
    return [audit.c.action == one for one in actions(connection) if one.startswith(wanted.action[:-1])]


def _leads_inside(value: str, within: str | None) -> bool:
    """Whether a repository or an actor is of the account that everything has to concern. What is not must not lead: the
    place where a page ends would tell when others did something elsewhere (SEC-027)."""
    return within is None or value == within or value.startswith((f"{within}/", f"{within}+"))


def _part(lead: ColumnElement[bool] | None, wanted: Filter, before: Position | None) -> Select[Any]:
    query = select(audit.c.at, audit.c.id)
    if lead is not None:
        query = query.where(lead)
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.at < wanted.until)
    if before is not None:
        query = query.where(tuple_(audit.c.at, audit.c.id) < tuple_(*map(literal, before)))
    return query.order_by(audit.c.at.desc(), audit.c.id.desc())


def _edge(connection: Connection, parts: list[Any]) -> Position | None:
    """The oldest row down to which every part was looked at, None if that is the end."""
    oldest: list[Select[Any]] = [
        select(part.c.at, part.c.id).order_by(part.c.at, part.c.id).limit(1).where(_is_cut(part)) for part in parts
    ]
    rows = connection.execute(union_all(*(select(one.subquery()) for one in oldest))).all()
    return max(((row[0], row[1]) for row in rows), default=None)


def _is_cut(part: Any) -> ColumnElement[bool]:
    return select(func.count()).select_from(part).scalar_subquery() == SCANNED_ROWS


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    """All filters but times, which every part has. The one that leads is among them, and does no harm, unless it is the
    only one."""
    found = [
        audit.c[name] == value
        for name in ("actor", "repository", "address")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.digest is not None:
        found.append(audit.c.digest == wanted.digest.pack())
    if wanted.within is not None:
        found.append(or_(audit.c.namespace == wanted.within, audit.c.owner == wanted.within))
        if wanted.address is not None:
            found.append(audit.c.owner == wanted.within)
    if wanted.action is not None and wanted.action.endswith("*"):
        found.append(audit.c.action.startswith(wanted.action[:-1], autoescape=True))
    elif wanted.action is not None:
        found.append(audit.c.action == wanted.action)
    return found if len(found) > 1 else []


def _row(row: Any, within: str | None) -> Row:
    shows_address = within is None or row.owner == within
    return Row(
        id=row.id,
        at=row.at,
        actor=row.actor,
        credential=row.credential,
        address=row.address if shows_address else None,
        action=row.action,
        repository=row.repository,
        digest=None if row.digest is None else str(Digest.unpack(row.digest)),
        target=row.target,
    )
