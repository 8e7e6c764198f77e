"""Several servers on one database and one bucket: any of them takes the next chunk of an upload that another one
began."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from tests.backends.postgresql import Cluster
from tests.backends.s3 import S3Service, service
from tests.reliability.client import Image, Pusher, expect, offset_of, pull_whole
from tests.running import Registry, wait_until

NODES = 3
KILLS = int(os.environ.get("DEPOTRY_TESTS_KILLS", "4"))
CLIENTS = 5
"""Each kill interrupts so many uploads at once: together that many runs."""
MIB = 1024 * 1024
Start = Callable[..., Registry]


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def start(request: pytest.FixtureRequest, versitygw: S3Service, tmp_path: Path) -> Iterator[Start]:
    """Starts nodes on the same database and bucket. They run on one machine, so they may share a SQLite file."""
    started: list[Registry] = []
    bucket = versitygw.new_bucket()
    place: tuple[str, ...] = ()
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        place = ("--database", cluster.url(cluster.empty()))

    def node(*flags: str) -> Registry:
        spool = str(tmp_path / f"spool-{len(started)}")
        storage = ("--storage", versitygw.url(bucket, "registry"), "--spool", spool, *place)
        started.append(Registry.start(tmp_path / "data", *storage, *flags, env=versitygw.env()))
        return started[-1]

    yield node
    for registry in started:
        registry.kill()


def send_in_turns(nodes: list[httpx2.Client], location: str, blob: bytes, step: int) -> None:
    """Chunk by chunk, each to the next node."""
    for turn, start in enumerate(range(0, len(blob), step)):
        chunk = blob[start : start + step]
        place = {"content-range": f"{start}-{start + len(chunk) - 1}"}
        answer = expect(nodes[turn % len(nodes)].patch(location, content=chunk, headers=place), 202)
        assert offset_of(answer) == start + len(chunk)


@pytest.mark.parametrize(("size", "step"), [(1 * MIB, 200_000), (40 * MIB + 17, 9 * MIB)])
def test_chunks_go_round_through_three_nodes(start: Start, size: int, step: int) -> None:
    """A small blob, and one of several parts, with the tail between nodes; each node shows the same afterwards."""
    nodes = [start().client() for _ in range(NODES)]
    blob = os.urandom(size)
    digest = Digest.of(blob)
    location = expect(nodes[0].post("/v2/round/app/blobs/uploads/"), 202).headers["location"]
    send_in_turns(nodes, location, blob, step)
    for node in nodes:
        assert offset_of(expect(node.get(location), 204)) == size
    for node in nodes:
        # Repeated as after a lost answer, and elsewhere: 201 again.
        expect(node.put(f"{location}?digest={digest}"), 201)
    for node in nodes:
        assert node.get(f"/v2/round/app/blobs/{digest}").content == blob
        part = node.get(f"/v2/round/app/blobs/{digest}", headers={"range": f"bytes={size - 100}-"})
        assert (part.status_code, part.content) == (206, blob[-100:])
        node.close()


class Interrupted(threading.Thread):
    """A client in the middle of a request when its server dies."""

    def __init__(self, node: Registry, rng: random.Random) -> None:
        super().__init__()
        self.blob = rng.randbytes(rng.randrange(MIB, 24 * MIB))
        self.location = ""
        self._first = rng.randrange(len(self.blob) // 2)
        self._node = node
        self._dead = threading.Event()
        self.half_way = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """One request that ends, and one that does not."""
        try:
            with self._node.client() as client:
                path = "/v2/killed/app/blobs/uploads/"
                self.location = expect(client.post(path), 202).headers["location"]
                expect(client.patch(self.location, content=self.blob[: self._first]), 202)
                with pytest.raises(httpx2.TransportError):
                    client.patch(self.location, content=self._body())
        except BaseException as error:
            self.failure = error
        finally:
            self.half_way.set()

    def died(self) -> None:
        """The server is gone."""
        self._dead.set()
        self.join()
        assert self.failure is None, self.failure

    def _body(self) -> Iterator[bytes]:
        rest = self.blob[self._first :]
        half = len(rest) // 2
        for start in range(0, half, 64 * 1024):
            yield rest[start : min(start + 64 * 1024, half)]
        self.half_way.set()
        assert self._dead.wait(60)
        yield rest[half:]


@pytest.mark.slow
@pytest.mark.timeout(600 + 20 * KILLS)
def test_a_killed_node_loses_nothing_that_another_one_takes_over(start: Start, versitygw: S3Service) -> None:
    """CR-01, CR-41: `kill -9` in the middle of requests; the clients ask another node where their uploads stand, and go
    on there."""
    rng = random.Random(7)
    nodes = [start(), start()]
    for _ in range(KILLS):
        clients = [Interrupted(nodes[0], rng) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            assert client.half_way.wait(60)
        nodes[0].kill()
        for client in clients:
            client.died()
        nodes = [nodes[1], start()]
        with nodes[0].client() as other:
            for client in clients:
                finish(other, client.location, client.blob)
                digest = Digest.of(client.blob)
                assert other.get(f"/v2/killed/app/blobs/{digest}").content == client.blob
    stop_and_look(nodes, versitygw)


def finish(client: httpx2.Client, location: str, blob: bytes) -> None:
    """Go on as the specification says: ask where it stands, and send the rest. The dead holder's lease ends first."""
    offset = 0

    def goes_on() -> bool:
        nonlocal offset
        offset = offset_of(expect(client.get(location), 204))
        place = {"content-range": f"{offset}-{len(blob) - 1}"}
        answer = client.patch(location, content=blob[offset:], headers=place)
        assert answer.status_code in {202, 409}, answer.text
        return answer.status_code == 202

    wait_until(goes_on, what="the end of the lease")
    expect(client.put(f"{location}?digest={Digest.of(blob)}"), 201)


