"""Access tokens that were shown, verified once: a known one costs no signature and no query."""

from collections import OrderedDict

from registry.auth import tokens
from registry.auth.tokens import LEEWAY_S, Parties, Ticket, TokenInvalid
from registry.core.access import INSTANCE_SUBJECT
from registry.core.errors import Unauthenticated
from registry.core.limits import TICKET_CACHED_MAX_CHARS, TICKETS_CACHED
from registry.services.changes import Changes
from registry.services.clock import Clock
from registry.services.keys import Keys


class Tickets:
    """Verifies access tokens."""

    def __init__(self, changes: Changes, keys: Keys, parties: Parties, clock: Clock) -> None:
        self._changes = changes
        self._keys = keys
        self._parties = parties
        self._clock = clock
        self._verified: OrderedDict[str, tuple[Ticket, int]] = OrderedDict()
        """By the exact text: the ticket, and the revision up to which it is known to hold."""
        changes.on_change.append(self._forget)

    async def read(self, text: str) -> Ticket:
        """The ticket of a token, which counts now. Raises Unauthenticated, Unavailable."""
        await self._changes.require_fresh()
        known = self._verified.get(text)
        if known is None:
            return await self._verify(text)
        ticket, revision = known
        if ticket.expires_at_s + LEEWAY_S <= self._clock() / 1000:
            del self._verified[text]
            raise _invalid("the token has expired")
        if revision != self._changes.revision:
            self._require_unchanged(ticket)
            self._verified[text] = (ticket, self._changes.revision)
        return ticket

    async def _verify(self, text: str) -> Ticket:
        try:
            keys = await self._keys.current()
            ticket = tokens.verify(text, keys, self._parties, now_s=self._clock() / 1000)
        except TokenInvalid:
            raise _invalid("the token is not valid, or has expired") from None
        if ticket.principal.revision > self._changes.revision:
            await self._changes.refresh()
        if ticket.principal.revision > self._changes.revision:
            # The database is an older one, brought back from a copy: what has changed since is not known.
            raise _invalid("the token is newer than the database")
        self._require_unchanged(ticket)
        if len(text) <= TICKET_CACHED_MAX_CHARS:
            self._verified[text] = (ticket, self._changes.revision)
            if len(self._verified) > TICKETS_CACHED:
                self._verified.popitem(last=False)
        return ticket

    def _require_unchanged(self, ticket: Ticket) -> None:
        if not self._changes.hold(ticket.subjects, ticket.principal.revision):
            raise _invalid("access has changed since the token was issued")

    def _forget(self, subjects: set[str]) -> None:
        """With the keys, what they signed may have ended."""
        if INSTANCE_SUBJECT in subjects:
            self._verified.clear()


def _invalid(message: str) -> Unauthenticated:
    return Unauthenticated(message, error="invalid_token")
