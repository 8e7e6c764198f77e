"""Clients that more than one file drives."""

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
def podman_with(tmp_path: Path) -> Callable[[str], Tool]:
    """podman with an empty store of its own for each name that is asked for."""
    return lambda name: stored("podman", tmp_path / name)


@pytest.fixture
def buildah_with(tmp_path: Path) -> Callable[[str], Tool]:
    """buildah, likewise."""
    return lambda name: stored("buildah", tmp_path / name)


def stored(name: str, folder: Path) -> Tool:
    """A client with a store below `folder`; skips the test where this user cannot have one."""
    flags = ("--root", f"{folder}/root", "--runroot", f"{folder}/run/storage", "--storage-driver=vfs")
    client = tool(name, folder, *flags)
    if not client.succeeds("images"):
        pytest.skip(f"{name} cannot keep images here: {client.refused('images').strip()}")
    return client
