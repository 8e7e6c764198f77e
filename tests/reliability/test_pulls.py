"""Pulls of real servers: what counts, and that kills, stops and lost commits take little away and add nothing."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import httpx2
import psycopg
import pytest

from registry.core.digest import Digest
from registry.metadata.postgresql import PostgresqlDatabase
from tests.backends.postgresql import OWNER, Cluster
from tests.core.test_manifest import image as document
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.hub import Desk, StartRegistry, push
from tests.reliability.pg_proxy import PgProxy
from tests.reliability.test_workers import WORKERS, clients_of_all
from tests.running import Registry, wait_until
from tests.services.conftest import House
from tests.services.test_counting import pull

IMAGE = Image("team/app", "v1", [b"{}", b"x"])
SOON = ("--pulls-flush-s", "0.1")
LATE = ("--pulls-flush-s", "300")
CUTS = 100
"""A flush has fewer messages."""


def counted(registry: Registry) -> int:
    """Pulls of all repositories that are written down, in the database of this server."""
    if "--database" in registry.place:
        with psycopg.connect(registry.place[registry.place.index("--database") + 1]) as connection:
            row: Any = connection.execute("SELECT coalesce(sum(pull_count), 0) FROM repositories").fetchone()
    else:
        database = sqlite3.connect(f"file:{registry.data / 'registry.db'}?mode=ro", uri=True)
        try:
            row = database.execute("SELECT coalesce(sum(pull_count), 0) FROM repositories").fetchone()
        finally:
            database.close()
    return int(row[0])


def has_counted(registry: Registry, pulls: int) -> bool:
    """Whether at least so many are written down."""
    return counted(registry) >= pulls


def get(client: httpx2.Client, reference: str = "v1", times: int = 1) -> None:
    """So many pulls."""
    for _ in range(times):
        expect(client.get(f"/v2/{IMAGE.name}/manifests/{reference}"), 200)


def test_only_answers_with_a_manifest_are_pulls(start_registry: StartRegistry) -> None:
    """HEAD, 304, 404, tags, referrers and blobs are none; by tag and by digest both are."""
    registry = start_registry(*LATE)
    with registry.client() as client:
        Pusher(client).push(IMAGE, way="whole")
        path, digest = f"/v2/{IMAGE.name}/manifests/v1", Digest.of(IMAGE.manifest)
        expect(client.head(path), 200)
        expect(client.get(path, headers={"if-none-match": f'"{digest}"'}), 304)
        expect(client.get(f"/v2/{IMAGE.name}/manifests/v2"), 404)
        expect(client.get(f"/v2/{IMAGE.name}/tags/list"), 200)
        expect(client.get(f"/v2/{IMAGE.name}/referrers/{digest}"), 200)
        expect(client.get(f"/v2/{IMAGE.name}/blobs/{Digest.of(b'x')}"), 200)
        get(client)
        get(client, str(digest))
    assert registry.stop() == 0
    assert counted(registry) == 2


def test_pollers_are_left_out_by_setting(start_registry: StartRegistry) -> None:
    """By name of the account and by User-Agent; without them everybody counts."""
    registry = start_registry(
        *LATE, "--pulls-ignore-users", "*-scanner, bob", "--pulls-ignore-agents", "*flux*", is_open=False
    )
    desk = Desk(registry.data)
    try:
        alice, bob = desk.user("alice", is_admin=True), desk.user("bob", is_admin=True)
        push(registry, alice, "alice/app")
        with registry.client() as client:
            for shown, agent in ((alice, "docker/28"), (alice, "Flux/2.5"), (bob, "docker/28"), (alice, "")):
                headers = {**shown, "user-agent": agent}
                expect(client.get("/v2/alice/app/manifests/v1", headers=headers), 200)
    finally:
        desk.close()
    assert registry.stop() == 0
    assert counted(registry) == 2


def test_a_stop_writes_down_what_all_workers_have_counted(start_registry: StartRegistry) -> None:
    """CR-42: not a pull is lost, whoever has counted it; nothing more is there after the next start."""
    registry = start_registry("--workers", str(WORKERS), *LATE)
    with registry.client() as client:
        Pusher(client).push(IMAGE, way="whole")
    with clients_of_all(registry) as clients:
        for number, client in enumerate(clients):
            get(client, times=10 + number)
    assert counted(registry) == 0
    assert registry.stop() == 0
    pulled = sum(10 + number for number in range(WORKERS))
    assert counted(registry) == pulled
    again = start_registry(data=registry.data)
    assert again.stop() == 0
    assert counted(again) == pulled


def test_a_kill_loses_what_was_not_written_down_yet_and_counts_nothing_twice(start_registry: StartRegistry) -> None:
    """CR-05: what was there stays, what came since the last time is gone."""
    rng = random.Random(random.SystemRandom().randrange(2**32))
    registry = start_registry(*SOON)
    with registry.client() as client:
        Pusher(client).push(IMAGE, way="whole")
    known = pulled = 0
    for _ in range(3):
        with registry.client() as client:
            certain = rng.randrange(1, 20)
            get(client, times=certain)
            wait_until(partial(has_counted, registry, known + certain))
            known = counted(registry)
            assert known <= pulled + certain
            uncertain = rng.randrange(1, 20)
            get(client, times=uncertain)
            pulled += certain + uncertain
        registry.kill()
        registry = start_registry(*SOON, data=registry.data)
        now = counted(registry)
        assert known <= now <= pulled
        known = pulled = now


@contextmanager
def two_nodes(start_registry: StartRegistry, cluster: Cluster) -> Iterator[list[Registry]]:
    """On one PostgreSQL and one folder of blobs; the second has the first one's mark and secret."""
    name = cluster.empty()
    first = start_registry(*SOON, database=cluster.url(name))
    second = start_registry(*SOON, data=first.data, database=cluster.url(name))
    yield [first, second]


