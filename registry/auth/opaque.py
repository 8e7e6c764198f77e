"""Random tokens: personal access tokens and refresh tokens. 256 bits, kept as a hash only, so no slow hash is needed.

The prefix lets scanners of source code find one that was published, and people see what it is.
"""

import hashlib
import secrets
from enum import StrEnum


class TokenKind(StrEnum):
    """What a random token is for."""

    PERSONAL = "personal"
    """Stands for an account, within limits; used as a password."""
    REFRESH = "refresh"
    """One login of one client, which gets access tokens with it."""


_PREFIX = {TokenKind.PERSONAL: "dpat_", TokenKind.REFRESH: "drft_"}


def new(kind: TokenKind) -> str:
    """A new token."""
    return _PREFIX[kind] + secrets.token_urlsafe(32)


def kind_of(text: str) -> TokenKind | None:
    """The kind of token that a text has the form of, None for anything else, such as a password."""
    for kind, prefix in _PREFIX.items():
        if text.startswith(prefix) and len(text) == len(prefix) + 43:
            return kind
    return None


def hashed(text: str) -> bytes:
    """What is stored of a token, and what it is found by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
