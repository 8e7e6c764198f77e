"""Passwords: Argon2id for our own; bcrypt is only checked, for accounts that came from an `htpasswd` file.

Checking one costs some 20 ms and 19 MiB on purpose, and happens in two threads at most. An account that does not
exist, or has no password, costs the same as a wrong password.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from registry.core.errors import PasswordInvalid, TooManyRequests
from registry.core.limits import PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS

# The least that OWASP's password storage recommendations allow for Argon2id.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_THREADS = 2
_WAITING_MAX = 64
_BCRYPT_MAX_BYTES = 72
_BCRYPT_FORM = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_BCRYPT_MIN_COST = 4
_BCRYPT_MAX_COST = 14
"""A login would hold one of the two threads for seconds above this."""
_BCRYPT = ("$2a$", "$2b$", "$2y$")


def check_new(password: str) -> None:
    """Raises PasswordInvalid for a password that must not be given to an account."""
    if len(password) < PASSWORD_MIN_CHARS:
        raise PasswordInvalid(f"a password has at least {PASSWORD_MIN_CHARS} characters")
    if len(_bytes(password)) > PASSWORD_MAX_BYTES:
        raise PasswordInvalid(f"a password has at most {PASSWORD_MAX_BYTES} bytes")
    if any(ord(character) < 32 or ord(character) == 127 for character in password):
        raise PasswordInvalid("a password has no control characters")


def check_bcrypt(stored: str) -> None:
    """Raises PasswordInvalid for a line of an `htpasswd` file that is not bcrypt."""
    match = _BCRYPT_FORM.fullmatch(stored)
    if match is None:
        raise PasswordInvalid("only bcrypt is taken from a htpasswd file (htpasswd -B)")
    if not _BCRYPT_MIN_COST <= int(match[1]) <= _BCRYPT_MAX_COST:
        raise PasswordInvalid(f"only bcrypt of cost {_BCRYPT_MIN_COST} to {_BCRYPT_MAX_COST} is taken")


class Passwords:
    """Makes and checks hashes, in threads of its own."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="password")
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What is stored of a new password. Raises PasswordInvalid."""
        check_new(password)
        return await self.hash_again(password)

    async def hash_again(self, password: str) -> str:
        """What is stored of a password that is in use already, whatever rules there are for new ones."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, _bytes(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one; `stored` None stands for an account without one, which takes as long.
        Raises TooManyRequests when too many wait."""
        if self._waiting >= _WAITING_MAX:
            raise TooManyRequests("too many logins at once", retry_after_s=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._verify, stored, password)
        finally:
            self._waiting -= 1

    def is_old(self, stored: str) -> bool:
        """Whether the hash should be made anew while the password is at hand: bcrypt, or other costs than today's."""
        return stored.startswith(_BCRYPT) or self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads. Idempotent."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, stored: str | None, password: str) -> bool:
        given = _bytes(password)
        if stored is None or len(given) > PASSWORD_MAX_BYTES:
            self._matches(self._hash_of_nobody(), b"-")
            return False
        if not stored.startswith(_BCRYPT):
            return self._matches(stored, given)
        if _matches_bcrypt(stored, given):
            return True
        # Most such hashes are cheap, and some passwords are not looked at: both would tell that there is an account.
        self._matches(self._hash_of_nobody(), b"-")
        return False

    def _matches(self, stored: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(stored, given)
        except (VerificationError, InvalidHashError):
            return False

    def _hash_of_nobody(self) -> str:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash("nobody has this password")
        return self._nobodys


def _matches_bcrypt(stored: str, given: bytes) -> bool:
    # Older bcrypt looked at 72 bytes only: everything that begins like the password would do.
    if len(given) > _BCRYPT_MAX_BYTES or b"\0" in given:
        return False
    try:
        return bcrypt.checkpw(given, stored.encode("ascii"))
    except ValueError:
        return False


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
