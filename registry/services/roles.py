"""Roles: of an account or a team, on a repository or a whole namespace. Given, taken, and who has access in one list.

Who administers a place gives roles there, up to what it has itself, which is everything; nobody else gives any.
"""

from dataclasses import dataclass

from registry.core.access import (
    Actor,
    Permit,
    RepositoryAccess,
    Role,
    account_subject,
    namespace_subject,
    repository_subject,
)
from registry.core.errors import AccountInvalid, AccountUnknown
from registry.core.limits import LIST_PAGE_MAX
from registry.core.names import RepositoryName
from registry.metadata import access, accounts, audit, grants
from registry.metadata.accounts import ORGANIZATION
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.grants import Given, Holder, Place, Standing, Way
from registry.services import administration
from registry.services.accounts import existing
from registry.services.clock import Clock
from registry.services.organizations import existing_team
from registry.services.repositories import existing_repository, still_there

__all__ = ["Namespace", "RoleThere", "Roles", "Spot", "Standing", "Way"]

_TEAM = "team:"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace, and who was let in to it."""

    name: str
    by: Actor | Permit


Spot = RepositoryAccess | Namespace
"""Where a role is given."""


@dataclass(frozen=True, slots=True)
class RoleThere:
    """What somebody has at a place, for who wants to change only what is still so."""

    holder: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Found:
    """A spot in the database. `label`: as the audit names it."""

    place: Place
    namespace_id: int | None
    subject: str
    label: str
    repository: str | None
    about: str | None


@dataclass(frozen=True, slots=True)
class Roles:
    """Looks after roles. Raises NameUnknown, AccountUnknown for what is not there."""

    database: Database
    clock: Clock

    async def spot(self, text: str, actor: Actor) -> Spot:
        """A repository by its name, or a namespace (`name/*`), for who needs no permit."""
        if text.endswith("/*"):
            return Namespace(text[:-2], actor)
        name = RepositoryName.parse(text)
        found = await self.database.read(lambda connection: existing_repository(connection, name))
        return RepositoryAccess(name, found.id, actor)

    async def given(self, spot: Spot) -> list[Given]:
        """Every role that was given exactly here, oldest first."""
        return await self.database.read(lambda connection: grants.on(connection, _find(connection, spot).place))

    async def standings(self, spot: Spot, *, after: tuple[int, int] | None = None, count: int) -> list[Standing]:
        """Who has access here, and why: the owners of the namespace, roles on all of it, roles on the repository.
        Admins of the instance have access to everything, and are not listed."""

        def read(connection: Connection) -> list[Standing]:
            found = _find(connection, spot)
            bounded = min(count, LIST_PAGE_MAX + 1)
            return grants.standings(connection, found.place, found.namespace_id, after=after, count=bounded)

        return await self.database.read(read)

    async def role(self, spot: Spot, holder: str) -> RoleThere:
        """What a holder was given exactly here. Raises AccountUnknown where that is nothing."""

        def read(connection: Connection) -> RoleThere:
            found = _find(connection, spot)
            who, _ = _holder(connection, holder, found, spot)
            role = grants.one(connection, who, found.place)
            if role is Role.NONE:
                raise AccountUnknown(f"{holder} has no role on {found.label}")
            return RoleThere(holder, role)

        return await self.database.read(read)

    async def give(self, spot: Spot, holder: str, role: Role, *, if_match: str | None = None) -> None:
        """Give a role to an account or a team (`team:acme/devs`), in place of the one that it has here; NONE takes it
        away. Raises AccountUnknown, AccountInvalid, PreconditionFailed."""

        def change(connection: Connection, now: int) -> None:
            found = _find(connection, spot)
            who, subject = _holder(connection, holder, found, spot)
            if if_match is not None:
                had = grants.one(connection, who, found.place)
                administration.require_version(RoleThere(holder, had), if_match)
            if role is not Role.NONE:
                grants.put(connection, who, found.place, role, now=now)
            elif not grants.remove(connection, who, found.place):
                raise AccountUnknown(f"{holder} has no role on {found.label}")
            access.note_changes(connection, [subject or found.subject], now=now)
            action = "role.given" if role is not Role.NONE else "role.taken"
            text = f"{holder} {role.name.lower()} on {found.label}"
            entry = Entry(action, found.repository, target=text, about=found.about)
            audit.append(connection, _actor(spot), [entry], now=now)

        by = spot.by if isinstance(spot, Namespace) else spot
        await administration.change(self.database, self.clock, by, change)


def _actor(spot: Spot) -> Actor:
    return administration.actor_of(spot.by) if isinstance(spot, Namespace) else spot.actor


def _find(connection: Connection, spot: Spot) -> _Found:
    if isinstance(spot, Namespace):
        account = existing(connection, spot.name)
        if account.owner_id is not None:
            raise AccountUnknown(f"{spot.name} has no namespace")
        place = Place(namespace_id=account.id)
        subject = namespace_subject(account.id)
        return _Found(place, account.id, subject, f"{account.name}/*", None, account.name)
    found = still_there(connection, spot)
    place = Place(repository_id=found.id)
    return _Found(place, found.namespace_id, repository_subject(found.id), found.name, found.name, None)


def _holder(connection: Connection, text: str, found: _Found, spot: Spot) -> tuple[Holder, str | None]:
    """Who, and what changes for them, None where that is a team: then it changes for the place."""
    if text.startswith(_TEAM):
        organization, _, team = text.removeprefix(_TEAM).partition("/")
        group = existing(connection, organization, ORGANIZATION)
        _require_known(connection, group.id, found, spot)
        return Holder(team_id=existing_team(connection, group.id, team)), None
    account = existing(connection, text)
    if account.kind == ORGANIZATION:
        message = f"{text} is an organization: give roles to its members, teams and robots"
        raise AccountInvalid(message, field="holder")
    return Holder(account.id), account_subject(account.id)


def _require_known(connection: Connection, organization_id: int, found: _Found, spot: Spot) -> None:
    """Teams are what their organization says of itself: others learn nothing of them. Raises AccountUnknown."""
    caller = _actor(spot)
    if organization_id == found.namespace_id or caller.account_id is None:
        return
    is_member = accounts.member(connection, organization_id, caller.account_id) is not None
    if not is_member and not existing(connection, caller.name).is_admin:
        raise AccountUnknown("there is no such team, or none that this account belongs to")
