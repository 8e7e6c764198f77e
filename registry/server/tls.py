"""TLS: the certificate of a listener, renewed without a restart, and what TLS hides from the protocol above it."""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import ssl
import struct
import termios
from pathlib import Path
from typing import Final, NoReturn

CHECK_INTERVAL_S: Final = 10.0
"""How often the files are looked at."""
CLOSE_LIMIT_S: Final = 3600.0
"""For the loop, to flush and say goodbye. The deadlines of the protocol come first: they see whether bytes move."""

# The place of tcpi_bytes_acked in Linux' struct tcp_info: 8 bytes, 24 numbers of 4, 2 of 8, then this.
_ACKED: Final = struct.Struct("=120xQ")
_INT: Final = struct.Struct("=i")

_log = logging.getLogger("depotry.server")

_FileState = tuple[int, int, int, int] | None


class TlsProblem(Exception):
    """The certificate or its key cannot be used. The text is one line for people."""


class ServerTls:
    """What a listener shows to its clients: a certificate chain and the key to it.

    `context` is for the next connection; a renewal replaces it as a whole, so no connection ever sees the one half
    of a new pair, and those that exist stay as they are. Belongs to the thread of the loop.
    """

    def __init__(self, cert_file: Path, key_file: Path, check_interval_s: float = CHECK_INTERVAL_S) -> None:
        """Read both files. Raises TlsProblem."""
        self._cert_file = cert_file
        self._key_file = key_file
        self._check_interval_s = check_interval_s
        self._seen = self._look()
        self._context = _context(cert_file, key_file)

    @property
    def context(self) -> ssl.SSLContext:
        """For the connections that begin now."""
        return self._context

    def reload(self) -> bool:
        """Read the files again. If they cannot be used, the old pair stays, and False and a log line say so."""
        # Looked at first: if they change while they are read, the next look finds out.
        self._seen = self._look()
        try:
            self._context = _context(self._cert_file, self._key_file)
        except TlsProblem as problem:
            _log.error("the new certificate cannot be used, the old one stays: %s", problem)
            return False
        _log.info("the certificate was read again", extra={"cert_file": str(self._cert_file)})
        return True

    async def watch(self) -> None:
        """Reload whenever the files change, until cancelled."""
        while True:
            await asyncio.sleep(self._check_interval_s)
            if self._look() != self._seen:
                self.reload()

    def _look(self) -> tuple[_FileState, _FileState]:
        return _state(self._cert_file), _state(self._key_file)


def _state(path: Path) -> _FileState:
    # Through symbolic links, because that is how certbot replaces them.
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    for path in (cert_file, key_file):
        _require_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])

    def refuse_password() -> NoReturn:
        # Without this OpenSSL asks at the terminal, and a server in the background waits for ever.
        raise TlsProblem(f"{key_file}: is encrypted; the server needs a key without a password")

    try:
        context.load_cert_chain(cert_file, key_file, password=refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsProblem(f"{key_file}: is not the key to the certificate in {cert_file}") from None
        what = f"{cert_file} and {key_file}: are not a certificate and its key, both in PEM"
        raise TlsProblem(what + (f" ({error.reason})" if error.reason else "")) from None
    except OSError as error:
        raise TlsProblem(f"{cert_file}, {key_file}: cannot be read: {error.strerror}") from None
    return context


def _require_readable(path: Path) -> None:
    # OpenSSL does not say which of the two files it could not read.
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsProblem(f"{path}: cannot be read: {error.strerror}") from None
    if not path.is_file():
        raise TlsProblem(f"{path}: is not a file")


def queued_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the kernel holds for the client. Not zero while the transport under TLS, whose buffer nobody else can
    see, holds any. Zero where the system cannot say, and for a closed connection.
    """
    answer = bytearray(_INT.size)
    below = transport.get_extra_info("socket")
    if below is not None:
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(below.fileno(), termios.TIOCOUTQ, answer)
    return int(_INT.unpack(answer)[0])


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the client's side has taken so far; 0 where the system cannot say."""
    option = getattr(socket, "TCP_INFO", None)
    below = transport.get_extra_info("socket")
    if option is None or below is None:
        return 0
    try:
        info = below.getsockopt(socket.IPPROTO_TCP, option, _ACKED.size)
    except OSError:
        return 0
    return int(_ACKED.unpack(info)[0]) if len(info) == _ACKED.size else 0
