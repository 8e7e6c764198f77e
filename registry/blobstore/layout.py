"""Where things are below the root of a filesystem store, and how their names are made durable."""

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from registry.blobstore.base import OBJECT_ID_MAX, BlobInfo, ObjectKey, StoredObject
from registry.core.digest import Algorithm, Digest
from registry.core.errors import StorageFull, Unavailable

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_OBJECT_FILE = re.compile(r"([0-9a-f]{64}|[0-9a-f]{128})\.(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that says which installation the store belongs to."""
        return self.root / "depotry-store.json"

    @property
    def uploads(self) -> Path:
        """The directory of unfinished uploads."""
        return self.root / "uploads"

    def upload(self, upload_id: str) -> Path:
        """The file of an upload."""
        return self.uploads / upload_id

    def part(self, upload_id: str) -> Path:
        """The file that replaces an upload whose content was sent twice."""
        return self.uploads / f"{upload_id}.part"

    def object(self, key: ObjectKey) -> Path:
        """The final name of an object: digest and id."""
        encoded = key.digest.hex
        return self.root / key.digest.algorithm.label / encoded[:2] / f"{encoded}.{key.object_id}"

    def require_marker(self) -> None:
        """Called where something is not there, before that is believed. Raises Unavailable."""
        if not self.marker.exists():
            raise Unavailable("the blob store has lost its marker: is its disk mounted?")

    def require_room(self, wanted: int, reserve: int) -> None:
        """Raises StorageFull if `wanted` more bytes would leave less than `reserve` free."""
        if reserve and room_of(os.statvfs(self.root))[0] - wanted < reserve:
            raise StorageFull("the blob store is full up to its reserve", reserve_bytes=reserve)


class Names:
    """The names of published objects, and which of their directories this process knows to be durable."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._durable: set[Path] = set()

    def publish(self, source: Path, key: ObjectKey, size: int) -> BlobInfo:
        """Rename a synced file to its final name, durably."""
        target = self.layout.object(key)
        for directory in (target.parent.parent, target.parent):
            with suppress(FileExistsError):
                os.mkdir(directory, DIRECTORY_MODE)
                self._durable.discard(directory)
        os.rename(source, target)
        try:
            self.sync(target)
        except OSError:
            # Nothing must be left that could be taken for durable when somebody asks again.
            with suppress(OSError):
                target.unlink(missing_ok=True)
            raise
        return BlobInfo(key, size)

    def sync(self, target: Path) -> None:
        """Sync the directory of an object, those above it, and the one that the object came from.

        A directory that exists may be another process's, made and not synced yet: so each process syncs each
        of them once, not only the ones that it made.
        """
        sync_directory(target.parent)
        for directory in (target.parent, target.parent.parent):
            if directory not in self._durable:
                sync_directory(directory.parent)
                self._durable.add(directory)
        # Else the old name could come back after a power cut, and appending to it would change the object.
        with suppress(FileNotFoundError):
            sync_directory(self.layout.uploads)


def remove_files(layout: Layout, upload_id: str) -> None:
    """Remove what an upload has left, if anything."""
    layout.part(upload_id).unlink(missing_ok=True)
    layout.upload(upload_id).unlink(missing_ok=True)


def list_objects(directory: Path, algorithm: Algorithm) -> list[StoredObject]:
    """The objects in one directory; names that are not ours are skipped."""
    try:
        with os.scandir(directory) as entries:
            found = [_object_of(entry, directory.name, algorithm) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [info for info in found if info is not None]


def _object_of(entry: os.DirEntry[str], prefix: str, algorithm: Algorithm) -> StoredObject | None:
    match = _OBJECT_FILE.fullmatch(entry.name)
    if match is None or not match[1].startswith(prefix) or len(match[1]) != 2 * algorithm.size_bytes:
        return None
    if int(match[2]) > OBJECT_ID_MAX:
        return None
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return StoredObject(int(match[2]), status.st_size, Digest(algorithm, bytes.fromhex(match[1])))


def room_of(room: os.statvfs_result) -> tuple[int, int]:
    """Free and total bytes for an ordinary user."""
    return room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize


def write_all(descriptor: int, piece: memoryview) -> None:
    """Write every byte, however many calls that takes."""
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durably(directory: Path) -> None:
    """Make a directory and what is missing above it."""
    if directory.exists():
        return
    make_durably(directory.parent)
    with suppress(FileExistsError):
        os.mkdir(directory, DIRECTORY_MODE)
    sync_directory(directory.parent)


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Processes that do the same here take turns."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_marker(layout: Layout, identity: str) -> None:
    """Write the marker, durably, in place of any other."""
    draft = layout.marker.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, FILE_MODE)
    try:
        write_all(descriptor, memoryview(json.dumps({"identity": identity}).encode()))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, layout.marker)
    sync_directory(layout.root)


def parse_marker(text: bytes) -> str:
    """Raises Unavailable."""
    try:
        marker = json.loads(text)
    except ValueError:
        marker = None
    identity = marker.get("identity") if isinstance(marker, dict) else None
    if not isinstance(identity, str):
        raise Unavailable("the marker of the blob store cannot be read")
    return identity