def stop_and_look(nodes: list[Registry], versitygw: S3Service) -> None:
    """I8: nothing is left at the service but what is stored."""
    for node in nodes:
        assert node.stop() == 0
    bucket = f"bucket-{versitygw.buckets}"
    assert versitygw.multiparts(bucket) == []
    tails = [key for key in versitygw.keys(bucket) if ".tail." in key]
    assert tails == []


def test_a_server_that_stops_keeps_what_arrived(start: Start) -> None:
    """CR-42: an upload whose request was cut off at the stop goes on elsewhere, from all bytes that came."""
    first, second = start("--drain-timeout-s", "0"), start()
    blob = os.urandom(3 * MIB)
    with first.client() as client, second.client() as other:
        location = expect(client.post("/v2/stopped/app/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=blob[:MIB]), 202)
        assert first.stop() == 0
        finish(other, location, blob)
        assert other.get(f"/v2/stopped/app/blobs/{Digest.of(blob)}").content == blob


def test_a_pull_is_sent_to_the_service_where_that_is_wanted(start: Start, versitygw: S3Service) -> None:
    """307 with a URL that works without credentials, Range included; HEAD stays here; nothing of it is in the log."""
    node = start("--storage-redirect", "--log-format", "json", "--log-level", "debug")
    image = Image.random("sent/app", "latest", random.Random(3))
    with node.client() as client:
        Pusher(client).push(image, way="stream")
        digest = Digest.of(image.blobs[1])
        path = f"/v2/{image.name}/blobs/{digest}"
        answer = expect(client.get(path), 307)
        assert answer.headers["docker-content-digest"] == str(digest)
        assert answer.headers["cache-control"] == "no-store"
        url = answer.headers["location"]
        assert url.startswith(versitygw.endpoint) and answer.content == b""
        assert httpx2.get(url).content == image.blobs[1]
        assert httpx2.get(url, headers={"range": "bytes=0-9"}).content == image.blobs[1][:10]
        assert expect(client.head(path), 200).headers["content-length"] == str(len(image.blobs[1]))
        expect(client.get(path, headers={"if-none-match": f'"{digest}"'}), 304)
        expect(client.get(f"/v2/{image.name}/blobs/{Digest.of(b'none')}"), 404)
        with httpx2.Client(base_url=node.url, follow_redirects=True) as following:
            pull_whole(following, image)
    assert "X-Amz-Signature" not in node.output()


def test_clients_of_some_networks_get_blobs_from_the_registry(start: Start) -> None:
    node = start("--storage-redirect", "--storage-redirect-except", "127.0.0.0/8", "--trusted-proxies", "127.0.0.1/32")
    image = Image.random("kept/app", "latest", random.Random(3))
    with node.client() as client:
        Pusher(client).push(image, way="put")
        path = f"/v2/{image.name}/blobs/{Digest.of(image.blobs[1])}"
        assert expect(client.get(path), 200).content == image.blobs[1]
        expect(client.get(path, headers={"x-forwarded-for": "192.0.2.1"}), 307)


@pytest.mark.parametrize(
    ("storage", "env", "told"),
    [
        ("s3://no-such-bucket/?endpoint={endpoint}", {}, "the bucket does not exist (see storage)"),
        ("s3://{bucket}/?endpoint=http://127.0.0.1:9", {}, "see endpoint= in storage"),
        ("s3://{bucket}/?endpoint={endpoint}", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "see s3_secret_access_key_file"),
        ("s3://{bucket}/?endpoint={endpoint}", {"AWS_ACCESS_KEY_ID": "nobody"}, "see s3_access_key_id"),
        (
            "s3://{bucket}/?endpoint={endpoint}",
            {"DEPOTRY_S3_ACCESS_KEY_ID": "a", "DEPOTRY_S3_SECRET_ACCESS_KEY_FILE": "/no/such/file"},
            "/no/such/file: No such file or directory (see --s3-secret-access-key-file)",
        ),
        ("s3://{bucket}/?endpoint=https://127.0.0.1:9&ca_file=/no/such/file", {}, "storage: ca_file /no/such/file"),
        ("s3://{bucket}/?endpoint={endpoint}&adressing=path", {}, "--storage: 'adressing' is not an option"),
    ],
)
def test_wrong_settings_refuse_to_start_with_a_line(
    versitygw: S3Service, tmp_path: Path, storage: str, env: dict[str, str], told: str
) -> None:
    """CR-24: within seconds, naming the setting; and nothing is made of it."""
    bucket = versitygw.new_bucket()
    url = storage.format(bucket=bucket, endpoint=versitygw.endpoint)
    with pytest.raises(AssertionError) as caught:
        Registry.start(tmp_path / "data", "--storage", url, env=versitygw.env() | env)
    lines = [line for line in str(caught.value).splitlines() if "depotry: " in line]
    assert len(lines) == 1 and told in lines[0], str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert versitygw.keys(bucket) == {}


def test_a_bucket_that_is_emptied_or_not_ours_is_refused(start: Start, versitygw: S3Service) -> None:
    """CR-14: a database never goes on with the content of another one, nor with none."""
    node = start()
    with node.client() as client:
        Pusher(client).push_blob("here/app", b"content", way="whole")
    node.stop()
    bucket = f"bucket-{versitygw.buckets}"
    for key in versitygw.keys(bucket):
        versitygw.client.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(AssertionError, match="is empty or not mounted"):
        start()
    assert versitygw.keys(bucket) == {}


def test_i7_everything_sent_once_more_is_one_blob(start: Start, versitygw: S3Service) -> None:
    """A client that lost the answer to its last chunk sends the whole blob with its PUT. What was begun is given up,
    and its rest collected."""
    node = start("--removal-grace-s", "0", "--collect-interval-s", "1")
    with node.client() as client:
        for size in (50_000, 20 * MIB):
            blob = os.urandom(size)
            location = expect(client.post("/v2/twice/app/blobs/uploads/"), 202).headers["location"]
            expect(client.patch(location, content=blob), 202)
            for _ in range(2):
                expect(client.put(f"{location}?digest={Digest.of(blob)}", content=blob), 201)
            assert client.get(f"/v2/twice/app/blobs/{Digest.of(blob)}").content == blob
    bucket = f"bucket-{versitygw.buckets}"
    wait_until(
        lambda: sorted(versitygw.keys(bucket, "registry/objects/").values()) == [50_000, 20 * MIB], what="no rest"
    )
    assert versitygw.multiparts(bucket) == []
