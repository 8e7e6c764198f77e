"""What every answer says to a browser."""

from collections.abc import Callable

import httpx2
import pytest

from registry.core.manifest import OCI_MANIFEST
from tests.reliability.client import Pusher, expect
from tests.reliability.raw import Raw
from tests.reliability.tenants import ALICE, CANARY_DIGEST, PRIVATE, add_user
from tests.running import Registry, wait_until

DIGEST = str(CANARY_DIGEST)
BASE = f"/v2/{PRIVATE.name}"


def check(headers: httpx2.Headers | dict[str, str], *, is_https: bool) -> None:
    """Each header once, and HSTS only where the outside speaks TLS."""
    assert headers.get("x-content-type-options") == "nosniff"
    policy = str(headers.get("content-security-policy"))
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    is_page = headers.get("content-type", "").startswith("text/html")
    # A page runs our own scripts and no others; everything else runs nothing.
    assert ("script-src 'self';" if is_page else "sandbox") in policy and "unsafe" not in policy
    assert headers.get("referrer-policy") == ("same-origin" if is_page else "no-referrer")
    assert ("strict-transport-security" in headers) == is_https


ANSWERS: list[tuple[int, str, str, dict[str, str], bytes | None]] = [
    (200, "GET", "/v2/", {}, None),
    (200, "GET", f"{BASE}/manifests/v1", {}, None),
    (200, "HEAD", f"{BASE}/manifests/v1", {}, None),
    (200, "GET", f"{BASE}/blobs/{DIGEST}", {}, None),
    (200, "HEAD", f"{BASE}/blobs/{DIGEST}", {}, None),
    (200, "GET", f"{BASE}/tags/list", {}, None),
    (200, "GET", f"{BASE}/referrers/{DIGEST}", {}, None),
    (200, "GET", "/v2/_catalog", {}, None),
    (200, "GET", "/token", {}, None),
    (200, "GET", "/.well-known/jwks.json", {}, None),
    (200, "GET", "/", {}, None),
    (200, "GET", "/livez", {}, None),
    (200, "GET", "/readyz", {}, None),
    (201, "POST", f"{BASE}/blobs/uploads/?digest={DIGEST}", {}, PRIVATE.blobs[1]),
    (201, "PUT", f"{BASE}/manifests/v1", {"content-type": OCI_MANIFEST}, PRIVATE.manifest),
    (202, "POST", f"{BASE}/blobs/uploads/", {}, None),
    (206, "GET", f"{BASE}/blobs/{DIGEST}", {"range": "bytes=0-3"}, None),
    (304, "GET", f"{BASE}/blobs/{DIGEST}", {"if-none-match": f'"{DIGEST}"'}, None),
    (400, "GET", "/v2/A/tags/list", {}, None),
    (400, "POST", "/token", {}, b"x"),
    (401, "GET", "/v2/", {"authorization": "Bearer x"}, None),
    (401, "GET", "/token", {"authorization": "Bearer x"}, None),
    (403, "POST", "/v2/bob/x/blobs/uploads/", {}, None),
    (403, "POST", "/api/v1/users", {}, b"{}"),
    (404, "GET", f"{BASE}/manifests/none", {}, None),
    (404, "GET", "/none", {}, None),
    (404, "GET", "/metrics", {}, None),
    (405, "POST", f"{BASE}/tags/list", {}, None),
    (405, "DELETE", "/token", {}, None),
    (405, "POST", "/livez", {}, None),
    (405, "DELETE", f"{BASE}/blobs/{DIGEST}", {}, None),
    (413, "PUT", f"{BASE}/manifests/v1", {"content-type": OCI_MANIFEST}, b" " * (4 * 2**20 + 1)),
    (415, "POST", f"{BASE}/blobs/uploads/?digest={DIGEST}", {"content-encoding": "gzip"}, b"x"),
    (416, "GET", f"{BASE}/blobs/{DIGEST}", {"range": "bytes=99999999-"}, None),
]


@pytest.mark.parametrize("is_https", [True, False])
def test_sec_036_every_answer_is_safe_in_a_browser(start_registry: Callable[..., Registry], is_https: bool) -> None:
    """SEC-032, SEC-036: nosniff, a policy that runs and frames nothing, no referrer, on every status of every path."""
    flags = ("--external-url", "https://hub.test") if is_https else ()
    registry = start_registry(*flags, is_open=False)
    add_user(registry, ALICE)
    with ALICE.client(registry) as alice:
        Pusher(alice).push(PRIVATE, way="whole")
        for status, method, path, headers, content in ANSWERS:
            answer = alice.request(method, path, headers=headers, content=content)
            assert answer.status_code == status, (method, path, answer.text[:200])
            check(answer.headers, is_https=is_https)
            assert all(
                len(answer.headers.get_list(name)) == 1 for name in ("x-content-type-options", "referrer-policy")
            )
        location = expect(alice.post(f"{BASE}/blobs/uploads/"), 202).headers["location"]
        check(alice.get(location).headers, is_https=is_https)
        out_of_order = alice.patch(location, content=b"x", headers={"content-range": "5-5"})
        assert out_of_order.status_code == 416
        check(out_of_order.headers, is_https=is_https)
        check(alice.delete(location).headers, is_https=is_https)
    for path in ("/metrics", "/livez", "/readyz", "/none", "/v2/"):
        check(httpx2.get(registry.metrics_url + path).headers, is_https=is_https)


REFUSED = {
    "no HTTP": b"rubbish\r\n\r\n",
    "two lengths": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "no Host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "a long header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "a fragment": b"GET /v2/#x HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_kind", REFUSED)
def test_sec_036_what_is_no_request_gets_safe_answers_too(house: Registry, request_kind: str) -> None:
    """SEC-036: refusals that no application sees."""
    for port in (house.port, house.metrics_port):
        with Raw(port) as raw:
            raw.send(REFUSED[request_kind])
            answer = raw.answer()
        assert answer.status in (400, 431)
        check(answer.headers, is_https=False)


def test_sec_036_refused_connections_and_limits(start_registry: Callable[..., Registry]) -> None:
    """SEC-036: 503 for one connection too many, and 429."""
    registry = start_registry("--connections-per-address", "5", "--requests-per-second", "0.5", is_open=False)
    with httpx2.Client(base_url=registry.url) as client:
        wait_until(lambda: client.get("/v2/").status_code == 429, what="the limit")
        for path in ("/v2/", "/token"):
            answer = client.get(path)
            assert answer.status_code == 429
            check(answer.headers, is_https=False)
    held = [Raw(registry.port) for _ in range(5)]
    with Raw(registry.port) as raw:
        raw.request("GET /v2/")
        refused = raw.answer()
        assert refused.status == 503
        check(refused.headers, is_https=False)
    for connection in held:
        connection.sock.close()
