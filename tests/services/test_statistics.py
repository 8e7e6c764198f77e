"""What pages and the API show of how much there is and what happens."""

from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown, NameUnknown
from registry.core.names import Reference, RepositoryName, Tag
from registry.metadata import usage
from registry.metadata.usage import Sample, Totals
from registry.services.counting import Counting
from registry.services.pulls import DAY_MS, Pulls
from registry.services.statistics import Ranking, Statistics, Step
from registry.services.traffic import HOUR_MS, Traffic
from tests.core.test_manifest import encoded, entry, image, index
from tests.jobs.conftest import work
from tests.services.conftest import NAME, OTHER, House
from tests.services.test_counting import ANN, BEN, counts, pull, with_image

pytestmark = pytest.mark.anyio


def statistics(house: House) -> Statistics:
    """The questions."""
    return Statistics(house.database, house.clock)


async def test_totals_are_those_of_the_last_sample(house: House) -> None:
    """Nothing before the first; then accounts, repositories, tags and bytes, whoever has them."""
    assert await statistics(house).totals() == Totals()
    await with_image(house, "v1", "v2")
    await house.blob(b"x", OTHER)
    await work(house, "tally")
    await house.database.write(lambda each: each.execute(text("UPDATE repositories SET visibility = 'public'")))
    await work(house, "sample-usage")
    found = await statistics(house).totals()
    size = len(encoded(image())) + 3
    newest = (await house.rows("SELECT max(id) FROM audit"))[0][0]
    expected = Totals(
        public=2, tags=2, blobs=2, size_bytes=size, stored_bytes=3, measured_at=house.now, newest_change=newest
    )
    assert found == expected


async def test_storage_by_day_and_namespace(house: House) -> None:
    """The largest ones by name and the rest as one; days on which nothing was measured are empty."""
    house.now = 100 * DAY_MS
    for number, name in enumerate(("big", "mid", "tiny"), 1):
        account = {"id": number, "name": name}
        await house.database.write(
            lambda each, account=account: each.execute(  # type: ignore[misc]
                text(
                    "INSERT INTO accounts (id, name, canonical, kind, is_admin, created_at)"
                    " VALUES (:id, :name, :name, 'organization', false, 0)"
                ),
                account,
            )
        )
    for day, factor in ((97, 1), (98, 2), (100, 4)):
        samples = [
            Sample(usage.ALL, 4, 9, 111 * factor, 80 * factor),
            Sample(usage.INSTANCE, 1, 0, 10 * factor),
            Sample(1, 1, 5, 70 * factor),
            Sample(2, 1, 3, 30 * factor),
            Sample(3, 1, 1, factor),
        ]
        await house.database.write(lambda each, day=day, samples=samples: usage.write(each, day, samples))  # type: ignore[misc]
    found = await statistics(house).storage(days=3, top=3)
    assert (found.first_day, found.size, found.stored) == (98, [222, None, 444], [160, None, 320])
    shown = [(one.name, one.tags, one.size_bytes, one.days) for one in found.namespaces]
    assert shown == [
        ("big", 5, 280, [140, None, 280]),
        ("mid", 3, 120, [60, None, 120]),
        (None, 0, 40, [20, None, 40]),
    ]
    assert found.rest_bytes == 4
    nothing = await statistics(House(house.database, now=500 * DAY_MS)).storage(days=2, top=0)
    assert (nothing.size, nothing.namespaces, nothing.rest_bytes) == ([None, None], [], 0)


async def test_traffic_by_hour_and_by_day(house: House) -> None:
    """The current step included, what is older left out, nothing is zero."""
    house.now = 50 * DAY_MS + HOUR_MS
    traffic = Traffic(house.clock)
    counting = Counting(house.database, Pulls(house.clock), traffic, every_s=60)
    for _ in range(4):
        traffic.request("registry", 404, received=5, sent=7)
        house.now += HOUR_MS
    await counting.flush()
    by_hour = await statistics(house).flow(Step.HOUR, count=4)
    assert (by_hour.begins, by_hour.values["errors.4xx"]) == (50 * 24 + 2, [1, 1, 1, 0])
    assert set(by_hour.values) == {"requests.registry", "errors.4xx", "bytes.in", "bytes.out"}
    by_day = await statistics(house).flow(Step.DAY, count=2)
    assert (by_day.begins, by_day.values["bytes.out"]) == (49 * 24, [0, 28])


