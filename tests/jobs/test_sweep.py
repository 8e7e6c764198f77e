"""The sweep, T11: only what SQL does not know, and only when it was seen twice with two days in between."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from registry.blobstore.base import OBJECT_ID_MAX, ObjectKey, StoredObject
from registry.blobstore.memory import MemoryStore
from registry.core.digest import Digest
from registry.jobs import sweep
from registry.jobs.sweep import STRANGER_AGE_MS
from registry.jobs.upkeep import COLLECT, SWEEP
from registry.metadata import blobs, installation
from registry.metadata.database import Connection
from registry.metadata.postgresql import PostgresqlDatabase
from tests.backends.postgresql import PostgresqlBackend
from tests.jobs.conftest import work
from tests.running import wait_until
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
        [(object_id,)] = await self.house.rows("SELECT object_id FROM blobs WHERE size = 8")
        yield StoredObject(object_id, 8, digest)


async def test_the_store_is_listed_before_sql_is_asked(house: House) -> None:
    """What came into being meanwhile is known by then: no clock is needed for that."""
    house.store = LateStore(house)
    await house.blob(b"old")
    await work(house, SWEEP)
    [(result,)] = await house.rows("SELECT result FROM jobs WHERE kind = 'sweep'")
    assert json.loads(result)["strangers"] == {}
    assert (await house.at(NAME)).id is not None


def set_back(connection: Connection) -> None:
    """As a return to a backup in which one object is known."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval(pg_get_serial_sequence('objects', 'id'), 1)"))
    else:
        connection.execute(text("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'objects'"))


async def test_ids_go_on_behind_what_is_stored(house: House) -> None:
    """After a return to an older database: no id is given out again that the store has an object of."""
    await house.blob(b"known")
    await stranger(house, b"of the time before", 7_000)
    await work(house, SWEEP)
    await house.blob(b"new")
    [(newest,)] = await house.rows("SELECT max(id) FROM objects")
    assert newest == 7_001 + installation.IDS_SKIPPED
    await work(house, SWEEP)
    await house.blob(b"newer")
    assert await house.rows("SELECT max(id) FROM objects") == [(newest + 1,)], "once is enough"


async def test_ids_do_not_go_on_behind_what_nobody_can_have_counted_to(house: House) -> None:
    """There would be none left, and what has a higher name than ids can have is none of ours."""
    await stranger(house, b"foreign", OBJECT_ID_MAX)
    await work(house, SWEEP)
    await house.blob(b"new")
    [(newest,)] = await house.rows("SELECT max(id) FROM objects")
    assert newest < installation.IDS_SKIPPED


class PlainStore(MemoryStore):
    """A store whose names are ids alone, as in S3. Something happens at the end of a list."""

    def __init__(self, listed: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.listed = listed

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """As any, without the digests."""
        async for found in super().iter_objects():
            yield StoredObject(found.object_id, found.size, None)
        await self.listed()

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Whatever is under that name."""
        async for found in super().iter_objects():
            if found.object_id == object_id:
                await super().delete(object_id, found.digest)


@dataclass
class Return:
    """A house whose database is set back, and has a stranger of the next id that is ripe. `then` happens while the
    next sweep lists the store."""

    house: House
    then: Callable[[], Awaitable[object]] | None = None

    async def prepare(self) -> None:
        """Without any id being skipped, as if the stranger had been seen before."""
        self.house.store = PlainStore(self._listed)
        await self.house.blob(b"known")
        await stranger(self.house, b"of the time before", 2)
        await work(self.house, SWEEP)
        self.house.now += STRANGER_AGE_MS
        await self.house.database.write(set_back)

    async def _listed(self) -> None:
        if self.then is not None:
            await self.then()


async def test_a_stranger_whose_id_was_given_out_since_the_list_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its name there is something new by now."""
    monkeypatch.setattr(sweep, "LOOKED_UP_AT_ONCE", 1)
    back = Return(house)
    await back.prepare()
    back.then = lambda: house.blob(b"new")
    assert "removed" not in await work(house, SWEEP)
    assert await house.rows("SELECT max(id) FROM objects") == [(2,)]
    assert await house.content(Digest.of(b"new")) == b"new"


async def test_a_stranger_whose_id_is_given_out_right_now_stays(postgresql_backend: PostgresqlBackend) -> None:
    """The id is drawn, and nobody sees its row yet: the sweep waits for that. (SQLite has one writer at a time.)"""
    database = postgresql_backend.new()
    assert isinstance(database, PostgresqlDatabase)
    house = House(database)
    await Return(house).prepare()
    is_drawn, go_on = threading.Event(), threading.Event()

    def draw(connection: Connection) -> int:
        object_id = blobs.begin(connection, now=house.now)
        is_drawn.set()
        assert go_on.wait(30)
        return object_id

    drawing = asyncio.ensure_future(database.write(draw))
    await asyncio.to_thread(is_drawn.wait, 30)
    sweeping = asyncio.ensure_future(work(house, SWEEP))

    def waits() -> bool:
        with postgresql_backend.cluster.connect(str(database.url.database)) as connection:
            return connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is not None

    await asyncio.to_thread(wait_until, lambda: sweeping.done() or waits())
    go_on.set()
    assert await drawing == 2
    assert "removed" not in await sweeping
    assert await house.store.stat(ObjectKey(Digest.of(b"of the time before"), 2)) is not None


class CountingStore(MemoryStore):
    """A store that knows how many uploads have been listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = 0
        self.removed_after: list[int] = []

    async def iter_uploads(self) -> AsyncIterator[str]:
        """As any, counted."""
        async for found in super().iter_uploads():
            self.listed += 1
            yield found

    async def remove_upload(self, upload_id: str) -> None:
        """As any; notes the count."""
        self.removed_after.append(self.listed)
        await super().remove_upload(upload_id)


async def test_uploads_are_swept_in_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, no more than a page of them is held."""
    monkeypatch.setattr(sweep, "LOOKED_UP_AT_ONCE", 2)
    store = house.store = CountingStore()
    for number in range(5):
        await (await store.create_upload(f"{number:032x}", number)).suspend()
    await work(house, SWEEP)
    house.now += STRANGER_AGE_MS
    store.listed = 0
    assert (await work(house, SWEEP))["uploads_removed"] == 5
    assert store.removed_after == [2, 2, 4, 4, 5]
