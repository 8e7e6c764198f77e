"""I7: a request that is repeated because its answer was lost ends in the same state. And: one writer an upload."""

import os
import socket
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.reliability.client import Image, Pusher, expect, offset_of
from tests.reliability.raw import Raw, offset, start_upload
from tests.running import Registry, wait_until

BLOB = os.urandom(200_000)
DIGEST = Digest.of(BLOB)


@pytest.fixture
def client(registry: Registry) -> Iterator[httpx2.Client]:
    """A client of the test's own server."""
    with registry.client() as client:
        yield client


def new_upload(client: httpx2.Client, content: bytes = b"") -> str:
    """An upload that holds `content`."""
    location: str = expect(client.post("/v2/a/blobs/uploads/"), 202).headers["location"]
    if content:
        expect(client.patch(location, content=content), 202)
    return location


def objects(registry: Registry) -> list[Path]:
    """The files of published blobs."""
    return [path for path in (registry.data / "blobs").glob("sha*/*/*") if path.is_file()]


def test_cr_32_a_repeated_chunk_is_refused_with_the_right_place(client: httpx2.Client) -> None:
    """Its bytes are not appended twice, and the upload goes on."""
    location = new_upload(client)
    place = {"content-range": "0-99999"}
    expect(client.patch(location, content=BLOB[:100_000], headers=place), 202)
    again = expect(client.patch(location, content=BLOB[:100_000], headers=place), 416)
    assert again.headers["range"] == "0-99999"
    assert again.headers["location"] == location
    expect(client.patch(location, content=BLOB[100_000:], headers={"content-range": "100000-199999"}), 202)
    for _ in range(3):
        answer = expect(client.put(f"{location}?digest={DIGEST}"), 201)
        assert answer.headers["docker-content-digest"] == str(DIGEST)
    assert client.get(f"/v2/a/blobs/{DIGEST}").content == BLOB


def test_a_put_with_the_whole_body_can_be_repeated(client: httpx2.Client, registry: Registry) -> None:
    """After the answer was lost; and the repeated one leaves one object."""
    location = new_upload(client)
    for _ in range(2):
        expect(client.put(f"{location}?digest={DIGEST}", content=BLOB), 201)
    assert len(objects(registry)) == 1


@pytest.mark.parametrize("kill", [False, True], ids=["cut", "kill -9"])
def test_a_put_that_was_cut_can_be_sent_again(start_registry: Callable[..., Registry], kill: bool) -> None:
    """Half a PUT arrives, then the connection (or the server) dies; the same PUT again, from the beginning."""
    registry = start_registry()
    location = start_upload(registry.port)
    with Raw(registry.port) as raw:
        raw.request(f"PUT {location}?digest={DIGEST}", f"Content-Length: {len(BLOB)}", body=BLOB[:120_000])
        if kill:
            wait_until(lambda: bool(list((registry.data / "blobs" / "uploads").iterdir())))
            registry.kill()
    running = start_registry(data=registry.data) if kill else registry
    if not kill:
        wait_until(lambda: offset(running.port, location) == 120_000, what="the half that arrived")
    with running.client() as client:
        expect(client.put(f"{location}?digest={DIGEST}", content=BLOB), 201)
        assert client.get(f"/v2/a/blobs/{DIGEST}").status_code == 404
        assert client.get(f"/v2/raw/app/blobs/{DIGEST}").content == BLOB


