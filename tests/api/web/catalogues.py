"""What the pages say, gathered from templates and code, and the files of its translations.

`scripts/translations` adds what is new to them, without a text, and removes what nobody says any more. Entries are
sorted and do not say where they come from: people who work on different pages do not get into each other's way.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from registry.api.web.languages import LANGUAGES, Language
from registry.api.web.pages import FOLDER

KEYWORDS = {"gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2), "npgettext": ((1, "c"), 2, 3)}
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext.babel_extract")]
OPTIONS = {"templates/**.html": {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}}
HEADER = "# Texts of the web pages. `scripts/translations` keeps the entries complete; write the texts by hand.\n"


def said(folder: Path = FOLDER) -> Catalog:
    """Every text of templates and code."""
    catalog = Catalog(fuzzy=False)
    found = extract_from_dir(str(folder), METHODS, OPTIONS, KEYWORDS)
    for _file, _line, text, _comments, context in found:
        catalog.add(text, context=context)
    return catalog


def translated(language: Language) -> Catalog:
    """The file of a language, as Babel reads it."""
    assert language.file is not None
    with (FOLDER / "languages" / language.file).open("rb") as file:
        return read_po(file, locale=language.code.replace("-", "_"))


def texts_of(catalog: Catalog) -> Iterator[Message]:
    """Its entries without the header."""
    return (message for message in catalog if message.id)


def update(language: Language) -> int:
    """Bring the file of a language up to date; how many entries have no text yet."""
    old, new = translated(language), Catalog(locale=language.code.replace("-", "_"), fuzzy=False)
    for message in texts_of(said()):
        known = old.get(message.id, message.context)
        # A text that has got a plural since has to be said anew.
        is_known = known is not None and known.pluralizable == message.pluralizable
        new.add(message.id, known.string if known is not None and is_known else None, context=message.context)
    written = BytesIO()
    write_po(written, new, width=0, sort_output=True, omit_header=True)
    head = f'{HEADER}msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    assert language.file is not None
    (FOLDER / "languages" / language.file).write_bytes(head.encode() + written.getvalue().strip() + b"\n")
    return sum(not all(forms(message)) for message in texts_of(new))


def forms(message: Message) -> tuple[str, ...]:
    """The texts of an entry, as many as it has forms."""
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ("",))


if __name__ == "__main__":
    for spoken in LANGUAGES:
        if spoken.file is not None:
            print(f"{spoken.file}: {update(spoken)} without a text")
