"""Logins over TLS, with a certificate that each client is told to trust."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Pair, make_pair
from tests.clients.conftest import PASSWORDS, ClientAt, add_accounts
from tests.clients.logins import PHRASES, Made
from tests.clients.test_logins import REFUSED
from tests.running import Registry

CLIENTS = [name for name in PHRASES if name != "docker"]
"""docker's daemon takes any certificate of 127.0.0.1, and reads CAs only from a folder of the whole machine."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The server's certificate; its folder has it as `ca.crt` too."""
    folder = tmp_path_factory.mktemp("certs")
    made = make_pair(folder, "server")
    trusted = folder / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(made.cert.read_bytes())
    return made


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Registry]:
    """A server with logins that speaks TLS."""
    flags = ("--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key))
    data = tmp_path_factory.mktemp("secure") / "data"
    registry = Registry.start(data, *flags, tls=pair.trusting(), is_open=False)
    add_accounts(registry)
    yield registry
    registry.kill()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_logs_in_over_tls(
    name: str, client_at: ClientAt, secure: Registry, pair: Pair, made: Made, tmp_path: Path
) -> None:
    """Login, push and pull over https, by a client that checks the certificate: without it the login fails."""
    empty = tmp_path / "no-certificates"
    empty.mkdir()
    (empty / "ca.crt").write_bytes(make_pair(tmp_path, "another").cert.read_bytes())
    distrusting = client_at(name, secure, empty)
    if name == "crane":
        # It asks nobody at the login.
        distrusting.login("alice", PASSWORDS["alice"])
        assert "certificate" in distrusting.push_refused(made, f"alice/{name}:v1")
    else:
        assert "certificate" in distrusting.login_refused("alice", PASSWORDS["alice"])
    client = client_at(name, secure, pair.cert.parent / "trusted")
    client.login("alice", PASSWORDS["alice"])
    client.push(made, f"alice/{name}:v1")
    client.pull(f"alice/{name}:v1")
    client.logout()
    assert REFUSED.search(client.pull_refused(f"alice/{name}:v1"))