async def test_repositories_are_ranked(house: House) -> None:
    """Those that are deleted are left out, private and public ones are one list."""
    for number in range(4):
        await house.blob(b"x", RepositoryName(f"team/app{number}"))
    await house.database.write(
        lambda each: each.execute(
            text(
                "UPDATE repositories SET pull_count = id, size_bytes = 100 - id,"
                " visibility = CASE WHEN id IN (2, 4) THEN 'public' ELSE 'private' END,"
                " deleted_at = CASE WHEN id = 3 THEN 1 END"
            )
        )
    )
    by_pulls = await statistics(house).top(Ranking.PULLS, count=2)
    assert [(one.name, one.pulls) for one in by_pulls] == [("team/app3", 4), ("team/app1", 2)]
    by_size = await statistics(house).top(Ranking.SIZE, count=9)
    assert [one.size_bytes for one in by_size] == [99, 98, 96]


async def test_pulls_of_a_repository_and_a_tag(house: House) -> None:
    """By day, with the days on which there was none; the tags that lead, and the parts of an index."""
    child = await with_image(house, "amd64")
    size = len((await house.pull.manifest(await house.at(NAME), Reference(digest=child))).payload)
    listed = {**entry(), "mediaType": image()["mediaType"], "digest": str(child), "size": size}
    listed["platform"] = {"os": "linux", "architecture": "amd64"}
    whole = (await house.manifest(index(listed), "v1", "latest")).digest
    counting = house.counting()
    for _ in range(3):
        await pull(house, counting, "v1")
        await pull(house, counting, child)
        house.now += 2 * DAY_MS
    await pull(house, counting, "amd64", BEN)
    await counting.flush()
    access, asked = await house.at(NAME), statistics(house)
    found = await asked.of_repository(access, days=4)
    assert (found.pulled.pulls, found.pulled.last_at) == (4, house.now)
    assert (found.days.first, found.days.values) == (house.now // DAY_MS - 3, [0, 1, 0, 1])
    assert [(one.tag, one.pulled.pulls) for one in found.tags] == [("v1", 3), ("latest", 3), ("amd64", 1)]
    tag = await asked.of_tag(access, Tag("v1"), days=365)
    assert (tag.digest, sum(tag.days.values)) == (whole, 3)
    assert [(part.digest, part.platform, part.pulled.pulls) for part in tag.parts] == [(child, "linux/amd64", 4)]
    assert (await counts(house))[str(child)] == 4
    with pytest.raises(ManifestUnknown):
        await asked.of_tag(access, Tag("none"), days=3)
    with pytest.raises(NameUnknown):
        await asked.of_repository(await house.at(RepositoryName("team/none")), days=3)
    never = await asked.of_tag(access, Tag("amd64"), days=1)
    assert never.parts == []


async def test_jobs_are_told_with_what_they_did(house: House) -> None:
    """Figures only: what a run remembers for the next one is left out."""
    await house.blob(b"x")
    await work(house, "tally")
    await work(house, "sample-usage")
    found = {report.kind: report for report in await statistics(house).jobs()}
    assert found["tally"].did == {"repositories": 1}
    assert found["sample-usage"].did == {"namespaces": 1}
    assert found["collect"].finished_at is None


async def test_each_question_is_a_few_statements(house: House) -> None:
    """At most three, whatever is stored."""
    await with_image(house, "v1")
    counting = house.counting()
    await pull(house, counting, "v1", ANN)
    await counting.flush()
    access, asked = await house.at(NAME), statistics(house)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: Any) -> None:
        if not statement.startswith(("BEGIN", "COMMIT")):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        for question in (
            asked.totals(),
            asked.storage(days=90, top=7),
            asked.flow(Step.HOUR, count=48),
            asked.top(Ranking.PULLS, count=10),
            asked.jobs(),
            asked.of_repository(access, days=30),
            asked.of_tag(access, Tag("v1"), days=30),
        ):
            statements.clear()
            await question
            assert 1 <= len(statements) <= 3, statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_sample_follows_changes_and_then_rests(house: House) -> None:
    """A minute after the last one, if the audit has grown or something waited for the tally; else not."""
    from registry.jobs import sample

    async def is_wanted() -> bool:
        return await house.database.point(lambda each: sample.is_wanted(each, house.now))

    assert await is_wanted()
    await with_image(house, "v1")
    await work(house, "sample-usage")
    assert not await is_wanted()
    house.now += sample.AGAIN_MS
    assert await is_wanted()
    await work(house, "tally")
    await work(house, "sample-usage")
    house.now += sample.AGAIN_MS
    assert not await is_wanted()
    await house.remove.manifest(await house.at(NAME), Reference(digest=Digest.of(encoded(image()))))
    assert await is_wanted()
