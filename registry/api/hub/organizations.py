"""Organizations, their members and teams."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from registry.api.hub import accounts, answers, lists
from registry.api.hub.accounts import DescriptionText, Profile, ProfileChange, TitleText
from registry.api.hub.gate import Visit
from registry.api.hub.lists import DryRunQuery, ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment
from registry.api.responses import Answer
from registry.core.access import Action, Role
from registry.core.errors import Denied
from registry.core.names import ACCOUNT_NAME_MAX_CHARS
from registry.services import administration
from registry.services.accounts import ORGANIZATION
from registry.services.accounts import Contents as FoundContents
from registry.services.groups import GROUP_MAX_CHARS
from registry.services.organizations import ListedMember, ListedTeam
from registry.services.organizations import Member as FoundMember
from registry.services.organizations import TeamRole as FoundRole

NameText = Annotated[str, msgspec.Meta(min_length=1, max_length=ACCOUNT_NAME_MAX_CHARS)]


class MemberRole(StrEnum):
    """What somebody is in an organization."""

    OWNER = "owner"
    MEMBER = "member"


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An organization to be."""

    name: NameText
    title: TitleText = ""
    description: DescriptionText = ""
    owner: NameText | None = None
    """Its first owner, where an admin of the instance makes it for somebody; null: who makes it."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a namespace: the repositories keep it from going, the rest goes with it."""

    dry_run: bool
    repositories: int
    first_repositories: list[str]
    teams: int
    robots: int
    members: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in an organization."""

    name: str
    title: str
    role: MemberRole
    disabled: bool
    since: datetime


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody is in an organization."""

    name: str
    role: MemberRole


