"""The tally: what lists show of a repository is what it holds, some seconds after it has changed."""

from typing import Any

import pytest
from sqlalchemy import text, update

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import Reference, RepositoryName, Tag
from registry.jobs import sample, trim
from registry.jobs import tally as tally_job
from registry.jobs.runner import Runner
from registry.jobs.upkeep import jobs_of
from registry.metadata import repositories, tally
from registry.metadata.database import Connection
from registry.metadata.schema import repositories as repository_rows
from registry.metadata.tally import DELAY_MS, MANIFESTS_PER_MS, Due, Holding
from registry.services.pulls import DAY_MS, Puller
from registry.services.push import ManifestPush
from tests.core.test_manifest import CONFIG, encoded, entry, image, index
from tests.jobs.conftest import GRACES, work
from tests.services.conftest import NAME, OTHER, House

pytestmark = pytest.mark.anyio

SHOWN = ("tag_count", "manifest_count", "size_bytes", "shared_bytes", "star_count", "pull_count", "pushed_at")
ANN = Puller(1, "ann", None, None)


async def change(house: House, name: RepositoryName = NAME) -> None:
    """What every change of a repository does to it."""

    def due(connection: Connection) -> None:
        connection.execute(
            update(repository_rows).where(repository_rows.c.name == name).values(tally_at=tally.again(house.now))
        )

    await house.database.write(due)


async def shown(house: House, name: RepositoryName = NAME) -> dict[str, Any]:
    """What a list shows of a repository."""
    [row] = await house.rows(f"SELECT {', '.join(SHOWN)} FROM repositories WHERE name = '{name}'")
    return dict(zip(SHOWN, row, strict=True))


async def facets(house: House, name: RepositoryName = NAME) -> set[tuple[str, str]]:
    """What a repository can be found by."""
    rows = await house.rows(
        f"""SELECT kind, value FROM repository_facets f JOIN repositories r ON r.id = f.repository_id
        WHERE name = '{name}'"""
    )
    return {(kind, value) for kind, value in rows}


async def push(house: House, document: dict[str, Any], *tags: str, name: RepositoryName = NAME) -> Digest:
    """A manifest with blobs of its own, into any repository."""
    payload = encoded(document)
    media_type = document.get("mediaType", OCI_MANIFEST)
    wanted = ManifestPush(payload, media_type, tuple(Tag(tag) for tag in tags), Digest.of(payload))
    return (await house.push.manifest(await house.at(name), wanted)).digest


def size(*documents: dict[str, Any]) -> int:
    """Bytes of manifests."""
    return sum(len(encoded(document)) for document in documents)


