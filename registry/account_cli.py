"""The commands for accounts, tokens, repositories, keys and the audit. They work on the database directly, beside a
running server, which takes note within seconds; whoever can run them can read the database anyway.
"""

import asyncio
import getpass
import json
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry.config import Settings, parse_duration
from registry.options import existing_stores, fail, opened, read_settings, store_options

if TYPE_CHECKING:
    from registry.app import Stores
    from registry.core.access import Actor
    from registry.core.names import RepositoryName
    from registry.metadata.accounts import Account
    from registry.services.accounts import Accounts
    from registry.services.personal_tokens import PersonalTokens
    from registry.services.repositories import Repositories

T = TypeVar("T")
_VISIBILITY = click.Choice(["private", "public"])
_ROLES = click.Choice(["read", "write", "admin"])
_GENERATED_CHARS = 24
_LIFE_MAX_S = 36_500 * 86_400


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    settings: Settings
    stores: "Stores"
    accounts: "Accounts"
    repositories: "Repositories"
    tokens: "PersonalTokens"
    actor: "Actor"


def at_desk(flags: dict[str, Any], work: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on the registry that the flags name. What it refuses is one line, and exit status 2."""
    from registry.auth.passwords import Passwords
    from registry.core.access import Actor
    from registry.services.accounts import Accounts
    from registry.services.clock import system_clock
    from registry.services.personal_tokens import PersonalTokens
    from registry.services.repositories import Repositories

    settings = read_settings(flags, flags.pop("config_file", None))
    stores = existing_stores(settings)
    passwords = Passwords()
    desk = Desk(
        settings,
        stores,
        Accounts(stores.database, passwords, system_clock),
        Repositories(stores.database, system_clock),
        PersonalTokens(stores.database, system_clock),
        Actor(None, _system_user(), "command line"),
    )

    async def run() -> T:
        try:
            return await work(desk)
        finally:
            passwords.close()
            await stores.close()

    return opened(lambda: asyncio.run(run()))


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def _as_json(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")(command)


def _print(rows: Iterable[dict[str, object]], *, as_json: bool) -> None:
    """Rows as a table, or as JSON. Control characters cannot reach the terminal."""
    found = list(rows)
    if as_json:
        click.echo(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    if not found:
        click.echo("none")
        return
    table = Table(box=None, pad_edge=False)
    for name in found[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*("" if value is None else _printable(value) for value in row.values()))
    console = Console()
    Console(width=None if console.is_terminal else 240, markup=False, highlight=False).print(table)


def _printable(value: object) -> str:
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def _time(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


# Users


@click.group()
def user() -> None:
    """Users, and what is true of every account: disable, enable, delete."""


def _password_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--generate", is_flag=True, help="Make a random password and print it.")(command)
    command = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(command)
    return click.option(
        "--password-file", type=click.Path(path_type=Path), help="Read the password from the first line of a file."
    )(command)


def _password(file: Path | None, *, stdin: bool, generate: bool) -> str:
    """The password that was asked for in one of these ways; on a terminal it is asked for."""
    import secrets

    if sum([file is not None, stdin, generate]) > 1:
        fail("--password-file, --password-stdin and --generate exclude each other")
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, ValueError):
            fail(f"{file}: cannot be read as text")
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if generate:
        password = secrets.token_urlsafe(18)[:_GENERATED_CHARS]
        click.echo(f"password: {password}")
        return password
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for a password: use --password-stdin, --password-file or --generate")
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return str(password)


@user.command("add")
@click.argument("name")
@click.option("--admin", "is_admin", is_flag=True, help="An admin of the instance.")
@_password_options
@store_options
def user_add(
    name: str, is_admin: bool, password_file: Path | None, password_stdin: bool, generate: bool, **flags: Any
) -> None:
    """Add a user. It owns all names below <name>/."""
    password = _password(password_file, stdin=password_stdin, generate=generate)
    at_desk(flags, lambda desk: desk.accounts.add_user(name, password, desk.actor, is_admin=is_admin))
    click.echo(f"user {name} added")


@user.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@store_options
def user_import(file: Any, **flags: Any) -> None:
    """Add the users of an htpasswd file (bcrypt: htpasswd -B), all or none."""
    lines = file.read().splitlines()
    names = at_desk(flags, lambda desk: desk.accounts.import_users(lines, desk.actor))
    click.echo(f"{len(names)} users added")


@user.command("list")
@_as_json
@store_options
def user_list(as_json: bool, **flags: Any) -> None:
    """Print all users."""
    found = at_desk(flags, lambda desk: desk.accounts.all("user"))
    _print((_account_row(account) for account in found), as_json=as_json)


def _account_row(account: "Account") -> dict[str, object]:
    return {
        "name": account.name,
        "admin": account.is_admin,
        "state": "active" if account.is_active else "disabled",
        "created": _time(account.created_at),
    }


@user.command("password")
@click.argument("name")
@_password_options
@store_options
def user_password(name: str, password_file: Path | None, password_stdin: bool, generate: bool, **flags: Any) -> None:
    """Give a user another password. Logins that clients remember end; personal tokens stay."""
    password = _password(password_file, stdin=password_stdin, generate=generate)
    at_desk(flags, lambda desk: desk.accounts.set_password(name, password, desk.actor))
    click.echo(f"the password of {name} is changed")


def _simple(
    group: click.Group, name: str, help_text: str, work: Callable[[Desk, str], Coroutine[Any, Any, None]]
) -> None:
    """A command that takes one account's name."""

    def command(account: str, **flags: Any) -> None:
        at_desk(flags, lambda desk: work(desk, account))
        click.echo("done")

    group.command(name, help=help_text)(click.argument("account", metavar="NAME")(store_options(command)))


_simple(
    user,
    "disable",
    "Disable an account with its robots: nothing of it works any more, within seconds.",
    lambda desk, name: desk.accounts.set_disabled(name, desk.actor, is_disabled=True),
)
_simple(
    user,
    "enable",
    "Enable an account again.",
    lambda desk, name: desk.accounts.set_disabled(name, desk.actor, is_disabled=False),
)
_simple(
    user,
    "promote",
    "Make a user an admin of the instance.",
    lambda desk, name: desk.accounts.set_admin(name, desk.actor, is_admin=True),
)
_simple(
    user,
    "demote",
    "Make an admin of the instance a user like others.",
    lambda desk, name: desk.accounts.set_admin(name, desk.actor, is_admin=False),
)
_simple(
    user,
    "delete",
    "Delete an account that owns no repositories. Its name is never given out again.",
    lambda desk, name: desk.accounts.delete(name, desk.actor),
)


@user.command("visibility")
@click.argument("name")
@click.argument("visibility", type=_VISIBILITY)
@store_options
def user_visibility(name: str, visibility: str, **flags: Any) -> None:
    """What new repositories of a user's or organization's namespace are."""
    from registry.core.access import Visibility

    at_desk(flags, lambda desk: desk.accounts.set_default_visibility(name, Visibility(visibility), desk.actor))
    click.echo(f"new repositories of {name} are {visibility}")


# Organizations, teams, robots


@click.group()
def org() -> None:
    """Organizations: their members and what is theirs."""


@org.command("add")
@click.argument("name")
@click.option("--owner", required=True, help="The user that owns it.")
@store_options
def org_add(name: str, owner: str, **flags: Any) -> None:
    """Add an organization. It owns all names below <name>/."""
    at_desk(flags, lambda desk: desk.accounts.add_organization(name, owner, desk.actor))
    click.echo(f"organization {name} added")


@org.command("list")
@_as_json
@store_options
def org_list(as_json: bool, **flags: Any) -> None:
    """Print all organizations."""
    found = at_desk(flags, lambda desk: desk.accounts.all("organization"))
    rows = ({"name": one.name, "created": _time(one.created_at)} for one in found)
    _print(rows, as_json=as_json)


@org.command("members")
@click.argument("name")
@_as_json
@store_options
def org_members(name: str, as_json: bool, **flags: Any) -> None:
    """Print who is in an organization."""
    found = at_desk(flags, lambda desk: desk.accounts.members(name))
    _print(({"name": one.name, "role": "owner" if one.is_owner else "member"} for one in found), as_json=as_json)


@org.command("set-member")
@click.argument("name")
@click.argument("member")
@click.option("--owner", "is_owner", is_flag=True, help="An owner: admin of everything in the organization.")
@store_options
def org_set_member(name: str, member: str, is_owner: bool, **flags: Any) -> None:
    """Make a user a member (or owner) of an organization."""
    at_desk(flags, lambda desk: desk.accounts.set_member(name, member, desk.actor, is_owner=is_owner))
    click.echo(f"{member} is {'an owner' if is_owner else 'a member'} of {name}")


@org.command("remove-member")
@click.argument("name")
@click.argument("member")
@store_options
def org_remove_member(name: str, member: str, **flags: Any) -> None:
    """Take a user out of an organization, with every role that it has there."""
    at_desk(flags, lambda desk: desk.accounts.remove_member(name, member, desk.actor))
    click.echo(f"{member} is out of {name}")


_simple(
    org,
    "delete",
    "Delete an organization that owns no repositories. Its name is never given out again.",
    lambda desk, name: desk.accounts.delete(name, desk.actor),
)


@click.group()
def team() -> None:
    """Teams of an organization: members that get roles together."""


@team.command("add")
@click.argument("organization")
@click.argument("name")
@store_options
def team_add(organization: str, name: str, **flags: Any) -> None:
    """Add a team."""
    at_desk(flags, lambda desk: desk.accounts.add_team(organization, name, desk.actor))
    click.echo(f"team {organization}/{name} added")


@team.command("remove")
@click.argument("organization")
@click.argument("name")
@store_options
def team_remove(organization: str, name: str, **flags: Any) -> None:
    """Remove a team, with its roles."""
    at_desk(flags, lambda desk: desk.accounts.remove_team(organization, name, desk.actor))
    click.echo(f"team {organization}/{name} removed")


@team.command("list")
@click.argument("organization")
@_as_json
@store_options
def team_list(organization: str, as_json: bool, **flags: Any) -> None:
    """Print the teams of an organization."""
    found = at_desk(flags, lambda desk: desk.accounts.teams(organization))
    _print(({"team": name, "members": ", ".join(names)} for name, names in found.items()), as_json=as_json)


@team.command("join")
@click.argument("organization")
@click.argument("name")
@click.argument("member")
@store_options
def team_join(organization: str, name: str, member: str, **flags: Any) -> None:
    """Put a member or robot of the organization into a team."""
    at_desk(flags, lambda desk: desk.accounts.set_in_team((organization, name), member, desk.actor, is_in=True))
    click.echo(f"{member} is in {organization}/{name}")


@team.command("leave")
@click.argument("organization")
@click.argument("name")
@click.argument("member")
@store_options
def team_leave(organization: str, name: str, member: str, **flags: Any) -> None:
    """Take somebody out of a team."""
    at_desk(flags, lambda desk: desk.accounts.set_in_team((organization, name), member, desk.actor, is_in=False))
    click.echo(f"{member} is out of {organization}/{name}")


@click.group()
def robot() -> None:
    """Robots: accounts for machines, owned by a user or organization, that use tokens only."""


@robot.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, help="Role on everything of its owner; write includes new repositories.")
@store_options
def robot_add(name: str, role: str | None, **flags: Any) -> None:
    """Add a robot, called <owner>+<name>. Give it a token with `depotry token create`."""
    from registry.core.access import Role

    given = Role.NONE if role is None else Role[role.upper()]
    at_desk(flags, lambda desk: desk.accounts.add_robot(name, given, desk.actor))
    click.echo(f"robot {name} added")