def test_everything_else_can_be_repeated(client: httpx2.Client, registry: Registry) -> None:
    """POST of a whole blob, mount, manifests, deletes: twice is as once."""
    image = Image("a", "v1", [b"{}", BLOB])
    for _ in range(2):
        Pusher(client).push(image, way="whole")
        expect(client.post(f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a"), 201)
    assert len(objects(registry)) == 2
    listed = client.get("/v2/a/tags/list").json()
    manifest = Digest.of(image.manifest)
    for path in ("/v2/a/manifests/v1", f"/v2/a/manifests/{manifest}", f"/v2/a/blobs/{DIGEST}"):
        assert client.delete(path).status_code == 202
        assert client.delete(path).status_code == 404
    assert listed["tags"] == ["v1"]
    assert client.get("/v2/a/tags/list").json()["tags"] == []
    assert client.get(f"/v2/b/blobs/{DIGEST}").content == BLOB
    location = new_upload(client)
    assert client.delete(location).status_code == 204
    assert client.delete(location).status_code == 404


def test_a_chunk_without_a_place_cannot_be_repeated_blindly(client: httpx2.Client) -> None:
    """I7: the server cannot know that the bytes are the same again. The status tells who asks; who does not ask gets
    an error at the end, never a wrong blob; and a new upload succeeds."""
    location = new_upload(client, BLOB)
    assert offset_of(expect(client.get(location), 204)) == len(BLOB)
    again = expect(client.patch(location, content=BLOB), 202)
    assert offset_of(again) == 2 * len(BLOB)
    expect(client.put(f"{location}?digest={DIGEST}"), 400)
    expect(client.head(f"/v2/a/blobs/{DIGEST}"), 404)
    Pusher(client).push_blob("a", BLOB, way="stream")
    assert client.get(f"/v2/a/blobs/{DIGEST}").content == BLOB


FACTS = ("repositories", "blobs", "repository_blobs", "manifests", "manifest_blobs", "tags", "tag_history", "outbox")


def facts(registry: Registry) -> dict[str, int]:
    """How many rows the tables have that say what the registry holds, and what it told others."""
    with closing(sqlite3.connect(f"file:{registry.data / 'registry.db'}?mode=ro", uri=True)) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in FACTS}


def test_repeated_requests_leave_no_second_trace(client: httpx2.Client, registry: Registry) -> None:
    """I7, I12: neither rows, nor tag history, nor events, nor files are more after the same requests again."""
    image = Image("a", "v1", [b"{}", BLOB])
    headers = {"content-type": OCI_MANIFEST}
    by_digest = f"/v2/a/manifests/{Digest.of(image.manifest)}?tag=v2&tag=v3"
    seen = []
    for _ in range(3):
        for way in ("whole", "put", "stream", "chunks"):
            Pusher(client).push(image, way=way)
        expect(client.put(by_digest, content=image.manifest, headers=headers), 201)
        expect(client.post(f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a"), 201)
        seen.append((facts(registry), len(objects(registry))))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0]["tags"] == 3


def stalled_patch(registry: Registry, location: str, content: bytes) -> Raw:
    """A PATCH that has sent a part of its body, and holds the upload."""
    raw = Raw(registry.port)
    raw.request(f"PATCH {location}", f"Content-Length: {len(content) + 10}", body=content)
    return raw


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_cr_33_one_writer(client: httpx2.Client, registry: Registry, method: str) -> None:
    """While one request writes, any other gets 409; the first then ends as if nothing had been."""
    location = start_upload(registry.port, "a")
    with stalled_patch(registry, location, BLOB[:-10]) as raw:
        wait_until(lambda: holds(registry, location), what="the first writer")
        query = f"?digest={DIGEST}" if method == "PUT" else ""
        content = b"z" if method == "PATCH" else None
        expect(client.request(method, location + query, content=content), 409)
        raw.send(BLOB[-10:])
        assert raw.answer().status == 202
    expect(client.put(f"{location}?digest={DIGEST}"), 201)
    assert client.get(f"/v2/a/blobs/{DIGEST}").content == BLOB


def test_cr_33_one_chunk_from_many_writers(registry: Registry) -> None:
    """The same chunk, with its place, eight times at once: one is taken, the others get 409 or 416; nothing twice."""
    location = start_upload(registry.port, "a")

    def send(_number: int) -> int:
        place = {"content-range": f"0-{len(BLOB) - 1}"}
        with registry.client() as own:
            return own.patch(location, content=BLOB, headers=place).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(send, range(8)))
    assert statuses[0] == 202
    assert set(statuses[1:]) <= {409, 416}
    with registry.client() as client:
        expect(client.put(f"{location}?digest={DIGEST}"), 201)
        assert client.get(f"/v2/a/blobs/{DIGEST}").content == BLOB


def test_cr_33_bytes_after_the_end_do_not_reach_the_blob(client: httpx2.Client, registry: Registry) -> None:
    """A PATCH that comes late, when the upload is finished, changes nothing."""
    location = new_upload(client, BLOB)
    expect(client.put(f"{location}?digest={DIGEST}"), 201)
    expect(client.patch(location, content=b"late"), 404)
    assert client.get(f"/v2/a/blobs/{DIGEST}").content == BLOB


def test_two_finishers_at_once(client: httpx2.Client, registry: Registry) -> None:
    """I7, CR-29: the same PUT eight times at once: some 201, the others 409, never anything else; one object."""
    location = new_upload(client, BLOB)

    def finish(_number: int) -> int:
        with registry.client() as own:
            return own.put(f"{location}?digest={DIGEST}").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(finish, range(8)))
    assert 201 in statuses
    assert statuses <= {201, 409}
    assert len(objects(registry)) == 1


