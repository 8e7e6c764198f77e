"""The second factor: one-time codes of an authenticator app, and recovery codes for who has lost it.

A code counts once, in the transaction that it is for. Wrong ones are counted apart from passwords: five in a window,
and no further one is looked at until it is over.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from registry.auth import recovery_codes, totp
from registry.auth.sealing import InstanceSecret, SecretUnusable
from registry.core.access import Actor, account_subject
from registry.core.errors import AccountInvalid, Unauthenticated
from registry.metadata import access, accounts, audit, logins, second_factors
from registry.metadata.accounts import USER
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.second_factors import StoredFactor
from registry.services.accounts import end_second_factor, existing
from registry.services.attempts import Attempts, of_address, of_codes
from registry.services.clock import Clock
from registry.services.sessions import Session, Sessions, Step, Visitor, end_password_logins

PURPOSE = "second-factor"


@dataclass(frozen=True, slots=True)
class FactorState:
    """What a settings page shows. `since` in ms since 1970 UTC, None where there is no second factor."""

    since: int | None
    codes_left: int
    has_password: bool = True


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What somebody scans, or types, to put the registry into an authenticator app: shown once."""

    uri: str = field(repr=False)
    secret: str = field(repr=False)
    """In groups, for who cannot scan."""
    picture: str = field(repr=False)
    """An `<svg>` element."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A code that was right a moment ago, and what makes it count: to be called in the transaction that it is for.
    It raises Unauthenticated where somebody else was faster."""

    how: str
    use: Step


