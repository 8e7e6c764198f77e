"""Where a request comes from and where an answer points: decided by the connection and the configuration, never by what
a client writes into its headers.
"""

import itertools
import json
import re
from collections.abc import Iterator

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.reliability.client import expect
from tests.reliability.raw import Answer, Raw
from tests.reliability.tenants import (
    ALICE,
    BOB,
    CANARY,
    CANARY_DIGEST,
    NOBODY,
    PRIVATE,
    PUBLIC,
    SHOWN_DIGEST,
    add_user,
    basic,
    scope,
    sql,
)
from tests.running import Registry

FORGED = {
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "444",
    "x-forwarded-prefix": "/evil",
    "x-forwarded-server": "evil.test",
    "x-forwarded-user": "admin",
    "x-original-url": "/v2/_catalog",
    "x-rewrite-url": "/v2/_catalog",
    "x-real-ip": "203.0.113.9",
    "x-client-ip": "203.0.113.9",
    "cf-connecting-ip": "203.0.113.9",
    "true-client-ip": "203.0.113.9",
    "forwarded": "for=203.0.113.9;host=evil.test;proto=https",
    "x-webauth-user": "admin",
    "x-remote-user": "admin",
    "remote-user": "admin",
    "remote_user": "admin",
    "x-http-method-override": "DELETE",
}


def failed_login_from(registry: Registry, headers: list[tuple[str, str]]) -> str:
    """The address that the audit names for a login that fails with these headers."""
    [(before,)] = sql(registry, "SELECT coalesce(max(id), 0) FROM audit")
    wrong = basic("alice", "a wrong password")["authorization"]
    answer = httpx2.get(f"{registry.url}/token", headers=[("authorization", wrong), *headers], timeout=60)
    assert answer.status_code == 401
    [(action, address)] = sql(registry, "SELECT action, address FROM audit WHERE id > ?", before)
    assert action == "login.failed"
    assert isinstance(address, str)
    return address


def test_sec_063_a_stranger_forges_nothing(house: Registry) -> None:
    """SEC-063: from a peer that is no trusted proxy no header changes who it is, its address in the audit, the scheme,
    the host, the path or the method."""
    assert failed_login_from(house, list(FORGED.items())) == "127.0.0.1"
    for path in (f"/v2/{PRIVATE.name}/manifests/v1", "/v2/", "/token?service=evil.test", "/v2/_catalog"):
        plain = httpx2.get(house.url + path)
        forged = httpx2.get(house.url + path, headers=FORGED)
        assert plain.status_code in (400, 401)
        assert (forged.status_code, forged.text) == (plain.status_code, plain.text)
        assert forged.headers.get("www-authenticate") == plain.headers.get("www-authenticate")
    with ALICE.client(house) as alice:
        location = expect(alice.post("/v2/alice/forged/blobs/uploads/", headers=FORGED), 202).headers["location"]
        assert location.startswith("/v2/alice/forged/")
        assert alice.get(location, headers=FORGED).status_code == 204
    assert {line.get("client") for line in house.log_lines() if line["event"] == "request"} == {"127.0.0.1"}


