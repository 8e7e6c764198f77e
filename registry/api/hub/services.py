"""What the handlers of the hub's API stand on."""

from dataclasses import dataclass

from registry.api.hub.gate import HubGate


@dataclass(frozen=True, slots=True)
class HubServices:
    """What the handlers call."""

    gate: HubGate
