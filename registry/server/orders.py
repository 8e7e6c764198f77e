"""What a supervisor and its worker say to each other, over a pair of sockets: one byte each.

When the other side is gone, the socket ends: so each notices, whatever the other died of.
"""

import socket
from dataclasses import dataclass
from typing import Final

from registry.server.balance import Share

READY: Final = b"r"
"""From the worker: it accepts connections."""
STOP: Final = b"s"
"""Let what runs end, then end. As a first signal does to a server without a supervisor."""
LEAVE: Final = b"l"
"""As STOP, where another worker has taken over: accept nothing from now on."""
CUT: Final = b"c"
"""Do not wait for what runs. As a second signal."""
RELOAD: Final = b"h"
"""Read certificates again. As SIGHUP."""

ORDERS_AT_ONCE: Final = 64
"""Bytes that are read in one go; what is left is read in the next."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is given: a name that no other living one has, where its orders come, its share of connections."""

    name: str
    orders: socket.socket
    share: Share
