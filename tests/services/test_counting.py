"""Pulls are counted in memory, and written down in batches: what is one, what a batch adds up to, and its failures."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest

from registry.core.digest import Digest
from registry.core.errors import CommitUnknown, Unavailable
from registry.core.limits import INDEXES_REMEMBERED_MS
from registry.core.names import Reference
from registry.metadata import pulls as rows
from registry.metadata import repositories, traffic
from registry.metadata.database import Connection, Database
from registry.metadata.manifests import StoredManifest
from registry.metadata.pulls import TAGS_COUNTED
from registry.services.counting import Counting
from registry.services.pulls import DAY_MS, Ignored, Puller, Pulls, RecentIndexes
from registry.services.traffic import Traffic
from tests.backends import Backend
from tests.core.test_manifest import entry, image, index
from tests.services.conftest import NAME, OTHER, House, by_tag

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ANN = Puller(1, "ann", "192.0.2.1", "docker/28")
BEN = Puller(2, "ben", "192.0.2.1", None)
SOMEBODY = Puller(None, "anonymous", "192.0.2.7", "curl/8")


async def with_image(house: House, *tags: str, **more: Any) -> Digest:
    """An image that was pushed."""
    await house.blob(b"{}")
    await house.blob(b"x")
    return (await house.manifest(image(**more), *tags)).digest


async def pull(house: House, counting: Counting, reference: str | Digest, puller: Puller = ANN) -> None:
    """What a GET does."""
    access = await house.at(NAME)
    wanted = Reference(digest=reference) if isinstance(reference, Digest) else by_tag(reference)
    assert access.id is not None
    counting.pull(access.id, await house.pull.manifest(access, wanted), puller)


async def counts(house: House, day: int = 0) -> dict[str, int]:
    """Pulls of a day by tag or digest; the repository's stand under the empty text."""
    found = await house.rows(f"SELECT tag, digest, pulls FROM pulls WHERE day = {day}")
    return {tag or (str(Digest.unpack(bytes(digest))) if digest else ""): pulls for tag, digest, pulls in found}


