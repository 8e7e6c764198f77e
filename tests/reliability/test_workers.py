"""Several workers on one machine: any of them takes any request, and one that dies takes nothing along.

CR-05, CR-41, CR-42, SEC-024; I1, I5, I7, I9.
"""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from registry.core.access import TokenScope
from registry.core.digest import Digest
from tests.reliability.client import CHUNK, LOST, Image, Pusher, expect, pull_whole
from tests.reliability.hub import ADMIN, Desk, Headers, basic, bearer, token_of
from tests.running import Registry, wait_until

WORKERS = 4
CLIENTS = 32
WAYS = ("whole", "put", "stream", "chunks")
KILL_EVERY_S = 0.5
IMAGES_EACH = 3
TRIES = 50

StartRegistry = Callable[..., Registry]


def workers_of(registry: Registry) -> list[int]:
    """The process ids of the living workers."""
    pid = registry.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@contextmanager
def clients_of_all(registry: Registry) -> Iterator[list[httpx2.Client]]:
    """A client at each worker. New connections go to who has the fewest, so a few more than that meet all of them."""
    with ExitStack() as stack:
        found: dict[str, httpx2.Client] = {}
        for _ in range(TRIES):
            client = stack.enter_context(registry.client())
            path = f"/whose/{os.urandom(8).hex()}"
            expect(client.get(path), 404)
            wait_until(lambda path=path: bool(who_answered(registry, path)))  # type: ignore[misc]
            [worker] = who_answered(registry, path)
            found.setdefault(worker, client)
            if len(found) == WORKERS:
                break
        yield list(found.values())


def who_answered(registry: Registry, path: str) -> Counter[str]:
    """How many requests to a path each worker has logged."""
    return Counter(line["worker"] for line in registry.log_lines() if line.get("path") == path)


