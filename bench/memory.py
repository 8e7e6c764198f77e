"""Memory and CPU of the server under many big uploads, and then downloads, at once.

A real `depotry serve` on loopback; each upload is docker-shaped: POST, one PATCH with chunked transfer coding in
pieces of 32 KiB, an empty PUT. Content is one random MiB with a counter in it, so that two client processes are
enough, and every byte that comes back is compared. Exit status 1 if resident memory was above the limit.
"""

import argparse
import hashlib
import multiprocessing
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from tests.running import Registry

MIB = 1024 * 1024
TE_CHUNK_BYTES = 32 * 1024
COUNTER_BYTES = 16
SAMPLE_S = 0.05
IDLE_S = 1.0
CLIENTS = 2
SLACK = 1.02
"""Of the free space, for the file system's own needs and the database."""

Counter = Synchronized  # type: ignore[type-arg]
PROCESSES = multiprocessing.get_context("fork")


class Content:
    """The bytes of blob `number`: piece after piece of one MiB, each with its place in front."""

    def __init__(self, pattern: bytes, number: int) -> None:
        self.piece = bytearray(pattern)
        self.number = number

    def at(self, place: int) -> bytearray:
        """Piece `place`; valid until the next call."""
        self.piece[:COUNTER_BYTES] = b"%08d%08d" % (self.number, place)
        return self.piece

    def digest(self, mib: int, advance: Callable[[int], None]) -> str:
        """The digest of the first `mib` pieces."""
        hasher = hashlib.sha256()
        for place in range(mib):
            hasher.update(self.at(place))
            advance(MIB)
        return f"sha256:{hasher.hexdigest()}"


@dataclass(frozen=True)
class Blob:
    """One blob to move."""

    number: int
    mib: int
    digest: str


