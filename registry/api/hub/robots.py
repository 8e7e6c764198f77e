"""Robots: accounts for machines, owned by a user or organization, that log in with tokens."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from registry.api.hub import accounts, answers, lists
from registry.api.hub.accounts import DescriptionText, Profile, TitleText
from registry.api.hub.gate import Visit
from registry.api.hub.lists import ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment
from registry.api.hub.tokens import robot_of
from registry.api.responses import Answer
from registry.core.access import Action, Role
from registry.core.names import ACCOUNT_NAME_MAX_CHARS, COMPONENT_PATTERN
from registry.services.accounts import ROBOT, AccountChange, ListedAccount

OwnName = Annotated[
    str,
    msgspec.Meta(
        max_length=ACCOUNT_NAME_MAX_CHARS,
        pattern=f"^{COMPONENT_PATTERN}$",
        description="Without its owner.",
    ),
]


class Robot(msgspec.Struct, frozen=True, kw_only=True):
    """A robot."""

    name: str
    """The whole name, by which it logs in: `acme+ci`."""
    title: str
    disabled: bool
    created_at: datetime


class NewRobot(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A robot to be."""

    name: OwnName
    role: Literal["none", "read", "write", "admin"] = "none"
    """Its role on everything in the namespace; `write` includes new repositories. `none`: it gets roles on single
    repositories."""


class RobotChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What shall be different. What is left out stays."""

    title: TitleText | msgspec.UnsetType = msgspec.UNSET
    description: DescriptionText | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


async def list_robots(services: HubServices, visit: Visit) -> Answer:
    """The robots of a namespace, by name."""
    count = visit.query.limit + 1
    found = await services.accounts.robots(visit.namespace.name, after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _robot, lambda one: (one.name,))


async def create_robot(services: HubServices, visit: Visit) -> Answer:
    """Add a robot. It logs in with tokens, which are made after it."""
    body: NewRobot = visit.body
    name = f"{visit.namespace.name}+{body.name}"
    await services.accounts.add_robot(name, Role[body.role.upper()], visit.permit)
    return accounts.profile(await services.accounts.profile(name), 201)


async def get_robot(services: HubServices, visit: Visit) -> Answer:
    """One robot of a namespace."""
    return accounts.profile(await services.accounts.profile(robot_of(visit)))


async def update_robot(services: HubServices, visit: Visit) -> Answer:
    """Change what a robot says of itself; disable it, so that nothing of it works any more, or enable it again."""
    body: RobotChange = visit.body
    change = AccountChange(
        title=lists.kept(body.title),
        description=lists.kept(body.description),
        is_disabled=lists.kept(body.disabled),
    )
    found = await services.accounts.update(robot_of(visit), change, visit.permit, if_match=visit.if_match)
    return accounts.profile(found)


async def delete_robot(services: HubServices, visit: Visit) -> Answer:
    """Delete a robot with its tokens. Its name is never given out again."""
    await services.accounts.delete(robot_of(visit), visit.permit, kind=ROBOT, if_match=visit.if_match)
    return answers.nothing()


def _robot(found: ListedAccount) -> Robot:
    return Robot(name=found.name, title=found.title, disabled=not found.is_active, created_at=moment(found.created_at))


_ALL = "/namespaces/{namespace}/robots"
_ONE = f"{_ALL}/{{robot}}"
ROUTES = (
    HubRoute("listRobots", "GET", _ALL, Action.INSPECT, list_robots, answer=answers.Page[Robot], query=ListQuery),
    HubRoute("createRobot", "POST", _ALL, Action.GOVERN, create_robot, answer=Profile, status=201, body=NewRobot),
    HubRoute("getRobot", "GET", _ONE, Action.INSPECT, get_robot, answer=Profile),
    HubRoute(
        "updateRobot", "PATCH", _ONE, Action.GOVERN, update_robot, answer=Profile, body=RobotChange, is_conditional=True
    ),
    HubRoute("deleteRobot", "DELETE", _ONE, Action.GOVERN, delete_robot, status=204, danger=True, is_conditional=True),
)
