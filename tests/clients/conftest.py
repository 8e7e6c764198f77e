"""Clients that more than one file drives."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import docker_host, remove_images
from tests.clients.logins import PHRASES, Client, Made, made_in
from tests.clients.tools import Tool, tool
from tests.running import Registry

PASSWORDS = {"alice": "white rabbit with a watch", "bob": "the walrus was not so sure"}
"""Of the users of `closed`."""


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


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One server with logins for all tests of a module: the users alice and bob, and alice's organization acme."""
    registry = Registry.start(tmp_path_factory.mktemp("closed") / "data", is_open=False)
    add_accounts(registry)
    yield registry
    registry.kill()


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The same with `--auth-challenge basic`."""
    registry = Registry.start(tmp_path_factory.mktemp("basic") / "data", "--auth-challenge", "basic", is_open=False)
    add_accounts(registry)
    yield registry
    registry.kill()


@pytest.fixture
def asked(request: pytest.FixtureRequest, challenge: str) -> Registry:
    """The server that asks for tokens, or the one that asks for name and password."""
    found: Registry = request.getfixturevalue({"bearer": "closed", "basic": "basic"}[challenge])
    return found


def add_accounts(registry: Registry) -> None:
    """The users with PASSWORDS, and the organization."""
    for name, password in PASSWORDS.items():
        registry.command("user", "add", name, "--password-stdin", stdin=f"{password}\n")
    registry.command("org", "add", "acme", "--owner", "alice")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A small image of random content to push."""
    return made_in(tmp_path / "made")


ClientAt = Callable[..., Client]


@pytest.fixture
def client_at(request: pytest.FixtureRequest, tmp_path: Path, run_root: Path) -> Iterator[ClientAt]:
    """Makes a client by its name, for a server; each has a home of its own, and knows no password at first."""
    made: list[Client] = []

    def new(name: str, registry: Registry, certs: Path | None = None) -> Client:
        home = tmp_path / f"{name}-{len(made)}"
        if name == "docker":
            client_tool = tool(name, home, "--host", request.getfixturevalue("daemon"))
        elif name in ("podman", "buildah"):
            client_tool = with_store(name, home, run_root / home.name)
        else:
            # Go programs without a flag for it read this variable.
            client_tool = tool(name, home, env={} if certs is None else {"SSL_CERT_FILE": str(certs / "ca.crt")})
        client = Client(client_tool, PHRASES[name], registry.address, certs)
        made.append(client)
        return client

    yield new
    for client in made:
        if client.phrases is PHRASES["docker"]:
            remove_images(client.tool, client.address)
