"""SEC-013: secrets stay where they were put."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2

from registry.core.digest import Digest
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.raw import Raw
from tests.reliability.tenants import ADMIN, MANY_FAILURES, Person, add_user, personal_token, scope
from tests.running import Registry

PLANTED = {
    "a user's password": "planted-password-3141",
    "a new password": "planted-new-password-2718",
    "a wrong password": "planted-wrong-password-1618",
    "a token in a query": "planted-query-token-1414",
    "a malformed header": "planted-malformed-1732",
    "a cookie": "planted-cookie-2236",
    "a scheme of its own": "planted-scheme-2449",
    "a database's password": "planted-database-2645",
    "a password in a form": "planted-form-2828",
    "a password to sign up with": "planted-sign-up-3162",
    "an address with a password": "planted-url-3316",
    "a secret of single sign-on": "planted-oidc-3464",
}
IMAGE = Image("alice/x", "v1", [b"{}", b"content"])


def depotry(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Everything that a command prints, whatever becomes of it."""
    command = [sys.executable, "-m", "registry", *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})}
    )
    return ended.stdout + ended.stderr


def visits(registry: Registry, shown: list[dict[str, str]]) -> list[str]:
    """Pulls, pushes and mistakes with each of these headers and secrets everywhere else; returns what was answered,
    but for the tokens that were asked for."""
    said = []
    planted = PLANTED["a token in a query"]
    cookie = {"cookie": f"session={PLANTED['a cookie']}"}
    with httpx2.Client(base_url=registry.url, timeout=60) as client:
        for headers in shown:
            for method, path in (
                ("GET", "/v2/"),
                ("GET", "/v2/_catalog"),
                ("GET", f"/v2/{IMAGE.name}/manifests/v1"),
                ("GET", f"/v2/{IMAGE.name}/manifests/none"),
                ("PUT", f"/v2/{IMAGE.name}/manifests/broken"),
                ("POST", f"/v2/bob/x/blobs/uploads/?digest={Digest.of(b'')}"),
                ("GET", "/v2/A"),
                ("DELETE", "/token"),
                ("GET", "/token/"),
                ("POST", "/token"),
                ("GET", "/none"),
            ):
                query = {"token": planted, "access_token": planted, "password": planted}
                answer = client.request(method, path, params=query, headers={**headers, **cookie})
                said.append(f"{answer.headers} {answer.text}")
    return said


