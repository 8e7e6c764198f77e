"""Signing in on a page: with a password, then, where the account has one, with the second factor; and showing again who
one is before something dangerous. At an identity provider: `single_sign_on`."""

from registry.core.errors import Unauthenticated
from registry.services.login import Login
from registry.services.second_factor import SecondFactor
from registry.services.sessions import Opening, Session, Sessions, SignedIn, Visitor


class SignIn:
    """Signs in. Whatever is wrong about name and password has one answer."""

    def __init__(self, login: Login, sessions: Sessions, second_factor: SecondFactor) -> None:
        self._login = login
        self._sessions = sessions
        self._second_factor = second_factor

    async def with_password(self, name: str, password: str, visitor: Visitor, *, replaces: str | None) -> SignedIn:
        """A session, which is not complete where there is a second factor. `replaces` is the secret of the cookie that
        the browser has sent, whatever it is. Raises Unauthenticated, TooManyRequests."""
        account = await self._login.password(name, password, visitor.address)
        opening = Opening(
            account.id,
            account.name,
            account.revision,
            "password",
            needs_second_factor=account.has_second_factor,
            visitor=visitor,
            replaces=replaces,
        )
        return await self._sessions.begin(opening)

    async def with_code(self, secret: str | None, given: str, visitor: Visitor) -> SignedIn:
        """Complete the session that this cookie has begun, by a one-time code or a recovery code. Raises
        Unauthenticated, with the fact `begin_again` where the session has ended; TooManyRequests."""
        pending = await self._sessions.pending(secret)
        if pending is None:
            raise Unauthenticated("this sign-in has ended: begin again", begin_again=True)
        async with self._second_factor.shown(pending.account_id, pending.account_name, given, visitor) as shown:
            return await self._sessions.complete(pending, shown.how, visitor, shown.use)

    async def prove(self, session: Session, given: str, visitor: Visitor) -> None:
        """Show again who one is: with a one-time code or a recovery code where there is a second factor, else with the
        password. Who has neither signs in at the identity provider again. Raises Unauthenticated, TooManyRequests."""
        state = await self._second_factor.state(session.account_id)
        name = session.principal.name
        if state.since is None:
            account = await self._login.password(name, given, visitor.address)
            if account.id != session.account_id:
                raise Unauthenticated("this sign-in has ended: begin again")
            await self._sessions.prove(session, "password", visitor)
            return
        async with self._second_factor.shown(session.account_id, name, given, visitor) as shown:
            await self._sessions.prove(session, shown.how, visitor, shown.use)
