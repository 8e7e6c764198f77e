"""The commands for accounts, tokens, repositories, keys and the audit; and that bad input changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from click.testing import CliRunner, Result

from registry.cli import main
from registry.config import load
from registry.metadata import sqlite
from tests.running import Registry

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a closed registry that was started once, with a repository of the instance."""
    data = tmp_path_factory.mktemp("accounts") / "data"
    registry = Registry.start(data, is_open=False)
    with registry.client() as client:
        client.auth = ("admin", "correct horse battery")
        for name in ("tool", "acme/old"):
            assert client.post(f"/v2/{name}/blobs/uploads/").status_code == 202
    assert registry.stop() == 0
    return data


@pytest.fixture
def run(installation: Path) -> Run:
    """Runs a command on it."""

    def command(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, "--data", str(installation)], input=stdin)

    return command


def good(result: Result) -> str:
    """What a command printed that has to succeed."""
    assert result.exit_code == 0, result.output
    return result.output


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    """The rows of a list."""
    found: list[dict[str, Any]] = json.loads(good(run(*arguments, "--json")))
    return found


def dump(installation: Path) -> list[str]:
    """Everything that has to do with access."""
    connection = sqlite.library().connect(load({"data": str(installation)}, {}, None).database_path)
    tables = "accounts members teams team_members repositories grants tokens signing_keys access_changes audit"
    try:
        return [str(row) for table in tables.split() for row in connection.execute(f"SELECT * FROM {table}")]
    finally:
        connection.close()


def add_user(run: Run, name: str) -> None:
    """A user with a password."""
    good(run("user", "add", name, "--password-stdin", stdin="long enough\n"))


def test_an_organization_keeps_an_owner(run: Run) -> None:
    """Its only owner cannot be deleted."""
    add_user(run, "owner-of-one")
    good(run("org", "add", "owned", "--owner", "owner-of-one"))
    refused = run("user", "delete", "owner-of-one")
    assert refused.exit_code == 2 and "only owner of owned" in refused.output


def test_users(run: Run) -> None:
    """Added, listed, given a password, disabled, made an admin, deleted; the name is never given out again."""
    add_user(run, "ursula")
    assert {"name": "ursula", "admin": False, "state": "active"}.items() <= listed(run, "user", "list")[-1].items()
    assert "password: " in good(run("user", "password", "ursula", "--generate"))
    good(run("user", "disable", "ursula"))
    assert listed(run, "user", "list")[-1]["state"] == "disabled"
    good(run("user", "enable", "ursula"))
    good(run("user", "promote", "ursula"))
    assert listed(run, "user", "list")[-1]["admin"]
    good(run("user", "demote", "ursula"))
    good(run("user", "delete", "ursula"))
    assert "ursula" not in [row["name"] for row in listed(run, "user", "list")]
    again = run("user", "add", "ursula", "--generate")
    assert again.exit_code == 2 and "never given out twice" in again.output


def test_organizations_teams_and_robots(run: Run) -> None:
    """From an empty instance to a team with a role on a namespace and a robot with a token."""
    for name in ("olga", "mia"):
        add_user(run, name)
    good(run("org", "add", "orga", "--owner", "olga"))
    good(run("org", "set-member", "orga", "mia"))
    assert {row["name"]: row["role"] for row in listed(run, "org", "members", "orga")} == {
        "mia": "member",
        "olga": "owner",
    }
    good(run("team", "add", "orga", "devs"))
    good(run("robot", "add", "orga+ci", "--role", "write"))
    for member in ("mia", "orga+ci"):
        good(run("team", "join", "orga", "devs", member))
    assert listed(run, "team", "list", "orga") == [{"team": "devs", "members": "mia, orga+ci"}]
    good(run("repository", "grant", "orga/*", "team:orga/devs", "read"))
    assert {row["who"]: row["role"] for row in listed(run, "repository", "roles", "orga/*")} == {
        "orga+ci": "write",
        "team:orga/devs": "read",
    }
    good(run("team", "leave", "orga", "devs", "mia"))
    good(run("org", "remove-member", "orga", "mia"))
    good(run("team", "remove", "orga", "devs"))
    assert [row["who"] for row in listed(run, "repository", "roles", "orga/*")] == ["orga+ci"]
    good(run("org", "delete", "orga"))
    assert listed(run, "robot", "list") == []


