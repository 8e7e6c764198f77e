"""Forged, broken, foreign and misused tokens: every one gets the same 401, costs little and opens nothing."""

import asyncio
import base64
import hmac
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import event
from sqlalchemy.engine import Engine

from registry.auth import sealing, tokens
from registry.auth.tokens import LEEWAY_S, LIFE_MAX_S, Parties, SigningKey
from registry.blobstore.memory import MemoryStore
from registry.core.access import INSTANCE_SUBJECT, TokenScope, Visibility
from registry.core.digest import Digest
from registry.core.errors import Unauthenticated
from registry.metadata.sqlite import SqliteDatabase
from registry.services.access import EVERYBODY
from registry.services.changes import Changes
from registry.services.clock import system_clock
from registry.services.installation import Installation
from registry.services.keys import Keys
from registry.services.tickets import Tickets
from tests.reliability.client import Image
from tests.reliability.hub import ADMIN, ORIGIN, Desk, ask, basic, bearer, push, refresh, token_of
from tests.reliability.raw import Raw
from tests.running import ADMIN_PASSWORD, Registry

MIB = 1024 * 1024
PAST_S = 3600
FOREIGN = ec.generate_private_key(ec.SECP256R1())
NAME = "alice/app"

Claims = dict[str, Any]


@dataclass
class Realm:
    """A server, who is known there, and its own signing key taken out of its data folder."""

    registry: Registry
    desk: Desk
    key: SigningKey
    alice: dict[str, str]
    image: Image
    client: httpx2.Client
    claims: Claims
    """Those of a token that may pull and push, to be varied."""

    def token(self, change: Claims | None = None, *, drop: str | None = None, headers: Claims | None = None) -> str:
        """A token signed with the right key, with changed claims."""
        claims = {**self.claims, **(change or {})}
        if drop is not None:
            del claims[drop]
        return encode({"alg": "ES256", "typ": "JWT", "kid": self.key.kid, **(headers or {})}, claims, self.key.private)

    def access(self, entries: object) -> str:
        """A token signed with the right key, with this access claim."""
        return self.token({"access": entries})

    def pull(self, token: str) -> httpx2.Response:
        """The answer to a pull with a token."""
        return self.client.get(f"/v2/{NAME}/manifests/v1", headers=bearer(token))


def b64(data: bytes) -> str:
    """As JOSE writes bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode(header: Claims, claims: object, private: ec.EllipticCurvePrivateKey) -> str:
    """A token with ES256 over whatever header and claims, which no library would write."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return f"{signed}.{b64(algorithm.sign(signed.encode(), private))}"


def mac(header: Claims, claims: Claims, secret: bytes) -> str:
    """A token with HS256 over whatever bytes."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def signing_key(registry: Registry) -> SigningKey:
    """The key that a server signs with, as whoever has its data folder can read it."""

    async def read() -> SigningKey:
        database = SqliteDatabase(registry.data / "registry.db")
        try:
            keys = Keys(database, sealing.load(registry.data / "secret"), system_clock)
            return (await keys.current()).signing
        finally:
            database.close()

    return asyncio.run(read())


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """One server for the module, which has to be alive and without an error in its log at the end."""
    registry = Registry.start(
        tmp_path_factory.mktemp("tokens") / "data",
        "--requests-per-second",
        "0",
        "--connections-per-address",
        "2000",
        is_open=False,
    )
    desk = Desk(registry.data)
    alice = desk.user("alice")
    image = push(registry, alice, NAME)
    with registry.client() as client:
        token = token_of(client, alice, f"repository:{NAME}:pull,push", "registry:catalog:*")
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["exp"] = claims["iat"] + LIFE_MAX_S
    with registry.client() as client:
        found = Realm(registry, desk, signing_key(registry), alice, image, client, claims)
        assert found.pull(found.token()).status_code == 200
        yield found
    assert registry.process.poll() is None
    assert [line for line in registry.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500] == []
    desk.close()
    registry.kill()


def assert_refused(realm: Realm, wrong: dict[str, str]) -> None:
    """Each of these tokens gets the one answer: 401, the challenge with invalid_token, and the same body; a token that
    is right goes on working."""
    bodies = set()
    for what, token in wrong.items():
        answer = realm.pull(token)
        assert answer.status_code == 401, (what, answer.text)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"], what
        bodies.add((answer.text, answer.headers["www-authenticate"]))
    assert len(bodies) == 1, bodies
    with realm.registry.client() as client:
        assert client.get("/v2/", headers=bearer(next(iter(wrong.values())))).status_code == 401
    assert realm.pull(realm.token()).status_code == 200


# The matrix


def test_keys_that_a_token_brings_along_are_not_looked_at(realm: Realm) -> None:
    """SEC-004: jwk, jku, x5u and x5c with the attacker's key and our kid are refused, and nothing is fetched."""
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(FOREIGN.public_key()))
    der = FOREIGN.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with socket.create_server(("127.0.0.1", 0)) as canary:
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/keys"
        brought: list[Claims] = [
            {"jwk": {**public, "kid": realm.key.kid}},
            {"jwk": {**public, "kid": realm.key.kid, "alg": "ES256", "use": "sig"}},
            {"jku": url},
            {"x5u": url},
            {"x5c": [base64.b64encode(der).decode()]},
            {"x5c": base64.b64encode(der).decode(), "x5t": "x"},
            {"jwk": public, "jku": url, "x5u": url, "x5c": [base64.b64encode(der).decode()], "iss": url},
        ]
        wrong: dict[str, str] = {}
        for more in brought:
            for kid in (realm.key.kid, "mine", url):
                header = {"alg": "ES256", "typ": "JWT", "kid": kid, **more}
                wrong[f"{kid} {sorted(more)} {len(wrong)}"] = encode(header, realm.claims, FOREIGN)
        assert_refused(realm, wrong)
        canary.settimeout(0.2)
        with pytest.raises(TimeoutError):
            canary.accept()


