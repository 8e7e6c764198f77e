"""Single sign-on: from a browser that was at the identity provider to an account.

Who somebody is, is the pair of issuer and subject: a name or an e-mail address opens nothing, because the provider may
give it to somebody else. A sign-in that has begun is written down nowhere: the browser holds a secret, and what it
takes to the provider and back (`state`) is sealed and says of which browser it is. Its answer counts once.
"""

import base64
import binascii
import hmac
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from registry.auth import opaque
from registry.auth.oidc import Attempt, Person, Provider
from registry.auth.return_to import safe_return
from registry.auth.sealing import InstanceSecret, SecretUnusable
from registry.core.access import Actor
from registry.core.errors import AccountNameInvalid, SignInRefused
from registry.core.limits import SIGN_IN_MS
from registry.core.names import AccountName, new_owner_name
from registry.metadata import access, accounts, audit, identities
from registry.metadata.accounts import USER, Account, NewAccount
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.services.attempts import Attempts, of_address
from registry.services.clock import Clock
from registry.services.groups import Groups
from registry.services.identities import Identities, Somebody
from registry.services.sessions import Opening, Session, Sessions, SignedIn, Visitor

CALLBACK_PATH = "/sign-in/callback"
"""Where the provider sends browsers back to: `<address of the registry>` and this is what it has to know."""
PURPOSE = "sign-on"
STATE_MAX_CHARS = 4096
CODE_MAX_CHARS = 8192
HOW = "single sign-on"
SIGN_IN, LINK, PROVE = "sign-in", "link", "prove"
CLOCKS_MS = 60_000
"""Nodes' clocks may differ by this."""
_ERROR = re.compile(r"[a-z_]{1,40}")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Departure:
    """Where to send a browser, and the secret for its cookie (`auth.cookies.SIGN_ON`)."""

    address: str
    browser: str = field(repr=False)
    life_s: int = SIGN_IN_MS // 1000


