"""Churn: clients that push, pull, mount and delete images with shared layers, while collection never pauses.

Every image that was acknowledged and that nobody deleted has to be pulled whole, at any moment. A refusal is legal only
where a promise was over: more than half a lease after the positive answer, or because somebody has deleted the blob. At
the end, after all graces, the store holds the blobs of the images that are left, and nothing else.

As a script, for more than a test has time for, against servers that run already (open, with `lease_s` as told):

    python -m tests.reliability.churn --url http://127.0.0.1:5000 --operations 20000 --set data=/srv/depotry

`--url` may be given for each node, `--set name=value` for each setting that says where database and storage are.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2

from registry.app import Stores, graces_of, open_stores
from registry.config import Settings, load
from registry.core.digest import Digest
from registry.core.errors import RegistryError
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.jobs.runner import Fenced, Runner
from registry.jobs.upkeep import ROUND, jobs_of
from registry.metadata import blobs, collection
from registry.services.clock import system_clock
from tests.core.test_manifest import CONFIG, LAYER, encoded

REPOSITORIES = tuple(f"churn/r{number}" for number in range(4))
LAYERS = 400
"""Enough that some are in no use at any moment, and few enough that most are shared."""
IMAGES_PER_CLIENT = 25
ATTEMPTS = 30
SLOW_SHARE = 0.03
"""Of the pushes, those that pause between looking for their blobs and using them, up to one and a half leases."""
SETTLE_LIMIT_S = 120.0
LOST = (httpx2.TransportError,)
MISSING = "MANIFEST_BLOB_UNKNOWN"


class Violation(Exception):
    """The registry has broken a promise."""


@dataclass(frozen=True)
class Plan:
    """What to do."""

    urls: list[str]
    settings: Settings
    operations: int = 2_000
    clients: int = 8
    seed: int = 0

    @property
    def half_lease_s(self) -> float:
        """How long a positive answer holds at least."""
        return self.settings.lease_s / 2


@dataclass
class Image:
    """An image or index that was acknowledged. `gone` is set before its deletion is asked for."""

    repository: str
    payload: bytes
    blobs: list[bytes]
    media_type: str = OCI_MANIFEST
    tags: list[str] = field(default_factory=list)
    gone: bool = False

    @property
    def digest(self) -> Digest:
        """Of the manifest."""
        return Digest.of(self.payload)

    @property
    def descriptor(self) -> dict[str, Any]:
        """How an index names it."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.payload)}


