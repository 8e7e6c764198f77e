"""What is changed about a repository: its settings, README, names and stars, and its end."""

from datetime import datetime
from typing import Annotated

import msgspec

from registry.api.hub import answers, lists
from registry.api.hub.accounts import DescriptionText
from registry.api.hub.gate import Visit
from registry.api.hub.lists import DryRunQuery, ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action, Visibility
from registry.core.errors import Unauthenticated
from registry.core.limits import NAME_MAX_CHARS, README_MAX_BYTES
from registry.core.names import NAME_PATTERN, RepositoryName
from registry.services import administration
from registry.services.repositories import Alias as FoundAlias
from registry.services.repositories import FormerName as FoundName
from registry.services.repositories import RepositoryChange, readme_state
from registry.services.repositories import Settings as FoundSettings

NameText = Annotated[str, msgspec.Meta(max_length=NAME_MAX_CHARS, pattern=f"^{NAME_PATTERN}$")]


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the admins of a repository can change."""

    name: str
    description: str
    visibility: Visibility


class NewRepository(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A repository to be. A push makes one too."""

    name: NameText
    """All of it: `acme/web`."""
    description: DescriptionText = ""
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET
    """What the namespace gives where it is left out. Who does not administer the repository has no other choice."""


class SettingsChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What shall be different. What is left out stays."""

    description: DescriptionText | msgspec.UnsetType = msgspec.UNSET
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET


class Readme(msgspec.Struct, frozen=True, kw_only=True):
    """What people wrote about a repository, in Markdown."""

    markdown: str
    """Empty where nobody has written anything."""
    updated_at: datetime | None
    updated_by: str | None


class WantedReadme(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A README to be."""

    markdown: Annotated[str, msgspec.Meta(max_length=README_MAX_BYTES)]


