"""Personal access tokens: made, listed, revoked. And the logins that clients keep, which are refresh tokens."""

from dataclasses import dataclass, replace

from registry.auth import opaque
from registry.auth.opaque import TokenKind
from registry.core import texts
from registry.core.access import Principal, TokenLimits, credential_subject
from registry.core.errors import AccountInvalid, AccountUnknown, Conflict, Denied, FieldInvalid
from registry.core.limits import LIST_PAGE_MAX, TOKENS_PER_ACCOUNT
from registry.core.names import RepositoryName
from registry.metadata import access, accounts, audit, tokens
from registry.metadata.accounts import ORGANIZATION
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.tokens import PERSONAL, REFRESH, NewToken, StoredToken
from registry.services import administration
from registry.services.accounts import existing
from registry.services.administration import By, actor_of
from registry.services.clock import Clock

__all__ = ["LIFE_MAX_S", "NAME_MAX_CHARS", "PERSONAL", "REFRESH", "REPOSITORIES_MAX", "PersonalTokens", "StoredToken"]

NAME_MAX_CHARS = 100
REPOSITORIES_MAX = 100
LIFE_MAX_S = 36_500 * 86_400


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A token to be."""

    name: str
    limits: TokenLimits
    life_s: int | None = None

    def checked(self) -> "_Wanted":
        """The same with its name as it is kept. Raises FieldInvalid, NameInvalid."""
        name = texts.one_line(self.name, "name", max_chars=NAME_MAX_CHARS)
        if not name:
            raise FieldInvalid("a token has a name", field="name")
        if not self.limits.scopes:
            raise FieldInvalid("a token without a scope is good for nothing", field="scopes")
        entries = self.limits.repositories
        if entries is not None and not 0 < len(entries) <= REPOSITORIES_MAX:
            raise FieldInvalid(f"a token is limited to 1 to {REPOSITORIES_MAX} repositories", field="repositories")
        for entry in entries or ():
            RepositoryName.parse(entry.removesuffix("/*"))
        if self.life_s is not None and not 1 <= self.life_s <= LIFE_MAX_S:
            raise FieldInvalid(f"a token lasts from 1 s to {LIFE_MAX_S} s", field="life_s")
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class PersonalTokens:
    """Looks after the tokens of accounts. Raises AccountUnknown."""

    database: Database
    clock: Clock

    async def create(
        self,
        account: str,
        name: str,
        limits: TokenLimits,
        by: By,
        *,
        life_s: int | None,
        under: Principal | None = None,
    ) -> tuple[int, str]:
        """Make a token; returns its id and the secret, which is not kept. `life_s` None: it never ends. `under` is who
        asks: a token makes none that is good for more, or for longer, than itself, and when it ends so do those that it
        has made. Raises FieldInvalid, NameInvalid, AccountInvalid, Conflict, Denied."""
        checked = _Wanted(name, limits, life_s).checked()
        secret = opaque.new(TokenKind.PERSONAL)

        def add(connection: Connection, now: int) -> int:
            owner = existing(connection, account)
            if owner.kind == ORGANIZATION:
                raise AccountInvalid(f"{account} is an organization: make a robot of it", field="account")
            # Their number stays what it is counted to be, and the account what it is.
            accounts.lock(connection, owner.id)
            if len(tokens.of_account(connection, owner.id, PERSONAL)) >= TOKENS_PER_ACCOUNT:
                raise Conflict(f"{account} has {TOKENS_PER_ACCOUNT} tokens: revoke some first")
            expires_at = None if checked.life_s is None else now + checked.life_s * 1000
            parent_id = _require_no_stronger(checked.limits, expires_at, under)
            new = NewToken(
                account_id=owner.id,
                kind=PERSONAL,
                name=checked.name,
                secret_hash=opaque.hashed(secret),
                limits=checked.limits,
                expires_at=expires_at,
                parent_id=parent_id,
            )
            token_id = tokens.add(connection, new, now=now)
            entry = Entry("token.created", target=f"{account}: {token_id} {checked.name}", about=account)
            audit.append(connection, actor_of(by), [entry], now=now)
            return token_id

        return await administration.change(self.database, self.clock, by, add), secret

    async def of(self, account: str) -> list[StoredToken]:
        """The tokens of an account, personal ones first."""

        def read(connection: Connection) -> list[StoredToken]:
            owner_id = existing(connection, account).id
            kinds = (PERSONAL, REFRESH)
            return [token for kind in kinds for token in tokens.of_account(connection, owner_id, kind)]

        return await self.database.read(read)

    async def page(self, account: str, kind: str, *, after: int, count: int) -> list[StoredToken]:
        """The next tokens of one kind of an account, oldest first."""
        bounded = min(count, LIST_PAGE_MAX + 1)

        def read(connection: Connection) -> list[StoredToken]:
            return tokens.page(connection, existing(connection, account).id, kind, after=after, count=bounded)

        return await self.database.read(read)

    async def logins(self, account_id: int) -> list[StoredToken]:
        """The logins that clients of an account keep, oldest first: REFRESH_TOKENS_PER_ACCOUNT at most."""
        return await self.database.point(lambda connection: tokens.of_account(connection, account_id, tokens.REFRESH))

    async def get(self, account: str, token_id: int) -> StoredToken:
        """One token of an account. Raises AccountUnknown, also for one of another account."""
        return await self.database.read(lambda connection: _token(connection, token_id, account))

    async def revoke(self, token_id: int, by: By, *, account: str | None = None) -> None:
        """End a token, and what was begun with it; with `account` only one of that account. Raises AccountUnknown."""

        def remove(connection: Connection, now: int) -> None:
            token = _token(connection, token_id, account)
            # Nobody begins a login with it meanwhile.
            accounts.lock(connection, token.account_id)
            gone = tokens.remove(connection, [token_id])
            access.note_changes(connection, map(credential_subject, gone), now=now)
            text = f"{token.account_name}: {token_id} {token.name}"
            entry = Entry("token.revoked", target=text, about=token.account_name)
            audit.append(connection, actor_of(by), [entry], now=now)

        await administration.change(self.database, self.clock, by, remove)


def _token(connection: Connection, token_id: int, account: str | None) -> StoredToken:
    found = tokens.get(connection, token_id)
    if found is None or (account is not None and found.account_name != account):
        raise AccountUnknown(f"there is no token {token_id}")
    return found


def _require_no_stronger(limits: TokenLimits, expires_at: int | None, under: Principal | None) -> int | None:
    """The token that this one was got with, if any. Raises Denied."""
    if under is None or under.credential_id is None:
        return None
    if under.limits is not None and not under.limits.includes(limits):
        raise Denied("a token makes no token that is good for more than itself")
    if under.expires_at is not None and (expires_at is None or expires_at > under.expires_at):
        raise Denied("a token makes no token that lasts longer than itself")
    return under.credential_id
