"""Charts: scales, paths, parts; also of nothing, of one value, and of very many."""

import math
from itertools import pairwise

import pytest

from registry.api.web.plots import SERIES_MAX, Series, bars, columns, lines, parts, spark

DAYS = [1_795_521_600_000 + n * 86_400_000 for n in range(30)]


@pytest.mark.parametrize("largest", [0, 0.001, 0.5, 1, 2, 3, 7, 10, 11, 99, 1001, 123_456_789, 2**63])
def test_scales(largest: float) -> None:
    """The axis ends at or above the largest value, starts at 0, and its ticks are evenly apart and few."""
    ticks = lines("x", DAYS[:2], [Series("a", [0, largest])]).ticks
    assert ticks[-1] == 0 and ticks[0] >= largest and 2 <= len(ticks) <= 6
    steps = {round((above - below) / ticks[0], 6) for above, below in pairwise(ticks)}
    assert len(steps) == 1
    assert largest < 1 or ticks[0] <= max(largest * 2, 4)


def test_lines_with_gaps() -> None:
    """Where nothing is known there is no line, a point alone is a dot; a single series has its area."""
    chart = lines("x", DAYS[:4], [Series("a", [0, None, 4, 2])])
    assert chart.lines == ("M0 100h0M66.67 0L100 50",)
    assert chart.areas == ("M0 100L0 100L66.67 0L100 50L100 100Z",)
    assert lines("x", DAYS[:4], [Series("a", [None] * 4), Series("b", [1] * 4)]).areas == ()
    assert lines("x", [], [Series("a", [])]).lines == ("",)


def test_slots_cover_the_drawing() -> None:
    """Wherever the pointer is, it is over one moment."""
    for chart in (lines("x", DAYS, [Series("a", [1] * 30)]), columns("x", DAYS, [Series("a", [1] * 30)])):
        edge = 0.0
        for slot in chart.slots:
            assert math.isclose(slot.x, edge, abs_tol=0.02)
            edge = slot.x + slot.width
        assert math.isclose(edge, 100, abs_tol=0.05)


def test_columns_stand_on_each_other() -> None:
    """Each part starts where the one below it ends; none is higher than the drawing."""
    chart = columns("x", DAYS[:2], [Series("a", [1, 0]), Series("b", [3, None])])
    first, second = (column for column in chart.columns if column.x < 50)
    assert (first.y, first.height, second.y, second.height) == (75, 25, 0, 75)
    assert len(chart.columns) == 2


def test_labels_are_few() -> None:
    """The first and the last moment, and some between."""
    for count in (1, 2, 6, 7, 30, 31, 365):
        moments = [n * 86_400_000 for n in range(count)]
        labels = lines("x", moments, [Series("a", [1] * count)]).labels
        assert labels[0] == moments[0] and labels[-1] == moments[-1] and len(labels) <= 7


def test_parts() -> None:
    """Shares are of the whole; what has no colour of its own is the others."""
    chart = parts("x", [(str(n), n) for n in range(12)], others="others")
    assert len(chart.parts) == SERIES_MAX and chart.parts[-1].name == "others"
    assert math.isclose(sum(part.share for part in chart.parts), 100, abs_tol=0.01) and chart.total == 66
    assert parts("x", [("a", 0)]).parts == ()


def test_bars() -> None:
    """The largest is as long as the drawing."""
    chart = bars("x", [("a", 10, None), ("b", 5, "/b"), ("c", 0, None)])
    assert [part.share for part in chart.parts] == [100, 50, 0]
    assert bars("x", [("a", 0, None)]).parts[0].share == 0
    assert spark([]) == "" and spark([0, 0]) == "M0 100L100 100"