def test_sec_013_secrets_are_told_to_nobody(start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """SEC-013: unique secrets of every kind, a server at its most talkative, pushes, pulls, wrong logins, errors and a
    crash; then neither logs nor metrics, answers, the audit nor any command has one of them."""
    of_provider = tmp_path / "oidc-secret"
    of_provider.write_text(PLANTED["a secret of single sign-on"])
    # Nobody listens there: what goes wrong with a provider is in the log.
    provider = ("--oidc-issuer", "http://127.0.0.1:9", "--oidc-client-id", "x")
    flags = (
        "--log-level",
        "debug",
        *MANY_FAILURES,
        "--sign-up",
        *provider,
        "--oidc-client-secret-file",
        str(of_provider),
    )
    registry = start_registry(*flags, is_open=False)
    alice = Person("alice", PLANTED["a user's password"])
    add_user(registry, alice)
    said: list[str] = []
    said.append(registry.command("user", "add", "bob", "--password-stdin", stdin=PLANTED["a new password"] + "\n"))
    personal = personal_token(registry, alice, "--scope", "admin")
    with personal.client(registry) as client:
        Pusher(client).push(IMAGE, way="stream")
    login = {"offline_token": "true", "scope": scope(IMAGE.name)}
    got = expect(httpx2.get(f"{registry.url}/token", params=login, headers=alice.basic), 200).json()
    form = {"grant_type": "refresh_token", "refresh_token": got["refresh_token"], "scope": scope(IMAGE.name)}
    again = expect(httpx2.post(f"{registry.url}/token", data=form), 200).json()
    secrets = {**PLANTED, "the admin's password": ADMIN.secret, "a personal token": personal.secret}
    secrets |= {"a refresh token": got["refresh_token"], "an access token": got["token"]}
    secrets |= {"a refreshed token": again["token"], "the secret": (registry.data / "secret").read_text().strip()}
    wrong = Person("alice", PLANTED["a wrong password"])
    malformed = PLANTED["a malformed header"]
    shown = [
        {},
        alice.basic,
        ADMIN.basic,
        personal.basic,
        wrong.basic,
        {"authorization": f"Bearer {got['token']}"},
        {"authorization": f"Bearer {got['token']}x"},
        {"authorization": f"Basic {got['refresh_token']}"},
        {"authorization": f"Basic {malformed}"},
        {"authorization": malformed},
        {"authorization": "Basic " + base64.b64encode(malformed.encode()).decode()},
        {"authorization": f"{PLANTED['a scheme of its own']} x"},
        {"authorization": f"Bearer {malformed}.{malformed}.{malformed}"},
    ]
    said += visits(registry, shown)
    bad = [
        {"grant_type": "password", "username": "alice", "password": PLANTED["a password in a form"]},
        {"grant_type": PLANTED["a password in a form"], "password": PLANTED["a password in a form"]},
        {"grant_type": "refresh_token", "refresh_token": PLANTED["a password in a form"]},
    ]
    said += [httpx2.post(f"{registry.url}/token", data=fields).text for fields in bad]
    sign_up = PLANTED["a password to sign up with"]
    for body in (
        {"name": "new", "password": sign_up},
        {"name": "NEW", "password": sign_up},
        {"name": "new2", "password": sign_up + "\x00"},
        {"password": sign_up},
    ):
        said.append(httpx2.post(f"{registry.url}/api/v1/users", json=body).text)
    with Raw(registry.port) as raw:
        raw.send(f"GET /v2/ HTTP/1.1\r\nAuthorization: Basic {malformed}\r\nHost: x\r\nHost: y\r\n\r\n".encode())
        said.append(str(raw.answer()))
    said += [httpx2.get(registry.metrics_url + path).text for path in ("/metrics", "/readyz", "/livez", "/none")]
    said.append(broken_database(registry, shown))
    registry.kill()
    again_running = start_registry(*flags, data=registry.data, is_open=False)
    said += visits(again_running, shown)
    for command in ("audit", "user list", "token list alice", "repository list", "stats"):
        said.append(registry.command(*command.split()))
    said.append(registry.command("audit", "--json"))
    said.append(settings_printed(registry))
    said += [file.read_text(errors="replace") for file in registry.data.parent.glob("*.log")]
    hits = [
        (kind, form)
        for kind, secret in secrets.items()
        for form in (
            secret,
            base64.b64encode(f"alice:{secret}".encode()).decode(),
            base64.b64encode(secret.encode()).decode(),
        )
        for text in said
        if form in text
    ]
    assert hits == []


def broken_database(registry: Registry, shown: list[dict[str, str]]) -> str:
    """What is answered while every statement fails, which the log tells in full."""
    from registry.metadata import sqlite

    connection = sqlite.library().connect(registry.data / "registry.db", isolation_level=None)
    connection.execute("ALTER TABLE login_failures RENAME TO away")
    try:
        answers = [httpx2.get(f"{registry.url}/token", headers=headers, timeout=60) for headers in shown]
    finally:
        connection.execute("ALTER TABLE away RENAME TO login_failures")
        connection.close()
    assert any(answer.status_code >= 500 for answer in answers)
    return "".join(f"{answer.headers} {answer.text}" for answer in answers if answer.status_code != 200)


def settings_printed(registry: Registry) -> str:
    """`depotry config` with good and bad settings that hold passwords."""
    database, address = PLANTED["a database's password"], PLANTED["an address with a password"]
    data = ("--data", str(registry.data))
    return "".join(
        [
            depotry("config", *data),
            depotry("config", *data, "--database", f"postgresql://depotry:{database}@db.test/depotry"),
            depotry("config", *data, env={"DEPOTRY_DATABASE": f"postgresql://depotry:{database}@db.test/depotry"}),
            depotry("config", *data, "--storage", f"s3://key:{database}@s3.test/bucket"),
            depotry("config", *data, "--external-url", f"https://user:{address}@hub.test"),
            depotry("config", *data, "--trusted-proxies", "10.0.0.0/8,x"),
            depotry("serve", "--port", "0", *data, "--database", f"mysql://depotry:{database}@db.test/depotry"),
        ]
    )


def test_sec_013_secret_files_are_for_their_owner(start_registry: Callable[..., Registry]) -> None:
    """SEC-013, SEC-033: what holds secrets can be read by its owner alone."""
    registry = start_registry(is_open=False)
    for name in ("secret", "registry.db"):
        assert (registry.data / name).stat().st_mode & 0o077 == 0
