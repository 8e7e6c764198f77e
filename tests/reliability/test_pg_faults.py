"""CR-15: a connection to PostgreSQL that is cut at each message of each endpoint, before and after it was passed on."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from registry.api.accounts import LOGIN_ROUTES
from registry.api.v2.routes import ROUTES
from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.backends.postgresql import OWNER, Cluster
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.pg_proxy import PgProxy
from tests.running import ADMIN_PASSWORD, STILL, Registry, wait_until
from tests.services.test_many_writers import BROKEN

CUTS = 25
"""Cut points of one endpoint, each before and after passing on; where there are more messages, drawn from them."""
MESSAGES_MAX = 2_000
AUTH = ("admin", ADMIN_PASSWORD)
NAME = "team/app"
POOL = 4
RETRIES = 5

Send = Callable[[httpx2.Client], httpx2.Response]


@dataclass
class World:
    """A server behind a proxy, and an image that is there."""

    registry: Registry
    proxy: PgProxy
    client: httpx2.Client
    image: Image
    cluster: Cluster
    database: str
    numbers: Iterator[int]

    def fresh(self) -> bytes:
        """Content that was never pushed."""
        return f"content {next(self.numbers)}".encode()

    def blob(self) -> bytes:
        """A new blob of the repository; returns its content."""
        content = self.fresh()
        expect(self.client.post(f"/v2/{NAME}/blobs/uploads/?digest={Digest.of(content)}", content=content), 201)
        return content

    def upload(self, content: bytes = b"") -> str:
        """An open upload that has these bytes; returns where it is."""
        place = str(expect(self.client.post(f"/v2/{NAME}/blobs/uploads/"), 202).headers["location"])
        if content:
            expect(self.client.patch(place, content=content), 202)
        return place

    def manifest(self, *tags: str) -> bytes:
        """A new manifest of the blobs of the image, under these tags; returns its bytes."""
        payload = self.made_up()
        for tag in tags or (str(Digest.of(payload)),):
            expect(put(NAME, tag, payload)(self.client), 201)
        return payload

    def made_up(self) -> bytes:
        """The bytes of a manifest that was never pushed."""
        noted = b'{"annotations":{"n":"%d"},' % next(self.numbers)
        return noted + self.image.manifest[1:]


@dataclass(frozen=True)
class Case:
    """One endpoint: the request, what it answers when all is well, and the same again after it did not answer."""

    label: str
    method: str
    kind: str
    make: Callable[[World], tuple[Send, Send | None]]
    """Prepares; returns the request, and one that shows that it has done what it says."""
    good: tuple[int, ...]
    again: tuple[int, ...] = ()
    """Other answers that a repetition may get, where the first one has done it."""


def put(name: str, reference: str, payload: bytes) -> Send:
    """PUT of a manifest."""
    headers = {"content-type": OCI_MANIFEST}
    return lambda client: client.put(f"/v2/{name}/manifests/{reference}", content=payload, headers=headers)


def get(path: str) -> Send:
    """GET."""
    return lambda client: client.get(path)


def head(path: str) -> Send:
    """HEAD."""
    return lambda client: client.head(path)


def delete(path: str) -> Send:
    """DELETE."""
    return lambda client: client.delete(path)


def whole(content: bytes, name: str = NAME) -> tuple[Send, Send]:
    """A blob in one request, and the look at it."""
    digest = Digest.of(content)
    path = f"/v2/{name}/blobs/uploads/?digest={digest}"
    return lambda client: client.post(path, content=content), get(f"/v2/{name}/blobs/{digest}")


def pushed_manifest(world: World) -> tuple[Send, Send]:
    """Under a new tag."""
    payload, tag = world.made_up(), f"t{next(world.numbers)}"
    return put(NAME, tag, payload), get(f"/v2/{NAME}/manifests/{tag}")


def first_push(world: World) -> tuple[Send, Send]:
    """A blob into a repository that is made by it."""
    return whole(world.fresh(), f"team/new{next(world.numbers)}")


def mounted(world: World) -> tuple[Send, Send]:
    """A blob of another repository."""
    digest, target = Digest.of(world.blob()), f"team/other{next(world.numbers)}"
    path = f"/v2/{target}/blobs/uploads/?mount={digest}&from={NAME}"
    return lambda client: client.post(path), get(f"/v2/{target}/blobs/{digest}")


def chunk(world: World) -> tuple[Send, None]:
    """The first chunk of an upload, with its place."""
    place, content = world.upload(), world.fresh()
    headers = {"content-range": f"0-{len(content) - 1}"}
    return lambda client: client.patch(place, content=content, headers=headers), None


def finished(world: World) -> tuple[Send, Send]:
    """The last request of an upload."""
    content = world.fresh()
    place, digest = world.upload(content), Digest.of(content)
    return lambda client: client.put(f"{place}?digest={digest}"), get(f"/v2/{NAME}/blobs/{digest}")


def digest_of(world: World) -> str:
    """The digest of the image's manifest."""
    return str(Digest.of(world.image.manifest))