@robot.command("list")
@click.option("--owner", help="Only those of this account.")
@_as_json
@store_options
def robot_list(owner: str | None, as_json: bool, **flags: Any) -> None:
    """Print robots."""
    found = at_desk(flags, lambda desk: desk.accounts.all("robot", owner))
    _print((_account_row(account) for account in found), as_json=as_json)


# Tokens


@click.group()
def token() -> None:
    """Personal access tokens: used as the password of their account, within limits."""


@token.command("create")
@click.argument("account")
@click.option("--name", default="token", show_default=True, help="What it is for.")
@click.option("--scope", "scope", default="read,write", show_default=True, help="Of read, write, delete, admin.")
@click.option("--repository", "names", multiple=True, help="Only for this one, or name/* for all below; repeatable.")
@click.option("--expires", metavar="TIME", help="When it ends, such as 90d or 12h from now; without it never.")
@store_options
def token_create(
    account: str, name: str, scope: str, names: tuple[str, ...], expires: str | None, **flags: Any
) -> None:
    """Make a token for an account and print it, this once."""
    from registry.core.access import TokenLimits, TokenScope

    try:
        scopes = frozenset(TokenScope(word.strip()) for word in scope.split(","))
    except ValueError:
        fail("--scope is a list of read, write, delete and admin, separated by commas")
    limits = TokenLimits(scopes, names or None)
    life_s = _life_s(expires)
    _, secret = at_desk(flags, lambda desk: desk.tokens.create(account, name, limits, desk.actor, life_s=life_s))
    click.echo(secret)