HOPS = {
    "one": (["203.0.113.9"], "203.0.113.9"),
    "the right-most that is no proxy": (["1.2.3.4, 203.0.113.9, 127.0.0.5"], "203.0.113.9"),
    "in two headers": (["1.2.3.4", "203.0.113.9,127.0.0.5"], "203.0.113.9"),
    "with spaces": (["203.0.113.9 ,   127.0.0.5"], "203.0.113.9"),
    "rubbish before": (["<x>, 203.0.113.9"], "203.0.113.9"),
    "rubbish at the end": (["203.0.113.9, <x>"], "127.0.0.1"),
    "nothing": ([""], "127.0.0.1"),
    "proxies only": (["127.0.0.7, 127.0.0.5"], "127.0.0.7"),
    "a proxy written as IPv6": (["203.0.113.9, ::ffff:127.0.0.5"], "203.0.113.9"),
    "IPv6": (["2001:db8::9"], "2001:db8::9"),
    "with a port": (["203.0.113.9:80"], "127.0.0.1"),
    "very many": ([", ".join(["203.0.113.9", *["127.0.0.5"] * 1000])], "127.0.0.5"),
}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A server that trusts this machine as a proxy, and says https to the outside."""
    flags = ("--trusted-proxies", "127.0.0.0/8", "--external-url", "https://hub.test,https://hub.test:8443")
    registry = Registry.start(tmp_path_factory.mktemp("behind") / "data", *flags, is_open=False)
    add_user(registry, ALICE)
    yield registry
    registry.kill()


@pytest.mark.parametrize("hops", HOPS)
def test_sec_063_a_trusted_proxy_is_believed(behind: Registry, hops: str) -> None:
    """SEC-063: the address is the right-most one that is no proxy of ours; other headers mean nothing from a proxy
    either, and what cannot be read ends the way back."""
    values, expected = HOPS[hops]
    others = [(name, value) for name, value in FORGED.items() if name != "x-forwarded-for"]
    assert failed_login_from(behind, [*(("x-forwarded-for", value) for value in values), *others]) == expected


HOSTS = [
    "evil.test",
    "evil.test:80",
    "hub.test@evil.test",
    "127.0.0.1@evil.test",
    "evil.test#",
    "evil.test/",
    "evil.test/v2/_catalog?",
    "x/v2/alice/public?",
    "x/v2/?",
    "?",
    "#",
    "/",
    "//",
    "\\evil.test",
    "[::1]",
    "[::1",
    "]",
    ":",
    ":0",
    ":99999",
    "a:b:c",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1",
    "127.1",
    "0",
    "2130706433",
    "0x7f.1",
    "169.254.169.254",
    "",
    " ",
    "x y",
    "x\ty",
    "x,y",
    "x;y",
    '"x"',
    "'x'",
    "<x>",
    "{x}",
    "%00",
    "%0d%0aX-Injected: 1",
    "%2e%2e",
    "..",
    "../../",
    "*",
    "_",
    "-",
    "user:pass@hub.test",
    "http://hub.test",
    "https://evil.test/",
    "javascript:alert(1)",
    "data:text/html,x",
    "xn--evil",
    "\u00e9vil.test",
    "x" * 255,
    "x" * 8000,
    "a." * 2000,
    "$(id)",
    "`id`",
    "${jndi:ldap://evil.test}",
    "admin",
]
VISITS = [
    ("GET", f"/v2/{PRIVATE.name}/manifests/v1", ()),
    ("GET", f"/v2/{PUBLIC.name}/manifests/v1", ()),
    ("GET", "/v2/_catalog", ()),
    ("GET", "/v2/", ()),
    ("GET", f"/v2/{PRIVATE.name}/blobs/{CANARY_DIGEST}", ("bob",)),
    ("GET", "/v2/_catalog", ("bob",)),
    ("GET", f"/v2/{PRIVATE.name}/tags/list", ("alice",)),
    ("POST", "/v2/alice/hosts/blobs/uploads/", ("bob",)),
    ("GET", "/metrics", ()),
    ("GET", "/livez", ()),
]
SHOWN_BY = {"alice": ALICE.basic, "bob": BOB.basic}


def visit(registry: Registry, host: str, method: str, path: str, who: tuple[str, ...]) -> Answer:
    """One request with this Host."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", "Content-Length: 0"]
    lines += [f"Authorization: {SHOWN_BY[name]['authorization']}" for name in who]
    with Raw(registry.port) as raw:
        raw.send("\r\n".join([*lines, "", ""]).encode("utf-8"))
        return raw.answer()


