"""Texts that people write about things: what is taken, and how long it may be."""

import unicodedata

from registry.core.errors import FieldInvalid
from registry.core.limits import README_MAX_BYTES

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a text look as if it were another one."""


def one_line(text: str, field: str, *, max_chars: int) -> str:
    """A text of one line without the blanks around it. Raises FieldInvalid."""
    found = text.strip()
    if len(found) > max_chars:
        raise FieldInvalid(f"{field} has at most {max_chars} characters", field=field)
    if any(unicodedata.category(character) in _CONTROL or character in _TURNING for character in found):
        raise FieldInvalid(f"{field} is one line of text", field=field)
    return found


def markdown(text: str, field: str = "markdown") -> str:
    """A text of many lines. Raises FieldInvalid."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > README_MAX_BYTES:
        raise FieldInvalid(f"{field} has at most {README_MAX_BYTES} bytes, and this are {size}", field=field)
    if "\0" in text or any(unicodedata.category(character) == "Cs" for character in text):
        raise FieldInvalid(f"{field} is text", field=field)
    return text
