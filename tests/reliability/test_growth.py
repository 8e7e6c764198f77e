"""I10: 10,000 tags in a repository cost what 10 cost. Counted in steps of SQLite's machine and read from its plans.

Time is measured by `bench/growth.py`; nothing here depends on the machine. The database files are those of real
servers, filled over HTTP, and read with the library and the settings that the server uses.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, Connection

from registry.core import manifest as manifest_rules
from registry.core.access import Actor, RepositoryAccess, Visibility
from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX
from registry.core.names import Reference, RepositoryName, Tag
from registry.metadata import access, manifests, repositories, sqlite, tags
from registry.metadata.manifests import Listing, ReferrersQuery
from registry.metadata.tags import Change
from tests.core.test_manifest import encoded, index
from tests.reliability.client import expect
from tests.running import Registry

NAME = RepositoryName.parse("growth/app")
FEW, MANY = 10, 10_000
TAGS_PER_PUT = 100
RATIO_LIMIT = 1.3
NOBODY = Actor(None, "", "none")
NOW = 1_000
CHANGE = Change(NOW, None)

Call = Callable[[Connection], object]


def payload(number: int) -> bytes:
    """A small manifest."""
    return encoded(index(annotations={"number": str(number)}))


def fill(registry: Registry, count: int) -> None:
    """`count` tags named t00000 and so on, a hundred on each manifest."""
    headers = {"content-type": OCI_INDEX}
    with registry.client() as client:
        for number in range(0, count, TAGS_PER_PUT):
            content = payload(number // TAGS_PER_PUT)
            wanted = [f"tag=t{place:05}" for place in range(number, min(number + TAGS_PER_PUT, count))]
            path = f"/v2/{NAME}/manifests/{Digest.of(content)}?{'&'.join(wanted)}"
            expect(client.put(path, content=content, headers=headers), 201)


@dataclass
class Counted:
    """What SQLite was asked to do: the statements with the first of their parameters, and steps of its machine."""

    statements: list[tuple[str, Any]] = field(default_factory=list)
    steps: int = 0


@dataclass(frozen=True)
class Facts:
    """A repository's database, opened beside the server that owns it."""

    engine: Engine
    count: int

    def count_work(self, call: Call) -> Counted:
        """Run a query function in a transaction that is rolled back."""
        counted = Counted()
        with self.engine.connect() as connection, connection.begin() as transaction:
            with listening(connection, counted):
                call(connection)
            transaction.rollback()
        return counted

    def plans(self, call: Call) -> list[tuple[str, str]]:
        """Each statement that a query function runs, with each line of SQLite's plan for it."""
        found: list[tuple[str, str]] = []
        with self.engine.connect() as connection, connection.begin() as transaction:
            counted = Counted()
            with listening(connection, counted):
                call(connection)
            for statement, parameters in counted.statements:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found += [(statement, row[3]) for row in plan]
            transaction.rollback()
        return found


@contextmanager
def listening(connection: Connection, counted: Counted) -> Iterator[None]:
    """Count what a connection does meanwhile."""

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        counted.statements.append((statement, parameters[0] if many else parameters))

    def step() -> int:
        counted.steps += 1
        return 0

    driver: Any = connection.connection.dbapi_connection
    event.listen(connection, "before_cursor_execute", note)
    driver.set_progress_handler(step, 1)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 1)
        event.remove(connection, "before_cursor_execute", note)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Facts]]:
    """Two installations, with 10 and with 10,000 tags."""
    opened: dict[int, Facts] = {}
    started: list[Registry] = []
    for count in (FEW, MANY):
        registry = Registry.start(tmp_path_factory.mktemp("growth") / "data")
        started.append(registry)
        fill(registry, count)
        url = URL.create("sqlite", database=str(registry.data / "registry.db"))
        opened[count] = Facts(sqlite.writing_engine(url, synchronous="FULL"), count)
    yield opened
    for one in opened.values():
        one.engine.dispose()
    for registry in started:
        registry.kill()


def repository(connection: Connection) -> int:
    """The id of the repository that is filled."""
    found = repositories.find(connection, NAME)
    assert found is not None
    return found


def way_in(connection: Connection, name: RepositoryName = NAME) -> RepositoryAccess:
    """As the gate makes it."""
    return RepositoryAccess(name, repositories.find(connection, name), NOBODY)


