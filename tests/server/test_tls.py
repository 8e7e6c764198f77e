"""TLS at a real server: what is negotiated, how it ends, and renewals. SEC-086."""

import contextlib
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from registry.server.tls import ServerTls, TlsProblem
from tests.certificates import Pair, make_pair
from tests.running import wait_until
from tests.server.conftest import EchoServer, StartServer, is_closed, read_all

REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), "shared")


@pytest.fixture(scope="module")
def tls_server(start_server: StartServer, loop: str, pair: Pair) -> EchoServer:
    return start_server(loop=loop, tls=pair)


def read_to_goodbye(client: ssl.SSLSocket) -> bytes:
    """Everything until the server's close_notify; an end without it fails."""
    client.settimeout(20)
    received = b""
    while piece := client.recv(1 << 16):
        received += piece
    return received


def common_name(server: EchoServer) -> str:
    """Of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.connect_tls(context) as client:
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return next(name for name in ("old", "new", "shared") if name.encode() in shown)


# Requests


def test_a_request_over_tls_says_https(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(REQUEST)
        answer = read_to_goodbye(client)
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"scheme": "https"' in answer


def test_the_operators_listener_stays_plain(tls_server: EchoServer) -> None:
    with socket.create_connection(("127.0.0.1", tls_server.ports[1]), timeout=10) as client:
        client.sendall(REQUEST)
        assert b'"scheme": "http"' in read_all(client, silence_s=5)


def test_http_1_1_is_what_is_negotiated(tls_server: EchoServer, pair: Pair) -> None:
    context = pair.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tls_server.connect_tls(context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        assert client.version() == "TLSv1.3"


def test_tls_1_2_is_taken_and_1_1_is_not(tls_server: EchoServer, pair: Pair) -> None:
    context = pair.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls_server.connect_tls(context) as client:
        assert client.version() == "TLSv1.2"
    # A ClientHello of TLS 1.1, by hand: the library of this test may not speak it any more.
    hello = b"\x03\x02" + bytes(32) + b"\0" + b"\0\x04\xc0\x14\xc0\x0a" + b"\x01\0" + b"\0\0"
    handshake = b"\x01" + len(hello).to_bytes(3, "big") + hello
    with tls_server.connect() as old:
        old.sendall(b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake)
        answer = read_all(old, silence_s=5)
    # An alert: protocol_version or handshake_failure, never a ServerHello.
    assert answer[:1] in (b"\x15", b""), answer


def test_requests_follow_each_other_and_wait_in_line(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(REQUEST.replace(b"Connection: close\r\n", b"") * 3 + REQUEST)
        assert read_to_goodbye(client).count(b"HTTP/1.1 200 ") == 4


def test_a_large_body_arrives_whole(tls_server: EchoServer, pair: Pair) -> None:
    size = 8 << 20
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        client.sendall(bytes(size))
        assert b'"bytes": %d' % size in read_to_goodbye(client)


# Ends


def test_an_answer_without_a_length_ends_with_a_goodbye_at_once(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        began = time.monotonic()
        client.sendall(b"GET /plain HTTP/1.0\r\n\r\n")
        assert read_to_goodbye(client).endswith(b"\r\n\r\nhello")
        assert time.monotonic() - began < 1


def test_an_answer_in_the_middle_of_the_body_can_be_read(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(20_000))
        assert b" 413 " in client.recv(1 << 16)
        client.sendall(bytes(10_000))
        began = time.monotonic()
        assert is_closed(client)
        assert time.monotonic() - began < 8


def test_a_refusal_can_be_read(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(b"nonsense\r\n\r\n")
        answer = client.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_half_an_answer_has_no_goodbye(tls_server: EchoServer, pair: Pair) -> None:
    """I4: what was cut must not look whole."""
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            read_to_goodbye(client)


def test_a_client_that_says_goodbye_while_it_waits_is_gone(tls_server: EchoServer, pair: Pair) -> None:
    """TLS connections have no open half, whatever `eof_received` says; asyncio warns when one asks for it."""
    tls_server.logs.queue.clear()
    client = tls_server.connect_tls(pair.trusting())
    client.sendall(b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
    tls_server.wait_for("holding")
    client.settimeout(10)
    with contextlib.suppress(OSError):
        client.unwrap()
    assert tls_server.wait_for("cut")["bytes"] == 5
    client.close()
    assert [line["text"] for line in tls_server.logs.queue if "eof_received" in line["text"]] == []


def test_a_client_that_goes_without_a_goodbye_is_gone(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
    tls_server.wait_for("gone")


def test_a_silent_client_that_does_not_say_goodbye_is_cut(start_server: StartServer, loop: str, pair: Pair) -> None:
    server = start_server(loop=loop, tls=pair, keep_alive_s=0.2, linger_s=0.3)
    with server.connect_tls(pair.trusting()) as client:
        client.sendall(REQUEST.replace(b"Connection: close\r\n", b""))
        assert b" 200 " in client.recv(1 << 16)
        # This client reads nothing more, so it answers no goodbye; the kernel tells when the server has let go.
        wait_until(lambda: is_let_go(client), limit_s=10, what="the end of the connection")


def is_let_go(client: ssl.SSLSocket) -> bool:
    with socket.socket(fileno=os.dup(client.fileno())) as below:
        state: int = below.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1


def test_a_slow_reader_gets_everything_and_a_stalled_one_is_cut(
    start_server: StartServer, loop: str, pair: Pair
) -> None:
    """CR-38: progress below TLS counts, where no buffer of the transport shows it."""
    server = start_server(loop=loop, tls=pair, write_stall_s=1.0, linger_s=0.2)
    with server.connect_tls(pair.trusting()) as slow, server.connect_tls(pair.trusting()) as stalled:
        for client in (slow, stalled):
            client.sendall(b"GET /download HTTP/1.0\r\n\r\n")
        until_s = time.monotonic() + 4
        while time.monotonic() < until_s:
            assert slow.recv(1 << 16)
            time.sleep(0.05)
        server.wait_for("gone", timeout_s=10)
        assert slow.recv(1 << 16)
        count = 0
        while piece := slow.recv(1 << 20):
            count += len(piece)
        assert count > 1 << 29


def test_a_stop_finishes_a_download_and_ends_idle_connections(start_server: StartServer, loop: str, pair: Pair) -> None:
    server = start_server(loop=loop, tls=pair, linger_s=0.5)
    with (
        server.connect_tls(pair.trusting()) as client,
        server.connect_tls(pair.trusting()) as idle,
        server.connect() as unfinished,
    ):
        client.sendall(b"GET /download HTTP/1.0\r\n\r\n")
        count = len(client.recv(1000))
        server.signal()
        server.wait_for("draining")
        while piece := client.recv(1 << 20):
            count += len(piece)
        assert count > 1 << 30
        server.wait_for("returned")
        assert is_closed(idle) and is_closed(unfinished)
    assert server.process.wait(timeout=20) == 0


# What is no TLS


def test_plain_http_at_the_tls_port_is_closed(tls_server: EchoServer, pair: Pair) -> None:
    with tls_server.connect() as plain:
        plain.sendall(REQUEST)
        assert is_closed(plain)
    with tls_server.connect_tls(pair.trusting()) as client:
        client.sendall(REQUEST)
        assert b" 200 " in read_to_goodbye(client)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_that_is_not_finished_is_cut(start_server: StartServer, loop: str, pair: Pair, sent: bytes) -> None:
    server = start_server(loop=loop, tls=pair, header_timeout_s=0.5)
    with server.connect() as client:
        began = time.monotonic()
        client.sendall(sent)
        assert is_closed(client)
        assert 0.4 < time.monotonic() - began < 5
    assert server.logs.empty()


# Renewal


@pytest.fixture
def renewed(tmp_path: Path) -> tuple[Pair, Pair]:
    """The pair in use, and the one to come."""
    return make_pair(tmp_path, "old"), make_pair(tmp_path, "new")


def test_new_files_are_used_without_a_restart(start_server: StartServer, loop: str, renewed: tuple[Pair, Pair]) -> None:
    old, new = renewed
    server = start_server(loop=loop, tls=old)
    trusting_old = old.trusting()
    with server.connect_tls(trusting_old) as before:
        old.replace_with(new)
        wait_until(lambda: common_name(server) == "new")
        before.sendall(REQUEST)
        assert b" 200 " in read_to_goodbye(before)
    with server.connect_tls(new.trusting()) as after:
        after.sendall(REQUEST)
        assert b" 200 " in read_to_goodbye(after)


def test_a_hangup_reads_the_files_again(start_server: StartServer, loop: str, renewed: tuple[Pair, Pair]) -> None:
    old, new = renewed
    server = start_server(loop=loop, tls=old, check_s=3600)
    old.replace_with(new)
    assert common_name(server) == "old"
    server.signal(signal.SIGHUP)
    wait_until(lambda: common_name(server) == "new")
    line = server.logs.get(timeout=10)
    assert (line["level"], line["text"]) == ("INFO", "the certificate was read again")


def test_a_hangup_without_tls_ends_nothing(start_server: StartServer, loop: str) -> None:
    server = start_server(loop=loop)
    for _ in range(3):
        server.signal(signal.SIGHUP)
        assert b" 200 " in server.talk(REQUEST)
    assert server.process.poll() is None


@pytest.mark.parametrize("fault", ["half written", "mismatch", "missing"])
def test_a_broken_pair_leaves_the_old_one_in_use(
    start_server: StartServer, loop: str, renewed: tuple[Pair, Pair], fault: str
) -> None:
    old, new = renewed
    server = start_server(loop=loop, tls=old)
    match fault:
        case "half written":
            old.cert.write_bytes(new.cert.read_bytes()[:200])
        case "mismatch":
            os.replace(new.cert, old.cert)
        case _:
            old.key.unlink()
    line = server.logs.get(timeout=10)
    assert line["level"] == "ERROR" and str(old.cert.parent) in line["text"] and "\n" not in line["text"]
    for _ in range(3):
        assert common_name(server) == "old"
    time.sleep(0.3)
    assert server.logs.empty(), "one line for one change"
    old.replace_with(make_pair(old.cert.parent, "new"))
    wait_until(lambda: common_name(server) == "new")


# The pair itself


def test_a_key_that_belongs_to_another_certificate_is_said_so(tmp_path: Path) -> None:
    one, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "other")
    with pytest.raises(TlsProblem, match=r"other\.key: is not the key to the certificate in .*one\.crt$"):
        ServerTls(one.cert, other.key)


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "secret", password=b"hunter2")
    with pytest.raises(TlsProblem, match=r"secret\.key: is encrypted"):
        ServerTls(pair.cert, pair.key)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_files_that_are_no_pem_are_said_so(tmp_path: Path, content: bytes) -> None:
    pair = make_pair(tmp_path, "one")
    for path in (pair.cert, pair.key):
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(TlsProblem, match="are not a certificate and its key, both in PEM"):
            ServerTls(pair.cert, pair.key)
        path.write_bytes(whole)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "one")
    with pytest.raises(TlsProblem, match=r"nowhere: cannot be read: No such file"):
        ServerTls(pair.cert, tmp_path / "nowhere")
    with pytest.raises(TlsProblem, match="cannot be read: Is a directory"):
        ServerTls(tmp_path, pair.key)
