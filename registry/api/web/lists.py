"""Lists by cursors: where a page begins, and the link to the next one."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from registry.api.hub.gate import Visit
from registry.api.web.forms import Form
from registry.api.web.view import View
from registry.core.errors import FieldInvalid

T = TypeVar("T")
PAGE_ROWS = 50
_ID = re.compile(r"[0-9]{1,18}")


def asked(visit: Visit, name: str, default: str = "") -> str:
    """The last value of a field of the query, without blanks around it. Raises FieldInvalid for a NUL."""
    text = visit.request.query().get(name, [default])[-1].strip()
    if "\0" in text:
        raise FieldInvalid(f"{name} has no NUL", field=name)
    return text


def number_asked(visit: Visit, name: str) -> int | None:
    """The number in a field of the query, an id; None where it has none. Raises FieldInvalid."""
    text = asked(visit, name)
    return _number(name, text) if text else None


def number_of(form: Form, name: str) -> int:
    """The number in a field of a form, an id. Raises FieldInvalid."""
    return _number(name, form.text(name))


def _number(name: str, text: str) -> int:
    if _ID.fullmatch(text) is None:
        raise FieldInvalid(f"{name} is a number", field=name)
    return int(text)


def next_page(view: View, found: Sequence[T], cursor: Callable[[T], str | int], *, rows: int = PAGE_ROWS) -> str | None:
    """The link to the next page, None where `found`, of which one more than a page was asked for, ends here."""
    return view.link(after=cursor(found[rows - 1])) if len(found) > rows else None
