"""Whether the time of an answer tells what somebody must not know (SEC-011, SEC-027, SEC-030).

Pairs of requests that have to look alike are sent in random order, one at a time, to a closed server of its own: a
private repository and a missing one, a digest that only somebody else has and one that nobody has, a known and an
unknown account. Prints the medians and the two-sided p of a Mann-Whitney test; exits with 1 when a p is under 0.001
and the medians differ by more than 2 %.

    .venv/bin/python bench/oracles.py [--count 1000] [--logins 100]
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.reliability.tenants import (
    ALICE,
    BOB,
    CANARY_DIGEST,
    MANY_FAILURES,
    PRIVATE,
    UNKNOWN_DIGEST,
    basic,
    scope,
    settle,
)
from tests.running import Registry

P_LEAST = 0.001
DIFFERENCE_MOST = 0.02
MISSING = "alice/missing"
RNG = random.Random(11)

Request = tuple[str, str, dict[str, str]]
"""Method, path, headers."""


@dataclass
class Pair:
    """Two requests that must not be told apart."""

    name: str
    one: Request
    other: Request
    is_login: bool = False


def ranks(values: list[float]) -> tuple[list[float], float]:
    """The rank of each value, ties sharing theirs, and the sum of t³ - t over the ties."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    ties = 0.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in range(start, end):
            found[order[place]] = (start + end + 1) / 2
        ties += (end - start) ** 3 - (end - start)
        start = end
    return found, ties


def mann_whitney(one: list[float], other: list[float]) -> float:
    """The two-sided p that both come from one distribution, by the normal approximation with its correction for ties.
    For at least some twenty values each."""
    first, second, total = len(one), len(other), len(one) + len(other)
    found, ties = ranks([*one, *other])
    u = sum(found[:first]) - first * (first + 1) / 2
    variance = first * second / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance == 0:
        return 1.0
    z = max(abs(u - first * second / 2) - 0.5, 0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def pairs(registry: Registry) -> list[Pair]:
    """What is compared."""
    bearer = BOB.headers(registry, "bearer", scope("bob/own"), scope(PRIVATE.name), scope(MISSING))
    found = [
        Pair(
            f"private or missing: {method} {route.split('/')[0]}, {way}",
            (method, f"/v2/{PRIVATE.name}/{route}", headers),
            (method, f"/v2/{MISSING}/{route}", headers),
        )
        for way, headers in (("nobody", {}), ("Basic", BOB.basic), ("Bearer", bearer))
        for method, route in (("GET", "manifests/v1"), ("HEAD", f"blobs/{CANARY_DIGEST}"), ("GET", "tags/list"))
    ]
    for way, headers in (("Basic", BOB.basic), ("Bearer", bearer)):
        for name, path in (
            ("GET blob", "blobs/{}"),
            ("mount", "blobs/uploads/?mount={}"),
            ("mount from the owner", f"blobs/uploads/?mount={{}}&from={PRIVATE.name}"),
        ):
            method = "GET" if name.startswith("GET") else "POST"
            one, other = [
                (method, f"/v2/bob/own/{path.format(digest)}", headers) for digest in (CANARY_DIGEST, UNKNOWN_DIGEST)
            ]
            found.append(Pair(f"known or unknown digest: {name}, {way}", one, other))
    tokens: list[Request] = [("GET", f"/token?scope={scope(name)}", BOB.basic) for name in (PRIVATE.name, MISSING)]
    found.append(Pair("private or missing: token", tokens[0], tokens[1]))
    wrong: list[Request] = [("GET", "/token", basic(name, "a wrong password")) for name in (ALICE.name, "alicf")]
    found.append(Pair("known or unknown account", wrong[0], wrong[1], is_login=True))
    return found


def measure(client: httpx2.Client, pair: Pair, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each, in random order. Uploads that are begun are given up again."""
    found: tuple[list[float], list[float]] = ([], [])
    order = [0, 1] * count
    RNG.shuffle(order)
    for method, path, headers in (pair.one, pair.other):
        # What is refused at the door is compared as such only for who has no business here.
        allowed = {200, 202, 404} if headers.get("authorization") and "/v2/bob/" in path else {200, 401, 403, 404}
        assert client.request(method, path, headers=headers).status_code in allowed, pair.name
    for which in [0, 1] * 10 + order:
        method, path, headers = (pair.one, pair.other)[which]
        began = time.perf_counter()
        answer = client.request(method, path, headers=headers)
        found[which].append((time.perf_counter() - began) * 1000)
        if answer.status_code == 202:
            client.delete(answer.headers["location"], headers=headers)
    return found[0][10:], found[1][10:]


def main() -> int:
    """Measure all pairs and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="requests of each class")
    parser.add_argument("--logins", type=int, default=100, help="failed logins of each class")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        flags = (*MANY_FAILURES, "--requests-per-second", "0")
        registry = Registry.start(Path(folder) / "data", *flags, is_open=False)
        try:
            settle(registry)
            print(f"{'':58}{'median ms':>10}{'':>9}{'p':>8}")
            with httpx2.Client(base_url=registry.url, timeout=60) as client:
                for pair in pairs(registry):
                    one, other = measure(client, pair, options.logins if pair.is_login else options.count)
                    p = mann_whitney(one, other)
                    medians = statistics.median(one), statistics.median(other)
                    tells = p < P_LEAST and abs(medians[0] / medians[1] - 1) > DIFFERENCE_MOST
                    failed |= tells
                    print(f"{pair.name:58}{medians[0]:10.3f}{medians[1]:9.3f}{p:8.3f}{' TELLS' if tells else ''}")
        finally:
            registry.kill()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
