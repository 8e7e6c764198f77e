"""What somebody types: words, letters that are off, and what comes first."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.errors import FieldInvalid
from registry.core.limits import SEARCH_MAX_CHARS, SEARCH_WORDS_MAX
from registry.core.search import Nearness, SearchText, intact_parts, is_one_letter_off, nearness


def parse(text: str) -> SearchText:
    """As from a query."""
    return SearchText.parse(text, field="q")


@given(st.text())
def test_nothing_that_is_typed_is_more_than_words(text: str) -> None:
    """Whatever comes, words hold no space and no control character, and each comes once."""
    try:
        words = parse(text).words
    except FieldInvalid as error:
        assert error.facts["field"] == "q"
        return
    assert len(set(words)) == len(words) <= SEARCH_WORDS_MAX
    assert not any(character.isspace() or ord(character) < 0x20 for word in words for character in word)


def test_too_much_is_refused() -> None:
    """10,000 characters, and hundreds of words, name the field (I10)."""
    for text in ("x" * 10_000, "x" * (SEARCH_MAX_CHARS + 1), " ".join(map(str, range(SEARCH_WORDS_MAX + 1)))):
        with pytest.raises(FieldInvalid) as caught:
            parse(text)
        assert caught.value.facts["field"] == "q"
    assert parse(" \x00 \t").words == ()


def typos(word: str, rng: random.Random) -> list[str]:
    """Each kind of slip, at some place."""
    place = rng.randrange(len(word) - 1)
    letter = rng.choice(string.ascii_lowercase)
    return [
        word[:place] + word[place + 1 :],
        word[:place] + letter + word[place + 1 :],
        word[:place] + letter + word[place:],
        word[:place] + word[place + 1] + word[place] + word[place + 2 :],
    ]


@pytest.mark.parametrize("seed", range(50))
def test_a_slip_is_found_by_what_is_left(seed: int) -> None:
    """Whatever letter is wrong: a pair of the parts that are left is in the name, and the name is found to be near."""
    rng = random.Random(seed)
    word = "".join(rng.choice("abcdefgh") for _ in range(rng.randint(6, 14)))
    name = f"acme/x-{word}"
    edged = f"/{name}/".replace("-", "/")
    for typed in typos(word, rng):
        pairs = intact_parts(typed)
        assert typed in name or any(all(part in edged for part in pair) for pair in pairs), (typed, word)
        assert typed == word or is_one_letter_off(typed, word), (typed, word)


def test_two_slips_are_too_many() -> None:
    """What is near is near: everything else would find everything."""
    for typed, word in (("ngnxi", "nginx"), ("abcd", "dcba"), ("redis", "nginx"), ("ngx", "nginx"), ("rediss", "reds")):
        assert not is_one_letter_off(typed, word), (typed, word)
    for typed, word in (("ngnix", "nginx"), ("ngix", "nginx"), ("nginz", "nginx"), ("nginxx", "nginx")):
        assert is_one_letter_off(typed, word), (typed, word)
    assert is_one_letter_off("postgers", "postgresql")


def test_what_fits_best_comes_first() -> None:
    """The name itself, its last part, beginnings (shorter ones first), pieces, one letter off."""
    wanted = [
        "nginx",
        "library/nginx",
        "acme/nginx-ui",
        "acme/nginx-prometheus-exporter",
        "acme/my-nginx",
        "acme/ngin",
    ]
    search = parse("nginx")
    assert sorted(set(wanted), key=lambda name: nearness(search, name)) == wanted
    assert [nearness(search, name)[0] for name in (*wanted, "acme/redis")] == [
        Nearness.EXACT,
        Nearness.LAST_PART,
        Nearness.BEGINS,
        Nearness.BEGINS,
        Nearness.HOLDS,
        Nearness.ONE_LETTER_OFF,
        Nearness.NOT,
    ]
