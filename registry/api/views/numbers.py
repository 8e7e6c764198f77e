"""Pages by number. Each costs those before it, so there is an end to them; the address of the next page has a cursor,
and who follows it comes to the end of every list."""

from dataclasses import dataclass
from urllib.parse import urlencode

from registry.api.asgi import Request
from registry.api.hub import cursors
from registry.core.errors import FieldInvalid
from registry.core.limits import LIST_PAGE_MAX, NUMBERED_MAX

_DIGITS_MAX = 6
SIZE_DEFAULT = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks for: the page `number`, of `size` entries, or what is behind a cursor."""

    number: int
    size: int
    cursor: str | None

    @classmethod
    def of(cls, request: Request) -> "Asked":
        """From `page`, `page_size` and `after`. Raises FieldInvalid."""
        query = request.query()
        size = min(_number(query, "page_size", SIZE_DEFAULT), LIST_PAGE_MAX)
        number, cursor = _number(query, "page", 1), query.get("after", [None])[-1]
        if cursor is None and (number - 1) * size >= NUMBERED_MAX:
            raise FieldInvalid(f"pages by number end at {NUMBERED_MAX} entries: follow the next one", field="page")
        return cls(number, size, cursor)

    @property
    def start(self) -> int:
        """How many entries are before the page, where it is counted to."""
        return 0 if self.cursor is not None else (self.number - 1) * self.size

    def next(self, request: Request, position: tuple[str | int | None, ...]) -> str:
        """Path and query of the page behind this one, which ends at `position`."""
        return self._at(request, self.number + 1, cursors.write(position))

    def previous(self, request: Request) -> str | None:
        """Path and query of the page before, None where there is none that a number leads to."""
        if self.number < 2 or (self.number - 2) * self.size >= NUMBERED_MAX:
            return None
        return self._at(request, self.number - 1, None)

    def _at(self, request: Request, number: int, cursor: str | None) -> str:
        left_out = ("page", "page_size", "after")
        fields = [(key, value) for key, values in request.query().items() for value in values if key not in left_out]
        fields += [("page", str(number)), ("page_size", str(self.size))]
        if cursor is not None:
            fields.append(("after", cursor))
        return f"{request.raw_path}?{urlencode(fields)}"


def _number(query: dict[str, list[str]], field: str, otherwise: int) -> int:
    text = query.get(field, [""])[-1]
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX or not int(text):
        raise FieldInvalid(f"{field} is a number from 1", field=field)
    return int(text)


def text(request: Request, field: str, otherwise: str = "") -> str:
    """A field of the query. Raises FieldInvalid for one with a NUL."""
    value = request.query().get(field, [otherwise])[-1]
    if "\0" in value:
        raise FieldInvalid(f"{field} has no NUL", field=field)
    return value


def choice(request: Request, field: str, choices: dict[str, object], otherwise: str) -> str:
    """A field of the query that is one of a few words. Raises FieldInvalid."""
    value = text(request, field) or otherwise
    if value not in choices:
        raise FieldInvalid(f"{field} is one of {', '.join(choices)}", field=field)
    return value
