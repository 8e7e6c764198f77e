"""Who may rename and move a repository, and what happens to those who push meanwhile, on each database."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from registry.core.access import Principal, RepositoryAccess, Role, TokenLimits, TokenScope
from registry.core.errors import AccountInvalid, Conflict, Denied, NameUnknown, Unavailable
from registry.core.names import AccountName, RepositoryName
from registry.metadata import accounts, aliases, grants, repositories
from registry.metadata.accounts import ORGANIZATION, USER, NewAccount
from registry.metadata.database import Connection, Database
from registry.metadata.grants import Holder, Place
from registry.metadata.schema import repositories as rows
from registry.services.clock import system_clock
from registry.services.installation import Installation
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from tests.backends import Backend
from tests.reliability.hub import ADMIN
from tests.services.conftest import NOBODY, House

pytestmark = pytest.mark.anyio

APP = RepositoryName("acme/app")
ATTEMPTS = 25


@dataclass
class World:
    """Ann owns the organization acme, ben owns other; root administers the instance. acme/app is there."""

    database: Database
    admin: Repositories

    async def account(self, name: str, kind: str = USER, *, is_admin: bool = False) -> int:
        """A new account."""
        new = NewAccount(AccountName(name), kind, is_admin=is_admin)
        found = await self.database.write(lambda connection: accounts.add(connection, new, now=1))
        assert found is not None
        return found

    async def own(self, organization: str, owner: int) -> int:
        """A new organization."""
        found = await self.account(organization, ORGANIZATION)
        await self.database.write(
            lambda connection: accounts.set_member(connection, found, owner, is_owner=True, now=1)
        )
        return found

    async def make(self, name: str, namespace_id: int | None) -> RepositoryAccess:
        """A new repository."""
        target = RepositoryAccess(RepositoryName(name), None, ADMIN, namespace_id)
        await self.database.write(lambda connection: repositories.ensure(connection, target, now=1))
        return await self.at(name)

    async def at(self, name: str) -> RepositoryAccess:
        """The way in."""
        return await self.admin.entry(RepositoryName(name), ADMIN)

    async def move(self, name: str, new: str, mover: Principal | None) -> None:
        """Rename or transfer."""
        await self.admin.move(await self.at(name), RepositoryName(new), mover)


async def made(backend: Backend) -> tuple[World, dict[str, int]]:
    """The world, and who is there."""
    house = House(backend.new())
    await Installation(house.database, house.store, house.clock).open()
    world = World(house.database, Repositories(house.database, system_clock, 1000))
    ids = {name: await world.account(name) for name in ("ann", "ben", "cid")}
    ids["root"] = await world.account("root", is_admin=True)
    ids["acme"], ids["other"] = await world.own("acme", ids["ann"]), await world.own("other", ids["ben"])
    await world.make(APP, ids["acme"])
    return world, ids


def who(ids: dict[str, int], name: str, limits: TokenLimits | None = None) -> Principal:
    """Somebody who administers the repository: that is known before."""
    return Principal(ids[name], name, "password", limits=limits)


async def test_who_may_move(backend: Backend) -> None:
    """SEC-021: inside a namespace whoever administers the repository; to another one who may create there too, and not
    by means of a former name that the repository has there; a token as far as it is good for the new name."""
    world, ids = await made(backend)
    ann, ben, cid, root = (who(ids, name) for name in ("ann", "ben", "cid", "root"))
    await world.move("acme/app", "acme/app2", cid)
    for mover in (ann, cid):
        with pytest.raises(Denied):
            await world.move("acme/app2", "other/app", mover)
    await world.move("acme/app2", "other/app", ben)
    # It means what is ben's now, to whom acme is closed.
    with pytest.raises(Denied):
        await world.move("other/app", "acme/app", ben)
    give = Holder(ids["ben"]), Place(namespace_id=ids["acme"]), Role.WRITE
    await world.database.write(lambda connection: grants.put(connection, *give, now=1))
    await world.move("other/app", "acme/app", ben)
    narrow = TokenLimits(frozenset({TokenScope.ADMIN}), ("acme/app",))
    with pytest.raises(Denied):
        await world.move("acme/app", "acme/b", who(ids, "ann", narrow))
    for name in ("app", "nobody/app"):
        with pytest.raises(Denied):
            await world.move("acme/app", name, ann)
        await world.move("acme/app", name, root)
        with pytest.raises(Denied):
            await world.move(name, "top", ann)
        await world.move(name, "acme/app", root)


async def test_where_nothing_can_go(backend: Backend) -> None:
    """To an account that is disabled or gone; to a name that another repository has or had; and not for ever."""
    world, ids = await made(backend)
    await world.make("acme/b", ids["acme"])
    await world.account("gone")
    gone = await world.database.read(lambda connection: accounts.find(connection, "gone"))
    assert gone is not None

    def end(connection: Connection) -> None:
        accounts.mark_deleted(connection, gone.id, now=1)
        accounts.set_disabled(connection, ids["cid"], at=1)

    await world.database.write(end)
    for new in ("gone/app", "cid/app"):
        with pytest.raises(AccountInvalid):
            await world.move(APP, new, None)
    await world.move("acme/b", "acme/c", None)
    for new in ("acme/b", "acme/c"):
        with pytest.raises(Conflict):
            await world.move(APP, new, None)
    for number in range(32):
        await world.move(APP, f"acme/n{number}", None)
    with pytest.raises(Conflict):
        await world.move(APP, "acme/n32", None)
    await world.move(APP, APP, None)
    with pytest.raises(NameUnknown):
        await world.at("acme/n32")


async def test_roles_on_it_go_along(backend: Backend) -> None:
    """Roles on the repository are there after a transfer, and its namespace is the new one."""
    world, ids = await made(backend)
    app = await world.at(APP)
    give = Holder(ids["cid"]), Place(repository_id=app.id), Role.READ
    await world.database.write(lambda connection: grants.put(connection, *give, now=1))
    await world.move(APP, "other/app", None)
    found = await world.database.read(lambda connection: repositories.get(connection, APP))
    assert found is not None
    roles = Roles(world.database, system_clock)
    assert (found.id, found.name, found.namespace) == (app.id, "other/app", "other")
    assert [given.holder for given in await roles.given(await roles.spot("other/app", ADMIN))] == ["cid"]


async def test_a_push_meets_a_rename(backend: Backend) -> None:
    """Many first pushes of a name to which, and from which, a repository is being renamed: at every moment a name means
    one repository, and who pushed by it has that one."""
    world, ids = await made(backend)
    new = RepositoryName("acme/new")
    pushes = [RepositoryAccess(name, None, NOBODY, ids["acme"]) for _ in range(ATTEMPTS) for name in (APP, new)]

    async def push(target: RepositoryAccess) -> tuple[RepositoryName, int]:
        found, _ = await world.database.write(lambda connection: repositories.ensure(connection, target, now=1))
        return target.name, found.id

    async def rename(old: RepositoryName, to: RepositoryName) -> None:
        await world.move(old, to, None)

    renaming = asyncio.ensure_future(rename(APP, new))
    pushed = await asyncio.gather(*map(push, pushes))
    # A push was quicker, perhaps.
    with suppress(Conflict):
        await renaming

    def meant(connection: Connection) -> dict[str, set[int]]:
        assert not set(connection.execute(select(rows.c.name)).scalars()) & {
            alias.name for alias in aliases.of(connection, 1)
        }
        return {name: {repositories.find(connection, name) or 0} for name in (APP, new)}

    now = await world.database.read(meant)
    for name, repository_id in pushed:
        assert repository_id in now[name]


async def test_a_push_does_not_follow_a_repository_elsewhere(backend: Backend) -> None:
    """SEC-022: who may create in acme and began to push a name there, which has come to mean what another namespace
    owns, is told to begin again."""
    world, ids = await made(backend)
    late = RepositoryAccess(RepositoryName("acme/late"), None, NOBODY, ids["acme"])
    await world.move(APP, "acme/late", None)
    await world.move("acme/late", "other/app", None)
    with pytest.raises(Unavailable):
        await world.database.write(lambda connection: repositories.ensure(connection, late, now=1))


async def test_one_of_many_gets_a_name(backend: Backend) -> None:
    """Ten repositories that are renamed to one name at once: one has it, and the name is nobody's former one."""
    world, ids = await made(backend)
    names = [f"acme/r{number}" for number in range(10)]
    for name in names:
        await world.make(name, ids["acme"])
    done = await asyncio.gather(*(world.move(name, "acme/one", None) for name in names), return_exceptions=True)
    assert sum(one is None for one in done) == 1
    assert sum(isinstance(one, Conflict) for one in done) == 9
