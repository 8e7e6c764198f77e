"""docker's logins: what it stores of them, with and without an identity token, and when they end."""

import base64
import json
from collections.abc import Callable, Iterator

import pytest

from tests.clients.conftest import PASSWORDS, ClientAt, add_accounts
from tests.clients.logins import Client, Made
from tests.running import Registry, wait_until

PASSWORD = "curiouser and curiouser"
REVOKED_LIMIT_S = 5.0
"""How long what was taken away may still work: decision 13."""


@pytest.fixture(scope="module", params=["no-identity-token", "basic"])
def passwords_only(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Servers that give no refresh token out."""
    flags = {"no-identity-token": ("--refresh-token-ttl-s", "0"), "basic": ("--auth-challenge", "basic")}
    registry = Registry.start(tmp_path_factory.mktemp("passwords") / "data", *flags[request.param], is_open=False)
    add_accounts(registry)
    yield registry
    registry.kill()


def stored(docker: Client) -> dict[str, str]:
    """What docker's configuration says of this registry."""
    found: dict[str, str] = json.loads((docker.home / "docker/config.json").read_text())["auths"][docker.address]
    return found


def logged_in(client_at: ClientAt, registry: Registry, name: str) -> Client:
    """docker, with the login of a new user that has PASSWORD."""
    registry.command("user", "add", name, "--password-stdin", stdin=f"{PASSWORD}\n")
    docker = client_at("docker", registry)
    docker.login(name, PASSWORD)
    return docker


def logins_of(registry: Registry, name: str) -> list[int]:
    """The ids of the logins that clients of this user remember."""
    return [row["id"] for row in json.loads(registry.command("token", "list", name, "--json"))]


def test_docker_keeps_an_identity_token_and_no_password(client_at: ClientAt, closed: Registry, made: Made) -> None:
    """The default: the configuration has a token that is no password, and that is what pushes and pulls."""
    docker = logged_in(client_at, closed, "carol")
    entry = stored(docker)
    assert entry["identitytoken"]
    assert base64.b64decode(entry["auth"]).decode().strip("\0") in ("carol:", "<token>:")
    docker.push(made, "carol/app:v1")
    docker.pull("carol/app:v1")
    assert stored(docker) == entry
    assert len(logins_of(closed, "carol")) == 1


def test_docker_keeps_the_password_where_there_is_no_identity_token(
    client_at: ClientAt, passwords_only: Registry, made: Made
) -> None:
    """With `--refresh-token-ttl-s 0`, and where Basic is asked for, docker logs in as it did before such tokens."""
    docker = client_at("docker", passwords_only)
    assert "unauthorized" in docker.login_refused("alice", "wrong").lower()
    docker.login("alice", PASSWORDS["alice"])
    entry = stored(docker)
    assert "identitytoken" not in entry
    assert base64.b64decode(entry["auth"]).decode() == f"alice:{PASSWORDS['alice']}"
    docker.push(made, "alice/app:v1")
    docker.pull("alice/app:v1")
    docker.logout()
    docker.pull_refused("alice/app:v1")


def revoke(registry: Registry, name: str) -> None:
    """End the only login of a user."""
    (login,) = logins_of(registry, name)
    registry.command("token", "revoke", str(login))


def change_password(registry: Registry, name: str) -> None:
    """Give a user another password."""
    registry.command("user", "password", name, "--password-stdin", stdin="off with their heads\n")


def disable(registry: Registry, name: str) -> None:
    """Disable a user."""
    registry.command("user", "disable", name)


@pytest.mark.parametrize(
    ("name", "end"),
    [("dinah", revoke), ("duchess", change_password), ("gryphon", disable)],
    ids=["revoked", "password", "disabled"],
)
def test_an_identity_token_ends_within_seconds(
    client_at: ClientAt, closed: Registry, made: Made, name: str, end: Callable[[Registry, str], None]
) -> None:
    """A login that is revoked, or whose user got another password or was disabled, neither pulls nor pushes."""
    docker = logged_in(client_at, closed, name)
    image = f"{name}/app:v1"
    docker.push(made, image)
    docker.pull(image)
    end(closed, name)
    wait_until(lambda: not docker.pulls(image), limit_s=REVOKED_LIMIT_S, what="the end of the login")
    said = docker.push_refused(made, image)
    assert "unauthorized" in said or "denied" in said, said


def test_two_logins_of_a_user_end_apart(client_at: ClientAt, closed: Registry, made: Made) -> None:
    """A second machine has a login of its own, which stays when the first is revoked."""
    first = logged_in(client_at, closed, "hatter")
    first.push(made, "hatter/app:v1")
    (login,) = logins_of(closed, "hatter")
    second = client_at("docker", closed)
    second.login("hatter", PASSWORD)
    closed.command("token", "revoke", str(login))
    wait_until(lambda: not first.pulls("hatter/app:v1"), limit_s=REVOKED_LIMIT_S, what="the end of the login")
    second.pull("hatter/app:v1")


def test_the_file_of_a_login_does_not_name_the_password(client_at: ClientAt, closed: Registry) -> None:
    """Neither docker's home nor the server's log has the password of a login with an identity token."""
    docker = logged_in(client_at, closed, "knave")
    texts = [path.read_text(errors="replace") for path in docker.home.rglob("*") if path.is_file()]
    encoded = base64.b64encode(f"knave:{PASSWORD}".encode()).decode()
    for text in (*texts, closed.output()):
        assert PASSWORD not in text and encoded not in text
