"""I6, I7, I9: races, lost answers, lost files and full disks that the other modules here do not reach."""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.reliability.client import Image, Pusher, expect, offset_of, pieces, pull_whole
from tests.reliability.raw import Raw, start_upload
from tests.reliability.test_disk_full import Mount, check_all, mount, push_more, status_of_a_push
from tests.reliability.test_retry import BLOB, DIGEST, holds, is_free, leave, new_upload, objects, stalled_patch
from tests.running import Registry, wait_until

__all__ = ["mount"]


@pytest.fixture
def client(registry: Registry) -> Iterator[httpx2.Client]:
    """A client of the test's own server."""
    with registry.client() as client:
        yield client


def test_two_finishers_of_a_blob_that_is_there_already(client: httpx2.Client, registry: Registry) -> None:
    """I7, CR-29: as above, where the object turns out to be a duplicate and is removed at once. A PUT that comes
    between its removal and the other's answer must not be told that there was never such an upload."""
    blob = os.urandom(3_000)
    digest = Digest.of(blob)
    Pusher(client).push_blob("other", blob, way="whole")
    clients = [registry.client() for _ in range(8)]
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(150):
            location = new_upload(client, blob)
            finish = partial(finish_with, location=f"{location}?digest={digest}")
            statuses.update(pool.map(finish, clients))
    for own in clients:
        own.close()
    assert set(statuses) <= {201, 409}, statuses


def finish_with(client: httpx2.Client, *, location: str) -> int:
    """The status of a last PUT."""
    return client.put(location).status_code


LAYER, SOURCE, LOOSE = b"layer", b"source", b"loose"
UNREAD_MANIFEST = Image("unread", "v1", [b"{}", LAYER]).manifest
WRITES = {
    "POST whole": f"POST /v2/{{name}}/blobs/uploads/?digest={DIGEST}",
    "POST mount": f"POST /v2/{{name}}/blobs/uploads/?mount={Digest.of(SOURCE)}&from=source",
    "PUT upload": f"PUT {{location}}?digest={DIGEST}",
    "PATCH": "PATCH {location}",
    "DELETE upload": "DELETE {location}",
    "PUT tag": "PUT /v2/{name}/manifests/v2",
    "PUT digest": f"PUT /v2/{{name}}/manifests/{Digest.of(UNREAD_MANIFEST)}",
    "DELETE tag": "DELETE /v2/{name}/manifests/v1",
    "DELETE manifest": f"DELETE /v2/{{name}}/manifests/{Digest.of(UNREAD_MANIFEST)}",
    "DELETE blob": f"DELETE /v2/{{name}}/blobs/{Digest.of(LOOSE)}",
}
"""Every endpoint that writes."""


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("case", WRITES)
def test_i7_an_answer_that_nobody_reads(shared_registry: Registry, case: str, how: str) -> None:
    """I7: the client sends a whole request, goes away, and sends it again: the end is that of one success, and the
    last answer is success too, or says that there is nothing left to do."""
    name = f"unread/{case}-{how}".lower().replace(" ", "-")
    with shared_registry.client() as client:
        Pusher(client).push(Image(name, "v1", [b"{}", LAYER]), way="whole")
        Pusher(client).push_blob("source", SOURCE, way="whole")
        Pusher(client).push_blob(name, LOOSE, way="whole")
        location = expect(client.post(f"/v2/{name}/blobs/uploads/"), 202).headers["location"]
        line = WRITES[case].format(location=location, name=name)
        assert last_status(shared_registry, line, how) in SETTLED[line.partition(" ")[0]]
        check_after(client, (case, name, location))


SETTLED = {"DELETE": (404,), "PATCH": (416,), "PUT": (201,), "POST": (201,)}
"""What a repeated request is told at last."""


def last_status(registry: Registry, line: str, how: str) -> int:
    """Send a request and leave; then send it until the answer is final, and once more; returns that last status."""
    method, _, path = line.partition(" ")
    is_manifest = "/manifests/" in path
    body = b"" if method == "DELETE" or "mount" in path else UNREAD_MANIFEST if is_manifest else BLOB
    headers = {"content-type": OCI_MANIFEST} if is_manifest else {}
    headers |= {"content-range": f"0-{len(BLOB) - 1}"} if method == "PATCH" else {}
    raw = Raw(registry.port)
    raw.request(line, f"Content-Length: {len(body)}", *(f"{key}: {value}" for key, value in headers.items()), body=body)
    leave(raw, how)
    with registry.client() as client:
        repeat = partial(client.request, method, path, content=body, headers=headers)
        wait_until(lambda: repeat().status_code != 409, what="an answer that is final")
        return repeat().status_code


