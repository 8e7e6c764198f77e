"""The token server, form by form, as the clients use it. Source: the token authentication and OAuth2 specifications of
CNCF Distribution; what docker, containerd, buildkit, oras, crane, skopeo and regctl really send."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from sqlalchemy import text

from registry.core.access import Role, Visibility
from registry.core.limits import FORM_FIELDS_MAX, FORM_MAX_BYTES, TOKEN_SCOPES_MAX
from registry.metadata.database import Connection
from tests.reliability.client import expect
from tests.reliability.hub import ADMIN, PASSWORD, Desk, Headers, ask, basic, bearer, push
from tests.reliability.raw import Raw
from tests.running import STILL, Registry

MIB = 1024 * 1024
NAME = "alice/app"
FORM = "application/x-www-form-urlencoded"
TABLES = ("accounts", "tokens", "signing_keys", "members", "teams", "team_members", "grants", "repositories", "uploads")


@dataclass
class Place:
    """A server, a client of it, the desk beside it, and alice, who has a private repository; bob has a public one."""

    registry: Registry
    client: httpx2.Client
    desk: Desk
    alice: Headers

    def state(self) -> list[list[tuple[Any, ...]]]:
        """Everything that a login could change but for its own rows: what failed logins count, and the audit."""

        def read(connection: Connection) -> list[list[tuple[Any, ...]]]:
            return [[tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))] for table in TABLES]

        return self.desk.run(self.desk.database.read(read))

    def post(self, form: Any, **headers: str) -> httpx2.Response:
        """The answer to a form: pairs, in their order."""
        body = httpx2.QueryParams(form)
        return self.client.post("/token", content=str(body), headers={"content-type": FORM, **headers})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """For the whole module; at the end it has to be alive and without an error in its log."""
    flags = ("--login-failures-per-account", "1000", "--login-failures-per-address", "10000", *STILL)
    registry = Registry.start(
        tmp_path_factory.mktemp("tokens") / "data", *flags, "--requests-per-second", "0", is_open=False
    )
    desk = Desk(registry.data)
    alice = desk.user("alice")
    push(registry, alice, NAME)
    push(registry, desk.user("bob"), "bob/shown")
    desk.show("bob/shown", Visibility.PUBLIC)
    with registry.client() as client:
        yield Place(registry, client, desk, alice)
    assert [line for line in registry.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500] == []
    desk.close()
    registry.kill()


@pytest.fixture
def unchanged(place: Place) -> Iterator[Place]:
    """The same, and the proof that the test has changed nothing."""
    before = place.state()
    yield place
    assert place.state() == before


def granted(issued: dict[str, Any]) -> dict[str, list[str]]:
    """The actions by name in the token itself; names with no action are left out."""
    claims = jwt.decode(issued["token"], options={"verify_signature": False})
    return {entry["name"]: entry["actions"] for entry in claims["access"] if entry["actions"]}


def assert_error(answer: httpx2.Response, status: int, code: str, *, oauth: str | None = None) -> None:
    """An error in the registry's form, and with `oauth` in OAuth2's too, which nobody stores."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) < 4096
    body = answer.json()
    [error] = body["errors"]
    assert error["code"] == code and error["message"] and isinstance(error["detail"], dict)
    if oauth is not None:
        assert body["error"] == oauth and body["error_description"] == error["message"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


# GET


def test_a_token_has_every_field(unchanged: Place) -> None:
    """Protocol 2.3: token and access_token are the same; expires_in and issued_at as clients read them; no refresh
    token unless it was asked for; nobody stores it."""
    answer = unchanged.client.get("/token", params={"scope": f"repository:{NAME}:pull"}, headers=unchanged.alice)
    expect(answer, 200)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) < 64 * 1024
    issued = answer.json()
    assert set(issued) == {"token", "access_token", "token_type", "scope", "expires_in", "issued_at"}
    assert issued["token"] == issued["access_token"]
    assert issued["token_type"] == "Bearer"
    assert issued["expires_in"] == 1800
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", issued["issued_at"])
    assert abs(datetime.fromisoformat(issued["issued_at"]).timestamp() - time.time()) < 10
    assert datetime.fromisoformat(issued["issued_at"]).tzinfo == UTC
    claims = jwt.decode(issued["token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == issued["expires_in"]
    assert claims["iat"] == int(datetime.fromisoformat(issued["issued_at"]).timestamp())
    assert claims["sub"] == "alice"


def test_the_published_keys_verify_a_token(unchanged: Place) -> None:
    """RFC 7517: with nothing but /.well-known/jwks.json anybody can verify a token, and can make none."""
    answer = expect(unchanged.client.get("/.well-known/jwks.json"), 200)
    assert "no-store" not in answer.headers["cache-control"]
    for key in answer.json()["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    issued = ask(unchanged.client, unchanged.alice, f"repository:{NAME}:pull")
    kid = jwt.get_unverified_header(issued["token"])["kid"]
    key = jwt.PyJWKSet.from_dict(answer.json())[kid]
    service = f"127.0.0.1:{unchanged.registry.port}"
    claims = jwt.decode(issued["token"], key, algorithms=["ES256"], audience=service)
    assert [entry["name"] for entry in claims["access"]] == [NAME]


@pytest.mark.parametrize("header", [None, "Basic Og==", "basic Og=="])
def test_nobody_gets_a_token_for_what_is_public(unchanged: Place, header: str | None) -> None:
    """Protocol 2.3: no credential, and the empty one that conformance and old docker send, are anonymous."""
    shown = {} if header is None else {"authorization": header}
    issued = ask(unchanged.client, shown, f"repository:{NAME}:pull,push repository:bob/shown:pull,push", account="x")
    assert granted(issued) == {"bob/shown": ["pull"]}
    assert issued["scope"] == "repository:bob/shown:pull"
    token = bearer(issued["token"])
    assert unchanged.client.get("/v2/", headers=token).status_code == 200
    assert unchanged.client.get("/v2/bob/shown/manifests/v1", headers=token).status_code == 200
    assert unchanged.client.get(f"/v2/{NAME}/manifests/v1", headers=token).status_code == 401


def test_nobody_gets_no_refresh_token(unchanged: Place) -> None:
    """Protocol 2.3: there is no login to remember."""
    assert "refresh_token" not in ask(unchanged.client, None, offline_token="true")


@pytest.mark.parametrize(
    "header",
    [
        basic("alice", "wrong"),
        basic("nobody", PASSWORD),
        basic("alice", ""),
        basic("", PASSWORD),
        {"authorization": "Basic"},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + base64.b64encode(b"alice").decode()},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"authorization": "Bearer x"},
        {"authorization": "Digest x"},
        {"authorization": ""},
    ],
)
def test_wrong_credentials_are_not_anonymous(unchanged: Place, header: Headers) -> None:
    """Protocol 2.3: who means to be somebody and is not gets 401, also for what is public."""
    answer = unchanged.client.get("/token", params={"scope": "repository:bob/shown:pull"}, headers=header)
    assert_error(answer, 401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == f'Basic realm="127.0.0.1:{unchanged.registry.port}", charset="UTF-8"'


def test_clients_say_who_they_are_in_fields_that_decide_nothing(unchanged: Place) -> None:
    """Protocol 2.3: `account` and `client_id` are hints; another account's name gives no right of it."""
    issued = ask(unchanged.client, unchanged.alice, f"repository:{NAME}:pull", account="bob", client_id="docker")
    assert granted(issued) == {NAME: ["pull"]}
    assert jwt.decode(issued["token"], options={"verify_signature": False})["sub"] == "alice"
    assert granted(ask(unchanged.client, None, f"repository:{NAME}:pull", account="alice")) == {}


CATALOG = "registry:catalog:*"


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([], {}),
        ([""], {}),
        ([" "], {}),
        ([f"repository:{NAME}:pull"], {NAME: ["pull"]}),
        ([f"repository:{NAME}:push,pull"], {NAME: ["pull", "push"]}),
        ([f"repository:{NAME}:pull,pull,pull"], {NAME: ["pull"]}),
        ([f"repository:{NAME}:*"], {NAME: ["pull", "push", "delete"]}),
        ([f"repository:{NAME}:push,pull,delete"], {NAME: ["pull", "push", "delete"]}),
        ([f"repository:{NAME}:delete"], {NAME: ["delete"]}),
        ([f"repository:{NAME}:"], {}),
        ([f"repository:{NAME}:admin,fly"], {}),
        ([f"repository:{NAME}:admin,pull"], {NAME: ["pull"]}),
        ([f"repository:{NAME}:PULL"], {}),
        ([f"repository(plugin):{NAME}:pull"], {NAME: ["pull"]}),
        ([f"repository:{NAME}:pull", f"repository:{NAME}:push"], {NAME: ["pull", "push"]}),
        ([f"repository:{NAME}:pull repository:{NAME}:push"], {NAME: ["pull", "push"]}),
        ([f"repository:{NAME}:pull repository:bob/shown:pull"], {NAME: ["pull"], "bob/shown": ["pull"]}),
        ([f"repository:{NAME}:pull", "repository:bob/shown:pull,push"], {NAME: ["pull"], "bob/shown": ["pull"]}),
        (["repository:bob/shown:*"], {"bob/shown": ["pull"]}),
        ([CATALOG], {"catalog": ["*"]}),
        ([CATALOG, f"repository:{NAME}:pull"], {NAME: ["pull"], "catalog": ["*"]}),
        ([f"namespace:alice:* repository:{NAME}:pull x:y:z"], {NAME: ["pull"]}),
        (["registry:other:*"], {}),
        (["repository:localhost:5000/team/app:pull"], {}),
        (["repository:hub.example.com:443/alice/app:pull"], {}),
        (["repository:alice/new:pull,push"], {"alice/new": ["pull", "push"]}),
        (["repository:bob/new:pull,push"], {}),
        (["repository:instance:pull,push"], {}),
        (["repository:Alice/App:pull"], {}),
        (["repository:*:pull", "repository:alice/*:pull"], {}),
        ([f"repository:{NAME}/:pull", f"repository:../{NAME}:pull", f"repository:/{NAME}:pull"], {}),
        ([f"repository:{'a' * 300}:pull"], {}),
    ],
)
def test_scopes(unchanged: Place, scopes: list[str], expected: dict[str, list[str]]) -> None:
    """Protocol 2.3: one field or several, with one scope or several; names with a port, classes, wildcards, words that
    are not known: what is granted is what alice may do of it, and less is no error."""
    issued = ask(unchanged.client, unchanged.alice, *scopes)
    assert granted(issued) == expected
    entries = [
        f"{'registry' if name == 'catalog' else 'repository'}:{name}:{','.join(x)}" for name, x in expected.items()
    ]
    assert sorted(issued["scope"].split()) == sorted(entries)


