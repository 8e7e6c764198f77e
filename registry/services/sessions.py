"""Browsers that are signed in. What a cookie holds is random and kept as a hash; it ends when it was not used for a
while, after a fixed time, and whenever somebody ends it.

A session that was read is remembered as long as nothing about it or its account has changed, so that a page costs no
query for it; a session that ended counts nowhere after five seconds. `/v2` knows nothing of sessions.
"""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from registry.auth import opaque
from registry.auth.cookies import SESSION
from registry.core.access import (
    Actor,
    Permit,
    Principal,
    account_subject,
    credential_subject,
    session_subject,
)
from registry.core.errors import AccountUnknown, ProofRequired, Unauthenticated
from registry.core.limits import (
    PROOF_MS,
    SESSION_SEEN_EACH_MS,
    SESSIONS_CACHED,
    SESSIONS_PER_ACCOUNT,
    SIGN_IN_MS,
    USER_AGENT_MAX_CHARS,
)
from registry.metadata import access, accounts, audit, sessions, tokens
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.sessions import NewSession, StoredSession
from registry.services.attempts import Attempts
from registry.services.changes import Changes
from registry.services.clock import Clock

Step = Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Visitor:
    """From where a browser comes, and what it says that it is."""

    address: str | None
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts without being used, and at most. In ms."""

    idle_ms: int
    life_ms: int


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in. Times in ms since 1970 UTC."""

    id: int
    principal: Principal
    is_admin: bool
    created_at: int
    proved_at: int
    """When the person last showed who it is."""
    expires_at: int
    word: str = field(repr=False)
    """What its forms carry along, and no other site knows. It does not tell the secret, and is the same everywhere."""

    @property
    def account_id(self) -> int:
        """Whose it is."""
        assert self.principal.account_id is not None
        return self.principal.account_id

    def is_word(self, text: str) -> bool:
        """Whether this is its word; in constant time."""
        return hmac.compare_digest(self.word.encode("ascii"), text.encode("utf-8", "surrogatepass"))

    def permit(self, visitor: Visitor) -> Permit:
        """What a change asks again in its transaction."""
        actor = Actor(self.account_id, self.principal.name, self.principal.credential, visitor.address)
        return Permit(actor, self.principal.subjects, self.principal.revision)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that begins now, and the secret for its cookie, which is not kept. `is_complete` False: it can do
    nothing but show the second factor (`SignIn.with_code`), for ten minutes."""

    session_id: int
    secret: str = field(repr=False)
    is_complete: bool
    life_s: int


@dataclass(frozen=True, slots=True)
class Opening:
    """Who signs in: the account as it was when that was shown. `replaces` is the secret that the browser has held."""

    account_id: int
    name: str
    revision: int
    how: str
    """`password`, `single sign-on`: for the audit."""
    needs_second_factor: bool
    visitor: Visitor
    replaces: str | None = field(default=None, repr=False)


class Sessions:
    """Looks after sessions. Only for the event loop's thread."""

    def __init__(
        self, database: Database, changes: Changes, attempts: Attempts, clock: Clock, limits: SessionLimits
    ) -> None:
        self._database = database
        self._changes = changes
        self._attempts = attempts
        self._clock = clock
        self._limits = limits
        self._known: OrderedDict[bytes, StoredSession] = OrderedDict()
        """Complete ones, by hash."""

    # Reading

    async def of(self, cookies: list[str], address: str | None, *, is_https: bool) -> Session | None:
        """The session that the `Cookie` headers of a request show; None where it does not count, or is not complete.
        Raises Unavailable."""
        secret = SESSION.read(cookies, is_https=is_https)
        return None if secret is None else await self.read(secret, address)

    async def read(self, secret: str, address: str | None) -> Session | None:
        """As `of`, with what the cookie holds."""
        await self._changes.require_fresh()
        key = opaque.hashed(secret)
        stored = self._remembered(key) or await self._load(key)
        if stored is None:
            return None
        now = self._clock()
        if stored.seen_at <= now - SESSION_SEEN_EACH_MS:
            stored = await self._note_use(key, stored, address, now)
        return self._session(stored, secret)

    async def pending(self, secret: str | None) -> StoredSession | None:
        """The session of a cookie that waits for a second factor, and is good for nothing else. Raises Unavailable."""
        found = None if secret is None else await self._find(opaque.hashed(secret))
        return None if found is None or found.is_complete else found

    async def require_proof(self, session_id: int, proved_at: int) -> None:
        """Before something dangerous. Raises ProofRequired if the person has not shown who it is for a while."""
        if self._is_proof(proved_at):
            return
        # Another worker may have been shown it.
        stored = await self._database.point(lambda connection: sessions.get(connection, session_id))
        if stored is None or not self._is_proof(stored.proved_at):
            raise ProofRequired("show once more who you are: this cannot be taken back")

    def _is_proof(self, proved_at: int) -> bool:
        return 0 <= self._clock() - proved_at < PROOF_MS

    async def listed(self, account_id: int) -> list[StoredSession]:
        """The sessions of an account, newest first."""
        now = self._clock()
        seen_after = now - self._limits.idle_ms
        return await self._database.read(
            lambda connection: sessions.of_account(connection, account_id, now=now, seen_after=seen_after)
        )

    # Beginning

    async def begin(self, opening: Opening) -> SignedIn:
        """Sign in: a new secret always, whatever the browser has held; that session ends. Raises Unauthenticated if the
        account has changed since it was looked at."""
        now = self._clock()
        secret = secrets.token_urlsafe(32)
        is_complete = not opening.needs_second_factor
        life_ms = self._limits.life_ms if is_complete else SIGN_IN_MS
        replaced = None if opening.replaces is None else await self._find(opaque.hashed(opening.replaces))

        def add(connection: Connection) -> tuple[int, bool]:
            # Who ends its sessions waits, and then finds this one too.
            is_there = accounts.lock(connection, opening.account_id)
            about = [account_subject(opening.account_id)]
            if not is_there or access.has_changed(connection, about, since=opening.revision):
                raise Unauthenticated("the account has changed: sign in again")
            session_id = sessions.add(connection, _new(opening, secret, now + life_ms), now=now)
            if is_complete:
                audit.append(connection, _actor(opening, session_id), [_begun(opening.how)], now=now)
            return session_id, _are_too_many(connection, opening.account_id, is_complete=is_complete)

        session_id, are_too_many = await self._database.write(add)
        if replaced is not None:
            await self._end(replaced.account_id, lambda _: [replaced.id])
        if are_too_many:
            await self._end_surplus(opening.account_id, is_complete=is_complete)
        return SignedIn(session_id, secret, is_complete, life_ms // 1000)

    async def complete(self, stored: StoredSession, how: str, visitor: Visitor, use: Step) -> SignedIn:
        """The second factor was shown: sign in, under a new secret. `use` is what makes it count once, in the same
        transaction. Raises Unauthenticated where the session has ended, and what `use` raises."""
        now = self._clock()
        secret = secrets.token_urlsafe(32)
        actor = Actor(stored.account_id, stored.account_name, f"session {stored.id}", visitor.address)

        def change(connection: Connection) -> bool:
            if not accounts.lock(connection, stored.account_id):
                raise _ended()
            hashed, expires_at = opaque.hashed(secret), now + self._limits.life_ms
            if not sessions.complete(connection, stored.id, hashed, expires_at=expires_at, now=now):
                raise _ended()
            use(connection)
            audit.append(connection, actor, [_begun(how)], now=now)
            return _are_too_many(connection, stored.account_id, is_complete=True)

        if await self._database.write(change):
            await self._end_surplus(stored.account_id, is_complete=True)
        return SignedIn(stored.id, secret, is_complete=True, life_s=self._limits.life_ms // 1000)

    async def prove(self, session: Session, how: str, visitor: Visitor, use: Step | None = None) -> None:
        """The person has shown again who it is. `use` as for `complete`. Raises Unauthenticated."""
        now = self._clock()
        permit = session.permit(visitor)

        def change(connection: Connection) -> None:
            if not accounts.lock(connection, session.account_id) or not sessions.proved(connection, session.id, at=now):
                raise _ended()
            if use is not None:
                use(connection)
            audit.append(connection, permit.actor, [Entry("session.proved", target=how)], now=now)

        await self._database.write(change)
        self._forget(session.id)

    # Ending

    async def sign_out(self, secret: str | None, address: str | None) -> None:
        """End the session of a cookie, complete or not. Idempotent."""
        stored = None if secret is None else await self._find(opaque.hashed(secret))
        if stored is not None:
            actor = Actor(stored.account_id, stored.account_name, f"session {stored.id}", address)
            await self._end(stored.account_id, lambda _: [stored.id], actor)

    async def end(self, session: Session, session_id: int, visitor: Visitor) -> None:
        """End one session of the same account, which may be this one. Raises AccountUnknown for any other."""
        if not await self._end(session.account_id, lambda _: [session_id], session.permit(visitor).actor):
            raise AccountUnknown(f"there is no session {session_id}")

    async def end_others(self, session: Session, visitor: Visitor) -> int:
        """End every session of the same account but this one; returns how many."""
        return await self._end(
            session.account_id,
            lambda connection: [one for one in _all(connection, session.account_id) if one != session.id],
            session.permit(visitor).actor,
        )

    async def end_all(self, account_id: int, actor: Actor) -> int:
        """End every session of an account; returns how many."""
        return await self._end(account_id, lambda connection: _all(connection, account_id), actor)

    async def _end_surplus(self, account_id: int, *, is_complete: bool) -> None:
        """A transaction of its own: it changes access, and so waits for others that do, which most sign-ins need not.
        Who knows a password alone ends no session of who has the second factor too."""
        await self._end(
            account_id,
            lambda connection: sessions.ids_of_account(connection, account_id, is_complete=is_complete)[
                :-SESSIONS_PER_ACCOUNT
            ],
        )

    async def _end(self, account_id: int, which: Callable[[Connection], list[int]], actor: Actor | None = None) -> int:
        """Without an actor nobody wanted it, and the audit says nothing."""
        now = self._clock()

        def change(connection: Connection) -> list[int]:
            access.lock_changes(connection)
            accounts.lock(connection, account_id)
            gone = sessions.remove(connection, account_id, which(connection))
            access.note_changes(connection, map(session_subject, gone), now=now)
            if actor is not None:
                entries = [Entry("session.ended", target=f"session {one}") for one in gone]
                audit.append(connection, actor, entries, now=now)
            return gone

        gone = await self._database.write(change)
        for session_id in gone:
            self._forget(session_id)
        return len(gone)

    # What is remembered

    def _remembered(self, key: bytes) -> StoredSession | None:
        found = self._known.get(key)
        if found is None:
            return None
        if not self._changes.hold(_subjects(found), found.revision) or not self._counts(found):
            # It may have been used elsewhere meanwhile; SQL knows.
            del self._known[key]
            return None
        if found.revision < self._changes.revision:
            found = self._known[key] = replace(found, revision=self._changes.revision)
        return found

    async def _load(self, key: bytes) -> StoredSession | None:
        found = await self._find(key)
        if found is None or not found.is_complete:
            return None
        self._known[key] = found
        if len(self._known) > SESSIONS_CACHED:
            self._known.popitem(last=False)
        return found

    async def _find(self, key: bytes) -> StoredSession | None:
        found = await self._database.point(lambda connection: sessions.find(connection, key))
        return found if found is not None and self._counts(found) else None

    def _counts(self, stored: StoredSession) -> bool:
        now = self._clock()
        return stored.is_active and now < stored.expires_at and now - stored.seen_at < self._limits.idle_ms

    def _forget(self, session_id: int) -> None:
        for key in [key for key, one in self._known.items() if one.id == session_id]:
            del self._known[key]

    async def _note_use(self, key: bytes, stored: StoredSession, address: str | None, now: int) -> StoredSession:
        """At most once a minute, whatever worker is asked; nobody is kept out because nothing can be written."""
        not_since = now - SESSION_SEEN_EACH_MS
        used = replace(stored, seen_at=now, address=address)
        # Before the next request of the same page comes.
        self._known[key] = used
        await self._attempts.write_if_possible(
            lambda connection: sessions.seen(connection, stored.id, at=now, not_since=not_since, address=address)
        )
        return used

    @staticmethod
    def _session(stored: StoredSession, secret: str) -> Session:
        principal = Principal(
            stored.account_id,
            stored.account_name,
            f"session {stored.id}",
            session_id=stored.id,
            revision=stored.revision,
            expires_at=stored.expires_at,
        )
        return Session(
            stored.id,
            principal,
            stored.is_admin,
            stored.created_at,
            stored.proved_at,
            stored.expires_at,
            _word(secret),
        )


def end_password_logins(connection: Connection, account_id: int, *, keep: int | None) -> list[str]:
    """End what a password alone has begun: sessions but `keep`, and logins that clients keep. Returns the subjects to
    note."""
    refresh = tokens.of_account(connection, account_id, tokens.REFRESH)
    gone = tokens.remove(connection, [token.id for token in refresh if token.parent_id is None])
    others = [one for one in sessions.ids_of_account(connection, account_id) if one != keep]
    ended = sessions.remove(connection, account_id, others)
    return [*map(credential_subject, gone), *map(session_subject, ended)]


def _all(connection: Connection, account_id: int) -> list[int]:
    return sessions.ids_of_account(connection, account_id)


def _are_too_many(connection: Connection, account_id: int, *, is_complete: bool) -> bool:
    return len(sessions.ids_of_account(connection, account_id, is_complete=is_complete)) > SESSIONS_PER_ACCOUNT


def _word(secret: str) -> str:
    digest = hmac.digest(secret.encode("ascii"), b"the word of its forms", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _subjects(stored: StoredSession) -> tuple[str, str]:
    return account_subject(stored.account_id), session_subject(stored.id)


def _new(opening: Opening, secret: str, expires_at: int) -> NewSession:
    visitor = opening.visitor
    agent = "".join(filter(str.isprintable, visitor.user_agent))[:USER_AGENT_MAX_CHARS]
    return NewSession(
        opening.account_id,
        opaque.hashed(secret),
        not opening.needs_second_factor,
        expires_at,
        visitor.address,
        agent,
    )


def _actor(opening: Opening, session_id: int) -> Actor:
    return Actor(opening.account_id, opening.name, f"session {session_id}", opening.visitor.address)


def _begun(how: str) -> Entry:
    return Entry("session.begun", target=how)


def _ended() -> Unauthenticated:
    return Unauthenticated("this sign-in has ended: begin again", begin_again=True)
