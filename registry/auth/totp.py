"""Codes of an authenticator app: six digits that change each 30 seconds. Source: RFC 6238 on RFC 4226, with the values
that every app knows; the form of the URI: the Key Uri Format of Google Authenticator.

Which step a code belongs to is told, so that whoever keeps the last one can refuse a code that was used before.
"""

import base64
import hmac
import re
import secrets
from urllib.parse import quote, urlencode

DIGITS = 6
STEP_S = 30
STEPS_AROUND = 1
"""Steps before and after the present one whose codes count: clocks of phones differ, and people type slowly."""
_SECRET_BYTES = 20
_FORM = re.compile(r"[0-9]{6}")
_GROUP_CHARS = 4


def new_secret() -> bytes:
    """What an app and the registry share."""
    return secrets.token_bytes(_SECRET_BYTES)


def code(secret: bytes, step: int) -> str:
    """The code of one step."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(now_ms: int) -> int:
    """The step of a time in ms since 1970 UTC."""
    return now_ms // (STEP_S * 1000)


def matching_step(secret: bytes, given: str, *, now_ms: int, used_step: int) -> int | None:
    """The step whose code was given, None for a wrong one. Nothing up to `used_step`, the last one used, counts."""
    plain = "".join(given.split())
    if _FORM.fullmatch(plain) is None:
        return None
    present = step_at(now_ms)
    found = None
    # All are compared: how long it takes tells nothing about which one it was.
    for step in range(present - STEPS_AROUND, present + STEPS_AROUND + 1):
        if hmac.compare_digest(code(secret, step), plain) and step > used_step:
            found = step
    return found


def looks_like_code(text: str) -> bool:
    """Whether a text has the form of a code; what people type into the same field else is a recovery code."""
    return _FORM.fullmatch("".join(text.split())) is not None


def typed(secret: bytes) -> str:
    """The secret as people type it where they cannot scan it: base32 in groups."""
    text = base64.b32encode(secret).decode("ascii")
    return " ".join(text[at : at + _GROUP_CHARS] for at in range(0, len(text), _GROUP_CHARS))


def provisioning_uri(secret: bytes, *, account: str, issuer: str) -> str:
    """What the QR code for an app says. `issuer` is the name that the app shows, such as the host of the registry."""
    # An app takes what stands before the first colon for the issuer.
    shown = issuer.replace(":", " ")
    fields = {
        "secret": base64.b32encode(secret).decode("ascii"),
        "issuer": shown,
        "algorithm": "SHA1",
        "digits": str(DIGITS),
        "period": str(STEP_S),
    }
    return f"otpauth://totp/{quote(shown, safe='')}:{quote(account, safe='')}?{urlencode(fields, quote_via=quote)}"


def qr_code(uri: str) -> str:
    """The URI as a picture, an `<svg>` element for a page: black on white whatever the page's colours are, since not
    every camera reads it the other way round. It has no script, no style and no text."""
    import segno

    made = segno.make_qr(uri, error="m", boost_error=False)
    return made.svg_inline(scale=4, border=4, dark="#000", light="#fff", svgclass=None, lineclass=None, omitsize=True)
