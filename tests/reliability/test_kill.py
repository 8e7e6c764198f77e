"""I1, I7, I9: `kill -9` at random moments takes nothing that was acknowledged."""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx2
import pytest

from tests.reliability.client import LOST, Image, Pusher, pull_whole
from tests.running import Registry, wait_until

PUSHES = 50
AT_ONCE = 5
WAYS = ("whole", "put", "stream", "chunks")
READY_LIMIT_S = 3.0
ANSWERS_OF_A_ROUND = 60


class Attempt(threading.Thread):
    """One client that pushes one image until the server dies."""

    def __init__(self, registry: Registry, image: Image, way: str) -> None:
        super().__init__()
        self.answers = 0
        self.registry = registry
        self.image = image
        self.way = way
        self.acknowledged = False
        self.failure: BaseException | None = None
        self.uploads: dict[str, bytes] = {}

    def run(self) -> None:
        """Push, and note whether the last answer came."""
        try:
            with self.registry.client() as client:
                client.event_hooks = {"response": [self.count]}
                pusher = Pusher(client, self.uploads)
                pusher.push(self.image, way=self.way)
                self.acknowledged = True
        except LOST:
            pass
        except BaseException as error:
            self.failure = error

    def count(self, _response: httpx2.Response) -> None:
        """An answer came."""
        self.answers += 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_fifty_pushes_survive_kills(start_registry: Callable[..., Registry]) -> None:
    """Every acknowledged image pulls whole after each restart; every interrupted upload goes on where it says."""
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    acknowledged: list[Image] = []
    outcomes: Counter[str] = Counter()
    ready_s: list[float] = []
    registry = start_registry()
    for round_number in range(PUSHES // AT_ONCE):
        attempts = [new_attempt(registry, f"{round_number}-{number}", rng) for number in range(AT_ONCE)]
        for attempt in attempts:
            attempt.start()
        # Counted in answers, not in time: a busy machine would otherwise be killed before anybody has begun.
        moment = rng.randrange(1, ANSWERS_OF_A_ROUND)
        wait_until(lambda attempts=attempts, moment=moment: has_come(attempts, moment))  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.01))
        registry.kill()
        for attempt in attempts:
            attempt.join()
            assert attempt.failure is None, attempt.failure
        started = time.monotonic()
        registry = start_registry(data=registry.data)
        assert httpx2.get(f"{registry.url}/readyz").status_code == 200
        ready_s.append(time.monotonic() - started)
        acknowledged += [attempt.image for attempt in attempts if attempt.acknowledged]
        outcomes["acknowledged"] += sum(attempt.acknowledged for attempt in attempts)
        check(registry, acknowledged, attempts, outcomes)
    print(f"{dict(outcomes)}, ready after {statistics.median(ready_s):.2f} s (median)")
    assert outcomes["resumed"] > 0, "no upload was interrupted: the kills came at the wrong time"
    assert outcomes["acknowledged"] > 0, "no image was acknowledged: the kills came at the wrong time"
    # The quickest, because the other tests keep the machine busy.
    assert min(ready_s) <= READY_LIMIT_S


def has_come(attempts: list[Attempt], moment: int) -> bool:
    """Whether so many answers came, or all that there will be."""
    return sum(attempt.answers for attempt in attempts) >= moment or not any(map(Attempt.is_alive, attempts))


def new_attempt(registry: Registry, tag: str, rng: random.Random) -> Attempt:
    """An image nobody has pushed, by one of the ways."""
    return Attempt(registry, Image.random("killed/app", tag, rng), rng.choice(WAYS))


def check(registry: Registry, acknowledged: list[Image], attempts: list[Attempt], outcomes: Counter[str]) -> None:
    """Everything that was promised, and then what was interrupted is brought to its end."""
    with registry.client() as client:
        for image in acknowledged:
            pull_whole(client, image)
        for attempt in attempts:
            for location in list(attempt.uploads):
                outcomes[Pusher(client, attempt.uploads).resume(location)] += 1
            if not attempt.acknowledged:
                Pusher(client).push(attempt.image, way="put")
                acknowledged.append(attempt.image)
                pull_whole(client, attempt.image)
