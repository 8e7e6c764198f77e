"""Where a request really comes from, what every answer says to a browser, and how many requests one client may send."""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from math import ceil
from time import monotonic

from registry.api.asgi import Headers, Scope
from registry.core.addresses import address_group
from registry.core.errors import TooManyRequests

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CLIENTS_KNOWN = 50_000
BURST_S = 10.0
"""A client that was quiet may send what is allowed in this time at once."""
_HOPS_MAX = 32

_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_ONLY_TLS: Headers = [(b"strict-transport-security", b"max-age=31536000")]


class Edge:
    """The border to the outside."""

    def __init__(self, trusted_proxies: Sequence[Network], *, is_https: bool) -> None:
        self._trusted = tuple(trusted_proxies)
        self.security: Headers = [*_SECURITY, *_ONLY_TLS] if is_https else _SECURITY
        """For every answer: whatever it holds, a browser runs nothing of it and shows it in no frame."""

    def secured(self, headers: Headers) -> Headers:
        """The headers of an answer with those that every answer has. A page brings a policy of its own, which holds
        alone: of two policies a browser takes what both allow."""
        own = {name for name, _ in headers}
        return [*headers, *(pair for pair in self.security if pair[0] not in own)]

    def address(self, scope: Scope) -> str | None:
        """The address of the client: that of the connection, or, where that is a proxy that the operator trusts, the
        last one in `X-Forwarded-For` that is none. Anybody else's header means nothing."""
        client = scope.get("client")
        if client is None:
            return None
        address: str = client[0]
        if not self._trusted or not self._is_trusted(address):
            return address
        hops = [
            hop.strip()
            for key, value in scope["headers"]
            if key == b"x-forwarded-for"
            for hop in value.decode("latin-1").split(",")
        ]
        for hop in hops[: -_HOPS_MAX - 1 : -1]:
            try:
                # The zone of an IPv6 address may be of any length, and says nothing here.
                address = str(ipaddress.ip_address(hop.partition("%")[0]))
            except ValueError:
                # Whoever wrote this is the last one that is known.
                return address
            if not self._is_trusted(address):
                return address
        return address

    def _is_trusted(self, text: str) -> bool:
        return is_within(text, self._trusted)


def is_within(text: str | None, networks: Sequence[Network]) -> bool:
    """Whether an address, as text, belongs to one of the networks; one that is unknown belongs to none."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


class RequestLimit:
    """A rate for each client of this worker: so many requests a second on average, with bursts. 0 is no limit."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._spent: OrderedDict[object, tuple[float, float]] = OrderedDict()
        """By client: requests in the bucket, and when that was so."""

    def take(self, who: int | str | None) -> None:
        """Count one request of an account, by id, or of an address. Raises TooManyRequests."""
        if not self._per_second:
            return
        client = who if isinstance(who, int) else address_group(who)
        now = monotonic()
        level, since = self._spent.pop(client, (0.0, now))
        level = max(0.0, level - (now - since) * self._per_second) + 1
        is_over = level > self._per_second * BURST_S
        self._spent[client] = (level - 1 if is_over else level, now)
        if len(self._spent) > CLIENTS_KNOWN:
            self._spent.popitem(last=False)
        if is_over:
            raise TooManyRequests(f"more than {self._per_second:g} requests a second", retry_after_s=1)

    def headers(self, who: int | str | None) -> Headers:
        """What a client may still send, as it is after the last `take`; nothing where there is no limit."""
        if not self._per_second:
            return []
        burst = self._per_second * BURST_S
        client = who if isinstance(who, int) else address_group(who)
        level, since = self._spent.get(client, (0.0, monotonic()))
        level = max(0.0, level - (monotonic() - since) * self._per_second)
        return [
            (b"ratelimit-limit", b"%d" % burst),
            (b"ratelimit-remaining", b"%d" % max(0.0, burst - level)),
            (b"ratelimit-reset", b"%d" % ceil(level / self._per_second)),
        ]
