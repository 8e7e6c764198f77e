"""I8: what is deleted gives its space back by itself, while the server serves, and whenever it is killed."""

import asyncio
import json
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import httpx2
import pytest

from registry.app import graces_of, open_stores
from registry.config import load
from registry.core.digest import Digest
from registry.jobs.runner import Job, Runner
from registry.jobs.sweep import Sweep
from registry.jobs.upkeep import ROUND, SWEEP, jobs_of
from registry.metadata import blobs
from registry.services.clock import system_clock
from tests.reliability.client import LOST, Image, Pusher, expect, pull_whole
from tests.running import Registry, wait_until

SHORT = ("--lease-s", "2", "--collect-interval-s", "1", "--removal-grace-s", "1", "--upload-ttl-s", "2")
KILLS = 6
SLOW_BYTES = 32 * 1024 * 1024
"""More than all buffers between server and client can hold."""


def stored(registry: Registry) -> dict[str, int]:
    """Every file below the blob store by its path, with its size, but for the mark."""
    root = registry.data / "blobs"
    found = {}
    for path in root.rglob("*"):
        try:
            if path.is_file() and path.name != "depotry-store.json":
                found[str(path.relative_to(root))] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found


def delete_image(client: httpx2.Client, image: Image) -> None:
    """By digest, with its tags."""
    expect(client.delete(f"/v2/{image.name}/manifests/{Digest.of(image.manifest)}"), 202)


