"""A proxy in front of an S3 service that counts the calls and lets chosen ones go wrong, each in one of the ways in
which a network, a machine or a service does."""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

SLOW_PAUSE_S = 0.01
SLOW_PIECES = 8
HEAD_MAX = 64 * 1024


class Fault(StrEnum):
    """What happens to a call."""

    ERROR_500 = "500"
    SLOW_DOWN = "503"
    TIMEOUT = "timeout"
    """No answer; the call does not arrive."""
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    """The call arrives; the connection is reset before the answer."""
    LOST_ANSWER = "lost-answer"
    """The call arrives; no answer comes."""
    ERROR_IN_200 = "error-in-200"
    TRUNCATED = "truncated"
    """The call arrives; its answer stops in the middle."""
    SLOW = "slow"
    """The answer comes in small pieces, whole."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, by the name that the service's manual gives it."""

    index: int
    name: str
    key: str
    headers: dict[str, str]
    """By names in small letters."""


Chooser = Callable[[Call], Fault | None]


@dataclass(slots=True)
class _Message:
    """A request or an answer."""

    first: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body


@dataclass
class S3Proxy:
    """Listens on a free port, in a thread of its own. `choose` decides about each call."""

    target: int
    choose: Chooser | None = None
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def begin(self, choose: Chooser | None) -> None:
        """Count from 0 again, with this chooser."""
        self.calls = []
        self.choose = choose

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=HEAD_MAX)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    continue
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; returns whether the connection goes on."""
        request = await _read_request(reader, writer)
        call = self._note(request)
        fault = self.choose(call) if self.choose else None
        if fault in {Fault.ERROR_500, Fault.SLOW_DOWN, Fault.ERROR_IN_200}:
            writer.write(_refusal(fault, request))
            await writer.drain()
            return True
        if fault is Fault.RESET_BEFORE:
            return _reset(writer)
        if fault is Fault.TIMEOUT:
            await reader.read(1)
            return False
        answer = await self._forward(request)
        if fault is Fault.RESET_AFTER:
            return _reset(writer)
        if fault is Fault.LOST_ANSWER:
            await reader.read(1)
            return False
        if fault is Fault.TRUNCATED:
            part = answer.head + answer.body[: len(answer.body) // 2] if answer.body else answer.head[:20]
            writer.write(part)
            await writer.drain()
            return False
        await _send(writer, answer.raw, slowly=fault is Fault.SLOW)
        return True

    def _note(self, request: _Message) -> Call:
        method, target, _ = request.first.split(" ", 2)
        parts = urlsplit(target)
        name = _name(method, parse_qs(parts.query, keep_blank_values=True), parts.path)
        call = Call(len(self.calls), name, parts.path, request.headers)
        self.calls.append(call)
        return call

    async def _forward(self, request: _Message) -> _Message:
        """A connection for each: what goes wrong then is only what was asked for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target, limit=HEAD_MAX)
        try:
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", request.head)
            writer.write(head + request.body)
            await writer.drain()
            return await _read_answer(reader, is_head=request.first.startswith("HEAD "))
        finally:
            writer.close()


async def _read_head(reader: asyncio.StreamReader) -> _Message:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return _Message(first, headers, head, b"")


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Message:
    request = await _read_head(reader)
    if "expect" in request.headers:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = await reader.readexactly(int(request.headers.get("content-length", 0)))
    return request


async def _read_answer(reader: asyncio.StreamReader, *, is_head: bool) -> _Message:
    answer = await _read_head(reader)
    if is_head or answer.first.split(" ")[1] in {"204", "304"}:
        return answer
    if "chunked" in answer.headers.get("transfer-encoding", ""):
        answer.body = await reader.readuntil(b"0\r\n\r\n")
        return answer
    answer.body = await reader.readexactly(int(answer.headers.get("content-length", 0)))
    return answer


async def _send(writer: asyncio.StreamWriter, raw: bytes, *, slowly: bool) -> None:
    step = max(1, len(raw) // SLOW_PIECES) if slowly else len(raw)
    for start in range(0, len(raw), step):
        writer.write(raw[start : start + step])
        await writer.drain()
        if slowly:
            await asyncio.sleep(SLOW_PAUSE_S)


def _reset(writer: asyncio.StreamWriter) -> bool:
    plug: socket.socket = writer.get_extra_info("socket")
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def _refusal(fault: Fault, request: _Message) -> bytes:
    status, code = {
        Fault.ERROR_500: ("500 Internal Server Error", "InternalError"),
        Fault.SLOW_DOWN: ("503 Service Unavailable", "SlowDown"),
        Fault.ERROR_IN_200: ("200 OK", "InternalError"),
    }[fault]
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
    body = b"" if request.first.startswith("HEAD ") else text
    return f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(text)}\r\n\r\n".encode() + body


def _name(method: str, query: dict[str, list[str]], path: str) -> str:
    is_bucket = path.strip("/").count("/") == 0
    if method == "POST":
        return "CompleteMultipartUpload" if "uploadId" in query else "CreateMultipartUpload"
    if method == "PUT":
        return "UploadPart" if "partNumber" in query else "PutObject"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if is_bucket:
        return "ListMultipartUploads" if "uploads" in query else "ListObjectsV2"
    return "HeadObject" if method == "HEAD" else "GetObject"
