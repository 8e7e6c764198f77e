"""Stops of a real process: what runs is finished or put aside, and the exit code is 0. CR-42."""

import errno
import signal
import socket
import time

import pytest

from registry.server.run import bind
from tests.server.conftest import EchoServer, StartServer, is_closed, read_all

HOLD = b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


def events_until_returned(server: EchoServer) -> list[str]:
    names: list[str] = []
    while not names or names[-1] != "returned":
        names.append(server.events.get(timeout=20)["event"])
    assert server.process.wait(timeout=20) == 0
    return names


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_with_success(start_server: StartServer, loop: str, number: int) -> None:
    server = start_server(loop=loop)
    with server.connect() as idle, server.connect() as kept_alive:
        kept_alive.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for("echo")
        began = time.monotonic()
        server.signal(number)
        assert events_until_returned(server) == ["draining", "stopped", "returned"]
        assert time.monotonic() - began < 1
        assert is_closed(idle) and is_closed(kept_alive)


def test_a_running_upload_is_finished_and_new_requests_are_served_meanwhile(
    start_server: StartServer, loop: str
) -> None:
    server = start_server(loop=loop)
    with server.connect() as upload:
        upload.sendall(HOLD + b"hello")
        server.wait_for("holding")
        server.signal()
        server.wait_for("draining")
        assert b" 200 " in server.talk(b"GET /new HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        upload.sendall(b"world")
        assert b'"body": "helloworld"' in read_all(upload, silence_s=5)
    assert events_until_returned(server)[-3:] == ["echo", "stopped", "returned"]


def test_a_running_download_is_finished_to_the_last_byte(start_server: StartServer, loop: str) -> None:
    server = start_server(loop=loop)
    with server.connect() as client:
        client.sendall(b"GET /download HTTP/1.0\r\n\r\n")
        count = len(client.recv(1000))
        server.signal()
        server.wait_for("draining")
        while piece := client.recv(1 << 20):
            count += len(piece)
    assert 1 << 30 < count < (1 << 30) + 1000
    assert events_until_returned(server) == ["stopped", "returned"]


def test_after_the_time_to_drain_uploads_are_put_aside_before_the_stores_close(
    start_server: StartServer, loop: str
) -> None:
    server = start_server(loop=loop, drain_timeout_s=0.2)
    with server.connect() as upload:
        upload.sendall(HOLD + b"hello")
        server.wait_for("holding")
        server.signal()
        assert events_until_returned(server) == ["draining", "put aside", "stopped", "returned"]
        answer = read_all(upload)
    assert b" 503 " in answer and b"retry-after" in answer


def test_a_second_signal_cuts_the_waiting(start_server: StartServer, loop: str) -> None:
    server = start_server(loop=loop)
    with server.connect() as upload:
        upload.sendall(HOLD + b"hello")
        server.wait_for("holding")
        server.signal(signal.SIGINT)
        server.wait_for("draining")
        began = time.monotonic()
        server.signal(signal.SIGINT)
        assert events_until_returned(server) == ["put aside", "stopped", "returned"]
        assert time.monotonic() - began < 4


def test_the_application_can_tell_the_listeners_apart(start_server: StartServer) -> None:
    server = start_server()
    for port in server.ports:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b'"port": %d' % port in read_all(client)


def test_bind_takes_a_free_port() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_bind_prefers_ipv4_where_a_name_has_both() -> None:
    with bind("localhost", 0) as listener:
        assert listener.family == socket.AF_INET


def test_a_port_in_use_is_said_so() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            bind("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_said_so(host: str) -> None:
    with pytest.raises(OSError, match=f"{host} is not an address of this machine"):
        bind(host, 0)
