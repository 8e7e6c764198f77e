"""What each page and each list of the hub costs with 10,000 repositories, 100,000 tags in one of them, and 1,000,000
pulls counted, against the same on a small registry that fills its pages too.

The two servers take turns round by round, and their own CPU time is what counts, with that of PostgreSQL. How many
statements a request takes is counted apart, in this process. Exits with 1 when a ratio or a number of statements is
over its limit.

    .venv/bin/python bench/hub.py [--postgresql] [--only explore] [--plot hub.svg] [--rounds 7] [--requests 60]
"""

import argparse
import asyncio
import base64
import contextlib
import fnmatch
import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import URL, Engine, create_engine, event, text

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from memory import cpu_seconds  # noqa: E402
from shelves import BIG, Size, fill, tag_name  # noqa: E402

from registry.api.hub.paths import parameters_of  # noqa: E402
from registry.api.hub.routes import HUB_ROUTES  # noqa: E402
from registry.api.hub.table import PREFIX  # noqa: E402
from registry.api.web.routes import WEB_ROUTES  # noqa: E402
from registry.app import Application, Stores, graces_of, open_stores  # noqa: E402
from registry.config import Settings, load  # noqa: E402
from registry.core.digest import Digest  # noqa: E402
from registry.jobs.runner import Runner  # noqa: E402
from registry.jobs.upkeep import Graces, jobs_of  # noqa: E402
from registry.metadata.sqlite import writing_engine  # noqa: E402
from tests.backends.postgresql import Cluster  # noqa: E402
from tests.running import ADMIN_PASSWORD, STILL, Registry  # noqa: E402

RATIO_LIMIT = 1.3
NOISE_MS = 0.3
"""A difference below this is no difference: the clock of processes ticks a hundred times a second."""
STATEMENTS_LIMIT = 3
SMALL = Size(repositories=2_500, tags=200, pulls=100_000)
"""Enough namespaces, each with enough repositories, for a page."""
QUERIES = {
    "/explore": ("sort=-pull_count", "sort=name", "sort=-size_bytes", "sort=-pushed_at", "q=worker", "q=wrker"),
    "/search": ("q=web",),
    "/search/suggestions": ("q=big",),
    "/u/{namespace}": ("sort=-star_count",),
    "/r/{repository}/-/tags": ("sort=version", "sort=-pushed", "q=9.99"),
    f"{PREFIX}/repositories": ("sort=-pulls", "sort=-size", "q=worker", "limit=100", "platform=linux/arm64"),
    f"{PREFIX}/repositories/{{repository}}/-/tags": ("limit=100", "sort=version", "sort=-pushed", "q=9.99"),
    f"{PREFIX}/instance/storage": ("days=365&top=8",),
    f"{PREFIX}/instance/traffic": ("step=day&count=365",),
    f"{PREFIX}/instance/ranking": ("by=size",),
}
"""What else than nothing is asked for, where there is such a route."""
NOT_LISTS = ("/openapi.json", "/openid", "/sign", "/static", "/instance/audit/export", "/admin/audit.jsonl")
"""Begin the paths of what shows nothing that is stored, or all of it: an export is as long as the audit."""
VALUES = {
    "repository": BIG,
    "namespace": "team01",
    "tag": tag_name(50),
    "digest": str(Digest.of(b"big 50")),
    "reference": tag_name(50),
}
WARM_UP = 5
ALSO = ("/v2/_catalog?n=100", f"/v2/{BIG}/tags/list?n=100", "/v1/search?q=web&n=25")
BASIC = "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()


@dataclass
class Case:
    """A request, and what was found: milliseconds of CPU on the small and on the big registry, statements on both."""

    path: str
    status: int = 0
    ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    statements: list[int] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        """Of the rounds."""
        return statistics.median(self.ms[0]), statistics.median(self.ms[1])

    @property
    def ratio(self) -> float:
        """Of the big one to the small one."""
        small, big = self.medians
        return big / small if small else 1.0

    @property
    def is_good(self) -> bool:
        """Whether it keeps to the limits."""
        small, big = self.medians
        is_flat = self.ratio <= RATIO_LIMIT or big - small < NOISE_MS
        return is_flat and max(self.statements, default=0) <= STATEMENTS_LIMIT


