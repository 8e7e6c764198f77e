"""Commands on background work: what gives space back, and who does what when."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from registry.desk import as_json_option, print_rows, shown_time
from registry.options import existing_stores, fail, opened, read_settings, settings_options


@click.command()
@click.option("--dry-run", is_flag=True, help="Print where the bytes are and what could go. Changes nothing.")
@click.option("--now", "is_now", is_flag=True, help="Do one round now instead of waiting for the server to do it.")
@click.option(
    "--full",
    is_flag=True,
    help="With --now: also look at every blob, and compare the store with the database. Reads the list of all objects.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def gc(config_file: Path | None, dry_run: bool, is_now: bool, full: bool, as_json: bool, **flags: object) -> None:
    """Give the space of what nothing needs back. Can run beside the server, which does the same by itself.

    A round ends uploads that nobody goes on with, collects blobs that neither a manifest nor a lease keeps, and removes
    from storage what was collected at least removal_grace_s ago. The settings are those of the server.
    """
    if dry_run == is_now:
        fail("gc needs one of --dry-run, which only counts, and --now, which does a round")
    if dry_run and full:
        fail("--full goes with --now; --dry-run counts everything anyway")
    settings = read_settings(flags, config_file)
    from registry.app import graces_of
    from registry.commands import print_account, run_round

    stores, graces = existing_stores(settings), graces_of(settings)
    if dry_run:
        opened(lambda: print_account(stores, graces, as_json=as_json))
    else:
        opened(lambda: run_round(stores, graces, full=full, as_json=as_json))


@click.command()
@as_json_option
@settings_options
def jobs(config_file: Path | None, as_json: bool, **flags: object) -> None:
    """List background work: who does it now, when it is due, what the last run did and why one failed."""
    settings = read_settings(flags, config_file)
    from registry.app import Stores
    from registry.metadata import jobs as rows
    from registry.metadata.jobs import JobState

    stores = existing_stores(settings)

    async def read(stores: Stores) -> list[tuple[JobState, str | None]]:
        try:
            return await stores.database.read(
                lambda connection: [(state, rows.result(connection, state.kind)) for state in rows.states(connection)]
            )
        finally:
            await stores.close()

    found = opened(lambda: asyncio.run(read(stores)))
    print_rows([_row(state, result, as_json=as_json) for state, result in found], as_json=as_json)


def _row(state: Any, result: str | None, *, as_json: bool) -> dict[str, object]:
    account = json.loads(result) if result else None
    if isinstance(account, dict):
        # What a run remembers for the next one is no figure.
        account = {name: value for name, value in account.items() if isinstance(value, int)}
    figures = ", ".join(f"{name} {value:,}" for name, value in (account or {}).items()) or "nothing"
    return {
        "job": state.kind,
        "runs_on": state.holder,
        "due": None if state.holder else shown_time(state.due_at),
        "last_success": shown_time(state.finished_at),
        "did": account if as_json or account is None else figures,
        "failures": state.failures,
        "last_error": state.last_error,
    }