def test_our_public_key_is_no_secret_of_hmac(realm: Realm) -> None:
    """SEC-090: HS256 with our public key as PEM, DER, JWK, SSH, point or coordinates, with and without newline."""
    public = realm.key.private.public_key()
    encodings = serialization.Encoding
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    jwks = httpx2.get(f"{realm.registry.url}/.well-known/jwks.json")
    jwk = jwks.json()["keys"][0]
    forms = {
        "pem": public.public_bytes(encodings.PEM, info),
        "der": public.public_bytes(encodings.DER, info),
        "ssh": public.public_bytes(encodings.OpenSSH, serialization.PublicFormat.OpenSSH),
        "point": public.public_bytes(encodings.X962, serialization.PublicFormat.UncompressedPoint),
        "compressed": public.public_bytes(encodings.X962, serialization.PublicFormat.CompressedPoint),
        "jwk": json.dumps(jwk).encode(),
        "jwk sorted": json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode(),
        "jwks": jwks.content,
        "x": jwk["x"].encode(),
        "x bytes": base64.urlsafe_b64decode(jwk["x"] + "=="),
        "y": jwk["y"].encode(),
        "kid": jwk["kid"].encode(),
        "empty": b"",
    }
    wrong: dict[str, str] = {}
    for what, secret in forms.items():
        for ending, text in {"": secret, " newline": secret + b"\n", " stripped": secret.strip()}.items():
            for header in ({"alg": "HS256", "kid": realm.key.kid}, {"alg": "HS256"}):
                wrong[what + ending + str(len(header))] = mac({"typ": "JWT", **header}, realm.claims, text)
    assert_refused(realm, wrong)


@pytest.mark.parametrize(
    "issuer",
    [
        lambda right: right[:-1],
        lambda right: right[1:],
        lambda right: right + "0",
        lambda right: right + "/",
        lambda right: right[3:9],
        lambda right: right.upper(),
        lambda right: [right],
        lambda right: {right: right},
        lambda right: f" {right}",
        lambda _: "",
        lambda _: None,
        lambda _: 5,
        lambda _: "https://evil.test",
        lambda right: right.replace("localhost", "127.0.0.1"),
    ],
)
def test_the_issuer_is_exact(realm: Realm, issuer: Callable[[str], object]) -> None:
    """SEC-091: a prefix, suffix, infix, list, other case or other address of ours as iss."""
    assert_refused(realm, {"iss": realm.token({"iss": issuer(realm.claims["iss"])}), "none": realm.token(drop="iss")})


def test_critical_headers_are_not_ignored(realm: Realm) -> None:
    """SEC-092: a token says that we must understand what we do not."""
    values: list[object] = [["exp2"], ["http://evil.test/x"], ["b64"], [], "b64", None, {"b64": True}, [5], ["alg"]]
    wrong = {
        f"{value} {sorted(more)}": realm.token(headers={"crit": value, **more})
        for value in values
        for more in ({}, {"b64": False}, {"exp2": 1}, {"http://evil.test/x": True})
    }
    assert_refused(realm, wrong)