class NewName(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A name to be."""

    name: NameText
    """All of it: `acme/web`. In another namespace it is a transfer."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A former name, by which the repository can still be pulled and pushed."""

    name: str
    since: datetime


class FormerName(msgspec.Struct, frozen=True, kw_only=True):
    """A former name in a namespace, and what it means now."""

    name: str
    now: str | None
    """Null where that is a repository which the caller may not see."""
    since: datetime


class Aliases(msgspec.Struct, frozen=True, kw_only=True):
    """All former names of a repository. There are few."""

    items: list[Alias]


class Star(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the caller likes a repository."""

    starred: bool


class RemovedRepository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that is deleted, or would be, and what goes with it."""

    dry_run: bool
    name: str
    tags: int
    manifests: int
    size_bytes: int
    """As it was counted last, what it shares with others included."""
    aliases: list[str]
    """Former names that mean nothing any more."""


async def create_repository(services: HubServices, visit: Visit) -> Answer:
    """Make a repository that holds nothing yet."""
    body: NewRepository = visit.body
    inside = await services.gate.into(visit, body.name, Action.PUSH)
    wanted = RepositoryChange(body.description, lists.kept(body.visibility))
    return _settings(await services.repositories.create(inside.access, wanted, actions=inside.actions), 201)


async def get_settings(services: HubServices, visit: Visit) -> Answer:
    """What the admins of a repository can change of it."""
    return _settings(await services.repositories.settings(visit.access))


async def update_settings(services: HubServices, visit: Visit) -> Answer:
    """Change the description or the visibility of a repository."""
    change = RepositoryChange(lists.kept(visit.body.description), lists.kept(visit.body.visibility))
    return _settings(await services.repositories.update(visit.access, change, if_match=visit.if_match))


async def get_readme(services: HubServices, visit: Visit) -> Answer:
    """The README as it was written."""
    return await _readme(services, visit)


async def put_readme(services: HubServices, visit: Visit) -> Answer:
    """Write the README; an empty one takes it away. At most 256 KiB."""
    await services.repositories.put_readme(visit.access, visit.body.markdown, if_match=visit.if_match)
    return await _readme(services, visit)


async def _readme(services: HubServices, visit: Visit) -> Answer:
    found = await services.repositories.readme(visit.access)
    shown = Readme(
        markdown="" if found is None else found.markdown,
        updated_at=None if found is None else moment_if(found.updated_at),
        updated_by=None if found is None else found.updated_by,
    )
    return answers.one(shown, version=administration.version(readme_state(found)))


async def move_repository(services: HubServices, visit: Visit) -> Answer:
    """Rename a repository, or move it to another namespace, where the caller has to be allowed to create repositories.

    The old name goes on to mean it, for pull and push, until it is given up. Roles on the repository stay; those on the
    old namespace end for it."""
    principal = visit.caller.principal
    # Without an account only an open registry lets anybody come so far.
    mover = None if principal.account_id is None else principal
    new = RepositoryName.parse(visit.body.name)
    await services.repositories.move(visit.access, new, mover)
    return _settings(await services.repositories.settings(visit.access))


async def list_aliases(services: HubServices, visit: Visit) -> Answer:
    """The former names of a repository, by which it can still be pulled and pushed."""
    found = await services.repositories.aliases(visit.access)
    return answers.one(Aliases(items=list(map(_alias, found))))


async def remove_alias(services: HubServices, visit: Visit) -> Answer:
    """Give a former name up: it means nothing any more, and is free for another repository."""
    await services.repositories.remove_alias(visit.access, RepositoryName.parse(visit.names["alias"]))
    return answers.nothing()


async def list_former_names(services: HubServices, visit: Visit) -> Answer:
    """Former names in a namespace, and the repositories that they mean now, wherever those are."""
    name, count = visit.namespace.name, visit.query.limit + 1
    caller = visit.caller.principal
    found = await services.repositories.former_names(name, caller, after=lists.last_name(visit), count=count)
    return lists.page(visit, found, _former, lambda one: (one.name,))


async def free_name(services: HubServices, visit: Visit) -> Answer:
    """Take a former name in a namespace back, whoever has the repository that it means now."""
    name = RepositoryName.parse(visit.names["alias"])
    await services.repositories.free_name(visit.namespace.name, name, visit.permit)
    return answers.nothing()


async def get_star(services: HubServices, visit: Visit) -> Answer:
    """Whether the caller likes a repository."""
    _require_account(visit)
    return answers.one(Star(starred=await services.repositories.is_starred(visit.access)))


async def add_star(services: HubServices, visit: Visit) -> Answer:
    """Like a repository."""
    return await _star(services, visit, is_starred=True)


async def remove_star(services: HubServices, visit: Visit) -> Answer:
    """Like a repository no longer."""
    return await _star(services, visit, is_starred=False)


async def _star(services: HubServices, visit: Visit, *, is_starred: bool) -> Answer:
    _require_account(visit)
    await services.repositories.star(visit.access, is_starred=is_starred)
    return answers.nothing()


def _require_account(visit: Visit) -> None:
    if visit.caller.principal.account_id is None:
        raise Unauthenticated("log in first")


async def delete_repository(services: HubServices, visit: Visit) -> Answer:
    """Delete a repository with everything in it. Its names are free at once; a former name does not do for this."""
    target = visit.access
    # The ETag of a repository says more than its settings are; that part is about what is shown.
    wanted = None if visit.if_match is None else visit.if_match.partition("~")[0]
    settings = await services.repositories.to_delete(target, if_match=wanted)
    held = await services.remove.preview(target)
    aliases = await services.repositories.aliases(target)
    if not visit.query.dry_run:
        await services.repositories.begin_delete(target, if_match=wanted)
    removed = RemovedRepository(
        dry_run=visit.query.dry_run,
        name=settings.name,
        tags=held.tags,
        manifests=held.manifests,
        size_bytes=held.size_bytes,
        aliases=[alias.name for alias in aliases],
    )
    return answers.one(removed)


def _settings(found: FoundSettings, status: int = 200) -> Answer:
    shown = RepositorySettings(name=found.name, description=found.description, visibility=found.visibility)
    return answers.one(shown, status, version=administration.version(found))


def _alias(found: FoundAlias) -> Alias:
    return Alias(name=found.name, since=moment(found.created_at))


def _former(found: FoundName) -> FormerName:
    return FormerName(name=found.name, now=found.now, since=moment(found.created_at))


_ONE = "/repositories/{repository}"
_HERE = f"{_ONE}/-"
_SETTINGS, _README, _STAR = f"{_HERE}/settings", f"{_HERE}/readme", f"{_HERE}/star"
_NAMES = "/namespaces/{namespace}/former-names"
ROUTES = (
    HubRoute(
        "createRepository",
        "POST",
        "/repositories",
        Action.SELF,
        create_repository,
        answer=RepositorySettings,
        status=201,
        body=NewRepository,
    ),
    HubRoute("getSettings", "GET", _SETTINGS, Action.ADMINISTER, get_settings, answer=RepositorySettings),
    HubRoute(
        "updateSettings",
        "PATCH",
        _SETTINGS,
        Action.ADMINISTER,
        update_settings,
        answer=RepositorySettings,
        body=SettingsChange,
        is_conditional=True,
        danger=True,
    ),
    HubRoute("getReadme", "GET", _README, Action.PULL, get_readme, answer=Readme),
    HubRoute(
        "putReadme",
        "PUT",
        _README,
        Action.ADMINISTER,
        put_readme,
        answer=Readme,
        body=WantedReadme,
        is_conditional=True,
    ),
    HubRoute(
        "moveRepository",
        "POST",
        f"{_HERE}/move",
        Action.ADMINISTER,
        move_repository,
        answer=RepositorySettings,
        body=NewName,
        danger=True,
    ),
    HubRoute("listAliases", "GET", f"{_HERE}/aliases", Action.ADMINISTER, list_aliases, answer=Aliases),
    HubRoute("removeAlias", "DELETE", f"{_HERE}/aliases/{{alias}}", Action.ADMINISTER, remove_alias, status=204),
    HubRoute(
        "listFormerNames",
        "GET",
        _NAMES,
        Action.GOVERN,
        list_former_names,
        answer=answers.Page[FormerName],
        query=ListQuery,
    ),
    HubRoute("freeName", "DELETE", f"{_NAMES}/{{alias}}", Action.GOVERN, free_name, status=204),
    HubRoute("getStar", "GET", _STAR, Action.PULL, get_star, answer=Star),
    HubRoute("addStar", "PUT", _STAR, Action.PULL, add_star, status=204),
    HubRoute("removeStar", "DELETE", _STAR, Action.PULL, remove_star, status=204),
    HubRoute(
        "deleteRepository",
        "DELETE",
        _ONE,
        Action.ADMINISTER,
        delete_repository,
        answer=RemovedRepository,
        query=DryRunQuery,
        danger=True,
        is_conditional=True,
    ),
)
