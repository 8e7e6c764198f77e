"""From a query and a body to values of the types that a route declares. Whatever does not fit is named by its field."""

import re
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from registry.api.asgi import Request
from registry.core.errors import FieldInvalid, InvalidRequest, MediaTypeUnsupported

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)


class NoQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A query of nothing."""


BODY_MAX_BYTES = 1024 * 1024
JSON_TYPES = ("application/json", "application/merge-patch+json")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED = re.compile(r"field `([^`]*)`")


def query_of(request: Request, kind: type[Q]) -> Q:
    """The query as a value. A field may come once, unless it is a list. Raises FieldInvalid, also for a field that is
    not documented, and InvalidRequest."""
    known = {field.encode_name: _parts(field.type) for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {}
    for name, values in request.query().items():
        if name not in known:
            raise FieldInvalid("there is no such field in the query", field=name or "(no name)")
        is_list = list in known[name]
        if not is_list and len(values) > 1:
            raise FieldInvalid(f"{name} comes once", field=name)
        if any("\0" in value for value in values):
            raise FieldInvalid(f"{name} has no NUL", field=name)
        if values[0].lower() == "null" and NoneType in known[name] and str not in known[name]:
            # What is to say nothing is left out.
            raise FieldInvalid(f"{name} cannot be null", field=name)
        given[name] = values if is_list else values[0]
    return _converted(given, kind)


def _parts(kind: Any) -> set[Any]:
    """The plain types that a field's type is made of."""
    if get_origin(kind) in (Union, UnionType):
        return set().union(*(_parts(part) for part in get_args(kind)))
    if get_origin(kind) is Annotated:
        return _parts(get_args(kind)[0])
    return {get_origin(kind) or kind}


async def body_of(request: Request, kind: type[T]) -> T:
    """The body, which has to be JSON, as a value. Raises FieldInvalid, InvalidRequest, MediaTypeUnsupported."""
    stated = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if stated not in JSON_TYPES:
        raise MediaTypeUnsupported("send JSON: Content-Type application/json")
    content = await request.read_small(BODY_MAX_BYTES)
    try:
        # First as what it says: what does not fit is told apart from what is no JSON.
        given = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(given, dict):
        raise InvalidRequest("the body is not JSON of an object")
    if _holds_nul(given):
        raise InvalidRequest("no text has a NUL")
    return _converted(given, kind, strict=True)


def _holds_nul(value: object) -> bool:
    """Not every database takes one. Without recursion: a body may be nested as deep as its reader can go."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and "\0" in one:
            return True
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return False


def _converted(given: object, kind: type[T], *, strict: bool = False) -> T:
    try:
        return msgspec.convert(given, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        text = str(error)
        place, named = _AT.search(text), _NAMED.search(text)
        field = ".".join(part.group(1) for part in (place, named) if part and part.group(1))
        raise FieldInvalid(_AT.sub("", text) + _choices(kind, field, text), field=field) from None


def _is_enum(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Enum)


def _choices(kind: Any, field: str, text: str) -> str:
    """What may be said instead of a word that is none of those that a field knows."""
    if not text.startswith("Invalid enum value"):
        return ""
    kinds = {known.encode_name: _parts(known.type) for known in msgspec.structs.fields(kind)}
    words = [str(one.value) for part in kinds.get(field, ()) if _is_enum(part) for one in part]
    return f": it is one of {', '.join(words)}" if words else ""