def test_only_one_algorithm(realm: Realm) -> None:
    """SEC-095: alg none in every case, absent, a list, another curve or hash; signatures that are stripped, foreign or
    of another form."""
    right = realm.token()
    head, payload, signature = right.split(".")
    wrong = {}
    for alg in ("none", "None", "NONE", "nOnE", "", "ES384", "ES512", "RS256", "EdDSA", "HS256", "es256", "ES256 ", 5):
        header = b64(json.dumps({"alg": alg, "typ": "JWT", "kid": realm.key.kid}).encode())
        wrong[f"{alg} without"] = f"{header}.{payload}."
        wrong[f"{alg} with"] = f"{header}.{payload}.{signature}"
        wrong[f"{alg} signed"] = realm.token(headers={"alg": alg})
    kinds: list[object] = [None, ["ES256"], ["ES256", "none"], {"ES256": 1}, True]
    wrong |= {f"{kind}": realm.token(headers={"alg": kind}) for kind in kinds}
    absent = b64(json.dumps({"typ": "JWT", "kid": realm.key.kid}).encode())
    wrong["absent"] = f"{absent}.{payload}.{signature}"
    wrong["stripped"] = f"{head}.{payload}."
    wrong["no last part"] = f"{head}.{payload}"
    wrong["only a payload"] = payload
    wrong["foreign key"] = encode({"alg": "ES256", "kid": realm.key.kid}, realm.claims, FOREIGN)
    wrong["zeroes"] = f"{head}.{payload}.{b64(bytes(64))}"
    wrong["ones"] = f"{head}.{payload}.{b64(bytes([255]) * 64)}"
    raw = base64.urlsafe_b64decode(signature + "==")
    wrong["short"] = f"{head}.{payload}.{b64(raw[:-1])}"
    wrong["long"] = f"{head}.{payload}.{b64(raw + bytes(1))}"
    wrong["changed"] = f"{head}.{payload}.{b64(bytes([raw[0] ^ 1]) + raw[1:])}"
    wrong["der"] = f"{head}.{payload}.{b64(realm.key.private.sign(f'{head}.{payload}'.encode(), ec.ECDSA(SHA256())))}"
    wrong["other payload"] = f"{head}.{b64(json.dumps({**realm.claims, 'sub': 'admin'}).encode())}.{signature}"
    wrong["four parts"] = f"{right}.{signature}"
    wrong["encrypted form"] = f"{head}.{payload}.{signature}.{payload}.{signature}"
    assert_refused(realm, wrong)


def test_keys_of_other_kinds(realm: Realm) -> None:
    """SEC-096: RSA, Ed25519 and P-384 signatures under our kid."""
    made: list[tuple[str, Any]] = [
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("PS256", rsa.generate_private_key(65537, 2048)),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
    ]
    wrong = {
        alg: jwt.encode(realm.claims, private, algorithm=alg, headers={"kid": realm.key.kid}) for alg, private in made
    }
    assert_refused(realm, wrong)


def test_a_kid_finds_only_our_keys(realm: Realm) -> None:
    """SEC-097: kid with ../, SQL, NUL, much text, other types, or absent, though the signature is right."""
    kids: list[object] = [
        "../secret",
        "../../../../etc/passwd",
        "/dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT kid, sealed FROM signing_keys --",
        "\0",
        f"{realm.key.kid}\0",
        f"{realm.key.kid} ",
        realm.key.kid.upper() + "x",
        realm.key.kid[:-1],
        "",
        "x" * 10_000,
        None,
        5,
        0.5,
        True,
        [realm.key.kid],
        {realm.key.kid: 1},
        "\ud800",
        "ключ",
    ]
    wrong = {f"{str(kid)[:30]!a}": realm.token(headers={"kid": kid}) for kid in kids}
    absent = {"alg": "ES256", "typ": "JWT"}
    wrong["absent"] = encode(absent, realm.claims, realm.key.private)
    assert_refused(realm, wrong)