def _life_s(text: str | None) -> int | None:

    if text is None:
        return None
    try:
        life_s = parse_duration(text)
    except ValueError as error:
        fail(f"--expires {error}")
    if not isinstance(life_s, int) or not 1 <= life_s <= _LIFE_MAX_S:
        fail("--expires is from 1s to 36500d")
    return life_s


@token.command("list")
@click.argument("account")
@_as_json
@store_options
def token_list(account: str, as_json: bool, **flags: Any) -> None:
    """Print the tokens of an account, and the logins that clients remember."""
    found = at_desk(flags, lambda desk: desk.tokens.of(account))
    rows = (
        {
            "id": one.id,
            "kind": one.kind,
            "name": one.name,
            "scope": None if one.limits is None else ",".join(sorted(one.limits.scopes)),
            "repositories": None
            if one.limits is None or one.limits.repositories is None
            else ",".join(one.limits.repositories),
            "created": _time(one.created_at),
            "expires": _time(one.expires_at),
            "last_used": _time(one.last_used_at),
            "from": one.last_used_from,
        }
        for one in found
    )
    _print(rows, as_json=as_json)


@token.command("revoke")
@click.argument("token_id", type=int)
@store_options
def token_revoke(token_id: int, **flags: Any) -> None:
    """End a token, and the logins that were begun with it."""
    at_desk(flags, lambda desk: desk.tokens.revoke(token_id, desk.actor))
    click.echo(f"token {token_id} is revoked")


