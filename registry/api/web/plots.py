"""Charts as SVG that the server draws: where everything is, in units of the drawing. `plots.html` writes it down.

A drawing over time is 100 by 100 and is stretched to its place, so its labels are HTML around it. Values are shown by
`<title>` where the pointer is, and every chart has its numbers as a table too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, log10

SERIES_MAX = 8
"""Colours that can be told apart."""
TICKS = 4
LABELS_MAX = 6


class Unit(StrEnum):
    """How values are written: the name of a filter."""

    SIZE = "size"
    NUMBER = "number"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Series:
    """A line with its values in the order of time; None where nothing is known."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Slot:
    """What the pointer is over: a moment with all its values."""

    x: float
    width: float
    at_ms: int
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One part of a stacked column."""

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class TimeChart:
    """A chart over time. `lines` and `areas` are paths, one a series, or `columns` are rectangles."""

    title: str
    unit: Unit
    names: tuple[str, ...]
    ticks: tuple[float, ...]
    """Values at the horizontal lines, from the top."""
    labels: tuple[int, ...]
    """Moments below it, evenly apart."""
    slots: tuple[Slot, ...]
    lines: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    is_hourly: bool = False
    """Each step is an hour: moments have a time of day."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole, or a row of a bar chart. `start` and `share` are of 100."""

    name: str
    value: float
    share: float
    start: float = 0.0
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PartsChart:
    """Parts of a whole, or values beside each other."""

    title: str
    unit: Unit
    parts: tuple[Part, ...]
    total: float


def lines(
    title: str,
    moments: Sequence[int],
    series: Sequence[Series],
    unit: Unit = Unit.NUMBER,
    *,
    is_hourly: bool = False,
) -> TimeChart:
    """Lines over time from 0; a single one gets its area filled. `moments` are ms since 1970, evenly apart."""
    series = series[:SERIES_MAX]
    top, ticks = _scale(max((value for line in series for value in line.values if value is not None), default=0.0))
    places = _places(len(moments))
    paths = tuple(_path(places, line.values, top) for line in series)
    areas = tuple(_area(places, line.values, top) for line in series) if len(series) == 1 else ()
    return TimeChart(
        title,
        unit,
        tuple(line.name for line in series),
        ticks,
        _labels(moments),
        _slots(moments, series),
        paths,
        areas,
        is_hourly=is_hourly,
    )


def columns(
    title: str,
    moments: Sequence[int],
    series: Sequence[Series],
    unit: Unit = Unit.NUMBER,
    *,
    is_hourly: bool = False,
) -> TimeChart:
    """Columns over time, the series on top of each other."""
    series = series[:SERIES_MAX]
    sums = [sum(line.values[index] or 0.0 for line in series) for index in range(len(moments))]
    top, ticks = _scale(max(sums, default=0.0))
    step = 100 / max(len(moments), 1)
    found: list[Column] = []
    for index in range(len(moments)):
        level = 100.0
        for number, line in enumerate(series, start=1):
            height = round((line.values[index] or 0.0) / top * 100, 2)
            level = round(level - height, 2)
            if height > 0:
                found.append(Column(round((index + 0.14) * step, 2), level, round(0.72 * step, 2), height, number))
    names = tuple(line.name for line in series)
    slots = _slots(moments, series, is_centred=False)
    return TimeChart(title, unit, names, ticks, _labels(moments), slots, columns=tuple(found), is_hourly=is_hourly)


def bars(title: str, rows: Sequence[tuple[str, float, str | None]], unit: Unit = Unit.NUMBER) -> PartsChart:
    """Rows of name, value and link, each as long as its value compared to the largest one."""
    largest = max((value for _, value, _ in rows), default=0.0)
    parts = tuple(Part(name, value, round(value / (largest or 1) * 100, 2), url=url) for name, value, url in rows)
    return PartsChart(title, unit, parts, sum(value for _, value, _ in rows))


def parts(title: str, values: Sequence[tuple[str, float]], unit: Unit = Unit.NUMBER, *, others: str = "") -> PartsChart:
    """Parts of a whole, for a ring or one stacked bar. More than there are colours become one, named `others`."""
    values = [(name, value) for name, value in values if value > 0]
    if len(values) > SERIES_MAX:
        rest = sum(value for _, value in values[SERIES_MAX - 1 :])
        values = [*values[: SERIES_MAX - 1], (others, rest)]
    total = sum(value for _, value in values)
    found: list[Part] = []
    start = 0.0
    for name, value in values:
        share = value / total * 100
        found.append(Part(name, value, round(share, 3), round(start, 3)))
        start += share
    return PartsChart(title, unit, tuple(found), total)


def spark(values: Sequence[float]) -> str:
    """A path of the values in a drawing of 100 by 100, for a line without axes."""
    return _path(_places(len(values)), values, max(values, default=0.0) or 1.0)


def _scale(largest: float) -> tuple[float, tuple[float, ...]]:
    """The end of the axis and its ticks from the top down: 1, 2, 2.5 or 5 times a power of ten apart."""
    if largest <= 0:
        return 1.0, (1.0, 0.0)
    raw = largest / TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999999)
    # Counts have no halves.
    step = max(step, 1.0) if step < 1 else (ceil(step) if step < 10 else step)
    count = ceil(largest / step - 1e-9)
    return step * count, tuple(step * index for index in range(count, -1, -1))


def _places(count: int) -> list[float]:
    return [50.0] if count == 1 else [round(index * 100 / (count - 1), 2) for index in range(count)]


def _path(places: list[float], values: Sequence[float | None], top: float) -> str:
    """A line with gaps where nothing is known, and a dot where nothing is known on either side."""
    found: list[str] = []
    is_down = False
    for x, value in zip(places, values, strict=True):
        if value is not None:
            found.append(f"{'L' if is_down else 'M'}{x:g} {_height(value, top):g}")
        is_down = value is not None
    # A point alone is a line of no length, whose round ends are seen.
    return re.sub(r"(M[^ML]+)(?=M|$)", r"\1h0", "".join(found))


def _area(places: list[float], values: Sequence[float | None], top: float) -> str:
    known = [(x, value) for x, value in zip(places, values, strict=True) if value is not None]
    if not known:
        return ""
    outline = "".join(f"L{x:g} {_height(value, top):g}" for x, value in known)
    return f"M{known[0][0]:g} 100{outline}L{known[-1][0]:g} 100Z"


def _height(value: float, top: float) -> float:
    return round(100 - value / top * 100, 2)


def _slots(moments: Sequence[int], series: Sequence[Series], *, is_centred: bool = True) -> tuple[Slot, ...]:
    """Bands of equal width: around each point, or each column."""
    count = len(moments)
    step = 100 / max(count - 1 if is_centred else count, 1)
    offset = step / 2 if is_centred else 0
    found: list[Slot] = []
    for index, at_ms in enumerate(moments):
        left, right = max(index * step - offset, 0), min((index + 1) * step - offset, 100)
        values = tuple(line.values[index] for line in series)
        found.append(Slot(round(left, 2), round(right - left, 2), at_ms, values))
    return tuple(found)


def _labels(moments: Sequence[int]) -> tuple[int, ...]:
    """Some of the moments, the first and the last among them, evenly apart."""
    count = len(moments)
    if count <= LABELS_MAX:
        return tuple(moments)
    gaps = next((gaps for gaps in (5, 4, 3, 6, 2) if (count - 1) % gaps == 0), 4)
    return tuple(moments[round(index * (count - 1) / gaps)] for index in range(gaps + 1))
