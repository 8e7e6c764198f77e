"""The audit in pages: what a filter says is what is shown, in time's order, whatever leads, and it does not grow."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.engine import Connection

from registry.core.access import Actor
from registry.core.digest import Digest
from registry.metadata import audit, sqlite
from registry.metadata.audit import Entry, Filter, Page, Position
from registry.metadata.schema import audit as rows
from registry.metadata.sqlite import SqliteDatabase
from tests.backends.postgresql import Cluster
from tests.metadata.test_access import counted
from tests.reliability.test_growth import RATIO_LIMIT

ACTORS = (
    Actor(1, "ann", "password", "10.0.0.1"),
    Actor(2, "ben", "password", "10.0.0.2"),
    Actor(3, "acme+ci", "personal token 1", "10.0.0.3"),
    # Whoever has the machine may be called as an account is.
    Actor(None, "ann", "command line"),
)
REPOSITORIES = ("acme/app", "acme/b", "ann/app", "top")
ACTIONS = ("tag.set", "tag.deleted", "manifest.pushed", "login.begun")
DIGESTS = [Digest.of(b"%d" % number) for number in range(3)]
ROWS = 400


def drawn(rng: random.Random) -> tuple[Actor, Entry, int]:
    """A row by chance. Many have the same time, and times are not in the order of ids."""
    repository = rng.choice([*REPOSITORIES, None])
    about = rng.choice(["acme", "ann", "acme+ci", None]) if repository is None else None
    digest = rng.choice([*DIGESTS, None])
    entry = Entry(rng.choice(ACTIONS), repository, digest, "v1", about)
    return rng.choice(ACTORS), entry, rng.randrange(1, 100)


def matches(wanted: Filter, row: dict[str, Any]) -> bool:
    """The filter, said another way."""
    namespace = row["about"].split("+")[0] if row["about"] else None
    if row["repository"] and "/" in row["repository"]:
        namespace = row["repository"].split("/")[0]
    owner = row["actor"].split("+")[0] if row["account_id"] else None
    plain = all(
        getattr(wanted, name) in (None, row[name]) for name in ("actor", "repository", "address", "digest")
    ) and (
        wanted.action is None
        or (
            row["action"].startswith(wanted.action[:-1])
            if wanted.action.endswith("*")
            else row["action"] == wanted.action
        )
    )
    in_time = (wanted.since or 0) <= row["at"] < (wanted.until or 1_000)
    if wanted.within is None:
        return plain and in_time
    if wanted.address is not None and owner != wanted.within:
        return False
    return plain and in_time and wanted.within in (namespace, owner)


def filter_by_chance(rng: random.Random) -> Filter:
    """Some of everything."""

    def some(*values: Any) -> Any:
        return rng.choice(values) if rng.random() < 0.4 else None

    return Filter(
        actor=some("ann", "acme+ci", "nobody"),
        action=some("tag.set", "tag.*", "*", "none.*", "none"),
        repository=some("acme/app", "top"),
        digest=some(*DIGESTS),
        address=some("10.0.0.1", "10.0.0.3"),
        since=some(10, 50),
        until=some(60, 90),
        within=some("acme", "ann", "ben"),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database of each kind in turn."""
    if request.param == "sqlite":
        database: SqliteDatabase = request.getfixturevalue("database")
        found = sqlite.writing_engine(database.url, synchronous="NORMAL")
        yield found
        found.dispose()
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.migrated()
    found = create_engine(cluster.url(name))
    yield found
    found.dispose()
    cluster.drop(name)


def whole(connection: Connection, wanted: Filter, count: int) -> list[audit.Row]:
    """All pages."""
    found: list[audit.Row] = []
    before: Position | None = None
    while True:
        page = audit.page(connection, wanted, before=before, count=count)
        assert len(page.rows) <= count
        found += page.rows
        if page.next_before is None:
            return found
        assert before is None or page.next_before < before
        before = page.next_before


