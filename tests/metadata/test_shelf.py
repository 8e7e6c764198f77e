"""Lists and searches show what the rule of access says, all of it and nothing else, and cost the same however much
there is that others hide."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, update
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from registry.core.access import Action, TokenLimits, Visibility, decide
from registry.core.search import Nearness, SearchText, nearness
from registry.core.shelf import Order, RepositoriesQuery
from registry.metadata import access, namespaces, shelf
from registry.metadata.schema import repositories, repository_facets, stars
from registry.metadata.ways import Viewer
from tests.backends.postgresql import Cluster
from tests.metadata.conftest import migrated
from tests.metadata.test_access import counted
from tests.metadata.worlds import ADMIN, MEMBER, NAMESPACES, NOW, OWNER, Drawn, by_chance, limits_by_chance, of_size
from tests.reliability.test_growth import RATIO_LIMIT

WORLDS = 8
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm6", "windows/amd64")
TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.cncf.helm.config.v1+json")
DESCRIPTIONS = ("", "", "A small Web server", "100% of_it", "中文镜像 for all", 'it\'s "quoted" AND more', "web")
WORDS = ("app", "web", "ap", "b", "100%", "of_it", "文", "中文镜像", '"quoted"', "and", "zzz", "acme/app", "app2")
MAKE = Callable[[Drawn], Engine]


def decorated(rng: random.Random) -> Drawn:
    """A world by chance with everything that lists show, with many equal values."""
    drawn = by_chance(rng)
    for number, row in enumerate(drawn.rows["repositories"], start=1):
        row["description"] = rng.choice(DESCRIPTIONS)
        for column in ("pushed_at", "pull_count", "star_count", "size_bytes", "tag_count", "shared_bytes"):
            row[column] = rng.choice([0, 0, 1, 7, 2**40])
        facets = [("platform", value) for value in PLATFORMS] + [("artifact", value) for value in TYPES]
        for kind, value in rng.sample(facets, k=rng.randint(0, 3)):
            drawn.add(repository_facets, repository_id=number, kind=kind, value=value)
        for account_id in rng.sample(drawn.active, k=rng.randint(0, len(drawn.active))):
            drawn.add(stars, account_id=account_id, repository_id=number, created_at=NOW)
    return drawn


def wanted_by_chance(rng: random.Random) -> RepositoriesQuery:
    """Some filters, an order, and a size of pages."""

    def sometimes(value: Any, otherwise: Any = None) -> Any:
        return value if rng.random() < 0.25 else otherwise

    words = tuple(dict.fromkeys(rng.choice(WORDS) for _ in range(rng.randint(1, 2))))
    return RepositoriesQuery(
        search=sometimes(SearchText(words), SearchText()),
        namespace=sometimes(rng.choice(NAMESPACES)),
        visibility=sometimes(rng.choice(list(Visibility))),
        artifact_types=sometimes(tuple(rng.sample(TYPES, rng.randint(1, 2))), ()),
        platform=sometimes(rng.choice(("linux/amd64", "linux/arm64", "plan9"))),
        is_starred=sometimes(True, False),
        is_mine=sometimes(True, False),
        is_full=sometimes(True, False),
        order=rng.choice([order for order in Order if order is not Order.RELEVANCE]),
        descending=rng.random() < 0.5,
        count=rng.choice([1, 2, 5, 100]),
    )


def fits(drawn: Drawn, number: int, wanted: RepositoriesQuery, account_id: int | None) -> bool:
    """What the filters mean, said once more."""
    row = drawn.rows["repositories"][number - 1]
    held = [facet for facet in drawn.rows.get("repository_facets", []) if facet["repository_id"] == number]
    platforms = [facet["value"] for facet in held if facet["kind"] == "platform"]
    starred = [star["account_id"] for star in drawn.rows.get("stars", []) if star["repository_id"] == number]
    text = f"{row['name']}\n{row['description'].lower()}"
    return (
        all(word in text for word in wanted.search.words)
        and (wanted.namespace is None or row["name"].startswith(f"{wanted.namespace}/"))
        and (wanted.visibility is None or row["visibility"] == wanted.visibility)
        and (not wanted.artifact_types or any(facet["value"] in wanted.artifact_types for facet in held))
        and (wanted.platform is None or any(f"{one}/".startswith(f"{wanted.platform}/") for one in platforms))
        and (not wanted.is_starred or account_id in starred)
        and (not wanted.is_full or row["name"] in drawn.full)
    )


def visible(connection: Connection, drawn: Drawn, viewer: Viewer) -> dict[int, bool]:
    """The repositories that the rule lets somebody pull, and whether it has more to it than being public."""
    found = {}
    for number, row in enumerate(drawn.rows["repositories"], start=1):
        name = next((name for name in drawn.names if name == row["name"]), None)
        if name is None:
            continue
        facts = access.facts(connection, viewer.account_id, name)
        if viewer.is_open:
            found[number] = False
        elif Action.PULL in decide(facts, viewer.limits, name):
            found[number] = facts.owns_namespace or facts.role > 0
    return found


def pages(connection: Connection, viewer: Viewer, wanted: RepositoriesQuery) -> list[int]:
    """The whole list, page by page."""
    found: list[int] = []
    while True:
        page = shelf.page(connection, viewer, wanted)
        assert len(page.entries) <= wanted.count
        found += [entry.id for entry in page.entries]
        if page.next_after is None:
            return found
        assert len(page.entries) == wanted.count
        wanted = replace(wanted, after=page.next_after)


def viewers(drawn: Drawn, rng: random.Random) -> Iterator[Viewer]:
    """Everybody who can ask."""
    yield Viewer(None)
    yield Viewer(None, is_open=True)
    for account_id in drawn.active:
        yield Viewer(account_id, limits_by_chance(rng))


@dataclass
class World:
    """A database with everything in it, and what that is."""

    drawn: Drawn
    engine: Engine

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The repositories."""
        return self.drawn.rows["repositories"]