def test_cr_29_one_blob_from_32_clients(registry: Registry) -> None:
    """Into two repositories, in all ways: all succeed, and the bytes are stored once."""

    def push(number: int) -> None:
        with registry.client() as own:
            way = ("whole", "put", "stream", "chunks")[number % 4]
            Pusher(own).push_blob(f"r{number % 2}", BLOB, way=way)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(push, range(32)))
    assert [path.name.partition(".")[0] for path in objects(registry)] == [DIGEST.hex]
    assert list((registry.data / "blobs" / "uploads").iterdir()) == []


def test_cr_30_one_tag_from_many_clients(client: httpx2.Client, registry: Registry) -> None:
    """Puts and deletes of a tag at once: never an error of ours, and the end is one of the things written."""
    images = [Image("a", "hot", [b"{}", bytes([number])]) for number in range(8)]
    for image in images:
        Pusher(client).push(image, way="whole")

    def put(image: Image) -> int:
        with registry.client() as own:
            headers = {"content-type": OCI_MANIFEST}
            return own.put("/v2/a/manifests/hot", content=image.manifest, headers=headers).status_code

    def remove(_number: int) -> int:
        with registry.client() as own:
            return own.delete("/v2/a/manifests/hot").status_code

    with ThreadPoolExecutor(12) as pool:
        puts = [pool.submit(put, image) for image in images * 4]
        deletes = [pool.submit(remove, number) for number in range(8)]
        assert {future.result() for future in puts} == {201}
        assert {future.result() for future in deletes} <= {202, 404}
    last = client.get("/v2/a/manifests/hot")
    assert last.status_code == (200 if client.get("/v2/a/tags/list").json()["tags"] else 404)
    assert last.status_code == 404 or last.content in {image.manifest for image in images}
    put(images[3])
    assert client.get("/v2/a/manifests/hot").content == images[3].manifest


def test_cr_30_a_tag_that_is_listed_can_be_had(client: httpx2.Client, registry: Registry) -> None:
    """CR-03, I2: while a manifest is deleted by its digest and put again under two tags, a reader never sees one tag
    without the other, nor a tag that stays in the list but leads nowhere."""
    image = Image("a", "left", [b"{}", BLOB])
    Pusher(client).push(image, way="whole")
    path = f"/v2/a/manifests/{Digest.of(image.manifest)}"
    headers = {"content-type": OCI_MANIFEST}

    def write() -> None:
        with registry.client() as own:
            for _ in range(60):
                expect(own.put(f"{path}?tag=left&tag=right", content=image.manifest, headers=headers), 201)
                expect(own.delete(path), 202)

    expect(client.delete(path), 202)
    writer = threading.Thread(target=write)
    writer.start()
    lists = []
    while writer.is_alive():
        lists.append(client.get("/v2/a/tags/list").json()["tags"])
        answer = client.get("/v2/a/manifests/left")
        assert answer.status_code == 404 or answer.content == image.manifest
    writer.join()
    assert all(tags in ([], ["left", "right"]) for tags in lists)
    assert ["left", "right"] in lists
    assert client.get("/v2/a/tags/list").json()["tags"] == []


def leave(raw: Raw, how: str) -> None:
    """Go away: politely, at once, or only half."""
    if how == "reset":
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        raw.sock.shutdown(socket.SHUT_WR)
        raw.closed()
    raw.sock.close()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_cr_38_what_arrived_is_kept(shared_registry: Registry, how: str) -> None:
    """The client goes in the middle of a chunk, after any number of bytes; then it goes on from there."""
    port = shared_registry.port
    for sent in (0, 1, 65_535, 65_536, 65_537, 100_000, 199_999):
        content = os.urandom(200_000)
        location = start_upload(port)
        raw = Raw(port)
        raw.request(f"PATCH {location}", "Content-Length: 200000", body=content[:sent])
        if how != "half" and sent > 1:
            wait_until(lambda location=location: holds(shared_registry, location), what="the writer")  # type: ignore[misc]
        leave(raw, how)
        with shared_registry.client() as client:
            wait_until(
                lambda client=client, location=location: is_free(client, location),  # type: ignore[misc]
                what="the end of the writer",
            )
            there = offset_of(client.get(location))
            assert there <= sent or sent == 1
            if how != "reset":
                assert there == (sent if sent != 1 else 0)
            # One byte and none look alike, so the rest is sent where the server says that it belongs.
            rest = client.patch(location, content=content, headers={"content-range": "0-199999"})
            if rest.status_code == 416:
                place = len_from(rest.headers["range"], sent)
                headers = {"content-range": f"{place}-199999"}
                expect(client.patch(location, content=content[place:], headers=headers), 202)
            expect(client.put(f"{location}?digest={Digest.of(content)}"), 201)


