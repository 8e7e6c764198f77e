"""The cookies that browsers get, as texts of headers. Source: RFC 6265 and its successor for `__Host-`.

Over https their names begin with `__Host-`: browsers take such a one only from this host itself, over https and for all
paths, so that neither another host of the same domain nor plain http can set it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_HOST = "__Host-"
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_PAIRS_MAX = 100


@dataclass(frozen=True, slots=True)
class Cookie:
    """One that holds a random secret of 256 bits."""

    name: str

    def read(self, headers: Iterable[str], *, is_https: bool) -> str | None:
        """The secret in the `Cookie` headers of a request; None where there is none, or two of them: which one would
        count?"""
        name = self._name(is_https)
        pairs = [pair.partition("=") for header in headers for pair in header.split(";", _PAIRS_MAX)]
        found = [value.strip() for key, _, value in pairs if key.strip() == name]
        return found[0] if len(found) == 1 and _SECRET.fullmatch(found[0]) else None

    def set(self, secret: str, *, is_https: bool, life_s: int) -> str:
        """The `Set-Cookie` header that gives a browser the secret."""
        return f"{self._name(is_https)}={secret}; Path=/; Max-Age={life_s}{self._attributes(is_https)}"

    def clear(self, *, is_https: bool) -> str:
        """The `Set-Cookie` header that makes a browser forget it."""
        return f"{self._name(is_https)}=; Path=/; Max-Age=0{self._attributes(is_https)}"

    def _name(self, is_https: bool) -> str:
        return f"{_HOST}{self.name}" if is_https else self.name

    @staticmethod
    def _attributes(is_https: bool) -> str:
        # Lax: who follows a link to a page here is signed in; what other sites make the browser send is not.
        return "; HttpOnly; SameSite=Lax" + ("; Secure" if is_https else "")


SESSION = Cookie("depotry")
"""Who is signed in."""
SIGN_ON = Cookie("depotry-sign-on")
"""The browser that began a single sign-on."""
