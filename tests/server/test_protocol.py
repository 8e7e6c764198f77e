"""Raw bytes on a socket: what is a request, what is refused, and what ends a connection.

CR-37…40, SEC-081, 084, 086, 087. Every case of the tables is followed by a second request, the canary, on the
same connection: it must be answered on its own or not at all, never be taken for a body or the reverse.
"""

import json
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.server.conftest import EchoServer, StartServer, is_closed, read_all

CANARY = b"GET /canary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and what must come of it. `accepts` is the body the application gets, None for a refusal."""

    name: str
    request: bytes
    accepts: bytes | None = None
    path: str = "/a"
    statuses: tuple[int, ...] = (400,)
    canary: bool = True
    """Whether the canary behind an accepted request is answered."""
    absent: tuple[str, ...] = field(default=())
    """Headers that the application must not see."""


def parse(raw: bytes) -> list[Answer]:
    """The answers in what a server said. Interim ones are kept, chunked bodies joined."""
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} .*", lines[0]), lines[0]
        headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
        status = int(lines[0].split()[1])
        if headers.get("transfer-encoding") == "chunked":
            body, raw = unchunk(raw)
        elif status == 100:
            body = b""
        else:
            length = int(headers.get("content-length", len(raw)))
            body, raw = raw[:length], raw[length:]
        answers.append(Answer(status, headers, body))
    return answers