def test_signing_in(run: Run) -> None:
    """Identities, groups, sessions and second factors, as an operator sees them."""
    add_user(run, "sina")
    provider = ("--issuer", "https://id.example.com")
    refused = run("user", "link", "sina", "4711")
    assert refused.exit_code == 2 and "oidc_issuer is not set" in refused.output
    good(run("user", "link", "sina", "4711", *provider))
    [row] = listed(run, "user", "identities", "sina")
    assert {"issuer": "https://id.example.com", "subject": "4711", "called": "4711"}.items() <= row.items()
    again = run("user", "link", "sina", "4712", *provider)
    assert again.exit_code == 2 and "unlink that first" in again.output
    good(run("user", "unlink", "sina"))
    assert listed(run, "user", "identities", "sina") == []
    assert good(run("user", "sign-out", "sina")) == "0 sessions of sina ended\n"
    without = run("user", "remove-second-factor", "sina")
    assert without.exit_code == 2 and "sina has no second factor" in without.output
    good(run("org", "add", "signs", "--owner", "sina"))
    good(run("team", "add", "signs", "devs"))
    assert "stands for the group developers" in good(run("team", "group", "signs", "devs", "developers"))
    assert "stands for no group" in good(run("team", "group", "signs", "devs"))


def test_tokens(run: Run) -> None:
    """The secret is printed once; the list shows what it is for."""
    add_user(run, "tina")
    arguments = ("--name", "ci", "--scope", "read", "--repository", "tina/*", "--expires", "1h")
    assert good(run("token", "create", "tina", *arguments)).startswith("dpat_")
    [row] = listed(run, "token", "list", "tina")
    shown = {"kind": "personal", "name": "ci", "scope": "read", "repositories": "tina/*", "last_used": None}
    assert shown.items() <= row.items() and row["expires"] > row["created"]
    good(run("token", "revoke", str(row["id"])))
    assert listed(run, "token", "list", "tina") == []


def test_repositories(run: Run) -> None:
    """Visibility, roles, owner, end."""
    add_user(run, "rita")
    assert {row["name"]: row["owner"] for row in listed(run, "repository", "list")}["tool"] == "(instance)"
    good(run("repository", "visibility", "tool", "public"))
    assert listed(run, "repository", "list", "too")[0]["visibility"] == "public"
    good(run("repository", "grant", "tool", "rita", "write"))
    assert listed(run, "repository", "roles", "tool") == [{"who": "rita", "on": "tool", "role": "write"}]
    good(run("repository", "revoke", "tool", "rita"))
    good(run("org", "add", "acme", "--owner", "rita"))
    good(run("repository", "assign", "acme/old"))
    assert listed(run, "repository", "list", "acme/")[0]["owner"] == "acme"
    assert run("user", "delete", "acme").exit_code == 2
    silent = run("repository", "describe", "acme/old")
    assert silent.exit_code == 2 and "say what acme/old is" in silent.output
    good(run("repository", "describe", "acme/old", "An old one."))
    good(run("repository", "describe", "acme/old", ""))
    good(run("repository", "delete", "acme/old", "--yes"))
    assert listed(run, "repository", "list", "acme/") == []
    assert run("repository", "delete", "tool", stdin="n\n").exit_code == 1
    assert listed(run, "repository", "list", "tool") != []


def test_keys_and_audit(run: Run) -> None:
    """A new key has a name; the audit tells who made it, newest first."""
    name = good(run("key", "rotate")).split()[-1]
    [row] = listed(run, "audit", "--action", "key.*", "--limit", "1")
    assert row["target"] == name and row["credential"] == "command line" and row["address"] is None
    assert listed(run, "audit", "--until", "2020-01-01") == []
    assert listed(run, "audit", "--since", "1h", "--actor", "nobody") == []


def test_a_key_needs_the_secret_of_the_others(run: Run, installation: Path) -> None:
    """Without it, or with another one, nothing is written that the server could not open; only `--at-once`, which ends
    the others, is the way out where the secret is lost."""
    secret = installation / "secret"
    kept = secret.read_text()
    before = dump(installation)
    secret.unlink()
    refused = run("key", "rotate")
    assert refused.exit_code == 2 and "is missing (see --secret-file)" in refused.output and not secret.exists()
    secret.write_text("0" * 64)
    refused = run("key", "rotate")
    assert refused.exit_code == 2 and "put the old file back" in refused.output
    assert dump(installation) == before
    good(run("key", "rotate", "--at-once"))
    good(run("key", "rotate"))
    secret.write_text(kept)
    assert run("key", "rotate").exit_code == 2
    good(run("key", "rotate", "--at-once"))


