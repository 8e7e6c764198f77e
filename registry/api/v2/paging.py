"""`n`, `last` and `Link`: how every list of the distribution API is paged."""

from urllib.parse import urlencode

from registry.api.asgi import Headers
from registry.core.errors import PageInvalid

LAST_MAX_CHARS = 512
_HUGE = 10**9


def page_size(query: dict[str, list[str]]) -> int | None:
    """`n`, None where it is absent. A huge one stands for the most that is given. Raises PageInvalid."""
    values = query.get("n")
    if values is None:
        return None
    if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()):
        raise PageInvalid("n is the number of entries wanted: digits, once")
    return int(values[0]) if len(values[0]) < 10 else _HUGE


def page_after(query: dict[str, list[str]]) -> str:
    """`last`, the empty text where it is absent. It need not exist. Raises PageInvalid."""
    last = query.get("last", [""])[-1]
    if len(last) > LAST_MAX_CHARS or "\0" in last:
        raise PageInvalid(f"last has at most {LAST_MAX_CHARS} characters, and no NUL")
    return last


def artifact_types(query: dict[str, list[str]]) -> list[str]:
    """The values of `artifactType`. Raises PageInvalid: not every database takes a NUL, and no media type has one."""
    types = query.get("artifactType", [])
    if any("\0" in value for value in types):
        raise PageInvalid("artifactType is a media type, without NUL")
    return types


def next_link(path: str, fields: list[tuple[str, str]]) -> Headers:
    """The `Link` to the next page: relative, because only that is right behind every proxy."""
    return [(b"link", f'<{path}?{urlencode(fields)}>; rel="next"'.encode())]
