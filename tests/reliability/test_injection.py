"""Texts that mean something to SQL, to a log, to a terminal or to a header, in every place that takes a text."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from registry.core.manifest import OCI_MANIFEST
from tests.reliability.client import expect
from tests.reliability.raw import Raw
from tests.reliability.tenants import (
    ALICE,
    BOB,
    CANARY,
    CANARY_DIGEST,
    PRIVATE,
    basic,
    scope,
    settle,
    sql,
)
from tests.running import Registry, wait_until

SQL = [
    "'",
    '"',
    "\\",
    "`",
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR ""="',
    "') OR ('1'='1",
    "1; DROP TABLE accounts; --",
    "'; DELETE FROM audit; --",
    "' UNION SELECT name, password_hash FROM accounts --",
    "1 UNION SELECT 1,2,3,4,5,6,7,8,9,10,11 --",
    "admin'--",
    "admin'/*",
    "%' --",
    "%",
    "_",
    "a%",
    "\\%",
    "x' AND (SELECT count(*) FROM sqlite_master) > 0 --",
    "x' AND randomblob(100000000) --",
    "';SELECT load_extension('/tmp/x') --",
    "0x27",
    "CHAR(39)",
    ":name",
    "?1",
    "$1",
    "%(name)s",
    "{0}",
    "\u02bc OR 1=1",
    "\uff07 OR 1=1",
]
TABLES = ("accounts", "tokens", "repositories", "tags", "manifests", "blobs", "grants", "signing_keys")


def contents(registry: Registry) -> list[object]:
    """What no request of these tests may change."""
    return [sql(registry, f"SELECT count(*) FROM {table}") for table in TABLES] + [
        sql(registry, "SELECT name, is_admin, password_hash FROM accounts ORDER BY id"),
        sql(registry, "SELECT name, visibility FROM repositories ORDER BY id"),
    ]


def check(answer: httpx2.Response) -> None:
    """An answer that has nothing of a database in it."""
    assert answer.status_code < 500, answer.text
    assert CANARY not in answer.content
    for word in ("sqlite", "sqlalchemy", "syntax error", "password_hash", "Traceback", "$argon2"):
        assert word not in answer.text.replace(quote(answer.request.url.path), "").split('"detail"')[0]


@pytest.mark.parametrize("text", SQL)
def test_sec_025_sql_in_every_field(house: Registry, text: str) -> None:
    """SEC-025: in each part of a path, each field of a query or form and each header, of the API and of /token: 4xx or
    what the literal text means, and nothing has changed."""
    before = contents(house)
    part = quote(text, safe="")
    with BOB.client(house) as bob:
        for path in (
            f"/v2/{part}/tags/list",
            f"/v2/bob/own/manifests/{part}",
            f"/v2/bob/own/blobs/{part}",
            f"/v2/bob/own/blobs/sha256:{part}",
            f"/v2/bob/own/referrers/{part}",
            f"/v2/bob/own/blobs/uploads/{part}",
            f"/v2/{part}",
        ):
            for method in ("GET", "DELETE"):
                answer = bob.request(method, path)
                check(answer)
                assert answer.status_code in (400, 404, 405)
        for path, fields in (
            ("/v2/_catalog", ("n", "last", "x")),
            ("/v2/bob/own/tags/list", ("n", "last")),
            (f"/v2/bob/own/referrers/{CANARY_DIGEST}", ("artifactType", "n", "last")),
        ):
            for field in fields:
                answer = bob.get(path, params={field: text})
                check(answer)
                assert "alice/private" not in answer.text
        for field in ("mount", "from", "digest", "digest-algorithm"):
            query = {"mount": str(CANARY_DIGEST), field: text}
            answer = bob.post("/v2/bob/own/blobs/uploads/", params=query)
            check(answer)
            assert answer.status_code in (202, 400)
        headers = {"content-type": OCI_MANIFEST}
        check(bob.put("/v2/bob/own/manifests/v1", content=b"{}", params={"tag": text}, headers=headers))
        for name in (
            "range",
            "content-range",
            "if-none-match",
            "if-match",
            "if-range",
            "accept",
            "user-agent",
            "content-type",
            "x-forwarded-for",
            "cookie",
            "accept-encoding",
        ):
            value = text.encode("utf-8")
            check(bob.get("/v2/bob/own/manifests/v1", headers=[(name.encode(), value)]))
            check(bob.put("/v2/bob/own/manifests/x", content=b"{}", headers=[(name.encode(), value)]))
    assert contents(house) == before


@pytest.mark.parametrize("text", SQL)
def test_sec_025_sql_in_logins(house: Registry, text: str) -> None:
    """SEC-025: names, secrets and every field of the token server."""
    before = contents(house)
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        for name, secret in ((text, "x"), ("alice", text), (text, text), (f"alice{text}", ALICE.secret)):
            answer = client.get("/token", headers=basic(name, secret))
            check(answer)
            assert answer.status_code == 401
        for field in ("service", "scope", "account", "offline_token", "x"):
            answer = client.get("/token", params={"scope": scope(PRIVATE.name), field: text}, headers=BOB.basic)
            check(answer)
            assert answer.status_code == 400 or answer.json()["scope"] == ""
        answer = client.get("/token", params={"scope": scope(text)}, headers=BOB.basic)
        assert answer.status_code == 400 or answer.json()["scope"] == ""
        whole = {"grant_type": "password", "username": "alice", "password": "x", "refresh_token": "y", "client_id": "z"}
        for field in whole:
            answer = client.post("/token", data={**whole, field: text})
            check(answer)
            assert answer.status_code in (400, 401)
        answer = client.post("/token", data={**whole, "grant_type": "refresh_token", "refresh_token": text})
        assert answer.status_code == 401
        assert client.post("/api/v1/users", json={"name": text, "password": text * 9}).status_code == 403
    assert contents(house) == before


def test_sec_025_last_is_a_place_in_the_order(house: Registry) -> None:
    """SEC-025: `last` is compared as the bytes that it is."""
    with ALICE.client(house) as alice:
        everything = expect(alice.get("/v2/_catalog"), 200).json()["repositories"]
        for text in SQL:
            names = expect(alice.get("/v2/_catalog", params={"last": text}), 200).json()["repositories"]
            assert names == [name for name in everything if name.encode() > text.encode()]


ESCAPES = [
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x9b31m",
    "\u202e",
    "\r\nSet-Cookie: a=b",
    "\r\n\r\nHTTP/1.1 200 OK\r\n",
    "\n{}",
    "\x00",
    "\x7f",
    "\u2028",
    '"}\n{"event":"forged',
    "\x85",
]


@pytest.fixture(scope="module", params=["json", "text"])
def logging(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A closed server for each form of log lines, at its most talkative."""
    flags = (
        "--log-format",
        request.param,
        "--log-level",
        "debug",
        "--login-failures-per-address",
        "100000",
        "--login-failures-per-account",
        "100000",
    )
    registry = Registry.start(tmp_path_factory.mktemp("logging") / "data", *flags, is_open=False)
    settle(registry)
    yield registry
    registry.kill()