def test_times_are_exact(realm: Realm) -> None:
    """SEC-098: exp past, absent, of other types, absurd; nbf and iat in the future; a life longer than any of ours."""
    now = int(time.time())
    values: list[object] = [
        0,
        -1,
        now - LEEWAY_S - 1,
        now - PAST_S,
        now + 100.5,
        str(now + 100),
        10**30,
        -(10**30),
        10**4000,
        2**63,
        2**53 + 1,
        None,
        True,
        [now + 100],
        {},
        "",
        "never",
        float("inf"),
        float("nan"),
        1e308,
    ]
    wrong = {f"exp {str(value)[:20]}": realm.token({"exp": value}) for value in values}
    wrong |= {
        "iat future": realm.token({"iat": now + 60, "exp": now + 600}),
        "iat float": realm.token({"iat": now - 10.5}),
        "iat text": realm.token({"iat": str(now - 10)}),
        "iat null": realm.token({"iat": None}),
        "iat negative": realm.token({"iat": -1, "exp": now + 60}),
        "iat after exp": realm.token({"iat": now + 4, "exp": now + 3}),
        "iat long ago": realm.token({"iat": now - LIFE_MAX_S - 10, "exp": now + 60}),
        "nbf future": realm.token({"nbf": now + 60}),
        "nbf absurd": realm.token({"nbf": 10**30}),
        "nbf text": realm.token({"nbf": "never"}),
        "nbf null": realm.token({"nbf": None}),
        "life": realm.token({"iat": now, "exp": now + LIFE_MAX_S + 1}),
    }
    wrong |= {f"without {claim}": realm.token(drop=claim) for claim in ("exp", "iat", "nbf")}
    assert_refused(realm, wrong)


def test_clocks_may_differ_by_the_leeway_only(realm: Realm) -> None:
    """SEC-110: a token of a node whose clock is a little ahead or behind is taken; not beyond LEEWAY_S."""
    now = int(time.time())
    for skew_s in (0, LEEWAY_S - 2):
        assert realm.pull(realm.token({"iat": now + skew_s, "nbf": now + skew_s, "exp": now + 600})).status_code == 200
        assert realm.pull(realm.token({"iat": now - 600, "exp": now - skew_s})).status_code == 200
    beyond_s = LEEWAY_S + 20
    wrong = {
        "ahead": realm.token({"iat": now + beyond_s, "nbf": now + beyond_s, "exp": now + 600}),
        "behind": realm.token({"iat": now - 600, "exp": now - LEEWAY_S - 1}),
    }
    assert_refused(realm, wrong)


def test_the_audience_is_one_of_our_hosts(realm: Realm) -> None:
    """SEC-099: aud absent, a list, empty, another service, part of ours."""
    right: str = realm.claims["aud"]
    values: list[object] = [
        "other.test",
        "",
        None,
        5,
        [],
        [right],
        [right, "other.test"],
        ["other.test"],
        {right: 1},
        right[:-1],
        right + "0",
        f"http://{right}",
        f" {right}",
        [None],
        [5, right],
    ]
    wrong = {f"{value}": realm.token({"aud": value}) for value in values}
    assert_refused(realm, {**wrong, "absent": realm.token(drop="aud")})


def test_claims_are_what_we_write_or_nothing(realm: Realm) -> None:
    """SEC-100: sub, jti, uid, cid, rev and via absent or of other types, though signed with the right key."""
    wrong = {
        f"without {claim}": realm.token(drop=claim) for claim in ("sub", "jti", "uid", "cid", "rev", "via", "access")
    }
    numbers: list[object] = ["1", 1.0, 0.5, True, -1, [1], {}, 2**63, 10**30]
    for claim in ("uid", "cid", "rev"):
        wrong |= {f"{claim} {value}": realm.token({claim: value}) for value in numbers}
    wrong["rev null"] = realm.token({"rev": None})
    for claim in ("sub", "jti", "via"):
        values: list[object] = [5, None, ["x"], {"x": 1}, True]
        wrong |= {f"{claim} {value}": realm.token({claim: value}) for value in values}
    for value in ([], "text", 5, None, [realm.claims]):
        header = {"alg": "ES256", "kid": realm.key.kid}
        wrong[f"claims {str(value)[:10]}"] = encode(header, value, realm.key.private)
    assert_refused(realm, wrong)