@dataclass(frozen=True, slots=True)
class Errand:
    """What a browser has set out for (`SIGN_IN`, `LINK` or `PROVE`), and where it wanted to be after that."""

    purpose: str
    return_to: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a browser that has come back is to do: go on to `return_to`, and keep the cookie of `signed_in`, where there
    is a new session."""

    return_to: str
    signed_in: SignedIn | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """What a browser brings back: the fields of the query, the secrets of its two cookies, and its session if it is
    signed in."""

    query: Mapping[str, str]
    browser: str | None = field(repr=False)
    held: str | None = field(repr=False)
    session: Session | None
    visitor: Visitor


@dataclass(frozen=True, slots=True)
class _State:
    """What is sealed into `state`."""

    number: str
    browser_hash: str
    began_at: int
    purpose: str
    origin: str
    return_to: str
    session_id: int | None = None


class SingleSignOn:
    """Signs in by way of one provider. `signs_up`: who comes for the first time gets an account."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        secret: InstanceSecret,
        clock: Clock,
        *,
        sessions: Sessions,
        groups: Groups,
        attempts: Attempts,
        signs_up: bool = False,
    ) -> None:
        self._database = database
        self._provider = provider
        self._secret = secret
        self._clock = clock
        self._sessions = sessions
        self._groups = groups
        self._attempts = attempts
        self._signs_up = signs_up
        self.identities = Identities(database, clock)

    @property
    def issuer(self) -> str:
        """The provider's name."""
        return self._provider.issuer

    # Going there

    async def begin(self, origin: str, *, return_to: str | None, browser: str | None) -> Departure:
        """Somebody wants to sign in. `origin` is the address of the registry that the browser shows, `browser` the
        secret in its cookie, if it has one. Raises ProviderFailed, TooManyRequests."""
        return await self._depart(SIGN_IN, origin, return_to, browser)

    async def begin_link(
        self, session: Session, origin: str, *, return_to: str | None, browser: str | None
    ) -> Departure:
        """Who is signed in wants to be somebody of the provider as well. Raises ProofRequired, ProviderFailed,
        TooManyRequests."""
        await self._sessions.require_proof(session.id, session.proved_at)
        return await self._depart(LINK, origin, return_to, browser, session)

    async def begin_proof(
        self, session: Session, origin: str, *, return_to: str | None, browser: str | None
    ) -> Departure:
        """Who is signed in shows again who it is. Raises ProviderFailed, TooManyRequests."""
        return await self._depart(PROVE, origin, return_to, browser, session)

    async def _depart(
        self, purpose: str, origin: str, return_to: str | None, browser: str | None, session: Session | None = None
    ) -> Departure:
        # A browser that has begun in another tab keeps its secret, so that both can end well.
        holder = browser or secrets.token_urlsafe(32)
        state = _State(
            number=secrets.token_urlsafe(16),
            browser_hash=_hash_of(holder),
            began_at=self._clock(),
            purpose=purpose,
            origin=origin,
            return_to=safe_return(return_to),
            session_id=None if session is None else session.id,
        )
        sealed = self._secret.seal(PURPOSE, json.dumps(asdict(state)).encode())
        text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")
        return Departure(await self._provider.address(_attempt(state, holder), text), holder)

    # Coming back

    async def finish(self, back: Back) -> Arrival:
        """Somebody comes back. Raises SignInRefused, ProviderFailed, Unauthenticated, TooManyRequests."""
        text = back.query.get("state", "")
        state = self._opened(text, back.browser)
        if back.browser is None or state is None:
            raise SignInRefused("this sign-in has ended, or was begun in another browser: begin again")
        answered, ends_at = opaque.hashed(text), state.began_at + 2 * SIGN_IN_MS
        if not await self._database.write(
            lambda connection: identities.take_answer(connection, answered, expires_at=ends_at)
        ):
            raise SignInRefused("this sign-in was answered already: begin again")
        code = self._code(back.query)
        person = await self._person(code, _attempt(state, back.browser), back.visitor)
        if state.purpose == SIGN_IN:
            return Arrival(state.return_to, await self._sign_in(person, back))
        if back.session is None or back.session.id != state.session_id:
            raise SignInRefused("you were signed out meanwhile: begin again")
        if state.purpose == LINK:
            await self._link(person, back.session, back.visitor)
        else:
            await self._prove(person, back.session, back.visitor)
        return Arrival(state.return_to)

    def errand(self, back: Back) -> Errand | None:
        """What the browser had set out for, also where it is too late for that; None where that cannot be told."""
        state = self._read(back.query.get("state", ""), back.browser)
        return None if state is None else Errand(state.purpose, state.return_to)

    def _opened(self, text: str, browser: str | None) -> _State | None:
        """What was sealed for this browser a moment ago, None for anything else."""
        state = self._read(text, browser)
        return state if state is not None and -CLOCKS_MS < self._clock() - state.began_at < SIGN_IN_MS else None

    def _read(self, text: str, browser: str | None) -> _State | None:
        """What was sealed for this browser whenever that was."""
        if browser is None or not 0 < len(text) <= STATE_MAX_CHARS:
            return None
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            state = _State(**json.loads(self._secret.unseal(PURPOSE, sealed)))
        except (binascii.Error, ValueError, TypeError, SecretUnusable):
            return None
        return state if hmac.compare_digest(state.browser_hash, _hash_of(browser)) else None

    def _code(self, query: Mapping[str, str]) -> str:
        """What the provider has sent along. Raises SignInRefused."""
        if query.get("iss", self.issuer) != self.issuer:
            raise SignInRefused("this answer is another identity provider's: begin again")
        error = query.get("error")
        if error is not None:
            shown = f" ({error})" if _ERROR.fullmatch(error) else ""
            raise SignInRefused(f"the identity provider did not let you in{shown}")
        code = query.get("code", "")
        if not 0 < len(code) <= CODE_MAX_CHARS:
            raise SignInRefused("the identity provider has sent no code: begin again")
        return code

    async def _person(self, code: str, attempt: Attempt, visitor: Visitor) -> Person:
        """Codes that the provider does not know are counted for each address: nobody makes us ask it without end."""
        async with self._attempts.one([of_address(visitor.address)]) as counted:
            try:
                return await self._provider.person(code, attempt)
            except SignInRefused:
                counted.has_failed = True
                raise

    async def _sign_in(self, person: Person, back: Back) -> SignedIn:
        now = self._clock()

        def admit(connection: Connection) -> Account:
            access.lock_changes(connection)
            known = identities.find(connection, person.issuer, person.subject)
            name = self._sign_up(connection, person, back.visitor, now) if known is None else known.account_name
            account = accounts.find(connection, name)
            if account is None or not account.is_active:
                raise SignInRefused(f"the account {name} is disabled")
            identities.used(connection, (person.issuer, person.subject), name=_label(person), at=now)
            self._groups.apply(connection, account, person.groups, _actor(account.id, name, back.visitor))
            # With what has changed just now.
            return accounts.find(connection, name) or account

        account = await self._database.write(admit)
        opening = Opening(
            account.id,
            account.name,
            account.revision,
            HOW,
            needs_second_factor=account.has_second_factor,
            visitor=back.visitor,
            replaces=back.held,
        )
        return await self._sessions.begin(opening)

    def _sign_up(self, connection: Connection, person: Person, visitor: Visitor, now: int) -> str:
        """Make the account of somebody who is here for the first time; returns its name. Raises SignInRefused."""
        if not self._signs_up:
            raise SignInRefused(
                "you have no account here that belongs to this identity. If you have one with a password, sign in with"
                " that, and link the two in your settings; else ask an admin"
            )
        name = name_for(person)
        account_id = accounts.add(connection, NewAccount(name, USER), now=now)
        if account_id is None:
            raise SignInRefused(
                f"the name {name} is taken here, or was. If it is yours, sign in with its password, and link the two in"
                " your settings; else ask an admin for another one"
            )
        identities.add(connection, (person.issuer, person.subject), account_id, name=_label(person), now=now)
        entries = [Entry("user.added", target=name), Entry("identity.linked", target=f"{name}: {_label(person)}")]
        audit.append(connection, _actor(account_id, name, visitor), entries, now=now)
        return name

    async def _link(self, person: Person, session: Session, visitor: Visitor) -> None:
        await self._sessions.require_proof(session.id, session.proved_at)
        somebody = Somebody(person.issuer, person.subject, _label(person))
        await self.identities.link(session.principal.name, somebody, session.permit(visitor), keep=session.id)

    async def _prove(self, person: Person, session: Session, visitor: Visitor) -> None:
        known = await self._database.point(
            lambda connection: identities.find(connection, person.issuer, person.subject)
        )
        if known is None or known.account_id != session.account_id:
            raise SignInRefused("that was somebody else: sign in at the identity provider as yourself")
        await self._sessions.prove(session, HOW, visitor)

    # Looking after it

    async def knows(self, account_id: int) -> bool:
        """Whether an account is somebody of the provider."""
        return any(one.issuer == self.issuer for one in await self.identities.of_account(account_id))

    async def sign_out_address(self) -> str | None:
        """Where somebody signs out of the provider itself; None where it does not say. Raises ProviderFailed,
        TooManyRequests."""
        return await self._provider.sign_out_address()

    async def unlink(self, session: Session, visitor: Visitor) -> None:
        """Be nobody of the provider any more. Raises ProofRequired, AccountInvalid without a password."""
        await self._sessions.require_proof(session.id, session.proved_at)
        await self.identities.unlink(session.principal.name, session.permit(visitor))


