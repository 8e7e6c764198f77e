"""What a route of these views is, and how its path is read.

A repository's name may hold slashes, as they are or escaped, once or twice: Harbor's clients escape them twice. Paths
are read from the right, so that no name can be taken for another route.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.views.services import ViewServices
from registry.core.access import Action
from registry.core.errors import InvalidRequest, MethodNotAllowed, RouteUnknown

Handler = Callable[[ViewServices, Visit], Awaitable[Answer]]
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_DECODED_MAX = 2
_METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class ViewRoute:
    """One endpoint, GET and HEAD: what it is called in metrics, its path, where `{namespace}` and `{name}` are the
    parts of a repository's name, the action that it needs, and its handler."""

    spec_id: str
    path: str
    action: Action
    handler: Handler
    method: str = "GET"


class ViewPaths:
    """Finds routes. The first that fits is the one, so longer templates stand before shorter ones."""

    def __init__(self, routes: Sequence[ViewRoute]) -> None:
        self._known = [(_compiled(route.path), route) for route in routes]

    def find(self, method: str, path: str) -> tuple[ViewRoute, dict[str, str]]:
        """The route of a request, and what stands for its parameters; `repository` is the whole name. Raises
        RouteUnknown, MethodNotAllowed, InvalidRequest for escapes that are none."""
        for pattern, route in self._known:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if method not in _METHODS:
                raise MethodNotAllowed("these views are for reading", allow=list(_METHODS))
            names = {key: decoded(text) for key, text in found.groupdict().items()}
            if "name" in names:
                names["repository"] = f"{names['namespace']}/{names['name']}"
            return route, names
        raise RouteUnknown("there is no such path in this view")


def _compiled(template: str) -> "re.Pattern[str]":
    pieces = _PARAMETER.split(template)
    for number in range(1, len(pieces), 2):
        value = ".*[^/]" if pieces[number] == "name" else "[^/]+"
        pieces[number] = f"(?P<{pieces[number]}>{value})"
    for number in range(0, len(pieces), 2):
        pieces[number] = re.escape(pieces[number])
    return re.compile("".join([*pieces, "/?"]))


def decoded(text: str) -> str:
    """A piece of a path without its escapes, of which there may be two layers. Raises InvalidRequest."""
    for _ in range(_DECODED_MAX):
        if "%" not in text:
            break
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest("the path is not UTF-8") from None
    if "%" in text or "\0" in text:
        raise InvalidRequest("the path is escaped more than twice, or has a NUL")
    return text