@pytest.mark.parametrize(
    "query",
    [
        {"scope": "repository"},
        {"scope": "repository:"},
        {"scope": f"repository:{NAME}"},
        {"scope": ":::"},
        {"scope": f":{NAME}:pull"},
        {"scope": "repository::pull"},
        {"scope": [f"repository:a/{number}:pull" for number in range(TOKEN_SCOPES_MAX + 1)]},
        {"scope": " ".join(f"repository:a/{number}:pull" for number in range(TOKEN_SCOPES_MAX + 1))},
        {"service": "other.test"},
        {"service": "http://localhost"},
        {"x": [str(number) for number in range(1000)]},
    ],
)
def test_queries_that_mean_nothing(unchanged: Place, query: dict[str, Any]) -> None:
    """A scope that is none, too many of them, and a service that we are not: 400 that says so."""
    answer = unchanged.client.get("/token", params=query, headers=unchanged.alice)
    assert_error(answer, 400, "UNSUPPORTED")


def test_the_largest_token_fits(unchanged: Place) -> None:
    """Protocol 2.3: whatever is asked for, the body is below 64 KiB and the token works, or it is 400: no token is
    given out that is too long to be used."""
    worked = set()
    for chars in range(10, 250, 10):
        names = [f"alice/{number:03}{'x' * chars}" for number in range(TOKEN_SCOPES_MAX)]
        scope = [f"repository:{name}:pull,push,delete" for name in names]
        answer = unchanged.client.get("/token", params={"scope": scope}, headers=unchanged.alice)
        worked.add(answer.status_code)
        if answer.status_code == 400:
            assert_error(answer, 400, "UNSUPPORTED")
            continue
        issued = expect(answer, 200).json()
        assert len(answer.content) < 64 * 1024
        assert len(granted(issued)) == TOKEN_SCOPES_MAX
        assert unchanged.client.get("/v2/", headers=bearer(issued["token"])).status_code == 200
    assert worked == {200, 400}


