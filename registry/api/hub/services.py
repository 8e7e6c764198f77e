"""What the handlers of the hub's API stand on."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from registry.api.hub.gate import HubGate
from registry.api.operate import Readiness
from registry.services.audits import Audits
from registry.services.browse import Browse
from registry.services.contents import Contents
from registry.services.remove import Remove
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from registry.services.statistics import Statistics
from registry.services.tagging import Tagging


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting. Passwords are never shown."""

    name: str
    value: str | None
    """As text; null where it has none."""
    default: str
    source: str | None
    """The flag, variable or file that has set it; null for its default."""
    environment: str
    """The variable that sets it."""
    description: str


@dataclass(frozen=True, slots=True)
class HubServices:
    """What the handlers call."""

    gate: HubGate
    browse: Browse
    contents: Contents
    tagging: Tagging
    remove: Remove
    audits: Audits
    repositories: Repositories
    roles: Roles
    statistics: Statistics
    readiness: Readiness
    settings: Sequence[Setting]
    """Those of this server, secrets masked."""