# Repositories


@click.group()
def repository() -> None:
    """Repositories: who may see them, who may do what, and their end."""


@repository.command("list")
@click.argument("prefix", default="")
@_as_json
@store_options
def repository_list(prefix: str, as_json: bool, **flags: Any) -> None:
    """Print repositories, all or those whose name begins with PREFIX."""
    found = at_desk(flags, lambda desk: desk.repositories.all(prefix))
    rows = (
        {
            "name": one.name,
            "visibility": one.visibility.value,
            "owner": one.namespace or "(instance)",
            "created": _time(one.created_at),
        }
        for one in found
    )
    _print(rows, as_json=as_json)


def _repository_name(text: str) -> "RepositoryName":
    from registry.core.names import RepositoryName

    return opened(lambda: RepositoryName.parse(text))


@repository.command("visibility")
@click.argument("name")
@click.argument("visibility", type=_VISIBILITY)
@store_options
def repository_visibility(name: str, visibility: str, **flags: Any) -> None:
    """Let everybody pull a repository, or only those who were given a role."""
    from registry.core.access import Visibility

    checked = _repository_name(name)
    at_desk(flags, lambda desk: desk.repositories.set_visibility(checked, Visibility(visibility), desk.actor))
    click.echo(f"{name} is {visibility}")


@repository.command("roles")
@click.argument("place")
@_as_json
@store_options
def repository_roles(place: str, as_json: bool, **flags: Any) -> None:
    """Print who has which role on a repository, or on a namespace (name/*)."""
    found = at_desk(flags, lambda desk: desk.repositories.roles(place))
    rows = ({"who": one.holder, "on": one.place, "role": one.role.name.lower()} for one in found)
    _print(rows, as_json=as_json)