def malformed(right: Claims) -> Iterator[object]:
    """Access claims that we never write. `right` is an entry that is."""
    yield from (None, {}, "repository", 5, True, [None], [5], ["repository:alice/app:pull"], [[]], [[right]], [{}])
    yield from ([right, right], [right, {**right, "actions": []}], [right, None], {"0": right})
    kinds: list[object] = ["repository(plugin)", "Repository", "repository ", "", None, 5, [], "registry(x)", "*"]
    for kind in kinds:
        yield [{**right, "type": kind}]
    for name in ("*", "alice/*", "a/../b", f"{NAME}/", f"/{NAME}", "alice//app", "Alice/app", "", None, 5, [NAME]):
        yield [{**right, "name": name}]
    yield from ([{**right, "name": f"{NAME}\0"}], [{**right, "name": f"{NAME}\n"}], [{**right, "name": "a" * 300}])
    for actions in ("pull", "*", ["*"], ["pull", "*"], ["admin"], ["PULL"], [None], [5], [["pull"]], None, {"pull": 1}):
        yield [{**right, "actions": actions}]
    for number in ("1", 1.0, True, -1, [1], 2**63, 10**30):
        yield [{**right, "id": number}]
        yield [{**right, "ns": number}]
    for missing in right:
        yield [{key: value for key, value in right.items() if key != missing}]
    catalog = {"type": "registry", "name": "catalog", "actions": ["*"]}
    yield from ([{**catalog, "name": "other"}], [{**catalog, "actions": []}], [{**catalog, "actions": "*"}])
    yield from ([{"type": "registry"}], [{**catalog, "name": None}], [catalog, catalog])


def test_access_claims_are_what_we_write_or_nothing(realm: Realm) -> None:
    """SEC-101: the access claim absent, of other types, with duplicates, classes, wildcards, hostile names, unknown
    actions, wrong ids: refused as a whole, though signed with the right key."""
    right = next(entry for entry in realm.claims["access"] if entry["type"] == "repository")
    assert realm.pull(realm.access([right])).status_code == 200
    assert_refused(realm, {f"{number} {value}": realm.access(value) for number, value in enumerate(malformed(right))})


def test_texts_that_are_no_tokens(realm: Realm) -> None:
    """SEC-075: dots, nested Base64, JSON bombs, ends of tokens, and every other scheme's credentials."""
    nested = b"x"
    while len(nested) < 10_000:
        nested = base64.urlsafe_b64encode(nested)
    head, payload, signature = realm.token().split(".")
    bomb = b64(b'{"alg":"ES256","kid":' + b"[" * 9000)
    duplicate = b64(f'{{"alg":"none","alg":"ES256","kid":"{realm.key.kid}"}}'.encode())
    wrong = {
        "dots": "." * 16_000,
        "two dots": "..",
        "nested": f"{nested.decode()}.{nested.decode()[:3000]}.x",
        "bomb": f"{bomb}.{payload}.{signature}",
        "payload bomb": f"{head}.{bomb}.{signature}",
        "duplicate alg": f"{duplicate}.{payload}.{signature}",
        "no base64": "%%%.%%%.%%%",
        "standard base64": ".".join(part + "==" for part in (head, payload, signature)),
        "spaces": f"{head} .{payload}.{signature}",
        "word": "null",
        "long": "a" * 16_385,
    }
    assert_refused(realm, wrong)


def test_long_headers_cost_nothing(realm: Realm) -> None:
    """SEC-075: 60 KiB of dots, a kid of 1 MiB and a header of 1 MiB get 401 or 431 at once, and leave no memory."""
    long = {
        "60 KiB of dots": "." * 60 * 1024,
        "1 MiB": "a" * MIB,
        "1 MiB of dots": "." * MIB,
        "kid of 1 MiB": realm.token(headers={"kid": "k" * MIB}),
    }

    def flood() -> None:
        for what, token in long.items():
            fastest = 60.0
            for _ in range(30):
                status, took_s = _status_of_header(realm.registry, token)
                assert status in (401, 431), what
                fastest = min(fastest, took_s)
            assert fastest < 0.02, what

    # What connections hold that are being closed has its full size by then.
    for _ in range(3):
        flood()
    before = realm.registry.rss_bytes()
    for _ in range(3):
        flood()
    assert realm.registry.rss_bytes() - before < 8 * MIB
    assert realm.pull(realm.token()).status_code == 200


def _status_of_header(registry: Registry, token: str) -> tuple[int, float]:
    """The status for a token, 0 where the server closed before it had read all of it, and the seconds."""
    began = time.perf_counter()
    with Raw(registry.port) as raw:
        try:
            raw.request(f"GET /v2/{NAME}/manifests/v1", f"Authorization: Bearer {token}")
        except ConnectionError:
            pass
        return raw.answer().status, time.perf_counter() - began


