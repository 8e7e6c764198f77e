"""Ranges of downloads and places of chunks, compared with what a slice says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.byterange import ByteRange, parse_chunk_range, parse_range
from registry.core.errors import RangeInvalid, RangeUnsatisfiable

SIZES = st.integers(0, 60)
POSITIONS = st.integers(0, 80)


@given(SIZES, POSITIONS, POSITIONS)
def test_a_range_is_a_slice(size: int, first: int, last: int) -> None:
    """CR-44: `first-last` is content[first:last+1], and unsatisfiable exactly where that holds nothing."""
    content = bytes(range(size))
    wanted = content[first : last + 1]
    try:
        part = parse_range(f"bytes={first}-{last}", size)
    except RangeUnsatisfiable as error:
        assert error.facts["size"] == size
        assert not wanted
    else:
        assert part is not None
        assert content[part.offset : part.offset + part.count] == wanted
        assert part.count == len(wanted) > 0


@given(SIZES, POSITIONS)
def test_open_and_suffix_ranges(size: int, number: int) -> None:
    """CR-44: `N-` is content[N:], `-N` is content[-N:]."""
    content = bytes(range(size))
    last = content[-number:] if number else b""
    for header, wanted in ((f"bytes={number}-", content[number:]), (f"bytes=-{number}", last)):
        try:
            part = parse_range(header, size)
        except RangeUnsatisfiable:
            assert not wanted
        else:
            assert part is not None
            assert content[part.offset : part.offset + part.count] == wanted


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=0", "bytes=1-2-3",
     "bytes=" + "0-0," * 10_000, "bytes=\u0661-2", "bytes=+1-2", "bytes=1-" + "9" * 30],
)  # fmt: skip
def test_what_is_no_single_range_is_ignored(header: str) -> None:
    """SEC-083: several ranges, other units and nonsense get the whole blob, never more than it holds."""
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("0-0", ByteRange(0, 1)),
        ("5-9", ByteRange(5, 5)),
        ("bytes 5-9/10", ByteRange(5, 5)),
        ("bytes 5-9/*", ByteRange(5, 5)),
        ("bytes=5-9", ByteRange(5, 5)),
        (" 5-9 ", ByteRange(5, 5)),
    ],
)
def test_places_of_chunks(header: str, place: ByteRange) -> None:
    """The form of the specification, and the forms of HTTP that some clients send."""
    assert parse_chunk_range(header) == place


@pytest.mark.parametrize(
    "header",
    ["", "a-b", "5", "5-", "-5", "9-5", "0-1-2", "1-2,3-4", "-1-5", "0x0-0x5", f"0-{2**63}", "0-" + "9" * 40,
     "bytes */10", "\u0661-\u0662"],
)  # fmt: skip
def test_what_is_no_place_is_refused(header: str) -> None:
    """CR-34."""
    with pytest.raises(RangeInvalid):
        parse_chunk_range(header)
