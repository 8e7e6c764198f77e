"""The sweep, T11: only what SQL does not know, and only when it was seen twice with two days in between."""

import json
from collections.abc import AsyncIterator

import pytest

from registry.blobstore.base import StoredObject
from registry.blobstore.memory import MemoryStore
from registry.core.digest import Digest
from registry.jobs.sweep import STRANGER_AGE_MS
from registry.jobs.upkeep import COLLECT, SWEEP
from tests.jobs.conftest import work
from tests.services.conftest import LEASE_MS, NAME, House

pytestmark = pytest.mark.anyio


async def stranger(house: House, content: bytes, object_id: int) -> None:
    """An object that SQL has never heard of."""
    session = await house.store.create_upload(f"{object_id:032x}", object_id)
    await session.write([content])
    await session.commit(Digest.of(content))


async def objects(house: House) -> set[int]:
    """The ids of all objects in the store."""
    return {info.object_id async for info in house.store.iter_objects()}


async def test_strangers_go_after_two_sightings(house: House) -> None:
    """A sighting alone removes nothing, nor two that are close to each other."""
    await house.blob(b"known")
    await stranger(house, b"unknown", 7_000)
    strange_upload = await house.store.create_upload("f" * 32, 7_001)
    await strange_upload.suspend()
    for _ in range(2):
        did = await work(house, SWEEP)
        assert (did["listed"], did.get("removed")) == (2, None)
        house.now += STRANGER_AGE_MS // 2
    did = await work(house, SWEEP)
    assert (did["removed"], did["removed_bytes"], did["uploads_removed"]) == (1, 7, 1)
    assert await objects(house) == {1}
    assert [upload async for upload in house.store.iter_uploads()] == []
    [(result,)] = await house.rows("SELECT result FROM jobs WHERE kind = 'sweep'")
    assert json.loads(result)["strangers"] == {}


async def test_what_sql_knows_stays(house: House) -> None:
    """Live, dead and waiting, being uploaded: each for as long as it has a row."""
    await house.blob(b"dead")
    house.now += LEASE_MS + 1
    await work(house, COLLECT)
    await house.blob(b"live")
    await house.upload(b"open")
    for _ in range(4):
        await work(house, SWEEP)
        house.now += STRANGER_AGE_MS
    assert len(await objects(house)) == 2
    assert len([upload async for upload in house.store.iter_uploads()]) == 1
    assert await house.content(Digest.of(b"live")) == b"live"


async def test_an_upload_that_is_held_stays(house: House) -> None:
    """Somebody is at it, whoever that may be."""
    session = await house.store.create_upload("f" * 32, 7_001)
    for _ in range(2):
        assert "uploads_removed" not in await work(house, SWEEP)
        house.now += STRANGER_AGE_MS
    await session.abort()


async def test_an_id_that_was_given_out_again(house: House) -> None:
    """After a return to an older database one id may name two contents: the one that is not served is a stranger."""
    await house.blob(b"served")
    await stranger(house, b"of the time before", 1)
    for _ in range(2):
        await work(house, SWEEP)
        house.now += STRANGER_AGE_MS
    assert [info.digest async for info in house.store.iter_objects()] == [Digest.of(b"served")]


class LateStore(MemoryStore):
    """A store in which an upload ends, from its first row to its last commit, while the list is made."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house = house

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """As any, and then one more."""
        async for found in super().iter_objects():
            yield found
        digest = await self.house.blob(b"just now")
        [(object_id,)] = await self.house.rows(f"SELECT object_id FROM blobs WHERE digest = x'{digest.pack().hex()}'")
        yield StoredObject(object_id, 8, digest)


async def test_the_store_is_listed_before_sql_is_asked(house: House) -> None:
    """What came into being meanwhile is known by then: no clock is needed for that."""
    house.store = LateStore(house)
    await house.blob(b"old")
    await work(house, SWEEP)
    [(result,)] = await house.rows("SELECT result FROM jobs WHERE kind = 'sweep'")
    assert json.loads(result)["strangers"] == {}
    assert (await house.at(NAME)).id is not None
