"""Who has access: roles on repositories and on whole namespaces."""

from enum import StrEnum

import msgspec

from registry.api.hub import answers, cursors, lists
from registry.api.hub.gate import Visit
from registry.api.hub.lists import ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.responses import Answer
from registry.core.access import Action, Role
from registry.services import administration, roles
from registry.services.roles import Spot, Standing, Way


class RoleName(StrEnum):
    """read: pull; write: pull, push, and delete tags and manifests; admin: all of it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has access, and why."""

    holder: str
    """A user or robot, or a team as `team:organization/team`."""
    kind: str
    """`user`, `robot` or `team`."""
    title: str
    role: RoleName
    by: Way
    """`owner`: owns the namespace; `namespace`: was given the role on all of it; `repository`: on the repository."""


class GivenRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role that was given at one place."""

    holder: str
    role: RoleName


class WantedRole(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A role to give."""

    role: RoleName


async def list_access(services: HubServices, visit: Visit) -> Answer:
    """Who has access to a repository: the owners of its namespace, who has a role on all of that, and who has one on
    the repository. Admins of the instance have access to everything, and are not listed."""
    return await _list(services, visit, visit.access)


async def get_role(services: HubServices, visit: Visit) -> Answer:
    """The role that was given to somebody on a repository."""
    return await _one(services, visit, visit.access)


async def set_role(services: HubServices, visit: Visit) -> Answer:
    """Give a role on a repository to a user, a robot, or a team, in place of the one that it has there."""
    return await _set(services, visit, visit.access)


async def remove_role(services: HubServices, visit: Visit) -> Answer:
    """Take the role on a repository away that was given to somebody there."""
    return await _remove(services, visit, visit.access)


async def list_namespace_access(services: HubServices, visit: Visit) -> Answer:
    """Who has access to everything in a namespace: its owners, and who has a role on all of it."""
    return await _list(services, visit, _namespace(visit))


async def get_namespace_role(services: HubServices, visit: Visit) -> Answer:
    """The role that was given to somebody on a whole namespace."""
    return await _one(services, visit, _namespace(visit))


async def set_namespace_role(services: HubServices, visit: Visit) -> Answer:
    """Give a role on a whole namespace; `write` includes new repositories."""
    return await _set(services, visit, _namespace(visit))


async def remove_namespace_role(services: HubServices, visit: Visit) -> Answer:
    """Take the role on a whole namespace away."""
    return await _remove(services, visit, _namespace(visit))


def _namespace(visit: Visit) -> Spot:
    return roles.Namespace(visit.namespace.name, visit.permit)


async def _list(services: HubServices, visit: Visit, spot: Spot) -> Answer:
    after = visit.query.after
    position = None if after is None else cursors.read(after, tuple[cursors.Number, cursors.Number])
    found = await services.roles.standings(spot, after=position, count=visit.query.limit + 1)
    return lists.page(visit, found, _access, lambda one: one.position)


async def _one(services: HubServices, visit: Visit, spot: Spot) -> Answer:
    found = await services.roles.role(spot, visit.names["holder"])
    shown = GivenRole(holder=found.holder, role=_name(found.role))
    return answers.one(shown, version=administration.version(found))


async def _set(services: HubServices, visit: Visit, spot: Spot) -> Answer:
    role = Role[visit.body.role.name]
    await services.roles.give(spot, visit.names["holder"], role, if_match=visit.if_match)
    return await _one(services, visit, spot)


async def _remove(services: HubServices, visit: Visit, spot: Spot) -> Answer:
    await services.roles.give(spot, visit.names["holder"], Role.NONE, if_match=visit.if_match)
    return answers.nothing()


def _access(found: Standing) -> Access:
    return Access(holder=found.holder, kind=found.holder_kind, title=found.title, role=_name(found.role), by=found.way)


def _name(role: Role) -> RoleName:
    return RoleName[role.name]


_HERE, _THERE = "/repositories/{repository}/-", "/namespaces/{namespace}"
_ROLE, _ROLE_THERE = f"{_HERE}/roles/{{holder}}", f"{_THERE}/roles/{{holder}}"
_PAGE = answers.Page[Access]
ROUTES = (
    HubRoute("listAccess", "GET", f"{_HERE}/access", Action.ADMINISTER, list_access, answer=_PAGE, query=ListQuery),
    HubRoute("getRole", "GET", _ROLE, Action.ADMINISTER, get_role, answer=GivenRole),
    HubRoute(
        "setRole", "PUT", _ROLE, Action.ADMINISTER, set_role, answer=GivenRole, body=WantedRole, is_conditional=True
    ),
    HubRoute("removeRole", "DELETE", _ROLE, Action.ADMINISTER, remove_role, status=204, is_conditional=True),
    HubRoute(
        "listNamespaceAccess",
        "GET",
        f"{_THERE}/access",
        Action.INSPECT,
        list_namespace_access,
        answer=_PAGE,
        query=ListQuery,
    ),
    HubRoute("getNamespaceRole", "GET", _ROLE_THERE, Action.INSPECT, get_namespace_role, answer=GivenRole),
    HubRoute(
        "setNamespaceRole",
        "PUT",
        _ROLE_THERE,
        Action.GOVERN,
        set_namespace_role,
        answer=GivenRole,
        body=WantedRole,
        is_conditional=True,
    ),
    HubRoute(
        "removeNamespaceRole",
        "DELETE",
        _ROLE_THERE,
        Action.GOVERN,
        remove_namespace_role,
        status=204,
        is_conditional=True,
    ),
)