def test_unknown_keys_cost_no_query(tmp_path: Path) -> None:
    """SEC-093: 10,000 random kids ask the database nothing, and known keys go on working."""
    database = SqliteDatabase(tmp_path / "registry.db")
    database.migrate()
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    async def flood() -> None:
        keys = Keys(database, sealing.InstanceSecret(secrets.token_bytes(32)), system_clock)
        await keys.ensure()
        signing = (await keys.current()).signing
        parties = Parties(ORIGIN, ("registry.test",))
        tickets = Tickets(Changes(database), keys, parties)
        now = int(time.time())
        ticket = tokens.Ticket(EVERYBODY, {}, False, now, now + 600, "1")
        right = tokens.issue(ticket, key=signing, issuer=ORIGIN, service="registry.test")
        await tickets.read(right)
        _, payload, signature = right.split(".")
        statements.clear()
        for _ in range(10_000):
            head = b64(json.dumps({"alg": "ES256", "kid": secrets.token_hex(8)}).encode())
            with pytest.raises(Unauthenticated):
                await tickets.read(f"{head}.{payload}.{signature}")
        again = tokens.issue(ticket, key=signing, issuer=ORIGIN, service="registry.test")
        assert (await tickets.read(again)).id == "1"
        assert (await tickets.read(right)).id == "1"

    event.listen(Engine, "before_cursor_execute", note)
    try:
        asyncio.run(flood())
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        database.close()
    # Whatever the flood takes, changes of access are read again every 5 s.
    assert len([statement for statement in statements if "access_changes" not in statement]) == 0
    assert len(statements) <= 12


def test_wrong_tokens_count_as_requests(start_registry: Callable[..., Registry]) -> None:
    """SEC-093: a flood of tokens that are wrong meets the limit on requests that a flood without tokens meets."""
    registry = start_registry("--requests-per-second", "5", is_open=False)
    for shown in ({}, bearer("a.b.c"), {"authorization": "Bearer"}, {"authorization": "Basic %"}):
        with registry.client() as client:
            statuses = {client.get("/v2/", headers=shown).status_code for _ in range(120)}
        assert statuses in ({401, 429}, {429}), (shown, statuses)


# Tokens that are right, for something else


def test_a_token_to_pull_does_nothing_else(realm: Realm) -> None:
    """SEC-102: push, mount source, delete, referrers of others, catalog: 401, and nothing happens."""
    registry = realm.registry
    other = push(registry, realm.alice, "alice/other")
    digest = Digest.of(realm.image.blobs[0])
    with registry.client() as client:
        client.headers.update(bearer(token_of(client, realm.alice, f"repository:{NAME}:pull")))
        refused = [
            client.post(f"/v2/{NAME}/blobs/uploads/"),
            client.post(f"/v2/{NAME}/blobs/uploads/?digest={digest}", content=realm.image.blobs[0]),
            client.post(f"/v2/alice/other/blobs/uploads/?mount={digest}&from={NAME}"),
            client.put(f"/v2/{NAME}/manifests/v2", content=realm.image.manifest),
            client.delete(f"/v2/{NAME}/manifests/v1"),
            client.delete(f"/v2/{NAME}/manifests/{Digest.of(realm.image.manifest)}"),
            client.delete(f"/v2/{NAME}/blobs/{digest}"),
            client.get("/v2/alice/other/manifests/v1"),
            client.get(f"/v2/alice/other/blobs/{Digest.of(other.blobs[0])}"),
            client.get(f"/v2/alice/other/referrers/{Digest.of(other.manifest)}"),
            client.get("/v2/alice/other/tags/list"),
            client.get("/v2/_catalog"),
        ]
        for answer in refused:
            assert answer.status_code == 401, answer.request.url
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        assert client.get(f"/v2/{NAME}/tags/list").json()["tags"] == ["v1"]
        assert client.get(f"/v2/{NAME}/referrers/{digest}").status_code == 200
        client.headers.update(bearer(token_of(client, realm.alice, "repository:alice/other:pull,push")))
        source = client.post(f"/v2/alice/other/blobs/uploads/?mount={digest}&from={NAME}")
        assert source.status_code == 401
        assert f'scope="repository:alice/other:pull,push repository:{NAME}:pull"' in source.headers["www-authenticate"]
        client.headers.update(bearer(token_of(client, realm.alice, "registry:catalog:*")))
        assert NAME in client.get("/v2/_catalog").json()["repositories"]
        assert client.get(f"/v2/{NAME}/manifests/v1").status_code == 401


