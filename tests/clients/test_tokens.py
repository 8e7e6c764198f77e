"""Robots, personal tokens with limits, and roles through a team, as clients meet them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import PASSWORDS, ClientAt
from tests.clients.logins import Client, Made, made_in
from tests.clients.test_logins import REFUSED, is_there
from tests.clients.tools import environment
from tests.running import Registry, wait_until

PIPELINE = """
set -eu
depotry() { "$PYTHON" -m registry "$@" --data "$DATA"; }
depotry robot add acme+ci --role write
token=$(depotry token create acme+ci --name pipeline --scope read,write)
printf '%s' "$token" | docker login --username acme+ci --password-stdin "$REGISTRY"
docker import "$LAYER" "$REGISTRY/acme/new:v1"
docker push "$REGISTRY/acme/new:v1"
docker rmi "$REGISTRY/acme/new:v1"
docker pull "$REGISTRY/acme/new:v1"
docker logout "$REGISTRY"
docker rmi "$REGISTRY/acme/new:v1"
if docker pull "$REGISTRY/acme/new:v1"; then exit 9; fi
"""
"""What somebody would put into a pipeline."""


def test_a_robot_in_a_pipeline_makes_a_repository(
    daemon: str, client_at: ClientAt, closed: Registry, made: Made
) -> None:
    """A script gets a token for a robot, logs docker in with it, and its first push makes the repository."""
    docker = client_at("docker", closed)
    variables = {"PYTHON": sys.executable, "DATA": str(closed.data), "REGISTRY": closed.address, "LAYER": str(made.tar)}
    variables |= {"DOCKER_HOST": daemon, "PYTHONPATH": str(Path(__file__).parents[2])}
    variables |= closed.variables
    ended = subprocess.run(
        ["sh", "-c", PIPELINE],
        env=environment(docker.home) | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Login Succeeded" in ended.stdout
    assert is_there(closed, "acme/new")


def with_token(client_at: ClientAt, registry: Registry, account: str, *limits: str, name: str = "crane") -> Client:
    """A client that is logged in with a new personal token."""
    secret = registry.command("token", "create", account, *limits).strip()
    client = client_at(name, registry)
    client.login(account, secret)
    return client


@pytest.fixture
def image(client_at: ClientAt, closed: Registry, made: Made, request: pytest.FixtureRequest) -> str:
    """A private image of Alice's organization, of this test alone."""
    owner = client_at("crane", closed)
    owner.login("alice", PASSWORDS["alice"])
    number = "".join(letter for letter in request.node.name if letter.isalnum()).lower()
    owner.push(made, f"acme/{number}:v1")
    return f"acme/{number}:v1"


@pytest.mark.parametrize("name", ["docker", "skopeo", "regctl"])
def test_a_token_for_reading_pulls_and_does_not_push(
    name: str, client_at: ClientAt, closed: Registry, image: str, tmp_path: Path
) -> None:
    """`--scope read` is less than its owner may do."""
    client = with_token(client_at, closed, "alice", "--scope", "read", name=name)
    client.pull(image)
    repository = image.partition(":")[0]
    assert REFUSED.search(client.push_refused(made_in(tmp_path / "other"), f"{repository}:v2"))
    assert REFUSED.search(client.push_refused(made_in(tmp_path / "another"), f"alice/read-{name}:v1"))
    assert not is_there(closed, repository, "v2") and not is_there(closed, f"alice/read-{name}")


def test_a_token_for_writing_does_not_delete(client_at: ClientAt, closed: Registry, image: str, tmp_path: Path) -> None:
    """Without delete among its scopes a token overwrites and does not delete; with it, it does."""
    repository = image.partition(":")[0]
    writer = with_token(client_at, closed, "alice")
    writer.push(made_in(tmp_path / "other"), f"{repository}:v2")
    assert REFUSED.search(writer.delete_refused(f"{repository}:v2"))
    assert is_there(closed, repository, "v2")
    with_token(client_at, closed, "alice", "--scope", "read,delete").delete(f"{repository}:v2")
    assert not is_there(closed, repository, "v2")


def test_a_token_for_one_repository_does_not_touch_another(
    client_at: ClientAt, closed: Registry, image: str, tmp_path: Path
) -> None:
    """It neither pulls nor pushes elsewhere, in the same organization or not, nor makes a repository."""
    made = made_in(tmp_path / "other")
    other = with_token(client_at, closed, "alice")
    other.push(made, "acme/elsewhere:v1")
    client = with_token(client_at, closed, "alice", "--repository", image.partition(":")[0])
    client.pull(image)
    client.push(made, f"{image.partition(':')[0]}:v2")
    assert REFUSED.search(client.pull_refused("acme/elsewhere:v1"))
    for elsewhere in ("acme/elsewhere:v2", "acme/not-there-yet:v2", "alice/not-there-yet:v2"):
        assert REFUSED.search(client.push_refused(made, elsewhere))
        assert not is_there(closed, elsewhere.partition(":")[0], "v2")


@pytest.mark.parametrize("name", ["crane", "docker", "oras"])
def test_a_reader_through_a_team_pulls_and_does_not_push(
    name: str, client_at: ClientAt, closed: Registry, image: str, tmp_path: Path
) -> None:
    """A role of a team is a role of its members, until it is taken away."""
    repository = image.partition(":")[0]
    team = f"readers-{name}"
    bob = client_at(name, closed)
    bob.login("bob", PASSWORDS["bob"])
    assert REFUSED.search(bob.pull_refused(image))
    closed.command("org", "set-member", "acme", "bob")
    closed.command("team", "add", "acme", team)
    closed.command("team", "join", "acme", team, "bob")
    closed.command("repository", "grant", repository, f"team:acme/{team}", "read")
    wait_until(lambda: bob.pulls(image), limit_s=5, what="the role")
    assert REFUSED.search(bob.push_refused(made_in(tmp_path / "other"), f"{repository}:v2"))
    assert not is_there(closed, repository, "v2")
    closed.command("team", "leave", "acme", team, "bob")
    wait_until(lambda: not bob.pulls(image), limit_s=5, what="the end of the role")


def test_a_token_that_has_ended_is_refused(client_at: ClientAt, closed: Registry, image: str) -> None:
    """A personal token works until its time is over, and no login succeeds with it after that."""
    secret = closed.command("token", "create", "alice", "--expires", "1s").strip()
    client = client_at("crane", closed)
    client.login("alice", secret)
    wait_until(lambda: not client.pulls(image), limit_s=10, what="the end of the token")
    assert REFUSED.search(client.pull_refused(image))
    for name in ("docker", "oras"):
        assert "no longer counts" in client_at(name, closed).login_refused("alice", secret)


def test_a_revoked_token_of_a_robot_ends_its_logins(client_at: ClientAt, closed: Registry, image: str) -> None:
    """The identity token that docker got with a personal token ends with that token."""
    closed.command("robot", "add", "acme+nightly", "--role", "read")
    docker = with_token(client_at, closed, "acme+nightly", name="docker")
    docker.pull(image)
    rows = closed.command("token", "list", "acme+nightly", "--json")
    first = min(row["id"] for row in json.loads(rows) if row["kind"] == "personal")
    closed.command("token", "revoke", str(first))
    wait_until(lambda: not docker.pulls(image), limit_s=5, what="the end of the login")