def test_sec_080_hosts_decide_nothing(house: Registry) -> None:
    """SEC-080: sixty hostile values of Host, and every decision is the one of an honest request, or 400."""
    assert len(HOSTS) >= 60
    for method, path, who in VISITS:
        honest = visit(house, f"127.0.0.1:{house.port}", method, path, who)
        for host in HOSTS:
            answer = visit(house, host, method, path, who)
            assert answer.status in (honest.status, 400), (host, path)
            assert answer.status == 400 or answer.body == honest.body, (host, path)


def test_sec_072_the_realm_is_ours(house: Registry, behind: Registry) -> None:
    """SEC-072: where clients send passwords is chosen among configured addresses, and everything is quoted."""
    own = {f"http://{host}:{house.port}" for host in ("localhost", "127.0.0.1", "[::1]")}
    for registry, origins in ((house, own), (behind, {"https://hub.test", "https://hub.test:8443"})):
        for host in [*HOSTS, "hub.test", "hub.test:8443", "HUB.TEST", f"localhost:{registry.port}"]:
            answer = visit(registry, host, "GET", "/v2/a/tags/list", ())
            if answer.status == 400:
                continue
            fields = dict(re.findall(r'(\w+)="([^"\\]*)"(?:,|$)', answer.headers["www-authenticate"]))
            assert fields["realm"].removesuffix("/token") in origins
            assert fields["service"] == fields["realm"].split("/")[2]
            assert fields["scope"] == "repository:a:pull"
    assert (
        'realm="https://hub.test:8443/token"'
        in visit(behind, "hub.test:8443", "GET", "/v2/", ()).headers["www-authenticate"]
    )


NAMES = ['a"b', "a\\b", "a,b", "a;b", "a b", "a%0d%0ab", 'x",realm="https://evil.test', "a:pull,push b", "\u00e9"]


@pytest.mark.parametrize("name", NAMES)
def test_sec_072_names_stay_in_their_quotes(house: Registry, name: str) -> None:
    """SEC-072: a hostile name in the path or as a source does not get out of the challenge's quotes."""
    for path in (f"/v2/{name}/tags/list", f"/v2/a/blobs/uploads/?mount={SHOWN_DIGEST}&from={name}"):
        with Raw(house.port) as raw:
            method = "GET" if "list" in path else "POST"
            raw.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            answer = raw.answer()
        assert answer.status in (400, 401, 404)
        challenge = answer.headers.get("www-authenticate", "")
        assert challenge.count("realm=") <= 1 and "evil" not in challenge
        assert answer.status != 401 or re.fullmatch(r'Bearer (\w+="[a-z0-9:/.,* \[\]_-]*",?)+', challenge)


def test_sec_071_locations_stay_here(house: Registry) -> None:
    """SEC-071: Location and Link are paths of this server, whatever Host, X-Forwarded-Host or the absolute form say."""
    token = {"Authorization": ALICE.basic["authorization"], "X-Forwarded-Host": "evil.test"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in token.items())
    digest = Digest.of(b"located")
    for host, prefix in itertools.product(("evil.test", "x/v2/?"), ("", "http://evil.test", "HTTPS://evil.test:1")):

        def ask(
            method: str, path: str, body: bytes = b"", kind: str = "a/b", host: str = host, prefix: str = prefix
        ) -> Answer:
            head = f"{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Type: {kind}\r\n"
            with Raw(house.port) as raw:
                raw.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body)
                return raw.answer()

        begun = ask("POST", "/v2/alice/located/blobs/uploads/")
        place = begun.headers["location"]
        answers = [
            (begun, 202),
            (ask("PATCH", place, b"loc"), 202),
            (ask("PUT", f"{place}?digest={digest}", b"ated"), 201),
            (ask("POST", f"/v2/alice/located/blobs/uploads/?digest={digest}", b"located"), 201),
            (ask("PUT", f"/v2/{PRIVATE.name}/manifests/v1", PRIVATE.manifest, OCI_MANIFEST), 201),
            (ask("GET", f"/v2/{PRIVATE.name}/tags/list?n=0"), 200),
            (ask("GET", "/v2/_catalog?n=1"), 200),
            (ask("GET", "/v2"), 200),
            (ask("GET", "/livez/"), 404),
        ]
        for answer, status in answers:
            assert answer.status == status
            assert answer.headers.get("location", "/v2/").startswith("/v2/")
            assert answer.headers.get("link", "</v2/").startswith("</v2/")
            assert "evil" not in json.dumps(answer.headers)