@pytest.fixture(params=[f"{engine}-{seed}" for engine in ("sqlite", "postgresql") for seed in range(WORLDS)])
def world(request: pytest.FixtureRequest, opened: dict[str, World], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Each world on each engine; made once for all tests that only read it."""
    kind, _, seed = request.param.partition("-")
    if request.param not in opened:
        drawn = decorated(random.Random(int(seed)))
        if kind == "sqlite":
            engine = migrated(tmp_path_factory.mktemp("world") / "registry.db", drawn)
        else:
            cluster: Cluster = request.getfixturevalue("cluster")
            engine = create_engine(cluster.url(cluster.migrated()), poolclass=NullPool)
            with engine.begin() as connection:
                drawn.write(connection)
        opened[request.param] = World(drawn, engine)
    return opened[request.param]


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, World]]:
    """The worlds that were made."""
    found: dict[str, World] = {}
    yield found
    for world in found.values():
        world.engine.dispose()


@pytest.mark.parametrize("few", [1, 3, shelf.FEW])
def test_lists_agree_with_the_rule(world: World, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """SEC-022, SEC-027: for every reader, filter, order, direction and size of pages a list holds each repository that
    fits and that may be pulled one by one, once, in order, and its total counts those; also where `few` makes it go
    along the order instead of looking up what fits."""
    monkeypatch.setattr(shelf, "FEW", few)
    rng = random.Random(few)
    with world.engine.connect() as connection:
        for viewer in viewers(world.drawn, rng):
            seen = visible(connection, world.drawn, viewer)
            for _ in range(6):
                wanted = wanted_by_chance(rng)
                chosen = [
                    number
                    for number, is_mine in seen.items()
                    if fits(world.drawn, number, wanted, viewer.account_id) and (is_mine or not wanted.is_mine)
                ]
                keys = {number: (world.rows[number - 1][wanted.order], number) for number in chosen}
                chosen.sort(key=keys.__getitem__, reverse=wanted.descending)
                assert pages(connection, viewer, wanted) == chosen, (viewer, wanted)
                assert shelf.total(connection, viewer, wanted) == len(chosen), (viewer, wanted)


def test_searches_agree_with_the_rule(world: World) -> None:
    """SEC-027: what fits best is of what may be pulled one by one and of nothing else, all that has the words is in it,
    and the rest is a letter off."""
    rng = random.Random(1)
    drawn = world.drawn
    with world.engine.connect() as connection:
        for viewer in viewers(drawn, rng):
            seen = visible(connection, drawn, viewer)
            for typed in ("app", "app2", "acme", "amce", "web server", "acme/app", "un0wned", "z/y", "a", "文"):
                filters = replace(wanted_by_chance(rng), search=SearchText(), is_mine=False)
                wanted = replace(filters, search=SearchText.parse(typed, field="q"), order=Order.RELEVANCE)
                found = pages(connection, viewer, wanted)
                assert len(set(found)) == len(found)
                right = {one for one in seen if fits(drawn, one, wanted, viewer.account_id)}
                places = {one: nearness(wanted.search, world.rows[one - 1]["name"]) for one in seen}
                near = {
                    one
                    for one, (how, _) in places.items()
                    if how is not Nearness.NOT and fits(drawn, one, filters, viewer.account_id)
                }
                assert right <= set(found) <= right | near, (viewer, wanted)
                assert found == sorted(found, key=places.__getitem__)


def test_namespaces_agree_with_the_rule(world: World) -> None:
    """SEC-027, SEC-028: a namespace is listed to whom something in it shows, and to nobody else; its numbers count what
    shows."""
    with world.engine.connect() as connection:
        for viewer in viewers(world.drawn, random.Random(2)):
            seen: dict[str, list[dict[str, Any]]] = {}
            for number in visible(connection, world.drawn, viewer):
                first, slash, _ = world.rows[number - 1]["name"].partition("/")
                if slash:
                    seen.setdefault(first, []).append(world.rows[number - 1])
            assert namespaces_of(connection, viewer, "") == sorted(seen, key=lambda name: f"{name}/")
            begun = [name for name in seen if name.startswith("acme")]
            assert sorted(namespaces_of(connection, viewer, "acme")) == sorted(begun)
            for name in NAMESPACES:
                found = namespaces.find(connection, viewer, name, with_numbers=True)
                assert (found is not None) >= (name in seen)
                if found is not None:
                    assert found.repository_count == len(seen.get(name, ()))
                    assert found.pull_count == sum(row["pull_count"] for row in seen.get(name, ()))


def namespaces_of(connection: Connection, viewer: Viewer, prefix: str) -> list[str]:
    """All of them, page by page."""
    found: list[str] = []
    after = ""
    while True:
        page = namespaces.page(connection, viewer, after=after, count=2, prefix=prefix)
        found += [entry.name for entry in page.entries]
        if page.next_after is None:
            return found
        after = page.next_after


def test_the_index_follows(make: MAKE) -> None:
    """What changes its name, description, visibility or owner is found by what it is now; what is deleted is not."""
    drawn = decorated(random.Random(1))
    drawn.repository("acme/followed", 1, Visibility.PRIVATE, description="first words")
    for row in drawn.rows["repositories"][:-1]:
        drawn.rows["repositories"][-1] = row | drawn.rows["repositories"][-1]
    engine = make(drawn)
    number = len(drawn.rows["repositories"])

    def found(typed: str, viewer: Viewer) -> bool:
        wanted = RepositoriesQuery(search=SearchText.parse(typed, field="q"))
        with engine.connect() as connection:
            return number in [entry.id for entry in shelf.page(connection, viewer, wanted).entries]

    def change(**values: Any) -> None:
        with engine.begin() as connection:
            connection.execute(update(repositories).where(repositories.c.id == number).values(**values))

    everybody, her = Viewer(None), Viewer(1)
    assert found("followed", her) and found("first", her) and not found("followed", everybody)
    change(visibility="public")
    assert found("followed", everybody)
    change(name="acme/moved", description="other words")
    assert not found("followed", her) and not found("first", her)
    assert found("moved", everybody) and found("other", everybody)
    change(visibility="private", namespace_id=2)
    assert found("moved", Viewer(2)) and not found("moved", everybody)
    change(deleted_at=NOW, name=":deleted:1")
    assert not found("other", Viewer(2))
    with engine.begin() as connection:
        connection.execute(delete(stars).where(stars.c.repository_id == number))
        connection.execute(delete(repositories).where(repositories.c.id == number))
    engine.dispose()


HOSTILE = (
    '"',
    "''",
    '" OR name:"acme',
    "name:acme",
    "NEAR(acme app)",
    "acme*",
    "^acme",
    "-acme",
    "(((((",
    "a AND",
    "%",
    "_",
    "%%%",
    "\\",
    "\\%",
    "x\x00y",
    "\ud800abc",
    "'; DROP TABLE repositories; --",
    "{name description} : acme",
    "中文" * 60,
    "é" * 200,
    "a" * 200,
    "?" * 200,
    " ".join("abcdefgh"),
)


def test_what_is_typed_is_only_text(world: World) -> None:
    """SEC-026: quotes, operators, wildcards and characters of all kinds are looked for as they are; none is an error,
    and none finds what does not have it."""
    with world.engine.connect() as connection:
        for typed in HOSTILE:
            search = SearchText.parse(typed, field="q")
            for viewer in (Viewer(None), Viewer(world.drawn.active[0]), Viewer(None, is_open=True)):
                page = shelf.page(connection, viewer, RepositoriesQuery(search=search, with_total=True))
                for entry in page.entries:
                    text = f"{entry.name}\n{entry.description.lower()}"
                    assert all(word in text for word in search.words), typed
                shelf.page(connection, viewer, RepositoriesQuery(search=search, order=Order.RELEVANCE))
                namespaces.page(connection, viewer, after="", count=3, prefix=search.whole)


def test_a_limited_token_sees_less(world: World) -> None:
    """SEC-027: a token without a right to pull lists nothing, not even a number."""
    viewer = Viewer(world.drawn.active[0], TokenLimits(frozenset()))
    with world.engine.connect() as connection:
        page = shelf.page(connection, viewer, RepositoriesQuery(with_total=True))
        assert (page.entries, page.total) == ([], 0)
        assert namespaces.page(connection, viewer, after="", count=9).entries == []
        assert namespaces.find(connection, viewer, "acme") is None


# What it costs

FEW, MANY = 1_000, 10_000
PAGE = 10


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Engine]]:
    """Two worlds, of which one has ten times as much."""
    folder = tmp_path_factory.mktemp("sizes")
    made = {count: migrated(folder / f"{count}.db", of_size(count, 10)) for count in (FEW, MANY)}
    for engine in made.values():
        with engine.begin() as connection:
            # How many pieces it is in, a logarithm of what was written, is a matter of when they were merged.
            connection.exec_driver_sql("INSERT INTO repository_search (repository_search) VALUES ('optimize')")
    yield made
    for engine in made.values():
        engine.dispose()


VIEWERS = {
    "anybody": Viewer(None),
    "a member": Viewer(MEMBER),
    "an owner": Viewer(OWNER),
    "an admin": Viewer(ADMIN),
    "all": Viewer(None, is_open=True),
}
LISTS = {
    **{f"by {order}": RepositoriesQuery(order=order, descending=order is not Order.NAME) for order in Order},
    "from the middle": RepositoriesQuery(order=Order.PULL_COUNT, descending=True, after=(0, FEW // 2)),
    "of a namespace": RepositoriesQuery(namespace="big", order=Order.PUSHED_AT, descending=True),
    "of a namespace by name": RepositoriesQuery(namespace="big"),
    "mine": RepositoriesQuery(is_mine=True, order=Order.SIZE_BYTES),
    "starred": RepositoriesQuery(is_starred=True),
    "full": RepositoriesQuery(is_full=True, order=Order.STAR_COUNT),
    "with a word of all": RepositoriesQuery(search=SearchText(("big",)), order=Order.PULL_COUNT),
    "with a word of few": RepositoriesQuery(search=SearchText(("other",)), order=Order.PULL_COUNT),
    "with a letter of all": RepositoriesQuery(search=SearchText(("a",)), order=Order.PULL_COUNT),
}
Call = Callable[[Connection, Viewer], object]


def page_of(wanted: RepositoriesQuery) -> Call:
    """A page of a list."""
    return lambda connection, viewer: shelf.page(connection, viewer, replace(wanted, count=PAGE))


CALLS: dict[str, Call] = {
    **{f"list {name}": page_of(wanted) for name, wanted in LISTS.items()},
    "namespaces": lambda connection, viewer: namespaces.page(connection, viewer, after="", count=PAGE),
    "namespace": lambda connection, viewer: namespaces.find(connection, viewer, "big"),
}


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("name", CALLS)
def test_lists_do_not_grow(sizes: dict[int, Engine], name: str, viewer: str) -> None:
    """I10, SEC-027: with ten times as many repositories, whether they show or not, a page takes one statement, one
    more for types and platforms, and at most 1.3 times the steps."""
    few, many = (counted(sizes[count], lambda c: CALLS[name](c, VIEWERS[viewer])) for count in (FEW, MANY))
    assert len(many.statements) == len(few.statements) <= 2
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW}, {many.steps} with {MANY}"


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("typed", ["big", "bgi", "a00005", "other", "ohter", "nothing", "a"])
def test_searches_do_not_grow(sizes: dict[int, Engine], typed: str, viewer: str) -> None:
    """I10: what fits best is looked for among a number that does not grow, also where everything fits."""
    wanted = RepositoriesQuery(search=SearchText((typed,)), order=Order.RELEVANCE, count=PAGE)
    few, many = (counted(sizes[count], lambda c: shelf.page(c, VIEWERS[viewer], wanted)) for count in (FEW, MANY))
    assert len(many.statements) <= 2
    assert many.steps <= few.steps * RATIO_LIMIT, f"{few.steps} steps with {FEW}, {many.steps} with {MANY}"
