"""The token server: from who somebody is to a token that says what was granted."""

import asyncio
import secrets
from dataclasses import dataclass, replace

from registry.auth import opaque, tokens
from registry.auth.opaque import TokenKind
from registry.auth.scopes import Scopes
from registry.auth.tokens import Grant, Parties, Ticket
from registry.core.access import Action, Actor, Principal, credential_subject
from registry.core.errors import InvalidRequest, NameInvalid, TooManyRequests, Unauthenticated
from registry.core.limits import LOGINS_PER_WINDOW, LOGINS_WINDOW_MS, REFRESH_TOKENS_PER_ACCOUNT, TICKET_MAX_CHARS
from registry.core.names import RepositoryName
from registry.metadata import access as access_rows
from registry.metadata import audit, logins
from registry.metadata import tokens as token_rows
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.tokens import NewToken
from registry.services.access import Access, Rights
from registry.services.clock import Clock
from registry.services.keys import Keys

CLIENT_NAME_CHARS = 100
NAMES_MAX_CHARS = 8 * 1024


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token, what it grants in the protocol's words, and its times in seconds."""

    token: str
    scope: str
    issued_at_s: int
    life_s: int


@dataclass(frozen=True, slots=True)
class TokenServer:
    """Issues tokens. `refresh_ttl_s` 0: no refresh tokens."""

    database: Database
    access: Access
    keys: Keys
    clock: Clock
    parties: Parties
    token_ttl_s: int
    refresh_ttl_s: int

    async def prepare(self) -> None:
        """To be called before anybody is verified: what is decided on changes that others have made in the last second,
        and that this worker has not heard of, would be void in a moment. Raises Unavailable."""
        await self.access.refresh()

    async def issue(self, principal: Principal, scopes: Scopes, service: str) -> Issued:
        """A token for what `principal` may do of what is asked; that this is less is no error. Raises
        InvalidRequest for so much that the token would be too long."""
        grants: dict[str, Grant] = {}
        if sum(map(len, scopes.repositories)) > NAMES_MAX_CHARS:
            raise InvalidRequest("these scopes make a token that is too long to be used: ask for fewer at once")
        revision = self.access.revision if principal.account_id is None else principal.revision
        for text, asked in scopes.repositories.items():
            try:
                name = RepositoryName.parse(text)
            except NameInvalid:
                continue
            # Each is a query: others get their turn in between.
            await asyncio.sleep(0)
            rights = await self.access.rights(principal, name)
            grants[name] = _grant(rights, asked)
            revision = min(revision, rights.revision)
        now_ms = self.clock()
        life_s = self._life_s(principal, now_ms)
        ticket = Ticket(
            replace(principal, revision=revision),
            grants,
            scopes.catalog and (principal.limits is None or principal.limits.pulls),
            now_ms // 1000,
            now_ms // 1000 + life_s,
            secrets.token_hex(16),
        )
        keys = await self.keys.current()
        token = tokens.issue(ticket, key=keys.signing, issuer=self.parties.issuer, service=service)
        if len(token) > TICKET_MAX_CHARS:
            raise InvalidRequest("these scopes make a token that is too long to be used: ask for fewer at once")
        return Issued(token, ticket.scope, ticket.issued_at_s, life_s)

    async def begin_login(self, principal: Principal, client: str, actor: Actor) -> str | None:
        """A refresh token for this login, None where there are none. Of too many for one account the oldest ends."""
        if not self.refresh_ttl_s or principal.account_id is None or principal.was_kept:
            return None
        secret = opaque.new(TokenKind.REFRESH)
        now = self.clock()
        expires_at = now + self.refresh_ttl_s * 1000
        new = NewToken(
            account_id=principal.account_id,
            kind=token_rows.REFRESH,
            name="".join(filter(str.isprintable, client))[:CLIENT_NAME_CHARS] or "unknown client",
            secret_hash=opaque.hashed(secret),
            limits=principal.limits,
            expires_at=expires_at if principal.expires_at is None else min(expires_at, principal.expires_at),
            parent_id=principal.credential_id,
        )

        def add(connection: Connection) -> None:
            # What was verified a moment ago may have ended since: a password that was changed ends all logins.
            if access_rows.has_changed(connection, principal.subjects, since=principal.revision):
                raise Unauthenticated("the account has changed: log in again")
            _count_login(connection, new.account_id, now=now)
            token_id = token_rows.add(connection, new, now=now)
            known = token_rows.of_account(connection, new.account_id, token_rows.REFRESH)
            gone = token_rows.expired(connection, new.account_id, now=now)
            # Who logs in with a personal token ends only what was begun with the same.
            alike = [token.id for token in known if token.parent_id == new.parent_id]
            gone += alike[:-REFRESH_TOKENS_PER_ACCOUNT]
            if gone:
                token_rows.remove(connection, gone)
                access_rows.note_changes(connection, map(credential_subject, gone), now=now)
            audit.append(connection, actor, [Entry("login.begun", target=f"refresh token {token_id}")], now=now)

        await self.database.write(add)
        return secret

    def _life_s(self, principal: Principal, now_ms: int) -> int:
        """No longer than the credential that it was got with."""
        if principal.expires_at is None:
            return self.token_ttl_s
        return max(1, min(self.token_ttl_s, (principal.expires_at - now_ms) // 1000))


def _count_login(connection: Connection, account_id: int, *, now: int) -> None:
    subject = f"begun:{account_id}"
    found = logins.count_attempt(connection, [subject], now=now, window_ms=LOGINS_WINDOW_MS)
    count = found[subject]
    if count.attempts > LOGINS_PER_WINDOW:
        wait_s = max(1, (count.since + LOGINS_WINDOW_MS - now) // 1000)
        raise TooManyRequests("too many logins of this account; keep the tokens that you get", retry_after_s=wait_s)


def _grant(rights: Rights, asked: frozenset[Action]) -> Grant:
    actions = asked & rights.actions
    if not actions:
        # Says nothing of the repository: it may be one that this caller must not know of.
        return Grant(frozenset())
    return Grant(actions, rights.facts.repository_id, rights.facts.namespace_id)
