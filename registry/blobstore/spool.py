"""Where the bytes of an upload wait on this machine until the object store has them.

A spool file has no name: it is gone with the process that opened it, however that ends, and nobody has to clean up.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from registry.blobstore.layout import room_of
from registry.core.digest import Algorithm, Bytes, Digest
from registry.core.errors import StorageFull
from registry.core.limits import CHUNK_BYTES, MIB

SEND_BYTES = 256 * 1024
"""What a body gives away at once at least: its readers ask for a few kilobytes."""
RESERVE_STEP_BYTES = 16 * MIB
"""A file looks at the free room once in so many bytes."""
KEPT_FILES = 64
"""Files of suspended uploads that are kept, so that their tail need not be fetched again."""


class SpoolFile:
    """Bytes in the order in which they came. In threads, one call at a time."""

    def __init__(self, descriptor: int, folder: Path, reserve_bytes: int) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._folder = folder
        self._reserve = reserve_bytes
        self._look_for_room_at = 0

    def append(self, piece: Bytes) -> None:
        """Add bytes, all or none. Raises StorageFull, OSError."""
        if self.size >= self._look_for_room_at:
            require_room(self._folder, self._reserve)
            self._look_for_room_at = self.size + RESERVE_STEP_BYTES
        rest = memoryview(piece).cast("B")
        at = self.size
        while rest:
            written = os.pwrite(self._descriptor, rest, at)
            at += written
            rest = rest[written:]
        self.size = at

    def pieces(self, start: int) -> Iterator[memoryview]:
        """Everything from `start`, in pieces of 1 MiB; each is overwritten by the next. Raises OSError."""
        buffer = memoryview(bytearray(max(1, min(CHUNK_BYTES, self.size - start))))
        while start < self.size:
            count = os.preadv(self._descriptor, [buffer[: self.size - start]], start)
            if count == 0:
                raise OSError("the spool file ends before its length")
            yield buffer[:count]
            start += count

    def digest(self, start: int, algorithm: Algorithm) -> Digest:
        """The digest of everything from `start`. Raises OSError."""
        hasher = algorithm.hasher()
        for piece in self.pieces(start):
            hasher.update(piece)
        return Digest(algorithm, hasher.digest())

    def body(self) -> "Body":
        """All of it as the body of a request."""
        return Body(self._descriptor, self.size)

    def close(self) -> None:
        """Give the room back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Body:
    """The first `size` bytes of a file as something that can be read, more than once, by one reader at a time."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._at = 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes; more than asked for where that is little. Empty at the end."""
        left = self._size - self._at
        wanted = left if count < 0 else min(left, max(count, SEND_BYTES))
        piece = os.pread(self._descriptor, wanted, self._at) if wanted else b""
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere; returns where that is."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at


class Spool:
    """Makes spool files in a folder. Uploads stop when less than `reserve_bytes` would stay free there."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._reserve = reserve_bytes

    def file(self) -> SpoolFile:
        """A new, empty file. In a thread. Raises StorageFull, OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_room(self._folder, self._reserve)
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            return SpoolFile(os.dup(file.fileno()), self._folder, self._reserve)


class KeptFiles:
    """Spool files of suspended uploads, the most recent ones. Used on the loop alone."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, tuple[int, SpoolFile]] = OrderedDict()

    def keep(self, upload_id: str, epoch: int, file: SpoolFile) -> None:
        """Keep the tail that a session with this epoch has stored."""
        self.take(upload_id, 0)
        self._files[upload_id] = (epoch, file)
        if len(self._files) > KEPT_FILES:
            self._files.popitem(last=False)[1][1].close()

    def take(self, upload_id: str, epoch: int) -> SpoolFile | None:
        """The tail of this epoch, which is no longer kept here. One of another epoch is of no use any more."""
        kept, file = self._files.pop(upload_id, (0, None))
        if file is not None and kept != epoch:
            file.close()
            return None
        return file

    def close(self) -> None:
        """Close them all."""
        while self._files:
            self._files.popitem()[1][1].close()


def require_room(folder: Path, reserve_bytes: int) -> None:
    """Raises StorageFull if less than this is free, OSError."""
    if reserve_bytes and room_of(os.statvfs(folder))[0] < reserve_bytes:
        raise StorageFull("the folder of uploads on their way is full up to its reserve", reserve_bytes=reserve_bytes)
