"""What every change of administration has in common: one transaction, after everybody else's, that asks again whether
who was let in may still come in; and the version of a thing, so that nobody overwrites what he has not seen."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from registry.core.access import Actor, Permit, RepositoryAccess
from registry.core.errors import PreconditionFailed
from registry.metadata import access
from registry.metadata.database import Connection, Database
from registry.services.clock import Clock

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
By = Actor | Permit
"""Who wants something. An actor alone needs no permit: the command line, and who signs up."""
_VERSION_CHARS = 32


class Keep(Enum):
    """Where something is changed in part: what stays as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


def actor_of(by: By) -> Actor:
    """Whom the audit names."""
    return by.actor if isinstance(by, Permit) else by


async def change(
    database: Database, clock: Clock, by: By | RepositoryAccess, work: Callable[[Connection, int], T]
) -> T:
    """Run `work` with the time in ms, one change after the other: what it looks at stays until it ends. Raises
    Unauthenticated where access has changed since `by` was let in."""
    now = clock()

    def locked(connection: Connection) -> T:
        access.lock_changes(connection)
        if not isinstance(by, Actor):
            access.require_unchanged(connection, by)
        return work(connection, now)

    return await database.write(locked)


def version(thing: "DataclassInstance") -> str:
    """What tells this state of a thing from every other: the ETag that a write may demand."""
    text = json.dumps([type(thing).__name__, asdict(thing)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:_VERSION_CHARS]


def require_version(thing: "DataclassInstance", wanted: str | None) -> None:
    """Asked in the transaction of a change: `wanted` is what the client has seen, None where it does not say. Raises
    PreconditionFailed."""
    if wanted is not None and wanted != (current := version(thing)):
        raise PreconditionFailed("it is no longer as If-Match says: read it again", current=current)
