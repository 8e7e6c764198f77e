"""Requests that two readers could take apart differently: refused, or read one way, and nobody gets the rights of
somebody else's request.
"""

from collections.abc import Callable

import httpx2
import pytest

from tests.reliability.raw import Answer, Raw
from tests.reliability.tenants import ALICE, CANARY, PRIVATE
from tests.running import Registry, wait_until

PATH = f"/v2/{PRIVATE.name}/manifests/v1".encode()
SECOND = b"GET " + PATH + b" HTTP/1.1\r\nHost: x\r\n\r\n"
"""Without a credential: 401, whatever came before it on the connection."""
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SECOND), SECOND)

FRAMINGS: dict[str, tuple[bytes, bytes]] = {
    "CL and TE": (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE and CL": (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n"),
    "CL 0 and TE": (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNK),
    "two CLs": (b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SECOND), b""),
    "two CLs, turned": (b"Content-Length: %d\r\nContent-Length: 0\r\n" % len(SECOND), b""),
    "two equal CLs": (b"Content-Length: 0\r\nContent-Length: 0\r\n", b""),
    "a list of CLs": (b"Content-Length: 0, %d\r\n" % len(SECOND), b""),
    "CL with a sign": (b"Content-Length: +0\r\n", b""),
    "CL in hex": (b"Content-Length: 0x0\r\n", b""),
    "CL with a space": (b"Content-Length: 0 0\r\n", b""),
    "CL negative": (b"Content-Length: -1\r\n", b""),
    "CL huge": (b"Content-Length: 18446744073709551616\r\n", b""),
    "CL with an underscore": (b"Content-Length: 1_0\r\n", b""),
    "CL empty": (b"Content-Length: \r\n", b""),
    "CL folded": (b"Content-Length:\r\n 0\r\n", b""),
    "a folded header": (b"X: a\r\n Content-Length: %d\r\n" % len(SECOND), b""),
    "a header folded with a tab": (b"X: a\r\n\tTransfer-Encoding: chunked\r\n", b""),
    "TE with a space before the colon": (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "CL with a space before the colon": (b"Content-Length : %d\r\n" % len(SECOND), b""),
    "a space before TE": (b" Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE with a tab": (b"Transfer-Encoding:\tchunked\r\n", b"0\r\n\r\n"),
    "TE with VT": (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "TE with NUL": (b"Transfer-Encoding: chunked\x00\r\n", b"0\r\n\r\n"),
    "TE quoted": (b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "TE with a parameter": (b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    "TE identity": (b"Transfer-Encoding: identity\r\n", b""),
    "TE identity, chunked": (b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"),
    "TE chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "TE twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE twice, differently": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n"),
    "TE misspelt": (b"Transfer-Encoding: chunke\r\n", b"0\r\n\r\n"),
    "TE upper case": (b"TRANSFER-ENCODING: CHUNKED\r\n", b"0\r\n\r\n"),
    "TE with an underscore": (b"Transfer_Encoding: chunked\r\n", b""),
    "a header with NUL": (b"X\x00: a\r\n", b""),
    "a header without a name": (b": a\r\n", b""),
    "a header without a colon": (b"X\r\n", b""),
    "bare LF": (b"X: a\nContent-Length: %d\n" % len(SECOND), b""),
    "bare CR": (b"X: a\rContent-Length: %d\r\n" % len(SECOND), b""),
    "chunk extensions": (b"Transfer-Encoding: chunked\r\n", b'0;a=b;c="d"\r\n\r\n'),
    "a chunk extension with LF": (b"Transfer-Encoding: chunked\r\n", b"0;a\nb\r\n\r\n"),
    "chunk with LF alone": (b"Transfer-Encoding: chunked\r\n", b"0\n\n"),
    "chunk size with a space": (b"Transfer-Encoding: chunked\r\n", b"0 \r\n\r\n"),
    "chunk size with a sign": (b"Transfer-Encoding: chunked\r\n", b"+0\r\n\r\n"),
    "chunk size in 0x": (b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n"),
    "chunk size that overflows": (b"Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n"),
    "chunk size empty": (b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"),
    "a wrong end of a chunk": (b"Transfer-Encoding: chunked\r\n", b"1\r\naXX0\r\n\r\n"),
    "a trailer that frames": (b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: %d\r\n\r\n" % len(SECOND)),
    "a trailer with a credential": (
        b"Transfer-Encoding: chunked\r\n", b"0\r\nAuthorization: %b\r\n\r\n" % ALICE.basic["authorization"].encode()),
    "the second request as a chunk": (b"Transfer-Encoding: chunked\r\n", CHUNK),
    "the second request as a body": (b"Content-Length: %d\r\n" % len(SECOND), SECOND),
    "expect": (b"Expect: 100-continue\r\nContent-Length: 0\r\n", b""),
    "an upgrade": (b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n", b""),
    "HTTP2-Settings": (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", b""),
    "connection names the credential": (b"Connection: Authorization, keep-alive\r\n", b""),
    "a second Host": (b"Host: y\r\n", b""),
}  # fmt: skip
MUST_BE_REFUSED = {
    name
    for name in FRAMINGS
    if name.startswith(("CL ", "TE and", "two CLs", "a list of", "TE identity", "TE twice", "TE chunked, "))
} | {
    "TE misspelt",
    "TE with VT",
    "TE with NUL",
    "bare CR",
    "a second Host",
    "a wrong end of a chunk",
    "TE with a space before the colon",
    "chunk size that overflows",
    "chunk size with a sign",
    "chunk size in 0x",
    "a header with NUL",
}


def answers(port: int, *parts: bytes) -> list[Answer]:
    """Everything that a connection answers."""
    found: list[Answer] = []
    with Raw(port) as raw:
        raw.send(*parts)
        raw.sock.shutdown(1)
        while (answer := raw.answer()).status:
            if answer.status != 100:
                found.append(answer)
    return found


@pytest.mark.parametrize("line", [b"GET /v2/", b"GET " + PATH, b"POST /token"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_sec_087_a_second_request_has_its_own_rights(house: Registry, framing: str, line: bytes) -> None:
    """SEC-087: alice's request, framed so that readers may differ, and after it one without a credential: that one gets
    401 if it is one at all, and what is malformed is 400 and the end."""
    headers, body = FRAMINGS[framing]
    first = line + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + ALICE.basic["authorization"].encode() + b"\r\n"
    found = answers(house.port, first + headers + b"\r\n" + body, SECOND)
    statuses = [answer.status for answer in found]
    assert 1 <= len(found) <= 2 and all(status in (200, 400, 401, 413) for status in statuses), statuses
    if len(found) == 2:
        assert statuses[1] in (400, 401), statuses
    assert sum(PRIVATE.manifest in answer.body for answer in found) <= (line.endswith(PATH))
    if framing in MUST_BE_REFUSED:
        assert statuses == [400], statuses
    if statuses[0] == 400 and b"token" not in line:
        assert len(found) == 1


@pytest.mark.parametrize("framing", FRAMINGS)
def test_sec_087_a_stranger_does_not_reach_the_next_one(house: Registry, framing: str) -> None:
    """SEC-087: the other way round, a request without a credential whose rest would be the head of alice's: what alice
    sends after it is hers alone, and no request of the stranger is answered with it."""
    headers, body = FRAMINGS[framing]
    unfinished = b"GET " + PATH + b" HTTP/1.1\r\nX: "
    alice = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: " + ALICE.basic["authorization"].encode() + b"\r\n\r\n"
    head = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(unfinished)
    if b"ontent-" in headers or b"CONTENT" in headers.upper():
        head = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n"
    found = answers(house.port, head + headers + b"\r\n" + body + unfinished, alice)
    assert not any(CANARY[:20] in answer.body for answer in found)
    first = found[0].status
    assert first in (400, 401)
    if b"ontent-" not in headers and "TE" not in framing and first == 401 and not body:
        # The announced body was read as one, so that alice's request stands for itself.
        assert [answer.status for answer in found] == [401, 200]


def test_sec_084_slow_clients_without_credentials(start_registry: Callable[..., Registry]) -> None:
    """SEC-084: on a closed server too, strangers who never finish their headers, or their login, are cut, and honest
    requests are served all the while."""
    registry = start_registry("--header-timeout-s", "2", is_open=False)
    slow = [Raw(registry.port) for _ in range(100)]
    for number, raw in enumerate(slow):
        raw.send(b"GET /v2/ HT" if number % 2 else b"POST /token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ")

    def all_cut() -> bool:
        assert httpx2.get(f"{registry.url}/v2/").status_code == 401
        return all(is_cut(raw) for raw in slow)

    wait_until(all_cut, limit_s=15, what="the cut")
    for raw in slow:
        raw.sock.close()


def is_cut(raw: Raw) -> bool:
    """Whether the server has ended the connection; one that lives is fed another byte."""
    raw.sock.settimeout(0.001)
    try:
        raw.send(b"T")
        return raw.sock.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
