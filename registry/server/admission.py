"""How many connections there may be: in all, and from one address.

A place is taken when a connection is accepted, before its TLS handshake, and given back once when it is gone, however
it went. What is refused has no place, and so cannot be counted.
"""

import ipaddress
import logging
import resource
import socket
import time
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FILES_PER_CONNECTION: Final = 2
"""Its socket, and the blob or the upload that it is about."""
FILES_OF_OUR_OWN: Final = 256
LOG_INTERVAL_S: Final = 1.0

_IPV6_PREFIX_BYTES: Final = 8
_MAPPED: Final = bytes(10) + b"\xff\xff"

_log = logging.getLogger("depotry.server")


def address_group(host: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address, which is what one customer gets."""
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, packed[:_IPV6_PREFIX_BYTES] + bytes(_IPV6_PREFIX_BYTES)) + "/64"


class Place:
    """The place of one connection. `release` gives it back; a second time does nothing."""

    __slots__ = ("_admission", "_group")

    def __init__(self, admission: "Admission", group: str) -> None:
        self._admission: Admission | None = admission
        self._group = group

    def release(self) -> None:
        """The connection is gone."""
        if self._admission is not None:
            self._admission.give_back(self._group)
            self._admission = None


class Admission:
    """The places of a server."""

    def __init__(self, *, per_address: int, in_all: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._trusted_proxies = trusted_proxies
        self._held = 0
        self._held_by: dict[str, int] = {}
        self._refused = 0
        self._logged_at_s = float("-inf")

    @property
    def held(self) -> int:
        """Places that are taken now."""
        return self._held

    @property
    def groups(self) -> int:
        """Addresses that hold a place now."""
        return len(self._held_by)

    def admit(self, host: str) -> Place | None:
        """A place for a connection from this address, or None, which is logged now and then."""
        group = address_group(host)
        count = self._held_by.get(group, 0)
        if self._held >= self._in_all:
            self._log_refusal(host, "connections_max")
            return None
        if count >= self._per_address and not self._is_trusted(host):
            self._log_refusal(host, "connections_per_address")
            return None
        self._held += 1
        self._held_by[group] = count + 1
        return Place(self, group)

    def give_back(self, group: str) -> None:
        """For `Place` alone, which does it once."""
        self._held -= 1
        self._held_by[group] -= 1
        if not self._held_by[group]:
            del self._held_by[group]

    def _is_trusted(self, host: str) -> bool:
        # Only asked of an address that has used up its places, so that the others do not pay for it.
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._trusted_proxies)

    def _log_refusal(self, host: str, limit: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at_s >= LOG_INTERVAL_S:
            _log.warning("connections refused", extra={"count": self._refused, "limit": limit, "client": host})
            self._logged_at_s = now
            self._refused = 0


def raise_file_limit(connections: int) -> None:
    """Allow this process the open files that so many connections need, as far as the system lets it."""
    needed = connections * FILES_PER_CONNECTION + FILES_OF_OUR_OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warning(
            "the limit on open files is too low for connections_max",
            extra={"open_files": allowed, "needed": needed},
        )
