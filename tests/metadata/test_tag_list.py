"""Lists of tags cost with 100,000 tags in a repository what they cost with 100. Counted in steps of SQLite's machine;
`test_plans` looks at what PostgreSQL does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.core.names import Reference, Tag
from registry.core.versions import version_key
from registry.metadata import manifest_details, referrer_tree, sqlite, tag_changes, tag_list
from registry.metadata.schema import (
    manifest_children,
    manifests,
    repositories,
    tag_history,
    tags,
)
from registry.metadata.sqlite import SqliteDatabase
from registry.metadata.tag_list import Order, Position, Query
from tests.reliability.test_growth import RATIO_LIMIT, Counted, listening

FEW, MANY = 200, 100_000
PAGE = 100
STATEMENTS_MAX = 2
"""And one more, for the number of tags."""
PARTS = 3
SUBJECT = Digest.of(b"referred to")
TAGS_EACH = 2


def fill(connection: Connection, count: int) -> None:
    """One repository with `count` tags, two on each index of three parts, of which the odd ones are not held."""
    connection.execute(insert(repositories), {"id": 1, "name": "a", "created_at": 0, "tag_count": count})
    row = {"repository_id": 1, "payload_size": 2, "total_size": 9, "depth": 1, "pushed_at": 0, "payload": b"{}"}
    whole = [
        {"id": n, "digest": Digest.of(b"i%d" % n).pack(), "media_type": OCI_INDEX, **row}
        for n in range(count // TAGS_EACH)
    ]
    subject = SUBJECT.pack()
    referrers = [
        {"digest": Digest.of(b"r%d" % n).pack(), "media_type": OCI_MANIFEST, "subject_digest": subject, **row}
        for n in range(count + 100)
    ]
    part = {"id": 10**6, "digest": Digest.of(b"part").pack(), "media_type": OCI_MANIFEST, **row}
    connection.execute(insert(manifests), [*whole, part])
    connection.execute(insert(manifests), [{"id": 10**7 + n, **one} for n, one in enumerate(referrers)])
    edge = {"repository_id": 1, "size": 2, "platform": "linux/amd64"}
    parts = [
        {"parent_id": one["id"], "digest": Digest.of(b"p%d" % n).pack(), "child_id": None if n % 2 else 10**6, **edge}
        for one in whole
        for n in range(PARTS)
    ]
    connection.execute(insert(manifest_children), parts)
    names = [f"1.{n}" if n % 2 else f"build-{n}" for n in range(count)]
    rows = [
        {
            "repository_id": 1,
            "name": name,
            "manifest_id": n // TAGS_EACH,
            "version": 1,
            "updated_at": n // 3,
            "version_key": version_key(name),
        }
        for n, name in enumerate(names)
    ]
    connection.execute(insert(tags), rows)
    change = {"repository_id": 1, "version": 1, "changed_at": 0, "digest": whole[0]["digest"]}
    connection.execute(insert(tag_history), [{"name": name, **change} for name in names])
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """Databases with few and with many tags."""
    found = {}
    for count in (FEW, MANY):
        database = SqliteDatabase(tmp_path_factory.mktemp("tags") / "registry.db")
        database.migrate()
        found[count] = sqlite.writing_engine(database.url, synchronous="NORMAL")
        database.close()
        with found[count].begin() as connection:
            fill(connection, count)
    yield found
    for engine in found.values():
        engine.dispose()


def page(**wanted: Any) -> Callable[[Connection], object]:
    """A page from the middle of the list with few."""

    def read(connection: Connection) -> object:
        found = tag_list.page(connection, 1, Query(count=PAGE, **wanted))
        assert len(found.entries) == PAGE or "digest" in wanted
        return found

    return read


WORK: dict[str, Callable[[Connection], object]] = {
    "by name": page(after=Position(None, "1.1")),
    "by name, backwards": page(descending=True),
    "newest": page(order=Order.PUSHED, descending=True),
    "oldest": page(order=Order.PUSHED, after=Position(2, "")),
    "versions": page(order=Order.VERSION, after=Position("", "")),
    "newest versions": page(order=Order.VERSION, descending=True),
    "of a digest": page(digest=Digest.of(b"i7")),
    "one": lambda connection: tag_list.get(connection, 1, "1.7"),
    "a manifest": lambda connection: manifest_details.find(connection, 1, Reference(tag=Tag("1.7"))),
    "a manifest with referrers": lambda connection: manifest_details.look(connection, 1, 3, SUBJECT),
    "a manifest and its pieces": lambda connection: manifest_details.known(connection, 3),
    "referrers": lambda connection: referrer_tree.walk(connection, 1, SUBJECT),
    "history of one": lambda connection: tag_changes.of_tag(connection, 1, "1.7", before=None, count=PAGE),
    "history": lambda connection: tag_changes.of_repository(connection, 1, before=None, count=PAGE),
}


def counted(engine: Engine, call: Callable[[Connection], object]) -> Counted:
    """What SQLite does for a call."""
    found = Counted()
    with engine.connect() as connection, listening(connection, found):
        call(connection)
    return found


@pytest.mark.parametrize("name", WORK)
def test_i10_a_page_costs_the_same(engines: dict[int, Engine], name: str) -> None:
    """The same statements, at most two, and within 1.3 times the steps."""
    few, many = (counted(engines[count], WORK[name]) for count in (FEW, MANY))
    assert len(few.statements) == len(many.statements) <= STATEMENTS_MAX
    assert 0 < many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW} tags, {many.steps} with {MANY}"


@pytest.mark.parametrize("order", Order)
def test_i10_a_filter_has_an_end(engines: dict[int, Engine], order: Order) -> None:
    """What nothing matches is looked for among so many tags, and costs no more for each of them than a list does."""
    query = Query(order=order, name_part="nothing", count=PAGE)

    def read(connection: Connection) -> None:
        found = tag_list.page(connection, 1, query)
        assert found.entries == []
        assert found.next_after is not None

    done = counted(engines[MANY], read)
    assert len(done.statements) == 1
    assert done.steps <= tag_list.WALK_MAX * 200