def cases(only: str) -> list[Case]:
    """Every GET of the two tables, with the queries from above."""
    templates = [f"{PREFIX}{route.path}" for route in HUB_ROUTES if route.method == "GET"]
    templates += [route.path for route in WEB_ROUTES if route.method == "GET"]
    found = list(ALSO)
    for template in dict.fromkeys(templates):
        if not set(parameters_of(template)) <= VALUES.keys():
            print(f"left out: {template}")
            continue
        path = template.format(**VALUES)
        found += [path, *(f"{path}?{query}" for query in QUERIES.get(template, ()))]
    plain = (path for path in found if not path.removeprefix(PREFIX).startswith(NOT_LISTS))
    return [Case(path) for path in plain if fnmatch.fnmatch(path, f"*{only}*")]


@dataclass
class Site:
    """A registry of one size."""

    registry: Registry
    client: http.client.HTTPConnection
    cluster: Cluster | None

    def get(self, path: str) -> int:
        """One request; returns its status."""
        self.client.request("GET", path, headers={"authorization": BASIC, "accept": "*/*"})
        answer = self.client.getresponse()
        answer.read()
        return answer.status

    def cost(self, path: str, count: int) -> float:
        """Milliseconds of the server's CPU for one of so many requests."""
        before = self._spent()
        for _ in range(count):
            self.get(path)
        return (self._spent() - before) / count * 1000

    def _spent(self) -> float:
        return cpu_seconds(self.registry) + (0.0 if self.cluster is None else database_seconds(self.cluster))


