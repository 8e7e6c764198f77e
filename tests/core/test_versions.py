"""Versions in tags sort as people expect, byte by byte."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.versions import version_key

IN_ORDER = [
    ["1.9", "1.10"],
    ["1.2.0-rc.1", "1.2.0", "1.2.1"],
    ["v0.9", "V1.0", "v1.0.1", "2"],
    # The example of Semantic Versioning 2.0.0, "Precedence".
    ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"],
    ["1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"],
    ["3.12.0a1", "3.12.0b2", "3.12.0rc1", "3.12.0rc10", "3.12.0", "3.12.0.1"],
    ["1.25-rc1", "1.25-alpine", "1.25-alpine3.9", "1.25-alpine3.18", "1.25-bookworm", "1.25", "1.25.1-alpine"],
    ["2023-12-31", "2024-01-02-fix1", "2024-01-02", "2024.01.03", "2024-11"],
    ["20231231", "20240101", "20240101.2"],
    ["10.0.17763.1", "10.0.17763.999", "10.0.19041.0.1"],
    ["17.0.2", "17.0.2_8", "17.0.2_10", "17.0.3"],
    ["8u292", "8u302", "8"],
    ["2024", "2024-05"],
    ["8.0.36-1.2", "8.0.36-1.10", "8.0.36-debian", "8.0.36"],
]
EQUAL = [("1.2", "v1.2.0"), ("1", "1.0.0.0"), ("1.0-RC1", "v1-rc.1"), ("01.002", "1.2"), ("0", "v0.0")]
NONE = [
    "latest", "main", "v", "_1", "version1", "release-1.2", "1a2b3c4d", "3rd-party", "2fa", "sha256-" + "0" * 64,
    "0123456789abcdef0123456789abcdef01234567", "9" * 21, "stable-1.25", "x1.2",
]  # fmt: skip


@pytest.mark.parametrize("names", IN_ORDER, ids=lambda names: names[0])
def test_versions_sort(names: list[str]) -> None:
    """Each before the next, also in UTF-8 bytes, which is how databases compare."""
    shuffled = names[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=lambda name: version_key(name).encode()) == names
    assert len({version_key(name) for name in names}) == len(names)
    assert all(version_key(name) for name in names)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_versions_have_equal_keys(one: str, other: str) -> None:
    """Missing numbers are 0; a leading v, case and leading zeros do not count."""
    assert version_key(one) == version_key(other) != ""


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_version_has_no_key(name: str) -> None:
    """Words, hashes of commits, fallback tags of signatures."""
    assert version_key(name) == ""


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_numbers_compare_as_numbers(one: list[int], other: list[int]) -> None:
    """However many there are."""
    keys = [version_key(".".join(map(str, numbers))) for numbers in (one, other)]
    padded = [numbers + [0] * (6 - len(numbers)) for numbers in (one, other)]
    assert (keys[0] < keys[1]) == (padded[0] < padded[1])


@given(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_has_a_key_that_a_database_takes(tag: str) -> None:
    """Printable ASCII, and short enough for an index."""
    key = version_key(tag)
    assert key.isascii()
    assert key == "" or key.isprintable()
    assert len(key) <= 512
