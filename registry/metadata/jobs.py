"""Background work as SQL knows it: one row a kind, with who does it now, when it is due again, and what became of it.

A row is taken by compare-and-set: its epoch grows by one each time, so of two takers one finds the epoch gone. Whoever
holds a row proves it in every transaction that changes something (`keep`): one that was given up for dead finds another
epoch there, and its changes are rolled back with it.
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import jobs

ERROR_MAX = 500
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A row without its result. Times in ms since 1970 UTC, by the clock of whoever wrote them."""

    kind: str
    epoch: int
    holder: str | None
    leased_until: int
    due_at: int
    failures: int
    """Runs that failed since the last one that did not."""
    last_error: str | None
    started_at: int | None
    finished_at: int | None
    """The end of the last run that did not fail."""


@dataclass(frozen=True, slots=True)
class Held:
    """The right to do one kind of work: the row with this epoch and this holder."""

    kind: str
    epoch: int
    holder: str


_STATES = select(
    jobs.c.kind,
    jobs.c.epoch,
    jobs.c.holder,
    jobs.c.leased_until,
    jobs.c.due_at,
    jobs.c.failures,
    jobs.c.last_error,
    jobs.c.started_at,
    jobs.c.finished_at,
).order_by(jobs.c.kind)
_REPORTS = _STATES.add_columns(jobs.c.result)
_RESULT = select(jobs.c.result).where(jobs.c.kind == bindparam("name"))
_TAKE = (
    update(jobs)
    .where(
        jobs.c.kind == bindparam("name"),
        jobs.c.epoch == bindparam("seen_epoch"),
        jobs.c.leased_until == bindparam("seen_until"),
    )
    .values(
        epoch=jobs.c.epoch + 1,
        holder=bindparam("taker"),
        leased_until=bindparam("until"),
        started_at=bindparam("now"),
    )
)
_MINE = (
    jobs.c.kind == bindparam("name"),
    jobs.c.epoch == bindparam("my_epoch"),
    jobs.c.holder == bindparam("me"),
)
_KEEP = update(jobs).where(*_MINE).values(leased_until=bindparam("until"))
_RELEASE = update(jobs).where(*_MINE).values(holder=None, leased_until=0, due_at=bindparam("due"))
_FINISH = _RELEASE.values(failures=0, last_error=None, finished_at=bindparam("now"), result=bindparam("outcome"))
_FAIL = _RELEASE.values(failures=jobs.c.failures + 1, last_error=bindparam("error"))


def ensure(connection: Connection, kinds: list[str]) -> None:
    """Make the rows of these kinds that are missing, due at once."""
    rows = [{"kind": kind, "epoch": 0, "leased_until": 0, "due_at": 0, "failures": 0} for kind in kinds]
    connection.execute(insert(connection, jobs).on_conflict_do_nothing(index_elements=["kind"]), rows)


def states(connection: Connection) -> list[JobState]:
    """Every row, by kind: there are about ten."""
    return [JobState(*row) for row in connection.execute(_STATES)]


def reports(connection: Connection) -> list[tuple[JobState, str | None]]:
    """Every row with its result, by kind."""
    return [(JobState(*row[:-1]), row[-1]) for row in connection.execute(_REPORTS)]


def result(connection: Connection, kind: str) -> str | None:
    """The account of the last run that did not fail, as JSON; None before the first."""
    found: str | None = connection.execute(_RESULT, {"name": kind}).scalar()
    return found


def take(connection: Connection, seen: JobState, holder: str, *, now: int, leased_until: int) -> Held | None:
    """Take a row that is as it was seen: free, or of a holder that has not renewed it since. None if it is not."""
    parameters = {
        "name": seen.kind,
        "seen_epoch": seen.epoch,
        "seen_until": seen.leased_until,
        "taker": holder,
        "until": leased_until,
        "now": now,
    }
    taken = connection.execute(_TAKE, parameters).rowcount == 1
    return Held(seen.kind, seen.epoch + 1, holder) if taken else None


def keep(connection: Connection, held: Held, *, leased_until: int) -> bool:
    """Renew the lease; False if the row is another's by now. In a transaction that changes something it comes last
    (that is the order of locks), and False has to roll the changes back."""
    return connection.execute(_KEEP, {**_mine(held), "until": leased_until}).rowcount == 1


def finish(connection: Connection, held: Held, *, now: int, due_at: int, outcome: str) -> bool:
    """Write down a run that succeeded, and let go; False if the row is another's by now."""
    parameters = {**_mine(held), "now": now, "due": due_at, "outcome": outcome}
    return connection.execute(_FINISH, parameters).rowcount == 1


def fail(connection: Connection, held: Held, *, due_at: int, error: str) -> bool:
    """Write down a run that failed, and let go; False if the row is another's by now."""
    parameters = {**_mine(held), "due": due_at, "error": error[:ERROR_MAX]}
    return connection.execute(_FAIL, parameters).rowcount == 1


def release(connection: Connection, held: Held, *, due_at: int) -> bool:
    """Let go of a run that was stopped half way; False if the row is another's by now."""
    return connection.execute(_RELEASE, {**_mine(held), "due": due_at}).rowcount == 1


def _mine(held: Held) -> dict[str, object]:
    return {"name": held.kind, "my_epoch": held.epoch, "me": held.holder}