async def test_a_pull_counts_for_tags_digest_and_repository(house: House) -> None:
    """By tag or by digest: for every tag that points to it now, for today and for all time."""
    digest = await with_image(house, "v1", "latest")
    other = await with_image(house, "other", annotations={"a": "b"})
    counting = house.counting()
    await pull(house, counting, "v1")
    house.now += 5
    await pull(house, counting, digest, BEN)
    await counting.flush()
    expected = {"": 2, str(digest): 2, "v1": 2, "latest": 2}
    assert await counts(house) == await counts(house, house.now // DAY_MS) == expected
    await pull(house, counting, other)
    house.now += DAY_MS
    await pull(house, counting, digest)
    await counting.flush()
    assert await counts(house) == {"": 4, str(digest): 3, "v1": 3, "latest": 3, str(other): 1, "other": 1}
    assert await counts(house, house.now // DAY_MS) == {"": 1, str(digest): 1, "v1": 1, "latest": 1}
    assert await house.rows("SELECT pull_count, pulled_at FROM repositories") == [(4, house.now)]
    assert await house.rows("SELECT last_at FROM pulls WHERE day = 0 AND tag = 'v1'") == [(house.now,)]


async def test_the_days_of_one_batch_stay_apart(house: House) -> None:
    """What could not be written down before midnight counts for the day on which it was."""
    digest = await with_image(house, "v1")
    counting = house.counting()
    first = house.now // DAY_MS
    await pull(house, counting, "v1")
    house.now += DAY_MS
    await pull(house, counting, "v1")
    await pull(house, counting, "v1")
    await counting.flush()
    assert await counts(house, first) == {"": 1, str(digest): 1, "v1": 1}
    assert await counts(house, first + 1) == {"": 2, str(digest): 2, "v1": 2}
    assert await counts(house) == {"": 3, str(digest): 3, "v1": 3}


async def test_parts_of_an_index_count_for_themselves_alone(house: House) -> None:
    """Who has just pulled an index gets manifests that it names: no pull of the repository, nor of their own tags."""
    child = await with_image(house, "amd64")
    payload_size = len((await house.pull.manifest(await house.at(NAME), by_tag("amd64"))).payload)
    listed = {**entry(), "mediaType": image()["mediaType"], "digest": str(child), "size": payload_size}
    whole = (await house.manifest(index(listed), "v1")).digest
    counting = house.counting()
    await pull(house, counting, "v1")
    await pull(house, counting, child)
    await counting.flush()
    assert await counts(house) == {"": 1, str(whole): 1, "v1": 1, str(child): 1}
    # Somebody else wants the child itself, and so does ann a minute later.
    await pull(house, counting, child, BEN)
    house.now += INDEXES_REMEMBERED_MS
    await pull(house, counting, child)
    await counting.flush()
    assert await counts(house) == {"": 3, str(whole): 1, "v1": 1, str(child): 3, "amd64": 2}


def test_who_is_told_apart_by_account_or_else_by_address() -> None:
    """Two people behind one address are two; nobody in particular is the address."""
    assert ANN.key != BEN.key
    assert SOMEBODY.key == Puller(None, "anonymous", "192.0.2.7", "docker/28").key
    assert SOMEBODY.key != Puller(None, "anonymous", "192.0.2.8", "curl/8").key


@pytest.mark.parametrize(
    ("puller", "is_counted"),
    [
        (ANN, True),
        (BEN, True),
        (SOMEBODY, True),
        (Puller(3, "acme+scanner", None, "docker/28"), False),
        (Puller(3, "acme+scanner2", None, "docker/28"), True),
        (Puller(1, "ann", None, "Trivy/0.60 (linux)"), False),
        (Puller(1, "ann", None, "not-trivy"), True),
        (Puller(1, "ann", None, "flux[1]"), False),
    ],
)
async def test_pollers_are_not_counted(house: House, puller: Puller, is_counted: bool) -> None:
    """By the whole name of the account or the whole User-Agent, with patterns, whatever the case."""
    await with_image(house, "v1")
    counting = house.counting(Ignored(["*+scanner"], ["trivy/*", "flux[[]1]"]))
    await pull(house, counting, "v1", puller)
    await counting.flush()
    assert (await counts(house) != {}) is is_counted


async def test_many_tags_of_one_digest_cost_as_much_as_a_hundred(house: House) -> None:
    """A pull writes a bounded number of rows, however many tags somebody has made."""
    names = [f"t{number:03}" for number in range(TAGS_COUNTED + 50)]
    await with_image(house, *names)
    counting = house.counting()
    await pull(house, counting, "t149")
    await counting.flush()
    found = await counts(house)
    assert sorted(name for name in found if name.startswith("t")) == names[:TAGS_COUNTED]
    assert found[""] == 1


async def test_repositories_and_tags_that_are_gone_do_not_fail_a_batch(house: House) -> None:
    """What was counted for others is written down all the same."""
    digest = await with_image(house, "v1", "v2")
    counting = house.counting()
    await pull(house, counting, "v1")
    await house.remove.manifest(await house.at(NAME), by_tag("v2"))
    pulls = Pulls(house.clock)
    stored = await house.pull.manifest(await house.at(NAME), by_tag("v1"))
    for missing in (999, 1000):
        counting.pull(missing, stored, ANN)
        pulls.count(missing, stored, ANN)
    await counting.flush()
    assert await counts(house) == {"": 1, str(digest): 1, "v1": 1}
    await pull(house, counting, "v1")
    await house.remove.manifest(await house.at(NAME), Reference(digest=digest))
    await counting.flush()
    assert await counts(house) == {"": 2, str(digest): 2, "v1": 1}
    access = await house.at(NAME)
    assert access.id is not None
    counting.pull(access.id, stored, ANN)
    now, repository_id = house.now, access.id
    await house.database.write(lambda connection: repositories.begin_delete(connection, repository_id, now=now))
    await counting.flush()
    assert (await counts(house))[""] == 2


class Told:
    """Notes what became of the counts."""

    def __init__(self) -> None:
        self.wrote = asyncio.Event()
        self.failures = self.lost_pulls = 0

    def written(self, pulls: int) -> None:
        """They are in the database."""
        self.wrote.set()

    def failed(self) -> None:
        """They are not."""
        self.failures += 1

    def lost(self, pulls: int) -> None:
        """And never will be."""
        self.lost_pulls += pulls


class Failing:
    """A database whose next writes fail."""

    def __init__(self, database: Database, *errors: Exception, is_done: bool = False) -> None:
        self._database = database
        self._errors = list(errors)
        self._is_done = is_done
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, query: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Count, and fail."""
        self.writes += 1
        if self._errors:
            if self._is_done:
                await self._database.write(query, durable=durable)
            raise self._errors.pop(0)
        return await self._database.write(query, durable=durable)


async def test_what_the_database_refused_is_written_down_later(house: House) -> None:
    """Nothing is lost, and nothing counts twice."""
    digest = await with_image(house, "v1")
    house.database = Failing(house.database, Unavailable("away"), Unavailable("away"))
    counting = house.counting()
    for _ in range(2):
        await pull(house, counting, "v1")
        await counting.flush()
    assert await counts(house) == {}
    await pull(house, counting, "v1")
    await counting.flush()
    assert await counts(house) == {"": 3, str(digest): 3, "v1": 3}
    assert await house.rows("SELECT value FROM traffic WHERE name = 'pulls' AND hours = 1") == [(3,)]
    await counting.flush()
    assert (await counts(house))[""] == 3


@pytest.mark.parametrize("is_done", [False, True])
async def test_what_may_have_been_written_is_not_written_again(house: House, is_done: bool) -> None:
    """CR-15: a commit without an answer counts as done: rather a few pulls less than twice as many."""
    await with_image(house, "v1")
    database = house.database
    house.database = Failing(database, CommitUnknown("gone"), is_done=is_done)
    counting = house.counting()
    await pull(house, counting, "v1")
    await counting.flush()
    await pull(house, counting, "v1")
    await counting.flush()
    assert (await counts(house))[""] == (2 if is_done else 1)


async def test_memory_is_bounded_while_the_database_is_away(house: House) -> None:
    """I10: so many manifests and no more; what is known goes on to be counted, and the rest is said to be lost."""
    first = await with_image(house, "v1")
    second = await with_image(house, "v2", annotations={"a": "b"})
    third = await with_image(house, "v3", annotations={"a": "c"})
    house.database = Failing(house.database, *[Unavailable("away")] * 3)
    told = Told()
    pulls = Pulls(house.clock, limit=2)
    counting = Counting(house.database, pulls, Traffic(house.clock), every_s=60, observer=told)
    for digest in (first, second, third, first):
        await pull(house, counting, digest)
    for _ in range(3):
        await counting.flush()
    await counting.flush()
    assert (told.failures, told.lost_pulls) == (3, 1)
    assert await counts(house) == {"": 3, str(first): 2, "v1": 2, str(second): 1, "v2": 1}


async def test_a_full_memory_is_written_down_before_its_time(house: House) -> None:
    """And a stop writes down the rest."""
    await with_image(house, "v1")
    observer = Told()
    pulls = Pulls(house.clock, limit=2)
    counting = Counting(house.database, pulls, Traffic(house.clock), every_s=60, observer=observer)
    counting.start()
    await pull(house, counting, "v1")
    await observer.wrote.wait()
    assert (await counts(house))[""] == 1
    await pull(house, counting, "v1", BEN)
    await counting.stop()
    assert (await counts(house))[""] == 2
    await counting.stop()


async def test_recent_indexes_are_bounded() -> None:
    """I10: in bytes for all callers, in number for each; the oldest go first."""
    recent = RecentIndexes(limit_bytes=10_000)
    digests = [Digest.of(b"%d" % number) for number in range(100)]
    for number, digest in enumerate(digests):
        recent.note(("caller", number), str(digest).encode() * 10, now=0)
    assert recent.held_bytes <= 10_000
    assert not recent.name(("caller", 0), digests[0], now=0)
    assert recent.name(("caller", 99), digests[99], now=0)
    for digest in digests:
        recent.note(("one", 1), str(digest).encode(), now=1)
    assert [recent.name(("one", 1), digest, now=1) for digest in digests].count(True) == 8
    recent.note(("big", 1), b"x" * 300_000, now=1)
    assert recent.held_bytes <= 10_000
    recent.forget_old(now=1 + INDEXES_REMEMBERED_MS)
    assert recent.held_bytes == 0


async def test_several_nodes_count_at_once(backend: Backend) -> None:
    """Every pull is there once, whoever counted it; nobody waits for anybody for long."""
    house = House(backend.new())
    await with_image(house, "v1", "v2")
    await house.blob(b"{}", OTHER)
    stored = await house.pull.manifest(await house.at(NAME), by_tag("v1"))
    ids = [(await house.at(name)).id for name in (NAME, OTHER)]
    nodes = [House(backend.again(house.database), now=house.now).counting() for _ in range(3)]

    async def work(counting: Counting, number: int) -> None:
        for step in range(20):
            for repository_id in ids if (step + number) % 2 else reversed(ids):
                assert repository_id is not None
                counting.pull(repository_id, stored, ANN)
            await counting.flush()

    await asyncio.gather(*(work(counting, number) for number, counting in enumerate(nodes)))
    assert await house.rows("SELECT pull_count FROM repositories ORDER BY id") == [(60,), (60,)]
    assert await house.rows("SELECT value FROM traffic WHERE name = 'pulls' AND hours = 1") == [(120,)]


async def test_old_days_are_trimmed_and_all_time_stays(house: House) -> None:
    """In small steps; and so are the hours."""
    await with_image(house, "v1")
    counting = house.counting()
    for _ in range(5):
        await pull(house, counting, "v1")
        house.now += DAY_MS
    await counting.flush()
    today = house.now // DAY_MS
    steps = []
    while step := await house.database.write(lambda each: rows.trim(each, before_day=today - 2, count=4)):
        steps.append(step)
    assert steps == [4, 4, 1]
    assert await house.rows(f"SELECT DISTINCT day FROM pulls WHERE day < {today - 2}") == [(0,)]
    assert (await counts(house))["v1"] == 5
    before = (today - 2) * 24
    for hours in (traffic.HOUR, traffic.DAY):
        assert await house.database.write(partial(traffic.trim, hours=hours, before=before, count=9)) == 3


async def test_counts_of_what_is_gone_are_found(house: House) -> None:
    """Tags and manifests that are no longer there; never a repository."""
    digest = await with_image(house, "v1", "v2")
    counting = house.counting()
    await pull(house, counting, "v1")
    await counting.flush()
    await house.remove.manifest(await house.at(NAME), by_tag("v2"))
    found: list[rows.Key] = []
    after = rows.BEFORE_ALL
    while (page := await house.database.read(partial(rows.walk, after=after, count=2))).last is not None:
        found += page.gone
        after = page.last
    assert [key[1] for key in found] == ["v2"]
    assert await house.database.write(lambda each: rows.forget_keys(each, found)) == 1
    assert set(await counts(house)) == {"", "v1", str(digest)}


async def test_traffic_is_counted_by_the_hour(house: House) -> None:
    """Requests by class, errors, bytes; what could not be written down comes later."""
    counted = Traffic(house.clock)
    counted.request("registry", 200, received=0, sent=10)
    counted.request("registry", 404, received=3, sent=10)
    counted.request("login", 503, received=0, sent=0)
    first = house.now // 3_600_000
    house.now += 3_600_000
    counted.request("registry", 0, received=0, sent=0)
    counting = Counting(house.database, Pulls(house.clock), counted, every_s=60)
    counted.give_back(counted.take())
    await counting.flush()
    counted.request("registry", 200, received=0, sent=1)
    await counting.flush()
    rows_of = "SELECT name, begins, value FROM traffic WHERE hours = "
    found = {(name, hour): value for name, hour, value in await house.rows(f"{rows_of} 1")}
    assert found == {
        ("requests.registry", first): 2,
        ("requests.login", first): 1,
        ("errors.4xx", first): 1,
        ("errors.5xx", first): 1,
        ("bytes.in", first): 3,
        ("bytes.out", first): 20,
        ("requests.registry", first + 1): 2,
        ("bytes.out", first + 1): 1,
    }
    days: Counter[tuple[str, int]] = Counter()
    for (name, hour), value in found.items():
        days[name, hour // 24 * 24] += value
    assert {(name, hour): value for name, hour, value in await house.rows(f"{rows_of} 24")} == days


async def test_a_pull_is_no_write(house: House) -> None:
    """The path of a GET asks the database for the manifest, and for nothing else."""
    await with_image(house, "v1")
    database = Failing(house.database)
    house.database = database
    counting = house.counting()
    for _ in range(100):
        await pull(house, counting, "v1")
    assert database.writes == 0
    await counting.flush()
    assert database.writes == 1
    await counting.flush()
    assert database.writes == 1


def test_counting_does_not_look_at_what_it_counts() -> None:
    """Any bytes will do: nothing is parsed where somebody waits."""
    pulls = Pulls(lambda: 1)
    digest = Digest.of(b"")
    assert pulls.count(1, StoredManifest(digest, "application/vnd.oci.image.index.v1+json", b"\xff\0{"), ANN)
    [counted] = pulls.take()
    assert (counted.repository_id, counted.pulls, counted.parts) == (1, 1, 0)
