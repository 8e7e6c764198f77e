"""Objects of an S3 store on their way to a client.

A download is one request, whose answer is read piece by piece as the client takes them: between two pieces it holds a
connection and no thread. An answer that breaks off is asked for again from there; the object counts as too short only
when the service says so itself. So many answers may be open at once; for one more, the one that nobody has read from
for the longest time is closed, and goes on with a request of its own when its client comes back.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO

from registry.blobstore.base import BlobInfo
from registry.blobstore.s3_client import S3Client, Stream, translated
from registry.blobstore.threads import Threads
from registry.core.errors import ContentCorrupt, Unavailable
from registry.core.limits import CHUNK_BYTES

OPEN_ANSWERS = 64
PIECE_BYTES = CHUNK_BYTES // 2
"""Bytes that are read at once: what is on its way to many clients is in memory."""
RESUMES_MAX = 3
"""How often in a row an answer may break off without a byte."""


class Answer:
    """The bytes of one answer. Used by one reader at a time."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.busy = False
        self.closed = False

    def read(self, count: int) -> bytes:
        """The next bytes, fewer at the end, which may have come too early. In a thread. Raises Unavailable."""
        with translated():
            return self.stream.read(count)


class Answers:
    """All open answers of a store. On the loop."""

    def __init__(self, client: S3Client, threads: Threads) -> None:
        self.client = client
        self.threads = threads
        self._open: OrderedDict[Answer, None] = OrderedDict()

    async def ask(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, Answer] | None:
        """Whole size of an object and its bytes from `start`; None if it is missing. Raises Unavailable."""
        opened = await self.threads.run(self.client.open, key, start, end, undo=_close)
        if opened is None:
            return None
        answer = Answer(opened[1])
        self._open[answer] = None
        self._make_room()
        return opened[0], answer

    async def read(self, answer: Answer, count: int) -> bytes:
        """The next bytes; none where it broke off, or was closed to make room."""
        if answer.closed:
            return b""
        self._open.move_to_end(answer)
        answer.busy = True
        try:
            return await self.threads.run(answer.read, count)
        except (Unavailable, OSError):
            return b""
        finally:
            answer.busy = False

    def close(self, answer: Answer) -> None:
        """Give its connection up. Idempotent."""
        if not answer.closed:
            answer.closed = True
            self._open.pop(answer, None)
            answer.stream.close()

    def close_all(self) -> None:
        """The store is closed."""
        for answer in list(self._open):
            self.close(answer)

    def _make_room(self) -> None:
        while len(self._open) > OPEN_ANSWERS:
            idle = next((answer for answer in self._open if not answer.busy), None)
            if idle is None:
                return
            self.close(idle)


def _close(opened: tuple[int, Stream] | None) -> None:
    if opened is not None:
        opened[1].close()


@dataclass(slots=True)
class S3Reader:
    """One object. `first` is the answer that opening it brought, for the first iterator that begins at its
    beginning."""

    info: BlobInfo
    key: str
    answers: Answers
    first: Answer | None

    @property
    def file(self) -> BinaryIO | None:
        """None: the bytes are elsewhere."""
        return None

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """`count` bytes from `offset`. Raises ContentCorrupt where the object ends before, Unavailable where the
        service does not deliver them."""
        end, breaks = offset + count, 0
        answer = self._take_first() if offset == 0 else None
        try:
            while offset < end:
                if answer is None:
                    answer = await self._ask(offset, end)
                piece = await self.answers.read(answer, min(PIECE_BYTES, end - offset))
                if piece:
                    yield piece
                    offset, breaks = offset + len(piece), 0
                    continue
                if not answer.closed:
                    breaks += 1
                self.answers.close(answer)
                answer = None
                await self._look(offset, breaks)
        finally:
            if answer is not None:
                self.answers.close(answer)

    async def aclose(self) -> None:
        """Give the connection up. Idempotent."""
        answer = self._take_first()
        if answer is not None:
            self.answers.close(answer)

    def _take_first(self) -> Answer | None:
        first, self.first = self.first, None
        return first

    async def _ask(self, start: int, end: int) -> Answer:
        asked = await self.answers.ask(self.key, start, end)
        if asked is None:
            raise ContentCorrupt("stored content is missing", digest=str(self.info.key.digest))
        return asked[1]

    async def _look(self, offset: int, breaks: int) -> None:
        """Whether it is worth asking again. Raises ContentCorrupt, Unavailable."""
        size = await self.answers.threads.run(self.answers.client.size, self.key)
        if size is None or size <= offset:
            raise ContentCorrupt("stored content is too short", digest=str(self.info.key.digest))
        if breaks > RESUMES_MAX:
            raise Unavailable("the blob store failed: the S3 service does not deliver an object to its end")
