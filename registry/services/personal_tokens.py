"""Personal access tokens: made, listed, revoked. And the logins that clients keep, which are refresh tokens."""

from dataclasses import dataclass

from registry.auth import opaque
from registry.auth.opaque import TokenKind
from registry.core.access import TokenLimits, credential_subject
from registry.core.errors import AccountInvalid, AccountUnknown, InvalidRequest
from registry.core.limits import TOKENS_PER_ACCOUNT
from registry.core.names import RepositoryName
from registry.metadata import access, accounts, audit, tokens
from registry.metadata.accounts import ORGANIZATION
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.tokens import NewToken, StoredToken
from registry.services.accounts import existing
from registry.services.administration import By, actor_of
from registry.services.clock import Clock

NAME_MAX_CHARS = 100
REPOSITORIES_MAX = 100


@dataclass(frozen=True, slots=True)
class PersonalTokens:
    """Looks after the tokens of accounts. Raises AccountUnknown."""

    database: Database
    clock: Clock

    async def create(
        self, account: str, name: str, limits: TokenLimits, by: By, *, life_s: int | None
    ) -> tuple[int, str]:
        """Make a token; returns its id and the secret, which is not kept. `life_s` None: it never ends. Raises
        InvalidRequest, AccountInvalid."""
        _check(name, limits)
        secret = opaque.new(TokenKind.PERSONAL)
        now = self.clock()
        expires_at = None if life_s is None else now + life_s * 1000

        def add(connection: Connection) -> int:
            owner = existing(connection, account)
            # Their number stays what it is counted to be, and the account what it is.
            if not accounts.lock(connection, owner.id):
                raise AccountUnknown(f"there is no account {account!r}")
            if owner.kind == ORGANIZATION:
                raise AccountInvalid(f"{account} is an organization: make a robot of it, and a token for that")
            if len(tokens.of_account(connection, owner.id, tokens.PERSONAL)) >= TOKENS_PER_ACCOUNT:
                raise AccountInvalid(f"{account} has {TOKENS_PER_ACCOUNT} tokens: revoke some first")
            new = NewToken(owner.id, tokens.PERSONAL, name, opaque.hashed(secret), limits, expires_at)
            token_id = tokens.add(connection, new, now=now)
            entry = Entry("token.created", target=f"{account}: {token_id} {name}")
            audit.append(connection, actor_of(by), [entry], now=now)
            return token_id

        return await self.database.write(add), secret

    async def of(self, account: str) -> list[StoredToken]:
        """The tokens of an account, personal ones first."""

        def read(connection: Connection) -> list[StoredToken]:
            owner_id = existing(connection, account).id
            kinds = (tokens.PERSONAL, tokens.REFRESH)
            return [token for kind in kinds for token in tokens.of_account(connection, owner_id, kind)]

        return await self.database.read(read)

    async def page(self, account_id: int, *, before: int | None, count: int) -> list[StoredToken]:
        """Its newest personal tokens, newest first; with `before`, those with smaller ids."""
        return await self.database.point(
            lambda connection: tokens.page(connection, account_id, tokens.PERSONAL, before=before, count=count)
        )

    async def logins(self, account_id: int) -> list[StoredToken]:
        """The logins that clients keep, oldest first; there are a hundred at most."""
        return await self.database.point(lambda connection: tokens.of_account(connection, account_id, tokens.REFRESH))

    async def revoke(self, token_id: int, by: By, *, of: int | None = None) -> None:
        """End a token, and the logins that were begun with it. With `of` only if it is of that account."""
        now = self.clock()

        def remove(connection: Connection) -> None:
            access.lock_changes(connection)
            token = tokens.get(connection, token_id)
            if token is None or of not in (None, token.account_id):
                raise AccountUnknown(f"there is no token {token_id}")
            # Nobody begins a login with it meanwhile.
            accounts.lock(connection, token.account_id)
            gone = tokens.remove(connection, [token_id])
            access.note_changes(connection, map(credential_subject, gone), now=now)
            entry = Entry("token.revoked", target=f"{token.account_name}: {token_id} {token.name}")
            audit.append(connection, actor_of(by), [entry], now=now)

        await self.database.write(remove)


def _check(name: str, limits: TokenLimits) -> None:
    if not name.strip() or len(name) > NAME_MAX_CHARS or not name.isprintable():
        raise InvalidRequest(f"the name of a token has 1 to {NAME_MAX_CHARS} printable characters")
    if not limits.scopes:
        raise InvalidRequest("a token without a scope is good for nothing")
    entries = limits.repositories
    if entries is not None and not 0 < len(entries) <= REPOSITORIES_MAX:
        raise InvalidRequest(f"a token is limited to 1 to {REPOSITORIES_MAX} repositories")
    for entry in entries or ():
        RepositoryName.parse(entry.removesuffix("/*"))
