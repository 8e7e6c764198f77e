"""Every client against a server with accounts: what it may do with a login, without one, and with somebody else's."""

import re

import pytest

from tests.clients.conftest import PASSWORDS, ClientAt
from tests.clients.logins import PHRASES, Made
from tests.clients.tools import digest_of_tag
from tests.running import ADMIN_PASSWORD, Registry

REFUSED = re.compile(r"denied|unauthorized|authentication required|forbidden|401|403", re.IGNORECASE)
"""What a person understands: it was not allowed."""

NOT_LOGGED_IN = re.compile(f"{REFUSED.pattern}|no basic auth credentials|credential not found", re.IGNORECASE)
"""The same where a client knows that it has no password to send."""

PASSWORD_WRONG = re.compile(r"unauthorized|incorrect|invalid username/password|authentication failed", re.IGNORECASE)


def is_there(registry: Registry, repository: str, tag: str = "v1") -> bool:
    """Whether an image arrived, asked of the server itself as its admin."""
    return digest_of_tag(registry, repository, tag, auth=("admin", ADMIN_PASSWORD)) is not None


@pytest.mark.parametrize("challenge", ["bearer", "basic"])
@pytest.mark.parametrize("name", PHRASES)
def test_a_client_logs_in_pushes_pulls_and_logs_out(
    name: str, client_at: ClientAt, asked: Registry, made: Made
) -> None:
    """With a login everything works in a namespace of one's own, private as it is; after logout nothing does."""
    client = client_at(name, asked)
    image = f"alice/{name}:v1"
    assert NOT_LOGGED_IN.search(client.push_refused(made, image))
    client.login("alice", PASSWORDS["alice"])
    client.push(made, image)
    assert is_there(asked, f"alice/{name}")
    client.pull(image)
    client.logout()
    assert NOT_LOGGED_IN.search(client.pull_refused(image))


@pytest.mark.parametrize("name", [name for name, phrases in PHRASES.items() if phrases.copy])
def test_a_client_lists_copies_and_deletes_with_a_login(
    name: str, client_at: ClientAt, closed: Registry, made: Made
) -> None:
    """What needs scopes of its own: the tags, a copy to another repository, and a delete."""
    client = client_at(name, closed)
    client.login("alice", PASSWORDS["alice"])
    client.push(made, f"alice/{name}-more:v1")
    client.copy(f"alice/{name}-more:v1", f"alice/{name}-copied:v1")
    assert is_there(closed, f"alice/{name}-copied")
    if client.phrases.tags:
        assert "v1" in client.tags(f"alice/{name}-more")
    if client.phrases.delete:
        client.delete(f"alice/{name}-copied:v1")
        assert not is_there(closed, f"alice/{name}-copied")


@pytest.mark.parametrize("name", PHRASES)
def test_a_wrong_password_is_refused_in_words(name: str, client_at: ClientAt, closed: Registry, made: Made) -> None:
    """Clients ask at the login, but for crane, which notes the password and is refused when it uses it."""
    client = client_at(name, closed)
    if name == "crane":
        client.login("alice", "wrong")
        said = client.push_refused(made, f"alice/{name}-wrong:v1")
    else:
        said = client.login_refused("alice", "wrong")
    assert PASSWORD_WRONG.search(said), said


@pytest.mark.parametrize("name", PHRASES)
def test_an_account_of_another_is_closed_in_words(name: str, client_at: ClientAt, closed: Registry, made: Made) -> None:
    """Bob cannot push to a name of Alice's, new or not, and cannot pull what is private there."""
    alice, bob = (client_at(name, closed) for _ in range(2))
    alice.login("alice", PASSWORDS["alice"])
    alice.push(made, f"alice/{name}-own:v1")
    bob.login("bob", PASSWORDS["bob"])
    for repository in (f"alice/{name}-own", f"alice/{name}-new"):
        said = bob.push_refused(made, f"{repository}:v2")
        assert REFUSED.search(said), said
        assert not is_there(closed, repository, "v2")
    assert REFUSED.search(bob.pull_refused(f"alice/{name}-own:v1"))


@pytest.mark.parametrize("name", PHRASES)
def test_a_public_image_is_pulled_by_everybody_and_pushed_by_its_owner(
    name: str, client_at: ClientAt, closed: Registry, made: Made
) -> None:
    """A client that knows no password at all pulls what is public, and cannot push there."""
    owner, anybody = (client_at(name, closed) for _ in range(2))
    owner.login("alice", PASSWORDS["alice"])
    owner.push(made, f"alice/{name}-public:v1")
    closed.command("repository", "visibility", f"alice/{name}-public", "public")
    anybody.pull(f"alice/{name}-public:v1")
    assert REFUSED.search(anybody.push_refused(made, f"alice/{name}-public:v2"))
    assert not is_there(closed, f"alice/{name}-public", "v2")
