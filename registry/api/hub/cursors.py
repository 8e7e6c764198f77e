"""Cursors: where a page ended, as a text that clients hand back and do not look into."""

import base64
import binascii
import json
from typing import Annotated, Any, TypeVar

import msgspec

from registry.core.errors import FieldInvalid

T = TypeVar("T", bound=tuple[Any, ...])
CURSOR_MAX_CHARS = 1024
_NUMBERS = (-(2**63), 2**63 - 1)
Number = Annotated[int, msgspec.Meta(ge=_NUMBERS[0], le=_NUMBERS[1])]
"""A number that a database takes."""


def write(position: tuple[str | int | None, ...]) -> str:
    """The cursor of a position in a list."""
    text = json.dumps(position, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii").rstrip("=")


def read(cursor: str, kind: type[T]) -> T:
    """The position of a cursor, which has to be of the tuple type `kind`: whoever makes one up reaches nothing that the
    list does not show anyway. Raises FieldInvalid."""
    try:
        if len(cursor) > CURSOR_MAX_CHARS:
            raise ValueError
        padded = cursor + "=" * (-len(cursor) % 4)
        found: T = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=kind)
        if not all(map(_fits, found)):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        message = "after is the cursor of a page of this list, as its answer gives it"
        raise FieldInvalid(message, field="after") from None
    return found


def _fits(part: object) -> bool:
    """Whether every database takes it."""
    if isinstance(part, int):
        return _NUMBERS[0] <= part <= _NUMBERS[1]
    return not isinstance(part, str) or "\0" not in part
