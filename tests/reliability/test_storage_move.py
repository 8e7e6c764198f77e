"""Blobs move to another store beside running servers, and whatever kills the move or is done to the blobs meanwhile,
nothing that was acknowledged is lost."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.metadata import sqlite
from tests.backends.s3 import service
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.running import Registry, wait_until

StartRegistry = Callable[..., Registry]
KILLS = 12
CLIENTS = 3


def move_command(data: Path, source: Path | str, target: Path | str, *flags: str) -> list[str]:
    """`depotry storage move`."""
    places = ["--from", str(source), "--to", str(target)]
    return [sys.executable, "-m", "registry", "storage", "move", *places, "--data", str(data), *flags]


def run_move(data: Path, source: Path | str, target: Path | str, *flags: str) -> subprocess.CompletedProcess[str]:
    """To its end."""
    command = move_command(data, source, target, *flags)
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def rows(data: Path, query: str) -> list[tuple[int, ...]]:
    """What SQL says."""
    connection = sqlite.library().connect(data / "registry.db")
    found: list[tuple[int, ...]] = connection.execute(query).fetchall()
    connection.close()
    return found


def ids_in(store: Path) -> set[int]:
    """The objects that a folder holds."""
    return {int(path.name.rpartition(".")[2]) for path in (store / "sha256").rglob("*.*") if path.is_file()}


class Client(threading.Thread):
    """Pushes images, pulls what was acknowledged, and deletes some of it, until it is told to stop."""

    def __init__(self, registry: Registry, name: str, rng: random.Random, stopping: threading.Event) -> None:
        super().__init__()
        self.registry = registry
        self.image_name = name
        self.rng = rng
        self.stopping = stopping
        self.kept: list[Image] = []
        """Acknowledged, and not deleted."""
        self.turns = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Go on until the end; any answer that was not expected is a failure."""
        try:
            with self.registry.client() as client:
                while not self.stopping.is_set():
                    self._turn(client)
                    self.turns += 1
        except BaseException as error:
            self.failure = error

    def _turn(self, client: httpx2.Client) -> None:
        image = Image.random(self.image_name, f"t{self.turns}", self.rng)
        Pusher(client).push(image, way=self.rng.choice(("whole", "put", "stream", "chunks")))
        self.kept.append(image)
        pull_whole(client, self.rng.choice(self.kept))
        if self.turns % 4 == 3:
            gone = self.kept.pop(self.rng.randrange(len(self.kept)))
            digest = Digest.of(gone.manifest)
            expect(client.delete(f"/v2/{gone.name}/manifests/{digest}"), 202)
            for blob in gone.blobs:
                expect(client.delete(f"/v2/{gone.name}/blobs/{Digest.of(blob)}"), 202)


