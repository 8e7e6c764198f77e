"""The rule of access in SQL is the rule of `core.access`, in one statement, and it does not grow."""

import random
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from registry.core.access import Action, TokenLimits, decide
from registry.core.names import RepositoryName
from registry.metadata import access
from tests.metadata.conftest import migrated
from tests.metadata.worlds import ADMIN, MEMBER, OWNER, Drawn, by_chance, limits_by_chance, of_size
from tests.reliability.test_growth import RATIO_LIMIT, Counted, listening

WORLDS = 40
FEW, MANY = 10, 10_000
PEOPLE_FEW, PEOPLE_MANY = 10, 1_000
PAGE = 10


def may_pull(connection: Connection, account_id: int | None, limits: TokenLimits | None, name: RepositoryName) -> bool:
    """What the gate would say."""
    return Action.PULL in decide(access.facts(connection, account_id, name), limits, name)


def pages(connection: Connection, account_id: int | None, limits: TokenLimits | None, count: int) -> list[str]:
    """The whole list, page by page."""
    found: list[str] = []
    while True:
        page = access.page(connection, account_id, limits, after=found[-1] if found else "", count=count)
        assert len(page) <= count
        found += page
        if len(page) < count:
            return found


@pytest.mark.parametrize("seed", range(WORLDS))
def test_lists_agree_with_the_rule(make: Callable[[Drawn], Engine], seed: int) -> None:
    """SEC-022: a list holds exactly the repositories that its reader may pull one by one, whatever roles, teams,
    owners, visibilities and token limits there are. (Who is disabled is refused before any list.)"""
    rng = random.Random(seed)
    drawn = by_chance(rng)
    engine = make(drawn)
    with engine.connect() as connection:
        for account_id in (None, *drawn.active):
            limits = None if account_id is None else limits_by_chance(rng)
            allowed = {name for name in drawn.names if may_pull(connection, account_id, limits, name)}
            listed = pages(connection, account_id, limits, rng.choice([1, 3, 100]))
            assert listed == sorted(allowed & drawn.full), (account_id, limits)
            for digest, holders in drawn.holders.items():
                found = access.may_pull_somewhere(connection, account_id, limits, digest)
                assert found == bool(allowed & holders), (account_id, limits, holders)
    engine.dispose()


@pytest.mark.parametrize("seed", range(WORLDS))
def test_a_former_name_is_as_good_as_the_name(make: Callable[[Drawn], Engine], seed: int) -> None:
    """SEC-022: by a former name a repository can be reached by exactly those who reach it by the name that it has,
    wherever the former one is; and what making one is decided by does not look at what is there."""
    drawn = by_chance(random.Random(seed))
    engine = make(drawn)
    with engine.connect() as connection:
        for account_id in (None, *drawn.active):
            for was, name in drawn.former.items():
                facts = access.facts(connection, account_id, was)
                assert facts == access.facts(connection, account_id, name)
                assert facts.repository_id is not None
                new = access.facts_of_new(connection, account_id, name)
                free = RepositoryName(f"{name.namespace}/free") if name.namespace else RepositoryName("free")
                assert new == access.facts(connection, account_id, free)
    engine.dispose()


def test_the_worlds_are_worth_comparing() -> None:
    """The comparison is of something: over all worlds there are all kinds of roles, and lists neither empty nor whole
    are the rule."""
    drawn = [by_chance(random.Random(seed)) for seed in range(WORLDS)]
    roles = [row for world in drawn for row in world.rows.get("grants", [])]
    for key in ("account_id", "team_id", "repository_id", "namespace_id"):
        assert sum(row[key] is not None for row in roles) > WORLDS
    assert sum(row["is_owner"] for world in drawn for row in world.rows.get("members", [])) > WORLDS
    assert sum(len(world.former) for world in drawn) > WORLDS
    assert any(row["is_admin"] for world in drawn for row in world.rows["accounts"])


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """A small world and a big one."""
    folder = tmp_path_factory.mktemp("sizes")
    made = {}
    for count, people in ((FEW, PEOPLE_FEW), (MANY, PEOPLE_MANY)):
        made[count] = migrated(folder / f"{count}.db", of_size(count, people))
    yield made
    for engine in made.values():
        engine.dispose()


def counted(engine: Engine, call: Callable[[Connection], object]) -> Counted:
    """What SQLite does for a call."""
    found = Counted()
    with engine.connect() as connection, connection.begin(), listening(connection, found):
        call(connection)
    return found


def facts_of(account_id: int | None, text: str) -> Callable[[Connection], object]:
    """A reading of facts."""
    name = RepositoryName.parse(text)
    return lambda connection: access.facts(connection, account_id, name)


def page_of(account_id: int | None) -> Callable[[Connection], object]:
    """The first page of a list."""
    return lambda connection: access.page(connection, account_id, None, after="", count=PAGE)


CALLS = {
    "facts of a member": facts_of(MEMBER, "big/a00000"),
    "facts of an owner": facts_of(OWNER, "big/a00000"),
    "facts of an admin": facts_of(ADMIN, "big/a00000"),
    "facts of anybody": facts_of(None, "other/p0"),
    "facts of a missing repository": facts_of(MEMBER, "big/none"),
    "facts of a member by a former name": facts_of(MEMBER, "big/was00000"),
    "page of a member": page_of(MEMBER),
    "page of an admin": page_of(ADMIN),
    "page of anybody": page_of(None),
    "page of an owner": page_of(OWNER),
}


@pytest.mark.parametrize("name", CALLS)
def test_access_is_one_statement_and_does_not_grow(sizes: dict[int, Engine], name: str) -> None:
    """I10: with 10,000 repositories and 1,000 people who have roles on them, what a request asks about access
    takes one statement and at most 1.3 times the steps that it takes with ten."""
    few, many = counted(sizes[FEW], CALLS[name]), counted(sizes[MANY], CALLS[name])
    assert len(few.statements) == len(many.statements) == 1
    print(f"{name}: {few.steps} steps with {FEW} repositories, {many.steps} with {MANY}")
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW}, {many.steps} with {MANY}"
