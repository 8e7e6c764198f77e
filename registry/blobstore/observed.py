"""A blob store that reports what every operation took: the numbers behind metrics and logs."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self, TypeVar

from registry.blobstore.base import (
    BlobInfo,
    BlobReader,
    BlobStore,
    Checkpoint,
    ObjectKey,
    StoredObject,
    UploadSession,
    Usage,
)
from registry.core.digest import Algorithm, Bytes, Digest

T = TypeVar("T")


class Record(Protocol):
    """Takes one finished operation. Called on the loop, so it has to be quick, and must not raise."""

    def __call__(self, operation: str, seconds: float, error: str | None, size_bytes: int) -> None:
        """`operation` is the method's name (`read` is one chunk of a reader).

        `error` is the name of the exception that came out, also of a cancellation, and None after a success.
        `size_bytes` is what was moved or published, 0 where no content was touched.
        """
        ...


class _Span:
    """The time of one operation. `size_bytes` is set by whoever knows it. The end of an iteration is none."""

    def __init__(self, record: Record, operation: str) -> None:
        self.size_bytes = 0
        self._record = record
        self._operation = operation
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is StopAsyncIteration:
            return
        seconds = time.perf_counter() - self._started
        self._record(self._operation, seconds, None if kind is None else kind.__name__, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ObservedStore:
    """`inner`, with every operation reported to `record`: also those of its sessions and readers.

    Results and errors are those of `inner`.
    """

    inner: BlobStore
    record: Record

    async def create_upload(
        self, upload_id: str, object_id: int, algorithm: Algorithm = Algorithm.SHA256
    ) -> UploadSession:
        """Reported as `create_upload`."""
        with _Span(self.record, "create_upload"):
            session = await self.inner.create_upload(upload_id, object_id, algorithm)
        return _Session(session, self.record)

    async def resume_upload(
        self,
        upload_id: str,
        object_id: int,
        algorithm: Algorithm = Algorithm.SHA256,
        checkpoint: Checkpoint | None = None,
    ) -> UploadSession:
        """Reported as `resume_upload`."""
        with _Span(self.record, "resume_upload"):
            session = await self.inner.resume_upload(upload_id, object_id, algorithm, checkpoint)
        return _Session(session, self.record)

    async def upload_offset(self, upload_id: str) -> int:
        """Reported as `upload_offset`."""
        with _Span(self.record, "upload_offset"):
            return await self.inner.upload_offset(upload_id)

    async def remove_upload(self, upload_id: str) -> None:
        """Reported as `remove_upload`."""
        with _Span(self.record, "remove_upload"):
            await self.inner.remove_upload(upload_id)

    async def stat(self, key: ObjectKey) -> BlobInfo | None:
        """Reported as `stat`."""
        with _Span(self.record, "stat"):
            return await self.inner.stat(key)

    async def confirm(self, key: ObjectKey) -> BlobInfo | None:
        """Reported as `confirm`."""
        with _Span(self.record, "confirm"):
            return await self.inner.confirm(key)

    async def open(self, key: ObjectKey) -> BlobReader:
        """Reported as `open`; the bytes are reported as they are read."""
        with _Span(self.record, "open"):
            reader = await self.inner.open(key)
        return _Reader(reader, self.record)

    async def delete(self, object_id: int, digest: Digest | None) -> None:
        """Reported as `delete`."""
        with _Span(self.record, "delete"):
            await self.inner.delete(object_id, digest)

    async def direct_url(self, key: ObjectKey) -> str | None:
        """Reported as `direct_url`."""
        with _Span(self.record, "direct_url"):
            return await self.inner.direct_url(key)

    async def iter_objects(self) -> AsyncIterator[StoredObject]:
        """Reported as `iter_objects`, once an entry: the time that the store took to find it."""
        async for info in _observe(self.inner.iter_objects(), self.record, "iter_objects", _nothing):
            yield info

    async def iter_uploads(self) -> AsyncIterator[str]:
        """Reported as `iter_uploads`, once an entry."""
        async for upload_id in _observe(self.inner.iter_uploads(), self.record, "iter_uploads", _nothing):
            yield upload_id

    async def usage(self) -> Usage:
        """Reported as `usage`."""
        with _Span(self.record, "usage"):
            return await self.inner.usage()

    async def check(self) -> None:
        """Reported as `check`."""
        with _Span(self.record, "check"):
            await self.inner.check()

    async def identity(self) -> str | None:
        """Reported as `identity`."""
        with _Span(self.record, "identity"):
            return await self.inner.identity()

    async def claim(self, identity: str) -> None:
        """Reported as `claim`."""
        with _Span(self.record, "claim"):
            await self.inner.claim(identity)

    async def aclose(self) -> None:
        """Close `inner`; not reported."""
        await self.inner.aclose()


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload session that reports `write`, `commit`, `suspend` and `abort`."""

    inner: UploadSession
    record: Record

    @property
    def offset(self) -> int:
        return self.inner.offset

    async def write(self, data: list[Bytes]) -> None:
        before = self.inner.offset
        with _Span(self.record, "write") as span:
            try:
                await self.inner.write(data)
            finally:
                span.size_bytes = self.inner.offset - before

    async def commit(self, expected: Digest) -> BlobInfo:
        with _Span(self.record, "commit") as span:
            info = await self.inner.commit(expected)
            span.size_bytes = info.size
            return info

    async def suspend(self) -> Checkpoint | None:
        with _Span(self.record, "suspend"):
            return await self.inner.suspend()

    async def abort(self) -> None:
        with _Span(self.record, "abort"):
            await self.inner.abort()


@dataclass(frozen=True, slots=True)
class _Reader:
    """A reader that reports every chunk as `read`."""

    inner: BlobReader
    record: Record

    @property
    def info(self) -> BlobInfo:
        return self.inner.info

    @property
    def file(self) -> BinaryIO | None:
        return self.inner.file

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        return _observe(self.inner.chunks(offset, count), self.record, "read", len)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def _observe(
    source: AsyncIterator[T], record: Record, operation: str, size: Callable[[T], int]
) -> AsyncIterator[T]:
    """The items of `source`, each reported with the time that it took, without that of whoever uses it."""
    while True:
        span = _Span(record, operation)
        try:
            with span:
                item = await anext(source)
                span.size_bytes = size(item)
        except StopAsyncIteration:
            return
        yield item


def _nothing(_item: object) -> int:
    return 0
