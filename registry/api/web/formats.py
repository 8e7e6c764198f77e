"""Sizes, counts and times as people of a language write them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from registry.api.web.languages import Catalogue

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONTH_MS = 30 * DAY_MS

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHORT = {
    "en": ((10**9, "B"), (10**6, "M"), (10**3, "K")),
    "zh-CN": ((10**8, "亿"), (10**4, "万")),
}


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one language."""

    catalogue: Catalogue

    def size(self, count: int | None) -> str:
        """Bytes in decimal units with three digits, as registries and networks count them; a dash for None."""
        if count is None:
            return "—"
        value, unit = float(count), 0
        # What would be rounded to 1000 is one of the next unit.
        while value >= 999.5 and unit < len(_BYTES) - 1:
            value, unit = value / 1000, unit + 1
        return f"{_three_digits(value, is_whole=unit == 0)} {_BYTES[unit]}"

    def number(self, count: int | None) -> str:
        """An exact number with its thousands apart; a dash for None."""
        return "—" if count is None else f"{count:,}"

    def short(self, count: int | None) -> str:
        """About how many, in few characters: `12.3K`, `1.2万`; a dash for None."""
        if count is None:
            return "—"
        for base, suffix in _SHORT[self.catalogue.language.code]:
            if count >= base * 0.9995:
                return f"{_three_digits(count / base)}{suffix}"
        return f"{count:,}"

    def percent(self, share: float) -> str:
        """A share of one. What is more than nothing is never `0%`, and what is less than all never `100%`."""
        if 0 < share < 0.01:
            return "<1%"
        if 0.99 < share < 1:
            return ">99%"
        return f"{share * 100:.0f}%"

    def date(self, at_ms: int) -> str:
        """The day, in UTC."""
        at = _moment(at_ms)
        if self.catalogue.language.code == "zh-CN":
            return f"{at.year}年{at.month}月{at.day}日"
        return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"

    def short_date(self, at_ms: int) -> str:
        """Day and month, for an axis."""
        at = _moment(at_ms)
        if self.catalogue.language.code == "zh-CN":
            return f"{at.month}/{at.day}"
        return f"{at.day} {_MONTHS[at.month - 1]}"

    def clock(self, at_ms: int) -> str:
        """The time of the day to the minute, in UTC."""
        return f"{_moment(at_ms):%H:%M}"

    def hour(self, at_ms: int) -> str:
        """Day and time to the minute, in UTC."""
        return f"{self.date(at_ms)}, {self.clock(at_ms)} UTC"

    def moment(self, at_ms: int) -> str:
        """Day and time to the second, in UTC."""
        return f"{_moment(at_ms):%Y-%m-%d %H:%M:%S} UTC"

    def ago(self, at_ms: int, now_ms: int) -> str:
        """How long ago that was, or how far off it is; the date when it is more than about a month."""
        distance = abs(now_ms - at_ms)
        if distance >= MONTH_MS:
            return self.date(at_ms)
        if distance < MINUTE_MS:
            return self.catalogue.gettext("just now") if at_ms <= now_ms else self.catalogue.gettext("in a moment")
        say = self._past if at_ms <= now_ms else self._future
        for unit_ms in (WEEK_MS, DAY_MS, HOUR_MS, MINUTE_MS):
            if distance >= unit_ms:
                return say(unit_ms, distance // unit_ms)
        raise AssertionError("less than a minute was handled above")

    def duration(self, length_ms: int) -> str:
        """A length of time, in its two largest units at most."""
        if length_ms < 1000:
            return f"{length_ms} ms"
        seconds = length_ms // 1000
        parts = (
            (seconds // 86_400, "d"),
            (seconds // 3600 % 24, "h"),
            (seconds // 60 % 60, "min"),
            (seconds % 60, "s"),
        )
        first = next(index for index, (count, _) in enumerate(parts) if count or index == 3)
        return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"

    def _past(self, unit_ms: int, n: int) -> str:
        ngettext = self.catalogue.ngettext
        text = {
            MINUTE_MS: ngettext("%(n)s minute ago", "%(n)s minutes ago", n),
            HOUR_MS: ngettext("%(n)s hour ago", "%(n)s hours ago", n),
            DAY_MS: ngettext("%(n)s day ago", "%(n)s days ago", n),
            WEEK_MS: ngettext("%(n)s week ago", "%(n)s weeks ago", n),
        }
        return text[unit_ms] % {"n": n}

    def _future(self, unit_ms: int, n: int) -> str:
        ngettext = self.catalogue.ngettext
        text = {
            MINUTE_MS: ngettext("in %(n)s minute", "in %(n)s minutes", n),
            HOUR_MS: ngettext("in %(n)s hour", "in %(n)s hours", n),
            DAY_MS: ngettext("in %(n)s day", "in %(n)s days", n),
            WEEK_MS: ngettext("in %(n)s week", "in %(n)s weeks", n),
        }
        return text[unit_ms] % {"n": n}


def machine_time(at_ms: int) -> str:
    """The moment as `datetime` of HTML and as JSON have it."""
    return f"{_moment(at_ms):%Y-%m-%dT%H:%M:%SZ}"


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _three_digits(value: float, *, is_whole: bool = False) -> str:
    """`9.87`, `98.7`, `987`, without zeros at the end of a fraction."""
    if is_whole or value >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.2f}" if value < 9.995 else f"{value:.1f}"
    return text.rstrip("0").rstrip(".")
