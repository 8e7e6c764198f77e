"""The languages of the pages: which one a visitor reads, and the catalogue of its texts.

English stands in the templates and in the code. Every other language is one gettext file in `languages/`, read as it
is: there is nothing to compile, and nothing that could be older than its source. `scripts/translations` keeps them
complete.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ACCEPTED_MAX = 32
"""Entries of Accept-Language that are looked at."""

_QUOTED = re.compile(r'"(.*)"\s*\Z')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_WEIGHT = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Language:
    """`code` is what HTML and HTTP call it (BCP 47), `name` is its own name for itself."""

    code: str
    name: str
    file: str | None = None
    plurals: int = 2
    """Forms of a counted noun: two as in English (one, many), or one as in Chinese."""

    @property
    def primary(self) -> str:
        """The language without region and script, in lower case."""
        return self.code.partition("-")[0].lower()


ENGLISH = Language("en", "English")
CHINESE = Language("zh-CN", "简体中文", "zh_CN.po", plurals=1)
LANGUAGES = (ENGLISH, CHINESE)
"""In the order of the switch; the first is spoken where nothing else is asked for."""


def language_of(code: str | None) -> Language | None:
    """The language with exactly this code, None if the pages do not have it."""
    return next((language for language in LANGUAGES if language.code == code), None)


def accepted(header: str | None) -> Language:
    """The language that `Accept-Language` likes best (RFC 9110 §12.5.4). Regions make no difference: who reads `zh-TW`
    or `en-GB` gets what there is of that language. The first language where nothing fits."""
    weights: dict[str, float] = {}
    for entry in (header or "").split(",")[:ACCEPTED_MAX]:
        name, _, parameter = entry.partition(";")
        primary = name.strip().partition("-")[0].lower()
        weight = _weight(parameter.strip())
        if primary and weight is not None:
            # Of several ranges of one language the most liked counts, and of equal ones the first.
            weights[primary] = max(weight, weights.get(primary, 0.0))
    liked = {primary: weight for primary, weight in weights.items() if weight > 0}
    for primary in sorted(liked, key=lambda primary: -liked[primary]):
        for language in LANGUAGES:
            if primary == "*" and language.primary not in weights:
                return language
            if primary == language.primary:
                return language
    return LANGUAGES[0]


def _weight(parameter: str) -> float | None:
    """1 without a parameter, None for one that cannot be read."""
    if not parameter:
        return 1.0
    match = _WEIGHT.match(parameter)
    return None if match is None else min(float(match.group(1)), 1.0)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The texts of one language. What it does not have is said in English."""

    language: Language
    texts: dict[tuple[str | None, str], tuple[str, ...]] = field(default_factory=dict)
    """By context and English text: the forms."""

    def gettext(self, text: str) -> str:
        """The text in this language."""
        return self.pgettext(None, text)

    def pgettext(self, context: str | None, text: str) -> str:
        """The text as it is used in a context: one English word may be several elsewhere."""
        forms = self.texts.get((context, text))
        return forms[0] if forms else text

    def ngettext(self, one: str, many: str, count: int) -> str:
        """The form of a text for this count."""
        return self.npgettext(None, one, many, count)

    def npgettext(self, context: str | None, one: str, many: str, count: int) -> str:
        """As `ngettext`, in a context."""
        forms = self.texts.get((context, one))
        if not forms:
            return one if count == 1 else many
        return forms[0] if count == 1 or len(forms) == 1 else forms[1]


def read_catalogue(language: Language, folder: Path) -> Catalogue:
    """The catalogue of a language from its file in `folder`; unfinished entries (fuzzy, empty) are left out.
    Raises OSError, ValueError for what is no gettext file."""
    if language.file is None:
        return Catalogue(language)
    lines = (folder / language.file).read_text(encoding="utf-8").splitlines()
    texts = {(entry.context, entry.text): entry.forms for entry in _entries(lines) if entry.is_finished}
    return Catalogue(language, texts)


@dataclass(slots=True)
class _Entry:
    fields: dict[str, str] = field(default_factory=dict)
    is_fuzzy: bool = False

    @property
    def context(self) -> str | None:
        return self.fields.get("msgctxt")

    @property
    def text(self) -> str:
        return self.fields["msgid"]

    @property
    def forms(self) -> tuple[str, ...]:
        names = sorted(name for name in self.fields if name.startswith("msgstr"))
        return tuple(self.fields[name] for name in names)

    @property
    def is_finished(self) -> bool:
        return bool(self.fields.get("msgid")) and not self.is_fuzzy and all(self.forms)


def _entries(lines: list[str]) -> Iterator[_Entry]:
    """Entries are apart by an empty line, as every tool writes them."""
    entry, key = _Entry(), ""
    for number, line in enumerate([*lines, ""], start=1):
        if line.startswith("#"):
            entry.is_fuzzy |= line.startswith("#,") and "fuzzy" in line
        elif line.strip():
            word, _, rest = line.partition(" ")
            key = key if line.startswith('"') else word
            entry.fields[key] = entry.fields.get(key, "") + _unquoted(line if line.startswith('"') else rest, number)
        else:
            if entry.fields:
                yield entry
            entry, key = _Entry(), ""


def _unquoted(text: str, number: int) -> str:
    match = _QUOTED.match(text.strip())
    if match is None:
        raise ValueError(f"line {number} of a catalogue is no text in quotes")
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found.group(1), found.group(1)), match.group(1))
