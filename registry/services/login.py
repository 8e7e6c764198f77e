"""From a name and a secret to who that is: passwords, personal access tokens, refresh tokens.

What was verified is remembered for five minutes under a keyed hash, as long as account and token have not changed; what
was wrong is never remembered. Failed attempts are counted in SQL per account and per address, before a password is
looked at. A wrong password, an unknown name, a disabled account and one without a password look and cost the same, but
for accounts with an imported bcrypt hash until their first login. So does the right password of an account with a
second factor or single sign-on: clients use tokens for those, and whoever guesses passwords learns nothing from them.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from registry.auth import opaque
from registry.auth.opaque import TokenKind
from registry.auth.passwords import Passwords
from registry.core.access import Actor, Principal, TokenLimits
from registry.core.addresses import address_group
from registry.core.errors import Unauthenticated
from registry.core.limits import CREDENTIALS_CACHED, CREDENTIALS_CACHED_S
from registry.metadata import accounts, audit, logins, tokens
from registry.metadata.accounts import Account
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.tokens import StoredToken
from registry.services.attempts import Attempts, LoginLimits, of_address
from registry.services.changes import Changes
from registry.services.clock import Clock

NAME_SHOWN_CHARS = 64
"""Of a name that somebody tried, in the audit."""


class Login:
    """Verifies credentials."""

    def __init__(
        self,
        database: Database,
        changes: Changes,
        passwords: Passwords,
        clock: Clock,
        limits: LoginLimits,
        *,
        only_admins_have_passwords: bool = False,
    ) -> None:
        """`only_admins_have_passwords`: everybody else signs in at an identity provider, and uses tokens."""
        self._database = database
        self._changes = changes
        self._passwords = passwords
        self._clock = clock
        self.attempts = Attempts(database, changes, clock, limits)
        self._only_admins_have_passwords = only_admins_have_passwords
        self._cache_key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[Principal]] = {}

    async def basic(self, name: str, secret: str, address: str | None) -> Principal:
        """Who this name and password, or personal access token, are. Raises Unauthenticated, TooManyRequests."""
        await self._changes.require_fresh()
        key = self._key(name, secret)
        known = self._remembered(key)
        if known is not None:
            return known
        # Many requests of one client begin with the same credential at once: that is one attempt.
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(self._verify_and_remember(key, name, secret, address))
            running.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(running)

    def _ended(self, key: bytes, done: asyncio.Future[Principal]) -> None:
        """Forget the attempt. Its error belongs to who waited; where all of them went away, to nobody."""
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()

    async def _verify_and_remember(self, key: bytes, name: str, secret: str, address: str | None) -> Principal:
        found = await self._verify(name, secret, address)
        self._remember(key, found)
        return found

    def _remember(self, key: bytes, found: Principal) -> None:
        self._verified[key] = (found, monotonic() + CREDENTIALS_CACHED_S)
        if len(self._verified) > CREDENTIALS_CACHED:
            self._verified.popitem(last=False)

    async def count_sign_up(self, address: str | None) -> None:
        """Count a new account of an address. Raises TooManyRequests."""
        async with self.attempts.one([f"signup:{address_group(address)}"]) as attempt:
            attempt.has_failed = True

    async def personal(self, secret: str, address: str | None) -> Principal | None:
        """Who a personal token that was shown without a name stands for; None for a text that has not the form of one.
        Raises Unauthenticated, TooManyRequests."""
        if opaque.kind_of(secret) is not TokenKind.PERSONAL:
            return None
        await self._changes.require_fresh()
        key = self._key("\0", secret)
        known = self._remembered(key)
        if known is not None:
            return known
        token = await self._token(secret)
        if token is None:
            raise await self._failed("", address)
        await self._note_use(token, address)
        found = _of_token(token)
        self._remember(key, found)
        return found

    async def refresh(self, secret: str, address: str | None) -> Principal:
        """Who a refresh token stands for, now. Raises Unauthenticated, TooManyRequests."""
        if opaque.kind_of(secret) is not TokenKind.REFRESH:
            raise _refused()
        token = await self._token(secret)
        if token is None:
            raise await self._failed("", address)
        await self._note_use(token, address)
        return _of_token(token)

    async def limits(self, token_id: int) -> TokenLimits | None:
        """What a token is limited to. Raises Unauthenticated if it has ended."""
        token = await self._database.point(lambda connection: tokens.get(connection, token_id))
        if token is None:
            raise Unauthenticated("the token has ended", error="invalid_token")
        return token.limits

    def _remembered(self, key: bytes) -> Principal | None:
        found = self._verified.get(key)
        if found is None:
            return None
        principal, until = found
        has_ended = principal.expires_at is not None and principal.expires_at <= self._clock()
        if not has_ended and monotonic() < until and self._changes.hold(principal.subjects, principal.revision):
            return replace(principal, revision=max(principal.revision, self._changes.revision))
        del self._verified[key]
        return None

    async def _verify(self, name: str, secret: str, address: str | None) -> Principal:
        name = _printable(name)
        if opaque.kind_of(secret) is TokenKind.PERSONAL:
            return await self._personal(name, secret, address)
        account = await self._with_password(name, secret, address, lambda account: not account.needs_tokens)
        return Principal(account.id, account.name, "password", revision=account.revision)

    async def password(self, name: str, secret: str, address: str | None) -> Account:
        """Whose password this is, on a page: where there is a second factor, the caller has to ask for it. Raises
        Unauthenticated, TooManyRequests."""
        await self._changes.require_fresh()
        return await self._with_password(_printable(name), secret, address, lambda _: True)

    async def _with_password(
        self, name: str, secret: str, address: str | None, is_enough: Callable[[Account], bool]
    ) -> Account:
        async with self.attempts.one([logins.account_subject(name), of_address(address)]) as attempt:
            account = await self._database.point(lambda connection: accounts.find(connection, name))
            stored = None if account is None else account.password_hash
            matches = await self._passwords.verify(stored, secret)
            if account is None or stored is None or not matches or not self._may_use(account, is_enough):
                attempt.has_failed = True
        if account is None or stored is None or attempt.has_failed:
            await self._note_failure(name, address)
            raise _refused()
        await self._succeeded(account, stored, secret)
        return account

    def _may_use(self, account: Account, is_enough: Callable[[Account], bool]) -> bool:
        has_password = account.is_admin or not self._only_admins_have_passwords
        return account.is_active and has_password and is_enough(account)

    async def _personal(self, name: str, secret: str, address: str | None) -> Principal:
        token = await self._token(secret)
        if token is None or token.account_name != name:
            raise await self._failed(name, address)
        await self._note_use(token, address)
        return _of_token(token)

    async def _failed(self, name: str, address: str | None) -> Unauthenticated:
        """A token that is none of ours was shown: nobody guesses one, so only failures are counted, and many clients
        behind one address may log in at once. Raises TooManyRequests."""
        async with self.attempts.one([of_address(address)]) as attempt:
            attempt.has_failed = True
        await self._note_failure(name, address)
        return _refused()

    async def _token(self, secret: str) -> StoredToken | None:
        """The token, if it counts."""
        hashed = opaque.hashed(secret)
        token = await self._database.point(lambda connection: tokens.find(connection, hashed))
        if token is None or not token.is_active:
            return None
        return token if token.expires_at is None or self._clock() < token.expires_at else None

    async def _succeeded(self, account: Account, stored: str, secret: str) -> None:
        new = await self._passwords.hash_again(secret) if self._passwords.is_old(stored) else None

        def note(connection: Connection) -> None:
            if new is not None:
                accounts.replace_hash(connection, account.id, old=stored, new=new)
            logins.clear(connection, logins.account_subject(account.name))

        await self.attempts.write_if_possible(note)

    async def _note_use(self, token: StoredToken, address: str | None) -> None:
        now = self._clock()
        await self.attempts.write_if_possible(
            lambda connection: tokens.used(connection, token.id, at=now, address=address)
        )

    async def _note_failure(self, name: str, address: str | None) -> None:
        """Bounded by the limits on attempts: what is refused by those is not written down. Some clients send a token as
        the name."""
        now = self._clock()
        kind = opaque.kind_of(name)
        shown = name[:NAME_SHOWN_CHARS] if kind is None else f"a {kind} token"
        entry = Entry("login.failed", target=shown)
        actor = Actor(None, "", "none", address)
        await self.attempts.write_if_possible(lambda connection: audit.append(connection, actor, [entry], now=now))

    def _key(self, name: str, secret: str) -> bytes:
        given = f"{len(name)}:{name}{secret}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._cache_key, given, hashlib.sha256)


def _of_token(token: StoredToken) -> Principal:
    return Principal(
        token.account_id,
        token.account_name,
        f"{token.kind} token {token.id}",
        token.id,
        token.limits,
        was_kept=token.kind == TokenKind.REFRESH,
        revision=token.revision,
        expires_at=token.expires_at,
    )


def _printable(name: str) -> str:
    """No account has an unprintable name, and not every database takes one."""
    return "".join(character if character.isprintable() else "?" for character in name)


def _refused() -> Unauthenticated:
    return Unauthenticated("wrong name or password, or a token that no longer counts")
