"""Languages: which one is chosen, and that what pages say is said in each."""

import re

import pytest

from registry.api.web.languages import CHINESE, ENGLISH, LANGUAGES, Language, accepted, language_of, read_catalogue
from registry.api.web.pages import FOLDER
from tests.api.web.catalogues import forms, said, texts_of, translated

TRANSLATED = [language for language in LANGUAGES if language.file is not None]
PLACEHOLDER = re.compile(r"%\((\w+)\)s|#")

HEADERS = {
    None: ENGLISH,
    "": ENGLISH,
    "zh": CHINESE,
    "zh-CN,zh;q=0.9,en;q=0.8": CHINESE,
    "zh-Hans-CN": CHINESE,
    "zh-TW, en;q=0.9": CHINESE,
    "en-GB,en;q=0.9,zh;q=0.8": ENGLISH,
    "de-DE,de;q=0.9": ENGLISH,
    "de, zh;q=0.1": CHINESE,
    "en;q=0.2, zh;q=0.3": CHINESE,
    "en;q=0.3, zh;q=0.3": ENGLISH,
    "zh;q=0, en": ENGLISH,
    "en;q=0": ENGLISH,
    "*": ENGLISH,
    "en;q=0, *": CHINESE,
    "zh;q=0.5, *;q=0.8": ENGLISH,
    "ZH": CHINESE,
    "zh;q=x, en": ENGLISH,
    "zh;q=2, en;q=0.1": ENGLISH,
    ";;;,,,;q=,zh": CHINESE,
    "x," * 1000 + "zh": ENGLISH,
    "zh ; Q = 1": CHINESE,
}


@pytest.mark.parametrize("header", HEADERS)
def test_the_language_that_is_liked_best(header: str | None) -> None:
    """RFC 9110: weights count, then order; what cannot be read is as if it were not there."""
    assert accepted(header) is HEADERS[header]


def test_a_language_by_its_code() -> None:
    """The cookie of the switch holds a code, or something that means nothing."""
    assert language_of("zh-CN") is CHINESE
    assert [language_of(code) for code in (None, "", "zh", "../zh-CN", "en-")] == [None] * 5


@pytest.mark.parametrize("language", TRANSLATED, ids=lambda language: language.code)
class TestTranslations:
    """One file for each language."""

    def test_everything_that_is_said_has_a_text(self, language: Language) -> None:
        """No text is missing, unfinished, or of something that nobody says any more (`scripts/translations`)."""
        wanted = {(message.context, message.id) for message in texts_of(said())}
        there = {(message.context, message.id): message for message in texts_of(translated(language))}
        assert there.keys() == wanted
        for message in there.values():
            assert not message.fuzzy, message.id
            assert all(forms(message)), message.id

    def test_placeholders_agree(self, language: Language) -> None:
        """Each text fills in what the English one does, and nothing else."""
        for message in texts_of(translated(language)):
            english = message.id if isinstance(message.id, str) else message.id[-1]
            for text in forms(message):
                assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(english)), english

    def test_our_reader_reads_what_babel_reads(self, language: Language) -> None:
        """The files are gettext: an independent reader finds the same."""
        ours = read_catalogue(language, FOLDER / "languages").texts
        for message in texts_of(translated(language)):
            text = message.id if isinstance(message.id, str) else message.id[0]
            assert ours.pop((message.context, text)) == forms(message)
        assert not ours


def test_forms_and_what_is_missing() -> None:
    """Counted nouns; an unknown text is said in English."""
    chinese = read_catalogue(CHINESE, FOLDER / "languages")
    english = read_catalogue(ENGLISH, FOLDER / "languages")
    one, many = "%(n)s day ago", "%(n)s days ago"
    assert [english.ngettext(one, many, n) for n in (0, 1, 2)] == [many, one, many]
    assert {chinese.ngettext(one, many, n) for n in (0, 1, 2)} == {"%(n)s 天前"}
    assert chinese.gettext("nobody says this") == "nobody says this"
    assert chinese.npgettext("x", "a", "b", 2) == "b"