class World:
    """What all clients know."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        self.layers = [random.Random(number).randbytes(200 + 19 * number) for number in range(LAYERS)]
        self.images: list[Image] = []
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._left = plan.operations
        self._deletes: dict[tuple[str, str], float] = {}

    def next_operation(self) -> int | None:
        """How many operations are left with this one, None when there is nothing more to do."""
        with self.lock:
            if self._left <= 0 or self.violations:
                return None
            self._left -= 1
            return self._left

    def count(self, name: str, number: int = 1) -> None:
        """Add to the report."""
        with self.lock:
            self.counts[name] += number

    def note_delete(self, repository: str, digest: str) -> None:
        """A blob was deleted in this moment, or may have been."""
        with self.lock:
            self._deletes[repository, digest] = time.monotonic()

    def may_be_missing(self, repository: str, digest: str, promised_at: float) -> bool:
        """Whether a blob for which a positive answer was asked for at `promised_at` may be missing now."""
        with self.lock:
            deleted_at = self._deletes.get((repository, digest), -1.0)
        return deleted_at >= promised_at or time.monotonic() - promised_at >= self.plan.half_lease_s


class Client(threading.Thread):
    """One client: does one operation after the other, each over the next of the URLs."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.world = world
        self.rng = random.Random(f"{world.plan.seed} {number}")
        self.mine: list[Image] = []
        self._number = number
        self._made = 0
        self._turn = number
        self._http = [httpx2.Client(base_url=url, timeout=60, follow_redirects=True) for url in world.plan.urls]
        self._choices: list[tuple[Callable[[], None], int]] = [
            (self.push, 38),
            (self.delete, 20),
            (self.pull, 17),
            (self.delete_blob, 7),
            (self.push_index, 4),
            (self.tag_again, 4),
            (self.delete_tag, 4),
            (self.mount, 3),
            (self.give_up, 3),
        ]

    def run(self) -> None:
        """Until all operations are done, or a promise was broken."""
        operations, weights = zip(*self._choices, strict=True)
        try:
            while self.world.next_operation() is not None:
                [operation] = self.rng.choices(operations, weights)
                operation = self.delete if len(self.mine) > IMAGES_PER_CLIENT else operation
                operation()
                self.world.count(operation.__name__)
        except BaseException as error:
            self.world.violations.append(f"{self.name}: {type(error).__name__}: {error}")
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections."""
        for http in self._http:
            http.close()

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request, and again over another URL where an answer got lost or the server was busy, as clients do."""
        for attempt in range(ATTEMPTS):
            self._turn += 1
            try:
                answer = self._http[self._turn % len(self._http)].request(method, path, **more)
            except LOST:
                self.world.count("answers lost")
            else:
                self.world.count("requests")
                if answer.status_code not in (429, 500, 502, 503, 504) or attempt == ATTEMPTS - 1:
                    return answer
                self.world.count(f"answers {answer.status_code}")
            time.sleep(min(0.05 * 2**attempt, 1.0))
        raise Violation(f"{method} {path}: no answer")

    def expect(self, answer: httpx2.Response, *statuses: int) -> httpx2.Response:
        """The answer, which has one of these statuses."""
        if answer.status_code not in statuses:
            raise Violation(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}")
        return answer

    # The operations.

    def push(self) -> None:
        """A new image: a config of its own, and layers that others use too."""
        self._made += 1
        repository = self.rng.choice(REPOSITORIES)
        config = f"{{}}{self.world.plan.seed} {self._number} {self._made}".encode()
        content = [config, *self.rng.sample(self.world.layers, self.rng.randrange(1, 5))]
        entries = [{"mediaType": LAYER, "digest": str(Digest.of(each)), "size": len(each)} for each in content]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {**entries[0], "mediaType": CONFIG},
            "layers": entries[1:],
        }
        if self.mine and self.rng.random() < 0.2:
            document["subject"] = self.rng.choice(self.mine).descriptor
        image = Image(repository, encoded(document), content)
        self.put(image, f"t{self._number}-{self._made}")
        self.mine.append(image)
        with self.world.lock:
            self.world.images.append(image)
        if self.rng.random() < 0.3:
            self.pull_whole(image)

    def put(self, image: Image, tag: str) -> None:
        """Push blobs and manifest, again as long as blobs that were promised are gone, which has to be legal."""
        for _ in range(ATTEMPTS):
            promised = {str(Digest.of(each)): self.bring(image.repository, each) for each in image.blobs}
            if self.rng.random() < SLOW_SHARE:
                time.sleep(self.rng.uniform(0, 1.5 * self.world.plan.settings.lease_s))
            headers = {"content-type": image.media_type}
            path = f"/v2/{image.repository}/manifests/{tag}"
            answer = self.expect(self.ask("PUT", path, content=image.payload, headers=headers), 201, 404)
            if answer.status_code == 201:
                image.tags.append(tag)
                return
            self.check_refusal(image.repository, answer, promised)
        raise Violation(f"{image.repository}:{tag} could not be pushed in {ATTEMPTS} attempts")

    def check_refusal(self, repository: str, answer: httpx2.Response, promised: dict[str, float]) -> None:
        """Raises Violation if the registry says that a blob is missing whose promise still holds."""
        for error in answer.json()["errors"]:
            if error["code"] != MISSING:
                raise Violation(f"{answer.request.url}: {answer.text[:500]}")
            missing = error["detail"]["digest"]
            if not self.world.may_be_missing(repository, missing, promised[missing]):
                age = time.monotonic() - promised[missing]
                raise Violation(f"{repository} lost {missing} {age:.2f} s after it said that it has it")
        self.world.count("legal refusals")

    def bring(self, repository: str, content: bytes) -> float:
        """Make sure that a repository has a blob; returns the time from which its promise counts."""
        digest = Digest.of(content)
        asked_at = time.monotonic()
        if self.expect(self.ask("HEAD", f"/v2/{repository}/blobs/{digest}"), 200, 404).status_code == 200:
            return asked_at
        uploads = f"/v2/{repository}/blobs/uploads/"
        way = self.rng.randrange(4)
        asked_at = time.monotonic()
        if way == 0:
            self.expect(self.ask("POST", f"{uploads}?digest={digest}", content=content), 201)
            return asked_at
        query = f"?mount={digest}&from={self.rng.choice(REPOSITORIES)}" if way == 1 else ""
        begun = self.expect(self.ask("POST", uploads + query), 201, 202)
        if begun.status_code == 202:
            asked_at = self.send(begun.headers["location"], content, in_chunks=way == 2)
        return asked_at

    def send(self, location: str, content: bytes, *, in_chunks: bool) -> float:
        """Send a blob to an upload that was begun; returns when its last request was sent."""
        digest = Digest.of(content)
        if in_chunks:
            headers = {"content-range": f"0-{len(content) - 1}"}
            answer = self.ask("PATCH", location, content=content, headers=headers)
            # 416 answers a repeated chunk whose first answer got lost.
            self.expect(answer, 202, 416)
            content = b""
        asked_at = time.monotonic()
        self.expect(self.ask("PUT", f"{location}?digest={digest}", content=content), 201)
        return asked_at

    def push_index(self) -> None:
        """An index over images of one repository."""
        if not self.mine:
            return
        repository = self.rng.choice(self.mine).repository
        members = [each for each in self.mine if each.repository == repository and each.media_type == OCI_MANIFEST]
        self._made += 1
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.descriptor for each in members[-3:]],
            "annotations": {"number": f"{self.world.plan.seed} {self._number} {self._made}"},
        }
        image = Image(repository, encoded(document), [], OCI_INDEX)
        self.put(image, f"i{self._number}-{self._made}")
        self.mine.append(image)
        with self.world.lock:
            self.world.images.append(image)

    def delete(self) -> None:
        """One of the own images, by digest."""
        if not self.mine:
            return
        image = self.mine.pop(self.rng.randrange(len(self.mine)))
        with self.world.lock:
            image.gone = True
            self.world.images.remove(image)
        self.expect(self.ask("DELETE", f"/v2/{image.repository}/manifests/{image.digest}"), 202, 404)

    def delete_tag(self) -> None:
        """The image stays under its digest."""
        tagged = [each for each in self.mine if each.tags]
        if tagged:
            image = self.rng.choice(tagged)
            self.expect(self.ask("DELETE", f"/v2/{image.repository}/manifests/{image.tags.pop()}"), 202, 404)

    def tag_again(self) -> None:
        """A new tag for an image that is there: its blobs are not looked at by the client."""
        if self.mine:
            image = self.rng.choice(self.mine)
            self._made += 1
            tag = f"a{self._number}-{self._made}"
            headers = {"content-type": image.media_type}
            path = f"/v2/{image.repository}/manifests/{tag}"
            self.expect(self.ask("PUT", path, content=image.payload, headers=headers), 201)
            image.tags.append(tag)

    def delete_blob(self) -> None:
        """A shared layer, wherever no manifest uses it."""
        repository, digest = self.rng.choice(REPOSITORIES), str(Digest.of(self.rng.choice(self.world.layers)))
        path = f"/v2/{repository}/blobs/{digest}"
        self.world.note_delete(repository, digest)
        answer = self.expect(self.ask("DELETE", path), 202, 404, 405)
        self.world.note_delete(repository, digest)
        self.world.count(f"blob deletes {answer.status_code}")

    def mount(self) -> None:
        """A layer from one repository into another, for no manifest."""
        source, target = self.rng.sample(REPOSITORIES, 2)
        digest = Digest.of(self.rng.choice(self.world.layers))
        path = f"/v2/{target}/blobs/uploads/?mount={digest}&from={source}"
        self.expect(self.ask("POST", path), 201, 202)

    def give_up(self) -> None:
        """An upload that nobody finishes."""
        path = f"/v2/{self.rng.choice(REPOSITORIES)}/blobs/uploads/"
        location = self.expect(self.ask("POST", path), 202).headers["location"]
        self.expect(self.ask("PATCH", location, content=self.rng.randbytes(1000)), 202)

    def pull(self) -> None:
        """Anybody's image, whole, unless it is deleted meanwhile."""
        with self.world.lock:
            image = self.rng.choice(self.world.images) if self.world.images else None
        if image is None:
            return
        try:
            self.pull_whole(image)
        except Violation:
            if not image.gone:
                raise

    def pull_whole(self, image: Image) -> None:
        """I1, I2: manifest and blobs, byte for byte."""
        stored = self.ask("GET", f"/v2/{image.repository}/manifests/{image.digest}")
        if self.expect(stored, 200).content != image.payload:
            raise Violation(f"{image.repository}@{image.digest} has other bytes")
        for content in image.blobs:
            digest = Digest.of(content)
            got = self.expect(self.ask("GET", f"/v2/{image.repository}/blobs/{digest}"), 200).content
            if got != content:
                raise Violation(f"{image.repository}: blob {digest} has other bytes")


