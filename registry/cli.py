"""The command line: each command reads the settings, builds what it needs, and calls into a room.

Heavy imports wait for the command that needs them, so that `depotry --help` and a second start are quick.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from registry import __version__
from registry.config import ConfigProblems, Settings, describe, is_loopback, load

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from registry.app import Stores
    from registry.server.protocol import ConnectionLimits
    from registry.server.tls import ServerTls

T = TypeVar("T")
Command = Callable[..., None]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="depotry")
def main() -> None:
    """Depotry, an OCI registry."""


def settings_options(command: Command) -> Command:
    """Give a command a flag for every setting, and `--config` for the file that holds them."""
    for info in reversed(describe()):
        is_switch = info.default in ("true", "false")
        kind: dict[str, Any] = {"default": None} if is_switch else {"metavar": "VALUE"}
        flag = f"{info.flag}/--no-{info.flag.removeprefix('--')}" if is_switch else info.flag
        help_text = f"{info.description} [default: {info.default}; env: {info.env}]"
        command = click.option(flag, info.name, help=help_text, **kind)(command)
    return click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file of settings.")(
        command
    )


@main.command()
@settings_options
def serve(config_file: Path | None, **flags: object) -> None:
    """Serve the registry until Ctrl-C or SIGTERM."""
    settings = _settings(flags, config_file)
    from registry.server import allocator

    allocator.set_up()
    from registry import logs
    from registry.app import Application, open_stores
    from registry.server import run
    from registry.server.listener import Listener

    logs.set_up(log_format=settings.log_format, level=settings.log_level)
    tls = _tls(settings)
    try:
        listeners = [
            Listener(run.bind(settings.host, settings.port), tls),
            Listener(run.bind(settings.metrics_host, settings.effective_metrics_port), is_limited=False),
        ]
    except OSError as error:
        _fail(f"{error.strerror} (see --host, --port, --metrics-port)")
    stores = _opened(lambda: open_stores(settings, upgrade=True))
    ports = [listener.socket.getsockname()[1] for listener in listeners]
    application = Application(
        settings, stores, operator_port=ports[1], announce=lambda: click.echo(_welcome(settings, *ports))
    )
    run.serve(
        cast("ASGI3Application", application.asgi),
        listeners,
        lifecycle=application,
        limits=_limits(settings),
        drain_timeout_s=settings.drain_timeout_s,
    )


def _tls(settings: Settings) -> "ServerTls | None":
    from registry.server.tls import ServerTls, TlsProblem

    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return ServerTls(settings.tls_cert_file, settings.tls_key_file)
    except TlsProblem as problem:
        _fail(f"{problem} (see --tls-cert-file, --tls-key-file)")


def _limits(settings: Settings) -> "ConnectionLimits":
    from registry.server.protocol import ConnectionLimits

    return ConnectionLimits(
        header_timeout_s=settings.header_timeout_s,
        body_min_bytes_per_s=settings.body_min_bytes_per_s,
        connections_per_address=settings.connections_per_address,
        connections_max=settings.connections_max,
        trusted_proxies=settings.trusted_proxies,
    )


@main.command()
@settings_options
def migrate(config_file: Path | None, **flags: object) -> None:
    """Bring the database to the schema of this version. `serve` does this by itself on SQLite."""
    settings = _settings(flags, config_file)
    from registry.app import open_database

    def run() -> tuple[str | None, str]:
        database = open_database(settings)
        try:
            return database.migrate()
        finally:
            database.close()

    before, after = _opened(run)
    click.echo(f"the database is at {after}" + ("" if before == after else f" (was {before or 'empty'})"))


@main.command()
@settings_options
def config(config_file: Path | None, **flags: object) -> None:
    """Print the effective settings as TOML, with secrets masked."""
    click.echo(_settings(flags, config_file).toml(), nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def stats(config_file: Path | None, as_json: bool, **flags: object) -> None:
    """Print what the registry holds."""
    settings = _settings(flags, config_file)
    from registry.commands import print_stats

    stores = _existing_stores(settings)
    print_stats(stores, as_json=as_json)


@main.command()
@settings_options
def scrub(config_file: Path | None, **flags: object) -> None:
    """Read every stored blob again and compare it with its digest. Can run beside the server.

    What is corrupt is printed and marked; the next push of the same digest replaces it. Exit status 1 if there was
    any.
    """
    settings = _settings(flags, config_file)
    from registry.commands import run_scrub

    stores = _existing_stores(settings)
    sys.exit(1 if run_scrub(stores) else 0)


def _settings(flags: dict[str, object], config_file: Path | None) -> Settings:
    try:
        return load(flags, os.environ, config_file)
    except ConfigProblems as error:
        _fail("\n         ".join(error.problems))


def _existing_stores(settings: Settings) -> "Stores":
    """The stores of an installation that is there: these commands read, and must not make a new one by mistake."""
    from registry.app import open_stores

    if not settings.database_path.exists():
        _fail(f"there is no registry here: {settings.database_path} does not exist (see --data)")
    return _opened(lambda: open_stores(settings, upgrade=False))


def _opened(open_it: Callable[[], T]) -> T:
    """Open what a command needs; what keeps it from starting is said in one line."""
    from registry.core.errors import RegistryError
    from registry.metadata.migrate import DatabaseNotCurrent, DatabaseTooNew
    from registry.metadata.sqlite import LibraryTooOld
    from registry.services.installation import WrongPair

    try:
        return open_it()
    except (DatabaseNotCurrent, DatabaseTooNew, LibraryTooOld, WrongPair, RegistryError) as error:
        cause = error.__cause__
        _fail(f"{error}" + (f": {cause}" if cause is not None else ""))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror}")


def _fail(problem: str) -> NoReturn:
    click.echo(f"depotry: {problem}", err=True)
    sys.exit(2)


def _welcome(settings: Settings, port: int, metrics_port: int) -> str:
    local = is_loopback(settings.host) or settings.host in ("0.0.0.0", "::")  # noqa: S104
    registry = _authority("localhost" if local else settings.host, port)
    scheme = "https" if settings.tls_cert_file else "http"
    warning = ""
    if settings.expose_without_login:
        warning = "\n  Anyone who can reach this address may read, overwrite and delete everything.\n"
    return f"""\
Depotry {__version__}, an OCI registry, is at {scheme}://{_authority(settings.host, port)}
  database  {settings.database_path.absolute()}
  blobs     {settings.storage_path.absolute()}
  health    http://{_authority(settings.metrics_host, metrics_port)}/readyz and /metrics
{warning}
Try it, in another terminal:
  docker tag alpine {registry}/alpine
  docker push {registry}/alpine
  docker pull {registry}/alpine

Ctrl-C stops it.
"""


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