def len_from(header: str, sent: int) -> int:
    """How many bytes `Range: 0-N` means, knowing whether any byte was sent."""
    last = int(header.removeprefix("0-"))
    return last + 1 if last or sent else 0


def holds(registry: Registry, location: str) -> bool:
    """Whether a request is writing to the upload: asks the system for the lock of its file, because a request that
    asks the server would take it, and the one that is waited for would get 409."""
    file = registry.data / "blobs" / "uploads" / location.rpartition("/")[2]
    return f":{file.stat().st_ino} " in Path("/proc/locks").read_text(encoding="ascii")


def is_free(client: httpx2.Client, location: str) -> bool:
    """Whether the upload could be written to; asks with a chunk that is out of place."""
    answer = client.patch(location, content=b"z", headers={"content-range": "500000-500000"})
    return answer.status_code == 416


@pytest.mark.parametrize("way", ["whole", "put", "stream", "chunks"])
def test_cr_36_the_empty_blob(client: httpx2.Client, way: str) -> None:
    """Pushed in every way, pulled, mounted, and pushed again."""
    Pusher(client).push_blob("empty", b"", way=way)
    digest = Digest.of(b"")
    answer = expect(client.get(f"/v2/empty/blobs/{digest}"), 200)
    assert answer.content == b""
    assert answer.headers["content-length"] == "0"
    expect(client.post(f"/v2/other/blobs/uploads/?mount={digest}&from=empty"), 201)
    Pusher(client).push_blob("empty", b"", way=way)


def test_cr_42_a_stop_puts_uploads_aside(start_registry: Callable[..., Registry]) -> None:
    """SIGTERM with an upload that does not end: readiness goes off, the stop takes its time and no more, and the
    upload goes on after the next start."""
    registry = start_registry("--drain-timeout-s", "2")
    location = start_upload(registry.port)
    with stalled_patch(registry, location, BLOB[:150_000]) as raw:
        wait_until(lambda: holds(registry, location), what="the writer")
        stopping = threading.Thread(target=registry.stop)
        stopping.start()
        wait_until(lambda: readiness(registry) == 503, limit_s=2, what="the end of readiness")
        assert raw.answer().status in (0, 503)
        stopping.join(30)
    assert registry.process.returncode == 0
    again = start_registry(data=registry.data)
    with again.client() as client:
        there = offset_of(expect(client.get(location), 204))
        assert there == 150_000
        place = {"content-range": f"{there}-{len(BLOB) - 1}"}
        expect(client.patch(location, content=BLOB[there:], headers=place), 202)
        expect(client.put(f"{location}?digest={DIGEST}"), 201)


def readiness(registry: Registry) -> int:
    """The status of /readyz, 0 where nobody answers."""
    try:
        return httpx2.get(f"{registry.metrics_url}/readyz").status_code
    except httpx2.TransportError:
        return 0


def test_cr_42_a_stop_waits_for_an_upload_that_ends(start_registry: Callable[..., Registry]) -> None:
    """A request that runs at the signal gets its answer."""
    registry = start_registry()
    location = start_upload(registry.port)
    with stalled_patch(registry, location, BLOB[:-10]) as raw:
        wait_until(lambda: holds(registry, location), what="the writer")
        stopping = threading.Thread(target=registry.stop)
        stopping.start()
        wait_until(lambda: readiness(registry) == 503, what="the end of readiness")
        raw.send(BLOB[-10:])
        assert raw.answer().status == 202
        stopping.join(30)
    assert registry.process.returncode == 0


def test_cr_43_a_download_survives_the_unlinking_of_its_blob(client: httpx2.Client, registry: Registry) -> None:
    """Who has begun to read reads to the end."""
    content = os.urandom(8_000_000)
    Pusher(client).push_blob("a", content, way="whole")
    digest = Digest.of(content)
    with registry.client() as reader, reader.stream("GET", f"/v2/a/blobs/{digest}") as download:
        parts = download.iter_raw(4096)
        first = next(parts)
        expect(client.delete(f"/v2/a/blobs/{digest}"), 202)
        expect(client.get(f"/v2/a/blobs/{digest}"), 404)
        assert first + b"".join(parts) == content
