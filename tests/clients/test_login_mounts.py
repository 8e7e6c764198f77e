"""Mounts between repositories of a server with accounts: what a caller may pull is not sent again, all else is."""

from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.conftest import PASSWORDS, ClientAt
from tests.clients.logins import made_in
from tests.clients.test_logins import is_there
from tests.clients.tools import assert_mounted, uploads
from tests.running import Registry

CONFIG_AT_MOST = 8 * images.KIB
REMEMBERING = ["docker", "podman", "buildah", "regctl"]
"""They ask for a mount when they push a layer that they pushed before; regctl without saying from where."""


def test_crane_copies_inside_an_account_by_mounts(client_at: ClientAt, closed: Registry, tmp_path: Path) -> None:
    """One token covers both repositories: every blob is mounted and none is sent."""
    crane = client_at("crane", closed)
    crane.login("alice", PASSWORDS["alice"])
    crane.push(made_in(tmp_path / "made", images.MIB), "alice/mount-from:v1")
    crane.copy("alice/mount-from:v1", "acme/mount-to:v1")
    assert_mounted(closed, "acme/mount-to", at_least=2)


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_second_push_mounts_the_layer(name: str, client_at: ClientAt, closed: Registry, tmp_path: Path) -> None:
    """The same layer in another repository of the account comes from the first one."""
    client = client_at(name, closed)
    client.login("alice", PASSWORDS["alice"])
    made = made_in(tmp_path / "made", images.MIB)
    client.push(made, f"alice/{name}-first:v1")
    client.push(made, f"alice/{name}-second:v1")
    assert_mounted(closed, f"alice/{name}-second", at_least=1, sent_at_most=CONFIG_AT_MOST)


@pytest.mark.parametrize("name", REMEMBERING)
def test_nothing_is_mounted_from_what_is_private_to_others(
    name: str, client_at: ClientAt, closed: Registry, tmp_path: Path
) -> None:
    """A client that knows of the layer in Alice's repository has to send it when Bob is logged in: a mount would show
    that the repository has it, and give it to whoever knows its digest. docker and regctl ask for the mount; podman and
    buildah ask first whether Alice's repository has the layer, and hear nothing of it."""
    client = client_at(name, closed)
    made = made_in(tmp_path / "made", images.MIB)
    client.login("alice", PASSWORDS["alice"])
    client.push(made, f"alice/{name}-secret:v1")
    client.logout()
    client.login("bob", PASSWORDS["bob"])
    client.push(made, f"bob/{name}-sent:v1")
    assert is_there(closed, f"bob/{name}-sent")
    seen = uploads(closed, f"bob/{name}-sent")
    assert seen.received_bytes >= images.MIB and not seen.answers["POST", 201], seen


def test_crane_does_not_copy_what_is_private_to_others(client_at: ClientAt, closed: Registry, tmp_path: Path) -> None:
    """Bob can copy what is public, by mounts from Alice's repository, and nothing else."""
    made = made_in(tmp_path / "made", images.MIB)
    alice, bob = (client_at("crane", closed) for _ in range(2))
    alice.login("alice", PASSWORDS["alice"])
    alice.push(made, "alice/copied:v1")
    bob.login("bob", PASSWORDS["bob"])
    words = ("--insecure", "copy", f"{closed.address}/alice/copied:v1", f"{closed.address}/bob/copy:v1")
    assert "UNAUTHORIZED" in bob.tool.refused(*words)
    closed.command("repository", "visibility", "alice/copied", "public")
    bob.copy("alice/copied:v1", "bob/copy:v1")
    assert_mounted(closed, "bob/copy", at_least=2)