Made = tuple[Send, Send | None]


def simply(send: Send) -> Callable[[World], Made]:
    """A request that needs nothing."""
    return lambda _world: (send, None)


def referrers(world: World) -> Made:
    """Of the image."""
    return get(f"/v2/{NAME}/referrers/{digest_of(world)}"), None


def by_digest(world: World) -> Made:
    """The image's manifest."""
    return head(f"/v2/{NAME}/manifests/{digest_of(world)}"), None


def doomed_tag(world: World) -> Made:
    """The delete of a new one."""
    tag = f"d{next(world.numbers)}"
    world.manifest(tag)
    return delete(f"/v2/{NAME}/manifests/{tag}"), None


def doomed_manifest(world: World) -> Made:
    """The delete of one with a tag."""
    payload = world.manifest(f"d{next(world.numbers)}")
    return delete(f"/v2/{NAME}/manifests/{Digest.of(payload)}"), None


def old_blob(world: World) -> Made:
    """One of the image's."""
    return get(f"/v2/{NAME}/blobs/{Digest.of(world.image.blobs[0])}"), None


def new_blob(world: World) -> Made:
    """The look at one that no manifest uses."""
    return head(f"/v2/{NAME}/blobs/{Digest.of(world.blob())}"), None


def doomed_blob(world: World) -> Made:
    """The delete of one that no manifest uses."""
    return delete(f"/v2/{NAME}/blobs/{Digest.of(world.blob())}"), None


def begin(client: httpx2.Client) -> httpx2.Response:
    """POST of an upload."""
    return client.post(f"/v2/{NAME}/blobs/uploads/")


TOKEN = f"/token?scope=repository:{NAME}:pull&offline_token=true"
CASES = (
    Case("ping", "GET", "ping", simply(get("/v2/")), (200,)),
    Case("catalog", "GET", "catalog", simply(get("/v2/_catalog")), (200,)),
    Case("tags", "GET", "tags", simply(get(f"/v2/{NAME}/tags/list")), (200,)),
    Case("referrers", "GET", "referrers", referrers, (200,)),
    Case("manifest by tag", "GET", "manifest", simply(get(f"/v2/{NAME}/manifests/v1")), (200,)),
    Case("manifest by digest", "HEAD", "manifest", by_digest, (200,)),
    Case("push of a manifest", "PUT", "manifest", pushed_manifest, (201,)),
    Case("delete of a tag", "DELETE", "manifest", doomed_tag, (202,), (404,)),
    Case("delete of a manifest", "DELETE", "manifest", doomed_manifest, (202,), (404,)),
    Case("blob", "GET", "blob", old_blob, (200,)),
    Case("look at a blob", "HEAD", "blob", new_blob, (200,)),
    Case("delete of a blob", "DELETE", "blob", doomed_blob, (202,), (404,)),
    Case("begin of an upload", "POST", "uploads", simply(begin), (202,)),
    Case("whole blob", "POST", "uploads", lambda world: whole(world.fresh()), (201,)),
    Case("first push", "POST", "uploads", first_push, (201,)),
    Case("mount", "POST", "uploads", mounted, (201,)),
    Case("chunk", "PATCH", "upload", chunk, (202,), (416,)),
    Case("end of an upload", "PUT", "upload", finished, (201,)),
    Case("status of an upload", "GET", "upload", lambda world: (get(world.upload(b"x")), None), (204,)),
    Case("end without a blob", "DELETE", "upload", lambda world: (delete(world.upload(b"x")), None), (204,), (404,)),
    Case("login", "GET", "token", simply(get(TOKEN)), (200,)),
)