def put(connection: Connection, number: int, names: list[str]) -> None:
    """What a PUT of a manifest does in its transaction, but for the outbox."""
    manifest = manifest_rules.parse(payload(number), OCI_INDEX)
    digest = Digest.of(manifest.payload)
    repository_id = repositories.ensure(connection, way_in(connection), now=NOW)[0].id
    listing = Listing([], None)
    added = manifests.add(connection, repository_id, manifest, digest=digest, listing=listing, now=NOW)
    manifests.measure(connection, added[0], manifest)
    pointed = tags.point(connection, repository_id, names, manifest_id=added[0], digest=digest, change=CHANGE)
    if added[1] or pointed.changed:
        repositories.note_change(connection, repository_id, tags_more=pointed.created, is_push=True, now=NOW)


def first_manifest(connection: Connection) -> int:
    """The id of the manifest that all others refer to."""
    found = manifests.find(connection, repository(connection), Digest.of(payload(0)))
    assert found is not None
    return found


def first_referrers(connection: Connection) -> object:
    """The first page of referrers, of one entry."""
    query = ReferrersQuery(Digest.of(payload(0)), [], after=0, count=1, budget_bytes=1_000_000)
    return manifests.referrers(connection, repository(connection), query)


def remove_a_manifest(connection: Connection) -> None:
    """What a DELETE by digest does, for a manifest that one tag points to."""
    put(connection, 777, ["gone"])
    manifest_id = manifests.find(connection, repository(connection), Digest.of(payload(777)), lock=True)
    assert manifest_id is not None
    tags.remove(connection, repository(connection), tags.of_manifest(connection, manifest_id), change=CHANGE)
    manifests.protect_blobs(connection, [manifest_id], until=NOW)
    manifests.remove(connection, manifest_id)


def rename(connection: Connection) -> None:
    """A new name, and the old one again."""
    for new in (RepositoryName("growth/other"), NAME):
        found = repositories.get(connection, NAME)
        assert found is not None
        assert repositories.rename(connection, found, new, now=NOW)


WORK: dict[str, Call] = {
    "PUT of a new tag": lambda connection: put(connection, 0, ["new"]),
    "PUT of a new manifest under a known tag": lambda connection: put(connection, 888, ["t00005"]),
    "PUT of the same again": lambda connection: put(connection, 0, ["t00005"]),
    "DELETE of a tag": lambda connection: tags.remove(connection, repository(connection), ["t00005"], change=CHANGE),
    "DELETE of a manifest": remove_a_manifest,
    "GET by tag": lambda connection: manifests.stored(
        connection, repository(connection), Reference(tag=Tag.parse("t00005"))
    ),
    "GET by digest": lambda connection: manifests.stored(
        connection, repository(connection), Reference(digest=Digest.of(payload(0)))
    ),
    "page of tags": lambda connection: tags.page(connection, repository(connection), after="t00001", count=8),
    "page of repositories": lambda connection: access.everything(connection, after="", count=10),
}
"""What a request asks of the database, by its name."""

PLANNED: dict[Callable[..., object], Call] = {
    tags.page: WORK["page of tags"],
    tags.live: lambda connection: tags.live(connection, repository(connection), ["t00001", "t00005"]),
    tags.of_manifest: lambda connection: tags.of_manifest(connection, first_manifest(connection)),
    tags.point: WORK["PUT of a new manifest under a known tag"],
    tags.remove: WORK["DELETE of a tag"],
    manifests.stored: lambda connection: (WORK["GET by tag"](connection), WORK["GET by digest"](connection)),
    manifests.find: first_manifest,
    manifests.add: WORK["PUT of a new tag"],
    manifests.measure: WORK["PUT of a new tag"],
    manifests.protect_blobs: WORK["DELETE of a manifest"],
    manifests.remove: WORK["DELETE of a manifest"],
    tags.remove_of_manifest: lambda connection: tags.remove_of_manifest(connection, 1, change=CHANGE),
    manifests.referrers: first_referrers,
    repositories.find: lambda connection: repositories.find(connection, NAME),
    repositories.lock: lambda connection: repositories.lock(connection, way_in(connection)),
    repositories.ensure: lambda connection: repositories.ensure(
        connection, way_in(connection, RepositoryName.parse("new")), now=NOW
    ),
    repositories.get: lambda connection: repositories.get(connection, NAME),
    repositories.by_id: lambda connection: repositories.by_id(connection, 1),
    repositories.rename: rename,
    repositories.page: lambda connection: repositories.page(connection, after="", count=10, prefix="a"),
    repositories.named: lambda connection: repositories.named(connection, [NAME]),
    repositories.set_visibilities: lambda connection: repositories.set_visibilities(
        connection, [1], Visibility.PRIVATE
    ),
    repositories.describe: lambda connection: repositories.describe(connection, 1, "what it is"),
    repositories.set_visibility: lambda connection: repositories.set_visibility(connection, 1, Visibility.PRIVATE),
    repositories.note_change: WORK["PUT of a new tag"],
    repositories.assign: lambda connection: repositories.assign(connection, 1, None),
    repositories.begin_delete: lambda connection: repositories.begin_delete(connection, 1, now=NOW),
    repositories.deleted: repositories.deleted,
    repositories.empty_step: lambda connection: repositories.empty_step(connection, 1, count=10, now=NOW, until=NOW),
}
"""A call that reaches every statement of each query function."""


