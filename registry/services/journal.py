"""What is written down together with a change: events for whoever wants to be told, and the audit."""

from registry.core.access import Actor, RepositoryAccess
from registry.core.events import Event
from registry.metadata import audit, outbox
from registry.metadata.audit import Entry
from registry.metadata.database import Connection

REPOSITORY_CREATED = "repository.created"


def changed(connection: Connection, actor: Actor, events: list[Event], *, now: int) -> None:
    """These events happened, and this is who made them happen."""
    outbox.append(connection, events, now=now)
    entries = [Entry(event.kind.value, event.repository, event.digest, event.tag) for event in events]
    audit.append(connection, actor, entries, now=now)


def created(connection: Connection, access: RepositoryAccess, *, now: int) -> None:
    """A push made the repository."""
    entry = Entry(REPOSITORY_CREATED, access.name, target=access.visibility.value)
    audit.append(connection, access.actor, [entry], now=now)