@dataclass
class Crowd:
    """Clients at work."""

    clients: list[Client]
    stopping: threading.Event

    @classmethod
    def on(cls, registry: Registry, rng: random.Random, name: str = "crowd") -> "Crowd":
        """Start them."""
        stopping = threading.Event()
        clients = [
            Client(registry, f"{name}/app{number}", random.Random(rng.random()), stopping) for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        return cls(clients, stopping)

    @property
    def turns(self) -> int:
        """How much they have done."""
        return sum(client.turns for client in self.clients)

    def stop(self) -> list[Image]:
        """Let them finish; returns what has to be there."""
        self.stopping.set()
        for client in self.clients:
            client.join()
            assert client.failure is None, client.failure
        return [image for client in self.clients for image in client.kept]


def seed_images(registry: Registry, rng: random.Random, count: int, name: str = "seed/app") -> list[Image]:
    """Images that are there before the move begins."""
    images = [Image.random(name, f"t{number}", rng) for number in range(count)]
    with registry.client() as client:
        for image in images:
            Pusher(client).push(image, way="whole")
    return images


def check_all(registry: Registry, images: list[Image]) -> None:
    """I1, I2."""
    with registry.client() as client:
        for image in images:
            pull_whole(client, image)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_move_that_is_killed_again_and_again(start_registry: StartRegistry, tmp_path: Path) -> None:
    """I1, I7, I8: kills at random moments under clients; the last run moves all that is left, the old store then serves
    nothing, and a server with the new store alone has every image that was acknowledged."""
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    data, old, new = tmp_path / "data", tmp_path / "data" / "blobs", tmp_path / "new"
    registry = start_registry(data=data)
    images = seed_images(registry, rng, 60)
    assert registry.stop() == 0
    registry = start_registry("--storage", str(new), "--storage-previous", str(old), data=data)
    crowd = Crowd.on(registry, rng)
    moved_at_kill = []
    for _ in range(KILLS):
        before = len(ids_in(new))
        process = subprocess.Popen(move_command(data, old, new, "--parallel", "2"), stderr=subprocess.DEVNULL)
        # Counted in objects, not in time: the first one may take as long as the interpreter needs to start.
        target = before + rng.randrange(1, 12)
        wait_until(lambda process=process, target=target: has_come(process, new, target))  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        moved_at_kill.append(len(ids_in(new)) - before)
    turns = crowd.turns
    wait_until(lambda: crowd.turns > turns, what="a turn of a client")
    last = run_move(data, old, new)
    assert last.returncode == 0, last.stdout + last.stderr
    images += crowd.stop()
    check_all(registry, images)
    assert "finished" in last.stdout
    live = {row[0] for row in rows(data, "SELECT object_id FROM blobs")}
    assert live <= ids_in(new)
    assert live.isdisjoint(ids_in(old))
    assert registry.stop() == 0
    check_all(start_registry("--storage", str(new), data=data), images)
    print(f"{len(images)} images, objects that came between two kills: {moved_at_kill}")


def has_come(process: subprocess.Popen[bytes], store: Path, count: int) -> bool:
    """Whether a store holds so many objects, or the move has ended."""
    return process.poll() is not None or len(ids_in(store)) >= count


def test_step_by_step(start_registry: StartRegistry, tmp_path: Path) -> None:
    """As the README has it; and every wrong step is refused with a line that says which is right."""
    data, old, new = tmp_path / "data", tmp_path / "data" / "blobs", tmp_path / "new"
    registry = start_registry(data=data)
    images = seed_images(registry, random.Random(1), 5)
    too_early = run_move(data, old, new)
    assert too_early.returncode == 2
    assert "no server has been started yet" in too_early.stderr
    registry.stop()
    refused(data, "--storage", str(new), says="set storage_previous")
    registry = start_registry("--storage", str(new), "--storage-previous", str(old), data=data)
    check_all(registry, images)
    both = f"set storage to file:{new} and storage_previous to file:{old}"
    refused(data, says=both)
    refused(data, "--storage", str(new), says=both)
    plan = run_move(data, old, new, "--dry-run")
    total = sum(len(blob) for image in images for blob in image.blobs)
    assert f"{sum(len(image.blobs) for image in images)} blobs" in plan.stdout
    assert f"({total} bytes)" in plan.stdout
    assert ids_in(new) == set()
    moved = run_move(data, old, new)
    assert moved.returncode == 0, moved.stderr
    images += seed_images(registry, random.Random(2), 1, "late/app")
    check_all(registry, images)
    registry.stop()
    refused(data, says="have been moved")
    registry = start_registry("--storage", str(new), data=data)
    (tmp_path / "data" / "blobs").rename(tmp_path / "gone")
    check_all(registry, images)


def test_an_unfinished_upload_keeps_the_old_store(start_registry: StartRegistry, tmp_path: Path) -> None:
    """I7: an upload that got 202 goes on through the move, and ends in the old store; then that one has to stay until
    another run."""
    data, old, new = tmp_path / "data", tmp_path / "data" / "blobs", tmp_path / "new"
    registry = start_registry(data=data)
    with registry.client() as client:
        location = expect(client.post("/v2/app/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=b"first "), 202)
    registry.stop()
    registry = start_registry("--storage", str(new), "--storage-previous", str(old), data=data)
    first = run_move(data, old, new)
    assert first.returncode == 1
    assert "1 unfinished uploads" in first.stdout
    digest = Digest.of(b"first second")
    with registry.client() as client:
        expect(client.put(f"{location}?digest={digest}", content=b"second"), 201)
    assert run_move(data, old, new).returncode == 0
    registry.stop()
    with start_registry("--storage", str(new), data=data).client() as client:
        assert expect(client.get(f"/v2/app/blobs/{digest}"), 200).content == b"first second"


def test_corrupt_blobs_end_with_status_1(start_registry: StartRegistry, tmp_path: Path) -> None:
    """They are named, left behind, and healed by the next push."""
    data, old, new = tmp_path / "data", tmp_path / "data" / "blobs", tmp_path / "new"
    [image] = seed_images(start_registry(data=data), random.Random(1), 1)
    broken = Digest.of(image.blobs[-1])
    path = next((old / "sha256").rglob(f"{broken.hex}.*"))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    registry = start_registry("--storage", str(new), "--storage-previous", str(old), data=data)
    moved = run_move(data, old, new)
    assert moved.returncode == 1
    assert str(broken) in moved.stderr
    assert "1 corrupt blobs" in moved.stdout
    assert not list((new / "sha256").rglob(f"{broken.hex}.*"))
    with registry.client() as client:
        Pusher(client).push(image, way="stream")
    registry.stop()
    check_all(start_registry("--storage", str(new), data=data), [image])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_disk_to_s3_and_back(start_registry: StartRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With clients at work all the time; the bucket holds exactly what is live, and then nothing of it serves."""
    data, disk = tmp_path / "data", tmp_path / "data" / "blobs"
    rng = random.Random(3)
    with service("versitygw", tmp_path / "s3") as s3:
        for name, value in s3.env().items():
            monkeypatch.setenv(name, value)
        bucket = s3.new_bucket()
        url = s3.url(bucket, "depotry")
        registry = start_registry(data=data)
        images = seed_images(registry, rng, 10)
        registry.stop()
        for new, old in ((url, str(disk)), (str(disk), url)):
            registry = start_registry("--storage", new, "--storage-previous", old, data=data)
            crowd = Crowd.on(registry, rng, "there" if new == url else "back")
            moved = run_move(data, old, new)
            images += crowd.stop()
            assert moved.returncode == 0, moved.stdout + moved.stderr
            check_all(registry, images)
            assert registry.stop() == 0
            registry = start_registry("--storage", new, data=data)
            check_all(registry, images)
            assert registry.stop() == 0
            live = {row[0] for row in rows(data, "SELECT object_id FROM blobs")}
            held = {url: objects_of(s3.keys(bucket, "depotry/objects/")), str(disk): ids_in(disk)}
            assert live <= held[new]
            assert live.isdisjoint(held[old])
            assert s3.multiparts(bucket) == []


def objects_of(keys: Iterable[str]) -> set[int]:
    """The ids in keys of a bucket."""
    return {int(name) for name in (key.rpartition("/")[2] for key in keys) if name.isdecimal()}


def refused(data: Path, *flags: str, says: str) -> None:
    """A server that does not start."""
    command = [sys.executable, "-m", "registry", "serve", "--open", "--port", "0", "--data", str(data), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert says in ended.stderr
