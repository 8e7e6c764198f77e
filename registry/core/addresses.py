"""Addresses of clients, as limits see them."""

import ipaddress


def address_group(address: str | None) -> str:
    """What one client can choose its address from: an IPv4 address, or a /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
