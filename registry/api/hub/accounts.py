"""One's own account: what it says of itself, its password, the organizations that it belongs to."""

from typing import Annotated

import msgspec

from registry.api.hub import answers, lists
from registry.api.hub.gate import Visit
from registry.api.hub.lists import ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.responses import Answer
from registry.core.access import Action, Visibility
from registry.core.limits import DESCRIPTION_MAX_CHARS, PASSWORD_MAX_BYTES, TITLE_MAX_CHARS
from registry.services import accounts, administration
from registry.services.accounts import AccountChange
from registry.services.organizations import Membership

TitleText = Annotated[str, msgspec.Meta(max_length=TITLE_MAX_CHARS)]
DescriptionText = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX_CHARS)]
PasswordText = Annotated[str, msgspec.Meta(min_length=1, max_length=PASSWORD_MAX_BYTES)]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An account, as it says of itself, and its state."""

    name: str
    kind: str
    """`user`, `organization` or `robot`."""
    title: str
    """Its name for people."""
    description: str
    default_visibility: Visibility | None
    """What new repositories of its namespace are; null: what the instance says."""
    admin: bool
    """Whether it administers the instance."""
    disabled: bool


class ProfileChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What shall be different. What is left out stays."""

    title: TitleText | msgspec.UnsetType = msgspec.UNSET
    description: DescriptionText | msgspec.UnsetType = msgspec.UNSET
    default_visibility: Visibility | msgspec.UnsetType | None = msgspec.UNSET


class NewPassword(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Another password."""

    old: PasswordText
    """The one that counts now."""
    new: PasswordText


class OwnMembership(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that an account belongs to."""

    organization: str
    title: str
    owner: bool


async def get_account(services: HubServices, visit: Visit) -> Answer:
    """One's own account."""
    return profile(await services.accounts.profile(visit.caller.principal.name))


async def update_account(services: HubServices, visit: Visit) -> Answer:
    """Change what one's own account says of itself, and what its new repositories are."""
    name = visit.caller.principal.name
    return profile(await services.accounts.update(name, change_of(visit.body), visit.permit, if_match=visit.if_match))


async def set_password(services: HubServices, visit: Visit) -> Answer:
    """Change one's own password. Every login that a client remembers ends, and every session but this one; personal
    tokens stay.

    The old password has to be shown, and wrong ones are counted as those of a login."""
    name = visit.caller.principal.name
    await services.login.password(name, visit.body.old, visit.caller.actor.address)
    keep = None if visit.session is None else visit.session.id
    await services.accounts.set_password(name, visit.body.new, visit.permit, keep_session=keep)
    return answers.nothing()


async def list_memberships(services: HubServices, visit: Visit) -> Answer:
    """The organizations that one belongs to, by name."""
    name, count = visit.caller.principal.name, visit.query.limit + 1
    found = await services.organizations.of(name, after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _membership, lambda one: (one.organization,))


async def leave_organization(services: HubServices, visit: Visit) -> Answer:
    """Leave an organization, with every role in it. Its last owner cannot."""
    name = visit.caller.principal.name
    await services.organizations.remove_member(visit.names["organization"], name, visit.permit)
    return answers.nothing()


def profile(found: accounts.Profile, status: int = 200) -> Answer:
    """An account as an answer, with the ETag that a change of it may demand."""
    shown = Profile(
        name=found.name,
        kind=found.kind,
        title=found.title,
        description=found.description,
        default_visibility=found.default_visibility,
        admin=found.is_admin,
        disabled=found.is_disabled,
    )
    return answers.one(shown, status, version=administration.version(found))


def change_of(body: ProfileChange) -> AccountChange:
    """What a body wants to be different."""
    return AccountChange(
        title=lists.kept(body.title),
        description=lists.kept(body.description),
        default_visibility=lists.kept(body.default_visibility),
    )


def _membership(found: Membership) -> OwnMembership:
    return OwnMembership(organization=found.organization, title=found.title, owner=found.is_owner)


_ME = "/account"
ROUTES = (
    HubRoute("getAccount", "GET", _ME, Action.ACCOUNT, get_account, answer=Profile),
    HubRoute(
        "updateAccount",
        "PATCH",
        _ME,
        Action.ACCOUNT,
        update_account,
        answer=Profile,
        body=ProfileChange,
        is_conditional=True,
    ),
    HubRoute(
        "setPassword",
        "PUT",
        f"{_ME}/password",
        Action.ACCOUNT,
        set_password,
        status=204,
        body=NewPassword,
        danger=True,
    ),
    HubRoute(
        "listMemberships",
        "GET",
        f"{_ME}/organizations",
        Action.ACCOUNT,
        list_memberships,
        answer=answers.Page[OwnMembership],
        query=ListQuery,
    ),
    HubRoute(
        "leaveOrganization",
        "DELETE",
        f"{_ME}/organizations/{{organization}}",
        Action.ACCOUNT,
        leave_organization,
        status=204,
    ),
)
