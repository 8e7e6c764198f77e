"""Attempts to log in: counted exactly in SQL while they run, and only those that failed stay.

A thousand wrong passwords at once are a thousand. A thousand right ones at once, as after a restart in front of a build
farm, lock nobody: what is too many at this moment is told to come back in a second.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from registry.core.addresses import address_group
from registry.core.errors import StorageFull, TooManyRequests, WritesClosed
from registry.core.limits import CODE_FAILURES_PER_ACCOUNT
from registry.metadata import logins
from registry.metadata.database import Connection, Database
from registry.metadata.logins import Count
from registry.services.changes import Changes
from registry.services.clock import Clock

BLOCKED_KNOWN = 10_000
ACCOUNT, CODE = "account:", "code:"
"""What subjects begin with: passwords of an account, and its one-time codes. Any other is an address."""
NOT_NOW = (StorageFull, WritesClosed)


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Failed attempts in a window, after which further ones are refused until it is over."""

    per_account: int
    per_address: int
    window_ms: int


@dataclass(slots=True)
class Attempt:
    """One that runs. Unless it is said to have failed it is taken back at its end, however it ends."""

    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """From when until when nothing of a subject is looked at, in ms since 1970 UTC; and the end by the monotonic clock,
    because the other one may be set."""

    began_at: int
    until: int
    until_s: float


class Attempts:
    """Counts. Where the disk is full, or the database is moving, the counters of this process have to do, on top of
    what was written before, so that people can still log in."""

    def __init__(self, database: Database, changes: Changes, clock: Clock, limits: LoginLimits) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._running: Counter[str] = Counter()
        self._blocked: OrderedDict[str, Block] = OrderedDict()
        """Subjects that failed too often."""
        self._unwritten: Counter[str] = Counter()
        """Failures that could not be written."""
        self._log = logging.getLogger("depotry.login")
        changes.on_change.append(self._forget_accounts)

    @asynccontextmanager
    async def one(self, subjects: list[str]) -> AsyncIterator[Attempt]:
        """An attempt of these subjects, from here to the end of the block. Raises TooManyRequests."""
        for subject in subjects:
            self._require_unblocked(subject)
        attempt = Attempt()
        self._running.update(subjects)
        try:
            is_counted = await self._count(subjects)
            try:
                yield attempt
            finally:
                if is_counted:
                    ended = logins.fail if attempt.has_failed else logins.forgive
                    await self.write_if_possible(lambda connection: ended(connection, subjects))
                elif attempt.has_failed:
                    self._unwritten.update(subjects)
        finally:
            self._running.subtract(subjects)
            for subject in subjects:
                if self._running[subject] <= 0:
                    del self._running[subject]

    async def write_if_possible(self, work: Callable[[Connection], None]) -> None:
        """Bookkeeping that no login fails for because nothing can be written. Raises Unavailable."""
        try:
            await self._database.write(work, durable=False)
        except NOT_NOW as error:
            self._log.warning("something about a login could not be written: %s", error.message)

    async def _count(self, subjects: list[str]) -> bool:
        """Whether the attempt is written down. Raises TooManyRequests, and then it is not."""
        now, window_ms = self._clock(), self._limits.window_ms
        try:
            found = await self._database.write(
                lambda connection: logins.count_attempt(connection, subjects, now=now, window_ms=window_ms),
                durable=False,
            )
        except NOT_NOW:
            self._require_few(await self._unwritten_counts(subjects, now), now)
            return False
        try:
            self._require_few(found, now)
        except TooManyRequests:
            await self.write_if_possible(lambda connection: logins.forgive(connection, subjects))
            raise
        self._unwritten.clear()
        return True

    async def _unwritten_counts(self, subjects: list[str], now: int) -> dict[str, Count]:
        """The failures that were written while that was possible, and those of this process since."""
        failed = await self._database.read(
            lambda connection: logins.failures(connection, subjects, now=now, window_ms=self._limits.window_ms)
        )
        totals = {one: failed.get(one, 0) + self._unwritten[one] for one in subjects}
        return {one: Count(total + self._running[one], total, now) for one, total in totals.items()}

    def _require_few(self, found: dict[str, Count], now: int) -> None:
        for subject, count in found.items():
            limit = self._limit(subject)
            if count.attempts <= limit:
                continue
            if count.failed < limit:
                raise TooManyRequests("too many logins at once", retry_after_s=1)
            until = count.since + self._limits.window_ms
            self._blocked[subject] = Block(now, until, monotonic() + (until - now) / 1000)
            if len(self._blocked) > BLOCKED_KNOWN:
                self._blocked.popitem(last=False)
            self._require_unblocked(subject)

    def _limit(self, subject: str) -> int:
        if subject.startswith(ACCOUNT):
            return self._limits.per_account
        return CODE_FAILURES_PER_ACCOUNT if subject.startswith(CODE) else self._limits.per_address

    def _require_unblocked(self, subject: str) -> None:
        """What was refused once in a window costs no more writes until it is over. Raises TooManyRequests."""
        block = self._blocked.get(subject)
        if block is None:
            return
        now = self._clock()
        if monotonic() >= block.until_s or not block.began_at <= now < block.until:
            del self._blocked[subject]
            return
        wait_s = max(1, (block.until - now) // 1000)
        raise TooManyRequests(f"too many failed logins; try again in {wait_s} s", retry_after_s=wait_s)

    def _forget_accounts(self, subjects: set[str]) -> None:
        """An account that got another password, or was enabled, may try again: SQL knows whether."""
        if any(subject.startswith("a") for subject in subjects):
            for subject in [one for one in self._blocked if one.startswith((ACCOUNT, CODE))]:
                del self._blocked[subject]


def of_address(address: str | None) -> str:
    """As the counter names an address."""
    return f"address:{address_group(address)}"


def of_codes(account_id: int) -> str:
    """As the counter names the one-time codes of an account: apart from its password, because a right one of those
    takes its failures back, and so would let somebody who knows it go on guessing codes."""
    return f"{CODE}{account_id}"