def check_after(client: httpx2.Client, what: tuple[str, str, str]) -> None:
    """The state is that after one success."""
    case, name, location = what
    tags = {"PUT tag": ["v1", "v2"], "DELETE tag": [], "DELETE manifest": []}
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == tags.get(case, ["v1"])
    statuses = {
        f"/v2/{name}/manifests/{Digest.of(UNREAD_MANIFEST)}": 404 if case == "DELETE manifest" else 200,
        f"/v2/{name}/blobs/{Digest.of(LAYER)}": 200,
        f"/v2/{name}/blobs/{DIGEST}": 200 if case in ("POST whole", "PUT upload") else 404,
        f"/v2/{name}/blobs/{Digest.of(SOURCE)}": 200 if case == "POST mount" else 404,
        f"/v2/{name}/blobs/{Digest.of(LOOSE)}": 404 if case == "DELETE blob" else 200,
        location: 404 if case in ("PUT upload", "DELETE upload") else 204,
    }
    assert {path: client.get(path).status_code for path in statuses} == statuses
    if case == "PATCH":
        # A reset may take bytes along that the server has not read: then it has fewer, never more.
        there = offset_of(client.get(location))
        assert there == len(BLOB) or (name.endswith("reset") and there < len(BLOB))
        rest = {"content-range": f"{there}-{len(BLOB) - 1}"}
        assert there == len(BLOB) or client.patch(location, content=BLOB[there:], headers=rest).status_code == 202
        expect(client.put(f"{location}?digest={DIGEST}"), 201)


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_cr_38_a_stream_that_is_cut(shared_registry: Registry, how: str) -> None:
    """As docker sends: a body without a length, cut in the middle of a piece; what arrived is kept and gone on from."""
    content = os.urandom(200_000)
    location = start_upload(shared_registry.port)
    raw = Raw(shared_registry.port)
    raw.request(f"PATCH {location}", "Transfer-Encoding: chunked")
    raw.send(b"%x\r\n" % 65_536, content[:65_536], b"\r\n", b"%x\r\n" % 65_536, content[65_536:100_000])
    wait_until(lambda: holds(shared_registry, location), what="the writer")
    leave(raw, how)
    with shared_registry.client() as client:
        wait_until(lambda: is_free(client, location), what="the end of the writer")
        there = offset_of(client.get(location))
        assert there == 100_000 or (how == "reset" and there <= 100_000)
        expect(client.patch(location, content=content[there:], headers={"content-range": f"{there}-199999"}), 202)
        expect(client.put(f"{location}?digest={Digest.of(content)}"), 201)


def test_cr_43_the_file_goes_away_under_a_reader(client: httpx2.Client, registry: Registry) -> None:
    """I4, I6: collection (here: rm) takes the file of a blob: a slow reader that has begun gets all of it; the next
    GET fails with 500 and never with a short body; a push heals it."""
    content = os.urandom(8_000_000)
    Pusher(client).push_blob("a", content, way="whole")
    path = f"/v2/a/blobs/{Digest.of(content)}"
    with registry.client() as reader, reader.stream("GET", path) as download:
        parts = download.iter_raw(4096)
        first = next(parts)
        objects(registry)[0].unlink()
        assert first + b"".join(parts) == content
    assert client.get(path).status_code == 500
    Pusher(client).push_blob("a", content, way="stream")
    assert expect(client.get(path), 200).content == content


def test_cr_31_a_lost_blob_that_no_repository_shows_is_healed_by_a_push(
    client: httpx2.Client, registry: Registry
) -> None:
    """I1, I4: its row is there still, its file is not: a push that is acknowledged has to bring it back."""
    Pusher(client).push_blob("a", BLOB, way="whole")
    expect(client.delete(f"/v2/a/blobs/{DIGEST}"), 202)
    objects(registry)[0].unlink()
    Pusher(client).push_blob("a", BLOB, way="whole")
    assert expect(client.get(f"/v2/a/blobs/{DIGEST}"), 200).content == BLOB


def test_cr_42_many_uploads_survive_a_stop(start_registry: Callable[..., Registry]) -> None:
    """I7: SIGTERM with 16 uploads in the middle of a stream; each goes on after the next start."""
    registry = start_registry("--drain-timeout-s", "1")
    contents = [os.urandom(50_000 + number) for number in range(16)]
    locations = [start_upload(registry.port) for _ in contents]
    raws = [
        stalled_patch(registry, location, content[:40_000])
        for location, content in zip(locations, contents, strict=True)
    ]
    for location in locations:
        wait_until(partial(holds, registry, location), what="the writer")
    assert registry.stop() == 0
    for raw in raws:
        raw.sock.close()
    again = start_registry(data=registry.data)
    with again.client() as client:
        for location, content in zip(locations, contents, strict=True):
            assert offset_of(expect(client.get(location), 204)) == 40_000
            rest = {"content-range": f"40000-{len(content) - 1}"}
            expect(client.patch(location, content=content[40_000:], headers=rest), 202)
            expect(client.put(f"{location}?digest={Digest.of(content)}"), 201)


class Reader(threading.Thread):
    """Pulls one image again and again until it is told to stop."""

    def __init__(self, registry: Registry, image: Image) -> None:
        super().__init__()
        self.registry = registry
        self.image = image
        self.pulls = 0
        self.failure: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        """Pull; the first failure ends it."""
        try:
            with self.registry.client() as client:
                while not self.stopping.is_set():
                    pull_whole(client, self.image)
                    self.pulls += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> int:
        """End it; returns how often it pulled, all of it whole."""
        self.stopping.set()
        self.join()
        assert self.failure is None, self.failure
        return self.pulls