@dataclass
class Persistent(threading.Thread):
    """A client that pushes images, and after anything goes on as the specification says."""

    registry: Registry
    number: int
    rng: random.Random
    acknowledged: list[Image] = field(default_factory=list)
    lost: int = 0
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Push all, and keep what went wrong for the test."""
        try:
            for tag in range(IMAGES_EACH):
                image = Image.random(f"crowd/app{self.number % 8}", f"{self.number}-{tag}", self.rng)
                self.push(image, self.rng.choice(WAYS))
                self.acknowledged.append(image)
        except BaseException as error:
            self.failure = error

    def push(self, image: Image, way: str) -> None:
        """Until all of it is acknowledged: open uploads go on where the server says that they stand."""
        uploads: dict[str, bytes] = {}
        for _ in range(TRIES):
            with self.registry.client() as client:
                pusher = Pusher(client, uploads)
                try:
                    for location in list(uploads):
                        pusher.resume(location)
                    pusher.push(image, way=way)
                except LOST:
                    self.lost += 1
                else:
                    return
        raise AssertionError("the push did not come through")


def push_in_a_crowd(registry: Registry, disturb: Callable[[], None]) -> tuple[list[Image], int]:
    """All clients push while something goes on again and again; returns what was acknowledged, and how many
    connections were lost."""
    rng = random.Random(random.SystemRandom().randrange(2**32))
    crowd = [Persistent(registry, number, random.Random(rng.random())) for number in range(CLIENTS)]
    for client in crowd:
        client.start()
    while any(client.is_alive() for client in crowd):
        disturb()
        time.sleep(KILL_EVERY_S)
    for client in crowd:
        client.join()
        assert client.failure is None, client.failure
    return [image for client in crowd for image in client.acknowledged], sum(client.lost for client in crowd)


def require_whole(registry: Registry, images: list[Image]) -> None:
    """Each one pulls, byte for byte, and no request has failed but for what a client can repeat."""
    with clients_of_all(registry) as clients:
        for number, image in enumerate(images):
            pull_whole(clients[number % WORKERS], image)
    failed = [line for line in registry.log_lines() if line.get("status", 0) >= 500 and line["status"] != 503]
    assert failed == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_two_clients_push_while_workers_are_killed(start_registry: StartRegistry) -> None:
    """CR-05: one of four is killed each half second; what got 201 is there, and what was interrupted goes on."""
    registry = start_registry("--workers", str(WORKERS))
    kills = 0

    def kill_one() -> None:
        nonlocal kills
        wait_until(lambda: bool(workers_of(registry)))
        os.kill(random.choice(workers_of(registry)), signal.SIGKILL)
        kills += 1

    images, lost = push_in_a_crowd(registry, kill_one)
    print(f"{kills} kills, {lost} connections lost, {len(images)} images")
    assert len(images) == CLIENTS * IMAGES_EACH
    assert kills >= 3 and lost > 0
    wait_until(lambda: len(workers_of(registry)) == WORKERS, what="all workers")
    require_whole(registry, images)
    assert registry.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_two_clients_push_while_workers_are_replaced(start_registry: StartRegistry) -> None:
    """CR-41: workers are replaced one by one, over and over; nothing is lost."""
    registry = start_registry("--workers", str(WORKERS))
    before = set(workers_of(registry))
    images, lost = push_in_a_crowd(registry, lambda: registry.process.send_signal(signal.SIGUSR2))
    print(f"{lost} connections lost, {len(images)} images")
    assert len(images) == CLIENTS * IMAGES_EACH
    wait_until(lambda: not before & set(workers_of(registry)), what="new workers")
    require_whole(registry, images)
    assert registry.stop() == 0


def test_an_upload_whose_chunks_meet_different_workers_commits(start_registry: StartRegistry) -> None:
    """I7: the running hash of one is taken over by the next or made again, and a wrong place is refused by each."""
    registry = start_registry("--workers", str(WORKERS))
    with clients_of_all(registry) as clients:
        for size in (WORKERS * CHUNK, 10 * CHUNK + 17):
            blob = os.urandom(size)
            location = expect(clients[0].post("/v2/app/blobs/uploads/"), 202).headers["location"]
            for number, start in enumerate(range(0, size, CHUNK)):
                chunk = blob[start : start + CHUNK]
                place = {"content-range": f"{start}-{start + len(chunk) - 1}"}
                client = clients[(number + 1) % WORKERS]
                expect(client.patch(location, content=chunk, headers=place), 202)
                expect(client.patch(location, content=chunk, headers=place), 416)
            expect(clients[2].put(f"{location}?digest={Digest.of(blob)}"), 201)
            assert expect(clients[3].get(f"/v2/app/blobs/{Digest.of(blob)}"), 200).content == blob
            assert len(who_answered(registry, location)) == WORKERS


def test_only_one_worker_appends_to_an_upload(start_registry: StartRegistry) -> None:
    """CR-33: while one holds it the others say so, and what it holds is not touched."""
    registry = start_registry("--workers", str(WORKERS))
    half = os.urandom(2 << 20)
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield half
        go_on.wait(30)
        yield half

    with clients_of_all(registry) as clients, ThreadPoolExecutor(1) as pool:
        location = expect(clients[0].post("/v2/app/blobs/uploads/"), 202).headers["location"]
        upload = pool.submit(clients[0].patch, location, content=pieces())
        wait_until(lambda: clients[1].get(location).headers["range"] != "0-0", what="the first bytes")
        try:
            for client in clients[1:]:
                expect(client.patch(location, content=b"x"), 409)
                expect(client.put(f"{location}?digest={Digest.of(half)}"), 409)
                expect(client.delete(location), 409)
        finally:
            go_on.set()
        expect(upload.result(), 202)
        expect(clients[3].put(f"{location}?digest={Digest.of(half + half)}"), 201)


def test_a_stop_lets_uploads_at_all_workers_end(start_registry: StartRegistry) -> None:
    """CR-42: readiness goes off everywhere, what runs is finished, and the exit status says success."""
    registry = start_registry("--workers", str(WORKERS))
    blobs = [os.urandom(2 * CHUNK) for _ in range(WORKERS)]
    halfway = threading.Barrier(WORKERS + 1)
    go_on = threading.Event()

    def pieces(blob: bytes) -> Iterator[bytes]:
        yield blob[:CHUNK]
        halfway.wait(30)
        go_on.wait(30)
        yield blob[CHUNK:]

    with clients_of_all(registry) as clients, clients_of_all(registry) as others, ThreadPoolExecutor(WORKERS) as pool:
        paths = [f"/v2/app/blobs/uploads/?digest={Digest.of(blob)}" for blob in blobs]
        uploads = [
            pool.submit(client.post, path, content=pieces(blob))
            for client, path, blob in zip(clients, paths, blobs, strict=True)
        ]
        halfway.wait(30)
        for client in others:
            assert client.get("/readyz").status_code == 200
        registry.process.send_signal(signal.SIGTERM)
        for client in others:
            wait_until(lambda client=client: client.get("/readyz").status_code == 503)  # type: ignore[misc]
        go_on.set()
        assert [upload.result().status_code for upload in uploads] == [201] * WORKERS
    assert registry.process.wait(30) == 0
    again = start_registry(data=registry.data)
    with again.client() as client:
        for blob in blobs:
            assert client.get(f"/v2/app/blobs/{Digest.of(blob)}").content == blob


def test_a_supervisor_that_is_killed_can_be_started_again_at_once(start_registry: StartRegistry) -> None:
    """I9: no worker is left that holds the port or the data."""
    registry = start_registry("--workers", str(WORKERS))
    image = Image.random("app", "v1", random.Random(0))
    with registry.client() as client:
        Pusher(client).push(image, way="chunks")
    registry.kill()
    ports = ("--port", str(registry.port), "--metrics-port", str(registry.metrics_port))
    again = start_registry(*ports, "--workers", str(WORKERS), data=registry.data)
    with again.client() as client:
        pull_whole(client, image)


@dataclass
class Person:
    """Somebody with a password and a personal token."""

    password: Headers
    token: Headers
    token_id: int


@contextmanager
def a_house(start_registry: StartRegistry) -> Iterator[tuple[Registry, Person, Desk]]:
    """A closed registry with several workers, and the user alice."""
    registry = start_registry("--workers", str(WORKERS), "--requests-per-second", "0", is_open=False)
    desk = Desk(registry.data)
    try:
        password = desk.user("alice")
        token_id, secret = desk.personal_token("alice", TokenScope.READ, TokenScope.WRITE)
        yield registry, Person(password, basic("alice", secret), token_id), desk
    finally:
        desk.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_one_worker_has_given_works_at_the_others(start_registry: StartRegistry) -> None:
    """SEC-024: access tokens, personal tokens, uploads and their results, a thousand times."""
    with a_house(start_registry) as (registry, alice, _desk), clients_of_all(registry) as clients:
        scope = "repository:alice/app:pull,push"
        for number in range(1000):
            here, there, elsewhere = (clients[(number + offset) % WORKERS] for offset in range(3))
            shown = alice.token if number % 2 else alice.password
            token = bearer(token_of(here, shown, scope))
            blob = os.urandom(50)
            started = expect(there.post("/v2/alice/app/blobs/uploads/", headers=token), 202)
            location = started.headers["location"]
            expect(elsewhere.patch(location, content=blob, headers=token), 202)
            expect(here.put(f"{location}?digest={Digest.of(blob)}", headers=shown), 201)
            expect(there.head(f"/v2/alice/app/blobs/{Digest.of(blob)}", headers=token), 200)
        assert len(who_answered(registry, "/token")) == WORKERS


def test_what_is_taken_away_is_gone_in_every_worker(start_registry: StartRegistry) -> None:
    """A revoked token and a disabled account, within 5 s in all workers; all of them knew both."""
    with a_house(start_registry) as (registry, alice, desk), clients_of_all(registry) as clients:
        access = [bearer(token_of(client, alice.token)) for client in clients]
        for client, shown in zip(clients, access, strict=True):
            for known in (shown, alice.token, alice.password):
                expect(client.get("/v2/", headers=known), 200)
        began = time.monotonic()
        desk.run(desk.tokens.revoke(alice.token_id, ADMIN))
        for client, shown in zip(clients, access, strict=True):
            for known in (shown, alice.token):
                wait_until(lambda client=client, known=known: client.get("/v2/", headers=known).status_code == 401)  # type: ignore[misc]
            expect(client.get("/v2/", headers=alice.password), 200)
        desk.run(desk.accounts.set_disabled("alice", ADMIN, is_disabled=True))
        for client in clients:
            wait_until(lambda client=client: client.get("/v2/", headers=alice.password).status_code == 401)  # type: ignore[misc]
        assert time.monotonic() - began < 10


def test_the_metrics_are_those_of_all_workers(start_registry: StartRegistry) -> None:
    """They add up to what was sent, and stay when a worker dies; what it was doing does not."""
    registry = start_registry("--workers", str(WORKERS))
    with clients_of_all(registry) as clients:
        for number, client in enumerate(clients):
            for _ in range(10 + number):
                expect(client.get("/v2/missing/tags/list"), 404)
        sent = sum(10 + number for number in range(WORKERS))
        for _ in range(WORKERS):
            assert requests_of(registry, "end-8") == sent
        for pid in workers_of(registry):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(workers_of(registry)) == WORKERS, what="new workers")
    with registry.client() as client:
        expect(client.get("/v2/missing/tags/list"), 404)
    assert requests_of(registry, "end-8") == sent + 1
    assert metric(registry, "depotry_http_requests_running") == 1


def requests_of(registry: Registry, route: str) -> int:
    return int(metric(registry, "depotry_http_requests_total", f'route="{route}"'))


def metric(registry: Registry, name: str, label: str = "") -> float:
    """The sum of all lines of a metric with a label."""
    text = expect(httpx2.get(f"{registry.metrics_url}/metrics"), 200).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name) and label in line)


def test_the_first_start_of_several_workers_makes_one_admin(tmp_path: Path) -> None:
    """One process prepares: one password is shown, once, and one key signs; each worker has it."""
    registry = Registry.start(tmp_path / "data", "--workers", str(WORKERS), "--open")
    registry.kill()
    closed = Registry.start(registry.data, "--workers", str(WORKERS), "--no-open")
    try:
        shown = re.findall(r"^  password  (\S+)$", closed.output(), re.MULTILINE)
        assert len(shown) == 1
        with clients_of_all(closed) as clients:
            for client in clients:
                expect(client.get("/v2/", headers=basic("admin", shown[0])), 200)
    finally:
        closed.kill()


def test_what_keeps_it_from_starting_is_said_once(start_registry: StartRegistry, tmp_path: Path) -> None:
    """One line, exit status 2, and no worker."""
    registry = start_registry(is_open=False)
    registry.kill()
    (registry.data / "secret").unlink()
    with pytest.raises(AssertionError, match="the server ended") as ended:
        start_registry("--workers", str(WORKERS), data=registry.data, is_open=False)
    assert str(ended.value).count("the instance secret") == 1
    assert "Traceback" not in str(ended.value)


def test_a_worker_costs_less_memory_than_a_server(start_registry: StartRegistry) -> None:
    """What was imported is there once for all of them: fresh workers own less than a server alone."""
    alone = start_registry(data=None)
    registry = start_registry("--workers", str(WORKERS), data=alone.data.parent / "shared")
    own = [unique_bytes(pid) for pid in workers_of(registry)]
    print(f"unique MiB: alone {unique_bytes(alone.process.pid) >> 20}, workers {[size >> 20 for size in own]}")
    assert max(own) < 0.75 * unique_bytes(alone.process.pid)


def unique_bytes(pid: int) -> int:
    """Memory that no other process shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(size) * 1024 for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE))
