"""What commands have in common: flags for settings, opening what is there, and one line for what goes wrong."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from registry.config import ConfigProblems, SettingInfo, Settings, describe, load

if TYPE_CHECKING:
    from registry.app import Stores
    from registry.services.installation import Purpose

_CLASS = re.compile(r"^\([\w.]+\) ")
"""How a library begins what another one has said."""

T = TypeVar("T")
Command = Callable[..., None]


def _help(info: SettingInfo) -> str:
    return f"{info.description} [default: {info.default}; env: {info.env}]"


def settings_options(command: Command) -> Command:
    """Give a command a flag for every setting, and `--config` for the file that holds them."""
    for info in reversed(describe()):
        is_switch = info.default in ("true", "false")
        kind: dict[str, Any] = {"default": None} if is_switch else {"metavar": "VALUE"}
        flag = f"{info.flag}/--no-{info.flag.removeprefix('--')}" if is_switch else info.flag
        command = click.option(flag, info.name, help=_help(info), **kind)(command)
    return click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of settings.")(
        command
    )


STORE_SETTINGS = (
    "data",
    "database",
    "database_password_file",
    "database_direct",
    "storage",
    "storage_previous",
    "s3_access_key_id",
    "s3_secret_access_key_file",
    "secret_file",
)


def store_options(command: Command) -> Command:
    """Give a command the flags that say where the registry is; everything else it takes from environment and file."""
    for info in reversed(describe()):
        if info.name in STORE_SETTINGS:
            command = click.option(info.flag, info.name, metavar="VALUE", help=_help(info))(command)
    return click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of settings.")(
        command
    )


def read_settings(flags: dict[str, object], config_file: Path | None) -> Settings:
    """The settings of a command; what is wrong with them ends it."""
    try:
        return load(flags, os.environ, config_file)
    except ConfigProblems as error:
        fail("\n         ".join(error.problems))


def existing_stores(settings: Settings, purpose: "Purpose | None" = None) -> "Stores":
    """The stores of an installation that is there: these commands read, and must not make a new one by mistake."""
    from registry.app import open_stores

    if not settings.is_on_postgresql and not settings.database_path.exists():
        fail(f"there is no registry here: {settings.database_path} does not exist (see --data)")
    return opened(lambda: open_stores(settings, upgrade=False, purpose=purpose))


def opened(open_it: Callable[[], T]) -> T:
    """Open what a command needs; what keeps it from starting is said in one line."""
    from registry.auth.sealing import SecretUnusable
    from registry.core.errors import RegistryError
    from registry.metadata.copy import CopyRefused
    from registry.metadata.database import DatabaseUnusable
    from registry.metadata.migrate import DatabaseNotCurrent, DatabaseTooNew
    from registry.metadata.moved import DatabaseIncomplete, DatabaseMoved
    from registry.metadata.sqlite import LibraryTooOld
    from registry.services.installation import WrongPair

    of_database = (DatabaseIncomplete, DatabaseMoved, DatabaseNotCurrent, DatabaseTooNew, DatabaseUnusable)
    try:
        return open_it()
    except (*of_database, CopyRefused, LibraryTooOld, SecretUnusable, WrongPair, RegistryError) as error:
        # Of a statement that failed only what the database said of it, not the statement.
        cause = _CLASS.sub("", str(error.__cause__ or "").partition("\n")[0])
        fail(f"{error}: {cause}" if cause else f"{error}")
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror}")


def fail(problem: str) -> NoReturn:
    """End the command with one line that says why, and exit status 2."""
    click.echo(f"depotry: {problem}", err=True)
    sys.exit(2)
