"""Sockets without a client library: for requests that no library would send, and for leaving in the middle."""

import re
import socket
from dataclasses import dataclass, field

LIMIT_S = 20.0


@dataclass
class Answer:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Raw:
    """One connection."""

    port: int
    sock: socket.socket = field(init=False)
    buffered: bytes = b""

    def __post_init__(self) -> None:
        """Connect."""
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)

    def __enter__(self) -> "Raw":
        """The connection."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self.sock.close()

    def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(b"".join(parts))

    def request(self, line: str, *headers: str, body: bytes = b"") -> None:
        """A request with exactly these headers and Host."""
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""])
        self.send(head.encode("latin-1"), body)

    def answer(self, *, head: bool = False) -> Answer:
        """The next response; status 0 when the server closed without one."""
        text = self._until(b"\r\n\r\n")
        if not text:
            return Answer(0, {}, b"")
        first, *lines = text.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        length = 0 if head or status in (100, 204, 304) else int(headers.get("content-length", "0"))
        return Answer(status, headers, self._exactly(length))

    def closed(self) -> bool:
        """Whether the server has ended the connection, with nothing more to read."""
        try:
            return not self.buffered and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _until(self, end: bytes) -> bytes:
        while end not in self.buffered:
            more = self._more()
            if not more:
                return b""
            self.buffered += more
        found, _, self.buffered = self.buffered.partition(end)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self.buffered) < count and (more := self._more()):
            self.buffered += more
        found, self.buffered = self.buffered[:count], self.buffered[count:]
        return found

    def _more(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except ConnectionError:
            return b""


def start_upload(port: int, name: str = "raw/app") -> str:
    """The location of a new upload."""
    with Raw(port) as raw:
        raw.request(f"POST /v2/{name}/blobs/uploads/", "Content-Length: 0")
        answer = raw.answer()
    assert answer.status == 202
    return answer.headers["location"]


def offset(port: int, location: str) -> int:
    """Bytes that an upload has (none and one look alike), -1 if there is no such upload."""
    with Raw(port) as raw:
        raw.request(f"GET {location}")
        answer = raw.answer()
    if answer.status == 404:
        return -1
    found = re.fullmatch(r"0-(\d+)", answer.headers["range"])
    assert found is not None
    return int(found[1]) + 1 if int(found[1]) else 0
