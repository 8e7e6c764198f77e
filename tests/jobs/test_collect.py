"""Collection: T8, T9, and the races of CR-26 and CR-27, one order after the other.

Whatever the order, an image that got its answer has its blobs, and a push that is too late is refused.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from registry.blobstore.base import BlobInfo, ObjectKey
from registry.blobstore.memory import MemoryStore
from registry.core.digest import Digest
from registry.core.errors import BlobUnknown, ReferencesUnknown, Unavailable
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import Reference
from registry.jobs.upkeep import COLLECT, REMOVE_DEAD, REVIEW_ALL
from registry.metadata import collection, repositories
from registry.services.push import References
from registry.services.uploads import Chunk
from tests.core.test_manifest import encoded, entry, image, index
from tests.jobs.conftest import GRACES, collect_all, work
from tests.services.conftest import LEASE_MS, NAME, OTHER, House, body, by_tag

pytestmark = pytest.mark.anyio

CONFIG_BLOB, LAYER_BLOB = b"{}", b"x"
LAYER = Digest.of(LAYER_BLOB)
"""What `image()` refers to."""
OVER = LEASE_MS + 1
"""Any lease ends within this many ms."""


async def with_blobs(house: House) -> None:
    """Push what `image()` refers to."""
    await house.blob(CONFIG_BLOB)
    await house.blob(LAYER_BLOB)


async def stored(house: House) -> list[bytes]:
    """The content of everything that the store holds, sorted."""
    keys = [ObjectKey(info.digest, info.object_id) async for info in house.store.iter_objects() if info.digest]
    readers = [await house.store.open(key) for key in keys]
    return sorted([b"".join([piece async for piece in each.chunks(0, each.info.size)]) for each in readers])


async def delete(house: House, digest: Digest) -> None:
    """Delete a manifest."""
    await house.remove.manifest(await house.at(NAME), Reference(digest=digest))


async def test_what_nothing_refers_to_goes_when_its_lease_is_over(house: House) -> None:
    """T8, T9: not before; then its links, its row, and after the grace its bytes."""
    await house.blob(b"alone")
    await house.blob(b"alone", OTHER)
    house.now += LEASE_MS
    assert (await work(house, COLLECT)).get("collected", 0) == 0
    await house.content(Digest.of(b"alone"))
    house.now += 1
    did = await work(house, COLLECT)
    assert (did["collected"], did["collected_bytes"]) == (1, 5)
    for name in (NAME, OTHER):
        with pytest.raises(BlobUnknown):
            await house.content(Digest.of(b"alone"), name)
    assert await house.rows("SELECT count(*) FROM blobs UNION ALL SELECT count(*) FROM repository_blobs") == [(0,)] * 2
    house.now += GRACES.removal_grace_ms
    assert await work(house, REMOVE_DEAD) == {}
    assert await stored(house) == [b"alone"]
    house.now += 1
    assert await work(house, REMOVE_DEAD) == {"removed": 1, "removed_bytes": 5}
    assert await stored(house) == []
    assert await house.rows("SELECT * FROM objects") == []


async def test_what_a_manifest_uses_stays(house: House) -> None:
    """Reviewed once, and then left alone until the manifest goes: no round looks at what is in use again."""
    await with_blobs(house)
    pushed = await house.manifest(image(), "v1")
    house.now += OVER
    assert await work(house, COLLECT) == {"reviewed": 2, "collected": 0, "collected_bytes": 0}
    house.now += OVER
    assert await work(house, COLLECT) == {}
    await delete(house, pushed.digest)
    house.now += OVER
    assert (await work(house, COLLECT))["collected"] == 2
    assert await house.rows("SELECT * FROM blobs") == []


async def test_the_last_of_two_users(house: House) -> None:
    """A shared blob goes with the second manifest, whichever repository or manifest that is in."""
    await with_blobs(house)
    first = await house.manifest(image(), "v1")
    second = await house.manifest(image(annotations={"a": "b"}), "v2")
    await delete(house, first.digest)
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == sorted([CONFIG_BLOB, LAYER_BLOB])
    await delete(house, second.digest)
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == []


async def test_a_delete_has_blobs_reviewed_whose_lease_is_long_enough(house: House) -> None:
    """T7: the lease of a blob says nothing about who looks at it when it is over."""
    await with_blobs(house)
    pushed = await house.manifest(image())
    house.now += OVER
    await work(house, COLLECT)
    await house.blob(LAYER_BLOB)
    await house.rows("SELECT 1")
    await house.database.write(lambda connection: connection.exec_driver_sql("UPDATE blobs SET review_at = NULL"))
    await delete(house, pushed.digest)
    assert await house.rows("SELECT count(*) FROM blobs WHERE review_at = protect_until") == [(2,)]


@pytest.mark.parametrize("wait_ms", [0, LEASE_MS // 2])
async def test_a_head_keeps_a_blob_for_half_a_lease(house: House, wait_ms: int) -> None:
    """CR-26, I3: HEAD 200 on a blob whose lease is all but over, then collection, then the manifest: 201."""
    await with_blobs(house)
    house.now += LEASE_MS
    for digest in (LAYER, Digest.of(CONFIG_BLOB)):
        await house.pull.stat_blob(await house.at(NAME), digest)
    house.now += wait_ms
    await collect_all(house)
    await house.manifest(image(), "v1")
    house.now += OVER
    await collect_all(house)
    assert await house.content(LAYER) == LAYER_BLOB


async def test_a_head_on_a_blob_in_use_keeps_it_too(house: House) -> None:
    """CR-26, P4: HEAD writes nothing there, and the delete that takes the last reference lengthens the lease."""
    await with_blobs(house)
    other = await house.manifest(image(annotations={"a": "b"}))
    house.now += OVER
    await collect_all(house)
    assert (await house.pull.stat_blob(await house.at(NAME), LAYER)).referenced
    await delete(house, other.digest)
    house.now += LEASE_MS // 2
    await collect_all(house)
    await house.manifest(image(), "v1")
    assert await house.content(LAYER) == LAYER_BLOB


async def test_a_push_that_is_too_late_is_refused(house: House) -> None:
    """CR-26, I2: HEAD 200, a lease and more, collection, then the manifest: 404 with the names, never 201."""
    await with_blobs(house)
    house.now += OVER
    await collect_all(house)
    with pytest.raises(ReferencesUnknown) as caught:
        await house.manifest(image(), "v1")
    assert len(caught.value.facts["missing"]) == 2
    await with_blobs(house)
    await house.manifest(image(), "v1")
    assert await house.content(LAYER) == LAYER_BLOB


async def test_collection_and_a_mount(house: House) -> None:
    """CR-27: a mount before collection keeps the blob, one after it finds nothing and links nothing."""
    await house.blob(b"mounted")
    await house.blob(b"not mounted")
    house.now += OVER
    source = await house.source(NAME)
    assert await house.uploads.mount(await house.at(OTHER), Digest.of(b"mounted"), source)
    await collect_all(house)
    assert await house.content(Digest.of(b"mounted"), OTHER) == b"mounted"
    assert not await house.uploads.mount(await house.at(OTHER), Digest.of(b"not mounted"), source)
    assert await house.rows("SELECT count(*) FROM repository_blobs") == [(2,)]
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == []


Pause = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Pausing(MemoryStore):
    """A store in which something happens in the middle of an operation, once."""

    before_stat: list[Pause] = field(default_factory=list)
    before_delete: list[Pause] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """As any."""
        found = await super().stat(key)
        if self.before_stat:
            await self.before_stat.pop()()
        return found

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """As any."""
        if self.before_delete:
            await self.before_delete.pop()()
        await super().delete(object_id, digest)


async def test_collection_and_an_upload_of_the_same(house: House) -> None:
    """CR-27: collected after the bytes were sent and before the last request, which then brings a new object."""
    await house.blob(b"same")
    upload_id = await house.upload(b"same")
    house.now += OVER
    await work(house, COLLECT)
    await house.uploads.finish(await house.at(NAME), upload_id, Digest.of(b"same"), Chunk(body()))
    assert await house.content(Digest.of(b"same")) == b"same"
    await collect_all(house)
    assert await house.content(Digest.of(b"same")) == b"same"
    assert await stored(house) == [b"same"]


async def test_collection_in_the_middle_of_a_commit(house: House) -> None:
    """CR-27: collected and removed between the look at the old object and the transaction that names the new one."""
    house.store = Pausing()
    await house.blob(b"same")
    house.now += OVER
    house.store.before_stat.append(lambda: collect_all(house))
    await house.blob(b"same")
    assert await house.content(Digest.of(b"same")) == b"same"
    assert await stored(house) == [b"same"]
    assert await house.rows("SELECT state FROM objects") == [("live",)]


async def test_a_late_delete_hits_nothing_new(house: House) -> None:
    """CR-28, P1: the same content is pushed again while the removal of its old object is under way."""
    house.store = Pausing()
    await house.blob(b"same")
    house.now += OVER
    await work(house, COLLECT)

    async def push_again() -> None:
        await house.blob(b"same")

    house.store.before_delete.append(push_again)
    await collect_all(house)
    assert await house.content(Digest.of(b"same")) == b"same"
    assert await stored(house) == [b"same"]


@pytest.mark.parametrize("references", [References.SPARSE_INDEX, References.STRICT])
async def test_collection_and_an_index(house: House, references: References) -> None:
    """CR-27: the blobs of an untagged child stay while it waits for its index, and after."""
    house.references = references
    await with_blobs(house)
    payload = encoded(image())
    child = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(payload)), "size": len(payload)}
    await house.manifest(image())
    house.now += OVER
    await collect_all(house)
    await house.manifest(index(child), "all")
    house.now += OVER
    await collect_all(house)
    assert await house.content(LAYER) == LAYER_BLOB


async def test_collection_and_an_index_over_a_blob(house: House) -> None:
    """Decision 2: a child that is no manifest is a blob edge, and keeps the blob like any other."""
    house.references = References.STRICT
    await house.blob(b"cache")
    cache = {**entry(), "mediaType": "application/vnd.example.cache", "digest": str(Digest.of(b"cache")), "size": 5}
    pushed = await house.manifest(index(cache), "cache")
    house.now += OVER
    await collect_all(house)
    assert await house.content(Digest.of(b"cache")) == b"cache"
    await delete(house, pushed.digest)
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == []


async def test_collection_and_a_referrer(house: House) -> None:
    """CR-27: a signature's blobs stay with it, also when its subject goes."""
    await with_blobs(house)
    subject = await house.manifest(image(), "v1")
    await house.blob(b"signature")
    signature = {**entry(), "digest": str(Digest.of(b"signature")), "size": 9}
    named = {"mediaType": OCI_MANIFEST, "digest": str(subject.digest), "size": len(encoded(image()))}
    house.now += LEASE_MS - 1
    await collect_all(house)
    await house.manifest(image(layers=[signature], subject=named))
    await delete(house, subject.digest)
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == sorted([CONFIG_BLOB, b"signature"])


