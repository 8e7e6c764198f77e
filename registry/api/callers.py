"""Who sends a request: from what it shows to an account, and the limit on how many requests one may send."""

from dataclasses import dataclass

from registry.api.asgi import Request
from registry.api.edge import RequestLimit
from registry.auth import header
from registry.auth.header import BasicCredentials, BearerToken, Credentials
from registry.auth.tokens import Ticket
from registry.core.access import Actor, Principal
from registry.core.errors import TooManyRequests, Unauthenticated
from registry.services.access import EVERYBODY, actor_of
from registry.services.login import Login
from registry.services.tickets import Tickets


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, with the ticket if it showed a token. `is_known` False: it showed nothing."""

    principal: Principal
    actor: Actor
    ticket: Ticket | None = None
    is_known: bool = True


class Callers:
    """Finds out who calls. With `is_open` everybody is nobody, and may do everything."""

    def __init__(self, login: Login, tickets: Tickets, limit: RequestLimit, *, is_open: bool) -> None:
        self._login = login
        self._tickets = tickets
        self.limit = limit
        self.is_open = is_open

    async def identify(self, request: Request, *, takes_personal: bool = False) -> Caller:
        """Who the `Authorization` header says; with `takes_personal` a personal token may stand there as a bearer token
        too. Raises Unauthenticated, TooManyRequests, Unavailable."""
        address: str | None = request.scope["depotry.address"]
        shown = None if self.is_open else header.parse(request.header_values(b"authorization"))
        if shown is None:
            self.limit.take(address)
            return Caller(EVERYBODY, actor_of(EVERYBODY, address), is_known=self.is_open)
        try:
            principal, ticket = await self._verified(shown, address, takes_personal=takes_personal)
        except (Unauthenticated, TooManyRequests):
            # A flood of wrong credentials meets the limit as well.
            self.limit.take(address)
            raise
        self.limit.take(address if principal.account_id is None else principal.account_id)
        return Caller(principal, actor_of(principal, address), ticket)

    async def _verified(
        self, shown: Credentials, address: str | None, *, takes_personal: bool
    ) -> tuple[Principal, Ticket | None]:
        if isinstance(shown, BearerToken):
            if takes_personal and (principal := await self._login.personal(shown.text, address)) is not None:
                return principal, None
            ticket = await self._tickets.read(shown.text)
            return ticket.principal, ticket
        if isinstance(shown, BasicCredentials):
            return await self._login.basic(shown.name, shown.secret, address), None
        raise Unauthenticated("Authorization is neither Basic nor Bearer, or there are two")