class SecondFactor:
    """Looks after second factors."""

    def __init__(
        self, database: Database, secret: InstanceSecret, attempts: Attempts, open_sessions: Sessions, clock: Clock
    ) -> None:
        self._database = database
        self._sessions = open_sessions
        self._secret = secret
        self._attempts = attempts
        self._clock = clock
        self._log = logging.getLogger("depotry.login")

    async def state(self, account_id: int) -> FactorState:
        """Whether an account has one, and a password."""
        found = await self._database.point(lambda connection: second_factors.ways(connection, account_id))
        return FactorState(found.confirmed_at, found.codes_left, found.has_password)

    # Turning it on

    async def begin(self, session: Session, *, issuer: str) -> Enrolment:
        """A new secret, which counts once a code of it was shown; another one that was begun is forgotten. `issuer` is
        the name that the app shows. Raises ProofRequired, AccountInvalid where one counts already."""
        await self._sessions.require_proof(session.id, session.proved_at)
        secret = totp.new_secret()
        sealed = self._secret.seal(PURPOSE, secret)
        now = self._clock()
        is_new = await self._database.write(
            lambda connection: second_factors.begin(connection, session.account_id, sealed, now=now)
        )
        if not is_new:
            raise AccountInvalid("this account has a second factor: turn it off first, to set up another one")
        uri = totp.provisioning_uri(secret, account=session.principal.name, issuer=issuer)
        return Enrolment(uri, totp.typed(secret), totp.qr_code(uri))

    async def confirm(self, session: Session, given: str, visitor: Visitor) -> list[str]:
        """Turn it on, by a code of the app; returns the recovery codes, which are not kept. What was begun with the
        password alone ends: other sessions, and logins that clients keep. Raises Unauthenticated for a wrong code,
        AccountInvalid where nothing was begun, TooManyRequests."""
        stored = await self._database.read(lambda connection: second_factors.find(connection, session.account_id))
        if stored is None or stored.is_on:
            raise AccountInvalid("begin to set up the second factor first")
        step = self._step(stored, given)
        async with self._attempts.one([of_codes(session.account_id), of_address(visitor.address)]) as attempt:
            attempt.has_failed = step is None
        if step is None:
            raise wrong_code()
        codes = recovery_codes.new_codes()
        permit = session.permit(visitor)
        now = self._clock()

        def change(connection: Connection) -> None:
            access.lock_changes(connection)
            accounts.lock(connection, session.account_id)
            access.require_unchanged(connection, permit)
            ended = end_password_logins(connection, session.account_id, keep=session.id)
            if not second_factors.confirm(connection, session.account_id, stored.sealed, step=step, now=now):
                raise AccountInvalid("the second factor was set up meanwhile, or begun again")
            second_factors.replace_codes(connection, session.account_id, _hashes(codes))
            access.note_changes(connection, [account_subject(session.account_id), *ended], now=now)
            audit.append(connection, permit.actor, [Entry("second-factor.on", target=permit.actor.name)], now=now)

        await self._database.write(change)
        return codes

    async def new_codes(self, session: Session, visitor: Visitor) -> list[str]:
        """Other recovery codes; the old ones do not count any more. Raises ProofRequired, AccountInvalid without a
        second factor."""
        await self._sessions.require_proof(session.id, session.proved_at)
        codes = recovery_codes.new_codes()
        permit = session.permit(visitor)
        now = self._clock()

        def change(connection: Connection) -> None:
            accounts.lock(connection, session.account_id)
            access.require_unchanged(connection, permit)
            found = second_factors.find(connection, session.account_id)
            if found is None or not found.is_on:
                raise AccountInvalid("this account has no second factor")
            second_factors.replace_codes(connection, session.account_id, _hashes(codes))
            audit.append(connection, permit.actor, [Entry("second-factor.codes", target=permit.actor.name)], now=now)

        await self._database.write(change)
        return codes

    async def turn_off(self, session: Session, visitor: Visitor) -> None:
        """Take it off one's own account. Raises ProofRequired, AccountInvalid where there is none."""
        await self._sessions.require_proof(session.id, session.proved_at)
        permit = session.permit(visitor)
        now = self._clock()

        def change(connection: Connection) -> None:
            access.lock_changes(connection)
            access.require_unchanged(connection, permit)
            end_second_factor(connection, existing(connection, session.principal.name, USER), permit.actor, now=now)

        await self._database.write(change)

    # Showing it

    @asynccontextmanager
    async def shown(self, account_id: int, name: str, given: str, visitor: Visitor) -> AsyncIterator[Shown]:
        """A code or recovery code of an account, right or not is said on entering; the block makes it count. An attempt
        that fails, also because somebody else used the code first, is counted. Raises Unauthenticated,
        TooManyRequests."""
        async with self._attempts.one([of_codes(account_id), of_address(visitor.address)]) as attempt:
            try:
                yield await self._look(account_id, given)
            except Unauthenticated:
                attempt.has_failed = True
                raise
            finally:
                if attempt.has_failed:
                    await self._note_failure(name, visitor)
        await self._attempts.write_if_possible(lambda connection: logins.clear(connection, of_codes(account_id)))

    async def _look(self, account_id: int, given: str) -> Shown:
        stored = await self._database.read(lambda connection: second_factors.find(connection, account_id))
        hashed = recovery_codes.hashed(given)
        if stored is None or not stored.is_on:
            raise wrong_code()
        if hashed is not None:
            return Shown("recovery code", _uses_code(account_id, hashed))
        step = self._step(stored, given)
        if step is None:
            raise wrong_code()
        return Shown("one-time code", _uses_step(account_id, stored.sealed, step))

    def _step(self, stored: StoredFactor, given: str) -> int | None:
        """The step of a code; None for a wrong one, and for every one after the instance secret was lost: recovery
        codes count on."""
        try:
            secret = self._secret.unseal(PURPOSE, stored.sealed)
        except SecretUnusable as error:
            self._log.error("a second factor cannot be opened (depotry user remove-second-factor): %s", error)
            return None
        return totp.matching_step(secret, given, now_ms=self._clock(), used_step=stored.last_step)

    async def _note_failure(self, name: str, visitor: Visitor) -> None:
        now = self._clock()
        actor = Actor(None, "", "none", visitor.address)
        entry = Entry("login.failed", target=f"{name}: one-time code")
        await self._attempts.write_if_possible(lambda connection: audit.append(connection, actor, [entry], now=now))


def wrong_code() -> Unauthenticated:
    """The same for every code that does not count, whatever is wrong with it."""
    return Unauthenticated("this code does not count: wrong, used before, or too old")


def _uses_step(account_id: int, sealed: bytes, step: int) -> Step:
    def use(connection: Connection) -> None:
        if not second_factors.use_step(connection, account_id, sealed, step=step):
            raise wrong_code()

    return use


def _uses_code(account_id: int, hashed: bytes) -> Step:
    def use(connection: Connection) -> None:
        if not second_factors.use_code(connection, account_id, hashed):
            raise wrong_code()

    return use


def _hashes(codes: list[str]) -> list[bytes]:
    return [hashed for code in codes if (hashed := recovery_codes.hashed(code)) is not None]