async def test_collection_and_a_tag_for_an_untagged_manifest(house: House) -> None:
    """CR-27: without tags a manifest stays, and so do its blobs: a tag that comes later finds all of it."""
    await with_blobs(house)
    await house.manifest(image(), "v1")
    await house.remove.manifest(await house.at(NAME), by_tag("v1"))
    house.now += OVER
    await collect_all(house)
    await house.manifest(image(), "v2")
    house.now += OVER
    await collect_all(house)
    assert await house.content(LAYER) == LAYER_BLOB


async def test_an_edge_that_is_filled_later_keeps_its_blob(house: House) -> None:
    """Decision 2: an upload, and a mount, that bring what a manifest was waiting for."""
    house.references = References.OFF
    await house.manifest(image(), "v1")
    await house.blob(LAYER_BLOB)
    await house.blob(CONFIG_BLOB, OTHER)
    await house.uploads.mount(await house.at(NAME), Digest.of(CONFIG_BLOB), await house.source(OTHER))
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == sorted([CONFIG_BLOB, LAYER_BLOB])


async def test_a_deleted_repository_gives_its_space_back(house: House) -> None:
    """T7 for all of it at once: leases are lengthened for who has just seen a blob elsewhere, then everything goes."""
    await with_blobs(house)
    await house.uploads.mount(await house.at(OTHER), LAYER, await house.source(NAME))
    await house.manifest(image(), "v1")
    house.now += OVER
    await collect_all(house)
    await house.pull.stat_blob(await house.at(OTHER), LAYER)
    repository_id = (await house.at(NAME)).id
    assert repository_id is not None
    await house.database.write(lambda connection: repositories.begin_delete(connection, repository_id, now=house.now))
    assert (await work(house, "finish-deletes"))["repositories"] == 1
    house.now += LEASE_MS // 2
    await collect_all(house)
    assert await house.content(LAYER, OTHER) == LAYER_BLOB
    house.now += OVER
    await collect_all(house)
    assert await stored(house) == []


