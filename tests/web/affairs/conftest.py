"""A server with accounts, and browsers of people."""

from collections.abc import Callable, Iterator

import pytest

from tests.running import STILL, Pair, Registry
from tests.web.affairs.reader import Reader, admin, newcomer

FLAGS = (
    *STILL,
    "--sign-up", "--requests-per-second", "0",
    "--login-failures-per-account", "100000", "--login-failures-per-address", "100000",
)  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One server for all tests of a module, which use names of their own."""
    registry = Registry.start(tmp_path_factory.mktemp("web") / "data", *FLAGS, is_open=False, pair=Pair("its own"))
    yield registry
    registry.kill()


@pytest.fixture
def browsers(hub: Registry) -> Iterator[Callable[[str], Reader]]:
    """Opens browsers: of `admin`, of nobody for an empty name, of somebody who signs up for any other."""
    opened: list[Reader] = []

    def open_for(name: str = "") -> Reader:
        found = admin(hub) if name == "admin" else newcomer(hub, name) if name else Reader(hub)
        opened.append(found)
        return found

    yield open_for
    for reader in opened:
        reader.close()
