"""What the handlers of these views stand on."""

from dataclasses import dataclass

from registry.api.hub.gate import HubGate
from registry.auth.challenge import Origins
from registry.services.browse import Browse
from registry.services.contents import Contents


@dataclass(frozen=True, slots=True)
class ViewServices:
    """What the handlers call."""

    gate: HubGate
    browse: Browse
    contents: Contents
    origins: Origins