def test_two_nodes_count_for_one_repository(start_registry: StartRegistry, cluster: Cluster) -> None:
    """Each adds its own; one that is killed takes nothing of the other along."""
    with two_nodes(start_registry, cluster) as nodes, ExitStack() as stack:
        clients = [stack.enter_context(node.client()) for node in nodes]
        Pusher(clients[0]).push(IMAGE, way="whole")
        for number in range(60):
            get(clients[number % 2])
        wait_until(lambda: counted(nodes[0]) == 60, what="all pulls")
        nodes[0].kill()
        get(clients[1], times=5)
        wait_until(lambda: counted(nodes[1]) == 65, what="the pulls of the other one")
        assert nodes[1].stop() == 0
        assert counted(nodes[1]) == 65


@pytest.mark.anyio
async def test_a_connection_that_is_cut_anywhere_counts_nothing_twice(cluster: Cluster) -> None:
    """CR-15: at each message of a flush, passed on or not: afterwards there are as many pulls as there were, but for
    those whose commit was not answered and had not happened."""
    name = cluster.migrated()
    proxy = PgProxy(cluster.port)
    direct = House(PostgresqlDatabase(cluster.url(name), connections=2))
    cut_off = House(PostgresqlDatabase(proxy.url(name, OWNER), connections=2))
    try:
        await direct.blob(b"{}")
        await direct.blob(b"x")
        await direct.manifest(document(), "v1")
        counting = cut_off.counting()
        pulled = before = lost = 0
        for at in range(1, CUTS):
            for passes in (False, True):
                await pull(direct, counting, "v1")
                pulled += 1
                cut = proxy.arm(at, passes=passes)
                await counting.flush()
                proxy.disarm()
                # Each of the two connections may be one that was cut.
                for _ in range(3):
                    await counting.flush()
                [(now,)] = await direct.rows("SELECT pull_count FROM repositories")
                assert now - before in (0, 1), cut
                lost += 1 - (now - before)
                before = now
        print(f"{pulled} pulls, {lost} lost")
        assert cut.kind == "", "there are more messages than cuts"
        assert 0 < lost < pulled / 10
        [(days,)] = await direct.rows("SELECT pulls FROM pulls WHERE day = 0 AND tag = 'v1'")
        assert days == before
    finally:
        direct.database.close()
        cut_off.database.close()
        proxy.close()
        cluster.drop(name)


def test_pulls_go_on_while_the_database_cannot_be_written(start_registry: StartRegistry) -> None:
    """A writer that holds the lock keeps nobody from pulling, and what was counted meanwhile comes later."""
    registry = start_registry(*SOON, "--no-background-jobs")
    with registry.client() as client:
        Pusher(client).push(IMAGE, way="whole")
        wait_until(lambda: count_failures(registry) == 0)
        holder = sqlite3.connect(registry.data / "registry.db", isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            get(client, times=20)
            wait_until(lambda: count_failures(registry) > 0, what="a flush that fails")
            get(client, times=20)
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        wait_until(lambda: counted(registry) == 40, what="all pulls")
    failed = [line for line in registry.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500]
    assert failed == []


def count_failures(registry: Registry) -> int:
    """How often counts could not be written down."""
    answer = expect(httpx2.get(f"{registry.metrics_url}/metrics"), 200).text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in answer.splitlines()
        if line.startswith("depotry_pulls_flush_failures_total")
    )
