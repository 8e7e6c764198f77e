"""What administration offers to API and pages: exact, bounded, asked again in the transaction, on each database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import func, select

from registry.auth.passwords import Passwords
from registry.core.access import (
    Actor,
    Permit,
    Principal,
    RepositoryAccess,
    Role,
    TokenLimits,
    TokenScope,
    Visibility,
    account_subject,
    credential_subject,
)
from registry.core.errors import (
    AccountInvalid,
    AccountUnknown,
    Conflict,
    Denied,
    FieldInvalid,
    NameUnknown,
    PreconditionFailed,
    RegistryError,
    Unauthenticated,
)
from registry.core.names import RepositoryName
from registry.metadata import access, repositories
from registry.metadata.accounts import ORGANIZATION, ROBOT, USER
from registry.metadata.database import Database
from registry.metadata.grants import Way
from registry.metadata.schema import repositories as rows
from registry.metadata.schema import stars
from registry.services import administration
from registry.services.accounts import AccountChange, Accounts
from registry.services.bulk import Bulk
from registry.services.installation import Installation
from registry.services.organizations import Organizations, OrganizationsBy
from registry.services.personal_tokens import PersonalTokens
from registry.services.repositories import Repositories, RepositoryChange, readme_state
from registry.services.roles import Namespace, Roles
from tests.backends import Backend
from tests.reliability.hub import ADMIN
from tests.services.conftest import House

pytestmark = pytest.mark.anyio

SECRET = "a password of eight"


@dataclass
class World:
    """Ann owns acme, ben is a member and in the team devs; rita administers; cid is nobody; acme+ci is a robot."""

    database: Database
    house: House
    passwords: Passwords
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = self.house.clock
        self.accounts = Accounts(self.database, self.passwords, clock)
        self.organizations = Organizations(self.database, clock)
        self.repositories = Repositories(self.database, clock, 1000)
        self.roles = Roles(self.database, clock)
        self.tokens = PersonalTokens(self.database, clock)
        self.bulk = Bulk(self.database, clock)

    async def id_of(self, name: str) -> int:
        """The id of an account."""
        return (await self.accounts.get(name)).id

    async def permit(self, name: str, *more: str) -> Permit:
        """As the gate makes it for somebody who has just come."""
        account_id = await self.id_of(name)
        revision = await self.database.read(lambda connection: access.changes_after(connection, 0)[1])
        return Permit(Actor(account_id, name, "password"), (account_subject(account_id), *more), revision)

    async def principal(self, name: str) -> Principal:
        """Somebody who looks at a list."""
        return Principal(await self.id_of(name), name, "password")

    async def make(self, name: str) -> RepositoryAccess:
        """A new repository of its namespace."""
        checked = RepositoryName.parse(name)
        owner = None if checked.namespace is None else await self.id_of(checked.namespace)
        target = RepositoryAccess(checked, None, ADMIN, owner)
        await self.database.write(lambda connection: repositories.ensure(connection, target, now=1))
        return await self.at(name, ADMIN)

    async def at(self, name: str, who: Actor | str) -> RepositoryAccess:
        """The way in of somebody."""
        actor = who if isinstance(who, Actor) else Actor(await self.id_of(who), who, "password")
        return await self.repositories.entry(RepositoryName(name), actor)

    async def star_counts(self) -> dict[str, tuple[int, int]]:
        """By name: the number that is shown, and the rows that there are."""
        there = select(func.count()).select_from(stars).where(stars.c.repository_id == rows.c.id)
        query = select(rows.c.name, rows.c.star_count, there.correlate(rows).scalar_subquery())
        found = await self.database.read(lambda connection: connection.execute(query).all())
        return {row[0]: (row[1], row[2]) for row in found}

    async def audited(self) -> list[tuple[str, str | None, str | None]]:
        """Actions with their namespaces and targets, oldest first."""
        found: list[Any] = await self.house.rows("SELECT action, namespace, target FROM audit ORDER BY id")
        return [tuple(row) for row in found]


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[World]:
    """The world."""
    house = House(backend.new())
    await Installation(house.database, house.store, house.clock).open()
    passwords = Passwords()
    world = World(house.database, house, passwords)
    for name in ("ann", "ben", "cid"):
        await world.accounts.add_user(name, SECRET, ADMIN)
    await world.accounts.add_user("rita", SECRET, ADMIN, is_admin=True)
    await world.organizations.add("acme", "ann", ADMIN)
    await world.organizations.set_member("acme", "ben", ADMIN, is_owner=False)
    await world.organizations.add_team("acme", "devs", ADMIN)
    await world.organizations.set_in_team(("acme", "devs"), "ben", ADMIN, is_in=True)
    await world.accounts.add_robot("acme+ci", Role.WRITE, ADMIN)
    yield world
    passwords.close()


@pytest.fixture
async def world(backend: Backend) -> AsyncIterator[World]:
    """On each database."""
    async with opened(backend) as found:
        yield found


async def raised(work: Any) -> type[BaseException] | None:
    """What it raises."""
    try:
        await work
    except RegistryError as error:
        return type(error)
    return None


# Lists


async def test_lists_come_in_pages(world: World) -> None:
    """Each list by name, from behind the last one, with what it shows."""
    users = await world.accounts.page(USER, after="", count=2)
    assert [one.name for one in users] == ["ann", "ben"]
    assert [one.name for one in await world.accounts.page(USER, after="ben", count=9)] == ["cid", "rita"]
    assert [one.name for one in await world.accounts.page(USER, after="", count=9, prefix="r")] == ["rita"]
    assert users[0].has_password and not users[0].is_admin and users[0].is_active and not users[0].has_identity
    assert [one.name for one in await world.accounts.page(ORGANIZATION, after="", count=9)] == ["acme"]
    assert [one.name for one in await world.accounts.page(ROBOT, after="", count=9)] == ["acme+ci"]
    assert [one.name for one in await world.accounts.robots("acme", after="", count=9)] == ["acme+ci"]
    members = await world.organizations.members("acme", after="", count=9)
    assert [(one.name, one.is_owner) for one in members] == [("ann", True), ("ben", False)]
    assert [one.name for one in await world.organizations.members("acme", after="ann", count=9)] == ["ben"]
    teams = await world.organizations.teams("acme")
    assert [(one.name, one.members) for one in teams] == [("devs", 1)]
    assert [one.name for one in await world.organizations.in_team(("acme", "devs"))] == ["ben"]
    assert [one.organization for one in await world.organizations.of("ben", after="", count=9)] == ["acme"]
    for missing in (world.organizations.members("ann"), world.organizations.in_team(("acme", "none"))):
        assert await raised(missing) is AccountUnknown


async def test_who_has_access_in_one_list(world: World) -> None:
    """Owners, then roles on the namespace, then roles on the repository, each with its reason, in pages of any size."""
    await world.make("acme/app")
    spot = await world.roles.spot("acme/app", ADMIN)
    await world.roles.give(spot, "team:acme/devs", Role.READ)
    await world.roles.give(spot, "cid", Role.ADMIN)
    wanted = [
        ("ann", "user", Role.ADMIN, Way.OWNER),
        ("acme+ci", "robot", Role.WRITE, Way.NAMESPACE),
        ("team:acme/devs", "team", Role.READ, Way.REPOSITORY),
        ("cid", "user", Role.ADMIN, Way.REPOSITORY),
    ]
    for count in (1, 2, 3, 10):
        found: list[Any] = []
        while page := await world.roles.standings(spot, after=found[-1].position if found else None, count=count):
            found += page
        assert [(one.holder, one.holder_kind, one.role, one.way) for one in found] == wanted
    await world.make("cid/own")
    # SEC-026: somebody may make a position up.
    assert await world.roles.standings(spot, after=(2**63 - 1, 2**63 - 1), count=9) == []
    own = await world.roles.standings(await world.roles.spot("cid/own", ADMIN), count=9)
    assert [(one.holder, one.way) for one in own] == [("cid", Way.OWNER)]
    of_namespace = await world.roles.standings(Namespace("acme", ADMIN), count=9)
    assert [one.holder for one in of_namespace] == ["ann", "acme+ci"]
    of_team = await world.organizations.roles_of_team(("acme", "devs"), await world.principal("ann"))
    assert [(one.place, one.role) for one in of_team] == [("acme/app", Role.READ)]


async def test_teams_of_others_are_not_known(world: World) -> None:
    """SEC-022: who administers a repository gives roles to the teams of its organization, and to those of one that it
    belongs to; of others it learns nothing."""
    await world.make("cid/own")
    target = await world.at("cid/own", "cid")
    for team in ("team:acme/devs", "team:acme/none"):
        assert await raised(world.roles.give(target, team, Role.READ)) is AccountUnknown
    await world.organizations.set_member("acme", "cid", ADMIN, is_owner=False)
    await world.roles.give(target, "team:acme/devs", Role.READ)
    for nobody in ("acme", "none"):
        assert await raised(world.roles.give(target, nobody, Role.READ)) in (AccountInvalid, AccountUnknown)


# Changes that ask again


async def test_a_permit_is_asked_again(world: World) -> None:
    """SEC-021: who lost a right after the request was let in changes nothing; nor does who logged in with a token that
    has ended."""
    ann = await world.permit("ann")
    target = await world.at((await world.make("acme/app")).name, "ann")
    late = RepositoryAccess(target.name, target.id, ann.actor, subjects=ann.subjects, revision=ann.revision)
    await world.organizations.set_member("acme", "ben", ADMIN, is_owner=True)
    await world.organizations.remove_member("acme", "ann", ADMIN)
    changes = (
        world.organizations.set_member("acme", "cid", ann, is_owner=True),
        world.organizations.add_team("acme", "late", ann),
        world.accounts.update("acme", AccountChange(title="late"), ann),
        world.accounts.add_robot("acme+late", Role.ADMIN, ann),
        world.roles.give(Namespace("acme", ann), "cid", Role.ADMIN),
        world.roles.give(late, "cid", Role.ADMIN),
        world.repositories.update(late, RepositoryChange(description="late")),
        world.repositories.put_readme(late, "late"),
        world.repositories.star(late, is_starred=True),
        world.repositories.move(late, RepositoryName("acme/late"), None),
        world.repositories.begin_delete(late),
        world.tokens.create("acme+ci", "late", TokenLimits(frozenset({TokenScope.READ})), ann, life_s=None),
    )
    for work in changes:
        assert await raised(work) is Unauthenticated
    token_id, _ = await world.tokens.create("ben", "t", TokenLimits(frozenset({TokenScope.ADMIN})), ADMIN, life_s=None)
    ben = await world.permit("ben", credential_subject(token_id))
    await world.tokens.revoke(token_id, ADMIN)
    assert await raised(world.organizations.add_team("acme", "late", ben)) is Unauthenticated


async def test_nobody_overwrites_what_it_has_not_seen(world: World) -> None:
    """If-Match: of two who change the same thing at once, one does; the other is told what is there now."""
    target = await world.make("acme/app")
    seen = administration.version(await world.repositories.settings(target))
    changes = [RepositoryChange(description=f"by {name}") for name in ("ann", "ben", "cid")]
    done = await asyncio.gather(
        *(raised(world.repositories.update(target, change, if_match=seen)) for change in changes)
    )
    assert sorted(one is None for one in done) == [False, False, True]
    assert {one for one in done if one} == {PreconditionFailed}
    now = administration.version(await world.repositories.settings(target))
    await world.repositories.update(target, RepositoryChange(visibility=Visibility.PUBLIC), if_match=now)
    empty = administration.version(readme_state(await world.repositories.readme(target)))
    await world.repositories.put_readme(target, "# One", if_match=empty)
    assert await raised(world.repositories.put_readme(target, "# Two", if_match=empty)) is PreconditionFailed
    profile = administration.version(await world.accounts.profile("ann"))
    await world.accounts.update("ann", AccountChange(title="Ann"), ADMIN, if_match=profile)
    assert await raised(world.accounts.update("ann", AccountChange(title=""), ADMIN, if_match=profile)) is (
        PreconditionFailed
    )
    member = administration.version(await world.organizations.member("acme", "ben"))
    await world.organizations.set_member("acme", "ben", ADMIN, is_owner=True, if_match=member)
    again = world.organizations.set_member("acme", "ben", ADMIN, is_owner=False, if_match=member)
    assert await raised(again) is PreconditionFailed
    spot = await world.roles.spot("acme/app", ADMIN)
    await world.roles.give(spot, "cid", Role.READ)
    role = administration.version(await world.roles.role(spot, "cid"))
    await world.roles.give(spot, "cid", Role.WRITE, if_match=role)
    assert await raised(world.roles.give(spot, "cid", Role.NONE, if_match=role)) is PreconditionFailed


async def test_the_last_ones_stay(world: World) -> None:
    """The last owner and the last admin can neither step down, leave nor go, and of two owners who leave at once one
    stays."""
    for work in (
        world.organizations.set_member("acme", "ann", ADMIN, is_owner=False),
        world.organizations.remove_member("acme", "ann", ADMIN),
        world.accounts.delete("ann", ADMIN),
        world.accounts.set_admin("rita", ADMIN, is_admin=False),
        world.accounts.set_disabled("rita", ADMIN, is_disabled=True),
        world.accounts.delete("rita", ADMIN),
    ):
        assert await raised(work) is Conflict
    await world.organizations.set_member("acme", "ben", ADMIN, is_owner=True)
    done = await asyncio.gather(
        *(raised(world.organizations.remove_member("acme", name, ADMIN)) for name in ("ann", "ben"))
    )
    assert sorted(map(str, done)) == sorted(map(str, [None, Conflict]))


async def test_who_may_make_an_organization(world: World) -> None:
    """Users make their own, unless only admins do; so many and no more; and admins for anybody."""
    await world.organizations.add("bens", "ben", await world.permit("ben"))
    ben, rita = await world.permit("ben"), await world.permit("rita")
    assert await raised(world.organizations.add("cids", "cid", ben)) is Denied
    await world.organizations.add("cids", "cid", rita)
    closed = Organizations(world.database, world.house.clock, OrganizationsBy.ADMINS)
    cid, rita = await world.permit("cid"), await world.permit("rita")
    assert await raised(closed.add("more", "cid", cid)) is Denied
    await closed.add("more", "cid", rita)


async def test_organizations_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those who make some at once, only as many succeed as one may own."""
    monkeypatch.setattr("registry.services.organizations.ORGANIZATIONS_PER_USER", 3)
    for number in range(5):
        ben = await world.permit("ben")
        expected = None if number < 3 else Conflict
        assert await raised(world.organizations.add(f"bens{number}", "ben", ben)) is expected