@pytest.mark.parametrize("scanned", [3, 50, audit.SCANNED_ROWS])
def test_pages_show_what_the_filter_says(engine: Engine, monkeypatch: pytest.MonkeyPatch, scanned: int) -> None:
    """Every filter, alone and with others, in pages of any size, however few rows one page may look at: each row once,
    newest first, and what is not the reader's address is not shown."""
    monkeypatch.setattr(audit, "SCANNED_ROWS", scanned)
    rng = random.Random(scanned)
    written: list[dict[str, Any]] = []
    with engine.begin() as connection:
        for number in range(1, ROWS + 1):
            actor, entry, at = drawn(rng)
            audit.append(connection, actor, [entry], now=at)
            row = {"id": number, "at": at, "actor": actor.name, "account_id": actor.account_id}
            row |= {"address": actor.address, "action": entry.action, "repository": entry.repository}
            written.append(row | {"digest": entry.digest, "about": entry.about})
    with engine.connect() as connection:
        for _ in range(60):
            wanted = filter_by_chance(rng)
            found = whole(connection, wanted, rng.choice([1, 7, 100]))
            expected = [row for row in written if matches(wanted, row)]
            expected.sort(key=lambda row: (row["at"], row["id"]), reverse=True)
            assert [row.id for row in found] == [row["id"] for row in expected], wanted
            for shown in found if wanted.within else ():
                assert shown.address is None or shown.actor.split("+")[0] == wanted.within
        assert audit.actions(connection) == sorted({row["action"] for row in written})


@pytest.mark.parametrize("wanted", [Filter(actor="ben"), Filter(repository="ben/app"), Filter(actor="ben", action="*")])
def test_sec_027_a_page_does_not_end_where_others_did_something(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, wanted: Filter
) -> None:
    """SEC-027: whoever asks what somebody did in its namespace learns neither from rows nor from the places where pages
    end that he did something elsewhere, and when."""
    monkeypatch.setattr(audit, "SCANNED_ROWS", 5)
    ann, ben, *_ = ACTORS
    with engine.begin() as connection:
        for at in range(100):
            audit.append(connection, ben, [Entry("tag.set", "ben/app")], now=at)
        for at in range(200, 212):
            audit.append(connection, ann, [Entry("tag.set", "ann/app")], now=at)
        audit.append(connection, ben, [Entry("tag.set", "ann/app")], now=220)
        ends = []
        before: Position | None = None
        while (page := audit.page(connection, replace(wanted, within="ann"), before=before, count=5)).next_before:
            ends.append(before := page.next_before)
    assert ends
    assert all(at >= 200 for at, _ in ends)


def test_who_was_written_before_is_found_by_namespace(engine: Engine) -> None:
    """The columns of namespaces and owners are those that a row of this kind gets."""
    with engine.begin() as connection:
        audit.append(connection, ACTORS[2], [Entry("tag.set", "acme/app"), Entry("role.given", about="ben+x")], now=1)
        found = connection.execute(rows.select().with_only_columns(rows.c.namespace, rows.c.owner)).all()
    assert [tuple(row) for row in found] == [("acme", "acme"), ("ben", "acme")]


FEW, MANY = 300, 30_000


def audited(count: int) -> list[dict[str, Any]]:
    """Many rows of a few kinds."""
    row = {"credential": "x", "address": "10.0.0.1", "account_id": 1, "digest": None, "target": None}
    return [
        {**row, "at": number, "actor": f"a{number % 3}", "action": f"x.{number % 20}", "repository": f"r{number % 5}/a"}
        | {"namespace": f"r{number % 5}", "owner": f"a{number % 3}"}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """A small audit and a big one."""
    made = {}
    for count in (FEW, MANY):
        database = SqliteDatabase(tmp_path_factory.mktemp("audit") / "registry.db")
        database.migrate()
        made[count] = sqlite.writing_engine(database.url, synchronous="NORMAL")
        database.close()
        with made[count].begin() as connection:
            connection.execute(insert(rows), audited(count))
    yield made
    for engine in made.values():
        engine.dispose()


def page_of(**wanted: Any) -> Callable[[Connection], Page]:
    """The first page."""
    return lambda connection: audit.page(connection, Filter(**wanted), before=None, count=10)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"actor": "a1"},
        {"action": "x.1"},
        {"action": "x.*"},
        {"repository": "r1/a"},
        {"address": "10.0.0.1"},
        {"within": "r1"},
        {"until": 50},
        {"actor": "a1", "until": 100, "since": 50},
    ],
    ids=str,
)
def test_a_page_of_a_filter_does_not_grow(sizes: dict[int, Engine], wanted: dict[str, Any]) -> None:
    """I10: with 30,000 rows each filter costs what it costs with 300."""
    few, many = counted(sizes[FEW], page_of(**wanted)), counted(sizes[MANY], page_of(**wanted))
    assert len(few.statements) == len(many.statements) <= 2
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW} rows, {many.steps} with {MANY}"