def test_every_endpoint_is_cut() -> None:
    """None is forgotten."""
    cut = {(case.method, case.kind) for case in CASES}
    reads = {("HEAD", kind) for _, kind in cut} | {("GET", kind) for _, kind in cut}
    assert {(route.method, route.kind) for route in ROUTES} <= cut | reads
    assert any(route.spec_id == "token" for route in LOGIN_ROUTES)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[World]:
    """One for all endpoints; at the end everything has to fit, and nothing to be left behind."""
    name = cluster.empty()
    proxy = PgProxy(cluster.port)
    flags = ("--database-pool", str(POOL), *STILL)
    data = tmp_path_factory.mktemp("faults") / "data"
    registry = Registry.start(data, *flags, is_open=False, database=proxy.url(name, OWNER))
    image = Image.random(NAME, "v1", random.Random(0))
    with registry.client(AUTH) as client:
        Pusher(client).push(image, way="put")
        found = World(registry, proxy, client, image, cluster, name, itertools.count(1))
        try:
            yield found
            nothing_is_left(found)
        finally:
            proxy.close()
            registry.kill()
            cluster.drop(name)


def nothing_is_left(world: World) -> None:
    """I8: no more connections than were allowed, none in a transaction, and no row that does not fit."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND state <> 'idle'"
    open_now = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'depotry'"
    with world.cluster.connect(world.database) as connection:

        def number(query: str) -> int:
            row = connection.execute(query.encode(), [world.database]).fetchone()
            assert row is not None
            return int(row[0])

        wait_until(lambda: number(busy) == 0, what="the end of all transactions")
        assert number(open_now) <= POOL + 1
        for what, query in BROKEN.items():
            if "organization" not in what and "revisions" not in what:
                assert connection.execute(query.encode()).fetchall() == [], what
    assert "a request failed" not in world.registry.output()


def in_time(send: Send, client: httpx2.Client) -> httpx2.Response:
    """The answer after at most a few that say to come again."""
    for _ in range(RETRIES):
        answer = send(client)
        if answer.status_code != 503:
            return answer
    raise AssertionError(f"still 503 after {RETRIES} tries: {answer.text}")


def cut_once(world: World, case: Case, at: int, *, passes: bool) -> str | None:
    """One request whose connection is cut; returns the message, None if the request had fewer."""
    send, look = case.make(world)
    cut = world.proxy.arm(at, passes=passes)
    first = send(world.client)
    world.proxy.disarm()
    where = f"{case.label}, message {at} ({cut.kind}), {'after' if passes else 'before'}"
    assert first.status_code in (*case.good, 503), f"{where}: {first.status_code} {first.text}"
    if first.status_code == 503:
        assert int(first.headers["retry-after"]) > 0, where
        again = in_time(send, world.client)
        assert again.status_code in (*case.good, *case.again), f"{where}, again: {again.status_code} {again.text}"
    if look is not None:
        assert in_time(look, world.client).status_code == 200, where
    return cut.kind or None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label.replace(" ", "-"))
def test_a_cut_connection_changes_nothing_by_half(world: World, case: Case) -> None:
    """I1, I6, I7: the answer is what it would have been, and holds, or 503; a repetition gets there; never 404 for what
    is there."""
    sends, _ = case.make(world)
    counted = world.proxy.arm(MESSAGES_MAX, passes=True)
    assert sends(world.client).status_code in case.good
    world.proxy.disarm()
    total = counted.seen
    # Not evenly: the messages of a statement repeat.
    drawn = random.Random(case.label).sample(range(1, total + 1), k=min(total, CUTS))
    kinds: Counter[str] = Counter()
    for at in drawn:
        for passes in (False, True):
            kind = cut_once(world, case, at, passes=passes)
            kinds[kind or "none"] += 1
    print(f"{case.label}: {total} messages, cut at {dict(kinds)}")
