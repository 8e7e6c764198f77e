"""Memory of the server while 16 clients push, and then pull, 1 GiB each, all at once.

The pushes have docker's shape: POST, one PATCH without a length in chunks of 32 KiB, an empty PUT. Prints the peak of
resident memory and the server's own CPU time for each phase; exits with 1 when a peak is over the limit.

    .venv/bin/python bench/memory.py [--count 16] [--size 1024] [--s3]

With `--s3` the blobs go to versitygw on this machine.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.backends.s3 import service  # noqa: E402
from tests.running import Registry  # noqa: E402

MIB = 1024 * 1024
LIMIT_MIB = 150
CHUNK = 32 * 1024
SAMPLE_S = 0.05
RANDOM = os.urandom(MIB)


@dataclass
class Content:
    """A blob that is made while it is sent: one random mebibyte again and again, numbered."""

    number: int
    mebibytes: int
    digest: str = ""

    def pieces(self) -> Iterator[bytes]:
        """One mebibyte at a time."""
        for count in range(self.mebibytes):
            yield self.number.to_bytes(8, "big") + count.to_bytes(8, "big") + RANDOM[16:]

    def hash(self) -> None:
        """Work out the digest beforehand, so that the clients do not compete for the processor with it."""
        hasher = hashlib.sha256()
        for piece in self.pieces():
            hasher.update(piece)
        self.digest = f"sha256:{hasher.hexdigest()}"


@dataclass
class Phase:
    """What the server takes while something happens."""

    registry: Registry
    gibibytes: float = 0.0
    peak_mib: float = 0.0
    cpu_s: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Phase":
        """Begin to look."""
        self._began_s = cpu_seconds(self.registry)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()
        self.cpu_s = cpu_seconds(self.registry) - self._began_s

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.peak_mib = max(self.peak_mib, self.registry.rss_bytes() / MIB)

    def row(self, name: str) -> str:
        """One line of the result."""
        rate = f"{self.cpu_s / self.gibibytes:6.2f} CPU-s/GiB" if self.gibibytes else ""
        return f"{name:<12}{self.peak_mib:7.0f} MiB {rate}"


def cpu_seconds(registry: Registry) -> float:
    """CPU time of the server's process, user and system."""
    fields = Path(f"/proc/{registry.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def push(registry: Registry, content: Content, advance: TaskID, progress: Progress) -> None:
    """As docker pushes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.port)
    writer.write(b"POST /v2/bench/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    head = await expect(reader, 202)
    found = re.search(rb"\r\nlocation: (\S+)", head, re.IGNORECASE)
    assert found is not None
    writer.write(b"PATCH " + found[1] + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in content.pieces():
        view = memoryview(piece)
        for start in range(0, MIB, CHUNK):
            writer.writelines([b"%x\r\n" % CHUNK, view[start : start + CHUNK], b"\r\n"])
        await writer.drain()
        progress.advance(advance, MIB)
    writer.write(b"0\r\n\r\n")
    await expect(reader, 202)
    query = f"?digest={content.digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    writer.write(b"PUT " + found[1] + query.encode())
    await expect(reader, 201)
    writer.close()


async def pull(registry: Registry, content: Content, advance: TaskID, progress: Progress) -> None:
    """Read a blob to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.port, limit=MIB)
    writer.write(f"GET /v2/bench/blobs/{content.digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await expect(reader, 200)
    left = content.mebibytes * MIB
    while left:
        piece = await reader.read(MIB)
        assert piece, "the answer is too short"
        left -= len(piece)
        progress.advance(advance, len(piece))
    writer.close()


async def expect(reader: asyncio.StreamReader, status: int) -> bytes:
    """The head of an answer that has this status."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    return head


def run(registry: Registry, contents: list[Content]) -> list[tuple[str, Phase]]:
    """All phases, with a progress bar."""
    gibibytes = sum(content.mebibytes for content in contents) / 1024
    phases = [
        ("idle", Phase(registry)),
        ("uploads", Phase(registry, gibibytes)),
        ("downloads", Phase(registry, gibibytes)),
    ]
    columns = (TextColumn("{task.description:<12}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
    with Progress(*columns) as progress:
        with phases[0][1]:
            for content in progress.track(contents, description="preparing"):
                content.hash()
        for (name, phase), work in zip(phases[1:], (push, pull), strict=True):
            task = progress.add_task(name, total=gibibytes * 1024 * MIB)

            async def all_at_once(work: object = work, task: TaskID = task) -> None:
                await asyncio.gather(*(work(registry, content, task, progress) for content in contents))  # type: ignore[operator]

            with phase:
                asyncio.run(all_at_once())
    return phases


def main() -> int:
    """Run it, print it, judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="clients at once")
    parser.add_argument("--size", type=int, default=1024, help="MiB each client moves")
    parser.add_argument("--dir", type=Path, default=None, help="where the registry puts its data for the time")
    parser.add_argument("--s3", action="store_true", help="store in S3")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="depotry-bench-", dir=options.dir))
    needed = (1 + options.s3) * options.count * options.size * MIB + 1024 * MIB
    if shutil.disk_usage(folder).free < needed:
        sys.exit(f"{folder} has no room for {needed // MIB} MiB: use --dir, --count or --size")
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, folder)
        if options.s3:
            gateway = ending.enter_context(service("versitygw", folder / "s3"))
            registry = Registry.start(
                folder / "data", "--storage", gateway.url(gateway.new_bucket()), env=gateway.env()
            )
        else:
            registry = Registry.start(folder / "data")
        ending.callback(registry.kill)
        began_s = time.monotonic()
        phases = run(registry, [Content(number, options.size) for number in range(options.count)])
    print(f"{options.count} clients x {options.size} MiB, {time.monotonic() - began_s:.0f} s")
    for name, phase in phases:
        print(phase.row(name))
    worst = max(phase.peak_mib for _, phase in phases)
    print(f"peak {worst:.0f} MiB, limit {LIMIT_MIB} MiB")
    return int(worst > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
