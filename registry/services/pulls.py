"""Which requests are pulls, and how many there were: in memory, without a wait or a write where a manifest is read.

A GET of a manifest that is answered with its bytes is a pull of the manifest, of the tags that point to it, and of the
repository. A HEAD is not, and neither is an answer that nothing has changed. Who pulls an index gets manifests that it
names right after it: those are pulls of these manifests alone.
"""

import fnmatch
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from registry.core.digest import Digest
from registry.core.limits import (
    INDEX_REMEMBERED_MAX_BYTES,
    INDEXES_PER_CALLER,
    INDEXES_REMEMBERED_BYTES,
    INDEXES_REMEMBERED_MS,
    PULLS_KEPT,
)
from registry.core.manifest import is_index
from registry.metadata.manifests import StoredManifest
from registry.metadata.pulls import Counted
from registry.services.clock import Clock

DAY_MS = 86_400_000
_OVERHEAD_BYTES = 512
"""What it costs to remember an index beside its bytes."""


class Puller(NamedTuple):
    """Who sent a request: its account, or where it came from, and the program as it calls itself."""

    account_id: int | None
    name: str
    address: str | None
    agent: str | None

    @property
    def key(self) -> object:
        """What tells one from another."""
        return self.address if self.account_id is None else self.account_id


class Ignored:
    """Programs that look again and again without anybody wanting the image: their pulls are not counted."""

    def __init__(self, users: Iterable[str] = (), agents: Iterable[str] = ()) -> None:
        """Patterns with `*`, `?` and `[…]`, whatever the case: of names of accounts, and of the whole User-Agent."""
        self._users = _any_of(users)
        self._agents = _any_of(agents)

    def has(self, puller: Puller) -> bool:
        """Whether it is one of them."""
        if self._users is not None and self._users.fullmatch(puller.name):
            return True
        return self._agents is not None and puller.agent is not None and bool(self._agents.fullmatch(puller.agent))


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    texts = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(texts), re.IGNORECASE) if texts else None


@dataclass(slots=True)
class _Count:
    pulls: int = 0
    parts: int = 0
    last_at: int = 0


@dataclass(slots=True)
class _Seen:
    """Indexes that one caller has pulled from one repository: until when each counts, and its bytes."""

    indexes: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return _OVERHEAD_BYTES + sum(len(payload) for _, payload in self.indexes)


class RecentIndexes:
    """The indexes that callers have just pulled, as many as fit into a few megabytes."""

    def __init__(self, limit_bytes: int = INDEXES_REMEMBERED_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._seen: OrderedDict[tuple[object, int], _Seen] = OrderedDict()
        self.held_bytes = 0

    def note(self, caller: tuple[object, int], payload: bytes, *, now: int) -> None:
        """The caller (who, and in which repository) has pulled this index."""
        if len(payload) > INDEX_REMEMBERED_MAX_BYTES:
            return
        seen = self._seen.pop(caller, None)
        if seen is None:
            seen = _Seen()
        else:
            self.held_bytes -= seen.size
        known = [one for one in seen.indexes if one[0] > now and one[1] != payload]
        seen.indexes = [*known[1 - INDEXES_PER_CALLER :], (now + INDEXES_REMEMBERED_MS, payload)]
        self._seen[caller] = seen
        self.held_bytes += seen.size
        while self.held_bytes > self._limit_bytes:
            self._forget_oldest()

    def name(self, caller: tuple[object, int], digest: Digest, *, now: int) -> bool:
        """Whether one of those that the caller has just pulled names a digest."""
        seen = self._seen.get(caller)
        if seen is None:
            return False
        text = str(digest).encode()
        return any(until > now and text in payload for until, payload in seen.indexes)

    def forget_old(self, *, now: int) -> None:
        """Let go of those whose time is over."""
        while self._seen and next(iter(self._seen.values())).indexes[-1][0] <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, seen = self._seen.popitem(last=False)
        self.held_bytes -= seen.size


class Pulls:
    """Pulls since they were taken last. Only for the event loop's thread."""

    def __init__(self, clock: Clock, ignored: Ignored | None = None, *, limit: int = PULLS_KEPT) -> None:
        """`limit`: of how many manifests and days pulls are kept; what is beyond is lost, and counted in `lost`."""
        self._clock = clock
        self._ignored = ignored or Ignored()
        self._limit = limit
        self._counts: dict[tuple[int, Digest, int], _Count] = {}
        self._recent = RecentIndexes()
        self.lost = 0

    def count(self, repository_id: int, manifest: StoredManifest, puller: Puller) -> bool:
        """A manifest was read; returns whether that is a pull of the repository."""
        if self._ignored.has(puller):
            return False
        now = self._clock()
        caller = (puller.key, repository_id)
        is_part = self._recent.name(caller, manifest.digest, now=now)
        if is_index(manifest.media_type):
            self._recent.note(caller, manifest.payload, now=now)
        key = (repository_id, manifest.digest, now // DAY_MS)
        count = self._counts.get(key)
        if count is None:
            self._add(key, _Count(int(not is_part), int(is_part), now))
            return not is_part
        count.pulls += not is_part
        count.parts += is_part
        count.last_at = now
        return not is_part

    def take(self) -> list[Counted]:
        """What was counted; it is forgotten here."""
        taken, self._counts = self._counts, {}
        self._recent.forget_old(now=self._clock())
        return [
            Counted(repository_id, digest.pack(), day, count.pulls, count.parts, count.last_at)
            for (repository_id, digest, day), count in taken.items()
        ]

    def give_back(self, taken: list[Counted]) -> None:
        """Count what was taken once more: it could not be written down."""
        for one in taken:
            key = (one.repository_id, Digest.unpack(one.digest), one.day)
            self._add(key, _Count(one.pulls, one.parts, one.last_at))

    @property
    def is_half_full(self) -> bool:
        """Whether it is time to write them down."""
        return len(self._counts) * 2 >= self._limit

    def _add(self, key: tuple[int, Digest, int], more: _Count) -> None:
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= self._limit:
                self.lost += more.pulls + more.parts
                return
            self._counts[key] = more
            return
        count.pulls += more.pulls
        count.parts += more.parts
        count.last_at = max(count.last_at, more.last_at)
