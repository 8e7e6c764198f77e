"""The API itself: its description, and who calls it."""

import msgspec

from registry.api.hub import answers
from registry.api.hub.gate import Visit
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.responses import Answer
from registry.core.access import Action


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls."""

    name: str
    credential: str
    """How that was shown: `password`, `personal token 12`, `session 3`."""


async def get_me(services: HubServices, visit: Visit) -> Answer:
    """Who the credential that was shown stands for."""
    principal = visit.caller.principal
    return answers.one(Me(name=principal.name, credential=principal.credential))


async def get_openapi(services: HubServices, visit: Visit) -> Answer:
    """The description of this API, as an OpenAPI 3.1 document."""
    from registry.api.hub.openapi import document

    return answers.one(document())


ROUTES = (
    HubRoute("getOpenApi", "GET", "/openapi.json", Action.PING, get_openapi, answer=dict),
    HubRoute("getMe", "GET", "/me", Action.SELF, get_me, answer=Me),
)