def test_users_of_an_htpasswd_file(run: Run, tmp_path: Path) -> None:
    """All or none; bcrypt only."""
    hashed = bcrypt.hashpw(b"from htpasswd", bcrypt.gensalt(4)).decode()
    file = tmp_path / "htpasswd"
    file.write_text(f"# users\nhanna:{hashed}\nheinz:{hashed}\n")
    assert "2 users" in good(run("user", "import", str(file)))
    for line in ("hugo", "hugo:$apr1$x$y", "hugo:plain", "Hugo:" + hashed, "hanna:" + hashed, "hugo:$2y$05$x"):
        file.write_text(f"holger:{hashed}\n{line}\n")
        refused = run("user", "import", str(file))
        assert refused.exit_code == 2 and refused.output.startswith("depotry: "), (line, refused.output)
    assert "holger" not in [row["name"] for row in listed(run, "user", "list")]


BAD = [
    ("user", "add", "Admin", "--generate"),
    ("user", "add", "\uff41dmin", "--generate"),
    ("user", "add", "admin", "--generate"),
    ("user", "add", "ad..min", "--generate"),
    ("user", "add", "a/b", "--generate"),
    ("user", "add", "library", "--generate"),
    ("user", "add", "a" * 65, "--generate"),
    ("user", "add", "", "--generate"),
    ("user", "add", "acme+ci", "--generate"),
    ("user", "add", "xaver"),
    ("user", "sign-out", "nobody-here"),
    ("user", "remove-second-factor", "nobody-here"),
    ("user", "identities", "nobody-here"),
    ("user", "link", "nobody-here", "1", "--issuer", "https://id.example.com"),
    ("user", "unlink", "nobody-here"),
    ("team", "group", "nobody-here", "devs", "x"),
    ("user", "add", "xaver", "--generate", "--password-stdin"),
    ("user", "add", "xaver", "--password-file", "/nonexistent"),
    ("user", "password", "nobody-here", "--generate"),
    ("user", "disable", "nobody-here"),
    ("user", "disable", "admin"),
    ("user", "demote", "admin"),
    ("user", "delete", "admin"),
    ("user", "visibility", "admin", "secret"),
    ("org", "add", "orgb", "--owner", "nobody-here"),
    ("org", "add", "orgb"),
    ("org", "members", "admin"),
    ("org", "set-member", "admin", "admin"),
    ("org", "delete", "nobody-here"),
    ("org", "delete", "admin"),
    ("robot", "delete", "admin"),
    ("user", "delete", "owner-of-one"),
    ("team", "add", "admin", "devs"),
    ("team", "join", "nobody-here", "devs", "admin"),
    ("robot", "add", "ci"),
    ("robot", "add", "nobody-here+ci"),
    ("robot", "add", "admin+CI"),
    ("robot", "add", "admin+ci", "--role", "king"),
    ("token", "create", "nobody-here"),
    ("token", "create", "admin", "--scope", "everything"),
    ("token", "create", "admin", "--scope", ""),
    ("token", "create", "admin", "--expires", "soon"),
    ("token", "create", "admin", "--expires", "0s"),
    ("token", "create", "admin", "--expires", "9999999999999d"),
    ("token", "create", "admin", "--repository", "A/../b"),
    ("token", "create", "admin", "--name", "\x1b[2J"),
    ("token", "revoke", "999999"),
    ("token", "revoke", "x"),
    ("repository", "visibility", "nope/nope", "public"),
    ("repository", "visibility", "Nope", "public"),
    ("repository", "grant", "tool", "nobody-here", "read"),
    ("repository", "grant", "tool", "team:nobody/here", "read"),
    ("repository", "grant", "nobody-here/*", "admin", "read"),
    ("repository", "revoke", "tool", "admin"),
    ("repository", "assign", "tool"),
    ("repository", "delete", "nope/nope", "--yes"),
    ("audit", "--since", "yesterday-ish"),
    ("audit", "--digest", "sha256:x"),
    ("audit", "--limit", "0"),
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_changes_nothing(run: Run, installation: Path, arguments: tuple[str, ...]) -> None:
    """Exit status 2, one clear line, no stack trace, the same database."""
    before = dump(installation)
    refused = run(*arguments)
    assert refused.exit_code == 2, refused.output
    assert "Traceback" not in refused.output
    assert refused.exception is None or isinstance(refused.exception, SystemExit), refused.exception
    assert dump(installation) == before


@pytest.mark.parametrize("password", ["short", "", "a" * 1025, "tab\there and there"])
def test_bad_passwords_are_refused(run: Run, installation: Path, password: str) -> None:
    """Too short, too long, or with what cannot be typed."""
    before = dump(installation)
    refused = run("user", "add", "xaver", "--password-stdin", stdin=f"{password}\n")
    assert refused.exit_code == 2 and "a password has" in refused.output
    assert dump(installation) == before
