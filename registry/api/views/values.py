"""Values that both views show."""

from hashlib import sha256


def stable_number(name: str) -> int:
    """A number for what has none here, always the same for a name: clients tell entries apart by it."""
    return int.from_bytes(sha256(name.encode()).digest()[:6], "big") >> 1


def platform_parts(name: str | None) -> tuple[str, str, str]:
    """System, architecture and variant of a platform, each empty where it does not say."""
    system, _, rest = (name or "").partition("/")
    architecture, _, variant = rest.partition("/")
    return system, architecture, variant
