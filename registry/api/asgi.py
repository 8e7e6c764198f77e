"""A request and its body as plain ASGI: no object is made that a small answer does not need."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from registry.core.digest import Bytes
from registry.core.errors import (
    ContentEncodingUnsupported,
    InvalidRequest,
    ManifestTooLarge,
    SizeInvalid,
    Unavailable,
)
from registry.core.limits import CHUNK_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

QUERY_FIELDS_MAX = 256
DRAIN_MAX_BYTES = 64 * 1024
"""An unread body up to this is read and dropped, so that the connection can go on."""


class ClientGone(Exception):
    """The client went away before its request was complete; nobody waits for an answer."""


class HeldBytes:
    """Bodies that are in memory while they arrive, all together: many clients that stop before the end of theirs must
    not fill it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def add(self, count: int) -> None:
        """Account for `count` more bytes. Raises Unavailable over the limit; they count all the same until removed."""
        self._held += count
        if self._held > self._limit:
            raise Unavailable("too many manifests are arriving at once", retry_after_s=1)

    def remove(self, count: int) -> None:
        """They are no longer held."""
        self._held -= count


class Request:
    """One request. Header names are lower-case bytes, values are text."""

    __slots__ = ("_receive", "body_complete", "body_started", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive
        self.body_started = False
        self.body_complete = False

    @property
    def method(self) -> str:
        """In upper case, as sent."""
        method: str = self.scope["method"]
        return method

    @property
    def raw_path(self) -> str:
        """The path as sent, not decoded."""
        raw: bytes = self.scope["raw_path"]
        return raw.decode("latin-1")

    def header(self, name: bytes) -> str | None:
        """The value of a header, None if absent. Several of one name are joined with commas (RFC 9110 §5.3)."""
        values = self.header_values(name)
        return ", ".join(values) if values else None

    def header_values(self, name: bytes) -> list[str]:
        """Every value of a header, apart."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]

    def query(self) -> dict[str, list[str]]:
        """The fields of the query, each with its values in order. Raises InvalidRequest if there are too many."""
        found: dict[str, list[str]] = {}
        text: bytes = self.scope["query_string"]
        if not text:
            return found
        try:
            pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:
            raise InvalidRequest(f"a query has at most {QUERY_FIELDS_MAX} fields") from None
        for key, value in pairs:
            found.setdefault(key, []).append(value)
        return found

    def content_length(self) -> int | None:
        """The announced length of the body in bytes, None if it is not announced."""
        text = self.header(b"content-length")
        if text is None:
            return None
        digits = text.lstrip("0") or "0"
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
            raise SizeInvalid("Content-Length is not a number of bytes")
        return int(digits)

    async def batches(self) -> AsyncIterator[list[Bytes]]:
        """The body in lists of pieces of about 1 MiB in all; nothing is joined or copied.

        Raises ClientGone when the client goes away, after what has arrived was handed out; and
        ContentEncodingUnsupported at once for a compressed body.
        """
        self._require_plain_body()
        batch: list[Bytes] = []
        size = 0
        while not self.body_complete:
            try:
                piece = await self._next_piece()
            except asyncio.CancelledError:
                # The server stops. What arrived is kept, and the cancellation goes on.
                if batch:
                    yield batch
                raise
            if piece is None:
                if batch:
                    yield batch
                raise ClientGone
            if piece:
                batch.append(piece)
                size += len(piece)
            if size >= CHUNK_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, for who keeps little of it. Raises ClientGone, ContentEncodingUnsupported."""
        self._require_plain_body()
        while not self.body_complete:
            piece = await self._next_piece()
            if piece is None:
                raise ClientGone
            yield piece

    async def read_all(self, limit: int, held: "HeldBytes") -> bytes:
        """The whole body of at most `limit` bytes, accounted in `held` while it arrives. Raises ManifestTooLarge
        without reading further, and before anything is read if the announced length says so; Unavailable when too
        much is held already."""
        too_large = ManifestTooLarge(f"a manifest has at most {limit} bytes", limit=limit)
        if (self.content_length() or 0) > limit:
            raise too_large
        self._require_plain_body()
        pieces: list[bytes] = []
        size = 0
        try:
            while not self.body_complete:
                piece = await self._next_piece()
                if piece is None:
                    raise ClientGone
                size += len(piece)
                held.add(len(piece))
                pieces.append(piece)
                if size > limit:
                    raise too_large
            return b"".join(pieces)
        finally:
            held.remove(size)

    async def read_small(self, limit: int) -> bytes:
        """The whole body of at most `limit` bytes, for what is small. Raises InvalidRequest without reading on over the
        limit, ClientGone, ContentEncodingUnsupported."""
        too_long = InvalidRequest(f"the body has more than {limit} bytes")
        if (self.content_length() or 0) > limit:
            raise too_long
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise too_long
            pieces.append(piece)
        return b"".join(pieces)

    async def drain(self) -> bool:
        """Read and drop what is left of the body if that is little. False if the connection has to be closed because
        there is more, or because the client waits for a `100 Continue` that it shall not get."""
        if self.body_complete:
            return True
        length = self.content_length()
        if length is None and self.header(b"transfer-encoding") is None:
            return True
        if not self.body_started and self.header(b"expect") is not None:
            return length == 0
        dropped = 0
        while not self.body_complete and dropped <= DRAIN_MAX_BYTES:
            if (length or 0) > DRAIN_MAX_BYTES:
                return False
            piece = await self._next_piece()
            if piece is None:
                return False
            dropped += len(piece)
        return self.body_complete

    def _require_plain_body(self) -> None:
        if self.header(b"content-encoding") not in (None, "identity"):
            raise ContentEncodingUnsupported("send content as it is, without Content-Encoding")

    async def _next_piece(self) -> bytes | None:
        """The next bytes of the body, None when the client is gone."""
        self.body_started = True
        message = await self._receive()
        if message["type"] != "http.request":
            return None
        self.body_complete = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece
