"""The list of what a repository holds, by digest: what is in it, and that it does not grow."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, text
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.core.names import Reference, Tag
from registry.metadata import artifacts
from registry.metadata.artifacts import TAGS_MAX, Query
from registry.metadata.schema import manifest_children, manifests, tags
from tests.backends.postgresql import Cluster
from tests.metadata.conftest import migrated
from tests.metadata.test_access import counted
from tests.metadata.test_plans import read_by
from tests.metadata.worlds import of_size
from tests.reliability.test_growth import RATIO_LIMIT

FEW, MANY = 100, 10_000
PAGE = 10
REPOSITORY = 1
ROWS_LIMIT = 400
PARTS = 3
FIRST = 1_000_000


def digest(number: int) -> bytes:
    """One of many."""
    return Digest.of(b"%d" % number).pack()


def fill(connection: Connection, count: int) -> None:
    """So many images of one repository, each an index with three parts and a referrer, every second one with a tag, and
    the newest with as many tags as there are images."""
    row: dict[str, Any] = {"repository_id": REPOSITORY, "payload_size": 2, "total_size": 2, "payload": b"{}"}
    row |= {"pushed_at": 0, "depth": 0}
    rows, edges = [], []
    for number in range(0, count * (PARTS + 2), PARTS + 2):
        top = number + PARTS
        for place in range(PARTS + 2):
            kind = OCI_INDEX if place == PARTS else OCI_MANIFEST
            subject = digest(top) if place == PARTS + 1 else None
            own = {"id": FIRST + number + place, "digest": digest(number + place)}
            rows.append({**row, **own, "media_type": kind, "subject_digest": subject})
        edge = {"parent_id": FIRST + top, "repository_id": REPOSITORY, "size": 2}
        edges += [{**edge, "digest": digest(top - n), "child_id": FIRST + top - n} for n in range(1, PARTS + 1)]
    connection.execute(insert(manifests), rows)
    connection.execute(insert(manifest_children), edges)
    tag = {"repository_id": REPOSITORY, "version": 1, "updated_at": 0}
    tops = [one["id"] for one in rows if one["media_type"] == OCI_INDEX]
    named = [{**tag, "name": f"v{number:05}", "manifest_id": tops[number]} for number in range(0, count, 2)]
    named += [{**tag, "name": f"also{number:05}", "manifest_id": tops[-1]} for number in range(count)]
    connection.execute(insert(tags), named)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """A small repository and a big one, on SQLite."""
    folder: Path = tmp_path_factory.mktemp("artifacts")
    made = {count: migrated(folder / f"{count}.db", of_size(10, 1)) for count in (FEW, MANY)}
    for count, engine in made.items():
        with engine.begin() as connection:
            fill(connection, count)
    yield made
    for engine in made.values():
        engine.dispose()


@pytest.fixture(scope="module")
def big(cluster: Cluster) -> Iterator[Engine]:
    """The big one, on PostgreSQL."""
    name = cluster.migrated()
    engine = create_engine(cluster.url(name))
    with engine.begin() as connection:
        of_size(10, 1).write(connection)
        fill(connection, MANY)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    yield engine
    engine.dispose()
    cluster.drop(name)


CALLS: dict[str, Callable[[Connection], object]] = {
    "page": lambda c: artifacts.page(c, REPOSITORY, Query(count=PAGE)),
    "page behind another": lambda c: artifacts.page(c, REPOSITORY, Query(count=PAGE, before=FIRST + 300)),
    "page of those with tags": lambda c: artifacts.page(c, REPOSITORY, Query(count=PAGE, is_tagged=True)),
    "page of those without": lambda c: artifacts.page(c, REPOSITORY, Query(count=PAGE, is_tagged=False)),
    "that of a tag": lambda c: artifacts.page(c, REPOSITORY, Query(count=PAGE, tag="v00010")),
    "number": lambda c: artifacts.count(c, REPOSITORY, Query(), at_most=2 * PAGE),
    "digest of a tag": lambda c: artifacts.digest_of(c, REPOSITORY, Reference(tag=Tag("v00010"))),
    "one": lambda c: artifacts.find(c, REPOSITORY, Reference(tag=Tag("v00010"))),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_does_not_grow(sizes: dict[int, Engine], name: str) -> None:
    """I10: with 10,000 images in a repository a page costs what it costs with a hundred, in two statements."""
    few, many = counted(sizes[FEW], CALLS[name]), counted(sizes[MANY], CALLS[name])
    assert len(many.statements) == len(few.statements) <= 2
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW}, {many.steps} with {MANY}"


@pytest.mark.parametrize("name", CALLS)
def test_only_what_is_asked_for_is_read(big: Engine, name: str) -> None:
    """I10, on PostgreSQL: no step of an answer reads more than a few pages."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        asked.append((statement, parameters))

    with big.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        CALLS[name](connection)
        event.remove(connection, "before_cursor_execute", note)
        for statement, parameters in asked:
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            for step, rows in read_by(explained.scalar_one()[0]["Plan"]):
                assert rows <= ROWS_LIMIT, f"{step} looks at {rows} rows for {statement}"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_stands_for_itself_is_listed(request: pytest.FixtureRequest, engine: str) -> None:
    """Neither parts nor referrers; newest first, page behind page; with parts, and no more tags than are shown."""
    opened = request.getfixturevalue("sizes")[MANY] if engine == "sqlite" else request.getfixturevalue("big")
    with opened.connect() as connection:
        page = artifacts.page(connection, REPOSITORY, Query(count=3))
        assert {one.media_type for one in page} == {OCI_INDEX}
        assert [len(one.platforms) for one in page] == [PARTS] * 3
        assert [len(one.tags) for one in page] == [TAGS_MAX, 1, 0]
        following = artifacts.page(connection, REPOSITORY, Query(count=1, before=page[-1].id))
        assert [one.id for one in following] == [page[-1].id - PARTS - 2]
        # The world has put one more into it.
        assert artifacts.count(connection, REPOSITORY, Query(), at_most=2 * MANY) == MANY + 1
        assert artifacts.count(connection, REPOSITORY, Query(is_tagged=False), at_most=2 * MANY) == MANY // 2
        (tagged,) = artifacts.page(connection, REPOSITORY, Query(tag="v00010"))
        assert artifacts.find(connection, REPOSITORY, Reference(digest=tagged.digest)) == tagged
        part = artifacts.find(connection, REPOSITORY, Reference(digest=Digest.unpack(digest(0))))
        assert part is not None and part.tags == ()
        assert artifacts.find(connection, REPOSITORY, Reference(tag=Tag("none"))) is None
