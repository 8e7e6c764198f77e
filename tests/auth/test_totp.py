"""Codes of authenticator apps, and the codes for who has lost one."""

import re
import xml.etree.ElementTree as ET
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from registry.auth import recovery_codes, totp

SECRET = b"12345678901234567890"
NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_the_specification(at_s: int, expected: str) -> None:
    """The vectors of RFC 6238, appendix B, of which apps show the last six digits."""
    assert totp.code(SECRET, totp.step_at(at_s * 1000)) == expected[-6:]


@pytest.mark.parametrize("steps_off", range(-4, 5))
def test_a_clock_may_be_one_step_off(steps_off: int) -> None:
    """Codes of the step before and after count, others do not."""
    present = totp.step_at(NOW_MS)
    given = totp.code(SECRET, present + steps_off)
    found = totp.matching_step(SECRET, given, now_ms=NOW_MS, used_step=0)
    assert found == (present + steps_off if abs(steps_off) <= 1 else None)


def test_a_used_step_and_those_before_it_do_not_count() -> None:
    """SEC-065: which step is told, so that it counts once; an older code that was never used is no way round."""
    present = totp.step_at(NOW_MS)
    for step in (present - 1, present):
        assert totp.matching_step(SECRET, totp.code(SECRET, step), now_ms=NOW_MS, used_step=present) is None
    after = totp.code(SECRET, present + 1)
    assert totp.matching_step(SECRET, after, now_ms=NOW_MS, used_step=present) == present + 1


@pytest.mark.parametrize("given", ["", "12345", "1234567", "١٢٣٤٥٦", "-12345", "12345a", "0x1234", "1e5123", "½23456"])
def test_only_six_digits_are_a_code(given: str) -> None:
    """Digits of other scripts, signs and other lengths are none."""
    assert totp.matching_step(SECRET, given, now_ms=NOW_MS, used_step=0) is None


def test_people_may_type_spaces() -> None:
    """As some apps show codes."""
    given = totp.code(SECRET, totp.step_at(NOW_MS))
    assert totp.matching_step(SECRET, f" {given[:3]} {given[3:]}\n", now_ms=NOW_MS, used_step=0) is not None
    assert totp.looks_like_code(f"{given[:3]} {given[3:]}")
    assert not totp.looks_like_code("abcd-efgh-jkmn-pqrs")


def test_secrets_are_random_and_long_enough() -> None:
    """160 bits, as RFC 4226 recommends."""
    made = {totp.new_secret() for _ in range(100)}
    assert len(made) == 100 and {len(secret) for secret in made} == {20}


def test_the_address_for_apps() -> None:
    """Issuer and account cannot be taken for one another, nor add a field of their own."""
    uri = totp.provisioning_uri(SECRET, account="alice&secret=A", issuer="hub.example.com:5000")
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/hub.example.com 5000:alice&secret=A"
    fields = parse_qs(parts.query, strict_parsing=True)
    assert fields == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["hub.example.com 5000"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }
    assert totp.typed(SECRET).replace(" ", "") == fields["secret"][0]


def test_the_picture_holds_nothing_but_shapes() -> None:
    """SEC-032: it goes into a page as it is, also for a hostile name; a strict policy takes it."""
    picture = totp.qr_code(totp.provisioning_uri(SECRET, account='<script>"', issuer="hub.example.com"))
    for element in ET.fromstring(picture).iter():
        assert element.tag in {"svg", "g", "path"} and not element.text
        assert set(element.attrib) <= {"viewBox", "transform", "d", "fill", "stroke", "class"}, element.attrib


def test_recovery_codes_are_ten_and_random() -> None:
    """80 bits each, in groups that people can type."""
    made = recovery_codes.new_codes()
    assert len(set(made)) == 10
    assert all(re.fullmatch(r"([0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}", code) for code in made)
    assert not set(made) & set(recovery_codes.new_codes())


def test_recovery_codes_are_found_however_they_are_typed() -> None:
    """Case, spaces, dashes and letters that look like digits do not matter; anything else is no code."""
    stored = recovery_codes.hashed("0123-4567-89ab-cdef")
    assert stored is not None
    assert recovery_codes.hashed(" O l23 4567 89AB\tCDEF\n") == stored
    assert recovery_codes.hashed("0123-4567-89ab-cdeg") not in (stored, None)
    for given in ("", "0123-4567-89ab-cde", "0123-4567-89ab-cdef-0", "0123-4567-89ab-cdeu", "\u06f0123-4567-89ab-cdef"):
        assert recovery_codes.hashed(given) is None
