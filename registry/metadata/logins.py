"""Failed logins, counted exactly: before a password is looked at, so that a thousand at once count as a thousand."""

from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert
from registry.metadata.schema import login_failures

_EXPIRED_PER_ATTEMPT = 100


def account_subject(name: str) -> str:
    """As an account is counted, whether it exists or not. Long names, which none has, share."""
    return f"account:{name[:100]}"


def count_attempt(
    connection: Connection, subjects: list[str], *, now: int, window_ms: int
) -> dict[str, tuple[int, int]]:
    """Count one more attempt of each subject, which stands until `forgive`; returns for each how many there were in
    this window with this one, and when it began (ms since 1970 UTC)."""
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
                    "since": case((fresh, now), else_=begun),
                },
            )
        )
    rows = connection.execute(
        select(login_failures.c.subject, login_failures.c.attempts, begun).where(login_failures.c.subject.in_(subjects))
    )
    found = {row[0]: (row[1], row[2]) for row in rows}
    _forget_expired(connection, before=now - window_ms)
    return found


def forgive(connection: Connection, subjects: list[str]) -> None:
    """The attempt was none: take it back from each subject."""
    in_order = select(login_failures.c.subject).where(login_failures.c.subject.in_(subjects))
    connection.execute(in_order.order_by(login_failures.c.subject).with_for_update())
    connection.execute(
        update(login_failures)
        .where(login_failures.c.subject.in_(subjects), login_failures.c.attempts > 0)
        .values(attempts=login_failures.c.attempts - 1)
    )


def clear(connection: Connection, subject: str) -> None:
    """Forget the failures of a subject."""
    connection.execute(delete(login_failures).where(login_failures.c.subject == subject))


def _forget_expired(connection: Connection, *, before: int) -> None:
    """A few of those whose window is over, so that the table stays as small as the window. Not those that somebody
    holds: who waited for them while holding others could be waited for."""
    old = (
        select(login_failures.c.subject)
        .where(login_failures.c.since < before)
        .limit(_EXPIRED_PER_ATTEMPT)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(login_failures).where(login_failures.c.subject.in_(old)))
