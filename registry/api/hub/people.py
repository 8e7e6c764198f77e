"""Users, organizations, and many repositories at once, for the admins of the instance."""

from datetime import datetime
from typing import Annotated

import msgspec

from registry.api.hub import accounts, answers, lists
from registry.api.hub.accounts import DescriptionText, PasswordText, Profile, TitleText
from registry.api.hub.gate import Visit
from registry.api.hub.lists import DryRunQuery, NamedQuery
from registry.api.hub.organizations import NameText
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment
from registry.api.responses import Answer
from registry.core.access import Action, Visibility
from registry.core.limits import BULK_MAX
from registry.services import bulk
from registry.services.accounts import ORGANIZATION, ROBOT, USER, AccountChange, ListedAccount


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a list."""

    name: str
    title: str
    admin: bool
    disabled: bool
    """Also where its owner is."""
    password: bool
    """Whether it has one."""
    second_factor: bool
    single_sign_on: bool
    """Whether it is somebody of the identity provider."""
    created_at: datetime


class NewUser(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A user to be."""

    name: NameText
    password: PasswordText
    admin: bool = False


class UserChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What shall be different. What is left out stays."""

    title: TitleText | msgspec.UnsetType = msgspec.UNSET
    description: DescriptionText | msgspec.UnsetType = msgspec.UNSET
    default_visibility: Visibility | msgspec.UnsetType | None = msgspec.UNSET
    admin: bool | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class OrganizationChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What shall be different. What is left out stays."""

    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class GivenPassword(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Another password of somebody."""

    password: PasswordText


NamesText = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=255)]], msgspec.Meta(min_length=1, max_length=BULK_MAX)
]


class WantedVisibility(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Repositories, and who shall be able to pull them without a role."""

    names: NamesText
    visibility: Visibility


class Names(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Repositories."""

    names: NamesText


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one."""

    name: str
    done: bool
    """Of a dry run: whether it would be."""
    problem: str | None


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each, in the order in which they were named."""

    dry_run: bool
    items: list[Outcome]


async def list_users(services: HubServices, visit: Visit) -> Answer:
    """All users, by name."""
    return await _list(services, visit, USER)


async def create_user(services: HubServices, visit: Visit) -> Answer:
    """Add a user with a password."""
    body: NewUser = visit.body
    await services.accounts.add_user(body.name, body.password, visit.permit, is_admin=body.admin)
    return accounts.profile(await services.accounts.profile(body.name), 201)


async def get_user(services: HubServices, visit: Visit) -> Answer:
    """One user, and its state."""
    return accounts.profile(await services.accounts.profile(visit.names["user"], USER))


async def update_user(services: HubServices, visit: Visit) -> Answer:
    """Change a user: make it an admin or no longer, disable or enable it. The last admin stays one."""
    body: UserChange = visit.body
    change = AccountChange(
        title=lists.kept(body.title),
        description=lists.kept(body.description),
        default_visibility=lists.kept(body.default_visibility),
        is_admin=lists.kept(body.admin),
        is_disabled=lists.kept(body.disabled),
    )
    found = await services.accounts.update(
        visit.names["user"], change, visit.permit, kind=USER, if_match=visit.if_match
    )
    return accounts.profile(found)


async def delete_user(services: HubServices, visit: Visit) -> Answer:
    """Delete a user that owns no repositories, and is no organization's only owner. Its name is never given out
    again."""
    await services.accounts.delete(visit.names["user"], visit.permit, kind=USER, if_match=visit.if_match)
    return answers.nothing()


async def set_user_password(services: HubServices, visit: Visit) -> Answer:
    """Give a user another password. Every login that a client remembers ends, and every session."""
    await services.accounts.set_password(visit.names["user"], visit.body.password, visit.permit)
    return answers.nothing()


async def sign_user_out(services: HubServices, visit: Visit) -> Answer:
    """End every session of a user."""
    await services.accounts.sign_out(visit.names["user"], visit.permit)
    return answers.nothing()


async def remove_second_factor(services: HubServices, visit: Visit) -> Answer:
    """Take the second factor off a user who has lost it."""
    await services.accounts.take_off_second_factor(visit.names["user"], visit.permit)
    return answers.nothing()


async def list_organizations(services: HubServices, visit: Visit) -> Answer:
    """All organizations, by name."""
    return await _list(services, visit, ORGANIZATION)


async def set_organization_state(services: HubServices, visit: Visit) -> Answer:
    """Disable an organization with its robots, or enable it again."""
    change = AccountChange(is_disabled=lists.kept(visit.body.disabled))
    found = await services.accounts.update(
        visit.names["organization"], change, visit.permit, kind=ORGANIZATION, if_match=visit.if_match
    )
    return accounts.profile(found)


async def list_all_robots(services: HubServices, visit: Visit) -> Answer:
    """All robots, by name."""
    return await _list(services, visit, ROBOT)


async def set_visibilities(services: HubServices, visit: Visit) -> Answer:
    """Change who can pull up to a hundred repositories without a role. Those that are not there are told, the others
    are done."""
    body: WantedVisibility = visit.body
    if visit.query.dry_run:
        return _outcomes(await services.bulk.look(body.names), dry_run=True)
    return _outcomes(await services.bulk.set_visibility(body.names, body.visibility, visit.permit), dry_run=False)


async def delete_repositories(services: HubServices, visit: Visit) -> Answer:
    """Delete up to a hundred repositories. Those that are not there are told, the others are gone."""
    if visit.query.dry_run:
        return _outcomes(await services.bulk.look(visit.body.names), dry_run=True)
    return _outcomes(await services.bulk.delete(visit.body.names, visit.permit), dry_run=False)


async def _list(services: HubServices, visit: Visit, kind: str) -> Answer:
    query: NamedQuery = visit.query
    found = await services.accounts.page(kind, after=lists.last_name(visit), count=query.limit + 1, prefix=query.q)
    return lists.page(visit, found, _account, lambda one: (one.name,))


def _account(found: ListedAccount) -> Account:
    return Account(
        name=found.name,
        title=found.title,
        admin=found.is_admin,
        disabled=not found.is_active,
        password=found.has_password,
        second_factor=found.has_second_factor,
        single_sign_on=found.has_identity,
        created_at=moment(found.created_at),
    )


def _outcomes(found: list[bulk.Outcome], *, dry_run: bool) -> Answer:
    items = [Outcome(name=one.name, done=one.problem is None, problem=one.problem) for one in found]
    return answers.one(Outcomes(dry_run=dry_run, items=items))


_USERS, _ORGANIZATIONS = "/instance/users", "/instance/organizations"
_USER = f"{_USERS}/{{user}}"
_PAGE = answers.Page[Account]
_BULK = "/instance/repositories"
ROUTES = (
    HubRoute("listUsers", "GET", _USERS, Action.INSTANCE, list_users, answer=_PAGE, query=NamedQuery),
    HubRoute(
        "createUser",
        "POST",
        _USERS,
        Action.INSTANCE,
        create_user,
        answer=Profile,
        status=201,
        body=NewUser,
        danger=True,
    ),
    HubRoute("getUser", "GET", _USER, Action.INSTANCE, get_user, answer=Profile),
    HubRoute(
        "updateUser",
        "PATCH",
        _USER,
        Action.INSTANCE,
        update_user,
        answer=Profile,
        body=UserChange,
        danger=True,
        is_conditional=True,
    ),
    HubRoute("deleteUser", "DELETE", _USER, Action.INSTANCE, delete_user, status=204, danger=True, is_conditional=True),
    HubRoute(
        "setUserPassword",
        "PUT",
        f"{_USER}/password",
        Action.INSTANCE,
        set_user_password,
        status=204,
        body=GivenPassword,
        danger=True,
    ),
    HubRoute("signUserOut", "DELETE", f"{_USER}/sessions", Action.INSTANCE, sign_user_out, status=204),
    HubRoute(
        "removeSecondFactor",
        "DELETE",
        f"{_USER}/second-factor",
        Action.INSTANCE,
        remove_second_factor,
        status=204,
        danger=True,
    ),
    HubRoute(
        "listOrganizations", "GET", _ORGANIZATIONS, Action.INSTANCE, list_organizations, answer=_PAGE, query=NamedQuery
    ),
    HubRoute(
        "setOrganizationState",
        "PATCH",
        f"{_ORGANIZATIONS}/{{organization}}",
        Action.INSTANCE,
        set_organization_state,
        answer=Profile,
        body=OrganizationChange,
        danger=True,
        is_conditional=True,
    ),
    HubRoute(
        "listAllRobots", "GET", "/instance/robots", Action.INSTANCE, list_all_robots, answer=_PAGE, query=NamedQuery
    ),
    HubRoute(
        "setVisibilities",
        "POST",
        f"{_BULK}/visibility",
        Action.INSTANCE,
        set_visibilities,
        answer=Outcomes,
        query=DryRunQuery,
        body=WantedVisibility,
        danger=True,
    ),
    HubRoute(
        "deleteRepositories",
        "POST",
        f"{_BULK}/delete",
        Action.INSTANCE,
        delete_repositories,
        answer=Outcomes,
        query=DryRunQuery,
        body=Names,
        danger=True,
    ),
)