class Connection:
    """Just enough HTTP for one blob after another on a blocking socket."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.buffered = b""

    def ask(self, line: str, *headers: str) -> dict[str, str]:
        """Send a request without a body; the headers of its answer, with `status`."""
        self.start(line, "Content-Length: 0", *headers)
        return self.answer()

    def start(self, line: str, *headers: str) -> None:
        """Send the head of a request."""
        self.sock.sendall("\r\n".join([f"{line} HTTP/1.1", "Host: bench", *headers, "", ""]).encode())

    def answer(self) -> dict[str, str]:
        """The head of the next answer."""
        while b"\r\n\r\n" not in self.buffered:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("the server closed the connection")
            self.buffered += more
        head, _, self.buffered = self.buffered.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return {"status": first.split(" ")[1], **{name.lower(): value for name, value in pairs}}

    def fill(self, view: memoryview) -> None:
        """Receive exactly as much as fits."""
        count = min(len(self.buffered), len(view))
        view[:count] = self.buffered[:count]
        self.buffered = self.buffered[count:]
        while count < len(view):
            received = self.sock.recv_into(view[count:])
            if not received:
                raise ConnectionError("the body ended too early")
            count += received


def expect(answer: dict[str, str], status: str) -> dict[str, str]:
    """The answer, if it has this status."""
    if answer["status"] != status:
        raise AssertionError(f"status {answer['status']} instead of {status}")
    return answer


def upload(port: int, blob: Blob, pattern: bytes, advance: Callable[[int], None]) -> None:
    """Push one blob as docker does."""
    connection = Connection(port)
    location = expect(connection.ask("POST /v2/bench/memory/blobs/uploads/"), "202")["location"]
    connection.start(f"PATCH {location}", "Transfer-Encoding: chunked", "Content-Type: application/octet-stream")
    # The framing is the same for every piece, so it is laid down once around the bytes that change.
    size_line = b"%x\r\n" % TE_CHUNK_BYTES
    wire = bytearray()
    for start in range(0, MIB, TE_CHUNK_BYTES):
        wire += size_line + pattern[start : start + TE_CHUNK_BYTES] + b"\r\n"
    content = Content(pattern, blob.number)
    counter = slice(len(size_line), len(size_line) + COUNTER_BYTES)
    for place in range(blob.mib):
        wire[counter] = content.at(place)[:COUNTER_BYTES]
        connection.sock.sendall(wire)
        advance(MIB)
    connection.sock.sendall(b"0\r\n\r\n")
    expect(connection.answer(), "202")
    expect(connection.ask(f"PUT {location}?digest={blob.digest}"), "201")
    connection.sock.close()


def download(port: int, blob: Blob, pattern: bytes, advance: Callable[[int], None]) -> None:
    """Pull one blob and compare it."""
    connection = Connection(port)
    connection.start(f"GET /v2/bench/memory/blobs/{blob.digest}")
    answer = expect(connection.answer(), "200")
    if int(answer["content-length"]) != blob.mib * MIB:
        raise AssertionError("a wrong length")
    content = Content(pattern, blob.number)
    received = bytearray(MIB)
    for place in range(blob.mib):
        connection.fill(memoryview(received))
        if received != content.at(place):
            raise AssertionError(f"blob {blob.number} differs in MiB {place}")
        advance(MIB)
    connection.sock.close()


Move = Callable[[int, Blob, bytes, Callable[[int], None]], None]


def run_client(move: Move, port: int, blobs: list[Blob], pattern: bytes, moved: Counter, failed: Event) -> None:
    """Move blobs at once, one thread each; the body of a client process."""

    def advance(count: int) -> None:
        with moved.get_lock():
            moved.value += count

    def one(blob: Blob) -> None:
        try:
            move(port, blob, pattern, advance)
        except BaseException:
            failed.set()
            raise

    threads = [threading.Thread(target=one, args=(blob,)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass
class Watched:
    """The server's figures from /proc."""

    pid: int

    def rss_mib(self, field: str = "VmRSS") -> float:
        """Resident memory now, or its high-water mark as `VmHWM`."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def cpu_s(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """What one phase cost."""

    phase: str
    peak_mib: float
    cpu_s_per_gib: float | None = None
    wall_s: float | None = None


@dataclass
class Bench:
    """One run."""

    registry: Registry
    blobs: list[Blob]
    pattern: bytes
    progress: Progress

    def idle(self) -> Figures:
        """The server before anything was asked of it."""
        watched = Watched(self.registry.process.pid)
        peak = watched.rss_mib()
        until = time.monotonic() + IDLE_S
        while time.monotonic() < until:
            peak = max(peak, watched.rss_mib())
            time.sleep(SAMPLE_S)
        return Figures("idle", peak)

    def phase(self, name: str, move: Move) -> Figures:
        """Move every blob at once, from a few processes, and watch the server."""
        watched = Watched(self.registry.process.pid)
        moved, failed = PROCESSES.Value("q", 0), PROCESSES.Event()
        clients = [
            PROCESSES.Process(
                target=run_client,
                args=(move, self.registry.port, self.blobs[number::CLIENTS], self.pattern, moved, failed),
                daemon=True,
            )
            for number in range(CLIENTS)
        ]
        total = sum(blob.mib for blob in self.blobs)
        task = self.progress.add_task(name, total=total * MIB)
        peak, cpu_before, started = watched.rss_mib(), watched.cpu_s(), time.monotonic()
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            peak = max(peak, watched.rss_mib())
            self.progress.update(task, completed=moved.value)
            if failed.is_set():
                raise SystemExit(f"{name} failed")
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - started
        self.progress.update(task, completed=moved.value)
        if moved.value != total * MIB or failed.is_set():
            raise SystemExit(f"{name} failed after {moved.value} bytes")
        cpu_s = watched.cpu_s() - cpu_before
        return Figures(name, peak, cpu_s / (total / 1024), wall_s)


@contextmanager
def scratch(folder: Path | None, bytes_needed: int) -> Iterator[Path]:
    """A folder with enough room, removed at the end."""
    base = folder or Path(tempfile.gettempdir())
    free = shutil.disk_usage(base).free
    if free < bytes_needed * SLACK + 128 * MIB:
        raise SystemExit(f"{base} has {free // MIB} MiB free, {bytes_needed // MIB} MiB are needed: see --folder")
    with tempfile.TemporaryDirectory(prefix="depotry-bench-", dir=base) as path:
        yield Path(path)


def run(options: argparse.Namespace, console: Console) -> list[Figures]:
    """All phases."""
    pattern = os.urandom(MIB)
    columns = (TextColumn("{task.description:10}"), BarColumn(), DownloadColumn(binary_units=True))
    with (
        scratch(options.folder, options.size_mib * options.count * MIB) as folder,
        Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as progress,
    ):
        task = progress.add_task("digests", total=options.count * options.size_mib * MIB)
        blobs = [
            Blob(
                number,
                options.size_mib,
                Content(pattern, number).digest(options.size_mib, lambda count: progress.advance(task, count)),
            )
            for number in range(options.count)
        ]
        registry = Registry.start(folder / "data")
        try:
            bench = Bench(registry, blobs, pattern, progress)
            figures = [bench.idle(), bench.phase("uploads", upload), bench.phase("downloads", download)]
            figures.append(Figures("high-water mark", Watched(registry.process.pid).rss_mib("VmHWM")))
            if registry.stop() != 0:
                raise SystemExit("the server did not stop cleanly")
        finally:
            registry.kill()
    return figures


def show(figures: list[Figures], console: Console) -> None:
    """The table."""
    table = Table(box=None)
    for heading in ("phase", "peak RSS MiB", "CPU-s/GiB", "wall s"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for row in figures:
        cpu = "" if row.cpu_s_per_gib is None else f"{row.cpu_s_per_gib:.2f}"
        table.add_row(row.phase, f"{row.peak_mib:.1f}", cpu, "" if row.wall_s is None else f"{row.wall_s:.1f}")
    console.print(table)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", dest="size_mib", type=int, default=1024, metavar="MIB", help="of each blob")
    parser.add_argument("--count", type=int, default=16, help="blobs at once")
    parser.add_argument("--limit", dest="limit_mib", type=float, default=150.0, metavar="MIB", help="of resident memory")
    parser.add_argument("--folder", type=Path, help="where to store the blobs while it runs (the system's for temporary files)")
    options = parser.parse_args()
    console = Console()
    figures = run(options, console)
    show(figures, console)
    peak = max(row.peak_mib for row in figures)
    is_within = peak <= options.limit_mib
    console.print(f"peak {peak:.1f} MiB, limit {options.limit_mib:g} MiB: {'ok' if is_within else 'TOO MUCH'}")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