ODD_METHODS = ["DISPATCH", "__INIT__", "__CALL__", "GET\t", "get", "Get", "G" * 8192, "_respond", "PRI", "CONNECT", "*"]
KNOWN_METHODS = ["OPTIONS", "TRACE", "PROPFIND", "MKCOL", "COPY", "LOCK", "PURGE", "LINK", "M-SEARCH", "SOURCE"]
PLACES = ["/v2/", f"/v2/{PRIVATE.name}/manifests/v1", "/v2/_catalog", "/token", "/", "/livez", "/api/v1/users"]


@pytest.mark.parametrize("method", [*ODD_METHODS, *KNOWN_METHODS])
def test_sec_081_methods(house: Registry, method: str) -> None:
    """SEC-081: a method that no route has is 405 or 400, never another attribute of anything, whoever asks."""
    for path, headers in itertools.product(PLACES, ([], [f"Authorization: {ALICE.basic['authorization']}"])):
        with Raw(house.port) as raw:
            raw.request(f"{method} {path}", *headers, "Connection: close")
            answer = raw.answer()
        assert answer.status in (400, 404, 405, 431), (path, answer)
        assert CANARY[:20] not in answer.body


def test_sec_073_the_body_is_not_looked_at_first(house: Registry) -> None:
    """SEC-073: the decision is the same for every length of the body, and nothing of it is asked for before."""
    content = PRIVATE.manifest
    location = f"/v2/{PRIVATE.name}/blobs/uploads/{'0' * 32}"
    requests = [
        (f"PUT /v2/{PRIVATE.name}/manifests/v1", f"Content-Type: {OCI_MANIFEST}"),
        (f"POST /v2/{PRIVATE.name}/blobs/uploads/?digest={CANARY_DIGEST}", "X: x"),
        (f"PATCH {location}", "X: x"),
        (f"PUT {location}?digest={CANARY_DIGEST}", "X: x"),
        (f"DELETE /v2/{PRIVATE.name}/manifests/v1", "X: x"),
        (f"GET /v2/{PRIVATE.name}/manifests/v1", "X: x"),
    ]
    bodies: list[tuple[list[str], bytes]] = [
        ([], b""),
        (["Content-Length: 0"], b""),
        ([f"Content-Length: {len(content)}"], content),
        (["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        ([f"Content-Length: {5 * 2**30}"], b""),
        ([f"Content-Length: {2**62}"], b""),
        ([f"Content-Length: {5 * 2**30}", "Expect: 100-continue"], b""),
        (["Transfer-Encoding: chunked", "Expect: 100-continue"], b""),
        (["Content-Encoding: gzip", "Content-Length: 5"], b"hello"),
    ]
    callers = {
        "nobody": NOBODY.basic,
        "bob": BOB.basic,
        "bob with a token": BOB.headers(house, "bearer", scope(PRIVATE.name)),
        "rubbish": {"authorization": "Bearer rubbish"},
    }
    for (line, kind), (who, shown) in itertools.product(requests, callers.items()):
        statuses = set()
        for headers, body in bodies:
            with Raw(house.port) as raw:
                shown_lines = [f"Authorization: {value}" for value in shown.values()]
                raw.request(line, kind, *shown_lines, *headers, body=body)
                statuses.add(raw.answer().status)
        assert len(statuses) == 1 and statuses <= {401, 403, 404}, (line, who, statuses)
