"""Byte ranges: the `Range` of a download and the `Content-Range` of a chunk.

Sources: RFC 9110 §14; OCI distribution specification, "Pushing a blob in chunks".
"""

import re
from dataclasses import dataclass

from registry.core.errors import RangeInvalid, RangeUnsatisfiable
from registry.core.limits import SIZE_MAX

_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,20})-([0-9]{0,20})[ \t]*", re.IGNORECASE)
_CHUNK = re.compile(r"(?:bytes[ =])?([0-9]{1,20})-([0-9]{1,20})(?:/(?:\*|[0-9]{1,20}))?")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`count` bytes beginning at `offset`; `count` is at least 1."""

    offset: int
    count: int

    @property
    def last(self) -> int:
        """Position of the last byte."""
        return self.offset + self.count - 1


def parse_range(header: str, size: int) -> ByteRange | None:
    """What a `Range` header asks of a blob of `size` bytes.

    None means to send it whole: another unit, several ranges (RFC 9110 §14.2 allows to ignore them, and the sum
    of overlapping ones could exceed the blob), or no syntax of a range. Raises RangeUnsatisfiable where the
    range is one but holds no byte, also where it ends before it begins.
    """
    match = _ONE_RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start >= size or end < start:
        raise RangeUnsatisfiable("the range holds no byte of the blob", size=size)
    return ByteRange(start, end - start + 1)


def _suffix(length: str, size: int) -> ByteRange | None:
    if not length:
        return None
    count = min(int(length), size)
    if count == 0:
        raise RangeUnsatisfiable("the range holds no byte of the blob", size=size)
    return ByteRange(size - count, count)


def parse_chunk_range(header: str) -> ByteRange:
    """The place of a chunk: `start-end`, both inclusive; `bytes start-end/*` is understood as well.

    Raises RangeInvalid.
    """
    match = _CHUNK.fullmatch(header.strip(" \t"))
    if match is None:
        raise RangeInvalid("Content-Range of a chunk is <first byte>-<last byte>", content_range=header[:100])
    start, end = int(match[1]), int(match[2])
    if end < start or end >= SIZE_MAX:
        raise RangeInvalid("Content-Range ends before it begins, or too far", content_range=header[:100])
    return ByteRange(start, end - start + 1)
