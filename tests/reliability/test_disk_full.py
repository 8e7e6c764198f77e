"""CR-09: a full disk is an honest answer, harms nothing, and needs no restart."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from tests.reliability.client import Image, Pusher, pull_whole
from tests.running import Registry

Mount = Callable[[str, str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts small disks of memory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root: run the tests as root")
    mounted: list[Path] = []

    def mount_one(name: str, options: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False)
        if done.returncode != 0:
            pytest.skip("this machine does not let root mount a tmpfs: run the tests outside a container")
        mounted.append(path)
        return path

    yield mount_one
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(registry: Registry, name: str) -> list[Image]:
    """Push images until the disk refuses, and pull one of the earlier ones now and then; returns those that were
    acknowledged. Whatever is refused is refused honestly (I6)."""
    taken: list[Image] = []
    with registry.client() as client:
        client.event_hooks = {"response": [check_answer]}
        for number in range(500):
            if taken and number % 4 == 0:
                pull_whole(client, taken[number // 2 % len(taken)])
            image = Image(name, f"v{number}", [b"{}%d" % number, os.urandom(200_000)])
            try:
                Pusher(client).push(image, way=("whole", "put", "stream", "chunks")[number % 4])
            except AssertionError as refused:
                check_refusal(str(refused))
                if taken:
                    pull_whole(client, taken[-1])
                return taken
            taken.append(image)
    raise AssertionError("the disk was never full")


def check_answer(answer: httpx2.Response) -> None:
    """A success, or 507 or 503 in the specification's form with a time to wait."""
    if answer.status_code < 400:
        return
    assert answer.status_code in (503, 507), answer.read()
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/json"


def check_refusal(text: str) -> None:
    """An error of the specification's form that says what is the matter."""
    assert '"UNAVAILABLE"' in text, text
    assert "full" in text, text


def check_all(registry: Registry, images: list[Image]) -> None:
    """I1: everything that was acknowledged is readable."""
    with registry.client() as client:
        for image in images:
            pull_whole(client, image)


def status_of_a_push(registry: Registry) -> httpx2.Response:
    """One more blob."""
    blob = os.urandom(300_000)
    with registry.client() as client:
        return client.post(f"/v2/more/blobs/uploads/?digest={Digest.of(blob)}", content=blob)


@pytest.mark.parametrize("reserve", ["0", "2MiB"], ids=["no reserve", "reserve"])
def test_one_disk_for_everything(mount: Mount, start_registry: Callable[..., Registry], reserve: str) -> None:
    """With and without a reserve: 507 or 503 with Retry-After; reads go on; room is enough to go on."""
    disk = mount("disk", "size=24m")
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 8_000_000)
    registry = start_registry("--storage-reserve-bytes", reserve, data=disk / "data")
    taken = fill(registry, "full/app")
    assert len(taken) > 5
    refused = status_of_a_push(registry)
    assert refused.status_code in (503, 507)
    assert int(refused.headers["retry-after"]) > 0
    check_all(registry, taken)
    assert httpx2.get(f"{registry.url}/v2/full/app/tags/list").json()["tags"]
    ballast.unlink()
    assert status_of_a_push(registry).status_code == 201
    check_all(registry, [*taken, *push_more(registry)])
    assert registry.stop() == 0
    check_all(start_registry(data=disk / "data"), taken)


def push_more(registry: Registry) -> list[Image]:
    """Two images that there is room for now."""
    images = [Image("more/app", f"v{number}", [b"{}", os.urandom(100_000)]) for number in range(2)]
    with registry.client() as client:
        for image in images:
            Pusher(client).push(image, way="stream")
    return images


def test_the_disk_of_the_blobs(mount: Mount, start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """The database has room and stays consistent; readiness names the store as degraded."""
    disk = mount("blobs", "size=8m")
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 2_000_000)
    registry = start_registry("--storage", str(disk / "b"), "--storage-reserve-bytes", "0", data=tmp_path / "data")
    taken = fill(registry, "full/app")
    while True:
        try:
            with (disk / "rest").open("ab") as rest:
                rest.write(b"\0" * 4096)
        except OSError:
            break
    ready = httpx2.get(f"{registry.url}/readyz")
    assert ready.status_code == 200
    assert "storage" in ready.json()["degraded"]
    check_all(registry, taken)
    ballast.unlink()
    (disk / "rest").unlink()
    check_all(registry, [*taken, *push_more(registry)])


def test_the_disk_of_the_database(mount: Mount, start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """Blobs have room, facts do not: no acknowledged image is lost, and nothing is half done."""
    disk = mount("facts", "size=3m")
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 1_500_000)
    url = f"sqlite:///{disk / 'registry.db'}"
    registry = start_registry("--database", url, "--storage-reserve-bytes", "0", data=tmp_path / "data")
    taken = fill(registry, "full/app")
    check_all(registry, taken)
    ballast.unlink()
    check_all(registry, [*taken, *push_more(registry)])


def test_no_more_files(mount: Mount, start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """Inodes run out before bytes do: the same honest answer."""
    disk = mount("inodes", "size=64m,nr_inodes=60")
    ballast = [disk / f"ballast{number}" for number in range(15)]
    for file in ballast:
        file.touch()
    registry = start_registry("--storage", str(disk / "b"), "--storage-reserve-bytes", "0", data=tmp_path / "data")
    taken = fill(registry, "full/app")
    check_all(registry, taken)
    refused = status_of_a_push(registry)
    assert refused.status_code in (503, 507), refused.text
    for file in ballast:
        file.unlink()
    assert status_of_a_push(registry).status_code == 201
    check_all(registry, [*taken, *push_more(registry)])