def test_kinds_of_tokens_do_not_stand_for_each_other(realm: Realm) -> None:
    """SEC-103: a refresh token as an access token or password, an access token as a refresh token or password, a
    personal token as a bearer or refresh token."""
    scope = f"repository:{NAME}:pull"
    with realm.registry.client() as client:
        issued = ask(client, realm.alice, scope, offline_token="true", service=realm.claims["aud"])
        personal = realm.desk.personal_token("alice")[1]
        assert refresh(client, issued["refresh_token"], scope).status_code == 200
        assert_refused(realm, {"refresh": issued["refresh_token"], "personal": personal})
        for secret in (issued["token"], personal, "", "drft_", "drft_" + "a" * 43):
            assert refresh(client, secret, scope).status_code in (400, 401), secret
        for secret in (issued["token"], issued["refresh_token"]):
            shown = basic("alice", secret)
            assert client.get(f"/v2/{NAME}/manifests/v1", headers=shown).status_code == 401
            assert client.get("/token", headers=shown).status_code == 401
        assert client.get("/token", headers=bearer(issued["token"])).status_code == 401
        assert client.get("/token", headers=bearer(issued["refresh_token"])).status_code == 401


def test_a_refresh_token_never_has_more_than_its_login(realm: Realm) -> None:
    """SEC-104: begun with a personal token that only reads one repository, it asks for everything and gets that."""
    push(realm.registry, realm.alice, "alice/second")
    _, secret = realm.desk.personal_token("alice", TokenScope.READ, repositories=(NAME,), life_s=3600)
    wide = f"repository:{NAME}:pull,push,delete repository:alice/second:pull,push registry:catalog:*"
    with realm.registry.client() as client:
        begun = ask(client, basic("alice", secret), offline_token="true")
        answer = refresh(client, begun["refresh_token"], wide).json()
        assert "refresh_token" not in answer or answer["refresh_token"] == begun["refresh_token"]
        assert answer["scope"] == f"repository:{NAME}:pull registry:catalog:*"
        client.headers.update(bearer(answer["access_token"]))
        assert client.get(f"/v2/{NAME}/manifests/v1").status_code == 200
        assert client.post(f"/v2/{NAME}/blobs/uploads/").status_code == 401
        assert client.get("/v2/alice/second/manifests/v1").status_code == 401
        assert client.delete(f"/v2/{NAME}/manifests/v1").status_code == 401
        assert client.get("/v2/_catalog").json()["repositories"] == [NAME]


def test_a_token_ends_with_its_login(realm: Realm) -> None:
    """SEC-104: no access or refresh token outlives the personal token that it was got with."""
    _, secret = realm.desk.personal_token("alice", life_s=2)
    with realm.registry.client() as client:
        begun = ask(client, basic("alice", secret), f"repository:{NAME}:pull", offline_token="true")
        assert begun["expires_in"] <= 2
        ends_at = time.time() + 2
        while time.time() < ends_at:
            assert client.get("/v2/", headers={}).status_code == 401
        assert refresh(client, begun["refresh_token"]).status_code == 401
        assert client.get("/v2/", headers=basic("alice", secret)).status_code == 401
        assert client.get("/token", headers=basic("alice", secret)).status_code == 401


def test_what_is_granted_of_several_repositories(realm: Realm) -> None:
    """SEC-105: `repository:a/x:pull,push repository:b/x:pull` returns only what is granted, in token and answer."""
    bob = realm.desk.user("bob")
    push(realm.registry, bob, "bob/closed")
    push(realm.registry, bob, "bob/shown")
    realm.desk.show("bob/shown", Visibility.PUBLIC)
    scope = f"repository:{NAME}:pull,push repository:bob/closed:pull,push repository:bob/shown:pull,push"
    with realm.registry.client() as client:
        for scopes in ([scope], scope.split(" ")):
            issued = ask(client, realm.alice, *scopes, "repository:bob/absent:pull")
            assert issued["scope"] == f"repository:{NAME}:pull,push repository:bob/shown:pull"
            claims = jwt.decode(issued["token"], options={"verify_signature": False})
            granted = {entry["name"]: entry for entry in claims["access"]}
            assert granted[NAME]["actions"] == ["pull", "push"]
            assert granted["bob/shown"]["actions"] == ["pull"]
            hidden, absent = granted["bob/closed"], granted["bob/absent"]
            assert hidden == {"type": "repository", "name": "bob/closed", "actions": []}
            assert {**absent, "name": ""} == {**hidden, "name": ""}
            client.headers.update(bearer(issued["token"]))
            assert client.get("/v2/bob/shown/manifests/v1").status_code == 200
            assert client.get("/v2/bob/closed/manifests/v1").status_code == 401
            assert client.get("/v2/bob/absent/manifests/v1").status_code == 401
            assert client.post("/v2/bob/shown/blobs/uploads/").status_code == 401
            del client.headers["authorization"]