def test_space_comes_back_by_itself(start_registry: Callable[..., Registry]) -> None:
    """Push, delete, wait: what the other image uses is left on the disk, and nothing else, begun uploads neither."""
    registry = start_registry(*SHORT)
    shared = b"shared" * 1000
    kept = Image("space/app", "kept", [b"{}1", shared])
    gone = Image("space/app", "gone", [b"{}2", shared, b"alone" * 1000])
    with registry.client() as client:
        for image in (kept, gone):
            Pusher(client).push(image, way="stream")
        Pusher(client).push_blob("space/app", b"nobody names it", way="whole")
        location = expect(client.post("/v2/space/app/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=b"and nobody finishes this"), 202)
        delete_image(client, gone)
        assert len(stored(registry)) == 6
        live = sum(map(len, kept.blobs))
        wait_until(lambda: sum(stored(registry).values()) == live, what="the end of what nobody needs")
        pull_whole(client, kept)
        expect(client.get(location), 404)
        Pusher(client).push(gone, way="stream")
        pull_whole(client, gone)
    metrics = httpx2.get(f"{registry.metrics_url}/metrics").text
    freed = len(b"alone" * 1000) + len(b"{}2") + len(b"nobody names it") + len(b"and nobody finishes this")
    assert f"depotry_storage_freed_bytes_total {float(freed)}" in metrics
    assert 'depotry_job_runs_total{kind="collect",outcome="done"}' in metrics
    assert 'depotry_job_last_success_timestamp_seconds{kind="remove-dead"}' in metrics


def test_the_commands(start_registry: Callable[..., Registry]) -> None:
    """`gc` without the server's jobs: what it counts, what it does beside the server, and what `jobs` says of it."""
    flags = ("--lease-s", "1", "--removal-grace-s", "0")
    registry = start_registry("--no-background-jobs", *flags)
    image = Image("space/app", "v1", [b"{}", b"layer" * 100])
    with registry.client() as client:
        Pusher(client).push(image, way="whole")
        Pusher(client).push_blob("space/app", b"alone", way="whole")

        def account() -> dict[str, int]:
            found: dict[str, int] = json.loads(registry.command("gc", "--dry-run", "--json", *flags))
            return found

        assert (account()["live"], account()["referenced_bytes"]) == (3, 502)
        wait_until(lambda: account()["leased"] == 0, what="the end of the leases")
        before = stored(registry)
        assert (account()["collectable"], account()["collectable_bytes"]) == (1, 5)
        assert "collectable now" in registry.command("gc", "--dry-run", *flags)
        assert stored(registry) == before
        assert registry.command("jobs") == "none\n"
        did = json.loads(registry.command("gc", "--now", "--json", *flags))
        assert did["did"]["collect"]["collected_bytes"] == 5
        # Dead since this millisecond: with a grace of nothing it goes in this round or the next one.
        registry.command("gc", "--now", "--full", *flags)
        assert sum(stored(registry).values()) == 502
        pull_whole(client, image)
    rows = {row["job"]: row for row in json.loads(registry.command("jobs", "--json"))}
    assert rows["collect"]["last_success"] and rows["collect"]["runs_on"] is None
    assert rows["sweep"]["did"] == {"listed": 2, "listed_bytes": 502}
    assert "remove-dead" in registry.command("jobs")
    assert json.loads(registry.command("stats", "--json"))["dead_bytes"] == 0


def test_a_slow_download_outlives_its_blob(start_registry: Callable[..., Registry]) -> None:
    """CR-43, I4: a client that reads slowly while its image is deleted, collected and removed gets every byte."""
    registry = start_registry("--lease-s", "1", "--collect-interval-s", "1", "--removal-grace-s", "0")
    content = os.urandom(SLOW_BYTES)
    image = Image("space/slow", "v1", [b"{}", content])
    with registry.client() as client:
        Pusher(client).push(image, way="put")
        with socket.create_connection(("127.0.0.1", registry.port)) as connection:
            path = f"/v2/space/slow/blobs/{Digest.of(content)}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            received = bytearray(connection.recv(4096))
            delete_image(client, image)
            wait_until(lambda: stored(registry) == {}, what="the end of the bytes")
            expect(client.get(path), 404)
            while piece := connection.recv(1024 * 1024):
                received += piece
    assert bytes(received.partition(b"\r\n\r\n")[2]) == content


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_during_collection(start_registry: Callable[..., Registry]) -> None:
    """CR-04: `kill -9` at random moments of rounds that delete what others share. What was acknowledged pulls whole
    after each, and at the end, after a sweep, the store holds what SQL knows as live."""
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    flags = ("--lease-s", "1", "--collect-interval-s", "1", "--removal-grace-s", "0", "--upload-ttl-s", "1")
    registry = start_registry(*flags)
    layers = [rng.randbytes(5_000) for _ in range(20)]
    kept: list[Image] = []
    for number in range(KILLS):
        with registry.client() as client:
            images = [
                Image("space/killed", f"{number}-{each}", [f"{{}}{number} {each}".encode(), *rng.sample(layers, 2)])
                for each in range(6)
            ]
            try:
                for image in images:
                    Pusher(client).push(image, way=rng.choice(["put", "stream"]))
                    if rng.random() < 0.4:
                        kept.append(image)
                    else:
                        delete_image(client, image)
                # Collection is due each second: somewhere within the next one.
                time.sleep(rng.uniform(0.3, 1.5))
            except LOST as error:
                raise AssertionError("the server went away by itself") from error
        registry.kill()
        registry = start_registry(*flags, data=registry.data)
        with registry.client() as client:
            for image in kept:
                pull_whole(client, image)
    registry.kill()
    live = set(asyncio.run(what_is_left(registry)))
    assert live == set(stored(registry).items())
    expected = {Digest.of(blob): len(blob) for image in kept for blob in image.blobs}
    assert sum(size for _, size in live) == sum(expected.values())


async def what_is_left(registry: Registry) -> list[tuple[str, int]]:
    """Names and sizes of the live objects, after rounds until nothing waits, and a sweep that trusts its first look."""
    settings = load({"data": str(registry.data), "lease_s": "1", "upload_ttl_s": "1"}, os.environ, None)
    stores = await asyncio.to_thread(open_stores, settings, upgrade=False)
    try:
        graces = replace(graces_of(settings), removal_grace_ms=-1)
        jobs = [job for job in jobs_of(stores.blobs, graces) if job.kind != SWEEP]
        runner = Runner(stores.database, [*jobs, Job(SWEEP, 0, Sweep(stores.blobs, age_ms=0))], system_clock, lease_s=1)
        for kind in (*ROUND, SWEEP, SWEEP):
            await runner.run_now(kind)
        found = await stores.database.read(partial(blobs.live_page, after=0, count=10_000))
        return [(name_of(each), each.size) for each in found]
    finally:
        await stores.close()


def name_of(stored: blobs.NewObject) -> str:
    """The path of an object below the store's folder."""
    digest = stored.digest
    return f"{digest.algorithm.label}/{digest.hex[:2]}/{digest.hex}.{stored.object_id}"