def name_for(person: Person) -> AccountName:
    """The name of a new account: what the provider calls the person, without what is after an @, in the characters that
    names have here. Raises SignInRefused."""
    given = (person.name or "").partition("@")[0]
    plain = unicodedata.normalize("NFKC", given).casefold()
    try:
        return new_owner_name(_SEPARATORS.sub(_separator, plain).strip("-._"))
    except AccountNameInvalid:
        raise SignInRefused(
            f"the identity provider calls you {given[:64]!r}, which can be no name here: ask an admin for an account,"
            " sign in with its password, and link the two in your settings"
        ) from None


def _separator(match: "re.Match[str]") -> str:
    return match[0] if match[0] in (".", "_") else "-"


def _label(person: Person) -> str:
    """What people know the person by."""
    return person.email or person.name or person.subject


def _attempt(state: _State, browser: str) -> Attempt:
    return Attempt.of(
        browser,
        state.number,
        f"{state.origin}{CALLBACK_PATH}",
        began_s=state.began_at / 1000,
        proves=state.purpose == PROVE,
    )


def _hash_of(browser: str) -> str:
    return opaque.hashed(browser).hex()


def _actor(account_id: int, name: str, visitor: Visitor) -> Actor:
    return Actor(account_id, name, HOW, visitor.address)
