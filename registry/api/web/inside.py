"""What the pages inside of a namespace have in common: whose it is, and what the caller may do there."""

from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.core.access import Action
from registry.core.errors import RouteUnknown

ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class Frame:
    """The head of these pages."""

    name: str
    is_organization: bool
    governs: bool
    """Whether the caller may change things."""

    @property
    def path(self) -> str:
        """Of the namespace's own page."""
        return f"/u/{self.name}"


def frame_of(visit: Visit) -> Frame:
    """The namespace of a request that was let in."""
    inside = visit.namespace
    return Frame(inside.name, inside.kind == ORGANIZATION, Action.GOVERN in visit.actions)


def organization_of(visit: Visit) -> Frame:
    """The same, of an organization. Raises RouteUnknown for a user's namespace."""
    found = frame_of(visit)
    if not found.is_organization:
        raise RouteUnknown("users have neither members nor teams")
    return found
