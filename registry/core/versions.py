"""Versions in the names of tags: a key that sorts, byte by byte, as versions do.

Source: Semantic Versioning 2.0.0, "Precedence", and what tags look like: `1.25`, `v2.0.0-rc.1`, `8.0.36-debian`,
`2024-05-01`, `1.4.2_build7`. `1.10` comes after `1.9`, missing numbers are 0, and what has a suffix comes before what
has none: first the releases that are still to come (`-rc.1`), then the variants (`-alpine`). What follows a `_`, which
stands for the `+` of build data that a tag cannot have, comes after.
"""

import re

NUMBER_MAX_DIGITS = 20
"""Longer ones are hashes or noise."""

_NUMBERS = re.compile(r"[vV]?(\d+(?:\.\d+)*)")
_DATE = re.compile(r"(?:19|20)\d\d-[01]\d(?:-[0-3]\d)?(?!\d)")
_HASH = re.compile(r"(?=.*[a-f])[0-9a-f]{7,64}")
_PART = re.compile(r"(\d+)|([a-z]+)")
_TO_COME = re.compile(r"[._-]?(?:a|alpha|b|beta|c|canary|dev|ea|m|milestone|nightly|pre|preview|rc|snapshot)(?![a-z])")
_AFTER_NUMBER = re.compile(r"(?:a|alpha|b|beta|c|p|pre|preview|r|rc|u)\d*(?![a-z0-9])")
"""What can follow a single number at once, as in `8u292`: anything else is a word that begins with a digit."""

# What follows the numbers: each sorts before the next, and all of them before one more number.
_PRE_RELEASE, _VARIANT, _RELEASE, _BUILD = "0123"
_WORD_END = "!"


def version_key(tag: str) -> str:
    """A text that sorts as the tag's version does; empty for a tag that is none, such as `latest` or a commit's hash.
    Tags of equal versions (`1.2`, `v1.2.0`) have equal keys."""
    numbers, suffix = _split(tag)
    if not numbers or any(len(number.lstrip("0")) > NUMBER_MAX_DIGITS for number in numbers):
        return ""
    while numbers and not numbers[-1].strip("0"):
        numbers.pop()
    return "".join(map(_number, numbers)) + _rank(suffix) + _suffix(suffix)


def _split(tag: str) -> tuple[list[str], str]:
    """The numbers of a version and what comes after them, in lower case; no numbers where it is no version."""
    date = _DATE.match(tag)
    if date is not None:
        return date[0].split("-"), tag[date.end() :].lower()
    found = _NUMBERS.match(tag)
    if found is None or _HASH.fullmatch(tag):
        return [], ""
    suffix = tag[found.end() :].lower()
    if suffix[:1].isalpha() and "." not in found[1] and _AFTER_NUMBER.match(suffix) is None:
        return [], ""
    return found[1].split("."), suffix


def _rank(suffix: str) -> str:
    if not suffix:
        return _RELEASE
    if _TO_COME.match(suffix):
        return _PRE_RELEASE
    return _BUILD if suffix[0] == "_" else _VARIANT


def _suffix(suffix: str) -> str:
    """Its numbers and words in turn. A number sorts before a word, and an end before both."""
    parts = (found.groups() for found in _PART.finditer(suffix))
    return "".join(_number(number) if number else f"w{word}{_WORD_END}" for number, word in parts)


def _number(digits: str) -> str:
    """Its length as a letter (A for 0, which has no digits), then its digits: longer ones are greater. An endless one
    counts by its first digits."""
    shown = digits.lstrip("0")
    return chr(ord("A") + min(len(shown), NUMBER_MAX_DIGITS + 1)) + shown
