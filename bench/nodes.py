"""What a manifest and a push cost the server's CPU with more workers and more nodes, on PostgreSQL and S3.

As many clients for each worker work in turns at one worker, at two workers of one node, and at three nodes, all on
databases of their own in one PostgreSQL, with blobs in one S3 service that clients are sent to. Each round's CPU time
of all processes of a server is divided by what was done. Meanwhile PostgreSQL is asked who waits for a lock. Exits with
1 when a ratio of the medians is over the limit, or when waiting for locks is more than an exception.

    .venv/bin/python bench/nodes.py [--rounds 9] [--clients 8]
"""

import argparse
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from tests.backends.pairs import Grounds  # noqa: E402
from tests.reliability.client import Image, Pusher  # noqa: E402
from tests.running import Registry  # noqa: E402

LIMIT = 1.1
WAITING_LIMIT = 0.05
"""Share of the looks at PostgreSQL that may find somebody waiting for a lock."""
LOOK_S = 0.02
GETS = 4_800
PUSHES = 96
"""A round: enough for the clock of a hundred ticks a second."""


@dataclass
class Site:
    """One registry: its nodes, all on the same database and bucket."""

    name: str
    nodes: list[Registry]
    database: str
    workers: int
    """Processes that serve, of all nodes."""
    taken: dict[str, list[float]] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """CPU time of all its processes, user and system, those that have ended included."""
        return sum(_cpu_s(pid) for node in self.nodes for pid in _tree(node.process.pid))


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(below for child in children for below in _tree(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """Asks PostgreSQL again and again who waits for a lock there."""

    grounds: Grounds
    looks: int = 0
    waiting: Counter[str] = field(default_factory=Counter)
    waited: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        """Begin to look."""
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        question = "SELECT wait_event, left(query, 70) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with self.grounds.cluster.connect() as connection:
            while not self._ended.wait(LOOK_S):
                rows: list[Any] = connection.execute(question).fetchall()
                self.looks += 1
                self.waited += bool(rows)
                self.waiting.update(f"{row[0]}: {row[1]}" for row in rows)


def gets(site: Site, count: int, pool: ThreadPoolExecutor) -> int:
    """Manifests by tag, from all clients at once. The load must cost little: with a slow one the only worker is always
    busy and several wait for it, and a request that has to wake its worker costs more than one that does not."""

    def one(number: int) -> None:
        node = site.nodes[number % len(site.nodes)]
        request = f"GET /v2/bench/app/manifests/latest HTTP/1.1\r\nHost: {node.address}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", node.port)) as connection, connection.makefile("rb") as answers:
            for _ in range(GETS // count):
                connection.sendall(request)
                take(answers)

    list(pool.map(one, range(count)))
    return GETS // count * count


def take(answers: BinaryIO) -> None:
    """Read one answer, which must be the manifest."""
    status, length = answers.readline(), 0
    assert status.startswith(b"HTTP/1.1 200"), status
    while line := answers.readline().rstrip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    assert len(answers.read(length)) == length > 0


def pushes(site: Site, count: int, pool: ThreadPoolExecutor) -> int:
    """Images of three new blobs, each to a repository and a tag of its client, as docker pushes."""

    def one(number: int) -> None:
        with site.nodes[number % len(site.nodes)].client() as client:
            for _ in range(PUSHES // count):
                blobs = [os.urandom(2_000), os.urandom(60_000), os.urandom(60_000)]
                Pusher(client).push(Image(f"bench/of{number}", "latest", blobs), way="stream")

    list(pool.map(one, range(count)))
    return PUSHES // count * count


WORKS: dict[str, Callable[[Site, int, ThreadPoolExecutor], int]] = {
    "GET manifest": gets,
    "push of an image": pushes,
}


def start(grounds: Grounds, folder: Path, name: str, *, nodes: int, workers: int) -> Site:
    """A registry of so many nodes with so many workers each, with one image in it."""
    pair = grounds.pair("postgresql+s3")
    flags = ("--storage-redirect", "--log-level", "warning", "--workers", str(workers))
    made = []
    for number in range(nodes):
        spool = ("--spool", str(folder / f"{name}-spool-{number}"))
        made.append(Registry.start(folder / name, *flags, *spool, pair=pair))
    with made[0].client() as client:
        Pusher(client).push(Image.random("bench/app", "latest", random.Random(1)), way="whole")
    return Site(name, made, pair.flags[1].rpartition("/")[2], nodes * workers)


def measure(site: Site, label: str, clients: int, pool: ThreadPoolExecutor) -> None:
    """One round of one work, with so many clients for each worker."""
    began_s = site.cpu_s()
    done = WORKS[label](site, clients * site.workers, pool)
    site.taken.setdefault(label, []).append((site.cpu_s() - began_s) / done * 1000)


def main() -> int:
    """Run it, print it, judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clients", type=int, default=8, help="For each worker.")
    options = parser.parse_args()
    grounds = Grounds()
    sites: list[Site] = []
    try:
        with tempfile.TemporaryDirectory(prefix="depotry-bench-") as name, Progress() as progress:
            folder = Path(name)
            sites.append(start(grounds, folder, "1 worker", nodes=1, workers=1))
            sites.append(start(grounds, folder, "2 workers", nodes=1, workers=2))
            sites.append(start(grounds, folder, "3 nodes", nodes=3, workers=1))
            with (
                Watch(grounds) as watch,
                ThreadPoolExecutor(options.clients * max(site.workers for site in sites)) as pool,
            ):
                for _ in progress.track(range(options.rounds), description="measuring"):
                    for label in WORKS:
                        for site in sites:
                            measure(site, label, options.clients, pool)
            deadlocks = sum(grounds.cluster.deadlocks(site.database) for site in sites)
            for site in sites:
                for node in site.nodes:
                    node.kill()
    finally:
        for site in sites:
            for node in site.nodes:
                node.kill()
        grounds.close()
    return report(sites, watch, deadlocks)


def report(sites: list[Site], watch: Watch, deadlocks: int) -> int:
    """The table, the waits, and whether both are good enough."""
    print(f"{'ms CPU each':<18}" + "".join(f"{site.name:>12}" for site in sites) + f"{'ratios':>14}")
    worst = 0.0
    for label in WORKS:
        medians = [statistics.median(site.taken[label]) for site in sites]
        ratios = [median / medians[0] for median in medians[1:]]
        worst = max(worst, *ratios)
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{label:<18}" + "".join(f"{median:>12.2f}" for median in medians) + f"{shown:>14}")
    share = watch.waited / max(1, watch.looks)
    print(f"{watch.looks} looks at PostgreSQL: in {share:.1%} somebody waited for a lock, {deadlocks} deadlocks")
    for what, count in watch.waiting.most_common(5):
        print(f"  {count:>5}  {what}")
    return int(worst > LIMIT or share > WAITING_LIMIT or deadlocks > 0)


if __name__ == "__main__":
    sys.exit(main())