def fill_file(path: Path) -> None:
    """Take the last byte of a disk."""
    with path.open("ab", buffering=0) as rest:
        for size in (65_536, 512):
            try:
                while rest.write(b"\0" * size):
                    pass
            except OSError:
                continue


def is_refused_well(answer: httpx2.Response) -> bool:
    """507 or 503, when to try again, and an error of the specification's form that says what is the matter."""
    [error] = answer.json()["errors"]
    is_said = error["code"] == "UNAVAILABLE" and "full" in error["message"]
    return answer.status_code in (503, 507) and int(answer.headers["retry-after"]) > 0 and is_said


def test_reads_go_on_and_an_upload_too(mount: Mount, start_registry: Callable[..., Registry]) -> None:
    """I1, I6, CR-09: pulls succeed before, while and after the disk is full; every write is refused in the same clear
    way, also to a client that is in the middle of a long body; and when there is room, the upload that met the full
    disk goes on where it stands."""
    disk = mount("data", "size=24m")
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 8_000_000)
    registry = start_registry("--storage-reserve-bytes", "0", data=disk)
    image = Image.random("full/app", "v1", random.Random(9))
    with registry.client() as client:
        Pusher(client).push(image, way="put")
        reader = Reader(registry, image)
        reader.start()
        location = expect(client.post("/v2/full/app/blobs/uploads/"), 202).headers["location"]
        blob = random.Random(10).randbytes(18_000_000)
        assert is_refused_well(client.patch(location, content=pieces(blob)))
        fill_file(disk / "rest")
        check_writes_refused(client, image)
        wait_until(lambda: reader.pulls > 5 or reader.failure is not None, what="pulls from a full disk")
        (disk / "rest").unlink()
        ballast.unlink()
        offset = offset_of(expect(client.get(location), 204))
        assert 0 < offset < len(blob)
        place = {"content-range": f"{offset}-{len(blob) - 1}"}
        expect(client.patch(location, content=blob[offset:], headers=place), 202)
        expect(client.put(f"{location}?digest={Digest.of(blob)}"), 201)
        assert expect(client.get(f"/v2/full/app/blobs/{Digest.of(blob)}"), 200).content == blob
        assert reader.stop() > 5


def check_writes_refused(client: httpx2.Client, image: Image) -> None:
    """Each kind of write says that the disk is full, and changes nothing."""
    headers = {"content-type": OCI_MANIFEST}
    digest = Digest.of(image.blobs[0])
    for method, path in [
        ("POST", "/v2/full/app/blobs/uploads/"),
        ("POST", f"/v2/full/other/blobs/uploads/?mount={digest}&from=full/app"),
        ("PUT", "/v2/full/app/manifests/v2"),
        ("DELETE", "/v2/full/app/manifests/v1"),
        ("DELETE", f"/v2/full/app/manifests/{Digest.of(image.manifest)}"),
    ]:
        content = image.manifest if method == "PUT" else None
        answer = client.request(method, path, content=content, headers=headers)
        assert is_refused_well(answer), f"{method} {path}: {answer.status_code} {answer.text}"
    assert client.get("/v2/full/app/tags/list").json()["tags"] == ["v1"]


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
def test_a_start_on_a_full_disk(mount: Mount, start_registry: Callable[..., Registry], end: str) -> None:
    """I9, CR-09: whoever restarts because the disk is full gets a server that serves what there is, and takes pushes
    again as soon as there is room."""
    disk = mount("data", "size=12m")
    registry = start_registry("--storage-reserve-bytes", "0", data=disk)
    image = Image.random("full/app", "v1", random.Random(9))
    with registry.client() as client:
        Pusher(client).push(image, way="put")
    assert registry.stop() == 0
    registry = start_registry("--storage-reserve-bytes", "0", data=disk)
    fill_file(disk / "rest")
    if end == "SIGTERM":
        assert registry.stop() == 0
    else:
        registry.kill()
    fill_file(disk / "rest again")
    registry = start_registry("--storage-reserve-bytes", "0", data=disk)
    check_all(registry, [image])
    assert status_of_a_push(registry).status_code in (503, 507)
    (disk / "rest").unlink()
    check_all(registry, [image, *push_more(registry)])


def test_a_database_that_is_no_database(start_registry: Callable[..., Registry]) -> None:
    """I6: the disk gives nonsense for the database: each write is answered in time with a failure of ours, instead of
    waiting for ever for a thread that has died."""
    registry = start_registry()
    with registry.client() as client:
        Pusher(client).push_blob("a", b"before", way="put")
        for file in registry.data.glob("*.db*"):
            if not file.name.endswith("-shm"):
                with file.open("r+b") as damaged:
                    damaged.write(b"\xff" * file.stat().st_size)
        for _ in range(3):
            answer = client.post("/v2/a/blobs/uploads/", timeout=10)
            assert answer.status_code >= 500
            assert answer.json()["errors"]
        assert client.get("/readyz").status_code == 503
