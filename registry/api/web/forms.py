"""What a page sends back: the fields of a form."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from registry.api.asgi import Request
from registry.core.errors import FieldInvalid, InvalidRequest, MediaTypeUnsupported

FORM_TYPE = "application/x-www-form-urlencoded"
FORM_MAX_BYTES = 1024 * 1024
"""A README in percent escapes."""
FORM_FIELDS_MAX = 512
CSRF_FIELD = "csrf"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, by name, each with its values in order."""

    fields: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a field, without blanks around it."""
        return self.fields.get(name, [default])[-1].strip()

    def raw(self, name: str) -> str:
        """The last value of a field as it is: a password, a document."""
        return self.fields.get(name, [""])[-1]

    def all(self, name: str) -> list[str]:
        """Every value of a field: of boxes that were ticked."""
        return self.fields.get(name, [])

    def has(self, name: str) -> bool:
        """Whether a box was ticked, or a button pressed."""
        return name in self.fields


async def read_form(request: Request) -> Form:
    """The form of a request, empty where it has no body. Raises InvalidRequest, FieldInvalid, MediaTypeUnsupported."""
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    content = await request.read_small(FORM_MAX_BYTES)
    if not content:
        return Form()
    if kind != FORM_TYPE:
        raise MediaTypeUnsupported("send the form of the page")
    try:
        pairs = parse_qsl(
            content.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise InvalidRequest(f"not a form in UTF-8 of at most {FORM_FIELDS_MAX} fields") from None
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        if "\0" in key or "\0" in value:
            raise FieldInvalid("no field has a NUL", field=key.replace("\0", ""))
        found.setdefault(key, []).append(value.replace("\r\n", "\n"))
    return Form(found)