def query_functions() -> list[Callable[..., object]]:
    """The public functions of the three modules that take a connection."""
    return [
        function
        for module in (tags, manifests, repositories)
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not function.__name__.startswith("_")
    ]


def test_i10_every_query_function_has_a_plan_here() -> None:
    """A new query function cannot be forgotten by the test of the plans."""
    assert set(query_functions()) == set(PLANNED)


@pytest.mark.parametrize("function", PLANNED, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_i10_plans_are_index_searches(facts: dict[int, Facts], function: Callable[..., object]) -> None:
    """No statement reads a whole table or sorts what it found, with 10,000 rows to tempt the planner."""
    plans = facts[MANY].plans(PLANNED[function])
    assert plans
    for statement, line in plans:
        assert not line.startswith("SCAN ") or line == "SCAN walk" or "CONSTANT ROW" in line or "VALUES" in line, (
            f"{line}: {statement}"
        )
        assert "TEMP B-TREE" not in line, f"{line}: {statement}"
        assert "AUTOMATIC" not in line, f"{line}: {statement}"


@pytest.mark.parametrize("name", WORK)
def test_i10_work_does_not_grow(facts: dict[int, Facts], name: str) -> None:
    """The same statements, and within 1.3 times the steps, at 10,000 tags as at 10."""
    few, many = (facts[count].count_work(WORK[name]) for count in (FEW, MANY))
    assert [statement for statement, _ in many.statements] == [statement for statement, _ in few.statements]
    assert few.steps > 0
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with 10 tags, {many.steps} with 10,000"


def test_i10_a_push_takes_few_statements(facts: dict[int, Facts]) -> None:
    """What lists need is written with what is written anyway, and in one statement more."""
    found = {name: len(facts[FEW].count_work(WORK[name]).statements) for name in WORK if name.startswith("PUT")}
    assert max(found.values()) <= 14
    assert found["PUT of the same again"] <= 10


def test_i10_every_foreign_key_has_an_index(facts: dict[int, Facts]) -> None:
    """Deleting a row looks for those that refer to it: without an index on their side that reads a whole table."""
    with facts[MANY].engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'table'").scalars().all()
        for table in names:
            for columns in foreign_keys(connection, table):
                assert any(index[: len(columns)] == columns for index in indexes(connection, table)), (table, columns)


def foreign_keys(connection: Connection, table: str) -> list[list[str]]:
    """The columns of each foreign key of a table, in the order of the key."""
    keys: dict[int, list[str]] = {}
    for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list({table})").mappings():
        keys.setdefault(row["id"], []).append(row["from"])
    return list(keys.values())


def indexes(connection: Connection, table: str) -> list[list[str]]:
    """The columns of each index of a table, the primary key among them."""
    columns = connection.exec_driver_sql(f"PRAGMA table_info({table})").mappings().all()
    # A key that is a number is the table itself, and no index.
    found = [[column["name"] for column in columns if column["pk"]]]
    for row in connection.exec_driver_sql(f"PRAGMA index_list({table})").mappings().all():
        parts = connection.exec_driver_sql(f"PRAGMA index_info({row['name']})").mappings()
        found.append([part["name"] for part in parts])
    return found
