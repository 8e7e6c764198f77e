"""The commands for repositories. As those in `account_cli`."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry.account_cli import ROLES, VISIBILITY
from registry.desk import Desk, as_json_option, at_desk, print_rows, shown_time
from registry.options import fail, opened, store_options

if TYPE_CHECKING:
    from registry.core.access import RepositoryAccess, Role
    from registry.core.names import RepositoryName
    from registry.metadata.grants import Given

T = TypeVar("T")


@click.group()
def repository() -> None:
    """Repositories: who may see them, who may do what, and their end."""


@repository.command("list")
@click.argument("prefix", default="")
@as_json_option
@store_options
def repository_list(prefix: str, as_json: bool, **flags: Any) -> None:
    """Print repositories, all or those whose name begins with PREFIX."""
    found = at_desk(flags, lambda desk: desk.repositories.all(prefix))
    rows = (
        {
            "name": one.name,
            "visibility": one.visibility.value,
            "owner": one.namespace or "(instance)",
            "created": shown_time(one.created_at),
        }
        for one in found
    )
    print_rows(rows, as_json=as_json)


def _repository_name(text: str) -> "RepositoryName":
    from registry.core.names import RepositoryName

    return opened(lambda: RepositoryName.parse(text))


def _on(name: str, flags: dict[str, Any], work: Callable[[Desk, "RepositoryAccess"], Coroutine[Any, Any, T]]) -> T:
    """Do something to a repository."""
    checked = _repository_name(name)

    async def enter(desk: Desk) -> T:
        return await work(desk, await desk.repository(checked))

    return at_desk(flags, enter)


@repository.command("visibility")
@click.argument("name")
@click.argument("visibility", type=VISIBILITY)
@store_options
def repository_visibility(name: str, visibility: str, **flags: Any) -> None:
    """Let everybody pull a repository, or only those who were given a role."""
    from registry.core.access import Visibility

    _on(name, flags, lambda desk, target: desk.repositories.set_visibility(target, Visibility(visibility)))
    click.echo(f"{name} is {visibility}")


@repository.command("roles")
@click.argument("place")
@as_json_option
@store_options
def repository_roles(place: str, as_json: bool, **flags: Any) -> None:
    """Print who has which role on a repository, or on a namespace (name/*)."""

    async def read(desk: Desk) -> "list[Given]":
        return await desk.roles.given(await desk.roles.spot(place, desk.actor))

    found = at_desk(flags, read)
    rows = ({"who": one.holder, "on": one.place, "role": one.role.name.lower()} for one in found)
    print_rows(rows, as_json=as_json)


def _give(place: str, who: str, role: "Role", flags: dict[str, Any]) -> None:
    async def give(desk: Desk) -> None:
        await desk.roles.give(await desk.roles.spot(place, desk.actor), who, role)

    at_desk(flags, give)


@repository.command("grant")
@click.argument("place")
@click.argument("who")
@click.argument("role", type=ROLES)
@store_options
def repository_grant(place: str, who: str, role: str, **flags: Any) -> None:
    """Give a role on a repository, or on a whole namespace (name/*), to a user, a robot, or a team (team:org/name)."""
    from registry.core.access import Role

    _give(place, who, Role[role.upper()], flags)
    click.echo(f"{who} has {role} on {place}")


@repository.command("revoke")
@click.argument("place")
@click.argument("who")
@store_options
def repository_revoke(place: str, who: str, **flags: Any) -> None:
    """Take a role away."""
    from registry.core.access import Role

    _give(place, who, Role.NONE, flags)
    click.echo(f"{who} has no role on {place}")


@repository.command("assign")
@click.argument("name")
@click.option("--instance", is_flag=True, help="To the instance and its admins.")
@store_options
def repository_assign(name: str, instance: bool, **flags: Any) -> None:
    """Let the account that a repository is named after own it: for one that was there before the account."""
    owner = None if instance else _repository_name(name).namespace
    if owner is None and not instance:
        fail(f"{name} has one component: it belongs to the instance")
    _on(name, flags, lambda desk, target: desk.repositories.assign(target, owner))
    click.echo(f"{name} belongs to {owner or 'the instance'}")


@repository.command("describe")
@click.argument("name")
@click.argument("description", required=False)
@click.option("--readme", type=click.File("r", encoding="utf-8"), help="A file with Markdown; - for standard input.")
@store_options
def repository_describe(name: str, description: str | None, readme: Any, **flags: Any) -> None:
    """Say in one line what a repository is; with --readme also on many. An empty one ("") takes away what was."""
    from registry.services.repositories import RepositoryChange

    text = None if readme is None else readme.read()
    if description is None and text is None:
        fail(f'say what {name} is, or give its --readme; "" takes its description away')

    async def describe(desk: Desk, target: "RepositoryAccess") -> None:
        if description is not None:
            await desk.repositories.update(target, RepositoryChange(description=description))
        if text is not None:
            await desk.repositories.put_readme(target, text)

    _on(name, flags, describe)
    click.echo(f"{name} is described")


@repository.command("rename")
@click.argument("name")
@click.argument("new")
@store_options
def repository_rename(name: str, new: str, **flags: Any) -> None:
    """Give a repository another name in its namespace. The old one goes on to mean it, for pull and push."""
    checked = _repository_name(new)
    if _repository_name(name).namespace != checked.namespace:
        fail(f"{new} is in another namespace: use `depotry repository transfer`")
    _on(name, flags, lambda desk, target: desk.repositories.move(target, checked, None))
    click.echo(f"{name} is {new} now, and can be pulled and pushed by both names")


@repository.command("transfer")
@click.argument("name")
@click.argument("new")
@store_options
def repository_transfer(name: str, new: str, **flags: Any) -> None:
    """Move a repository to another namespace, where it gets the name NEW. Roles on the old namespace end for it; those
    on the repository stay. The old name goes on to mean it, for pull and push."""
    checked = _repository_name(new)
    _on(name, flags, lambda desk, target: desk.repositories.move(target, checked, None))
    click.echo(f"{name} is {new} now, and can be pulled and pushed by both names")


@repository.group("alias")
def repository_alias() -> None:
    """Former names of repositories."""


@repository_alias.command("list")
@click.argument("name")
@as_json_option
@store_options
def repository_alias_list(name: str, as_json: bool, **flags: Any) -> None:
    """Print the former names by which a repository can still be pulled and pushed."""
    found = _on(name, flags, lambda desk, target: desk.repositories.aliases(target))
    print_rows(({"name": one.name, "since": shown_time(one.created_at)} for one in found), as_json=as_json)


@repository_alias.command("remove")
@click.argument("name")
@click.argument("alias")
@store_options
def repository_alias_remove(name: str, alias: str, **flags: Any) -> None:
    """Give a former name up: it means nothing any more, and is free for another repository."""
    checked = _repository_name(alias)
    _on(name, flags, lambda desk, target: desk.repositories.remove_alias(target, checked))
    click.echo(f"{alias} is free")


@repository.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
def repository_delete(name: str, yes: bool, **flags: Any) -> None:
    """Delete a repository with everything in it."""
    if not yes:
        click.confirm(f"Delete {name} with all its tags and images?", abort=True)
    _on(name, flags, lambda desk, target: desk.repositories.delete(target))
    click.echo(f"{name} is deleted")
