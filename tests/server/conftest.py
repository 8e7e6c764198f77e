"""A server in a process of its own, and its events."""

import json
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Pair

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class EchoServer:
    """`tests.server.echo` while it runs."""

    process: "subprocess.Popen[str]"
    events: "queue.Queue[dict[str, Any]]" = field(default_factory=queue.Queue)
    ports: list[int] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=dict)
    logs: "queue.Queue[dict[str, Any]]" = field(default_factory=queue.Queue)

    def wait_for(self, event: str, timeout_s: float = 20, **facts: object) -> dict[str, Any]:
        """The next event of this name with these facts; others before it are dropped."""
        while True:
            found = self.events.get(timeout=timeout_s)
            if found["event"] == event and facts.items() <= found.items():
                return found

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[0]), timeout=timeout_s)

    def connect_tls(self, context: ssl.SSLContext, timeout_s: float = 20) -> ssl.SSLSocket:
        return context.wrap_socket(self.connect(timeout_s), server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def talk(self, *pieces: bytes, half_close: bool = False) -> bytes:
        """Everything the server says to these bytes until it closes, or until half a second of silence."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)


def read_all(client: socket.socket, silence_s: float = 0.5) -> bytes:
    """What comes until the end, or until nothing has come for a while; a reset is an end too."""
    client.settimeout(silence_s)
    received = b""
    try:
        while piece := client.recv(1 << 16):
            received += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return received


def is_closed(client: socket.socket, timeout_s: float = 10) -> bool:
    """Whether the server ends the connection in this time; what it still says is dropped."""
    client.settimeout(timeout_s)
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def collect(server: EchoServer) -> None:
    """Read its events until its end."""
    assert server.process.stdout is not None
    for line in server.process.stdout:
        event = json.loads(line)
        (server.logs if event["event"] == "log" else server.events).put(event)


StartServer = Callable[..., EchoServer]


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Start a server with some limits; it is killed at the end of the module if it still runs."""
    servers: list[tuple[EchoServer, threading.Thread]] = []

    def start(
        drain_timeout_s: float = 30, loop: str = "uvloop", tls: Pair | None = None, check_s: float = 0.05, **limits: Any
    ) -> EchoServer:
        command = [sys.executable, "-m", "tests.server.echo", json.dumps(limits), str(drain_timeout_s), loop]
        if tls is not None:
            command += [str(tls.cert), str(tls.key), str(check_s)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        server = EchoServer(process)
        reader = threading.Thread(target=collect, args=(server,), daemon=True)
        reader.start()
        servers.append((server, reader))
        server.started = server.wait_for("started")
        server.ports = server.started["ports"]
        return server

    yield start
    for server, reader in servers:
        server.process.kill()
        server.process.wait()
        reader.join()
        if server.process.stdout is not None:
            server.process.stdout.close()


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """Both loops have transports of their own, and their own ideas of closing one."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(start_server: StartServer, loop: str) -> EchoServer:
    """A server with the limits of production, shared by the tests of a module."""
    return start_server(loop=loop)
