"""Recovery codes: each lets somebody in once who has lost the second factor. 80 random bits, kept as a hash only, so no
slow hash is needed. They count also after the instance secret was lost.
"""

import hashlib
import re
import secrets

COUNT = 10
_CHARS = 16
_GROUP_CHARS = 4
# Without i, l, o and u: nobody reads one as another, or reads words.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MISREAD = str.maketrans("ilo", "110")
_FORM = re.compile(f"[{_ALPHABET}]{{{_CHARS}}}")


def new_codes() -> list[str]:
    """A new set, as people get to see it once."""
    return [_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_CHARS))) for _ in range(COUNT)]


def hashed(given: str) -> bytes | None:
    """What is stored of a code, and what it is found by; None for a text that is none. Case, spaces, dashes and letters
    that look like digits do not matter."""
    plain = re.sub(r"[\s-]", "", given).lower().translate(_MISREAD)
    if _FORM.fullmatch(plain) is None:
        return None
    return hashlib.sha256(plain.encode("ascii")).digest()


def _grouped(text: str) -> str:
    return "-".join(text[at : at + _GROUP_CHARS] for at in range(0, _CHARS, _GROUP_CHARS))
