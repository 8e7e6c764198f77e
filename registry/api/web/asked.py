"""What the address of a page asks for. Fields that a page does not know are left alone: links gather them on their way.
A field that it knows has one of its values, or the page is refused (SEC-026)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from registry.api.hub import cursors
from registry.api.web.view import View
from registry.core.errors import FieldInvalid

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T", bound=tuple[Any, ...])
TEXT_MAX_CHARS = 255


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields of a query, the last of each name."""

    fields: dict[str, str]

    @classmethod
    def of(cls, view: View) -> "Asked":
        """Those of a view."""
        return cls(dict(view.query))

    def text(self, name: str, max_chars: int = TEXT_MAX_CHARS) -> str:
        """A text without blanks around it, empty where there is none. Raises FieldInvalid."""
        text = self.fields.get(name, "").strip()
        if len(text) > max_chars:
            raise FieldInvalid(f"{name} has at most {max_chars} characters", field=name)
        if "\0" in text:
            raise FieldInvalid(f"{name} has no NUL", field=name)
        return text

    def choice(self, name: str, kind: type[E]) -> E | None:
        """One of the values of `kind`, None where nothing is asked for. Raises FieldInvalid."""
        text = self.text(name)
        if not text:
            return None
        if text not in set(kind):
            raise FieldInvalid(f"{name} is one of: {', '.join(kind)}", field=name)
        return kind(text)

    def order(self, name: str, kind: type[E], default: tuple[E, bool]) -> tuple[E, bool]:
        """What to order by and whether downwards, which a `-` before it says. Raises FieldInvalid."""
        text = self.text(name)
        if not text:
            return default
        word = text.removeprefix("-")
        if word not in set(kind):
            raise FieldInvalid(f"{name} is one of: {', '.join(kind)}, with a - before it for downwards", field=name)
        return kind(word), text != word

    def position(self, name: str, kind: type[T]) -> T | None:
        """Where a page begins, None for the first one. Raises FieldInvalid."""
        text = self.fields.get(name, "")
        return cursors.read(text, kind) if text else None
