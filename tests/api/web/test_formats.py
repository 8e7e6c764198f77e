"""Sizes, counts and times, in each language."""

import pytest

from registry.api.web.formats import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS, Formats, machine_time
from registry.api.web.languages import CHINESE, ENGLISH, read_catalogue
from registry.api.web.pages import FOLDER

EN = Formats(read_catalogue(ENGLISH, FOLDER / "languages"))
ZH = Formats(read_catalogue(CHINESE, FOLDER / "languages"))
NOW_MS = 1_795_521_600_000

SIZES = {
    0: "0 B",
    999: "999 B",
    1000: "1 kB",
    1234: "1.23 kB",
    12_345: "12.3 kB",
    123_456: "123 kB",
    999_499: "999 kB",
    999_500: "1 MB",
    9_995_000: "10 MB",
    5 * 10**9: "5 GB",
    2**63 - 1: "9.22 EB",
    10**22: "10000 EB",
    None: "—",
}


@pytest.mark.parametrize("count", SIZES)
def test_sizes(count: int | None) -> None:
    """Three digits, decimal units; nothing is ever 1000 of a unit."""
    assert EN.size(count) == SIZES[count]


def test_counts() -> None:
    """Exact with thousands apart; short in the units that a language counts by."""
    assert [EN.number(n) for n in (0, 999, 1234567, None)] == ["0", "999", "1,234,567", "—"]
    assert [EN.short(n) for n in (0, 999, 1000, 12345, 999_600, 1_200_000_000)] == [
        "0",
        "999",
        "1K",
        "12.3K",
        "1M",
        "1.2B",
    ]
    assert [ZH.short(n) for n in (999, 9_000, 12_345, 123_456_789)] == ["999", "9,000", "1.23万", "1.23亿"]


def test_shares() -> None:
    """What is there is not nothing, and what is missing is not all."""
    shares = (0, 0.0001, 0.5, 0.9999, 1)
    assert [EN.percent(share) for share in shares] == ["0%", "<1%", "50%", ">99%", "100%"]


AGES = {
    0: ("just now", "刚刚"),
    MINUTE_MS - 1: ("just now", "刚刚"),
    MINUTE_MS: ("1 minute ago", "1 分钟前"),
    59 * MINUTE_MS: ("59 minutes ago", "59 分钟前"),
    3 * HOUR_MS: ("3 hours ago", "3 小时前"),
    DAY_MS: ("1 day ago", "1 天前"),
    2 * WEEK_MS + DAY_MS: ("2 weeks ago", "2 周前"),
    31 * DAY_MS: ("24 Oct 2026", "2026年10月24日"),
    -30_000: ("in a moment", "马上"),
    -2 * DAY_MS: ("in 2 days", "2 天后"),
    -HOUR_MS: ("in 1 hour", "1 小时后"),
}


@pytest.mark.parametrize("age_ms", AGES)
def test_ages(age_ms: int) -> None:
    """How long ago, or how far off; a date when it is long."""
    assert (EN.ago(NOW_MS - age_ms, NOW_MS), ZH.ago(NOW_MS - age_ms, NOW_MS)) == AGES[age_ms]


def test_moments() -> None:
    """Exact times are UTC and say so."""
    assert EN.moment(NOW_MS) == "2026-11-24 12:00:00 UTC"
    assert machine_time(NOW_MS) == "2026-11-24T12:00:00Z"
    assert (EN.short_date(NOW_MS), ZH.short_date(NOW_MS)) == ("24 Nov", "11/24")


def test_durations() -> None:
    """The two largest units."""
    lengths = (0, 999, 1000, 61_000, 3_600_000, 90_061_000)
    assert [EN.duration(length) for length in lengths] == ["0 ms", "999 ms", "1 s", "1 min 1 s", "1 h", "1 d 1 h"]
