"""The `Authorization` header. Source: RFC 7617 (Basic), RFC 6750 (Bearer)."""

import base64
import binascii
from dataclasses import dataclass, field

_MAX_CHARS = 32 * 1024


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A name and a secret. Both may be anything but empty together: that counts as no credential at all."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """An access token, not yet looked at."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A header that is neither. It must not count as none: whoever sends it means to be somebody."""


Credentials = BasicCredentials | BearerToken | Malformed | None


def parse(values: list[str]) -> Credentials:
    """What the `Authorization` headers of one request say. Two of them are malformed: which one would count?"""
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > _MAX_CHARS:
        return Malformed()
    scheme, _, rest = values[0].strip().partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return BearerToken(rest.strip())
    if scheme.lower() == "basic":
        return _basic(rest.strip())
    return Malformed()


def _basic(text: str) -> Credentials:
    try:
        name, colon, secret = base64.b64decode(text, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return Malformed()
    if not colon:
        return Malformed()
    # Some clients send an empty name and password where they have none.
    return BasicCredentials(name, secret) if name or secret else None
