"""A proxy in front of PostgreSQL that knows where its messages end, and cuts a connection at the one that it was told.

Source: PostgreSQL's documentation, "Frontend/Backend Protocol": after the first message of a client, which has no type,
each is a byte and a length that counts itself. Encryption is to be off.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass
from io import BufferedIOBase

_ENDS = (OSError, ValueError)
"""What the end of a socket looks like, also of one that somebody else has closed."""


@dataclass
class Cut:
    """At which message, counted in both directions, and whether that one is still passed on."""

    at: int
    passes: bool
    seen: int = 0
    kind: str = ""
    """What was cut, once it was: the direction and the type of the message."""


class PgProxy:
    """Listens on a port of its own."""

    def __init__(self, port: int) -> None:
        """`port` is PostgreSQL's."""
        self._target = port
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, name: str, user: str) -> str:
        """A database through it, as the setting has it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}?sslmode=disable&gssencmode=disable"

    def arm(self, at: int, *, passes: bool) -> Cut:
        """Cut once, at the message with this number from now on, from 1."""
        with self._lock:
            self._cut = Cut(at, passes)
            return self._cut

    def disarm(self) -> None:
        """Let everything pass."""
        with self._lock:
            self._cut = None

    def close(self) -> None:
        """Cut everything, and take nobody any more."""
        self._listener.close()
        for pair in self._pairs:
            _end(*pair)

    def _accept(self) -> None:
        with contextlib.suppress(*_ENDS):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.append((client, server))
                for way in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(*_ENDS), source.makefile("rb") as stream:
            if is_client:
                sink.sendall(_counted(stream))
            while kind := stream.read(1):
                message = kind + _counted(stream)
                verdict = self._verdict(("> " if is_client else "< ") + kind.decode("latin-1"))
                if verdict is not False:
                    sink.sendall(message)
                if verdict is not None:
                    break
        _end(source, sink)

    def _verdict(self, kind: str) -> bool | None:
        """None to go on; else the end, True with this message and False without it."""
        with self._lock:
            cut = self._cut
            if cut is None:
                return None
            cut.seen += 1
            if cut.seen < cut.at:
                return None
            cut.kind = kind
            self._cut = None
            return cut.passes


def _counted(stream: BufferedIOBase) -> bytes:
    """A length and what it counts."""
    head = stream.read(4)
    return head + stream.read(max(0, int.from_bytes(head, "big") - 4))


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(*_ENDS):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
