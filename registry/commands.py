"""What the commands print: figures as a table, long work as a progress bar."""

import asyncio
import json
from collections.abc import Callable
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
from registry.core.errors import Unavailable
from registry.desk import shown_time
from registry.jobs.runner import Fenced, Runner
from registry.jobs.scrub import Scrub
from registry.jobs.upkeep import COLLECT, EXPIRE, REMOVE_DEAD, REVIEW_ALL, ROUND, SWEEP, Graces, jobs_of
from registry.metadata import collection, installation
from registry.metadata.collection import Account
from registry.metadata.installation import Stats

_WHAT = {
    "manifest_bytes": "size of manifests",
    "blob_bytes": "size of blobs",
    "dead_objects": "collected, still in storage",
    "dead_bytes": "size of these",
    "uploads_open": "unfinished uploads",
    "storage_free_bytes": "free in storage",
    "storage_total_bytes": "all of storage",
}
"""What people read for a figure, where its name does not say it."""


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
            table.add_row(_WHAT.get(name, name.replace("_", " ")), decimal(value) if is_size else f"{value:,}")
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


def print_account(stores: Stores, graces: Graces, *, as_json: bool) -> None:
    """Where the bytes are and what could go, as a table or one JSON object (sizes in bytes). Raises Unavailable."""
    asyncio.run(_print_account(stores, graces, as_json=as_json))


async def _print_account(stores: Stores, graces: Graces, *, as_json: bool) -> None:
    try:
        account = await _account(stores, graces)
        usage = await stores.blobs.usage()
    finally:
        await stores.close()
    if as_json:
        room = {"storage_free_bytes": usage.free, "storage_total_bytes": usage.total}
        print(json.dumps({**asdict(account), **room}))
        return
    until = shown_time(account.leased_until)
    lines: list[tuple[str, int | None, int | None, str]] = [
        ("blobs that can be had", account.live, account.live_bytes, ""),
        ("  used by manifests", account.referenced, account.referenced_bytes, ""),
        ("  kept by a lease", account.leased, account.leased_bytes, f"until {until} UTC at most" if until else ""),
        ("  collectable now", account.collectable, account.collectable_bytes, ""),
        ("collected, still in storage", account.dead, account.dead_bytes, ""),
        ("  removable now", account.removable, account.removable_bytes, ""),
        ("unfinished uploads", account.uploads, account.uploads_bytes, f"{account.uploads_expired:,} expired"),
        ("free in storage", None, usage.free, ""),
        ("all of storage", None, usage.total, ""),
    ]
    table = Table(show_header=False, box=None)
    for name, count, size, note in lines:
        if size is not None:
            table.add_row(name, "" if count is None else f"{count:,}", decimal(size), note)
    Console().print(table)


async def _account(stores: Stores, graces: Graces) -> Account:
    now = stores.clock()
    before = now - graces.removal_grace_ms
    return await stores.database.read(lambda connection: collection.account(connection, now=now, dead_before=before))


def run_round(stores: Stores, graces: Graces, *, full: bool, as_json: bool) -> None:
    """One round of what gives space back, with a progress bar, and the account of it. Raises Unavailable."""
    asyncio.run(_run_round(stores, graces, full=full, as_json=as_json))


async def _run_round(stores: Stores, graces: Graces, *, full: bool, as_json: bool) -> None:
    runner = Runner(stores.database, jobs_of(stores.blobs, graces), stores.clock)
    did: dict[str, dict[str, int]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for kind in ((REVIEW_ALL,) if full else ()) + ROUND + ((SWEEP,) if full else ()):
                did[kind] = await _run_one(runner, kind, progress, await _account(stores, graces))
        account = await _account(stores, graces)
    finally:
        await stores.close()
    if as_json:
        print(json.dumps({"did": did, "account": asdict(account)}))
    else:
        _print_freed(did, account)


async def _run_one(runner: Runner, kind: str, progress: Progress, account: Account) -> dict[str, int]:
    unit, total = {
        EXPIRE: ("expired", account.uploads_expired),
        COLLECT: ("collected", account.collectable),
        REMOVE_DEAD: ("removed", account.removable),
        REVIEW_ALL: ("walked", account.live),
        SWEEP: ("listed", account.live + account.dead),
    }[kind]
    task = progress.add_task(kind, total=total)

    def advance(name: str, number: int) -> None:
        if name == unit:
            progress.advance(task, number)

    try:
        return await runner.run_now(kind, progress=advance, waiting=_once(lambda: progress.console.print(_waits(kind))))
    except Fenced:
        raise Unavailable(f"another process has taken {kind} over; what was done until then stays done") from None


def _waits(kind: str) -> str:
    return f"another process runs {kind}: waiting for it to end"


def _once(say: Callable[[], None]) -> Callable[[], None]:
    said: list[bool] = []

    def maybe() -> None:
        if not said:
            said.append(True)
            say()

    return maybe


def _print_freed(did: dict[str, dict[str, int]], account: Account) -> None:
    expired, collected, removed = did[EXPIRE], did[COLLECT], did[REMOVE_DEAD]
    swept = did.get(SWEEP, {})
    lines = [
        (expired.get("expired", 0), "uploads ended", expired.get("expired_bytes", 0)),
        (collected.get("collected", 0), "blobs collected", collected.get("collected_bytes", 0)),
        (removed.get("removed", 0), "objects removed from storage", removed.get("removed_bytes", 0)),
    ]
    if SWEEP in did:
        lines.append((swept.get("removed", 0), "objects removed that nobody knew", swept.get("removed_bytes", 0)))
    for count, what, size in lines:
        print(f"{count:,} {what}, {decimal(size)}")
    if account.dead > account.removable:
        print(
            f"{account.dead:,} objects, {decimal(account.dead_bytes)}, wait in storage for removal_grace_s to be over"
        )
