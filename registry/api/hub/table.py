"""What a route of the hub's API is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from registry.api.hub.gate import Visit
from registry.api.hub.services import HubServices
from registry.api.responses import Answer, LinesAnswer
from registry.core.access import Action

PREFIX = "/api/v1"
Handler = Callable[[HubServices, Visit], Awaitable[Answer | LinesAnswer]]


@dataclass(frozen=True, slots=True)
class HubRoute:
    """One endpoint: what it is called in documentation and metrics, its path below `/api/v1`, the action that it needs,
    and the types of its query, body and answer. Its handler's docstring says what it does."""

    spec_id: str
    method: str
    path: str
    action: Action
    handler: Handler
    answer: Any = None
    """The type of the answer's body; None where it has none."""
    status: int = 200
    query: Any = None
    body: Any = None
    is_lines: bool = False
    """Whether the answer is many values of its type, each on a line."""
    danger: bool = False
    """Whether a browser's session has to be a fresh one."""
    is_conditional: bool = False
    """Whether it changes only what is still as `If-Match` says. Any other write refuses that header: it would not be
    heeded."""
