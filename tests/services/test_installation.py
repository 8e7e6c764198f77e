"""A database and a store that do not belong together are refused, before anything is lost."""

from pathlib import Path

import pytest

from registry.blobstore.filesystem import FilesystemStore
from registry.core.digest import Digest
from registry.metadata import installation as installation_rows
from registry.services import installation
from registry.services.clock import system_clock
from registry.services.installation import Installation, WrongPair
from tests.backends import Backend
from tests.backends.sqlite import SqliteBackend
from tests.services.conftest import House

pytestmark = pytest.mark.anyio


async def test_a_new_pair_is_made_and_found_again(house: House, tmp_path: Path) -> None:
    """The same id in both, at every start."""
    store = FilesystemStore(tmp_path / "blobs")
    first = await Installation(house.database, store, system_clock).open()
    assert await Installation(house.database, store, system_clock).open() == first == await store.identity()
    await store.aclose()


async def test_a_new_database_does_not_get_an_old_store(house: House, backend: Backend, tmp_path: Path) -> None:
    """CR-14: a deleted database is not silently a new, empty registry."""
    store = FilesystemStore(tmp_path / "blobs")
    await Installation(house.database, store, system_clock).open()
    other = backend.new()
    with pytest.raises(WrongPair):
        await Installation(other, store, system_clock).open()
    await store.aclose()


async def test_stores_are_not_swapped(house: House, backend: Backend, tmp_path: Path) -> None:
    """Each database goes with its own store."""
    other = backend.new()
    mine, theirs = FilesystemStore(tmp_path / "mine"), FilesystemStore(tmp_path / "theirs")
    await Installation(house.database, mine, system_clock).open()
    await Installation(other, theirs, system_clock).open()
    with pytest.raises(WrongPair):
        await Installation(house.database, theirs, system_clock).open()
    await mine.aclose()
    await theirs.aclose()


async def test_a_disk_that_is_not_mounted_is_not_an_empty_store(house: House, tmp_path: Path) -> None:
    """A database that knows blobs refuses a store without its mark."""
    await house.blob(b"x")
    await house.database.write(
        lambda connection: installation_rows.create(connection, installation_rows.Installed("a", "b"), now=0)
    )
    store = FilesystemStore(tmp_path / "mounted-nowhere")
    with pytest.raises(WrongPair):
        await Installation(house.database, store, system_clock).open()
    await store.aclose()


async def test_foreign_content_is_not_adopted(house: House, tmp_path: Path) -> None:
    """A folder that holds blobs but no mark is somebody's, and collection would take it."""
    digest = Digest.of(b"x")
    folder = tmp_path / "blobs" / "sha256" / digest.hex[:2]
    folder.mkdir(parents=True)
    (folder / f"{digest.hex}.1").write_bytes(b"x")
    store = FilesystemStore(tmp_path / "blobs")
    with pytest.raises(WrongPair):
        await Installation(house.database, store, system_clock).open()
    await store.aclose()


async def test_ids_are_skipped_after_a_reboot(sqlite_backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that unsynced bookkeeping may have lost in a power cut are not given out again."""
    house = House(sqlite_backend.new())
    await Installation(house.database, house.store, system_clock).open()
    await house.blob(b"x")
    await Installation(house.database, house.store, system_clock).open()
    await house.blob(b"y")
    monkeypatch.setattr(installation, "boot_id", lambda: "after the power cut")
    await Installation(house.database, house.store, system_clock).open()
    await house.blob(b"z")
    ids = [row[0] for row in await house.rows("SELECT id FROM objects ORDER BY id")]
    assert ids[1] - ids[0] == 1
    assert ids[2] - ids[1] > installation_rows.IDS_SKIPPED
