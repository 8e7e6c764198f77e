"""What login costs: CPU of the server for a manifest GET, without login on an open registry, and with a token, a
password and a personal token on a closed one.

The ways alternate round by round on two servers, and the server's own CPU time is what counts. Exits with 1 when the
ratio of a token to no login is over the limit.

    .venv/bin/python bench/login.py [--rounds 15] [--requests 3000]
"""

import argparse
import base64
import socket
import statistics
import sys
import tempfile
from pathlib import Path

import httpx2
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from memory import cpu_seconds  # noqa: E402

from tests.reliability.client import Image, Pusher  # noqa: E402
from tests.running import ADMIN_PASSWORD, Registry  # noqa: E402

LIMIT = 1.15
NAME = "app"
IMAGE = Image(NAME, "v1", [b"{}", b"x"])


class Keeper:
    """One connection that sends the same request again and again, with little of its own to disturb the other core."""

    def __init__(self, port: int, authorization: str | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        login = "" if authorization is None else f"Authorization: {authorization}\r\n"
        self._request = f"GET /v2/{NAME}/manifests/v1 HTTP/1.1\r\nHost: localhost:{port}\r\n{login}\r\n".encode()
        self._length = self._first()

    def _first(self) -> int:
        """The length of one answer, which is that of all."""
        self._socket.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(IMAGE.manifest):
            answer += self._socket.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return len(answer)

    def run(self, count: int) -> None:
        """So many requests, one after the other."""
        for _ in range(count):
            self._socket.sendall(self._request)
            left = self._length
            while left:
                left -= len(self._socket.recv(65536))


def basic(name: str, secret: str) -> str:
    """The header of a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def bearer(closed: Registry, authorization: str) -> str:
    """The header of a token for the repository."""
    query = {"service": f"localhost:{closed.port}", "scope": f"repository:{NAME}:pull,push"}
    answer = httpx2.get(f"{closed.url}/token", params=query, headers={"authorization": authorization})
    return f"Bearer {answer.json()['token']}"


def push(registry: Registry, headers: dict[str, str]) -> None:
    """The image that is pulled."""
    with registry.client() as client:
        client.headers.update(headers)
        Pusher(client).push(IMAGE, way="whole")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    flags = ("--requests-per-second", "0", "--log-level", "warning")
    with tempfile.TemporaryDirectory() as folder:
        opened = Registry.start(Path(folder) / "open", *flags)
        closed = Registry.start(Path(folder) / "closed", *flags, is_open=False)
        try:
            medians = measure(opened, closed, options)
        finally:
            opened.kill()
            closed.kill()
    print(f"{'manifest GET':<24}{'ms CPU':>8}{'ratio':>8}")
    for way, ms in medians.items():
        print(f"{way:<24}{ms:>8.3f}{ms / medians['no login']:>8.2f}")
    return int(medians["cached token"] / medians["no login"] > LIMIT)


def measure(opened: Registry, closed: Registry, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of CPU for one request, the median of the rounds, by way."""
    password = basic("admin", ADMIN_PASSWORD)
    personal = basic("admin", closed.command("token", "create", "admin").strip())
    push(opened, {})
    push(closed, {"authorization": password})
    ways = {
        "no login": (opened, Keeper(opened.port, None)),
        "cached token": (closed, Keeper(closed.port, bearer(closed, password))),
        "cached password": (closed, Keeper(closed.port, password)),
        "cached personal token": (closed, Keeper(closed.port, personal)),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    with Progress() as progress:
        task = progress.add_task("rounds", total=options.rounds * len(ways))
        for _ in range(options.rounds):
            for way, (registry, keeper) in ways.items():
                before = cpu_seconds(registry)
                keeper.run(options.requests)
                spent = cpu_seconds(registry) - before
                found[way].append(spent / options.requests * 1000)
                progress.advance(task)
    return {way: statistics.median(figures) for way, figures in found.items()}


if __name__ == "__main__":
    sys.exit(main())
