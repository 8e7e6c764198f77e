"""I8: what is deleted gives its space back by itself, while the server serves, and whenever it is killed."""

from collections.abc import Callable

import httpx2

from registry.core.digest import Digest
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.running import Registry, wait_until

SHORT = ("--lease-s", "2", "--collect-interval-s", "1", "--removal-grace-s", "1", "--upload-ttl-s", "2")


def stored(registry: Registry) -> dict[str, int]:
    """Every file below the blob store by its path, with its size, but for the mark."""
    root = registry.data / "blobs"
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "depotry-store.json"]
    found = {}
    for path in files:
        try:
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
