"""What the commands on accounts work with: the services on a registry's database, and tables for what they print."""

import asyncio
import json
import os
import pwd
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from registry.config import Settings
from registry.options import existing_stores, opened, read_settings

if TYPE_CHECKING:
    from registry.app import Stores
    from registry.core.access import Actor, Permit, RepositoryAccess
    from registry.core.names import RepositoryName
    from registry.services.accounts import Accounts
    from registry.services.groups import Groups
    from registry.services.identities import Identities
    from registry.services.organizations import Organizations
    from registry.services.personal_tokens import PersonalTokens
    from registry.services.repositories import Repositories
    from registry.services.roles import Roles

T = TypeVar("T")


class Named(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str:
        """By which lists are ordered."""


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    settings: Settings
    stores: "Stores"
    accounts: "Accounts"
    organizations: "Organizations"
    repositories: "Repositories"
    roles: "Roles"
    tokens: "PersonalTokens"
    identities: "Identities"
    groups: "Groups"
    actor: "Actor"

    async def repository(self, name: "RepositoryName") -> "RepositoryAccess":
        """The way in to a repository."""
        return await self.repositories.entry(name, self.actor)

    @property
    def permit(self) -> "Permit":
        """Who holds the database needs to ask nobody."""
        from registry.core.access import Permit

        return Permit(self.actor)


def at_desk(flags: dict[str, Any], work: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on the registry that the flags name. What it refuses is one line, and exit status 2."""
    from registry.auth.passwords import Passwords
    from registry.core.access import Actor
    from registry.services.accounts import Accounts
    from registry.services.groups import Groups
    from registry.services.identities import Identities
    from registry.services.organizations import Organizations
    from registry.services.personal_tokens import PersonalTokens
    from registry.services.repositories import Repositories
    from registry.services.roles import Roles

    settings = read_settings(flags, flags.pop("config_file", None))
    stores = existing_stores(settings)
    passwords = Passwords()
    desk = Desk(
        settings,
        stores,
        Accounts(stores.database, passwords, stores.clock),
        Organizations(stores.database, stores.clock),
        Repositories(stores.database, stores.clock, settings.lease_s * 1000),
        Roles(stores.database, stores.clock),
        PersonalTokens(stores.database, stores.clock),
        Identities(stores.database, stores.clock),
        Groups(stores.database, stores.clock),
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
    """Not what the environment says, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


async def all_of(page: Callable[[str], Awaitable[list[N]]]) -> list[N]:
    """Every entry of a list that comes in pages by name."""
    found: list[N] = []
    while entries := await page(found[-1].name if found else ""):
        found += entries
    return found


def as_json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flag `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")(command)


def print_rows(rows: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
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


def shown_time(at: int | None) -> str | None:
    """A time in ms since 1970 as people read it, in UTC."""
    return None if at is None else datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
