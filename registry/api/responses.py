"""Answers, and how they are sent: a few bytes at once, or a blob in pieces that are never all in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from registry.api.asgi import Headers, Scope, Send
from registry.blobstore.base import BlobReader
from registry.core.byterange import ByteRange
from registry.core.errors import ContentCorrupt

_COMMON: Headers = [(b"docker-distribution-api-version", b"registry/2.0")]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers without Content-Length, and a small body; or no body but its length, for HEAD."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    length: int | None = None

    async def send(self, _scope: Scope, send: Send, *, close: bool) -> None:
        """Send it; `close` ends the connection after it. A 204 or 304 has no length."""
        headers = [*_COMMON, *self.headers]
        if self.status not in (204, 304):
            length = len(self.body) if self.length is None else self.length
            headers.append((b"content-length", str(length).encode()))
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})

    async def aclose(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True, slots=True)
class LinesAnswer:
    """JSON, one value a line, in pieces that are made while they are sent: nobody knows how many. A failure in the
    middle cuts the connection."""

    pieces: AsyncGenerator[bytes]
    headers: Headers = field(default_factory=list)

    async def send(self, _scope: Scope, send: Send, *, close: bool) -> None:
        """Send them."""
        headers = [*_COMMON, *self.headers]
        if close:
            headers.append((b"connection", b"close"))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for piece in self.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Make no more pieces. Idempotent."""
        await self.pieces.aclose()


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """A blob or a range of it, 200 or 206. It owns the reader and closes it."""

    status: int
    headers: Headers
    reader: BlobReader
    part: ByteRange
    verify: bool = False
    """Hash what is sent, and cut the connection before the last piece if it is not the blob."""

    async def send(self, scope: Scope, send: Send, *, close: bool) -> None:
        """Send it, without copying where the server can. Raises ContentCorrupt in the middle of the body, when the
        only honest thing left is to cut the connection."""
        headers = [*_COMMON, *self.headers, (b"content-length", str(self.part.count).encode())]
        if close:
            headers.append((b"connection", b"close"))
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            if self.part.count == 0:
                await send({"type": "http.response.body"})
            elif not self.verify and self._can_send_file(scope):
                await send(
                    {
                        "type": "http.response.zerocopysend",
                        "file": self.reader.file,
                        "offset": self.part.offset,
                        "count": self.part.count,
                    }
                )
            else:
                await self._send_pieces(send)
        finally:
            await self.reader.aclose()

    async def aclose(self) -> None:
        """Release the reader. Idempotent."""
        await self.reader.aclose()

    def _can_send_file(self, scope: Scope) -> bool:
        return self.reader.file is not None and "http.response.zerocopysend" in scope.get("extensions", {})

    async def _send_pieces(self, send: Send) -> None:
        left = self.part.count
        async for piece in self._pieces():
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})

    async def _pieces(self) -> AsyncIterator[bytes]:
        """The part's pieces; when verifying, each is held back until the next one is read and the last until the
        hash is right."""
        pieces = self.reader.chunks(self.part.offset, self.part.count)
        if not self.verify or self.part.count != self.reader.info.size:
            async for piece in pieces:
                yield piece
            return
        digest = self.reader.info.key.digest
        hasher = digest.algorithm.hasher()
        held = b""
        async for piece in pieces:
            if held:
                yield held
            await asyncio.to_thread(hasher.update, piece)
            held = piece
        if hasher.digest() != digest.raw:
            raise ContentCorrupt("the stored blob does not have its digest", digest=str(digest))
        yield held


AnyAnswer = Answer | BlobAnswer | LinesAnswer
