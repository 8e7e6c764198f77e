"""Every client goes on with a repository that was renamed and moved, by each of its names, until one is given up."""

from pathlib import Path

import pytest

from tests.clients.conftest import PASSWORDS, ClientAt
from tests.clients.logins import PHRASES, Made, made_in
from tests.clients.tools import digest_of_tag
from tests.running import ADMIN_PASSWORD, Registry, wait_until


def digest(registry: Registry, repository: str, tag: str) -> str | None:
    """What the server has, asked as its admin."""
    return digest_of_tag(registry, repository, tag, auth=("admin", ADMIN_PASSWORD))


@pytest.mark.parametrize("challenge", ["bearer", "basic"])
@pytest.mark.parametrize("name", PHRASES)
def test_a_client_pushes_and_pulls_by_every_name(
    name: str, client_at: ClientAt, asked: Registry, made: Made, tmp_path: Path
) -> None:
    """Decision 27: what was pushed is pulled by the old name and the new one, what is pushed by either is one
    repository, also in another namespace; and a name that was given up opens nothing."""
    client = client_at(name, asked)
    client.login("alice", PASSWORDS["alice"])
    old, new, moved = f"alice/{name}-old", f"alice/{name}-new", f"acme/{name}-moved"
    client.push(made, f"{old}:v1")
    asked.command("repository", "rename", old, new)
    client.push(made_in(tmp_path / "second"), f"{old}:v2")
    asked.command("repository", "transfer", new, moved)
    client.push(made_in(tmp_path / "third"), f"{new}:v3")
    client.push(made_in(tmp_path / "fourth"), f"{moved}:v4")
    for tag in ("v1", "v2", "v3", "v4"):
        assert digest(asked, moved, tag) is not None
        for repository in (old, new, moved):
            assert digest(asked, repository, tag) == digest(asked, moved, tag)
            client.pull(f"{repository}:{tag}")
    if client.phrases.tags:
        assert "v4" in client.tags(old)
    asked.command("repository", "alias", "remove", moved, old)
    assert digest(asked, new, "v1") is not None
    wait_until(lambda: not client.pulls(f"{old}:v1"), limit_s=5, what="the end of a name that was given up")
    client.pull(f"{new}:v1")