class Collector(threading.Thread):
    """Collects round after round without a pause, in this process, beside what the servers do by themselves."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(name="collector", daemon=True)
        self.plan = plan
        self.did: Counter[str] = Counter()
        self.ending = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until `ending` is set."""
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = error

    async def _run(self) -> None:
        stores = await asyncio.to_thread(open_stores, self.plan.settings, upgrade=False)
        try:
            while not self.ending.is_set():
                self.did += await a_round(stores, self.plan.settings)
                self.did["rounds"] += 1
        finally:
            await stores.close()


async def a_round(stores: Stores, settings: Settings) -> Counter[str]:
    """What gives space back, once; returns what it did. One that another process takes over counts for nothing."""
    runner = Runner(stores.database, jobs_of(stores.blobs, graces_of(settings)), system_clock)
    did: Counter[str] = Counter()
    for kind in ROUND:
        try:
            did += Counter(await runner.run_now(kind))
        except (Fenced, RegistryError):
            did["rounds that failed"] += 1
    return did


@dataclass(frozen=True)
class Audit:
    """What SQL and the store say in the end."""

    blobs: dict[Digest, int]
    """Size of each blob that can be had."""
    objects: dict[int, int]
    """Size of each object that the store lists, by id."""
    live: dict[int, int]
    """Size of each object that SQL calls live, by id."""
    uploads: list[str]
    """Unfinished uploads in the store."""
    account: collection.Account


