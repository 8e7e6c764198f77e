"""The commands for accounts: users, organizations, teams, robots. They work on the database directly, beside a running
server, which takes note within seconds; whoever can run them can read the database anyway.
"""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.desk import Desk, all_of, as_json_option, at_desk, print_rows, shown_time
from registry.options import fail, store_options

if TYPE_CHECKING:
    from registry.metadata.accounts import Account

VISIBILITY = click.Choice(["private", "public"])
ROLES = click.Choice(["read", "write", "admin"])
_GENERATED_CHARS = 24


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
        return secrets.token_urlsafe(18)[:_GENERATED_CHARS]
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
    click.echo(f"user {name} added" + (f"\npassword: {password}" if generate else ""))


@user.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@store_options
def user_import(file: Any, **flags: Any) -> None:
    """Add the users of an htpasswd file (bcrypt: htpasswd -B), all or none."""
    lines = file.read().splitlines()
    names = at_desk(flags, lambda desk: desk.accounts.import_users(lines, desk.actor))
    click.echo(f"{len(names)} users added")


@user.command("list")
@as_json_option
@store_options
def user_list(as_json: bool, **flags: Any) -> None:
    """Print all users."""
    found = at_desk(flags, lambda desk: desk.accounts.all("user"))
    print_rows((_account_row(account) for account in found), as_json=as_json)


def _account_row(account: "Account") -> dict[str, object]:
    return {
        "name": account.name,
        "admin": account.is_admin,
        "state": "active" if account.is_active else "disabled",
        "created": shown_time(account.created_at),
    }


@user.command("password")
@click.argument("name")
@_password_options
@store_options
def user_password(name: str, password_file: Path | None, password_stdin: bool, generate: bool, **flags: Any) -> None:
    """Give a user another password. Logins that clients remember end; personal tokens stay."""
    password = _password(password_file, stdin=password_stdin, generate=generate)
    at_desk(flags, lambda desk: desk.accounts.set_password(name, password, desk.actor))
    click.echo(f"the password of {name} is changed" + (f"\npassword: {password}" if generate else ""))


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
    "Enable an account again, also where too many failed logins keep it out.",
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
    "Delete a user that owns no repositories. Its name is never given out again.",
    lambda desk, name: desk.accounts.delete(name, desk.actor, kind="user"),
)


@user.command("visibility")
@click.argument("name")
@click.argument("visibility", type=VISIBILITY)
@store_options
def user_visibility(name: str, visibility: str, **flags: Any) -> None:
    """What new repositories of a user's or organization's namespace are."""
    from registry.core.access import Visibility

    at_desk(flags, lambda desk: desk.accounts.set_default_visibility(name, Visibility(visibility), desk.actor))
    click.echo(f"new repositories of {name} are {visibility}")


# Signing in


@user.command("sign-out")
@click.argument("name")
@store_options
def user_sign_out(name: str, **flags: Any) -> None:
    """Sign a user out of every browser."""
    count = at_desk(flags, lambda desk: desk.accounts.sign_out(name, desk.actor))
    click.echo(f"{count} sessions of {name} ended")


_simple(
    user,
    "remove-second-factor",
    "Take the second factor off a user who has lost it, and the recovery codes too.",
    lambda desk, name: desk.accounts.take_off_second_factor(name, desk.actor),
)


@user.command("identities")
@click.argument("name")
@as_json_option
@store_options
def user_identities(name: str, as_json: bool, **flags: Any) -> None:
    """Print who a user is at the identity provider."""
    found = at_desk(flags, lambda desk: desk.identities.of(name))
    rows = (
        {"issuer": one.issuer, "subject": one.subject, "called": one.name, "used": shown_time(one.used_at)}
        for one in found
    )
    print_rows(rows, as_json=as_json)


@user.command("link")
@click.argument("name")
@click.argument("subject")
@click.option("--issuer", help="The provider, where oidc_issuer is not among the settings of this command.")
@store_options
def user_link(name: str, subject: str, issuer: str | None, **flags: Any) -> None:
    """Let somebody of the identity provider sign in to a user's account: SUBJECT is the claim `sub` of the person.

    Its password is for pages alone then; clients use tokens.
    """

    async def link(desk: Desk) -> None:
        from registry.services.identities import Somebody

        provider = issuer or desk.settings.oidc_issuer
        if provider is None:
            fail("there is no single sign-on: oidc_issuer is not set; say which provider with --issuer")
        await desk.identities.link(name, Somebody(provider, subject, subject), desk.permit)

    at_desk(flags, link)
    click.echo(f"{name} is linked")


_simple(
    user,
    "unlink",
    "Let nobody of the identity provider sign in to a user's account any more.",
    lambda desk, name: desk.identities.unlink(name, desk.permit, needs_password=False),
)


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
    at_desk(flags, lambda desk: desk.organizations.add(name, owner, desk.actor))
    click.echo(f"organization {name} added")


@org.command("list")
@as_json_option
@store_options
def org_list(as_json: bool, **flags: Any) -> None:
    """Print all organizations."""
    found = at_desk(flags, lambda desk: desk.accounts.all("organization"))
    rows = ({"name": one.name, "created": shown_time(one.created_at)} for one in found)
    print_rows(rows, as_json=as_json)