def unchunk(raw: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        piece, raw = raw[: int(size, 16)], raw[int(size, 16) + 2 :]
        body += piece
        if not piece:
            return body, raw


def post(headers: str, body: bytes, version: str = "1.1", host: str = "Host: x\r\n") -> bytes:
    return f"POST /a HTTP/{version}\r\n{host}{headers}\r\n".encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"

CASES = [
    # Framing of the body
    Case("no body", post("", b""), b""),
    Case("length", post("Content-Length: 5\r\n", b"hello"), b"hello"),
    Case("chunked", post(CHUNKED, HELLO), b"hello"),
    Case("chunked in capitals", post("transfer-encoding: CHUNKED\r\n", HELLO), b"hello"),
    Case("several chunks", post(CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), b"hello"),
    Case("chunk extension", post(CHUNKED, b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n'), b"hello"),
    Case("chunk size with zeros", post(CHUNKED, b"0005\r\nhello\r\n0\r\n\r\n"), b"hello"),
    Case(
        "trailers do not become headers",
        post(CHUNKED, b"5\r\nhello\r\n0\r\nAuthorization: evil\r\nHost: evil\r\n\r\n"),
        b"hello",
        absent=("authorization",),
    ),
    Case("length as a trailer", post(CHUNKED, b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n")),
    Case("length and chunked", post("Content-Length: 5\r\n" + CHUNKED, HELLO)),
    Case("chunked and length", post(CHUNKED + "Content-Length: 5\r\n", HELLO)),
    Case("identity", post("Transfer-Encoding: identity\r\n", b"hello")),
    Case("identity and length", post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"hello")),
    Case("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", HELLO)),
    Case("two headers chunked", post(CHUNKED + CHUNKED, HELLO)),
    Case("xchunked", post("Transfer-Encoding: xchunked\r\n", HELLO)),
    Case("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", HELLO)),
    Case("identity then chunked", post("Transfer-Encoding: identity\r\n" + CHUNKED, HELLO)),
    Case("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", HELLO)),
    Case("empty coding", post("Transfer-Encoding:\r\n", HELLO)),
    Case("quoted coding", post('Transfer-Encoding: "chunked"\r\n', HELLO)),
    Case("coding with a tab", post("Transfer-Encoding:\tchunked\r\n", HELLO), b"hello"),
    Case("coding with vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", HELLO)),
    Case("chunked in 1.0", post(CHUNKED, HELLO, version="1.0")),
    Case("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!")),
    Case("one length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    Case("list of lengths", post("Content-Length: 5, 5\r\n", b"hello")),
    Case("negative length", post("Content-Length: -5\r\n", b"hello")),
    Case("length with plus", post("Content-Length: +5\r\n", b"hello")),
    Case("hexadecimal length", post("Content-Length: 0x5\r\n", b"hello")),
    Case("length with space inside", post("Content-Length: 5 0\r\n", b"hello")),
    Case("empty length", post("Content-Length:\r\n", b"hello")),
    Case("huge length", post("Content-Length: 99999999999999999999\r\n", b"hello")),
    Case("chunk size 0x", post(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n")),
    Case("chunk size with space", post(CHUNKED, b"5 \r\nhello\r\n0\r\n\r\n")),
    Case("negative chunk", post(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n")),
    Case("chunk size overflow", post(CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    Case("empty chunk size", post(CHUNKED, b"\r\nhello\r\n0\r\n\r\n")),
    Case("chunk without its end", post(CHUNKED, b"5\r\nhelloXX0\r\n\r\n")),
    Case("chunk longer than it says", post(CHUNKED, b"4\r\nhello\r\n0\r\n\r\n")),
    Case("bare LF after chunk size", post(CHUNKED, b"5\nhello\r\n0\r\n\r\n")),
    Case("bare LF in extension", post(CHUNKED, b"5;a\nhello\r\n0\r\n\r\n")),
    Case("bare LF after chunk", post(CHUNKED, b"5\r\nhello\n0\r\n\r\n")),
    # Request line
    Case("HTTP/1.0", post("Content-Length: 5\r\n", b"hello", version="1.0"), b"hello", canary=False),
    Case("HTTP/1.0 without Host", post("", b"", version="1.0", host=""), b"", canary=False),
    Case("absolute form", b"GET http://registry/a?x=1 HTTP/1.1\r\nHost: y\r\n\r\n", b""),
    Case("absolute form, no path", b"GET HTTP://registry HTTP/1.1\r\nHost: y\r\n\r\n", b"", path="/"),
    Case("absolute form, query only", b"GET http://registry?x HTTP/1.1\r\nHost: y\r\n\r\n", b"", path="/"),
    Case("absolute form with user", b"GET http://u@registry/a HTTP/1.1\r\nHost: y\r\n\r\n"),
    Case("other scheme", b"GET ftp://registry/a HTTP/1.1\r\nHost: y\r\n\r\n"),
    Case("two slashes are a path", b"GET //evil/a HTTP/1.1\r\nHost: x\r\n\r\n", b"", path="//evil/a"),
    Case("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"", path="*"),
    Case("GET *", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("CONNECT", b"CONNECT registry:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("fragment", b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("no slash", b"GET a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("raw byte in target", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("NUL in target", b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("space in target", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("HTTP/0.9", b"GET /a\r\n\r\n"),
    Case("HTTP/1.2", b"GET /a HTTP/1.2\r\nHost: x\r\n\r\n"),
    Case("HTTP/2.0", b"GET /a HTTP/2.0\r\nHost: x\r\n\r\n"),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Case("lower case method", b"get /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("method DISPATCH", b"DISPATCH /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("method __INIT__", b"__INIT__ /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("method with tab", b"GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("method of 8 KiB", b"A" * 8192 + b" /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    Case("empty lines before", b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    Case("bare LF", b"GET /a HTTP/1.1\nHost: x\n\n"),
    # Headers
    Case("no Host", b"GET /a HTTP/1.1\r\n\r\n"),
    Case("two Hosts", b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    Case("bare LF after header", b"GET /a HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    Case("bare CR in header", b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 5\r\n\r\n"),
    Case("NUL in header", b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
    Case("folded header", b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
    Case("folded length", post("Content-Length:\r\n 5\r\n", b"hello")),
    Case("space before the first header", b"GET /a HTTP/1.1\r\n Host: x\r\n\r\n"),
    Case("space before colon", post("Content-Length : 5\r\n", b"hello")),
    Case("header without a name", b"GET /a HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n"),
    Case("header without colon", b"GET /a HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n"),
    Case("too long target", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", statuses=(431,)),
    Case("too long header", post("A: " + "b" * 70_000 + "\r\n", b""), statuses=(431,)),
    Case("too many headers", post("A: b\r\n" * 300, b""), statuses=(431,)),
    Case("many headers", post("A: b\r\n" * 200, b""), b""),
    Case("one long header", post("A: " + "b" * 60_000 + "\r\n", b""), b""),
    # Upgrades are ignored, and bodies stay whole
    Case("websocket", post("Connection: upgrade\r\nUpgrade: websocket\r\n", b""), b""),
    Case("h2c", post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", b""), b""),
    Case(
        "h2c with length",
        post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", b"hello"),
        b"hello",
    ),
    Case("h2c chunked", post("Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED, HELLO), b"hello"),
    Case("Upgrade without Connection", post("Upgrade: h2c\r\nContent-Length: 5\r\n", b"hello"), b"hello"),
    Case(
        "h2c with an empty body",
        post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n", b""),
        b"",
    ),
    Case("h2c, bad chunk", post("Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED, b"5\nhello\r\n0\r\n\r\n")),
    Case(
        "h2c, length and chunked",
        post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n" + CHUNKED, HELLO),
    ),
    # Connection
    Case("close", post("Connection: close\r\n", b""), b"", canary=False),
    Case(
        "close with body",
        post("Connection: close\r\nContent-Length: 5\r\n", b"hello"),
        b"hello",
        canary=False,
    ),
]


def check(case: Case, raw: bytes) -> None:
    answers = [answer for answer in parse(raw) if answer.status != 100]
    if case.accepts is None:
        [refusal] = answers
        assert refusal.status in case.statuses
        assert refusal.headers["connection"] == "close"
        assert refusal.json["errors"][0]["code"] == "UNKNOWN"
        return
    assert answers[0].status == 200
    assert answers[0].json["body"].encode("latin-1") == case.accepts
    assert answers[0].json["path"] == case.path
    assert not set(case.absent) & set(answers[0].json["headers"])
    assert [answer.json["path"] for answer in answers[1:]] == (["/canary"] if case.canary else [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_one_packet(server: EchoServer, case: Case) -> None:
    check(case, server.talk(case.request + CANARY))


@pytest.mark.parametrize("case", [case for case in CASES if len(case.request) < 300], ids=lambda case: case.name)
def test_byte_by_byte(server: EchoServer, case: Case) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for byte in case.request + CANARY:
                client.send(bytes([byte]))
        except OSError:
            assert case.accepts is None or not case.canary
        check(case, read_all(client))


def test_absolute_form_replaces_the_host_header(server: EchoServer) -> None:
    [answer] = parse(server.talk(b"GET http://right:1/a HTTP/1.1\r\nHost: wrong\r\nConnection: close\r\n\r\n"))
    assert answer.json["headers"]["host"] == "right:1"


def test_the_application_sees_asgi_2_4_and_its_listener(server: EchoServer) -> None:
    [answer] = parse(server.talk(CANARY))
    assert (answer.json["spec"], answer.json["port"]) == ("2.4", server.ports[0])


def test_http_1_0_gets_no_chunks(server: EchoServer) -> None:
    raw = server.talk(b"GET /plain HTTP/1.0\r\n\r\n")
    assert raw.endswith(b"\r\n\r\nhello") and b"chunked" not in raw
    assert parse(server.talk(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"))[0].body == b"hello"


def test_half_closed_client_gets_its_answer(server: EchoServer) -> None:
    [answer] = parse(server.talk(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True))
    assert answer.status == 200


def test_pipelined_requests_are_answered_in_order(server: EchoServer) -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(50))
    paths = [answer.json["path"] for answer in parse(server.talk(requests + CANARY))]
    assert paths == [f"/{number}" for number in range(50)] + ["/canary"]


def test_requests_before_a_malformed_one_are_answered_first(server: EchoServer) -> None:
    answers = parse(server.talk(post("", b"") * 3 + b"no request\r\n\r\n" + CANARY))
    assert [answer.status for answer in answers] == [200, 200, 200, 400]


def test_a_flood_of_pipelined_requests_is_refused(server: EchoServer) -> None:
    answers = parse(server.talk(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2000))
    assert answers[-1].status == 400
    assert len(answers) < 200


@pytest.mark.parametrize(("path", "is_asked"), [("/a", True), ("/early", False)])
def test_continue_is_sent_when_the_application_wants_the_body(server: EchoServer, path: str, is_asked: bool) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
    [answer] = parse(server.talk(head))
    assert answer.status == (100 if is_asked else 413)
    if is_asked:
        assert [one.status for one in parse(server.talk(head, b"hello"))][-1] == 200


def test_expect_of_http_1_0_is_ignored(server: EchoServer) -> None:
    request = post("Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello", version="1.0")
    assert [answer.status for answer in parse(server.talk(request))] == [200]


def test_an_early_answer_closes_and_can_be_read(server: EchoServer) -> None:
    """413 while the client still sends: the answer arrives, and the body is never parsed as a request."""
    with server.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            for _ in range(100):
                client.sendall(CANARY * 100)
        except OSError:
            pass
        [answer] = parse(read_all(client))
    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_the_rest_of_an_unread_body_is_no_request(server: EchoServer) -> None:
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(CANARY)
    assert [answer.status for answer in parse(server.talk(head, CANARY))] == [413]


def test_a_whole_unread_body_keeps_the_connection(server: EchoServer) -> None:
    request = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    assert [answer.status for answer in parse(server.talk(request + CANARY))] == [413, 200]


def test_a_fault_of_the_application_is_a_500_and_the_end(server: EchoServer) -> None:
    [answer] = parse(server.talk(b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n" + CANARY))
    assert answer.status == 500
    assert answer.json["errors"][0]["message"] == "internal error"


def test_a_fault_in_the_middle_of_an_answer_cuts_it(server: EchoServer) -> None:
    [answer] = parse(server.talk(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n" + CANARY))
    assert (answer.headers["content-length"], answer.body) == ("9", b"half")


def test_a_large_body_arrives_whole(server: EchoServer) -> None:
    with server.connect() as client:
        client.sendall(b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            client.sendall(bytes(1 << 20))
        [answer] = parse(_one_answer(client))
    assert answer.json["bytes"] == 64 << 20


def _one_answer(client: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw or not raw.endswith(b"}"):
        raw += client.recv(1 << 16)
    return raw


@pytest.mark.parametrize("ending", ["fin", "reset"])
def test_a_client_that_leaves_in_the_middle(server: EchoServer, ending: str) -> None:
    with server.connect() as client:
        client.sendall(b"POST /leaves HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
        if ending == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    cut = server.wait_for("cut", path="/leaves")
    assert cut["bytes"] == 100_000 or ending == "reset"


def test_a_download_ends_when_the_client_is_gone(server: EchoServer) -> None:
    with server.connect() as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
    assert server.wait_for("gone")["error"] == "ClientDisconnected"


def test_a_pipelined_download_ends_too(server: EchoServer) -> None:
    with server.connect() as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        assert client.recv(1000)
    assert server.wait_for("gone")["error"] == "ClientDisconnected"


# Deadlines, all shortened


@pytest.fixture(scope="module")
def impatient(start_server: StartServer, loop: str) -> EchoServer:
    return start_server(
        loop=loop,
        header_timeout_s=0.6,
        body_window_s=0.6,
        body_min_bytes_per_s=1000,
        keep_alive_s=0.6,
        write_stall_s=0.6,
        linger_s=0.3,
    )


def test_a_silent_connection_is_cut(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        assert is_closed(client)


def test_headers_that_trickle_are_cut(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        assert _trickle(client, b"GET /a HTTP/1.1\r\n", b"A: b\r\n") < 5


def test_headers_of_a_second_request_that_trickle_are_cut(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        _one_answer(client)
        assert _trickle(client, b"GET /a HTTP/1.1\r\n", b"A: b\r\n") < 5


def test_an_idle_connection_is_closed(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        _one_answer(client)
        assert is_closed(client)


@pytest.mark.parametrize(
    ("framing", "piece"), [(b"Content-Length: 100000", b"x"), (b"Transfer-Encoding: chunked", b"1\r\nx\r\n")]
)
def test_a_body_that_trickles_is_cut(impatient: EchoServer, framing: bytes, piece: bytes) -> None:
    with impatient.connect() as client:
        assert _trickle(client, b"POST /slow HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n", piece) < 5
    impatient.wait_for("cut", path="/slow")


def test_a_body_that_stalls_after_a_burst_is_cut(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        client.sendall(b"POST /burst HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + bytes(1_000_000))
        assert is_closed(client)
    assert impatient.wait_for("cut", path="/burst")["bytes"] == 1_000_000


def test_a_slow_body_above_the_least_rate_is_honest(impatient: EchoServer) -> None:
    """About four windows long, at some times the least rate."""
    with impatient.connect() as client:
        client.sendall(b"POST /steady HTTP/1.1\r\nHost: x\r\nContent-Length: 25000\r\n\r\n")
        for _ in range(25):
            client.sendall(bytes(1000))
            time.sleep(0.1)
        [answer] = parse(_one_answer(client))
    assert answer.json["bytes"] == 25_000


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: ",
        b"GET /",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ",
    ],
    ids=["header", "target", "chunk extension", "trailer"],
)
def test_what_never_ends_is_refused_by_size(server: EchoServer, start: bytes) -> None:
    with server.connect() as client:
        client.sendall(start)
        sent = 0
        try:
            while sent < 64 << 20:
                client.sendall(b"a" * 8192)
                sent += 8192
        except OSError:
            pass
        assert sent < 32 << 20
        raw = read_all(client)
    assert not raw or parse(raw)[0].status in (400, 431)


def test_a_reader_that_stalls_is_cut(impatient: EchoServer) -> None:
    with impatient.connect() as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
        assert impatient.wait_for("gone")["error"] == "ClientDisconnected"


def test_a_slow_reader_is_not_cut(impatient: EchoServer) -> None:
    """Three times the stall limit, taking a little now and then."""
    with impatient.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(b"GET /download HTTP/1.1\r\nHost: x\r\n\r\n")
        ends_at = time.monotonic() + 1.8
        while time.monotonic() < ends_at:
            assert client.recv(1 << 17)
            time.sleep(0.01)


def _trickle(client: socket.socket, start: bytes, piece: bytes) -> float:
    """Send a start and then a piece each 50 ms. Returns the seconds until the server ended it, at most 10."""
    began = time.monotonic()
    client.sendall(start)
    client.settimeout(0.05)
    while time.monotonic() - began < 10:
        try:
            client.sendall(piece)
            if not client.recv(1000):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began
