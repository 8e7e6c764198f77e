"""The scrub finds what the disk has changed, marks it, and the next push heals it."""

from pathlib import Path

import pytest

from registry.blobstore.filesystem import FilesystemStore
from registry.core.digest import Digest
from registry.core.errors import BlobUnknown, ContentCorrupt
from registry.jobs.scrub import Scrub
from tests.services.conftest import NAME, House

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "missing"])
async def test_damage_is_found_and_healed(house: House, tmp_path: Path, damage: str) -> None:
    """CR-12, CR-31, on files: found, marked, missing for a push, never served, healed."""
    store = FilesystemStore(tmp_path / "blobs")
    await store.claim("a")
    house.store = store  # type: ignore[assignment]
    good, bad = await house.blob(b"good"), await house.blob(b"content")
    spoil(next((tmp_path / "blobs").rglob(f"{bad.hex}.*")), damage)
    scrub = Scrub(house.database, store, house.clock)
    found = {scrubbed.object.digest: scrubbed.problem async for scrubbed in scrub.run()}
    assert found[good] is None
    assert found[bad] is not None
    with pytest.raises(BlobUnknown):
        await house.pull.stat_blob(await house.at(NAME), bad)
    with pytest.raises(ContentCorrupt):
        await house.content(bad)
    await house.blob(b"content")
    assert await house.content(bad) == b"content"
    assert [scrubbed.problem async for scrubbed in scrub.run()] == [None, None]
    await store.aclose()


async def test_a_mark_on_a_whole_object_goes(house: House, tmp_path: Path) -> None:
    """What was away when somebody pulled it, and is there again."""
    store = FilesystemStore(tmp_path / "blobs")
    await store.claim("a")
    house.store = store  # type: ignore[assignment]
    digest = await house.blob(b"content")
    path = next((tmp_path / "blobs").rglob(f"{digest.hex}.*"))
    away = path.rename(tmp_path / "away")
    with pytest.raises(ContentCorrupt):
        await house.content(digest)
    away.rename(path)
    with pytest.raises(BlobUnknown):
        await house.pull.stat_blob(await house.at(NAME), digest)
    scrub = Scrub(house.database, store, house.clock)
    assert [scrubbed.problem async for scrubbed in scrub.run()] == [None]
    assert (await house.pull.stat_blob(await house.at(NAME), digest)).size == len(b"content")
    await store.aclose()


def spoil(path: Path, damage: str) -> None:
    """Damage a file as a disk would."""
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"flipped": b"C" + content[1:], "short": content[:-1], "long": content + b"!"}[damage])


async def test_a_pull_notices_a_lost_object(house: House) -> None:
    """Without any scrub: the first pull gets an error, and from then on the blob counts as corrupt."""
    digest = await house.blob(b"x")
    [info] = [info async for info in house.store.iter_objects()]
    await house.store.delete(info.object_id, info.digest)
    with pytest.raises(ContentCorrupt):
        await house.content(digest)
    with pytest.raises(BlobUnknown):
        await house.pull.stat_blob(await house.at(NAME), Digest.of(b"x"))
