"""The instance secret, and what is made from it: one key for each purpose, and sealing what the database keeps."""

import contextlib
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_FORM = re.compile(r"[0-9a-fA-F]{64}")
_NONCE_BYTES = 12


class SecretUnusable(Exception):
    """The instance secret is missing, malformed, or not the one that the database was sealed with."""


class InstanceSecret:
    """32 random bytes that all nodes of an installation share."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def key(self, purpose: str) -> bytes:
        """32 bytes for one purpose; those of another tell nothing about them."""
        return HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(self._raw)

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """Encrypted and authenticated: only this secret and purpose open it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.key(purpose)).encrypt(nonce, plain, None)

    def unseal(self, purpose: str, sealed: bytes) -> bytes:
        """What `seal` was given. Raises SecretUnusable."""
        try:
            return AESGCM(self.key(purpose)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise SecretUnusable(
                "the instance secret is not the one that this database was made with (see --secret-file): put the old"
                " file back"
            ) from None


def load(path: Path) -> InstanceSecret:
    """The secret in a file of 64 hexadecimal digits. Raises SecretUnusable, OSError."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        raise SecretUnusable(
            f"the instance secret {path} is missing (see --secret-file): put your copy back. If there is none,"
            " `depotry key rotate --at-once` makes a new one, and everybody logs in again"
        ) from None
    if _FORM.fullmatch(text) is None:
        raise SecretUnusable(f"{path}: must hold 64 hexadecimal digits, as `openssl rand -hex 32` makes them")
    return InstanceSecret(bytes.fromhex(text))


def load_or_make(path: Path) -> InstanceSecret:
    """The secret in a file, which is made, readable by its owner only, if it is missing. Of several processes that do
    this at once one makes it. Raises SecretUnusable, OSError."""
    if not path.exists():
        write_private(path, secrets.token_hex(32) + "\n", replace=False)
    return load(path)


def write_private(path: Path, text: str, *, replace: bool) -> None:
    """Write a file that only its owner can read, whole or not at all, and on the disk when this returns. With
    `replace=False` one that is there stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