async def settle_and_audit(settings: Settings, did: Counter[str]) -> Audit:
    """Go on with rounds until every lease and grace is over and nothing is left to collect; then look at everything."""
    stores = await asyncio.to_thread(open_stores, settings, upgrade=False)
    try:
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while True:
            did += await a_round(stores, settings)
            now = system_clock()
            account = await stores.database.read(partial(collection.account, now=now, dead_before=now))
            if not (account.leased or account.collectable or account.dead or account.uploads):
                break
            if time.monotonic() > deadline:
                raise Violation(f"not everything goes: {account}")
            await asyncio.sleep(0.2)
        live: list[blobs.NewObject] = []
        after = 0
        while page := await stores.database.read(partial(blobs.live_page, after=after, count=1000)):
            live += page
            after = page[-1].object_id
        return Audit(
            blobs={each.digest: each.size for each in live},
            objects={each.object_id: each.size async for each in stores.blobs.iter_objects()},
            live={each.object_id: each.size for each in live},
            uploads=[each async for each in stores.blobs.iter_uploads()],
            account=account,
        )
    finally:
        await stores.close()


def check(world: World, audit: Audit) -> None:
    """Raises Violation where something is missing or too much."""
    client = Client(world, -1)
    try:
        for image in world.images:
            client.pull_whole(image)
    finally:
        client.close()
    expected = {Digest.of(each): len(each) for image in world.images for each in image.blobs}
    if audit.blobs != expected:
        raise Violation(
            f"blobs without an image: {sorted(map(str, audit.blobs.keys() - expected.keys()))},"
            f" images without a blob: {sorted(map(str, expected.keys() - audit.blobs.keys()))}"
        )
    if audit.objects != audit.live or audit.uploads:
        raise Violation(f"the store holds {audit.objects}, {audit.uploads}; SQL says {audit.live}")


def churn(plan: Plan, *, progress: Callable[[int, Counter[str]], None] | None = None) -> dict[str, Any]:
    """Do all of it; returns the report. Raises Violation. `progress` is called now and then with what is done."""
    world, collector = World(plan), Collector(plan)
    clients = [Client(world, number) for number in range(plan.clients)]
    started = time.monotonic()
    for thread in (collector, *clients):
        thread.start()
    while any(client.is_alive() for client in clients):
        clients[0].join(0.5)
        for client in clients:
            client.join(0.01)
        if progress is not None:
            progress(plan.operations - world._left, collector.did)
    seconds = time.monotonic() - started
    collector.ending.set()
    collector.join()
    if collector.failure is not None:
        raise collector.failure
    if world.violations:
        raise Violation("; ".join(world.violations))
    audit = asyncio.run(settle_and_audit(plan.settings, collector.did))
    check(world, audit)
    return {
        "seed": plan.seed,
        "settled_after_s": round(time.monotonic() - started - seconds, 1),
        "operations": plan.operations,
        "seconds": round(seconds, 1),
        "operations_per_s": round(plan.operations / seconds, 1),
        "requests_per_s": round(world.counts["requests"] / seconds, 1),
        "did": dict(sorted(world.counts.items())),
        "collection": dict(sorted(collector.did.items())),
        "images_left": len(world.images),
        "blobs_left": audit.account.live,
        "bytes_live": audit.account.live_bytes,
        "bytes_stored": sum(audit.objects.values()),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Churn against running servers.")
    parser.add_argument("--url", action="append", required=True, help="A node; may be given several times.")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="A setting of the servers.")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    settings = load(dict(each.split("=", 1) for each in given.set), os.environ, None)
    plan = Plan(given.url, settings, given.operations, given.clients, given.seed)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("churn", total=plan.operations)

        def show(done: int, did: Counter[str]) -> None:
            bar.update(task, completed=done, description=f"churn, {did['collected']:,} blobs collected")

        report = churn(plan, progress=show)
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
