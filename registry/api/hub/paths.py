"""Path templates such as `/repositories/{repository}/-/tags/{tag}`, and which of them a path has the form of."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from registry.core.errors import InvalidRequest, MethodNotAllowed, RouteUnknown

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_WITH_SLASHES = "repository"
"""The one parameter that may hold slashes. `/-/` ends it."""
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Routed(Protocol):
    """What a table of routes holds."""

    @property
    def method(self) -> str:
        """GET, POST …"""

    @property
    def path(self) -> str:
        """The template."""


R = TypeVar("R", bound=Routed)


def parameters_of(template: str) -> list[str]:
    """The names of what a template leaves open."""
    return _PARAMETER.findall(template)


class Paths(dict[str, list[tuple["re.Pattern[str]", dict[str, R]]]]):
    """Finds routes. Keyed by the first segment, because there are many of them."""

    def __init__(self, routes: Iterable[R]) -> None:
        super().__init__()
        for route in routes:
            known = self.setdefault(_first(route.path), [])
            pattern = _compiled(route.path)
            methods = next((methods for other, methods in known if other.pattern == pattern.pattern), None)
            if methods is None:
                methods = {}
                known.append((pattern, methods))
            methods[route.method] = route

    def find(self, method: str, path: str) -> tuple[R, dict[str, str]]:
        """The route of a request, and what stands for its parameters, decoded once. HEAD is GET. Raises RouteUnknown,
        MethodNotAllowed, InvalidRequest for escapes that are none."""
        for pattern, methods in self.get(_first(path), ()):
            found = pattern.fullmatch(path)
            if found is None:
                continue
            route = methods.get("GET" if method == "HEAD" else method)
            if route is None:
                raise MethodNotAllowed("this path does not have this method", allow=_allowed(list(methods)))
            return route, {name: _decoded(text) for name, text in found.groupdict().items()}
        raise RouteUnknown("there is no such path here")


def _allowed(methods: Sequence[str]) -> list[str]:
    return sorted([*methods, "HEAD"] if "GET" in methods else methods)


def _first(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _compiled(template: str) -> "re.Pattern[str]":
    pieces = _PARAMETER.split(template)
    # Literal texts and names of parameters take turns.
    for number in range(1, len(pieces), 2):
        name = pieces[number]
        value = "(?:(?!/-/).)+" if name == _WITH_SLASHES else "[^/]+"
        pieces[number] = f"(?P<{name}>{value})"
    for number in range(0, len(pieces), 2):
        pieces[number] = re.escape(pieces[number])
    return re.compile("".join(pieces))


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    if _ESCAPE.search(text):
        raise InvalidRequest("a % in the path is followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8") from None