@repository.command("grant")
@click.argument("place")
@click.argument("who")
@click.argument("role", type=_ROLES)
@store_options
def repository_grant(place: str, who: str, role: str, **flags: Any) -> None:
    """Give a role on a repository, or on a whole namespace (name/*), to a user, a robot, or a team (team:org/name)."""
    from registry.core.access import Role

    at_desk(flags, lambda desk: desk.repositories.give(place, who, Role[role.upper()], desk.actor))
    click.echo(f"{who} has {role} on {place}")


@repository.command("revoke")
@click.argument("place")
@click.argument("who")
@store_options
def repository_revoke(place: str, who: str, **flags: Any) -> None:
    """Take a role away."""
    from registry.core.access import Role

    at_desk(flags, lambda desk: desk.repositories.give(place, who, Role.NONE, desk.actor))
    click.echo(f"{who} has no role on {place}")


@repository.command("assign")
@click.argument("name")
@click.option("--instance", is_flag=True, help="To the instance and its admins.")
@store_options
def repository_assign(name: str, instance: bool, **flags: Any) -> None:
    """Let the account that a repository is named after own it: for one that was there before the account."""
    checked = _repository_name(name)
    owner = None if instance else checked.namespace
    if owner is None and not instance:
        fail(f"{name} has one component: it belongs to the instance")
    at_desk(flags, lambda desk: desk.repositories.assign(checked, owner, desk.actor))
    click.echo(f"{name} belongs to {owner or 'the instance'}")


@repository.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_options
def repository_delete(name: str, yes: bool, **flags: Any) -> None:
    """Delete a repository with everything in it."""
    checked = _repository_name(name)
    if not yes:
        click.confirm(f"Delete {name} with all its tags and images?", abort=True)
    at_desk(flags, lambda desk: desk.repositories.delete(checked, desk.actor))
    click.echo(f"{name} is deleted")


# Keys and the audit


@click.group()
def key() -> None:
    """The keys that sign access tokens."""


@key.command("rotate")
@click.option("--at-once", is_flag=True, help="End the old key, and every access token that it signed, now.")
@store_options
def key_rotate(at_once: bool, **flags: Any) -> None:
    """Sign with a new key. The old one counts until the last token that it signed has ended."""
    from registry.app import keys_of

    async def work(desk: Desk) -> str:
        return await keys_of(desk.settings, desk.stores.database).rotate(desk.actor, at_once=at_once)

    click.echo(f"the new key is {at_desk(flags, work)}")


@click.command()
@click.option("--actor", help="Who did it: the name of an account.")
@click.option("--action", help="What: manifest.pushed, or tag.* for all of a kind.")
@click.option("--repository", help="To which repository.")
@click.option("--digest", help="To which content.")
@click.option("--address", help="From where.")
@click.option("--since", metavar="TIME", help="From: 2026-11-24, 2026-11-24T08:00, or 2h ago as 2h.")
@click.option("--until", metavar="TIME", help="Until, in the same forms.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="How many rows.")
@_as_json
@store_options
def audit(limit: int, as_json: bool, since: str | None, until: str | None, **flags: Any) -> None:
    """Print who did what, newest first. Times are UTC."""
    from registry.core.digest import Digest
    from registry.metadata import audit as rows

    names = ("actor", "action", "repository", "address")
    texts = {name: flags.pop(name) for name in names}
    digest_text = flags.pop("digest")
    digest = None if digest_text is None else opened(lambda: Digest.parse(digest_text))
    wanted = rows.Filter(**texts, digest=digest, since=_moment(since), until=_moment(until))

    async def work(desk: Desk) -> list[rows.Row]:
        found: list[rows.Row] = await desk.stores.database.read(
            lambda connection: rows.page(connection, wanted, before=None, count=limit)
        )
        return found

    found = at_desk(flags, work)
    _print(({**asdict(row), "at": _time(row.at)} for row in found), as_json=as_json)


def _moment(text: str | None) -> int | None:
    """ms since 1970 UTC of a date, a date and time, or a time ago."""
    from registry.services.clock import system_clock

    if text is None:
        return None
    try:
        ago_s = parse_duration(text)
        if isinstance(ago_s, int | float):
            return system_clock() - int(ago_s * 1000)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time: write 2026-11-24, 2026-11-24T08:00, or 2h for two hours ago")
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1000)


GROUPS: tuple[click.Command, ...] = (user, org, team, robot, token, repository, key, audit)
