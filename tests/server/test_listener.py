"""The limits on connections at a real server: exact, whatever way a connection goes. SEC-087."""

import contextlib
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.certificates import Pair, make_pair
from tests.running import wait_until
from tests.server.conftest import ROOT, EchoServer, StartServer, is_closed, read_all

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), "one")


def answer(client: socket.socket) -> bytes:
    """The answer to a request on a connection that stays open."""
    client.sendall(GET)
    received = b""
    while b'"body": ' not in received:
        piece = client.recv(1 << 16)
        if not piece:
            break
        received += piece
    return received


def is_served(server: EchoServer, tls: ssl.SSLContext | None = None) -> bool:
    """Whether one more connection gets an answer now."""
    try:
        with server.connect_tls(tls) if tls else server.connect() as client:
            return b" 200 " in answer(client)
    except OSError:
        return False


def test_one_more_than_an_address_may_have_is_told_so_and_the_next_after_a_close_is_served(
    start_server: StartServer, loop: str
) -> None:
    server = start_server(loop=loop, connections_per_address=3)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in held:
            assert b" 200 " in answer(client)
        for _ in range(5):
            with server.connect() as refused:
                said = read_all(refused, silence_s=5)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in said and b"\r\nconnection: close\r\n" in said
            assert b"UNAVAILABLE" in said
        for client in held:
            assert b" 200 " in answer(client)
        held[0].close()
        wait_until(lambda: is_served(server))
    line = server.logs.get(timeout=5)
    assert (line["text"], line["limit"], line["client"]) == (
        "connections refused",
        "connections_per_address",
        "127.0.0.1",
    )


def test_the_limit_for_all_holds_for_proxies_and_never_for_the_operators(start_server: StartServer, loop: str) -> None:
    server = start_server(
        loop=loop, connections_per_address=1, connections_max=4, trusted_proxies=["10.0.0.0/8", "127.0.0.0/8"]
    )
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            assert b" 200 " in answer(stack.enter_context(server.connect()))
        assert not is_served(server)
        for _ in range(10):
            operator = socket.create_connection(("127.0.0.1", server.ports[1]), timeout=10)
            assert b" 200 " in answer(stack.enter_context(operator))
    wait_until(lambda: is_served(server))


def connected(server: EchoServer, tls: ssl.SSLContext | None) -> socket.socket:
    """A connection that has a place: on a busy machine the server hears late of those that have ended before."""
    ends_at = time.monotonic() + 10
    while True:
        try:
            return server.connect_tls(tls) if tls else server.connect()
        except OSError:
            assert time.monotonic() < ends_at
            time.sleep(0.02)


def lose_in_every_way(server: EchoServer, tls: ssl.SSLContext | None) -> None:
    """Connections that end: before, in and after the handshake, by both sides, with and without a goodbye."""
    with server.connect():
        pass
    with server.connect() as reset:
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with server.connect() as nonsense:
        nonsense.sendall(b"\x16\x03\x01nonsense that is neither TLS nor HTTP\r\n\r\n")
        assert is_closed(nonsense)
    with server.connect() as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
    with server.connect() as silent:
        assert is_closed(silent)
    for path in (b"/a", b"/early", b"/plain", b"/half", b"/fail"):
        with connected(server, tls) as client:
            client.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
            with contextlib.suppress(ssl.SSLError):
                read_all(client, silence_s=5)
    with connected(server, tls) as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
    with connected(server, tls) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        if isinstance(client, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                client.unwrap()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_no_place_is_lost_however_a_connection_ends(
    start_server: StartServer, loop: str, pair: Pair, is_tls: bool
) -> None:
    tls = pair.trusting() if is_tls else None
    server = start_server(
        loop=loop, tls=pair if is_tls else None, connections_per_address=3, connections_max=3, header_timeout_s=0.5
    )
    for _ in range(2):
        lose_in_every_way(server, tls)
    # If one place had been lost, three at once would not be possible any more; and never are four.
    wait_until(lambda: three_and_no_fourth(server, tls), what="three connections at once")
    assert three_and_no_fourth(server, tls)


def three_and_no_fourth(server: EchoServer, tls: ssl.SSLContext | None) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(3):
                client = stack.enter_context(server.connect_tls(tls) if tls else server.connect())
                if b" 200 " not in answer(client):
                    return False
        except OSError:
            return False
        assert not is_served(server, tls)
    wait_until(lambda: is_served(server, tls))
    return True


def test_a_handshake_holds_a_place_and_gives_it_back_when_it_is_cut(
    start_server: StartServer, loop: str, pair: Pair
) -> None:
    server = start_server(loop=loop, tls=pair, connections_max=2, header_timeout_s=1)
    with server.connect() as one, server.connect() as other:
        began = time.monotonic()
        assert not is_served(server, pair.trusting())
        assert is_closed(one) and is_closed(other)
        assert 0.5 < time.monotonic() - began < 5
    wait_until(lambda: is_served(server, pair.trusting()))


def test_a_rush_of_connections_is_all_served(start_server: StartServer, loop: str) -> None:
    server = start_server(loop=loop, connections_per_address=400)
    failures: list[bool] = []

    def visit() -> None:
        failures.extend(True for _ in range(25) if not is_served(server))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_limit_on_open_files_is_raised_to_what_the_connections_need(tmp_path: Path) -> None:
    program = (
        "import resource; from registry.server.admission import raise_file_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, {hard}))\n"
        "raise_file_limit(100)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    for hard, soft in ((1000, 456), (400, 400), (300, 300)):
        command = [sys.executable, "-c", program.format(hard=hard)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert int(done.stdout) == soft
        assert ("too low" in done.stderr) == (soft < 456)


def test_without_room_for_another_file_accepting_rests_and_goes_on(start_server: StartServer, loop: str) -> None:
    server = start_server(loop=loop)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(server.connect())
        assert "no room" in server.logs.get(timeout=10)["text"]
    wait_until(lambda: is_served(server))
