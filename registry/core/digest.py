"""Digests: the value type, its text and its packed form, and the hash functions behind it.

Source: OCI image specification, "Descriptor", "Digests".
"""

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, Self

from registry.core.errors import DigestInvalid

Bytes = bytes | bytearray | memoryview


class Hasher(Protocol):
    """What is used of `hashlib`'s objects."""

    def update(self, data: Bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Algorithm(IntEnum):
    """The supported algorithms; the value is the first byte of a packed digest and never changes."""

    SHA256 = 1
    SHA512 = 2

    @property
    def label(self) -> str:
        """The name in a digest's text: `sha256`, `sha512`."""
        return self.name.lower()

    @property
    def size_bytes(self) -> int:
        """Length of the raw hash."""
        return 32 if self is Algorithm.SHA256 else 64

    def hasher(self) -> Hasher:
        """A fresh running hash."""
        return hashlib.sha256() if self is Algorithm.SHA256 else hashlib.sha512()

    @classmethod
    def parse(cls, label: str) -> Self:
        """From `sha256` or `sha512`. Raises DigestInvalid."""
        for algorithm in cls:
            if algorithm.label == label:
                return algorithm
        raise DigestInvalid("unsupported digest algorithm", supported=[a.label for a in cls])


_TEXT = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Digest:
    """An algorithm and its raw hash. Equal, hashable, ordered by nothing."""

    algorithm: Algorithm
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `sha256:<64 lower-case hex>` or `sha512:<128>`. Raises DigestInvalid."""
        if _TEXT.fullmatch(text) is None:
            raise DigestInvalid("a digest is sha256:<64 hex digits> or sha512:<128>, in lower case", digest=text[:200])
        label, _, encoded = text.partition(":")
        return cls(Algorithm.parse(label), bytes.fromhex(encoded))

    @classmethod
    def of(cls, content: Bytes, algorithm: Algorithm = Algorithm.SHA256) -> Self:
        """The digest of `content`."""
        hasher = algorithm.hasher()
        hasher.update(content)
        return cls(algorithm, hasher.digest())

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """From what `pack` made."""
        return cls(Algorithm(packed[0]), packed[1:])

    def pack(self) -> bytes:
        """The stored form: one byte of algorithm, then the raw hash."""
        return bytes((self.algorithm,)) + self.raw

    @property
    def hex(self) -> str:
        """The hash alone, in lower-case hex."""
        return self.raw.hex()

    def __str__(self) -> str:
        return f"{self.algorithm.label}:{self.raw.hex()}"
