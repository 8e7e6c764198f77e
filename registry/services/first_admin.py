"""The first account: the user `admin`, made at the first start with a password that nobody can guess or has to."""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path

from registry.auth import passwords, sealing
from registry.core.access import Actor
from registry.core.errors import AccountNameInvalid, PasswordInvalid
from registry.services.accounts import Accounts

NAME = "admin"
_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without what looks alike."""
_CHARS = 24
STARTER = Actor(None, "first start", "command line")


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """A new admin. `password` None: it is the one that the operator gave in a file."""

    password: str | None
    file: Path


async def ensure(accounts: Accounts, given: Path | None, written: Path) -> FirstAdmin | None:
    """Make the user `admin` if nobody administers the instance; None if somebody does.

    Its password is in the file `given`, or random and then left in the file `written`, for its owner's eyes only.
    Raises PasswordInvalid, OSError."""
    if await accounts.has_admin():
        return None
    password = _given(given) if given is not None else _made(written)
    try:
        await accounts.add_user(NAME, password, STARTER, is_admin=True)
    except AccountNameInvalid:
        # Another process that started at the same time was quicker, or a user has the name. If it was one with this
        # folder, the file holds the right password; if it was another node, nobody must be told this one.
        if given is None and not await accounts.has_password(NAME, password):
            await asyncio.to_thread(written.unlink, missing_ok=True)
        return None
    return FirstAdmin(None, given) if given is not None else FirstAdmin(password, written)


def _given(file: Path) -> str:
    password = file.read_text(encoding="utf-8").rstrip("\r\n")
    try:
        passwords.check_new(password)
    except PasswordInvalid as error:
        raise PasswordInvalid(f"{file}: {error.message}") from None
    return password


def _made(file: Path) -> str:
    """Written before the account is made, so that no crash leaves an account whose password nobody knows; of two
    processes that start at once both take the one that is there."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(_CHARS))
    sealing.write_private(file, password + "\n", replace=False)
    return file.read_text(encoding="utf-8").strip()
