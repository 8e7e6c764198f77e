"""What the handlers of the distribution API stand on."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.api.asgi import HeldBytes
from registry.api.edge import Network, is_within
from registry.api.v2.gate import Challenges, Gate
from registry.services.catalog import Catalog
from registry.services.counting import Counting
from registry.services.pull import Pull
from registry.services.push import Push
from registry.services.remove import Remove
from registry.services.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Redirects:
    """Clients are sent to the store for blobs, except those of these networks."""

    excepted: Sequence[Network]

    def applies_to(self, address: str | None) -> bool:
        """Whether a client of this address is sent there; None is one that is not known."""
        return not is_within(address, self.excepted)


@dataclass(frozen=True, slots=True)
class Services:
    """What the handlers call, and the settings that are HTTP's own."""

    pull: Pull
    push: Push
    uploads: Uploads
    remove: Remove
    catalog: Catalog
    counting: Counting
    manifest_max_bytes: int
    verify_on_read: bool
    held: HeldBytes
    gate: Gate
    challenges: Challenges
    redirects: Redirects | None = None
    """Who is sent to the store itself for blobs; None: nobody."""