@org.command("members")
@click.argument("name")
@as_json_option
@store_options
def org_members(name: str, as_json: bool, **flags: Any) -> None:
    """Print who is in an organization."""
    found = at_desk(flags, lambda desk: all_of(lambda after: desk.organizations.members(name, after=after)))
    print_rows(({"name": one.name, "role": "owner" if one.is_owner else "member"} for one in found), as_json=as_json)


@org.command("set-member")
@click.argument("name")
@click.argument("member")
@click.option("--owner", "is_owner", is_flag=True, help="An owner: admin of everything in the organization.")
@store_options
def org_set_member(name: str, member: str, is_owner: bool, **flags: Any) -> None:
    """Make a user a member (or owner) of an organization."""
    at_desk(flags, lambda desk: desk.organizations.set_member(name, member, desk.actor, is_owner=is_owner))
    click.echo(f"{member} is {'an owner' if is_owner else 'a member'} of {name}")


@org.command("remove-member")
@click.argument("name")
@click.argument("member")
@store_options
def org_remove_member(name: str, member: str, **flags: Any) -> None:
    """Take a user out of an organization, with every role that it has there."""
    at_desk(flags, lambda desk: desk.organizations.remove_member(name, member, desk.actor))
    click.echo(f"{member} is out of {name}")


_simple(
    org,
    "delete",
    "Delete an organization that owns no repositories. Its name is never given out again.",
    lambda desk, name: desk.accounts.delete(name, desk.actor, kind="organization"),
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
    at_desk(flags, lambda desk: desk.organizations.add_team(organization, name, desk.actor))
    click.echo(f"team {organization}/{name} added")


@team.command("remove")
@click.argument("organization")
@click.argument("name")
@store_options
def team_remove(organization: str, name: str, **flags: Any) -> None:
    """Remove a team, with its roles."""
    at_desk(flags, lambda desk: desk.organizations.remove_team(organization, name, desk.actor))
    click.echo(f"team {organization}/{name} removed")


async def _in_team(desk: Desk, organization: str, name: str) -> list[str]:
    found = await all_of(lambda after: desk.organizations.in_team((organization, name), after=after))
    return [one.name for one in found]


@team.command("list")
@click.argument("organization")
@as_json_option
@store_options
def team_list(organization: str, as_json: bool, **flags: Any) -> None:
    """Print the teams of an organization."""

    async def read(desk: Desk) -> list[dict[str, object]]:
        found = await all_of(lambda after: desk.organizations.teams(organization, after=after))
        return [{"team": one.name, "members": ", ".join(await _in_team(desk, organization, one.name))} for one in found]

    print_rows(at_desk(flags, read), as_json=as_json)


@team.command("join")
@click.argument("organization")
@click.argument("name")
@click.argument("member")
@store_options
def team_join(organization: str, name: str, member: str, **flags: Any) -> None:
    """Put a member or robot of the organization into a team."""
    at_desk(flags, lambda desk: desk.organizations.set_in_team((organization, name), member, desk.actor, is_in=True))
    click.echo(f"{member} is in {organization}/{name}")


@team.command("leave")
@click.argument("organization")
@click.argument("name")
@click.argument("member")
@store_options
def team_leave(organization: str, name: str, member: str, **flags: Any) -> None:
    """Take somebody out of a team."""
    at_desk(flags, lambda desk: desk.organizations.set_in_team((organization, name), member, desk.actor, is_in=False))
    click.echo(f"{member} is out of {organization}/{name}")


@team.command("group")
@click.argument("organization")
@click.argument("name")
@click.argument("group", required=False)
@store_options
def team_group(organization: str, name: str, group: str | None, **flags: Any) -> None:
    """Let a team stand for a GROUP of the identity provider: who signs in there is in the team exactly if it is in the
    group. Without GROUP it is a team like others again."""
    at_desk(flags, lambda desk: desk.groups.set_group((organization, name), group, desk.permit))
    click.echo(f"{organization}/{name} stands for " + (f"the group {group}" if group else "no group"))


@click.group()
def robot() -> None:
    """Robots: accounts for machines, owned by a user or organization, that use tokens only."""


@robot.command("add")
@click.argument("name")
@click.option("--role", type=ROLES, help="Role on everything of its owner; write includes new repositories.")
@store_options
def robot_add(name: str, role: str | None, **flags: Any) -> None:
    """Add a robot, called <owner>+<name>. Give it a token with `depotry token create`."""
    from registry.core.access import Role

    given = Role.NONE if role is None else Role[role.upper()]
    at_desk(flags, lambda desk: desk.accounts.add_robot(name, given, desk.actor))
    click.echo(f"robot {name} added")


_simple(
    robot,
    "delete",
    "Delete a robot, with its tokens. Its name is never given out again.",
    lambda desk, name: desk.accounts.delete(name, desk.actor, kind="robot"),
)
_simple(
    robot,
    "disable",
    "Disable a robot: nothing of it works any more, within seconds.",
    lambda desk, name: desk.accounts.set_disabled(name, desk.actor, is_disabled=True),
)
_simple(
    robot,
    "enable",
    "Enable a robot again.",
    lambda desk, name: desk.accounts.set_disabled(name, desk.actor, is_disabled=False),
)


@robot.command("list")
@click.option("--owner", help="Only those of this account.")
@as_json_option
@store_options
def robot_list(owner: str | None, as_json: bool, **flags: Any) -> None:
    """Print robots."""
    found = at_desk(flags, lambda desk: desk.accounts.all("robot", owner))
    print_rows((_account_row(account) for account in found), as_json=as_json)