@pytest.mark.parametrize("text", ESCAPES)
def test_sec_085_nothing_escapes_into_headers_or_logs(logging: Registry, text: str) -> None:
    """SEC-085: control characters in paths, queries, names and headers, escaped or raw, become neither a header nor a
    second line of the log, nor reach a terminal that shows it."""
    part = quote(text, safe="")
    with ALICE.client(logging) as alice:
        paths = [
            f"/v2/{part}/tags/list",
            f"/v2/alice/private/manifests/{part}",
            f"/v2/_catalog?last={part}&n=1",
            f"/v2/alice/private/tags/list?n=0&last={part}",
            f"/{part}",
            f"/token?service={part}",
            f"/token?scope={part}",
            f"/token?offline_token=true&client_id={part}",
            f"/v2/?{part}={part}",
            f"/v2/alice/private/referrers/{CANARY_DIGEST}?artifactType={part}&n=1",
        ]
        answers = [alice.get(path) for path in paths]
        answers += [alice.post(f"/v2/alice/x/blobs/uploads/?mount={CANARY_DIGEST}&from={part}")]
        answers += [alice.post(f"/v2/alice/x/blobs/uploads/?digest-algorithm={part}")]
        answers += [alice.get("/token", headers=basic(name, "x")) for name in (text, f"alice{text}")]
        answers += [
            httpx2.post(
                f"{logging.url}/token",
                data={"grant_type": "password", "username": text, "password": text, "client_id": text},
            )
        ]
    for answer in answers:
        assert answer.status_code < 500
        assert "set-cookie" not in answer.headers
        assert all(character.isprintable() for _, value in answer.headers.multi_items() for character in value)
    raw_text = text.encode("utf-8")
    for request in (
        b"GET /v2/" + raw_text + b"/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/\x9b31m\xe2\x80\xae HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: " + raw_text + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: " + raw_text + b"\r\n\r\n",
    ):
        with Raw(logging.port) as raw:
            raw.send(request)
            refused = raw.answer()
            assert refused.status < 500
            assert "set-cookie" not in refused.headers
    wait_until(lambda: "readyz" in logging.output(), what="the log")
    for line in logging.output().splitlines():
        assert all(character.isprintable() for character in line), repr(line)
        assert not line.startswith(('{"event":"forged', "Set-Cookie", "HTTP/1.1"))
