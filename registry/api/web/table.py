"""What a route of the pages is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer, LinesAnswer
from registry.api.web.services import WebServices
from registry.api.web.view import View
from registry.core.access import Action

Handler = Callable[[WebServices, Visit, View], Awaitable[Answer | LinesAnswer]]


@dataclass(frozen=True, slots=True)
class WebRoute:
    """One page or form: what it is called in metrics, its path, the action that it needs, and its handler. The body of
    a POST is the form (`forms.Form`) in `visit.body`."""

    spec_id: str
    method: str
    path: str
    action: Action
    handler: Handler
    danger: bool = False
    """Whether the session has to be a fresh one."""
