"""A running hash that can be put aside and taken up by another process.

The hashes of the standard library cannot be saved. `rehashes` can: its state is a few numbers and the bytes of the
block that is not full yet, nothing that could run. A state is checked before it is loaded; one that does not fit is as
good as none, and the bytes are read again. Without the library, a hash ends with its session.
"""

from dataclasses import dataclass
from typing import Any

from registry.core.digest import Algorithm, Bytes, Digest, Hasher

PIECE_BYTES = 256 * 1024
"""The library holds the interpreter's lock while it hashes: at most so much at once."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a saved state: first the words, then the number of blocks, then the open block."""

    words: int
    count: int
    block: int

    @property
    def size(self) -> int:
        return self.words + self.count + self.block

    def offset(self, state: bytes) -> int | None:
        """Bytes that were hashed, None where this cannot be a state."""
        if len(state) != self.size:
            return None
        blocks = int.from_bytes(state[self.words : self.words + self.count], "little")
        position = state[self.words + self.count]
        return None if position >= self.block else blocks * self.block + position


_LAYOUTS = {Algorithm.SHA256: _Layout(32, 8, 64), Algorithm.SHA512: _Layout(64, 16, 128)}


def _engine(algorithm: Algorithm) -> Any:
    """The library's class for an algorithm, None where the library is not installed."""
    try:
        import rehashes
    except ImportError:
        return None
    return {Algorithm.SHA256: rehashes.PySha256, Algorithm.SHA512: rehashes.PySha512}[algorithm]


class _Saveable:
    """The library's hash as a `Hasher`, with its state."""

    def __init__(self, hasher: Any) -> None:
        self._hasher = hasher

    def update(self, data: Bytes, /) -> None:
        """It takes only `bytes`."""
        view = memoryview(data).cast("B")
        if isinstance(data, bytes) and len(data) <= PIECE_BYTES:
            self._hasher.update(data)
            return
        for start in range(0, len(view), PIECE_BYTES):
            self._hasher.update(bytes(view[start : start + PIECE_BYTES]))

    def digest(self) -> bytes:
        """It answers in hexadecimal; it can go on afterwards."""
        return bytes.fromhex(self._hasher.finalize())

    def state(self) -> bytes:
        """All of it."""
        state: bytes = self._hasher.serialize()
        return state


class ResumableHash:
    """The hash of the first `offset` bytes of an upload."""

    def __init__(self, algorithm: Algorithm, hasher: Hasher, offset: int = 0) -> None:
        self.algorithm = algorithm
        self.offset = offset
        self._hasher = hasher

    @classmethod
    def begin(cls, algorithm: Algorithm) -> "ResumableHash":
        """The hash of nothing."""
        engine = _engine(algorithm)
        return cls(algorithm, algorithm.hasher() if engine is None else _Saveable(engine()))

    @classmethod
    def load(cls, algorithm: Algorithm, state: bytes | None, offset: int) -> "ResumableHash | None":
        """The hash that was saved after `offset` bytes; None if there is none that fits, so that bytes must be read."""
        if offset == 0:
            return cls.begin(algorithm)
        engine = _engine(algorithm)
        if state is None or engine is None or _LAYOUTS[algorithm].offset(state) != offset:
            return None
        try:
            return cls(algorithm, _Saveable(engine.deserialize(state)), offset)
        except (TypeError, ValueError):
            return None

    def update(self, piece: Bytes) -> None:
        """Hash the next bytes."""
        self._hasher.update(piece)
        self.offset += memoryview(piece).nbytes

    def digest(self) -> Digest:
        """The digest of what was hashed so far."""
        return Digest(self.algorithm, self._hasher.digest())

    def state(self) -> bytes | None:
        """What `load` takes; None where it cannot be saved."""
        return self._hasher.state() if isinstance(self._hasher, _Saveable) else None
