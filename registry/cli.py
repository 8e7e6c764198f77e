"""The command line: each command reads the settings, builds what it needs, and calls into a room.

Heavy imports wait for the command that needs them, so that `depotry --help` and a second start are quick.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry import __version__
from registry.access_cli import audit, key, token
from registry.account_cli import org, robot, team, user
from registry.config import Settings
from registry.options import existing_stores, fail, opened, read_settings, settings_options
from registry.repository_cli import repository
from registry.storage_cli import storage
from registry.upkeep_cli import gc, jobs

if TYPE_CHECKING:
    from registry.server.tls import ServerTls


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="depotry")
def main() -> None:
    """Depotry, an OCI registry."""


@main.command()
@settings_options
def serve(config_file: Path | None, **flags: object) -> None:
    """Serve the registry until Ctrl-C or SIGTERM."""
    settings = read_settings(flags, config_file)
    from registry.server import allocator

    allocator.set_up()
    from registry import crew, logs
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
        fail(f"{error.strerror} (see --host, --port, --metrics-port)")
    if settings.workers > 1:
        sys.exit(crew.serve_together(settings, listeners))
    crew.serve_alone(settings, listeners)


def _tls(settings: Settings) -> "ServerTls | None":
    from registry.server.tls import ServerTls, TlsProblem

    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return ServerTls(settings.tls_cert_file, settings.tls_key_file)
    except TlsProblem as problem:
        fail(f"{problem} (see --tls-cert-file, --tls-key-file)")


@main.command()
@click.option("--from", "source", metavar="URL", help="Move the database of this URL, sqlite:///<path of its file>.")
@click.option("--to", "target", metavar="URL", help="Where it moves to: an empty PostgreSQL database.")
@click.option("--undo", is_flag=True, help="Let the database of --from serve again after it was moved.")
@settings_options
def migrate(config_file: Path | None, source: str | None, target: str | None, *, undo: bool, **flags: object) -> None:
    """Bring the database to the schema of this version.

    `serve` does this by itself on SQLite, and on a PostgreSQL database that is empty.

    With --from and --to, move an installation's database from SQLite to PostgreSQL instead. A server that runs on it
    goes on with pulls, and answers 503 to whatever would write. If the move is broken off, the same command goes on.
    """
    if source is not None or target is not None or undo:
        _move_database(flags, config_file, source, target, undo=undo)
        return
    settings = read_settings(flags, config_file)
    from registry.app import open_database

    def run() -> tuple[str | None, str]:
        database = open_database(settings)
        try:
            return database.migrate(lambda text: click.echo(text, err=True))
        finally:
            database.close()

    before, after = opened(run)
    click.echo(f"the database is at {after}" + ("" if before == after else f" (was {before or 'empty'})"))


def _move_database(
    flags: dict[str, object], config_file: Path | None, source: str | None, target: str | None, *, undo: bool
) -> None:
    if source is None or (target is None) != undo:
        fail("--from and --to go together (or --from and --undo)")
    where = read_settings({**flags, "database": source}, config_file)
    if where.is_on_postgresql:
        fail(
            "--from: only a SQLite database can be moved; for PostgreSQL to PostgreSQL there are pg_dump and pg_restore"
        )
    from registry.metadata import copy
    from registry.move_commands import run_database_move

    if target is None:
        is_back = opened(lambda: copy.take_back(where.database_path))
        click.echo(
            "the database can be served from again; nothing must be served from the copy that it was moved to any more:"
            " drop that"
            if is_back
            else "the database was not moved"
        )
        return
    if not target.startswith("postgresql:"):
        fail("--to: a database moves to postgresql://… only; a SQLite database is a file, which can be copied")
    settings = read_settings({**flags, "database": target}, config_file)
    opened(lambda: run_database_move(where, settings))


@main.command()
@settings_options
def healthcheck(config_file: Path | None, **flags: object) -> None:
    """Ask the running server on this machine whether it can serve. Exit status 1, and one line, if not."""
    from registry.healthcheck import problem_of

    problem = problem_of(read_settings(flags, config_file))
    if problem is not None:
        click.echo(f"depotry: {problem}", err=True)
        sys.exit(1)
    click.echo("ready")


@main.command()
@settings_options
def config(config_file: Path | None, **flags: object) -> None:
    """Print the effective settings as TOML, with secrets masked."""
    click.echo(read_settings(flags, config_file).toml(), nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def stats(config_file: Path | None, as_json: bool, **flags: object) -> None:
    """Print what the registry holds."""
    settings = read_settings(flags, config_file)
    from registry.commands import print_stats

    stores = existing_stores(settings)
    print_stats(stores, as_json=as_json)


@main.command()
@settings_options
def scrub(config_file: Path | None, **flags: object) -> None:
    """Read every stored blob again and compare it with its digest. Can run beside the server.

    What is corrupt is printed and marked; the next push of the same digest replaces it. Exit status 1 if there was
    any.
    """
    settings = read_settings(flags, config_file)
    from registry.commands import run_scrub

    stores = existing_stores(settings)
    sys.exit(1 if run_scrub(stores) else 0)


for _group in (gc, jobs, user, org, team, robot, token, repository, key, audit, storage):
    main.add_command(_group)
