"""The outbox: events that commit together with what they tell of."""

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from registry.core.events import Event
from registry.metadata.schema import outbox


def append(connection: Connection, events: list[Event], *, now: int) -> None:
    """Add events, in order."""
    if events:
        connection.execute(insert(outbox), [{"created_at": now, "event": event.to_json()} for event in events])


def trim(connection: Connection, *, before: int, count: int) -> int:
    """Remove up to `count` events older than `before` (ms since 1970); returns how many."""
    old = select(outbox.c.id).where(outbox.c.created_at < before).limit(count).with_for_update(skip_locked=True)
    return connection.execute(delete(outbox).where(outbox.c.id.in_(old))).rowcount
