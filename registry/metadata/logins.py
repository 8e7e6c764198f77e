"""Failed logins, counted exactly: before a password is looked at, so that a thousand at once count as a thousand."""

from dataclasses import dataclass

from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import login_failures

_EXPIRED_PER_ATTEMPT = 100


@dataclass(frozen=True, slots=True)
class Count:
    """The attempts of a subject since a window began (ms since 1970 UTC): those that have failed, and all with those
    that run, in whatever process."""

    attempts: int
    failed: int
    since: int


def account_subject(name: str) -> str:
    """As an account is counted, whether it exists or not. Long names, which none has, share."""
    return f"account:{name[:100]}"


def count_attempt(connection: Connection, subjects: list[str], *, now: int, window_ms: int) -> dict[str, Count]:
    """Count one more attempt of each subject, which runs until `forgive` or `fail`; returns the counts of each, with
    this one."""
    begun = login_failures.c.since
    # One that began in the future was written by a clock that was wrong.
    fresh = or_(begun <= now - window_ms, begun > now)
    for subject in sorted(subjects):
        statement = insert(connection, login_failures).values(subject=subject, attempts=1, since=now)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["subject"],
                set_={
                    "attempts": case((fresh, 1), else_=login_failures.c.attempts + 1),
                    "failed": case((fresh, 0), else_=login_failures.c.failed),
                    "since": case((fresh, now), else_=begun),
                },
            )
        )
    columns = (login_failures.c.subject, login_failures.c.attempts, login_failures.c.failed, begun)
    rows = connection.execute(select(*columns).where(login_failures.c.subject.in_(subjects)))
    found = {row[0]: Count(row[1], row[2], row[3]) for row in rows}
    forget_expired(connection, before=now - window_ms, count=_EXPIRED_PER_ATTEMPT)
    return found


def failures(connection: Connection, subjects: list[str], *, now: int, window_ms: int) -> dict[str, int]:
    """How often each subject has failed in a window that is not over; those that have not are left out."""
    begun = login_failures.c.since
    rows = connection.execute(
        select(login_failures.c.subject, login_failures.c.failed).where(
            login_failures.c.subject.in_(subjects), begun > now - window_ms, begun <= now
        )
    )
    return {row[0]: row[1] for row in rows}


def fail(connection: Connection, subjects: list[str]) -> None:
    """The attempt has ended, and was wrong: it stands."""
    _lock(connection, subjects)
    connection.execute(
        update(login_failures).where(login_failures.c.subject.in_(subjects)).values(failed=login_failures.c.failed + 1)
    )


def forgive(connection: Connection, subjects: list[str]) -> None:
    """The attempt was none: take it back from each subject."""
    _lock(connection, subjects)
    connection.execute(
        update(login_failures)
        .where(login_failures.c.subject.in_(subjects), login_failures.c.attempts > 0)
        .values(attempts=login_failures.c.attempts - 1)
    )


def _lock(connection: Connection, subjects: list[str]) -> None:
    """In their order: an UPDATE takes its rows in any, and two could wait for each other."""
    rows = select(login_failures.c.subject).where(login_failures.c.subject.in_(subjects))
    connection.execute(rows.order_by(login_failures.c.subject).with_for_update())


def clear(connection: Connection, subject: str) -> None:
    """Forget the failures of a subject."""
    connection.execute(delete(login_failures).where(login_failures.c.subject == subject))


def forget_expired(connection: Connection, *, before: int, count: int) -> int:
    """Remove up to `count` of those whose window is over, so that the table stays as small as the window; returns how
    many. Not those that somebody holds: who waited for them while holding others could be waited for."""
    old = (
        select(login_failures.c.subject)
        .where(login_failures.c.since < before)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(login_failures).where(login_failures.c.subject.in_(old))).rowcount
