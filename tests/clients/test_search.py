"""`docker search`, `podman search`, and clients that read the whole list: real ones, over HTTP and TLS, and ten
thousand repositories."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import URL

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.metadata import sqlite
from registry.metadata.schema import manifests, repositories
from tests.certificates import Pair, make_pair
from tests.clients.conftest import PASSWORDS, ClientAt, add_accounts
from tests.clients.tools import PLAIN, Tool, tool
from tests.core.test_manifest import encoded, index
from tests.reliability.client import expect
from tests.running import Pair as Places
from tests.running import Registry

SQLITE_AND_FILES = Places("sqlite+files", (), {})
MANY = 10_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The server's certificate; docker's daemon takes any of 127.0.0.1."""
    return make_pair(tmp_path_factory.mktemp("certs"), "server")


@dataclass(frozen=True)
class Searched:
    """A server, and whether its search answers who has not logged in."""

    registry: Registry
    is_for_all: bool

    @property
    def address(self) -> str:
        """Host and port."""
        return self.registry.address


@pytest.fixture(scope="module", params=[True, False], ids=["for all", "for who has logged in"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Searched]:
    """A server with logins that speaks TLS: with a public and a private image of alice, one of bob's, and a repository
    without any."""
    switch = "--search-anonymous" if request.param else "--no-search-anonymous"
    flags = ("--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key), switch)
    data = tmp_path_factory.mktemp("secure") / "data"
    registry = Registry.start(data, *flags, tls=pair.trusting(), is_open=False)
    add_accounts(registry)
    for owner, names_ in (("alice", ("alice/shown", "alice/hidden")), ("bob", ("bob/hidden-too",))):
        with registry.client((owner, PASSWORDS[owner])) as client:
            for name in names_:
                content = encoded(index(annotations={"name": name}))
                path = f"/v2/{name}/manifests/v1"
                expect(client.put(path, content=content, headers={"content-type": OCI_INDEX}), 201)
    with registry.client(("alice", PASSWORDS["alice"])) as client:
        expect(client.post("/v2/alice/hidden-empty/blobs/uploads/"), 202)
    registry.command("repository", "visibility", "alice/shown", "public")
    yield Searched(registry, request.param)
    registry.kill()


def names(said: str) -> list[str]:
    """The names that a client printed, one a line."""
    return sorted(line.split()[0] for line in said.splitlines() if line)


def searched(docker: Tool, text: str) -> list[str]:
    """What docker finds."""
    return names(docker("search", "--format", "{{.Name}}", text))


def test_docker_finds_public_and_its_own(server: Searched, client_at: ClientAt) -> None:
    """Over TLS docker sends what it has logged in with: then it finds private images too, and nobody else's; without,
    public ones where that is allowed. Names that are a letter off are found, and what holds nothing is not."""
    client = client_at("docker", server.registry)
    if server.is_for_all:
        assert searched(client.tool, f"{server.address}/alice") == ["alice/shown"]
        assert searched(client.tool, f"{server.address}/hidden") == []
    else:
        assert "401" in client.tool.refused("search", f"{server.address}/alice")
    client.login("alice", PASSWORDS["alice"])
    assert searched(client.tool, f"{server.address}/alice") == ["alice/hidden", "alice/shown"]
    assert searched(client.tool, f"{server.address}/hiddne") == ["alice/hidden"]
    assert searched(client.tool, f"{server.address}/hidden-too") == []
    client.logout()
    if server.is_for_all:
        assert searched(client.tool, f"{server.address}/hidden") == []


def test_podman_finds_public_or_its_own(server: Searched, client_at: ClientAt, pair: Pair, tmp_path: Path) -> None:
    """podman never sends its credential to the search: where that answers everybody, public images are all that it
    finds; else it reads the catalog, logged in, and finds its own."""
    certs = tmp_path / "trusted"
    certs.mkdir()
    (certs / "ca.crt").write_bytes(pair.cert.read_bytes())
    client = client_at("podman", server.registry, certs)
    client.login("alice", PASSWORDS["alice"])
    # This podman can be told of no certificate here.
    found = names(client.tool("search", PLAIN, "--format={{.Name}}", f"{server.address}/alice"))
    wanted = ["alice/shown"] if server.is_for_all else ["alice/hidden", "alice/shown"]
    assert found == [f"{server.address}/{name}" for name in wanted]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open server with ten thousand repositories, each with a manifest, which SQL has written."""
    registry = Registry.start(tmp_path_factory.mktemp("many") / "data", pair=SQLITE_AND_FILES)
    url = URL.create("sqlite", database=str(registry.data / "registry.db"))
    engine = sqlite.writing_engine(url, synchronous="FULL")
    row = {"created_at": 1, "visibility": "private"}
    held = {"digest": Digest.of(b"{}").pack(), "media_type": OCI_MANIFEST, "payload_size": 2, "total_size": 2}
    held |= {"depth": 0, "pushed_at": 1, "payload": b"{}"}
    numbers = range(1, MANY + 1)
    with engine.begin() as connection:
        connection.execute(insert(repositories), [{"id": n, "name": name_of(n), **row} for n in numbers])
        connection.execute(insert(manifests), [{"repository_id": n, **held} for n in numbers])
    engine.dispose()
    yield registry
    registry.kill()


def name_of(number: int) -> str:
    """Names sort as their numbers do."""
    return f"many/app-{number:05}"


def test_crane_pages_through_ten_thousand(many: Registry, tmp_path: Path) -> None:
    """By the Link of each page, to the end."""
    crane = tool("crane", tmp_path / "home")
    assert crane("catalog", many.address).splitlines() == [name_of(n) for n in range(1, MANY + 1)]


def test_regctl_pages_through_ten_thousand(many: Registry, tmp_path: Path) -> None:
    """By the last name of each page, to the end."""
    regctl = tool("regctl", tmp_path / "home", f"--host=reg={many.address},tls=disabled")
    found: list[str] = []
    while True:
        last = ["--last", found[-1]] if found else []
        page = regctl("repo", "ls", "--limit", "2500", *last, many.address).split()
        if not page:
            break
        found += page
    assert found == [name_of(n) for n in range(1, MANY + 1)]


def test_they_are_searched_over_plain_http(many: Registry, podman_with: Callable[[str], Tool], docker: Tool) -> None:
    """Without logins docker and podman find the same, and no more than they ask for."""
    assert searched(docker, f"{many.address}/app-00042") == [name_of(42)]
    podman = podman_with("podman")
    found = names(podman("search", PLAIN, "--format={{.Name}}", f"{many.address}/app-00042"))
    assert found == [f"{many.address}/{name_of(42)}"]
    assert len(names(podman("search", PLAIN, "--limit", "7", "--format={{.Name}}", f"{many.address}/app"))) == 7
    assert len(searched(docker, f"{many.address}/app")) == 25
