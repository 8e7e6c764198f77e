"""What one more tag, a page of tags and a manifest cost, by how many tags the repository has already.

Two repositories on one server, with 10 and with 10,000 tags. The work alternates between them round by round, and the
server's own CPU time is what counts. Exits with 1 when a ratio of the medians is over the limit.

    .venv/bin/python bench/growth.py [--tags 10000] [--rounds 9]
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from memory import cpu_seconds  # noqa: E402

from registry.core.digest import Digest  # noqa: E402
from registry.core.manifest import OCI_MANIFEST  # noqa: E402
from tests.reliability.client import Image, Pusher, expect  # noqa: E402
from tests.running import Registry  # noqa: E402

LIMIT = 1.3
SMALL = 10
TAGS_PER_PUSH = 100
REQUESTS = 600
"""A round: enough for the clock of a hundred ticks a second."""

Work = Callable[[httpx2.Client, str, int], httpx2.Response]


def put_tag(client: httpx2.Client, name: str, number: int) -> httpx2.Response:
    """Move one of a few tags, back and forth."""
    image = IMAGES[number % 2]
    headers = {"content-type": OCI_MANIFEST}
    return client.put(f"/v2/{name}/manifests/t00000{number // 2 % 5}", content=image.manifest, headers=headers)


def get_page(client: httpx2.Client, name: str, number: int) -> httpx2.Response:
    """A page of ten: the same work in both, because the small one has no more."""
    return client.get(f"/v2/{name}/tags/list?n={SMALL}&last=t00000")


def get_manifest(client: httpx2.Client, name: str, number: int) -> httpx2.Response:
    """By tag."""
    return client.get(f"/v2/{name}/manifests/t00000{5 + number % 5}")


WORKS: dict[str, Work] = {"PUT tag": put_tag, "page of tags": get_page, "GET manifest": get_manifest}
IMAGES = [Image("", "t000000", [b"{}", bytes([number])]) for number in range(2)]


def prepare(client: httpx2.Client, name: str, tags: int, advance: Callable[[int], None]) -> None:
    """A repository with so many tags, all on the same image."""
    for image in IMAGES:
        Pusher(client).push(Image(name, "t000000", image.blobs), way="whole")
    payload = IMAGES[0].manifest
    for start in range(0, tags, TAGS_PER_PUSH):
        names = [f"t{number:06}" for number in range(start, min(start + TAGS_PER_PUSH, tags))]
        query = "&".join(f"tag={tag}" for tag in names)
        path = f"/v2/{name}/manifests/{Digest.of(payload)}?{query}"
        expect(client.put(path, content=payload, headers={"content-type": OCI_MANIFEST}), 201)
        advance(len(names))


def measure(registry: Registry, client: httpx2.Client, work: Work, name: str) -> float:
    """Milliseconds of the server's CPU time a request."""
    began_s = cpu_seconds(registry)
    for number in range(REQUESTS):
        assert work(client, name, number).status_code in (200, 201)
    return (cpu_seconds(registry) - began_s) / REQUESTS * 1000


def run(registry: Registry, tags: int, rounds: int) -> dict[str, tuple[float, float]]:
    """The medians of each work in the small and in the large repository."""
    taken: dict[tuple[str, str], list[float]] = {}
    with registry.client() as client, Progress() as progress:
        filling = progress.add_task("filling", total=tags + SMALL)
        for name, count in (("small", SMALL), ("large", tags)):
            prepare(client, name, count, lambda done: progress.advance(filling, done))
        for _ in progress.track(range(rounds), description="measuring"):
            for label, work in WORKS.items():
                for name in ("small", "large"):
                    taken.setdefault((label, name), []).append(measure(registry, client, work, name))
    medians = {key: statistics.median(values) for key, values in taken.items()}
    return {label: (medians[label, "small"], medians[label, "large"]) for label in WORKS}


def main() -> int:
    """Run it, print it, judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depotry-bench-") as folder:
        registry = Registry.start(Path(folder) / "data", "--log-level", "warning")
        try:
            results = run(registry, options.tags, options.rounds)
        finally:
            registry.kill()
    print(f"{'ms CPU a request':<18}{f'{SMALL} tags':>12}{f'{options.tags} tags':>14}{'ratio':>8}")
    ratios = {label: large / small for label, (small, large) in results.items()}
    for label, (small, large) in results.items():
        print(f"{label:<18}{small:>12.3f}{large:>14.3f}{ratios[label]:>8.2f}")
    return int(max(ratios.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
