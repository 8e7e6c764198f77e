"""Which account somebody of an identity provider is: linked by whoever is signed in to both, or by an admin."""

from dataclasses import dataclass

from registry.core.access import Permit, account_subject
from registry.core.errors import AccountInvalid, InvalidRequest, SignInRefused
from registry.metadata import access, accounts, audit, identities
from registry.metadata.accounts import USER
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.identities import Identity
from registry.services.accounts import existing
from registry.services.clock import Clock
from registry.services.sessions import end_password_logins

SUBJECT_MAX_CHARS = 255


@dataclass(frozen=True, slots=True)
class Somebody:
    """A person of a provider. `name` is what people know the person by there."""

    issuer: str
    subject: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """What nobody else has, or ever gets."""
        return self.issuer, self.subject


@dataclass(frozen=True, slots=True)
class Identities:
    """Looks after links. Raises AccountUnknown."""

    database: Database
    clock: Clock

    async def of(self, name: str) -> list[Identity]:
        """Who an account is at providers."""
        return await self.database.read(
            lambda connection: identities.of_account(connection, existing(connection, name).id)
        )

    async def of_account(self, account_id: int) -> list[Identity]:
        """The same, of the account with this id; nothing where there is none."""
        return await self.database.point(lambda connection: identities.of_account(connection, account_id))

    async def link(self, name: str, somebody: Somebody, permit: Permit, *, keep: int | None = None) -> None:
        """Somebody signs in to this account from now on. What was begun with its password ends, but for the session
        `keep`: clients use tokens now. Raises SignInRefused where the person or the account is linked otherwise,
        InvalidRequest."""
        if not (0 < len(somebody.subject) <= SUBJECT_MAX_CHARS and somebody.subject.isprintable()):
            raise InvalidRequest(f"a subject has 1 to {SUBJECT_MAX_CHARS} printable characters")
        now = self.clock()

        def change(connection: Connection) -> None:
            access.lock_changes(connection)
            access.require_unchanged(connection, permit)
            account = existing(connection, name, USER)
            accounts.lock(connection, account.id)
            known = identities.of_account(connection, account.id)
            if any((one.issuer, one.subject) == somebody.key for one in known):
                return
            if any(one.issuer == somebody.issuer for one in known):
                raise SignInRefused(f"{name} is somebody else of this identity provider already: unlink that first")
            ended = end_password_logins(connection, account.id, keep=keep)
            if not identities.add(connection, somebody.key, account.id, name=somebody.name, now=now):
                raise SignInRefused("this person of the identity provider has another account here already")
            access.note_changes(connection, [account_subject(account.id), *ended], now=now)
            audit.append(
                connection, permit.actor, [Entry("identity.linked", target=f"{name}: {somebody.name}")], now=now
            )

        await self.database.write(change)

    async def unlink(self, name: str, permit: Permit, *, needs_password: bool = True) -> None:
        """An account is nobody of any provider any more. Raises AccountInvalid where it is nobody, or has no password
        to sign in with."""
        now = self.clock()

        def change(connection: Connection) -> None:
            access.lock_changes(connection)
            access.require_unchanged(connection, permit)
            account = existing(connection, name, USER)
            if needs_password and account.password_hash is None:
                raise AccountInvalid("set a password first, or nobody could sign in to this account any more")
            if not identities.remove(connection, account.id):
                raise AccountInvalid(f"{name} is nobody of an identity provider")
            access.note_changes(connection, [account_subject(account.id)], now=now)
            audit.append(connection, permit.actor, [Entry("identity.unlinked", target=name)], now=now)

        await self.database.write(change)
