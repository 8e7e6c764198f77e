"""Moments and days as the hub's API has them: RFC 3339, in UTC."""

from datetime import UTC, date, datetime, timedelta

_EPOCH = date(1970, 1, 1)


def moment(at_ms: int) -> datetime:
    """The moment so many milliseconds after the beginning of 1970 UTC, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, UTC)


def moment_if(at_ms: int | None) -> datetime | None:
    """The same, where there is one."""
    return None if at_ms is None else moment(at_ms)


def day(number: int) -> date:
    """The day so many days after the first of 1970."""
    return _EPOCH + timedelta(days=number)


def ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC; a time without an offset is in UTC."""
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)
