"""Browsers: their sessions, and what keeps the pages of other sites from using them.

A browser shows its session by a cookie, which it sends along whoever made it send the request. So what changes
something needs the session's secret word as well, and what says that it comes from another site is refused anyway.
"""

from dataclasses import dataclass
from typing import Protocol

from registry.api.asgi import Request
from registry.auth.challenge import Origins
from registry.core.errors import Denied, ProofRequired
from registry.services.sessions import Session

SAFE_METHODS = ("GET", "HEAD")
WORD_HEADER = b"x-csrf-token"


class Sessions(Protocol):
    """Finds sessions."""

    async def of(self, cookies: list[str], address: str | None, *, is_https: bool) -> Session | None:
        """The session that the `Cookie` headers show and that counts, if any. Over https another name counts."""

    async def require_proof(self, session_id: int, proved_at: int) -> None:
        """Raises ProofRequired unless its person has shown a moment ago who it is."""


class NoSessions:
    """Where nobody can sign in."""

    async def of(self, cookies: list[str], address: str | None, *, is_https: bool) -> Session | None:
        """None."""
        return None

    async def require_proof(self, session_id: int, proved_at: int) -> None:
        """Never."""
        raise ProofRequired("nobody can sign in here")


@dataclass(frozen=True, slots=True)
class Browsers:
    """What the gate asks about a browser."""

    origins: Origins
    sessions: Sessions

    def require_same_site(self, request: Request) -> None:
        """Browsers say where a request comes from; what is no browser says nothing. Raises Denied."""
        if request.method in SAFE_METHODS:
            return
        origin = request.header(b"origin")
        is_ours = origin is None or origin.lower() == self.origins.of(request.header(b"host")).lower()
        if not is_ours or request.header(b"sec-fetch-site") not in (None, "same-origin", "none"):
            raise Denied("this request was sent from the page of another site")

    async def session(self, request: Request, address: str | None) -> Session | None:
        """The session of the request's cookie."""
        is_https = self.origins.is_https(request.header(b"host"))
        return await self.sessions.of(request.header_values(b"cookie"), address, is_https=is_https)

    def require_word(self, request: Request, session: Session) -> None:
        """Programs send the word in a header, pages in a field of their forms, which `api.web` puts into the scope.
        Raises Denied."""
        if request.method in SAFE_METHODS:
            return
        word = request.scope.get("depotry.csrf") or request.header(WORD_HEADER) or ""
        if not session.is_word(word):
            raise Denied("this request lacks the secret word of its session: load the page again")

    async def require_proof(self, session: Session) -> None:
        """Raises ProofRequired."""
        await self.sessions.require_proof(session.id, session.proved_at)