async def test_a_healed_blob_leaves_no_old_bytes(house: House) -> None:
    """CR-31: the object that was swapped out is dead, and goes after the grace."""
    digest = await house.blob(b"content")
    [(object_id,)] = await house.rows("SELECT object_id FROM blobs")
    await house.database.write(
        lambda connection: connection.exec_driver_sql("UPDATE objects SET corrupt_at = 1").rowcount
    )
    await house.blob(b"content")
    assert await house.rows("SELECT count(*) FROM objects WHERE state = 'dead'") == [(1,)]
    house.now += GRACES.removal_grace_ms + 1
    assert (await work(house, REMOVE_DEAD))["removed"] == 1
    assert [info.object_id async for info in house.store.iter_objects()] != [object_id]
    assert await house.content(digest) == b"content"


async def test_the_full_review_finds_what_nobody_marked(house: House) -> None:
    """What the previous version leaves behind: a reference that went without a review."""
    await with_blobs(house)
    await house.blob(b"used")
    used = {**entry(), "digest": str(Digest.of(b"used")), "size": 4}
    await house.manifest(image(layers=[used]), "v1")
    house.now += OVER
    await collect_all(house)
    await with_blobs(house)
    await house.database.write(lambda connection: connection.exec_driver_sql("UPDATE blobs SET review_at = NULL"))
    house.now += OVER
    page = await house.database.read(lambda connection: collection.walk(connection, after=b"", count=10))
    assert (page.count, page.forgotten) == (3, [LAYER.pack()])
    await house.database.write(lambda connection: collection.review_again(connection, page.forgotten))
    assert (await work(house, COLLECT))["collected"] == 1
    assert await work(house, REVIEW_ALL) == {"walked": 2}