def child(digest: Digest, document: dict[str, Any], platform: str) -> dict[str, Any]:
    """What an index says of a manifest."""
    system, architecture, *variant = platform.split("/")
    described = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
    return {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": size(document), "platform": described}


async def test_a_repository_is_counted_from_what_it_holds(house: House) -> None:
    """Each blob once, with the manifests; blobs that no manifest uses are not of it."""
    for content in (b"{}", b"x", b"layer two", b"in no use"):
        await house.blob(content)
    first, second = image(), image(layers=[entry(), entry("layer two")])
    await push(house, first, "v1", "v2")
    digest = await push(house, second, "v3")
    pushed = house.now
    house.now += 2 * DELAY_MS
    counting = house.counting()
    repository_id = (await house.at(NAME)).id
    assert repository_id is not None
    stored = await house.pull.manifest(await house.at(NAME), Reference(digest=digest))
    counting.pull(repository_id, stored, ANN)
    await counting.flush()
    await house.database.write(lambda each: each.execute(text("UPDATE repositories SET pull_count = 77")))
    assert await work(house, "tally") == {"repositories": 1}
    expected = {"tag_count": 3, "manifest_count": 2, "size_bytes": size(first, second) + 2 + 1 + 9}
    expected |= {"shared_bytes": 0, "star_count": 0, "pull_count": 1, "pushed_at": pushed}
    assert await shown(house) == expected
    assert await work(house, "tally") == {}
    await house.remove.manifest(await house.at(NAME), Reference(digest=digest))
    await change(house)
    assert await work(house, "tally") == {}
    house.now += 2 * DELAY_MS
    assert await work(house, "tally") == {"repositories": 1}
    assert await shown(house) == {**expected, "tag_count": 2, "manifest_count": 1, "size_bytes": size(first) + 3}


async def test_what_is_shared_is_known_to_both(house: House) -> None:
    """The second repository to show a blob has the first one counted again; the third changes nothing for them."""
    third = RepositoryName("team/third")
    names = (NAME, OTHER, third)
    for number, name in enumerate(names):
        for content in (b"{}", b"x", b"own %d" % number):
            await house.blob(content, name)
        await push(house, image(layers=[entry(), entry(f"own {number}")]), "v1", name=name)
        await change(house, name)
        house.now += 2 * DELAY_MS
        counted = 0
        while did := await work(house, "tally"):
            counted += did["repositories"]
        # The second is counted once more because of the first, and finds nothing new.
        assert counted == (3 if number == 1 else 1)
        for each in names[: number + 1]:
            assert (await shown(house, each))["shared_bytes"] == (3 if number else 0)


async def test_facets_are_of_what_has_a_tag(house: House) -> None:
    """Artifact types and platforms; of an index those of its parts, with and without their variants."""
    config = b'{"os":"linux","architecture":"arm64","variant":"v8"}'
    await house.blob(config)
    await house.blob(b"x")
    part = image(config={**entry("", CONFIG), "digest": str(Digest.of(config)), "size": len(config)})
    chart = image(artifactType="application/vnd.example.chart")
    await house.blob(b"{}")
    digest = await push(house, part)
    await push(house, index(child(digest, part, "linux/arm64/v8")), "v1")
    await push(house, chart, "chart")
    signature = image(artifactType="application/vnd.example.signature", subject=child(digest, part, "linux/arm64"))
    await push(house, signature)
    await work(house, "tally")
    platforms = {("platform", "linux/arm64/v8"), ("platform", "linux/arm64")}
    of_index = {("artifact", CONFIG), *platforms}
    assert await facets(house) == {("artifact", "application/vnd.example.chart"), *of_index}
    await house.remove.manifest(await house.at(NAME), Reference(tag=Tag("chart")))
    await change(house)
    house.now += 2 * DELAY_MS
    await work(house, "tally")
    assert await facets(house) >= of_index
    await house.remove.manifest(await house.at(NAME), Reference(tag=Tag("v1")))
    await change(house)
    house.now += 2 * DELAY_MS
    await work(house, "tally")
    assert await facets(house) == set()


async def test_many_pages_add_up_to_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the steps are."""
    documents = []
    for number in range(7):
        await house.blob(b"layer %d" % number)
        await house.blob(b"{}")
        documents.append(image(layers=[entry(f"layer {number}")]))
        await push(house, documents[-1], f"v{number}")
    for rows in (2_000, 7, 3, 1):
        monkeypatch.setattr(tally_job, "ROWS_PER_STEP", rows)
        await house.database.write(lambda each: each.execute(text("UPDATE repositories SET tally_at = 0")))
        assert await work(house, "tally") == {"repositories": 1}
        found = await shown(house)
        assert (found["manifest_count"], found["tag_count"]) == (7, 7)
        assert found["size_bytes"] == size(*documents) + 7 * len("layer 0") + 2


async def test_a_change_meanwhile_is_not_lost(house: House) -> None:
    """What is written then leaves the number of tags alone, and the repository is counted once more."""
    await house.blob(b"{}")
    await house.blob(b"x")
    await push(house, image(), "v1")
    await change(house)
    [due] = await house.database.read(lambda each: tally.due(each, now=house.now + DELAY_MS, count=9))
    holding = Holding(tags=1, manifests=1, size_bytes=5)
    now = house.now
    await change(house)
    await house.database.write(lambda each: each.execute(text("UPDATE repositories SET tag_count = 2")))
    written = await house.database.write(lambda each: tally.write(each, due, holding, now=now))
    assert written is not None and not written.is_current
    assert (await shown(house))["tag_count"] == 2
    house.now += 2 * DELAY_MS
    await work(house, "tally")
    assert (await shown(house))["tag_count"] == 1
    assert await house.rows("SELECT tally_at FROM repositories") == [(None,)]
    gone = Due(999, 0)
    assert await house.database.write(lambda each: tally.write(each, gone, Holding(), now=now)) is None


async def test_a_large_repository_waits_longer(house: House) -> None:
    """So that it does not keep a processor busy: a hundred thousand manifests, eleven seconds."""
    await house.blob(b"x")
    await house.database.write(
        lambda each: each.execute(text("UPDATE repositories SET manifest_count = 100000, tally_at = NULL"))
    )
    await change(house)
    expected = house.now + DELAY_MS + 100_000 // MANIFESTS_PER_MS
    assert await house.rows("SELECT tally_at FROM repositories") == [(expected,)]
    house.now += 10
    await change(house)
    assert await house.rows("SELECT tally_at FROM repositories") == [(expected + 1,)]


async def test_tags_get_the_keys_that_they_lack(house: House) -> None:
    """In steps; those that have one keep it."""
    await house.blob(b"{}")
    await house.blob(b"x")
    await push(house, image(), *(f"v{number}" for number in range(5)))
    await house.database.write(lambda each: each.execute(text("UPDATE tags SET version_key = NULL")))
    await house.database.write(
        lambda each: each.execute(text("UPDATE tags SET version_key = 'known' WHERE name = 'v3'"))
    )
    steps = []
    while step := await house.database.write(lambda each: tally.give_version_keys(each, 1, str.upper, count=3)):
        steps.append(step)
    assert steps == [3, 1]
    found = dict(await house.rows("SELECT name, version_key FROM tags"))
    assert found == {"v0": "V0", "v1": "V1", "v2": "V2", "v3": "known", "v4": "V4"}


async def test_it_begins_when_something_is_due_and_only_then(house: House) -> None:
    """An idle registry is asked one question every few seconds, and nothing is written."""
    runner = Runner(house.database, jobs_of(house.store, GRACES), house.clock)
    await runner.look()
    await runner.settle()
    before = await house.rows("SELECT * FROM jobs ORDER BY kind")
    house.now += 900
    assert await runner.look() == []
    assert await house.rows("SELECT * FROM jobs ORDER BY kind") == before
    await house.blob(b"x")
    assert await runner.look() == ["tally"]
    await runner.settle()
    assert await runner.look() == []
    await change(house)
    assert await runner.look() == []
    house.now += 2 * DELAY_MS
    assert "tally" in await runner.look()
    await runner.settle()


async def test_all_are_counted_again_now_and_then(house: House) -> None:
    """What others share changes without a change of one's own."""
    for number in range(3):
        await house.blob(b"x", RepositoryName(f"team/app{number}"))
    await work(house, "tally")
    assert await work(house, "tally-all") == {"repositories": 3}
    assert await work(house, "tally") == {"repositories": 3}


async def test_a_repository_that_is_being_deleted_is_not_counted(house: House) -> None:
    """And its counts go with it, in steps."""
    await house.blob(b"{}")
    await house.blob(b"x")
    await push(house, image(), "v1")
    access = await house.at(NAME)
    assert access.id is not None
    counting = house.counting()
    counting.pull(access.id, await house.pull.manifest(access, Reference(tag=Tag("v1"))), ANN)
    await counting.flush()
    repository_id, now = access.id, house.now
    await house.database.write(lambda each: repositories.begin_delete(each, repository_id, now=now))
    assert await work(house, "tally") == {}
    await work(house, "finish-deletes")
    assert await house.rows("SELECT * FROM pulls") == []
    assert await house.rows("SELECT * FROM repositories") == []


async def test_usage_is_sampled_once_a_day(house: House) -> None:
    """The last measure of a day stands; all of it, and each namespace; what has no owner is the instance's."""
    await house.blob(b"{}")
    await house.blob(b"x")
    await push(house, image(), "v1")
    await work(house, "tally")
    await house.database.write(
        lambda each: each.execute(
            text(
                "INSERT INTO accounts (id, name, canonical, kind, is_admin, created_at)"
                " VALUES (7, 'team', 'team', 'user', false, 0)"
            )
        )
    )
    await house.database.write(lambda each: each.execute(text("UPDATE repositories SET namespace_id = 7")))
    await house.blob(b"yy", OTHER)
    day = house.now // DAY_MS
    for _ in range(2):
        assert await work(house, "sample-usage") == {"namespaces": 2}
    held = size(image()) + 3
    expected = {(day, 0, 2, 1, held, 5), (day, -1, 1, 0, 0, 0), (day, 7, 1, 1, held, 0)}
    columns = "day, namespace_id, repositories, tags, size_bytes, stored_bytes"
    assert set(await house.rows(f"SELECT {columns} FROM usage")) == expected
    house.now += DAY_MS
    await work(house, "sample-usage")
    assert len(await house.rows("SELECT * FROM usage")) == 6


async def test_what_is_old_is_trimmed(house: House) -> None:
    """Days, hours and samples; and what was counted for a tag or manifest that is gone."""
    await house.blob(b"{}")
    await house.blob(b"x")
    digest = await push(house, image(), "v1", "v2")
    access = await house.at(NAME)
    assert access.id is not None
    counting = house.counting()
    counting.pull(access.id, await house.pull.manifest(access, Reference(digest=digest)), ANN)
    await counting.flush()
    await work(house, "sample-usage")
    await house.remove.manifest(access, Reference(tag=Tag("v2")))
    assert await work(house, "trim-counts") == {"walked": 4, "gone": 1}
    house.now += (trim.DAYS_KEPT + 1) * DAY_MS
    assert await work(house, "trim-counts") == {"walked": 3, "days": 4, "traffic": 2, "samples": 2}
    found = await house.rows("SELECT tag, pulls FROM pulls WHERE day = 0 ORDER BY tag")
    assert found == [("", 1), ("", 1), ("v1", 1)]


def test_a_day_is_a_day_everywhere() -> None:
    """Samples, trims and pulls mean the same days."""
    assert sample.DAY_MS == trim.DAY_MS == DAY_MS
