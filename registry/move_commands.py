"""The moves of an installation, as the command line shows them: progress bars, and what is left to do."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from registry.app import Stores, open_database
from registry.blobstore.several import SeveralStore
from registry.config import Settings, mask_url
from registry.jobs.move import Handled, Left, Move, Outcome
from registry.metadata import copy, installation, moved
from registry.metadata.copy import Step
from registry.metadata.installation import Stats
from registry.metadata.postgresql import PostgresqlDatabase
from registry.services.clock import system_clock


def run_database_move(source: Settings, target: Settings) -> None:
    """Move the SQLite database of `source` to the PostgreSQL database of `target`, with a progress bar. Blocks. Raises
    CopyRefused, DatabaseNotCurrent, DatabaseTooNew, DatabaseUnusable, LibraryTooOld, Unavailable, StorageFull,
    OSError."""
    process = moved.other_process(source.database_path)
    name = mask_url(target.database_url)
    database = open_database(target)
    assert isinstance(database, PostgresqlDatabase)
    try:
        steps = copy.move(source.database_path, database, to=name, now=system_clock())
        first = next(steps)
        if process is not None:
            click.echo(
                f"process {process} has the database open. If it is a server, it goes on with pulls and answers 503 to"
                " pushes and logins from now on; stop it when the move is over"
            )
        _show_database_move(chain([first], steps))
    finally:
        database.close()
    click.echo(f"serve from there now: --database {name}\nnothing works on {source.database_path} any more")


def _show_database_move(steps: Iterable[Step]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    tables: set[str] = set()
    rows = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {phase: progress.add_task(phase, total=None) for phase in ("copy", "verify")}
        for step in steps:
            progress.update(tasks[step.phase], total=step.total, advance=step.rows)
            if step.note is not None:
                progress.console.print(step.note, style="yellow")
            if step.phase == "verify":
                tables.add(step.table)
                rows += step.rows
    click.echo(f"{rows} rows of {len(tables)} tables moved, and read again: equal on both sides")


def run_storage_move(stores: Stores, *, parallel: int, expiry_ms: int) -> bool:
    """Move blobs with a progress bar; True if everything that could be wanted is in the new store."""
    return asyncio.run(_storage_move(stores, parallel, expiry_ms))


async def _storage_move(stores: Stores, parallel: int, expiry_ms: int) -> bool:
    try:
        move = _move_of(stores, parallel, expiry_ms)
        outcomes = await _move_all(stores, move)
        left = move.left
        is_whole = not (left.live or left.uploads or outcomes[Outcome.MISSING])
        if is_whole:
            await stores.installation.finish_move()
    finally:
        await stores.close()
    _print_left(outcomes, left, is_whole=is_whole)
    return is_whole and not outcomes[Outcome.CORRUPT]


def _move_of(stores: Stores, parallel: int, expiry_ms: int) -> Move:
    both = stores.blobs
    assert isinstance(both, SeveralStore)
    return Move(stores.database, both.current, both.previous, stores.clock, parallel, expiry_ms)


async def _move_all(stores: Stores, move: Move) -> Counter[Outcome]:
    outcomes: Counter[Outcome] = Counter()
    columns = (TextColumn("move"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    stats: Stats = await stores.database.read(installation.stats)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("move", total=stats.blob_bytes)
        move.on_bytes = lambda count: progress.advance(task, count)
        async for handled in move.run():
            outcomes[handled.outcome] += 1
            _show_problem(progress, handled)
    return outcomes


def _show_problem(progress: Progress, handled: Handled) -> None:
    if handled.problem is not None:
        progress.console.print(f"{handled.outcome.value}: {handled.object.digest} {handled.problem}", style="red")


def _print_left(outcomes: Counter[Outcome], left: Left, *, is_whole: bool) -> None:
    click.echo(f"{outcomes[Outcome.MOVED]} blobs moved, {outcomes[Outcome.THERE]} were there already")
    if outcomes[Outcome.CORRUPT]:
        click.echo(f"{outcomes[Outcome.CORRUPT]} corrupt blobs are left behind: push them again to heal them")
    if outcomes[Outcome.MISSING]:
        click.echo(
            f"{outcomes[Outcome.MISSING]} blobs are in neither store: `depotry scrub` marks them as corrupt, so that"
            " they can be pushed again; then run this once more"
        )
    click.echo(
        f"still in the old store: {left.dead} objects that nothing needs any more, with {decimal(left.dead_bytes)}"
    )
    if left.uploads:
        click.echo(f"still in the old store: {left.uploads} unfinished uploads")
    if is_whole:
        click.echo(
            "finished: start all servers without storage_previous; then the old store can go. While it stays, what"
            " nothing needs there is removed after removal_grace_s"
        )
    elif left.uploads and not left.live:
        click.echo("storage_previous has to stay: run this again when these uploads have ended or expired")
    else:
        click.echo("storage_previous has to stay: run this again")


def print_move_plan(stores: Stores) -> None:
    """What there is to move: nothing is changed."""
    asyncio.run(_print_plan(stores))


async def _print_plan(stores: Stores) -> None:
    try:
        plan = await _move_of(stores, 1, 0).plan()
    finally:
        await stores.close()
    click.echo(f"{plan.blobs} blobs with {decimal(plan.size)} ({plan.size} bytes) would be moved")
