"""What the handlers of the hub's API stand on."""

from dataclasses import dataclass

from registry.api.hub.gate import HubGate
from registry.services.browse import Browse


@dataclass(frozen=True, slots=True)
class HubServices:
    """What the handlers call."""

    gate: HubGate
    browse: Browse
