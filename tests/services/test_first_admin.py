"""The first admin, where several nodes start at once on one database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.auth.passwords import Passwords
from registry.blobstore.memory import MemoryStore
from registry.core.access import Actor
from registry.services import first_admin
from registry.services.accounts import Accounts
from registry.services.clock import system_clock
from registry.services.installation import Installation
from tests.backends import Backend

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(backend: Backend) -> AsyncIterator[Accounts]:
    """Administration of a new installation."""
    database, passwords = backend.new(), Passwords()
    await Installation(database, MemoryStore(), system_clock).open()
    yield Accounts(database, passwords, system_clock)
    passwords.close()


async def test_of_nodes_with_folders_of_their_own_one_tells_the_password(accounts: Accounts, tmp_path: Path) -> None:
    """The file that is left holds the password that counts; the others would lead people astray."""
    files = [tmp_path / f"{number}" for number in range(3)]
    made = await asyncio.gather(*(first_admin.ensure(accounts, None, file) for file in files))
    left = [file for file in files if file.exists()]
    assert [admin.file for admin in made if admin is not None] == left and len(left) == 1
    assert await accounts.has_password("admin", left[0].read_text(encoding="utf-8").strip())


async def test_of_processes_with_one_folder_all_leave_the_file(accounts: Accounts, tmp_path: Path) -> None:
    """They take the same password, whoever makes the account."""
    file = tmp_path / "password"
    made = await asyncio.gather(*(first_admin.ensure(accounts, None, file) for _ in range(3)))
    assert len([admin for admin in made if admin is not None]) == 1
    assert await accounts.has_password("admin", file.read_text(encoding="utf-8").strip())


async def test_a_user_called_admin_is_not_the_first_one(accounts: Accounts, tmp_path: Path) -> None:
    """The name is taken: no file says a password that does not count."""
    await accounts.add_user("admin", "some password of a user", Actor(None, "test", "test"))
    assert await first_admin.ensure(accounts, None, tmp_path / "password") is None
    assert not (tmp_path / "password").exists()
