"""The audit: who did what, written with the change itself, and never changed."""

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from registry.core.access import Actor
from registry.core.digest import Digest
from registry.metadata.schema import audit


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done to what. `target` names what is no repository or digest: a tag, an account, a role."""

    action: str
    repository: str | None = None
    digest: Digest | None = None
    target: str | None = None


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
    }
    rows = [
        {
            **who,
            "action": entry.action,
            "repository": entry.repository,
            "digest": None if entry.digest is None else entry.digest.pack(),
            "target": entry.target,
        }
        for entry in entries
    ]
    connection.execute(insert(audit), rows)


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


def page(connection: Connection, wanted: Filter, *, before: int | None, count: int) -> list[Row]:
    """The newest `count` rows that match, newest first; with `before`, those with smaller ids."""
    query = select(
        audit.c.id,
        audit.c.at,
        audit.c.actor,
        audit.c.credential,
        audit.c.address,
        audit.c.action,
        audit.c.repository,
        audit.c.digest,
        audit.c.target,
    )
    for name, value in asdict(wanted).items():
        if value is None:
            continue
        if name == "since":
            query = query.where(audit.c.at >= value)
        elif name == "until":
            query = query.where(audit.c.at < value)
        elif name == "action" and value.endswith("*"):
            query = query.where(audit.c.action.startswith(value[:-1], autoescape=True))
        elif name != "digest":
            query = query.where(audit.c[name] == value)
    if wanted.digest is not None:
        query = query.where(audit.c.digest == wanted.digest.pack())
    if before is not None:
        query = query.where(audit.c.id < before)
    rows = connection.execute(query.order_by(audit.c.id.desc()).limit(count))
    return [Row(*row[:7], None if row[7] is None else str(Digest.unpack(row[7])), row[8]) for row in rows]
