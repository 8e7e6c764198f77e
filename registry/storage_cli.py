"""The commands for where blobs are."""

import sys
from pathlib import Path

import click

from registry.options import existing_stores, fail, opened, read_settings, settings_options

PARALLEL_MAX = 64


@click.group()
def storage() -> None:
    """Where blobs are."""


@storage.command("move")
@click.option("--from", "source", metavar="STORAGE", help="Where blobs are now [default: storage_previous].")
@click.option("--to", "target", metavar="STORAGE", help="Where they shall be [default: storage].")
@click.option("--parallel", type=click.IntRange(1, PARALLEL_MAX), default=4, show_default=True, help="Blobs at once.")
@click.option("--dry-run", is_flag=True, help="Only say how much there is to move.")
@click.option("--offline", is_flag=True, help="No server runs, so none has to know both places yet.")
@settings_options
def storage_move(
    config_file: Path | None,
    parallel: int,
    *,
    source: str | None,
    target: str | None,
    dry_run: bool,
    offline: bool,
    **flags: object,
) -> None:
    """Move all blobs from one place to another, beside running servers: from a disk to S3, back, or to another disk.

    First start the servers with the new place as storage and the old one as storage_previous; then run this with the
    same settings; when it says that it has finished, start the servers without storage_previous. It can be stopped and
    started again at any time. Exit status 1 if something could not be moved, or has to be moved later.
    """
    given = {"storage_previous": source, "storage": target}
    settings = read_settings({**flags, **{name: url for name, url in given.items() if url is not None}}, config_file)
    if settings.storage_previous is None:
        fail("where are the blobs now? Say --from, or set storage_previous")
    from registry.move_commands import print_move_plan, run_storage_move
    from registry.services.installation import Purpose

    if dry_run:
        plan = existing_stores(settings, Purpose.PLAN)
        opened(lambda: print_move_plan(plan))
        return
    stores = existing_stores(settings, Purpose.MOVE_OFFLINE if offline else Purpose.MOVE)
    is_done = opened(lambda: run_storage_move(stores, parallel=parallel, expiry_ms=settings.upload_ttl_s * 1000))
    sys.exit(0 if is_done else 1)