def test_the_service_is_one_of_ours(unchanged: Place) -> None:
    """A token is for the host that was asked for, without one for that of the request."""
    port = unchanged.registry.port
    for service in (f"localhost:{port}", f"LOCALHOST:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        issued = ask(unchanged.client, unchanged.alice, service=service)
        assert jwt.decode(issued["token"], options={"verify_signature": False})["aud"] == service.lower()
        assert unchanged.client.get("/v2/", headers=bearer(issued["token"])).status_code == 200
    for host, aud in {f"localhost:{port}": f"localhost:{port}", "evil.test": f"localhost:{port}"}.items():
        issued = expect(unchanged.client.get("/token", headers={"host": host}), 200).json()
        assert jwt.decode(issued["token"], options={"verify_signature": False})["aud"] == aud


@pytest.mark.parametrize("value", ["false", "1", "yes", "", "True"])
def test_only_true_asks_for_a_refresh_token(unchanged: Place, value: str) -> None:
    """Protocol 2.3: `offline_token=true` and nothing else."""
    assert "refresh_token" not in ask(unchanged.client, unchanged.alice, offline_token=value)


def test_docker_login(place: Place) -> None:
    """Protocol 2.3, 2.4: docker asks for a refresh token with GET, stores it, and shows it with POST from then on."""
    issued = ask(
        place.client, place.alice, service=f"127.0.0.1:{place.registry.port}", offline_token="true", client_id="d"
    )
    kept = issued["refresh_token"]
    for _ in range(3):
        form = {"grant_type": "refresh_token", "refresh_token": kept, "client_id": "docker"}
        scope = {"service": f"127.0.0.1:{place.registry.port}", "scope": f"repository:{NAME}:pull,push"}
        answer = expect(place.post({**form, **scope}), 200).json()
        assert answer["refresh_token"] == kept
        assert answer["token"] == answer["access_token"]
        assert granted(answer) == {NAME: ["pull", "push"]}
        pulled = place.client.get(f"/v2/{NAME}/manifests/v1", headers=bearer(answer["access_token"]))
        assert pulled.status_code == 200


# POST


def test_password_grant(place: Place) -> None:
    """Protocol 2.4: containerd and buildkit POST the password; `access_type=offline` asks for a refresh token; a
    charset in the Content-Type is fine; c/image repeats the field `scope`."""
    form = [
        ("grant_type", "password"),
        ("username", "alice"),
        ("password", PASSWORD),
        ("client_id", "containerd-client"),
        ("service", f"127.0.0.1:{place.registry.port}"),
        ("scope", f"repository:{NAME}:pull"),
        ("scope", f"repository:{NAME}:push repository:bob/shown:pull"),
    ]
    for kind in (FORM, f"{FORM}; charset=utf-8", f"{FORM.upper()};charset=UTF-8"):
        answer = expect(place.post(form, **{"content-type": kind}), 200)
        assert answer.headers["cache-control"] == "no-store"
        issued = answer.json()
        assert granted(issued) == {NAME: ["pull", "push"], "bob/shown": ["pull"]}
        assert "refresh_token" not in issued
        assert {"access_token", "scope", "expires_in", "issued_at"} <= set(issued)
    kept = expect(place.post([*form, ("access_type", "offline")]), 200).json()["refresh_token"]
    assert (
        expect(place.post({"grant_type": "refresh_token", "refresh_token": kept}), 200).json()["refresh_token"] == kept
    )
    _, secret = place.desk.personal_token("alice")
    assert place.post([("grant_type", "password"), ("username", "alice"), ("password", secret)]).status_code == 200


GOOD = {"grant_type": "password", "username": "alice", "password": PASSWORD}


@pytest.mark.parametrize(
    ("form", "status", "oauth"),
    [
        ({}, 400, "unsupported_grant_type"),
        ({**GOOD, "grant_type": ""}, 400, "unsupported_grant_type"),
        ({**GOOD, "grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({**GOOD, "grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({**GOOD, "grant_type": "PASSWORD"}, 400, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "alice"}, 400, "invalid_request"),
        ({"grant_type": "password", "password": PASSWORD}, 400, "invalid_request"),
        ({**GOOD, "username": ""}, 400, "invalid_request"),
        ({**GOOD, "password": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": ""}, 400, "invalid_request"),
        ({**GOOD, "scope": "repository"}, 400, "invalid_request"),
        ({**GOOD, "service": "other.test"}, 400, "invalid_request"),
        ({**GOOD, "password": "wrong"}, 401, "invalid_grant"),
        ({**GOOD, "username": "nobody"}, 401, "invalid_grant"),
        ({**GOOD, "username": "alice\0"}, 401, "invalid_grant"),
        ({**GOOD, "username": "ALICE"}, 401, "invalid_grant"),
        ({**GOOD, "username": "a" * 10_000}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "wrong"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "drft_" + "a" * 43}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "drft_" + "é" * 43}, 401, "invalid_grant"),
    ],
)
def test_forms_that_are_refused(unchanged: Place, form: dict[str, str], status: int, oauth: str) -> None:
    """Protocol 2.4: statuses that make containerd and buildkit fall back, and an error in both forms."""
    code = "UNAUTHORIZED" if status == 401 else "UNSUPPORTED"
    assert_error(unchanged.post(form), status, code, oauth=oauth)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM),
        (b"\xff\xfe", FORM),
        (b"grant_type=%ff&username=%fe", FORM),
        (b"grant_type=password&username=\xff&password=x", FORM),
        (b"&&&&", FORM),
        (b"=" * 1000, FORM),
        (b"a&" * (FORM_FIELDS_MAX + 1), FORM),
        (b"a=" + b"b" * FORM_MAX_BYTES, FORM),
        (json.dumps(GOOD).encode(), "application/json"),
        (b"grant_type=password&username=alice&password=" + PASSWORD.replace(" ", "+").encode(), "text/plain"),
        (b"grant_type=password&username=alice&password=" + PASSWORD.replace(" ", "+").encode(), ""),
        (b'--x\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\npassword\r\n--x--', "multipart/form-data"),
        (b"{}", "application/x-www-form-urlencoded-not"),
        (b"grant_type=password", "application/json, application/x-www-form-urlencoded"),
    ],
)
def test_bodies_that_are_no_forms(unchanged: Place, body: bytes, kind: str) -> None:
    """SEC-082: 400 in both forms, whatever it is."""
    answer = unchanged.client.post("/token", content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert_error(answer, 400, "UNSUPPORTED", oauth=answer.json()["error"])
    assert answer.json()["error"] in ("invalid_request", "unsupported_grant_type")


def test_other_methods_and_encodings(unchanged: Place) -> None:
    """405 with the methods that there are; a compressed form is refused unread."""
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        answer = unchanged.client.request(method, "/token")
        assert answer.status_code == 405
        assert sorted(answer.headers["allow"].split(", ")) == ["GET", "POST"]
    answer = unchanged.client.post("/token", content=b"x", headers={"content-type": FORM, "content-encoding": "gzip"})
    assert_error(answer, 415, "UNSUPPORTED", oauth="invalid_request")
    for path in ("/token/", "/Token", "/token/x", "/%74oken"):
        assert unchanged.client.get(path).status_code == 404, path


def test_endless_forms_cost_nothing(unchanged: Place) -> None:
    """SEC-082: 1,000,000 fields, a field of 1 GiB by Content-Length, and one without end in chunks: refused before it
    was read, and no memory."""
    registry = unchanged.registry
    many = b"&".join(b"a=b" for _ in range(1_000_000))

    def flood() -> None:
        assert status_of(registry, [f"Content-Length: {len(many)}"], many) == 400
        assert status_of(registry, [f"Content-Length: {1024 * MIB}"], b"scope=" + b"x" * 1000) == 400
        assert status_of(registry, [f"Content-Length: {10**18}"], b"") == 400
        assert (
            status_of(registry, ["Transfer-Encoding: chunked"], b"10000\r\n" + b"x" * 65536 + b"\r\n", endless=True)
            == 400
        )

    flood()
    before = registry.rss_bytes()
    for _ in range(4):
        flood()
    assert registry.rss_bytes() - before < 8 * MIB
    assert unchanged.post(GOOD).status_code == 200


def status_of(registry: Registry, headers: list[str], body: bytes, *, endless: bool = False) -> int:
    """The status for a body; an endless one is sent until the server stops reading, which it does within some MiB."""
    with Raw(registry.port) as raw:
        raw.request("POST /token", f"Content-Type: {FORM}", *headers)
        raw.sock.settimeout(5)
        sent = 0
        try:
            raw.send(body)
            while endless and sent < 64 * MIB:
                sent += raw.sock.send(body)
        except (ConnectionError, TimeoutError):
            pass
        assert sent < 64 * MIB
        return raw.answer().status


# Sign up


def test_nobody_signs_up_where_that_is_closed(unchanged: Place) -> None:
    """SEC-020: by default accounts come from an admin only."""
    answer = unchanged.client.post("/api/v1/users", json={"name": "carol", "password": PASSWORD})
    assert_error(answer, 403, "DENIED")
    assert unchanged.client.get("/token", headers=basic("carol", PASSWORD)).status_code == 401


@pytest.fixture(scope="module")
def lobby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server where anybody may sign up."""
    registry = Registry.start(
        tmp_path_factory.mktemp("lobby") / "data", "--sign-up", "--login-failures-per-address", "1000", is_open=False
    )
    desk = Desk(registry.data)
    with registry.client() as client:
        yield Place(registry, client, desk, desk.user("alice"))
    assert [line for line in registry.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500] == []
    desk.close()
    registry.kill()


def test_sign_up(lobby: Place) -> None:
    """201; the account works at once, owns its namespace, and is no admin."""
    answer = expect(lobby.client.post("/api/v1/users", json={"name": "carol", "password": PASSWORD}), 201)
    assert answer.json() == {"name": "carol"}
    carol = basic("carol", PASSWORD)
    push(lobby.registry, carol, "carol/app")
    issued = ask(lobby.client, carol, "repository:alice/app:pull,push repository:app:pull,push repository:carol/x:push")
    assert granted(issued) == {"carol/x": ["push"]}
    account = lobby.desk.run(lobby.desk.accounts.get("carol"))
    assert not account.is_admin and account.kind == "user"
    again = lobby.client.post("/api/v1/users", json={"name": "carol", "password": "another password"})
    assert_error(again, 400, "NAME_INVALID")
    assert lobby.client.get("/token", headers=basic("carol", PASSWORD)).status_code == 200
    assert lobby.client.get("/token", headers=basic("carol", "another password")).status_code == 401


@pytest.mark.parametrize(
    "more",
    [
        {"is_admin": True},
        {"admin": True},
        {"id": 1},
        {"role": "admin"},
        {"kind": "organization"},
        {"owner_id": 1},
        {"has_admin_role": True},
        {"password_hash": "x"},
        {"created_at": 0},
        {"disabled_at": None},
        {"default_visibility": "public"},
        {"Name": "x"},
        {"__proto__": {}},
        {"password ": "x"},
    ],
)
def test_sign_up_takes_two_fields(lobby: Place, more: dict[str, Any]) -> None:
    """SEC-020: every other field is refused, and no account is made."""
    before = lobby.state()
    answer = lobby.client.post("/api/v1/users", json={"name": "mallory", "password": PASSWORD, **more})
    assert_error(answer, 400, "UNSUPPORTED")
    assert lobby.state() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b"not json",
        b'{"name":"mallory"}',
        b'{"name":5,"password":"long enough"}',
        b'{"name":"mallory","password":5}',
        b'{"name":["mallory"],"password":"long enough"}',
        b'{"name":"mallory","password":null}',
        b'{"name":"mallory","password":"short"}',
        b'{"name":"mallory","password":"with\\u0000nul in it"}',
        b'{"name":"mallory","password":"' + b"x" * 2000 + b'"}',
        b'{"name":"\\ud800","password":"long enough"}',
        b'{"name":"mallory","name":"mallory2","password":"long enough","password":"longer even"}',
        b"[" * 50_000,
        b'{"name":"mallory","password":"' + b"x" * FORM_MAX_BYTES + b'"}',
        b"\xff\xfe",
    ],
)
def test_sign_ups_that_are_refused(lobby: Place, body: bytes) -> None:
    """SEC-020, SEC-094: 400, and no account is made."""
    before = lobby.state()
    answer = lobby.client.post("/api/v1/users", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["message"]
    assert lobby.state() == before


@pytest.mark.parametrize(
    "name",
    [
        "admin",
        "Admin",
        "ADMIN",
        "admin ",
        " admin",
        "admin\0",
        "admin\u200b",
        "\u0430dmin",
        "\uff41\uff44min",
        "system",
        "root",
        "robot",
        "scanner",
        "library",
        "anonymous",
        "v2",
        "api",
        "token",
        "robot$ci",
        "alice+ci",
        "admin+ci",
        "+",
        "carol+",
        "alice",
        "Alice",
        "ALICE",
        "a" * 65,
        "",
        ".",
        "..",
        "../alice",
        "alice/app",
        "alice%2fapp",
        "-alice",
        "alice-",
        "al..ice",
        "null",
        "undefined",
        "alice:x",
        "alice\nbob",
    ],
)
def test_names_that_nobody_gets(lobby: Place, name: str) -> None:
    """SEC-035: reserved, taken, look-alike and hostile names; those of robots."""
    before = lobby.state()
    answer = lobby.client.post("/api/v1/users", json={"name": name, "password": PASSWORD})
    assert_error(answer, 400, "NAME_INVALID")
    assert lobby.state() == before


def test_names_that_look_alike(lobby: Place) -> None:
    """SEC-035: of names that differ in separators only one is given, also after its account is gone."""
    expect(lobby.client.post("/api/v1/users", json={"name": "da-ve", "password": PASSWORD}), 201)
    for name in ("da_ve", "da.ve", "da--ve", "da__ve", "da-ve"):
        answer = lobby.client.post("/api/v1/users", json={"name": name, "password": PASSWORD})
        assert_error(answer, 400, "NAME_INVALID")
    lobby.desk.run(lobby.desk.accounts.delete("da-ve", ADMIN))
    for name in ("da_ve", "da-ve"):
        assert_error(lobby.client.post("/api/v1/users", json={"name": name, "password": PASSWORD}), 400, "NAME_INVALID")


def test_sign_ups_of_one_address_are_limited(start_registry: Callable[..., Registry]) -> None:
    """SEC-035: accounts count as attempts of their address: with a limit of 5 the sixth gets 429 with Retry-After."""
    registry = start_registry("--sign-up", "--login-failures-per-address", "5", is_open=False)
    with registry.client() as client:
        bodies = [{"name": f"user{number}", "password": PASSWORD} for number in range(7)]
        answers = [client.post("/api/v1/users", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    assert len(json.loads(registry.command("user", "list", "--json"))) == 6


# The challenge


def challenge(registry: Registry, path: str, *headers: str, host: str | None = None) -> str:
    """The challenge to a request with exactly this Host."""
    with Raw(registry.port) as raw:
        lines = "".join(f"{line}\r\n" for line in headers)
        raw.send(f"GET {path} HTTP/1.1\r\nHost: {host or registry.address}\r\n{lines}\r\n".encode("latin-1"))
        answer = raw.answer()
    assert answer.status == 401, answer
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    return answer.headers["www-authenticate"]


def test_the_challenge(start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """Protocol 2.1, 2.2, SEC-072: realm and service come from the configuration; `Host` only chooses among its exact
    entries, and nothing that a client sends gets into them."""
    first, second = "https://hub.example.com", "https://mirror.example.com:8443"
    registry = start_registry("--external-url", f"{first},{second}", is_open=False)
    of_first = f'Bearer realm="{first}/token",service="hub.example.com"'
    of_second = f'Bearer realm="{second}/token",service="mirror.example.com:8443"'
    assert challenge(registry, "/v2/", host="hub.example.com") == of_first
    assert challenge(registry, "/v2/", host="HUB.Example.Com") == of_first
    assert challenge(registry, "/v2/", host="mirror.example.com:8443") == of_second
    for host in (
        "evil.test",
        "mirror.example.com",
        "mirror.example.com:443",
        "hub.example.com:8443",
        "hub.example.com.evil.test",
        "hub.example.com.",
        'x",realm="http://evil.test',
        "hub.example.com@evil.test",
        registry.address,
        "localhost",
        "a" * 1000,
    ):
        assert challenge(registry, "/v2/", host=host) == of_first, host
    forwarded = ("X-Forwarded-Host: evil.test", "X-Forwarded-Proto: http", "Forwarded: host=evil.test;proto=http")
    assert challenge(registry, "/v2/", *forwarded, host="hub.example.com") == of_first
    assert challenge(registry, "http://evil.test/v2/", host="mirror.example.com:8443") in (of_first, of_second)


def test_the_challenge_names_the_scope(unchanged: Place) -> None:
    """Protocol 2.2: several scopes in one parameter, separated by spaces; none for /v2/; the catalog's own."""
    registry = unchanged.registry
    start = f'Bearer realm="http://{registry.address}/token",service="{registry.address}"'
    digest = "sha256:" + "0" * 64
    assert challenge(registry, "/v2/") == start
    assert challenge(registry, "/v2/a/b/manifests/x") == f'{start},scope="repository:a/b:pull"'
    assert challenge(registry, "/v2/a/b/tags/list") == f'{start},scope="repository:a/b:pull"'
    assert challenge(registry, "/v2/_catalog") == f'{start},scope="registry:catalog:*"'
    post = unchanged.client.post("/v2/a/b/blobs/uploads/")
    assert post.headers["www-authenticate"] == f'{start},scope="repository:a/b:pull,push"'
    mount = unchanged.client.post(f"/v2/a/b/blobs/uploads/?mount={digest}&from=c/d")
    expected = f'{start},scope="repository:a/b:pull,push repository:c/d:pull"'
    assert mount.headers["www-authenticate"] == expected
    hostile = unchanged.client.post(
        f"/v2/a/b/blobs/uploads/?mount={digest}&from=x%22,realm=%22http://evil.test%0d%0aX:y"
    )
    assert hostile.headers["www-authenticate"] == f'{start},scope="repository:a/b:pull,push"'
    delete = unchanged.client.delete("/v2/a/b/manifests/x")
    assert delete.headers["www-authenticate"] == f'{start},scope="repository:a/b:delete"'
    for answer in (post, mount, delete):
        assert answer.status_code == 401 and len(answer.headers.get_list("www-authenticate")) == 1
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_the_basic_challenge(start_registry: Callable[..., Registry]) -> None:
    """Decision 18: `auth_challenge=basic` names no token server, and takes tokens all the same."""
    registry = start_registry("--auth-challenge", "basic", is_open=False)
    assert challenge(registry, "/v2/") == f'Basic realm="{registry.address}", charset="UTF-8"'
    with registry.client() as client:
        issued = ask(client, None)
        assert client.get("/v2/", headers=bearer(issued["token"])).status_code == 200


def test_an_open_server_has_no_token_server(registry: Registry) -> None:
    """Where nobody logs in there is nothing to ask."""
    with registry.client() as client:
        assert client.get("/v2/").status_code == 200
        assert client.get("/token").status_code == 404
        assert client.post("/token", data=GOOD).status_code == 404
        assert client.get("/.well-known/jwks.json").status_code == 404
        assert client.post("/api/v1/users", json={"name": "carol", "password": PASSWORD}).status_code == 404


def test_a_role_that_was_given_is_in_the_next_token(place: Place) -> None:
    """Grants are decided when the token is issued: a new one has the new role within 5 s."""
    shown = place.desk.user("reader")
    assert granted(ask(place.client, shown, f"repository:{NAME}:pull,push")) == {}
    place.desk.give(NAME, "reader", Role.READ)
    deadline = time.monotonic() + 5
    while granted(ask(place.client, shown, f"repository:{NAME}:pull,push")) != {NAME: ["pull"]}:
        assert time.monotonic() < deadline
