"""Bad input gets a clear 4xx and changes nothing; nothing hostile gets a 500, other bytes, or memory."""

import json
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry.core.digest import Algorithm, Digest
from registry.core.limits import INDEX_MAX_DEPTH
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from tests.core.test_manifest import encoded, entry, image, index
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.raw import Raw, offset, start_upload
from tests.running import Registry, wait_until

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 40
DIGEST = Digest.of(CONTENT)


@pytest.fixture(scope="module")
def registry(shared_registry: Registry) -> Iterator[Registry]:
    """One server for the whole module, which has to be alive and without an error in its log at the end."""
    with shared_registry.client() as client:
        Pusher(client).push(Image("good", "v1", [b"{}", CONTENT]), way="whole")
    yield shared_registry
    assert shared_registry.process.poll() is None
    assert httpx2.get(f"{shared_registry.url}/readyz").status_code == 200
    errors = [line for line in shared_registry.log_lines() if line["level"] == "error"]
    assert errors == []
    assert not [line for line in shared_registry.log_lines() if line.get("status", 0) >= 500]


@pytest.fixture
def client(registry: Registry) -> Iterator[httpx2.Client]:
    """A client, and the proof that what was there before the test is there after it."""
    with registry.client() as client:
        before = state(client)
        yield client
        assert state(client) == before


def state(client: httpx2.Client) -> list[object]:
    """What a stranger can see of the repository that nobody may harm."""
    return [
        client.get("/v2/good/tags/list").json(),
        client.get("/v2/good/manifests/v1").content,
        client.get(f"/v2/good/blobs/{DIGEST}").content,
        [name for name in client.get("/v2/_catalog").json()["repositories"] if not name.startswith("own/")],
    ]


