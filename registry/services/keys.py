"""The keys that sign access tokens: in the database for all nodes, sealed with the instance secret.

A new key is known everywhere before it signs, and the old one counts until the last token that it signed has ended.
"""

from registry.auth.sealing import InstanceSecret
from registry.auth.tokens import LIFE_MAX_S, KeySet, SigningKey
from registry.core.access import INSTANCE_SUBJECT, Actor
from registry.core.limits import ACCESS_STALE_S
from registry.metadata import access, audit, tokens
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.tokens import StoredKey
from registry.services.clock import Clock

PURPOSE = "signing-key"
OVERLAP_MS = LIFE_MAX_S * 1000
SIGNS_AFTER_MS = int(ACCESS_STALE_S * 2 * 1000)


class Keys:
    """Loads and makes keys."""

    def __init__(self, database: Database, secret: InstanceSecret, clock: Clock) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._opened: dict[str, SigningKey] = {}
        self._current: KeySet | None = None
        self._changes_at = 0
        self._heard = 1
        """Counts what was heard of changes; `_loaded` is the count when the keys in use began to be read."""
        self._loaded = 0

    def forget(self, subjects: set[str]) -> None:
        """Told of changes: the keys are read again when they are needed next."""
        self._heard += INSTANCE_SUBJECT in subjects

    @property
    def _stale(self) -> bool:
        return self._loaded != self._heard

    async def current(self) -> KeySet:
        """The keys that count now, without a query as long as none was added. Raises SecretUnusable, Unavailable."""
        while self._current is None or self._stale or self._clock() >= self._changes_at:
            # Also for who comes while they are being read, and again for who hears of a change meanwhile: a key that
            # was taken away must not be used once more, because what it verifies is remembered.
            await self._load(self._clock())
        return self._current

    async def ensure(self) -> None:
        """Make the first key, which signs at once. Of several processes that start at once one makes it."""
        made = SigningKey.make()
        sealed = self._secret.seal(PURPOSE, made.pem())
        now = self._clock()

        def add_first(connection: Connection) -> None:
            access.lock_changes(connection)
            if not tokens.keys(connection, retired_after=now):
                tokens.add_key(connection, StoredKey(made.kid, sealed, now, None))

        if not await self._database.read(lambda connection: tokens.keys(connection, retired_after=now)):
            await self._database.write(add_first)
        await self._load(now)

    async def rotate(self, actor: Actor, *, at_once: bool = False) -> str:
        """Add a key that signs as soon as every worker knows it; returns its name. With `at_once` it signs now, and all
        others, and every token that they signed, count no longer: also where their secret is lost. Raises
        SecretUnusable."""
        if not at_once:
            # With another secret than the server's, the new key would be one that it cannot open.
            await self._load(self._clock())
        made = SigningKey.make()
        sealed = self._secret.seal(PURPOSE, made.pem())
        now = self._clock()
        signs_from = now if at_once else now + SIGNS_AFTER_MS

        def rotate(connection: Connection) -> None:
            access.lock_changes(connection)
            tokens.remove_keys(connection, retired_before=None if at_once else now - OVERLAP_MS)
            tokens.add_key(connection, StoredKey(made.kid, sealed, signs_from, None))
            access.note_changes(connection, [INSTANCE_SUBJECT], now=now)
            audit.append(connection, actor, [Entry("key.rotated", target=made.kid)], now=now)

        await self._database.write(rotate)
        self._heard += 1
        return made.kid

    async def _load(self, now: int) -> None:
        heard = self._heard
        rows = await self._database.read(lambda connection: tokens.keys(connection, retired_after=now - OVERLAP_MS))
        self._opened = {row.kid: self._opened.get(row.kid) or self._open(row) for row in rows}
        # The clock of whoever rotated at once may be ahead of this one; then its key signs all the same.
        signing = ([row for row in rows if row.signs_from <= now] or rows)[-1]
        later = [row.signs_from for row in rows if row.signs_from > now]
        self._changes_at = min(later, default=now + OVERLAP_MS)
        self._current = KeySet(self._opened.values(), self._opened[signing.kid])
        self._loaded = heard

    def _open(self, row: StoredKey) -> SigningKey:
        return SigningKey.read(row.kid, self._secret.unseal(PURPOSE, row.sealed))