def test_tokens_of_another_instance(start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """SEC-106: a token of an instance with the same name, user and repository, but its own key, opens nothing; nor does
    one of the same instance under another name."""
    found = []
    for folder in ("one", "two"):
        registry = start_registry("--external-url", ORIGIN, data=tmp_path / folder, is_open=False)
        push(registry, basic("admin", ADMIN_PASSWORD), "app")
        with registry.client() as client:
            found.append((registry, token_of(client, basic("admin", ADMIN_PASSWORD), "repository:app:pull")))
    (one, token_of_one), (two, token_of_two) = found
    renamed = start_registry("--external-url", "http://other.test", data=tmp_path / "one", is_open=False)
    for registry, token, status in [
        (one, token_of_one, 200),
        (two, token_of_two, 200),
        (one, token_of_two, 401),
        (two, token_of_one, 401),
        (renamed, token_of_one, 401),
    ]:
        answer = httpx2.get(f"{registry.url}/v2/app/manifests/v1", headers=bearer(token))
        assert answer.status_code == status
        assert status == 200 or 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_tokens_come_in_one_header_only(realm: Realm) -> None:
    """SEC-061: a token in the query, in two headers, in other schemes or in Basic opens nothing."""
    token = realm.token()
    path = f"/v2/{NAME}/manifests/v1"
    for query in ("token", "access_token", "authorization"):
        assert httpx2.get(f"{realm.registry.url}{path}?{query}={token}").status_code == 401
    for lines in (
        [f"Authorization: Bearer {token}", "Authorization: Basic Og=="],
        [f"Authorization: Bearer {token}", f"Authorization: Bearer {token}"],
        [f"Authorization: Bearer {token}, Bearer {token}"],
        [f"Authorization: Token {token}"],
        [f"Authorization: {token}"],
        [f"Proxy-Authorization: Bearer {token}"],
        [f"X-Registry-Auth: {token}"],
        [f"Cookie: token={token}; access_token={token}; Authorization=Bearer {token}"],
    ):
        with Raw(realm.registry.port) as raw:
            raw.request(f"GET {path}", *lines)
            assert raw.answer().status == 401, lines[0][:30]
    for scheme in ("bearer", "BEARER"):
        answer = httpx2.get(f"{realm.registry.url}{path}", headers={"authorization": f"{scheme} {token}"})
        assert answer.status_code == 200


def test_a_wrong_token_is_told_what_to_ask_for(realm: Realm) -> None:
    """Clients that act on the 401 of the real request read the scope from it, also where their token has ended."""
    answer = realm.pull(realm.token({"iat": int(time.time()) - 600, "exp": int(time.time()) - 60}))
    assert answer.status_code == 401
    assert f'scope="repository:{NAME}:pull"' in answer.headers["www-authenticate"]


def test_keys_that_are_taken_away_are_not_used_meanwhile(tmp_path: Path) -> None:
    """SEC-012: while the keys are read again after `rotate --at-once`, no request is decided by the old ones."""
    database = SqliteDatabase(tmp_path / "registry.db")
    database.migrate()
    secret = sealing.InstanceSecret(secrets.token_bytes(32))

    async def rotated() -> None:
        await Installation(database, MemoryStore(), system_clock).open()
        keys, others = Keys(database, secret, system_clock), Keys(database, secret, system_clock)
        await keys.ensure()
        old = (await keys.current()).signing
        made = await others.rotate(ADMIN, at_once=True)
        keys.forget({INSTANCE_SUBJECT})
        for found in await asyncio.gather(*(keys.current() for _ in range(10))):
            assert found.signing.kid == made
            with pytest.raises(tokens.TokenInvalid):
                found.public(old.kid)

    try:
        asyncio.run(rotated())
    finally:
        database.close()
