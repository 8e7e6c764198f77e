"""What the commands print: figures as a table, long work as a progress bar."""

import asyncio
import json
from dataclasses import asdict

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from registry.app import Stores
from registry.jobs.scrub import Scrub
from registry.metadata import installation
from registry.metadata.installation import Stats


def print_stats(stores: Stores, *, as_json: bool) -> None:
    """What the registry holds, as a table or one JSON object (sizes in bytes)."""
    asyncio.run(_print_stats(stores, as_json=as_json))


async def _print_stats(stores: Stores, *, as_json: bool) -> None:
    try:
        stats = await stores.database.read(installation.stats)
        usage = await stores.blobs.usage()
    finally:
        await stores.close()
    figures = {**asdict(stats), "storage_free_bytes": usage.free, "storage_total_bytes": usage.total}
    if as_json:
        print(json.dumps(figures))
        return
    table = Table(show_header=False, box=None)
    for name, value in figures.items():
        if value is not None:
            is_size = name.endswith("_bytes")
            table.add_row(name.removesuffix("_bytes").replace("_", " "), decimal(value) if is_size else f"{value:,}")
    Console().print(table)


def run_scrub(stores: Stores) -> int:
    """Scrub with a progress bar; returns how many objects are corrupt."""
    return asyncio.run(_scrub(stores))


async def _scrub(stores: Stores) -> int:
    corrupt = read = 0
    console = Console(stderr=True)
    columns = (
        TextColumn("scrub"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        stats: Stats = await stores.database.read(installation.stats)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("scrub", total=stats.blob_bytes)
            async for scrubbed in Scrub(stores.database, stores.blobs, stores.clock).run():
                read += 1
                progress.advance(task, scrubbed.object.size)
                if scrubbed.problem is not None:
                    corrupt += 1
                    progress.console.print(f"corrupt: {scrubbed.object.digest} {scrubbed.problem}", style="red")
    finally:
        await stores.close()
    print(f"{read} blobs read, {corrupt} corrupt" + ("; push them again to heal them" if corrupt else ""))
    return corrupt
