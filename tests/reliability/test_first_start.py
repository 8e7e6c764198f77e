"""What an installation begins with, and what it does without its database: nothing that anybody could know, and nothing
that opens by itself."""

import json
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.limits import ACCESS_STALE_S
from tests.reliability.client import expect
from tests.reliability.hub import ask, basic, bearer, push, refresh, token_of
from tests.running import ADMIN_PASSWORD, Registry, wait_until

DEFAULTS = (
    *("admin", "password", "Harbor12345", "admin123", "changeme", "depotry", "root", "secret", "12345678"),
    *("administrator", "registry", ADMIN_PASSWORD),
)


def start_bare(data: Path, *flags: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A server without a password file, as somebody starts it for the first time; and its output."""
    log = data.parent / f"{data.name}-bare.log"
    command = [sys.executable, "-m", "registry", "serve", "--data", str(data), "--port", "0", *flags]
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True), log


@contextmanager
def bare(data: Path) -> Iterator[str]:
    """The same, with its URL, until the end of the block."""
    process, log = start_bare(data)
    try:
        found: list[str] = []

        def is_there() -> bool:
            assert process.poll() is None, log.read_text()
            match = re.search(r"is at https?://[^:\s]+:(\d+)", log.read_text())
            found[:] = [f"http://127.0.0.1:{match[1]}"] if match else []
            return bool(found)

        wait_until(is_there)
        yield found[0]
    finally:
        process.terminate()
        process.wait(60)


def mode(path: Path) -> int:
    """Who may read and write a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_two_installations_share_nothing(tmp_path: Path) -> None:
    """SEC-033: two fresh installs have different secrets, keys and passwords, in files for their owner only; no default
    password works, nor that of the other."""
    seen: list[tuple[str, str, str]] = []
    for name in ("one", "two"):
        data = tmp_path / name
        with bare(data) as url:
            secret = (data / "secret").read_text().strip()
            password = (data / "admin-password").read_text().strip()
            for file in ("secret", "admin-password", "registry.db"):
                assert mode(data / file) == 0o600, file
            with httpx2.Client(base_url=url) as client:
                [key] = client.get("/.well-known/jwks.json").json()["keys"]
                assert client.get("/v2/").status_code == 401
                for wrong in (*DEFAULTS[:9], "", secret, *(found[1] for found in seen)):
                    assert client.get("/v2/", headers=basic("admin", wrong)).status_code == 401, wrong
                assert client.get("/v2/", headers=basic("admin", password)).status_code == 200
            seen.append((secret, password, json.dumps(key)))
            assert len(secret) == 64 and len(password) >= 20
    assert len(set(seen[0]) | set(seen[1])) == 6


@pytest.mark.parametrize("kind", ["secret", "password"])
def test_a_start_after_the_first_changes_nothing(tmp_path: Path, kind: str) -> None:
    """SEC-033: neither secret nor password is made a second time, and a password file that was removed stays away."""
    data = tmp_path / "data"
    with bare(data) as url:
        password = (data / "admin-password").read_text().strip()
        secret = (data / "secret").read_text()
        keys = httpx2.get(f"{url}/.well-known/jwks.json").json()
    (data / "admin-password").unlink()
    with bare(data) as url:
        assert not (data / "admin-password").exists()
        assert (data / "secret").read_text() == secret
        assert httpx2.get(f"{url}/.well-known/jwks.json").json() == keys
        assert httpx2.get(f"{url}/v2/", headers=basic("admin", password)).status_code == 200


@pytest.mark.parametrize(
    "content",
    ["", "\n", "ab" * 31, "ab" * 33, "ab" * 31 + "a", "zz" * 32, "ab" * 32 + "\n" + "ab" * 32, "\0" * 64, "secret"],
)
def test_a_wrong_secret_is_not_taken(tmp_path: Path, content: str) -> None:
    """SEC-033, SEC-024: a secret of the wrong length or form keeps the server from starting, with one line; it is not
    replaced by another."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret").write_text(content)
    assert_refuses(data, "64 hexadecimal digits")
    assert (data / "secret").read_text() == content


def test_the_secret_of_another_installation(tmp_path: Path) -> None:
    """SEC-033: with a secret that the database was not made with nothing starts, and nothing is lost."""
    data = tmp_path / "data"
    with bare(data) as url:
        keys = httpx2.get(f"{url}/.well-known/jwks.json").json()
    secret = (data / "secret").read_text()
    (data / "secret").write_text("ab" * 32 + "\n")
    assert_refuses(data, "put the old file back")
    (data / "secret").write_text(secret)
    with bare(data) as url:
        assert httpx2.get(f"{url}/.well-known/jwks.json").json() == keys


def assert_refuses(data: Path, reason: str) -> None:
    """The server does not start, and says why in one line."""
    process, log = start_bare(data)
    try:
        assert process.wait(30) == 2
    finally:
        process.kill()
    lines = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and lines[0].startswith("depotry: ") and reason in lines[0], lines


@pytest.mark.parametrize("content", ["", "short", "with\0nul in it", "x" * 2000])
def test_a_first_password_that_is_none(tmp_path: Path, content: str) -> None:
    """SEC-033: a password file that is empty or too weak makes no admin without a password: the server refuses."""
    data = tmp_path / "data"
    given = tmp_path / "given"
    given.write_text(content)
    process, log = start_bare(data, "--admin-password-file", str(given))
    try:
        assert process.wait(30) == 2
    finally:
        process.kill()
    assert str(given) in log.read_text().splitlines()[-1]


# Without the database


@contextmanager
def broken(data: Path, table: str) -> Iterator[None]:
    """The database without one of its tables: every statement on it fails."""
    rename(data, table, f"{table}_gone")
    try:
        yield
    finally:
        rename(data, f"{table}_gone", table)


def rename(data: Path, old: str, new: str) -> None:
    """Rename a table, with patience."""
    with closing(sqlite3.connect(data / "registry.db", timeout=20)) as connection:
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.commit()


Probe = Callable[[], httpx2.Response]


def test_nobody_decides_without_knowing_what_changed(start_registry: Callable[..., Registry]) -> None:
    """SEC-066: when changes of access cannot be read, everything that needs a decision is answered as before for 5 s at
    most, then with 503 and Retry-After, never with 200, 201, 401 or 404; afterwards all is as it was."""
    registry = start_registry(is_open=False)
    admin = basic("admin", ADMIN_PASSWORD)
    image = push(registry, admin, "app")
    digest = Digest.of(image.blobs[0])
    with registry.client() as client:
        begun = ask(client, admin, "repository:app:pull,push,delete", "registry:catalog:*", offline_token="true")
        token = bearer(begun["token"])
        paths = ["/v2/app/manifests/v1", f"/v2/app/blobs/{digest}", "/v2/app/tags/list", "/v2/_catalog", "/v2/"]
        probes: dict[str, Probe] = {}
        for name, shown in {"token": token, "basic": admin}.items():
            for path in paths:
                probes[f"{name} {path}"] = partial(client.get, path, headers=shown)
            mount = f"/v2/other/blobs/uploads/?mount={digest}&from=app"
            probes[f"{name} upload"] = partial(client.post, "/v2/app/blobs/uploads/", headers=shown)
            probes[f"{name} mount"] = partial(client.post, mount, headers=shown)
            probes[f"{name} delete"] = partial(client.delete, "/v2/app/manifests/none", headers=shown)
        probes["wrong token"] = lambda: client.get("/v2/", headers=bearer("a.b.c"))
        probes["wrong password"] = lambda: client.get("/v2/", headers=basic("admin", "wrong"))
        probes["unknown"] = lambda: client.get("/v2/", headers=basic("nobody", "wrong"))
        probes["token server"] = lambda: client.get("/token?scope=repository:app:pull", headers=admin)
        probes["anonymous token"] = lambda: client.get("/token?scope=repository:app:pull")
        probes["refresh"] = lambda: refresh(client, begun["refresh_token"], "repository:app:pull")
        with broken(registry.data, "access_changes"):
            wait_until(
                lambda: client.get("/v2/", headers=admin).status_code == 503,
                limit_s=ACCESS_STALE_S + 2,
                what="the refusal to decide",
            )
            for what, probe in probes.items():
                answer = probe()
                assert answer.status_code == 503, (what, answer.status_code, answer.text)
                assert int(answer.headers["retry-after"]) > 0
                assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
                assert "access_changes" not in answer.text and "sqlite" not in answer.text.lower()
            assert client.get("/v2/").status_code == 401
        wait_until(lambda: client.get("/v2/", headers=admin).status_code == 200, limit_s=ACCESS_STALE_S + 2)
        for path in paths:
            expect(client.get(path, headers=token), 200)
        assert probes["wrong token"]().status_code == 401
        assert probes["wrong password"]().status_code == 401


@pytest.mark.parametrize("table", ["accounts", "tokens", "login_failures", "audit"])
def test_a_login_that_cannot_be_checked_is_no_login(start_registry: Callable[..., Registry], table: str) -> None:
    """SEC-066: without the tables that a login is checked by: 503, neither let in nor told to be wrong; nor is the
    limit on attempts skipped because it cannot be counted."""
    registry = start_registry(is_open=False)
    admin = basic("admin", ADMIN_PASSWORD)
    personal = basic("admin", registry.command("token", "create", "admin").strip())
    with registry.client() as client:
        kept = ask(client, basic("admin", ADMIN_PASSWORD), offline_token="true")["refresh_token"]
        attempts: dict[str, Probe] = {
            "password": lambda: client.get("/v2/", headers=basic("admin", ADMIN_PASSWORD + "x")),
            "personal token": lambda: client.get("/v2/", headers=personal),
            "unknown token": lambda: client.get("/v2/", headers=basic("admin", "dpat_" + "a" * 43)),
            "refresh token": lambda: refresh(client, kept),
        }
        # An audit that cannot be written only matters where one is: that of a failed login.
        needed = {"password", "unknown token"} if table == "audit" else set(attempts)
        if table == "tokens":
            needed = {"personal token", "unknown token", "refresh token"}
        if table == "login_failures":
            needed = {"password", "unknown token"}
        with broken(registry.data, table):
            began = time.monotonic()
            for what in sorted(needed):
                answer = attempts[what]()
                assert answer.status_code == 503, (what, answer.status_code, answer.text)
                assert int(answer.headers["retry-after"]) > 0
            assert time.monotonic() - began < 30
        assert attempts["personal token"]().status_code == 200
        assert attempts["password"]().status_code == 401
        assert attempts["refresh token"]().status_code == 200
        assert client.get("/v2/", headers=admin).status_code == 200
        token_of(client, admin, "repository:app:pull")
