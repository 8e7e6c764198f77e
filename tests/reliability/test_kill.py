"""I1, I7, I9: `kill -9` at random moments takes nothing that was acknowledged."""

import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2
import pytest

from registry.core.digest import Digest
from tests.reliability.client import LOST, WAYS, Image, Pusher, expect, offset_of, pull_whole
from tests.reliability.raw import Raw
from tests.running import Registry, wait_until

PUSHES = 50
AT_ONCE = 5
READY_LIMIT_S = 3.0
MOMENTS_S = (0.0, 0.25)
"""When the server is killed, counted from the first request of a round."""

Start = Callable[..., Registry]


class Attempt(threading.Thread):
    """One client that pushes one image until the server dies."""

    def __init__(self, registry: Registry, image: Image, way: str) -> None:
        super().__init__()
        self.registry = registry
        self.image = image
        self.way = way
        self.acknowledged = False
        self.failure: BaseException | None = None
        self.uploads: dict[str, bytes] = {}
        self.stored: list[tuple[str, bytes]] = []

    def run(self) -> None:
        """Push, and note whether the last answer came."""
        try:
            with self.registry.client() as client:
                Pusher(client, self.uploads, self.stored).push(self.image, way=self.way)
                self.acknowledged = True
        except LOST:
            pass
        except BaseException as error:
            self.failure = error


@dataclass
class Promises:
    """What the server owes, over all of its lives."""

    images: list[Image] = field(default_factory=list)
    blobs: list[tuple[str, bytes]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def take(self, attempts: list[Attempt]) -> None:
        """Add what was acknowledged before the server died."""
        for attempt in attempts:
            assert attempt.failure is None, attempt.failure
            self.blobs += attempt.stored
            self.images += [attempt.image] if attempt.acknowledged else []
            self.outcomes["acknowledged" if attempt.acknowledged else "interrupted"] += 1

    def check(self, client: httpx2.Client) -> None:
        """I1: every image pulls whole, and every blob whose 201 came is there."""
        for image in self.images:
            pull_whole(client, image)
        for name, blob in self.blobs:
            assert expect(client.get(f"/v2/{name}/blobs/{Digest.of(blob)}"), 200).content == blob


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_fifty_pushes_survive_kills(start_registry: Start) -> None:
    """I1, I7, I9, CR-41: every acknowledged image pulls whole after each restart; every interrupted upload goes on
    where the server says that it stands; the interrupted push is repeated and succeeds."""
    seed = int(os.environ.get("DEPOTRY_TESTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"to repeat this: DEPOTRY_TESTS_SEED={seed}")
    rng = random.Random(seed)
    promises = Promises()
    ready_s: list[float] = []
    registry = start_registry()
    for round_number in range(PUSHES // AT_ONCE):
        attempts = push_until_killed(registry, round_number, rng)
        promises.take(attempts)
        registry = restarted(registry, start_registry, ready_s)
        with registry.client() as client:
            promises.check(client)
            for attempt in attempts:
                go_on(client, attempt, promises)
    print(f"{dict(promises.outcomes)}, ready after {statistics.median(ready_s):.2f} s (median)")
    assert promises.outcomes["resumed"] > 0, "no upload was interrupted: the kills came at the wrong time"
    assert promises.outcomes["interrupted"] >= PUSHES // AT_ONCE, "hardly a push was in flight at the kills"
    assert statistics.median(ready_s) <= READY_LIMIT_S


def push_until_killed(registry: Registry, round_number: int, rng: random.Random) -> list[Attempt]:
    """Several pushes at once, and SIGKILL at a random moment of them."""
    images = [Image.random("killed/app", f"{round_number}-{number}", rng) for number in range(AT_ONCE)]
    attempts = [Attempt(registry, image, rng.choice(WAYS)) for image in images]
    moment = rng.uniform(*MOMENTS_S)
    for attempt in attempts:
        attempt.start()
    time.sleep(moment)
    registry.kill()
    for attempt in attempts:
        attempt.join()
    return attempts


def restarted(registry: Registry, start_registry: Start, ready_s: list[float]) -> Registry:
    """A new process on the same data; adds the time from its start to a 200 of /readyz."""
    began_s = time.monotonic()
    again = start_registry(data=registry.data)
    wait_until(lambda: httpx2.get(f"{again.url}/readyz").status_code == 200, what="readiness")
    ready_s.append(time.monotonic() - began_s)
    return again


def go_on(client: httpx2.Client, attempt: Attempt, promises: Promises) -> None:
    """Bring everything that was interrupted to its end: first its uploads, then the whole push, again."""
    pusher = Pusher(client, attempt.uploads)
    for number, location in enumerate(list(attempt.uploads)):
        offset = pusher.resume(location, ask=("status", "416")[number % 2])
        promises.outcomes["resumed" if offset > 0 else "began again" if offset == 0 else "was finished"] += 1
    if not attempt.acknowledged:
        pusher.push(attempt.image, way=attempt.way)
        pull_whole(client, attempt.image)
        promises.images.append(attempt.image)
    promises.blobs += pusher.stored


@pytest.mark.slow
@pytest.mark.parametrize("head", ["PATCH", "PATCH with a place", "PUT"])
def test_cr_41_an_upload_goes_on_after_each_of_several_kills(start_registry: Start, head: str) -> None:
    """I7, CR-41: one blob, three kills in the middle of its body; no start forgets what had been written before, and
    the bytes of four processes have the right digest in the end."""
    blob = random.Random(41).randbytes(16_000_000)
    registry = start_registry()
    uploads: dict[str, bytes] = {}
    with registry.client() as client:
        location = Pusher(client, uploads).start("killed/often", blob)
    offset = 0
    for _ in range(3):
        written = send_and_kill(registry, location, (head, blob, offset))
        registry = start_registry(data=registry.data)
        with registry.client() as client:
            now = offset_of(expect(client.get(location), 204))
        assert now >= written > offset
        offset = now
    with registry.client() as client:
        assert Pusher(client, uploads).resume(location, ask="416") == offset


def send_and_kill(registry: Registry, location: str, what: tuple[str, bytes, int]) -> int:
    """Send the next 4 MB of a body that does not end, and kill the server when some of it is in the upload's file;
    returns the length of that file."""
    head, blob, offset = what
    file = registry.data / "blobs" / "uploads" / location.rpartition("/")[2]
    place = [f"Content-Range: {offset}-{len(blob) - 1}"] if head == "PATCH with a place" else []
    line = f"PUT {location}?digest={Digest.of(blob)}" if head == "PUT" else f"PATCH {location}"
    with Raw(registry.port) as raw:
        raw.request(line, f"Content-Length: {len(blob) - offset}", *place, body=blob[offset : offset + 4_000_000])
        wait_until(lambda: file.stat().st_size > offset, what="bytes on the disk")
        registry.kill()
    return file.stat().st_size