def check_error(answer: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """An error of the specification's form; returns its first entry."""
    assert answer.status_code in statuses, f"{answer.request.method} {answer.request.url}: {answer.text[:300]}"
    assert answer.headers["content-type"] == "application/json"
    first: dict[str, Any] = answer.json()["errors"][0]
    assert first["code"]
    assert first["message"]
    assert "Traceback" not in answer.text
    return first


BAD_NUMBERS = ["-1", "1e9", "٣", "+5", " 5", "5 ", "0x5", "", "1.0", "5&n=6"]


@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/good/tags/list", f"/v2/good/referrers/{DIGEST}"])
def test_sec_001_numbers_of_entries(client: httpx2.Client, registry: Registry, path: str) -> None:
    """A huge n is cut down, a senseless one refused; neither takes memory."""
    before = registry.rss_bytes()
    for number in ("0", "1", "1000", "1000000", str(2**31), str(2**63), "9" * 400):
        assert client.get(f"{path}?n={number}").status_code == 200
    for number in BAD_NUMBERS:
        assert check_error(client.get(f"{path}?n={number}"), 400)["code"] == "PAGINATION_NUMBER_INVALID"
    assert client.get(path, params={"last": "x" * 10_000}).status_code == 400
    assert client.get(path, params={"last": "a\0b"}).status_code == 400
    assert client.get(path + "?" + "&".join(f"a{number}=1" for number in range(1000))).status_code == 400
    assert registry.rss_bytes() - before < 8 * MIB


def test_sec_002_manifests_have_a_limit(client: httpx2.Client, registry: Registry) -> None:
    """4 MiB is taken; a byte more is 413, announced or not, and the server stops reading soon after."""
    before = registry.rss_bytes()
    whole = image(config=entry("{}", "application/vnd.oci.empty.v1+json"), layers=[], annotations={"a": ""})
    room = 4 * MIB - len(encoded(whole))
    whole["annotations"] = {"a": "x" * room}
    Pusher(client).push_blob("own/limit", b"{}", way="whole")
    headers = {"content-type": OCI_MANIFEST}
    expect(client.put("/v2/own/limit/manifests/v1", content=encoded(whole), headers=headers), 201)
    with Raw(registry.port) as raw:
        raw.request("PUT /v2/own/limit/manifests/v2", f"Content-Type: {OCI_MANIFEST}", f"Content-Length: {10**12}")
        answer = raw.answer()
        assert answer.status == 413
        assert json.loads(answer.body)["errors"][0]["code"] == "MANIFEST_INVALID"
        assert raw.closed()
    sent = endless_manifest(registry)
    assert sent < 16 * MIB
    assert client.head("/v2/own/limit/manifests/v2").status_code == 404
    assert registry.rss_bytes() - before < 48 * MIB


def endless_manifest(registry: Registry) -> int:
    """A manifest that never ends, chunk by chunk; returns how much of it the connection took."""
    sent = 0
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with Raw(registry.port) as raw:
        raw.request("PUT /v2/own/limit/manifests/v2", f"Content-Type: {OCI_MANIFEST}", "Transfer-Encoding: chunked")
        try:
            while sent < 64 * MIB:
                raw.send(piece)
                sent += 65536
        except OSError:
            pass
        assert raw.answer().status in (413, 0)
    return sent


BAD_MANIFESTS: list[tuple[list[str], bytes]] = [
    ([], encoded(image())),
    ([OCI_MANIFEST, OCI_MANIFEST], encoded(image())),
    ([OCI_MANIFEST + ";charset=utf-8"], encoded(image())),
    ([OCI_MANIFEST.upper()], encoded(image())),
    (["application/json"], encoded(image())),
    ([OCI_INDEX], encoded(image())),
    ([OCI_MANIFEST], encoded(index())),
    ([OCI_MANIFEST], encoded(image(manifests=[]))),
    ([OCI_INDEX], encoded({**index(), "layers": []})),
    ([OCI_MANIFEST], encoded(image()).replace(b'"layers"', b'"layers": [], "layers"')),
    ([OCI_MANIFEST], b""),
    ([OCI_MANIFEST], b"["),
    ([OCI_MANIFEST], b"[" * 100_000),
    ([OCI_MANIFEST], b'{"a":' * 100_000),
    ([OCI_MANIFEST], b"\xef\xbb\xbf" + encoded(image())),
    ([OCI_MANIFEST], encoded(image()).replace(b'"schemaVersion": 2', b'"schemaVersion": ' + b"2" * 10**6)),
    ([OCI_MANIFEST], encoded(image()).replace(b'"schemaVersion": 2', b'"schemaVersion": NaN')),
    ([OCI_MANIFEST], encoded(image()).replace(b'"schemaVersion": 2', b'"schemaVersion": 1e999')),
    ([OCI_MANIFEST], encoded(image(annotations={"a": "HERE"})).replace(b"HERE", rb"\ud800")),
    ([OCI_MANIFEST], b"\0" * 1000),
    ([OCI_MANIFEST], b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}"),
    (["application/vnd.docker.distribution.manifest.v1+prettyjws"], b'{"schemaVersion":1}'),
]


@pytest.mark.parametrize("number", range(len(BAD_MANIFESTS)))
def test_sec_003_sec_094_what_is_no_manifest(client: httpx2.Client, number: int) -> None:
    """Types that differ, two readings of one text, hostile JSON: 400 MANIFEST_INVALID."""
    types, payload = BAD_MANIFESTS[number]
    headers = [("content-type", value) for value in types]
    answer = client.put("/v2/good/manifests/bad", content=payload, headers=headers)
    assert check_error(answer, 400)["code"] == "MANIFEST_INVALID"


BAD_NAMES = [
    "..", "a/..", "a/../b", "%2e%2e", "a%2f..%2fb", "a%5cb", "a%00", "a%0d%0aX-Evil:1", "a//b", "./a", "a/./b", "A",
    "a" * 300, "%d0%b0", "%e2%80%ae", "a_", "-a", "a:b", "~root", "a b".replace(" ", "%20"),
]  # fmt: skip
BAD_DIGESTS = [
    "sha256:../../x", "SHA256:" + "a" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "A" * 64,
    "sha256:", "sha512:" + "a" * 64, "md5:" + "a" * 32, "sha256:%2e%2e", "a:b:c", "sha256%3Abaddigeststring",
]  # fmt: skip
BAD_TAGS = [".a", "-a", "a%00", "a%2fb", "x" * 129, "%0d%0aSet-Cookie:x", "a~", "a%20b"]
BAD_UPLOADS = ["..", "%2e%2e", "x", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "%00", "good", "." * 32, "/"]


def test_sec_008_names_tags_digests_and_ids(client: httpx2.Client, registry: Registry) -> None:
    """400 or 404 for all of them, on every endpoint and in every parameter; no file anywhere but where it belongs."""
    before = tree(registry.data.parent)
    headers = {"content-type": OCI_MANIFEST}
    for name in BAD_NAMES:
        for method, tail in (("GET", "manifests/v1"), ("GET", "tags/list"), ("POST", "blobs/uploads/")):
            check_raw_error(registry, f"{method} /v2/{name}/{tail}")
        check_raw_error(registry, f"PUT /v2/{name}/manifests/v1", encoded(image()))
    for digest in BAD_DIGESTS:
        for method, path in (("GET", "blobs"), ("GET", "manifests"), ("DELETE", "blobs"), ("GET", "referrers")):
            check_error(client.request(method, f"/v2/good/{path}/{digest}"), 400, 404)
        check_error(client.post(f"/v2/good/blobs/uploads/?digest={digest}", content=b"x"), 400)
        check_error(client.post(f"/v2/good/blobs/uploads/?mount={digest}&from=good"), 400)
    for tag in BAD_TAGS:
        check_error(client.get(f"/v2/good/manifests/{tag}"), 400, 404)
        check_error(client.put(f"/v2/good/manifests/{tag}", content=encoded(image()), headers=headers), 400, 404)
        path = f"/v2/good/manifests/{Digest.of(encoded(image()))}?tag={tag}"
        check_error(client.put(path, content=encoded(image()), headers=headers), 400)
    for upload in BAD_UPLOADS:
        for method in ("GET", "PATCH", "DELETE"):
            check_raw_error(registry, f"{method} /v2/good/blobs/uploads/{upload}")
    assert tree(registry.data.parent) == before


def check_raw_error(registry: Registry, line: str, body: bytes = b"") -> None:
    """As `check_error`, for a path that client libraries would tidy up first."""
    with Raw(registry.port) as raw:
        raw.request(line, f"Content-Type: {OCI_MANIFEST}", f"Content-Length: {len(body)}", body=body)
        answer = raw.answer()
    assert answer.status in (400, 404, 405), (line, answer)
    assert json.loads(answer.body)["errors"][0]["code"], line


def tree(root: Path) -> list[str]:
    """Every file below a folder, but what a running database makes."""
    return sorted(str(path) for path in root.rglob("*") if "registry.db" not in path.name)


def damaged(start: Callable[..., Registry], how: str, *flags: str) -> tuple[Registry, Digest]:
    """A server of which the disk has damaged one blob."""
    registry = start(*flags)
    with registry.client() as client:
        Pusher(client).push(Image("a", "v1", [b"{}", CONTENT]), way="whole")
    path = next((registry.data / "blobs").glob(f"sha256/*/{DIGEST.hex}.*"))
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(CONTENT[:-1] if how == "short" else b"X" + CONTENT[1:])
    return registry, DIGEST


@pytest.mark.parametrize("how", ["missing", "short"])
def test_sec_070_cr_12_lost_bytes(start_registry: Callable[..., Registry], how: str) -> None:
    """A pull gets a 500 that says so, never other bytes and never 404; then a push heals it, without any command."""
    registry, digest = damaged(start_registry, how)
    with registry.client() as client:
        for _ in range(2):
            assert check_error(client.get(f"/v2/a/blobs/{digest}"), 500)["code"] == "UNKNOWN"
        assert client.head(f"/v2/a/blobs/{digest}").status_code == 404
        Pusher(client).push(Image("a", "v1", [b"{}", CONTENT]), way="stream")
        assert client.get(f"/v2/a/blobs/{digest}").content == CONTENT


def test_sec_070_cr_12_changed_bytes(start_registry: Callable[..., Registry]) -> None:
    """SEC-009, CR-31: with verify_on_read the download is cut; the scrub finds it, and the next push heals it."""
    registry, digest = damaged(start_registry, "changed", "--verify-on-read")
    with registry.client() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(f"/v2/a/blobs/{digest}")
        command = [sys.executable, "-m", "registry", "scrub", "--data", str(registry.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stderr
        assert client.head(f"/v2/a/blobs/{digest}").status_code == 404
        check_error(client.get(f"/v2/a/blobs/{digest}"), 500)
        assert client.post(f"/v2/b/blobs/uploads/?mount={digest}&from=a").status_code == 202
        Pusher(client).push(Image("a", "v1", [b"{}", CONTENT]), way="chunks")
        assert client.get(f"/v2/a/blobs/{digest}").content == CONTENT
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def described(document: dict[str, Any], media_type: str = OCI_INDEX) -> dict[str, Any]:
    """The descriptor of a document."""
    return {"mediaType": media_type, "digest": str(Digest.of(encoded(document))), "size": len(encoded(document))}


def put_index(client: httpx2.Client, document: dict[str, Any], tag: str) -> httpx2.Response:
    """An index under a tag."""
    return client.put(
        f"/v2/own/indexes/manifests/{tag}", content=encoded(document), headers={"content-type": OCI_INDEX}
    )


def test_sec_016_deep_and_wide_indexes(client: httpx2.Client, registry: Registry) -> None:
    """30 levels that each name the level below twice, 10,000 children: linear; one level too many: 400."""
    before = registry.rss_bytes()
    document = index()
    for level in range(INDEX_MAX_DEPTH):
        expect(put_index(client, document, f"l{level}"), 201)
        document = index(described(document), described(document))
    assert check_error(put_index(client, document, "deep"), 400)["code"] == "MANIFEST_INVALID"
    wide = index(*(entry(str(number), OCI_MANIFEST) for number in range(10_000)))
    expect(put_index(client, wide, "wide"), 201)
    expect(client.delete(f"/v2/own/indexes/manifests/{Digest.of(encoded(wide))}"), 202)
    wider = index(*(entry(str(number), OCI_MANIFEST) for number in range(17_000)))
    check_error(put_index(client, wider, "wider"), 400)
    assert registry.rss_bytes() - before < 100 * MIB


def test_sec_074_many_referrers(client: httpx2.Client) -> None:
    """Pages of at most 4 MiB, each referrer once, whatever each one weighs."""
    subject = entry("subject", OCI_MANIFEST)
    for number in range(12):
        document = index(subject=subject, annotations={"n": str(number), "weight": "x" * 900_000})
        expect(put_index(client, document, f"r{number}"), 201)
    path = f"/v2/own/indexes/referrers/{subject['digest']}"
    found: list[str] = []
    pages = 0
    while path:
        answer = expect(client.get(path), 200)
        assert len(answer.content) <= 4 * MIB
        found += [shown["annotations"]["n"] for shown in answer.json()["manifests"]]
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
        pages += 1
    assert found == [str(number) for number in range(12)]
    assert pages == 3


def test_sec_081_strange_methods(registry: Registry) -> None:
    """400, 405 or 501 with an answer; the connection's next request is judged on its own."""
    for method in ("DISPATCH", "__INIT__", "get", "GETT", "A" * 8192, "CONNECT", "TRACE", "PRI", "BREW"):
        with Raw(registry.port) as raw:
            raw.request(f"{method} /v2/")
            assert raw.answer().status in (400, 405, 431, 501), method


def test_sec_083_hostile_ranges(client: httpx2.Client) -> None:
    """Thousands of ranges get the blob once, never more bytes than it has."""
    path = f"/v2/good/blobs/{DIGEST}"
    for header in (
        "bytes=" + ",".join(f"{number}-" for number in range(3_000)),
        "bytes=0-,0-,0-",
        "bytes=0-1,5-6",
        "bytes=-",
        "lines=1-2",
        "bytes=" + "9" * 5000,
    ):
        answer = client.get(path, headers={"range": header})
        assert answer.status_code == 200
        assert answer.content == CONTENT
    for header in ("bytes=20000-", "bytes=5-4", "bytes=-0", f"bytes={2**64 - 1}-"):
        answer = client.get(path, headers={"range": header})
        check_error(answer, 416)
        assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_cr_44_ranges_are_slices(client: httpx2.Client) -> None:
    """Compared with Python, also with If-Range."""
    rng = random.Random(44)
    path = f"/v2/good/blobs/{DIGEST}"
    for _ in range(60):
        start, end = sorted((rng.randrange(len(CONTENT)), rng.randrange(2 * len(CONTENT))))
        if start >= len(CONTENT):
            continue
        wanted = CONTENT[start : end + 1]
        answer = client.get(path, headers={"range": f"bytes={start}-{end}", "if-range": f'"{DIGEST}"'})
        assert answer.status_code == 206
        assert answer.content == wanted
        last = start + len(wanted) - 1
        assert answer.headers["content-range"] == f"bytes {start}-{last}/{len(CONTENT)}"
    whole = client.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (whole.status_code, whole.content) == (200, CONTENT)


@pytest.mark.parametrize(
    "place",
    ["0-9", "3-12", "5-14", "14-5", "a-b", "4", "4-", "-4", "bytes 5-14/*", f"4-{2**63}", "4-3", "4-12, 13-14",
     "bytes */10", "4-14", "4-12", "", "0x4-0xd"],
)  # fmt: skip
def test_cr_34_cr_35_places_of_chunks(client: httpx2.Client, registry: Registry, place: str) -> None:
    """A gap, an overlap, a wrong length or no place at all: 416 or 400, the offset stays, the upload goes on."""
    location = start_upload(registry.port, "own/chunks")
    expect(client.patch(location, content=b"0123"), 202)
    ten = b"0123456789"
    for content in (ten, iter([ten])):
        answer = client.patch(location, content=content, headers={"content-range": place})
        check_error(answer, 400, 416)
        if answer.status_code == 416:
            assert answer.headers["range"] == "0-3"
            assert answer.headers["location"] == location
        assert offset(registry.port, location) == 4
    if place:
        put = client.put(f"{location}?digest={DIGEST}", content=ten, headers={"content-range": place})
        check_error(put, 400, 416)
        assert offset(registry.port, location) == 4
    whole = Digest.of(b"0123" + ten)
    expect(client.put(f"{location}?digest={whole}", content=ten, headers={"content-range": "4-13"}), 201)


def test_a_put_needs_a_good_digest(client: httpx2.Client, registry: Registry) -> None:
    """Without one, or with none that is one: 400, and the upload stays."""
    location = start_upload(registry.port, "own/chunks")
    for query in ("", "?digest=", "?digest=sha256:bad", "?digest=md5:0", "?other=1"):
        assert check_error(client.put(location + query, content=b"x"), 400)["code"] == "DIGEST_INVALID"
    assert offset(registry.port, location) == 0
    assert check_error(client.put(f"{location}?digest={DIGEST}", content=b"x"), 400)["code"] == "DIGEST_INVALID"
    assert client.head(f"/v2/own/chunks/blobs/{DIGEST}").status_code == 404


LIES = {
    "longer than sent": (["Content-Length: 100"], b"x" * 50),
    "negative": (["Content-Length: -5"], b"x" * 5),
    "two": (["Content-Length: 5", "Content-Length: 6"], b"x" * 6),
    "no number": (["Content-Length: five"], b"x" * 5),
    "huge": ([f"Content-Length: {10**30}"], b"x" * 5),
    "with chunked": (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\nxxxxx"),
    "chunked twice": (["Transfer-Encoding: chunked, chunked"], b"1\r\nx\r\n0\r\n\r\n"),
    "unknown coding": (["Transfer-Encoding: xchunked"], b"1\r\nx\r\n0\r\n\r\n"),
    "bad chunk size": (["Transfer-Encoding: chunked"], b"zz\r\nx\r\n0\r\n\r\n"),
    "chunk too long": (["Transfer-Encoding: chunked"], b"1\r\nxyz\r\n0\r\n\r\n"),
    "endless chunk size": (["Transfer-Encoding: chunked"], b"f" * 100 + b"\r\nx"),
}


@pytest.mark.parametrize("lie", LIES)
def test_cr_37_lengths_that_lie(client: httpx2.Client, registry: Registry, lie: str) -> None:
    """Never a blob, never a second answer: 400 or a closed connection."""
    headers, body = LIES[lie]
    digest = Digest.of(b"x" * 5)
    with Raw(registry.port) as raw:
        raw.request(f"POST /v2/own/lies/blobs/uploads/?digest={digest}", *headers, body=body)
        raw.sock.shutdown(1)
        assert raw.answer().status in (0, 400, 413)
        assert raw.closed()
    for path in (f"/v2/own/lies/blobs/{digest}", f"/v2/own/lies/blobs/{Digest.of(b'')}"):
        assert client.head(path).status_code == 404


def test_cr_37_a_body_that_is_too_long_is_the_next_request(client: httpx2.Client, registry: Registry) -> None:
    """What follows the announced length is judged as a request of its own, and is none."""
    digest = Digest.of(b"x" * 5)
    with Raw(registry.port) as raw:
        path = f"/v2/own/long/blobs/uploads/?digest={digest}"
        raw.request(f"POST {path}", "Content-Length: 5", body=b"x" * 5 + b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.answer().status == 201
        assert raw.answer().status == 200
    assert client.get(f"/v2/own/long/blobs/{digest}").content == b"x" * 5


def test_cr_39_continue_only_for_bodies_that_are_wanted(client: httpx2.Client, registry: Registry) -> None:
    """100 before a good upload; the error at once, without 100, for one that cannot be; none in HTTP/1.0."""
    location = start_upload(registry.port, "own/continue")
    with Raw(registry.port) as raw:
        raw.request(f"PATCH {location}", "Content-Length: 5", "Expect: 100-continue")
        assert raw.answer().status == 100
        raw.send(b"01234")
        assert raw.answer().status == 202
    for line, status in (
        ("PUT /v2/own/continue/manifests/v1", 413),
        ("PATCH /v2/own/continue/blobs/uploads/" + "0" * 32, 404),
        ("PUT /v2/A/manifests/v1", 400),
        ("PUT /v2/own/continue/tags/list", 405),
    ):
        with Raw(registry.port) as raw:
            raw.request(line, f"Content-Type: {OCI_MANIFEST}", f"Content-Length: {10**10}", "Expect: 100-continue")
            assert raw.answer().status == status, line
    with Raw(registry.port) as raw:
        raw.send(f"PATCH {location} HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n01234".encode())
        assert raw.answer().status == 202


def test_cr_40_old_and_odd_http(registry: Registry) -> None:
    """HTTP/1.0, pipelining, absolute targets, chunk extensions and trailers: right answers in the right order."""
    with Raw(registry.port) as raw:
        raw.send(b"GET /v2/good/tags/list HTTP/1.0\r\n\r\n")
        assert json.loads(raw.answer().body)["tags"] == ["v1"]
        assert raw.closed()
    with Raw(registry.port) as raw:
        raw.send(b"".join(b"GET /v2/%s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in (b"", b"good/tags/list", b"x")))
        assert [raw.answer().status for _ in range(3)] == [200, 200, 404]
    with Raw(registry.port) as raw:
        raw.send(b"GET http://elsewhere.test/v2/good/tags/list HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.answer().status == 200
    location = start_upload(registry.port, "own/odd")
    with Raw(registry.port) as raw:
        chunks = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\nContent-Range: 9-9\r\n\r\n"
        raw.request(f"PATCH {location}", "Transfer-Encoding: chunked", "Trailer: Trailer", body=chunks)
        assert raw.answer().status == 202
    assert offset(registry.port, location) == 5


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.2"])
def test_sec_086_upgrades_are_ignored(client: httpx2.Client, registry: Registry, upgrade: str) -> None:
    """The body is stored whole or refused; never an empty blob in its place."""
    content = os.urandom(1000)
    digest = Digest.of(content)
    headers = ["Connection: Upgrade", f"Upgrade: {upgrade}"]
    location = start_upload(registry.port, "own/upgrade")
    with Raw(registry.port) as raw:
        raw.request(f"PUT {location}?digest={digest}", *headers, "Content-Length: 1000", body=content)
        status = raw.answer().status
    assert status in (201, 400)
    if status == 201:
        assert client.get(f"/v2/own/upgrade/blobs/{digest}").content == content
    assert client.head(f"/v2/own/upgrade/blobs/{Digest.of(b'')}").status_code == 404


def test_cr_45_sha512(client: httpx2.Client) -> None:
    """Pushed, announced or not, pulled and mounted by sha512; a digest of another algorithm is another blob."""
    content = os.urandom(100_000)
    digest = Digest.of(content, Algorithm.SHA512)
    for query in ("", "?digest-algorithm=sha512"):
        location = expect(client.post(f"/v2/own/sha512/blobs/uploads/{query}"), 202).headers["location"]
        expect(client.patch(location, content=content), 202)
        expect(client.put(f"{location}?digest={digest}"), 201)
    assert client.get(f"/v2/own/sha512/blobs/{digest}").content == content
    assert client.head(f"/v2/own/sha512/blobs/{Digest.of(content)}").status_code == 404
    expect(client.post(f"/v2/own/other/blobs/uploads/?mount={digest}"), 201)
    check_error(client.post("/v2/own/sha512/blobs/uploads/?digest-algorithm=md5"), 400)


def test_sec_084_slow_clients_are_cut(start_registry: Callable[..., Registry]) -> None:
    """200 clients that send a byte now and then: those in their headers are gone after the deadline, and honest
    requests are served all the while. (The deadline of bodies is proved in tests/server.)"""
    registry = start_registry("--header-timeout-s", "2")
    slow = [Raw(registry.port) for _ in range(200)]
    for raw in slow:
        raw.send(b"GET /v2/ HT")
    with registry.client() as client:
        wait_until(lambda: client.get("/v2/").status_code == 200 and all_closed(slow), limit_s=10, what="the cut")
    for raw in slow:
        raw.sock.close()


def all_closed(connections: list[Raw]) -> bool:
    """Whether the server has ended them all; those that still live are fed one more byte."""
    for raw in connections:
        raw.sock.settimeout(0.001)
        try:
            raw.send(b"T")
            if raw.sock.recv(100) != b"":
                return False
        except TimeoutError:
            return False
        except OSError:
            continue
    return True


TWO_READINGS = {
    "layers and Layers": (OCI_MANIFEST, encoded(image(Layers=[entry("other")]))),
    "layers and another s": (OCI_MANIFEST, encoded({**image(), "layer\u017f": [entry("other")]})),
    "an image with Manifests": (OCI_MANIFEST, encoded(image(Manifests=[]))),
    "an index with LAYERS": (OCI_INDEX, encoded({**index(), "LAYERS": []})),
    "another MediaType": (OCI_MANIFEST, encoded(image(MediaType=OCI_INDEX))),
    "a hidden subject": (OCI_INDEX, encoded({**index(), "Subject": entry("s", OCI_MANIFEST)})),
    "a second Digest": (OCI_MANIFEST, encoded(image(layers=[{**entry(), "Digest": entry("other")["digest"]}]))),
    "schemaVersion 2.0": (OCI_INDEX, encoded(index()).replace(b'"schemaVersion": 2', b'"schemaVersion": 2.0')),
}
"""encoding/json of Go, which every container client uses, takes keys without regard to case, and the last one wins."""


@pytest.mark.parametrize("name", TWO_READINGS)
def test_sec_003_what_clients_read_differently(client: httpx2.Client, name: str) -> None:
    """A text that the registry reads as one thing and clients as another is refused: 400 MANIFEST_INVALID."""
    media_type, payload = TWO_READINGS[name]
    for blob in (b"{}", b"x"):
        Pusher(client).push_blob("own/readings", blob, way="whole")
    answer = client.put("/v2/own/readings/manifests/twofold", content=payload, headers={"content-type": media_type})
    assert check_error(answer, 400)["code"] == "MANIFEST_INVALID"
    assert client.head("/v2/own/readings/manifests/twofold").status_code == 404


def test_sec_074_one_referrer_cannot_spoil_the_page(client: httpx2.Client) -> None:
    """Text that JSON may write in six bytes where the manifest had two: the page still has at most 4 MiB."""
    subject = entry("swollen", OCI_MANIFEST)
    document = index(subject=subject, annotations={"a": "\u00e9" * 2_000_000})
    payload = json.dumps(document, ensure_ascii=False).encode()
    answer = client.put("/v2/own/swollen/manifests/r", content=payload, headers={"content-type": OCI_INDEX})
    assert answer.status_code in (201, 400), answer.text[:300]
    page = expect(client.get(f"/v2/own/swollen/referrers/{subject['digest']}"), 200)
    assert len(page.content) <= 4 * MIB


MEMORY_LIMIT_BYTES = 150 * MIB


def peak_bytes(registry: Registry) -> int:
    """The most memory that the server ever had."""
    status = Path(f"/proc/{registry.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1.5", b'{"":0}'])
def test_sec_094_many_small_values(start_registry: Callable[..., Registry], value: bytes) -> None:
    """I10: 4 MiB of JSON that is nothing but small values becomes no hundred megabytes, taken or refused."""
    registry = start_registry()
    head = encoded(index())[:-1] + b', "a": ['
    payload = head + b",".join([value] * ((4 * MIB - len(head) - 3) // (len(value) + 1))) + b"]}"
    with registry.client() as client:
        answer = client.put("/v2/a/manifests/v1", content=payload, headers={"content-type": OCI_INDEX})
        assert answer.status_code in (201, 400), answer.text[:300]
    assert peak_bytes(registry) <= MEMORY_LIMIT_BYTES


@contextmanager
def sent_as_taken(port: int, contents: list[bytes], limit_s: float) -> Iterator[None]:
    """A connection for each content, sent as fast as the server takes it, until all is sent, the server has closed
    what is left, or the time is over. They stay open for the block."""
    connections = [Raw(port) for _ in contents]
    left = {raw.sock: memoryview(content) for raw, content in zip(connections, contents, strict=True)}
    deadline = time.monotonic() + limit_s
    while left and time.monotonic() < deadline:
        for sock in select.select([], list(left), [], 0.1)[1]:
            try:
                left[sock] = left[sock][sock.send(left[sock], socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue
            except OSError:
                left[sock] = left[sock][:0]
            if not left[sock]:
                del left[sock]
    try:
        yield
    finally:
        for raw in connections:
            raw.sock.close()


def send_as_taken(port: int, contents: list[bytes], limit_s: float) -> None:
    """As `sent_as_taken`, and go away."""
    with sent_as_taken(port, contents, limit_s):
        pass


def test_sec_002_manifests_that_never_arrive(start_registry: Callable[..., Registry]) -> None:
    """I10: 64 clients that hold back the last byte of a manifest of 4 MiB do not make the server hold 256 MiB."""
    registry = start_registry()
    head = f"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_INDEX}\r\nContent-Length: {4 * MIB}\r\n"
    content = head.encode() + b"\r\n" + b" " * (4 * MIB - 1)
    with sent_as_taken(registry.port, [content] * 64, limit_s=10):
        assert httpx2.get(f"{registry.url}/v2/").status_code == 200
        assert peak_bytes(registry) <= MEMORY_LIMIT_BYTES


def test_sec_084_chunks_of_two_bytes(start_registry: Callable[..., Registry]) -> None:
    """I10: 16 clients whose bodies are nearly all framing neither fill the memory nor keep an honest one waiting."""
    registry = start_registry()
    head = "PATCH {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    contents = [
        head.format(start_upload(registry.port, "a")).encode() + b"2\r\nab\r\n" * (4 * MIB // 7) for _ in range(16)
    ]
    waited_s: list[float] = []
    sender = threading.Thread(target=send_as_taken, args=(registry.port, contents, 8))
    sender.start()
    with registry.client() as client:
        while sender.is_alive():
            began_s = time.monotonic()
            assert client.get("/v2/").status_code == 200
            waited_s.append(time.monotonic() - began_s)
    sender.join()
    assert peak_bytes(registry) <= MEMORY_LIMIT_BYTES
    assert max(waited_s) < 2, f"an honest request took {max(waited_s):.1f} s"