class Failing(MemoryStore):
    """A store that cannot delete some objects."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[int], bool] = lambda _: True
        self.asked = 0

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """As any, or Unavailable."""
        self.asked += 1
        if self.refuses(object_id):
            raise Unavailable("the store does not answer")
        await super().delete(object_id, digest)


async def test_a_store_that_fails_keeps_its_rows(house: House) -> None:
    """T9: nothing is forgotten that is still there; a store that is down is not asked for everything."""
    store = house.store = Failing()
    for number in range(200):
        await house.blob(str(number).encode())
    house.now += OVER
    await work(house, COLLECT)
    with pytest.raises(Unavailable):
        await work(house, REMOVE_DEAD, replace(GRACES, removal_grace_ms=-1))
    assert store.asked < 100
    assert await house.rows("SELECT count(*) FROM objects") == [(200,)]
    store.refuses = lambda object_id: object_id % 10 == 0
    with pytest.raises(Unavailable):
        await work(house, REMOVE_DEAD, replace(GRACES, removal_grace_ms=-1))
    assert await house.rows("SELECT count(*) FROM objects") == [(20,)]
    store.refuses = lambda _: False
    assert (await work(house, REMOVE_DEAD, replace(GRACES, removal_grace_ms=-1)))["removed"] == 20


async def test_the_account(house: House) -> None:
    """What `depotry gc --dry-run` prints, for one of each."""
    await with_blobs(house)
    pushed = await house.manifest(image(), "v1")
    await house.blob(b"collectable")
    await house.blob(b"dead")
    house.now += OVER
    await house.pull.stat_blob(await house.at(NAME), Digest.of(b"collectable"))
    await work(house, COLLECT)
    house.now += LEASE_MS
    await house.blob(b"leased")
    await house.upload(b"unfinished")
    house.now += 1

    def account(connection: Any) -> collection.Account:
        return collection.account(connection, now=house.now, dead_before=house.now - LEASE_MS)

    found = await house.database.read(account)
    assert (found.live, found.live_bytes) == (4, 2 + 1 + 11 + 6)
    assert (found.referenced, found.referenced_bytes) == (2, 3)
    assert (found.leased, found.leased_bytes, found.leased_until) == (1, 6, house.now - 1 + LEASE_MS)
    assert (found.collectable, found.collectable_bytes) == (1, 11)
    assert (found.dead, found.dead_bytes, found.removable, found.removable_bytes) == (1, 4, 1, 4)
    assert (found.uploads, found.uploads_bytes, found.uploads_expired) == (1, 10, 0)
    await delete(house, pushed.digest)
    assert (await house.database.read(account)).leased == 3