class WantedMembership(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What somebody shall be in an organization."""

    role: MemberRole


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """A team."""

    name: str
    members: int
    external_group: str | None
    """The group of the identity provider whose members are those of the team, where it stands for one."""
    created_at: datetime


class NewTeam(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A team to be."""

    name: NameText


class Group(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A group of the identity provider."""

    group: Annotated[str, msgspec.Meta(min_length=1, max_length=GROUP_MAX_CHARS)] | None
    """Null: the team is one like others."""


class TeamRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role that a team has: on a repository, or on a whole namespace (`name/*`)."""

    on: str
    role: str


async def create_organization(services: HubServices, visit: Visit) -> Answer:
    """Make an organization, which owns all names below its own. The instance may leave that to its admins."""
    body: NewOrganization = visit.body
    owner = body.owner or visit.caller.principal.name
    await services.organizations.add(body.name, owner, visit.permit, title=body.title, description=body.description)
    return accounts.profile(await services.accounts.profile(body.name), 201)


async def get_organization(services: HubServices, visit: Visit) -> Answer:
    """An organization, or a user's own namespace."""
    return accounts.profile(await services.accounts.profile(visit.namespace.name))


async def update_organization(services: HubServices, visit: Visit) -> Answer:
    """Change what an organization says of itself, and what its new repositories are."""
    change = accounts.change_of(visit.body)
    name = visit.namespace.name
    return accounts.profile(await services.accounts.update(name, change, visit.permit, if_match=visit.if_match))


async def delete_organization(services: HubServices, visit: Visit) -> Answer:
    """Delete an organization that owns no repositories, with its teams and robots. Its name is never given out
    again."""
    name = visit.namespace.name
    found = await services.accounts.contents(name, ORGANIZATION, if_match=visit.if_match)
    if not visit.query.dry_run:
        await services.accounts.delete(name, visit.permit, kind=ORGANIZATION, if_match=visit.if_match)
    return answers.one(_contents(found, dry_run=visit.query.dry_run))


async def list_members(services: HubServices, visit: Visit) -> Answer:
    """Members and owners of an organization, by name."""
    count = visit.query.limit + 1
    found = await services.organizations.members(visit.namespace.name, after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _member, lambda one: (one.name,))


async def get_member(services: HubServices, visit: Visit) -> Answer:
    """What somebody is in an organization."""
    return _membership(await services.organizations.member(visit.namespace.name, visit.names["member"]))


async def set_member(services: HubServices, visit: Visit) -> Answer:
    """Make a user a member or owner of an organization. Its last owner stays one."""
    return _membership(
        await services.organizations.set_member(
            visit.namespace.name,
            visit.names["member"],
            visit.permit,
            is_owner=visit.body.role is MemberRole.OWNER,
            if_match=visit.if_match,
        )
    )


async def remove_member(services: HubServices, visit: Visit) -> Answer:
    """Take somebody out of an organization: out of its teams, and with every role in it."""
    organization, name = visit.namespace.name, visit.names["member"]
    await services.organizations.remove_member(organization, name, visit.permit, if_match=visit.if_match)
    return answers.nothing()


async def list_teams(services: HubServices, visit: Visit) -> Answer:
    """The teams of an organization, by name."""
    count = visit.query.limit + 1
    found = await services.organizations.teams(visit.namespace.name, after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _team, lambda one: (one.name,))


async def create_team(services: HubServices, visit: Visit) -> Answer:
    """Add a team to an organization."""
    name = visit.body.name
    await services.organizations.add_team(visit.namespace.name, name, visit.permit)
    return answers.one(_team(await services.organizations.team(visit.namespace.name, name)), 201)


async def get_team(services: HubServices, visit: Visit) -> Answer:
    """One team of an organization."""
    return answers.one(_team(await services.organizations.team(*_place(visit))))


async def delete_team(services: HubServices, visit: Visit) -> Answer:
    """Remove a team, with the roles that were given to it."""
    await services.organizations.remove_team(*_place(visit), visit.permit)
    return answers.nothing()


async def set_team_group(services: HubServices, visit: Visit) -> Answer:
    """Let a team stand for a group of the identity provider, or be one like others again. Who is in it changes when
    each signs in."""
    if services.groups is None:
        raise Denied("this registry is open to everybody: nobody signs in")
    place = (visit.names["organization"], visit.names["team"])
    await services.groups.set_group(place, visit.body.group, visit.permit)
    return answers.one(_team(await services.organizations.team(*place)))


async def list_team_members(services: HubServices, visit: Visit) -> Answer:
    """The people and robots in a team, by name."""
    count = visit.query.limit + 1
    found = await services.organizations.in_team(_place(visit), after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _member, lambda one: (one.name,))


async def add_team_member(services: HubServices, visit: Visit) -> Answer:
    """Put a member or robot of the organization into a team."""
    await services.organizations.set_in_team(_place(visit), visit.names["member"], visit.permit, is_in=True)
    return answers.nothing()


async def remove_team_member(services: HubServices, visit: Visit) -> Answer:
    """Take somebody out of a team."""
    await services.organizations.set_in_team(_place(visit), visit.names["member"], visit.permit, is_in=False)
    return answers.nothing()


async def list_team_roles(services: HubServices, visit: Visit) -> Answer:
    """The roles that a team has, oldest first: on whole namespaces, and on those repositories that the caller may
    see."""
    caller, count = visit.caller.principal, visit.query.limit + 1
    after = lists.last_number(visit)
    found = await services.organizations.roles_of_team(_place(visit), caller, after=after, count=count)
    return lists.page(visit, found, _role, lambda one: (one.id,))


def _place(visit: Visit) -> tuple[str, str]:
    return visit.namespace.name, visit.names["team"]


def _contents(found: FoundContents, *, dry_run: bool) -> Contents:
    return Contents(
        dry_run=dry_run,
        repositories=found.repositories,
        first_repositories=found.first_repositories,
        teams=found.teams,
        robots=found.robots,
        members=found.members,
    )


def _member(found: ListedMember) -> Member:
    return Member(
        name=found.name,
        title=found.title,
        role=MemberRole.OWNER if found.is_owner else MemberRole.MEMBER,
        disabled=not found.is_active,
        since=moment(found.since),
    )


def _membership(found: FoundMember) -> Answer:
    role = MemberRole.OWNER if found.is_owner else MemberRole.MEMBER
    return answers.one(Membership(name=found.name, role=role), version=administration.version(found))


def _team(found: ListedTeam) -> Team:
    return Team(
        name=found.name,
        members=found.members,
        external_group=found.external_group,
        created_at=moment(found.created_at),
    )


def _role(found: FoundRole) -> TeamRole:
    return TeamRole(on=found.place, role=Role(found.role).name.lower())


_ALL = "/organizations"
_ONE = f"{_ALL}/{{namespace}}"
_MEMBERS, _TEAMS = f"{_ONE}/members", f"{_ONE}/teams"
_SOMEBODY, _TEAM = f"{_MEMBERS}/{{member}}", f"{_TEAMS}/{{team}}"
_IN_TEAM = f"{_TEAM}/members/{{member}}"
_PEOPLE = answers.Page[Member]
ROUTES = (
    HubRoute(
        "createOrganization",
        "POST",
        _ALL,
        Action.ACCOUNT,
        create_organization,
        answer=Profile,
        status=201,
        body=NewOrganization,
    ),
    HubRoute("getOrganization", "GET", _ONE, Action.INSPECT, get_organization, answer=Profile),
    HubRoute(
        "updateOrganization",
        "PATCH",
        _ONE,
        Action.GOVERN,
        update_organization,
        answer=Profile,
        body=ProfileChange,
        is_conditional=True,
    ),
    HubRoute(
        "deleteOrganization",
        "DELETE",
        _ONE,
        Action.GOVERN,
        delete_organization,
        answer=Contents,
        query=DryRunQuery,
        danger=True,
        is_conditional=True,
    ),
    HubRoute("listMembers", "GET", _MEMBERS, Action.INSPECT, list_members, answer=_PEOPLE, query=ListQuery),
    HubRoute("getMember", "GET", _SOMEBODY, Action.INSPECT, get_member, answer=Membership),
    HubRoute(
        "setMember",
        "PUT",
        _SOMEBODY,
        Action.GOVERN,
        set_member,
        answer=Membership,
        body=WantedMembership,
        is_conditional=True,
    ),
    HubRoute("removeMember", "DELETE", _SOMEBODY, Action.GOVERN, remove_member, status=204, is_conditional=True),
    HubRoute("listTeams", "GET", _TEAMS, Action.INSPECT, list_teams, answer=answers.Page[Team], query=ListQuery),
    HubRoute("createTeam", "POST", _TEAMS, Action.GOVERN, create_team, answer=Team, status=201, body=NewTeam),
    HubRoute("getTeam", "GET", _TEAM, Action.INSPECT, get_team, answer=Team),
    HubRoute("deleteTeam", "DELETE", _TEAM, Action.GOVERN, delete_team, status=204),
    HubRoute(
        "setTeamGroup",
        "PUT",
        "/instance/organizations/{organization}/teams/{team}/group",
        Action.INSTANCE,
        set_team_group,
        answer=Team,
        body=Group,
    ),
    HubRoute(
        "listTeamMembers", "GET", f"{_TEAM}/members", Action.INSPECT, list_team_members, answer=_PEOPLE, query=ListQuery
    ),
    HubRoute("addTeamMember", "PUT", _IN_TEAM, Action.GOVERN, add_team_member, status=204),
    HubRoute("removeTeamMember", "DELETE", _IN_TEAM, Action.GOVERN, remove_team_member, status=204),
    HubRoute(
        "listTeamRoles",
        "GET",
        f"{_TEAM}/roles",
        Action.INSPECT,
        list_team_roles,
        answer=answers.Page[TeamRole],
        query=ListQuery,
    ),
)