async def test_what_is_in_an_organization_is_named_first(world: World) -> None:
    """It goes once it owns nothing, and what it owns is told before."""
    for number in range(12):
        await world.make(f"acme/r{number:02}")
    found = await world.accounts.contents("acme")
    assert (found.repositories, found.teams, found.robots, found.members) == (12, 1, 1, 2)
    assert found.first_repositories == [f"acme/r{number:02}" for number in range(10)]
    assert await raised(world.accounts.delete("acme", ADMIN, kind=ORGANIZATION)) is Conflict
    await world.bulk.delete([f"acme/r{number:02}" for number in range(12)], ADMIN)
    await world.accounts.delete("acme", ADMIN, kind=ORGANIZATION)
    assert await raised(world.accounts.get("acme+ci")) is AccountUnknown


# Texts


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  plain  ", "plain"),
        ("x" * 500, "x" * 500),
        ("x" * 501, None),
        ("two\nlines", None),
        ("nul\0", None),
        ("\u202eevil", None),
        ("日本語 🎉", "日本語 🎉"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
async def test_a_description_is_one_line(sqlite_backend: Backend, text: str, kept: str | None) -> None:
    """What is taken is kept as it is, and what is not is refused by the name of its field."""
    async with opened(sqlite_backend) as world:
        target = await world.make("acme/app")
        if kept is None:
            with pytest.raises(FieldInvalid) as error:
                await world.repositories.update(target, RepositoryChange(description=text))
            assert error.value.facts["field"] == "description"
        else:
            found = await world.repositories.update(target, RepositoryChange(description=text))
            assert found.description == kept


async def test_a_readme_has_a_limit(world: World) -> None:
    """256 KiB in UTF-8 and no more; an empty one is none."""
    target = await world.make("acme/app")
    assert await world.repositories.readme(target) is None
    await world.repositories.put_readme(target, "é" * (128 * 1024))
    found = await world.repositories.readme(target)
    assert found is not None
    assert len(found.markdown.encode()) == 256 * 1024
    assert await raised(world.repositories.put_readme(target, "é" * (128 * 1024) + "x")) is FieldInvalid
    await world.repositories.put_readme(target, "")
    assert await world.repositories.readme(target) is None


# Stars


async def test_stars_are_counted_exactly(world: World) -> None:
    """Many who star and unstar at once, and again: the number that lists show is that of the rows, also after an
    account is gone; and each star is one."""
    await world.make("acme/app")
    await world.make("acme/b")
    for number in range(8):
        await world.accounts.add_user(f"fan{number}", SECRET, ADMIN)
    ways = [await world.at(name, f"fan{number}") for number in range(8) for name in ("acme/app", "acme/b")]
    work = [world.repositories.star(way, is_starred=True) for way in [*ways, *ways]]
    await asyncio.gather(*work, *(world.repositories.star(way, is_starred=False) for way in ways[:4]))
    counts = await world.star_counts()
    assert all(shown == there for shown, there in counts.values())
    for way in ways:
        await world.repositories.star(way, is_starred=True)
        assert await world.repositories.is_starred(way)
    assert await world.star_counts() == {"acme/app": (8, 8), "acme/b": (8, 8)}
    await asyncio.gather(
        world.accounts.delete("fan0", ADMIN),
        raised(world.repositories.star(ways[0], is_starred=True)),
        raised(world.repositories.star(ways[1], is_starred=False)),
    )
    assert await world.star_counts() == {"acme/app": (7, 7), "acme/b": (7, 7)}


# Tokens


def principal(limits: TokenLimits | None, *, token: int | None = 7, expires_at: int | None = None) -> Principal:
    """Who shows a token."""
    return Principal(1, "ann", "personal token 7", token, limits, expires_at=expires_at)


READ, WRITE, DELETE, ADMINISTER = (frozenset({scope}) for scope in TokenScope)


@pytest.mark.parametrize(
    ("mine", "wanted", "may"),
    [
        (TokenLimits(READ), TokenLimits(READ), True),
        (TokenLimits(READ), TokenLimits(WRITE), False),
        (TokenLimits(WRITE), TokenLimits(READ), True),
        (TokenLimits(READ | WRITE | DELETE), TokenLimits(ADMINISTER), False),
        (TokenLimits(ADMINISTER), TokenLimits(READ | WRITE | DELETE | ADMINISTER), True),
        (TokenLimits(READ, ("acme/app",)), TokenLimits(READ), False),
        (TokenLimits(READ, ("acme/app",)), TokenLimits(READ, ("acme/app",)), True),
        (TokenLimits(READ, ("acme/app",)), TokenLimits(READ, ("acme/*",)), False),
        (TokenLimits(READ, ("acme/*",)), TokenLimits(READ, ("acme/app", "acme/x/*", "acme/*")), True),
        (TokenLimits(READ, ("acme/*",)), TokenLimits(READ, ("acmeevil/app",)), False),
        (TokenLimits(READ), TokenLimits(READ, ("acme/*",)), True),
    ],
)
async def test_a_token_makes_none_that_is_stronger(
    sqlite_backend: Backend, mine: TokenLimits, wanted: TokenLimits, may: bool
) -> None:
    """SEC-020: neither in what it is good for nor in how long it lasts."""
    async with opened(sqlite_backend) as world:
        token_id, _ = await world.tokens.create("ann", "mine", mine, ADMIN, life_s=None)
        under = principal(mine, token=token_id)
        made = world.tokens.create("ann", "t", wanted, ADMIN, life_s=None, under=under)
        assert await raised(made) is (None if may else Denied)
        if may:
            ends = principal(mine, token=token_id, expires_at=world.house.now + 60_000)
            for life_s, expected in ((None, Denied), (61, Denied), (60, None)):
                made = world.tokens.create("ann", "t", wanted, ADMIN, life_s=life_s, under=ends)
                assert await raised(made) is expected


async def test_what_a_token_made_ends_with_it(world: World) -> None:
    """SEC-020: a token that was stolen for a moment leaves none behind, also none of a robot, or of one of its own."""
    limits = TokenLimits(ADMINISTER)
    first, _ = await world.tokens.create("ann", "first", limits, ADMIN, life_s=None)
    second, _ = await world.tokens.create(
        "ann", "second", limits, ADMIN, life_s=None, under=principal(limits, token=first)
    )
    third, _ = await world.tokens.create(
        "acme+ci", "third", limits, ADMIN, life_s=None, under=principal(limits, token=second)
    )
    other, _ = await world.tokens.create("ann", "other", limits, ADMIN, life_s=None)
    await world.tokens.revoke(first, ADMIN)
    assert [token.id for token in await world.tokens.of("ann")] == [other]
    assert await world.tokens.of("acme+ci") == []
    changed = await world.house.rows("SELECT subject FROM access_changes")
    assert {(credential_subject(one),) for one in (first, second, third)} <= set(changed)


async def test_a_token_of_another_account_is_none(world: World) -> None:
    """SEC-022: who names a token by its number reaches those of the account only."""
    token_id, _ = await world.tokens.create("ann", "t", TokenLimits(READ), ADMIN, life_s=None)
    assert await raised(world.tokens.get("ben", token_id)) is AccountUnknown
    assert await raised(world.tokens.revoke(token_id, ADMIN, account="ben")) is AccountUnknown
    assert (await world.tokens.get("ann", token_id)).name == "t"
    assert [one.id for one in await world.tokens.page("ann", "personal", after=0, count=5)] == [token_id]
    assert await world.tokens.page("ann", "personal", after=token_id, count=5) == []


# Names and many at once


async def test_the_owner_of_a_namespace_takes_a_name_back(world: World) -> None:
    """A repository that left keeps no name in a namespace whose owners want it."""
    target = await world.make("acme/app")
    await world.repositories.move(target, RepositoryName("cid/app"), None)
    found = await world.repositories.former_names("acme", await world.principal("cid"), after="", count=9)
    assert [(one.name, one.now) for one in found] == [("acme/app", "cid/app")]
    for namespace, name in (("ann", "acme/app"), ("acme", "acme/none"), ("cid", "cid/app")):
        work = world.repositories.free_name(namespace, RepositoryName(name), ADMIN)
        assert await raised(work) is NameUnknown
    await world.repositories.free_name("acme", RepositoryName("acme/app"), ADMIN)
    assert await world.repositories.former_names("acme", await world.principal("cid"), after="", count=9) == []
    await world.make("acme/app")


async def test_sec_027_lists_of_a_namespace_name_no_hidden_repository(world: World) -> None:
    """SEC-027: where a team has a role, and what a repository that left the namespace is called now, is told to who may
    see the repository; a role on a whole namespace to everybody who sees the team."""
    await world.repositories.move(await world.make("acme/gone"), RepositoryName("cid/hidden"), None)
    for place in ("cid/hidden", "acme/*"):
        await world.roles.give(await world.roles.spot(place, ADMIN), "team:acme/devs", Role.READ)
    for name, may_see in (("cid", True), ("ben", True), ("ann", False)):
        caller = await world.principal(name)
        names = await world.repositories.former_names("acme", caller, after="", count=9)
        assert [(one.name, one.now) for one in names] == [("acme/gone", "cid/hidden" if may_see else None)]
        roles = await world.organizations.roles_of_team(("acme", "devs"), caller)
        assert [one.place for one in roles] == (["cid/hidden"] if may_see else []) + ["acme/*"]


async def test_many_are_changed_in_one_call(world: World) -> None:
    """Each is told what became of it, those that are not there too, in the order in which they were named."""
    for name in ("acme/a", "acme/b", "acme/c"):
        await world.make(name)
    await world.repositories.move(await world.at("acme/c", ADMIN), RepositoryName("acme/d"), None)
    names = ["acme/b", "acme/none", "Not A Name", "acme/a", "acme/c", "acme/a"]
    looked = await world.bulk.look(names)
    done = await world.bulk.set_visibility(names, Visibility.PUBLIC, ADMIN)
    assert done == looked
    assert [(one.name, one.problem is None) for one in done] == [
        ("acme/b", True),
        ("acme/none", False),
        ("Not A Name", False),
        ("acme/a", True),
        ("acme/c", False),
    ]
    shown = {one.name: one.visibility for one in await world.repositories.all()}
    assert shown == {"acme/a": Visibility.PUBLIC, "acme/b": Visibility.PUBLIC, "acme/d": Visibility.PRIVATE}
    deleted = await world.bulk.delete(["acme/a", "acme/none", "acme/d"], ADMIN)
    assert [one.problem is None for one in deleted] == [True, False, True]
    assert [one.name for one in await world.repositories.all()] == ["acme/b"]
    await world.make("acme/a")
    for names in ([], [f"acme/x{number}" for number in range(101)]):
        assert await raised(world.bulk.delete(names, ADMIN)) is FieldInvalid


async def test_what_is_done_is_written_down_for_whom_it_concerns(world: World) -> None:
    """Each change has its row, with the namespace whose owners see it."""
    target = await world.make("acme/app")
    before = len(await world.audited())
    await world.repositories.update(target, RepositoryChange("It", Visibility.PUBLIC))
    await world.repositories.put_readme(target, "# It")
    await world.repositories.star(await world.at("acme/app", "cid"), is_starred=True)
    await world.accounts.update("acme", AccountChange(title="Acme", default_visibility=Visibility.PUBLIC), ADMIN)
    await world.accounts.update("acme", AccountChange(default_visibility=None), ADMIN)
    await world.roles.give(await world.roles.spot("acme/*", ADMIN), "cid", Role.READ)
    token_id, _ = await world.tokens.create("acme+ci", "t", TokenLimits(READ), ADMIN, life_s=None)
    await world.tokens.revoke(token_id, ADMIN)
    await world.organizations.remove_team("acme", "devs", ADMIN)
    found = (await world.audited())[before:]
    assert [(action, namespace) for action, namespace, _ in found] == [
        ("repository.described", "acme"),
        ("repository.visibility", "acme"),
        ("repository.readme", "acme"),
        ("star.added", "acme"),
        ("account.described", "acme"),
        ("account.default-visibility", "acme"),
        ("account.default-visibility", "acme"),
        ("role.given", "acme"),
        ("token.created", "acme"),
        ("token.revoked", "acme"),
        ("team.removed", "acme"),
    ]
