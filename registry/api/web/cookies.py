"""Cookies of the pages: the switches of language and theme, and the news that the next page shows once."""

import base64
import binascii
import json

from registry.api.asgi import Headers, Request
from registry.api.web.view import Flash, FlashKind, cookies_of

FLASH_COOKIE = "depotry_news"
FLASH_MAX_CHARS = 2000
FLASHES_MAX = 4
_YEAR_S = 31_536_000
_MINUTE_S = 60


def kept(name: str, value: str, *, is_https: bool, life_s: int = _YEAR_S) -> Headers:
    """A cookie that no script reads and no other site sends; with a life of 0 it is taken away."""
    secure = "; Secure" if is_https else ""
    text = f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"
    return [(b"set-cookie", text.encode("ascii"))]


def flash(*news: Flash, is_https: bool) -> Headers:
    """The cookie that shows news on the next page."""
    text = json.dumps([[one.kind.value, one.text] for one in news], ensure_ascii=False)
    value = base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii")
    return kept(FLASH_COOKIE, value, is_https=is_https, life_s=_MINUTE_S) if len(value) <= FLASH_MAX_CHARS else []


def flashes_of(request: Request) -> tuple[Flash, ...]:
    """The news that this page shows; none where the cookie is not one of ours."""
    value = cookies_of(request).get(FLASH_COOKIE)
    if value is None or len(value) > FLASH_MAX_CHARS:
        return ()
    try:
        entries = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        return tuple(Flash(str(text), FlashKind(kind)) for kind, text in entries[:FLASHES_MAX])
    except (ValueError, TypeError, binascii.Error):
        return ()
