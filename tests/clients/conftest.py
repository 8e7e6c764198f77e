"""Clients that more than one file drives."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import docker_host
from tests.clients.tools import Tool, tool


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a docker daemon."""
    with docker_host(tmp_path_factory.mktemp("daemon")) as host:
        yield host


@pytest.fixture
def docker(daemon: str, tmp_path: Path) -> Tool:
    """docker, with a daemon that allows plain HTTP to 127.0.0.1, as every daemon does."""
    return tool("docker", tmp_path / "home", "--host", daemon)


@pytest.fixture
def run_root() -> Iterator[Path]:
    """Where stores keep what must not outlive them: podman wants a path of at most 50 characters."""
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def podman_with(tmp_path: Path, run_root: Path) -> Callable[[str], Tool]:
    """podman with an empty store of its own for each name that is asked for."""
    return lambda name: with_store("podman", tmp_path / name, run_root / name)


@pytest.fixture
def buildah_with(tmp_path: Path, run_root: Path) -> Callable[[str], Tool]:
    """buildah, likewise."""
    return lambda name: with_store("buildah", tmp_path / name, run_root / name)


def with_store(name: str, folder: Path, run_root: Path) -> Tool:
    """A client with a store below `folder`; skips the test where this user cannot have one."""
    client = tool(name, folder)
    # Podman does not take a folder from its flags alone.
    lines = ("[storage]", 'driver = "vfs"', f'graphroot = "{folder}/root"', f'runroot = "{run_root}"')
    (folder / ".config/containers/storage.conf").write_text("\n".join(lines), encoding="utf-8")
    if not client.succeeds("images"):
        pytest.skip(f"{name} cannot keep images here: {client.refused('images').strip()}")
    return client
