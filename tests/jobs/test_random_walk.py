"""I2, I3, I8: many steps of pushing, looking, mounting, deleting, waiting and collecting, in any order.

After each step: every manifest has its blobs with their bytes, every promise that was given less than half a lease ago
holds, and every blob that nothing refers to has a review. At the end everything goes.
"""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from registry.blobstore.base import ObjectKey
from registry.core.digest import Digest
from registry.core.errors import BlobInUse, BlobUnknown, NameUnknown, ReferencesUnknown
from registry.core.names import Reference, RepositoryName
from registry.jobs.runner import Runner
from registry.jobs.upkeep import ROUND, jobs_of
from tests.core.test_manifest import entry, image
from tests.jobs.conftest import GRACES, INVARIANT, collect_all
from tests.services.conftest import LEASE_MS, NAME, OTHER, House

pytestmark = pytest.mark.anyio

STEPS = 300
CONTENTS = [f"content {number}".encode() for number in range(8)]


@dataclass
class Walk:
    """What the walker knows of the house."""

    house: House
    rng: random.Random
    manifests: dict[Digest, list[bytes]] = field(default_factory=dict)
    promised: dict[Digest, int] = field(default_factory=dict)
    """When the last positive answer about a blob of NAME was given."""
    number: int = 0

    def __post_init__(self) -> None:
        jobs = jobs_of(self.house.store, replace(GRACES, removal_grace_ms=-1))
        self.runner = Runner(self.house.database, jobs, self.house.clock)

    async def upload(self, content: bytes | None = None, name: RepositoryName | None = None) -> None:
        """To either repository."""
        name = name or self.rng.choice([NAME, OTHER])
        digest = await self.house.blob(content or self.rng.choice(CONTENTS), name)
        if name == NAME:
            self.promised[digest] = self.house.now

    async def look(self, content: bytes | None = None) -> None:
        """HEAD."""
        digest = Digest.of(content or self.rng.choice(CONTENTS))
        try:
            await self.house.pull.stat_blob(await self.house.at(NAME), digest)
        except (BlobUnknown, NameUnknown):
            return
        self.promised[digest] = self.house.now

    async def mount(self) -> None:
        """From the other repository."""
        digest = Digest.of(self.rng.choice(CONTENTS))
        if await self.house.uploads.mount(await self.house.at(NAME), digest, await self.house.source(OTHER)):
            self.promised[digest] = self.house.now

    async def push(self) -> None:
        """A manifest over some blobs, there or not."""
        self.number += 1
        config, *layers = self.rng.sample(CONTENTS, self.rng.randrange(2, 5))
        if self.rng.random() < 0.5:
            for content in (config, *layers):
                await self.look(content)
                if self.promised.get(Digest.of(content)) != self.house.now:
                    await self.upload(content, NAME)
            if self.rng.random() < 0.5:
                await self.wait()
                await self.collect()
        document = image(
            layers=[{**entry(), "digest": str(Digest.of(each)), "size": len(each)} for each in layers],
            annotations={"number": str(self.number)},
        )
        document["config"] = {**document["config"], "digest": str(Digest.of(config)), "size": len(config)}
        try:
            pushed = await self.house.manifest(document, "latest")
        except ReferencesUnknown as refused:
            for named in refused.facts["missing"]:
                since = self.promised.get(Digest.parse(named), -LEASE_MS)
                assert self.house.now - since > LEASE_MS // 2, "a blob is missing whose promise still holds"
            return
        self.manifests[pushed.digest] = [config, *layers]

    async def delete(self) -> None:
        """A manifest."""
        if self.manifests:
            digest = self.rng.choice(list(self.manifests))
            del self.manifests[digest]
            await self.house.remove.manifest(await self.house.at(NAME), Reference(digest=digest))

    async def unlink(self) -> None:
        """A blob, if nothing uses it: then no promise holds any more."""
        digest = Digest.of(self.rng.choice(CONTENTS))
        try:
            await self.house.remove.blob(await self.house.at(NAME), digest)
        except (BlobInUse, BlobUnknown, NameUnknown):
            return
        self.promised.pop(digest, None)

    async def wait(self) -> None:
        """A moment, or long."""
        self.house.now += self.rng.choice([1, LEASE_MS // 4, LEASE_MS // 2, LEASE_MS, 3 * LEASE_MS])

    async def collect(self) -> None:
        """A round."""
        for kind in ROUND:
            await self.runner.run_now(kind)

    async def check(self) -> None:
        """What has to hold always."""
        assert await self.house.rows(INVARIANT) == [(0,)]
        for contents in self.manifests.values():
            for content in contents:
                assert await self.house.content(Digest.of(content)) == content
        for digest, since in self.promised.items():
            if self.house.now - since <= LEASE_MS // 2:
                assert Digest.of(await self.house.content(digest)) == digest


@pytest.mark.parametrize("number", range(3))
async def test_any_order(house: House, number: int) -> None:
    """A seed of its own each time; it is printed."""
    seed = random.SystemRandom().randrange(2**32) + number
    print(f"seed {seed}")
    walk = Walk(house, random.Random(seed))
    steps: list[Callable[[], Coroutine[Any, Any, None]]] = [
        walk.upload,
        walk.look,
        walk.mount,
        walk.push,
        walk.push,
        walk.delete,
        walk.unlink,
        walk.wait,
        walk.collect,
    ]
    for _ in range(STEPS):
        await walk.rng.choice(steps)()
        await walk.check()
    assert await house.rows("SELECT count(*) > 0 FROM tag_history") == [(1,)]
    used = {Digest.of(content) for contents in walk.manifests.values() for content in contents}
    house.now += 2 * LEASE_MS
    await collect_all(house)
    assert {info.digest async for info in house.store.iter_objects()} == used
    while walk.manifests:
        await walk.delete()
    house.now += 2 * LEASE_MS
    await collect_all(house)
    assert await house.rows("SELECT count(*) FROM objects") == [(0,)]
    assert [ObjectKey(info.digest, 0) async for info in house.store.iter_objects() if info.digest] == []