def database_seconds(cluster: Cluster) -> float:
    """CPU time of the processes of a PostgreSQL that serve connections now, user and system."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[1]) == cluster.pid else 0
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def site(folder: Path, size: Size, database: str | None, cluster: Cluster | None, progress: Progress) -> Iterator[Site]:
    """A server on a filled database."""
    flags = (*STILL, "--requests-per-second", "0", "--log-level", "warning")
    made = Registry.start(folder, *flags, is_open=False, database=database)
    made.stop()
    engine = _engine(folder, database)
    fill(engine, size, now=time.time_ns() // 1_000_000, progress=progress)
    engine.dispose()
    asyncio.run(work(_stores(folder, database), graces_of(_settings(folder, database)), size))
    registry = Registry.start(folder, *flags, is_open=False, database=database)
    try:
        yield Site(registry, http.client.HTTPConnection("127.0.0.1", registry.port), cluster)
    finally:
        registry.kill()


async def work(stores: Stores, graces: Graces, size: Size) -> None:
    """What background work makes of it: the totals, and the tally of the repository with the tags."""
    change = text("UPDATE repositories SET tally_at = 0 WHERE name = :name")
    await stores.database.write(lambda each: each.execute(change, {"name": BIG}))
    runner = Runner(stores.database, jobs_of(stores.blobs, graces), stores.clock)
    for kind in ("tally", "sample-usage"):
        began = time.process_time()
        await runner.run_now(kind)
        spent = time.process_time() - began
        print(f"{kind} with {size.repositories:,} repositories, {size.tags:,} tags: {spent:.2f} s CPU")
    await stores.close()


def _stores(folder: Path, database: str | None) -> Stores:
    return open_stores(_settings(folder, database), upgrade=False)


def _settings(folder: Path, database: str | None) -> Settings:
    place = {"data": folder} | ({} if database is None else {"database": database})
    return load({**place, "background_jobs": False, "requests_per_second": 0, "port": 5000}, {}, None)


def _engine(folder: Path, database: str | None) -> Engine:
    if database is not None:
        return create_engine(database.replace("postgresql:", "postgresql+psycopg:", 1))
    return writing_engine(URL.create("sqlite", database=str(folder / "registry.db")), synchronous="OFF")


class Counter:
    """Counts the statements of requests to an application in this process."""

    def __init__(self, folder: Path, database: str | None) -> None:
        stores = _stores(folder, database)
        self._application = Application(_settings(folder, database), stores, ports=[5000, 5001], announce=lambda: None)
        self._statements: list[str] = []

    async def count(self, paths: list[str]) -> list[int]:
        """How many each takes, once what is remembered is known."""
        event.listen(Engine, "before_cursor_execute", self._note)
        self._application.started()
        try:
            # The first login waits for the changes of access to be read.
            for _ in range(WARM_UP):
                await self._get("/api/v1/me")
            return [await self._one(path) for path in paths]
        finally:
            event.remove(Engine, "before_cursor_execute", self._note)
            await self._application.stop()

    async def _one(self, path: str) -> int:
        found = []
        for _ in range(3):
            self._statements.clear()
            await self._get(path)
            found.append(len(self._statements))
        return min(found)

    async def _get(self, path: str) -> int:
        raw, _, query = path.partition("?")
        headers = [(b"authorization", BASIC.encode()), (b"host", b"localhost:5000"), (b"accept", b"*/*")]
        scope = {
            "type": "http", "method": "GET", "path": raw, "raw_path": raw.encode(), "query_string": query.encode(),
            "headers": headers, "server": ("127.0.0.1", 5000), "client": ("127.0.0.1", 1), "scheme": "http",
            "http_version": "1.1", "extensions": {}, "root_path": "",
        }  # fmt: skip
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await self._application.asgi(scope, receive, send)
        return status

    def _note(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.startswith(("BEGIN", "SET LOCAL")) and "access_changes" not in statement:
            self._statements.append(statement)


def measure(sites: tuple[Site, Site], found: list[Case], options: argparse.Namespace, progress: Progress) -> None:
    """Round by round, first the one and then the other."""
    for case in found:
        case.status = max(one.get(case.path) for one in sites)
    good = [case for case in found if case.status == 200]
    task = progress.add_task("requests", total=options.rounds * len(good))
    for _ in range(options.rounds):
        for case in good:
            for number, one in enumerate(sites):
                case.ms[number].append(one.cost(case.path, options.requests))
            progress.advance(task)


def report(found: list[Case]) -> int:
    """Print all of it; 1 if something is over a limit."""
    print(f"{'ms CPU a request':<76}{'small':>8}{'big':>8}{'ratio':>7}  statements")
    for case in found:
        if case.status != 200:
            print(f"{case.path:<76}{case.status:>8}")
            continue
        small, big = case.medians
        mark = "" if case.is_good else "  over the limit"
        counted = "/".join(map(str, case.statements))
        print(f"{case.path:<76}{small:>8.2f}{big:>8.2f}{case.ratio:>7.2f}  {counted}{mark}")
    return int(any(not case.is_good for case in found if case.status == 200))


def plot(found: list[Case], path: Path) -> None:
    """Ratios as horizontal bars, with the limit as a line."""
    shown = [case for case in found if case.status == 200]
    row, left, width = 18, 520, 300
    scale = width / max(2.0, *(case.ratio for case in shown))
    height = row * len(shown) + 40
    size = f'width="{left + width + 60}" height="{height}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">']
    for number, case in enumerate(shown):
        y = 10 + row * number
        label = case.path.replace("&", "&amp;")
        colour = "#3b7dd8" if case.is_good else "#c0392b"
        lines.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{label}</text>')
        lines.append(f'<rect x="{left}" y="{y + 2}" width="{case.ratio * scale:.1f}" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{left + case.ratio * scale + 4:.1f}" y="{y + 12}">{case.ratio:.2f}</text>')
    x = left + RATIO_LIMIT * scale
    lines.append(f'<path d="M{x:.1f} 8V{height - 26}" stroke="#888" stroke-dasharray="4 3"/>')
    lines.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">limit {RATIO_LIMIT}</text></svg>')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--only", default="", help="a piece of the paths to ask for")
    parser.add_argument("--plot", type=Path, help="write the ratios as SVG")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=100_000)
    parser.add_argument("--pulls", type=int, default=1_000_000)
    options = parser.parse_args()
    big = Size(options.repositories, options.tags, options.pulls)
    found = cases(options.only)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="depotry-hub-")))
        cluster = Cluster(jit="off") if options.postgresql else None
        if cluster is not None:
            stack.callback(cluster.remove)
        urls = [None if cluster is None else cluster.url(cluster.empty()) for _ in range(2)]
        progress = stack.enter_context(Progress(*columns))
        sites = tuple(
            stack.enter_context(site(folder / name, size, url, cluster, progress))
            for name, size, url in (("small", SMALL, urls[0]), ("big", big, urls[1]))
        )
        measure((sites[0], sites[1]), found, options, progress)
        good = [case for case in found if case.status == 200]
        for name, url in (("small", urls[0]), ("big", urls[1])):
            counts = asyncio.run(Counter(folder / name, url).count([case.path for case in good]))
            for case, count in zip(good, counts, strict=True):
                case.statements.append(count)
    if options.plot is not None:
        plot(found, options.plot)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
