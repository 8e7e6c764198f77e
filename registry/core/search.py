"""Searching for repositories: what somebody typed, which names are near to it, and what comes first. Pure.

Every word has to be found, in the name or in the description, anywhere in it. A word of a name may also be one letter
away: a letter that is missing, wrong or too many, or two that changed places. What was typed is never more than words:
quotes, operators and wildcards mean themselves.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from registry.core.errors import FieldInvalid
from registry.core.limits import SEARCH_MAX_CHARS, SEARCH_WORDS_MAX

GRAM = 3
"""Letters that an index goes by: shorter pieces are found by looking at each name."""
_TYPO_MIN, _TYPO_MAX = 4, 24
"""Lengths of words in which a letter may be wrong."""
_SEPARATORS = re.compile(r"[/._-]+")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_TENTHS = 10


class Nearness(IntEnum):
    """How a name fits what was typed; the lowest comes first."""

    EXACT = 0
    LAST_PART = 1
    """`nginx` for `library/nginx`."""
    BEGINS = 2
    """The name, or its last part, begins with it."""
    HOLDS = 3
    ONE_LETTER_OFF = 4
    NOT = 5
    """Only the description fits."""


@dataclass(frozen=True, slots=True)
class SearchText:
    """What somebody typed: words in lower case."""

    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, *, field: str) -> "SearchText":
        """From a query's `field`. Raises FieldInvalid for one that is too long."""
        if len(text) > SEARCH_MAX_CHARS:
            raise FieldInvalid(f"{field} has at most {SEARCH_MAX_CHARS} characters", field=field)
        clean = text.encode("utf-8", "ignore").decode("utf-8").lower()
        words = tuple(dict.fromkeys(_UNPRINTABLE.sub(" ", clean).split()))
        if len(words) > SEARCH_WORDS_MAX:
            raise FieldInvalid(f"{field} has at most {SEARCH_WORDS_MAX} words", field=field)
        return cls(words)

    @property
    def whole(self) -> str:
        """The words as one text."""
        return " ".join(self.words)

    @property
    def indexed(self) -> list[str]:
        """The words that are long enough for an index."""
        return [word for word in self.words if len(word) >= GRAM]

    @property
    def has_typos(self) -> bool:
        """Whether a letter of some word may be wrong."""
        return any(_may_be_off(word) for word in self.words)


def intact_parts(word: str) -> list[tuple[str, str]]:
    """What is left of `word` on both sides of a wrong letter, for each place where that may be: every name with a word
    that is one letter off holds both parts of one pair, an empty one being none. A `/` stands for the edge of a word.
    Empty where no letter may be wrong."""
    if not _may_be_off(word):
        return []
    pairs = []
    for place in range(len(word)):
        before, behind = f"/{word[:place]}", word[place + 2 :]
        behind = behind if len(behind) >= GRAM else f"{behind}/"
        pair = (before if len(before) >= GRAM else "", behind if len(behind) >= GRAM else "")
        if any(pair):
            pairs.append(pair)
    return [pair for pair in pairs if not _is_implied(pair, pairs)]


def _may_be_off(word: str) -> bool:
    return word.isascii() and word.isalnum() and _TYPO_MIN <= len(word) <= _TYPO_MAX


def _is_implied(pair: tuple[str, str], pairs: list[tuple[str, str]]) -> bool:
    """Whether another pair finds everything that this one finds: it asks for pieces of its parts."""
    return any(
        other != pair and all(part in pair[place] for place, part in enumerate(other) if part) for other in pairs
    )


def nearness(search: SearchText, name: str) -> tuple[Nearness, int]:
    """How a name fits, and how little of it is something else, in tenths: both small for what comes first."""
    whole, last = search.whole, name.rpartition("/")[2]
    if name == whole:
        return Nearness.EXACT, 0
    if last == whole:
        return Nearness.LAST_PART, 0
    if last.startswith(whole) or name.startswith(whole):
        return Nearness.BEGINS, _rest(whole, last if last.startswith(whole) else name)
    if all(word in name for word in search.words):
        return Nearness.HOLDS, _rest(whole, last if search.words[-1] in last else name)
    parts = _SEPARATORS.split(name)
    if all(word in name or any(is_one_letter_off(word, part) for part in parts) for word in search.words):
        return Nearness.ONE_LETTER_OFF, _rest(whole, last)
    return Nearness.NOT, _TENTHS


def _rest(text: str, place: str) -> int:
    return _TENTHS - min(_TENTHS, _TENTHS * len(text) // max(1, len(place)))


def is_one_letter_off(typed: str, word: str) -> bool:
    """Whether one letter of `typed` is missing, wrong or too many, or two of them changed places, for it to be `word`
    or what that begins with."""
    if not _may_be_off(typed) or len(word) < len(typed) - 1:
        return False
    return any(_is_one_edit(typed, beginning) for beginning in _beginnings(typed, word))


def _beginnings(typed: str, word: str) -> Iterator[str]:
    lengths = {min(len(word), len(typed) + more) for more in (-1, 0, 1)}
    return (word[:length] for length in sorted(lengths))


def _is_one_edit(one: str, other: str) -> bool:
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    one, other = one[start:], other[start:]
    end = 0
    while end < min(len(one), len(other)) and one[-1 - end] == other[-1 - end]:
        end += 1
    one, other = one[: len(one) - end], other[: len(other) - end]
    if len(one) <= 1 and len(other) <= 1:
        return True
    return len(one) == 2 and one == other[::-1]
