"""Endpoint by endpoint, what clients rely on beyond the conformance suite. Ids as in the specification."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from registry.api.v2.routes import ROUTES
from registry.core.digest import Algorithm, Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from tests.core.test_manifest import encoded, entry, image, index
from tests.reliability.raw import Raw
from tests.running import Registry, wait_until
from tests.test_cli import depotry

PATHS = {
    "ping": "/v2/",
    "catalog": "/v2/_catalog",
    "blob": f"/v2/a/blobs/{Digest.of(b'absent')}",
    "uploads": "/v2/a/blobs/uploads/",
    "upload": "/v2/a/blobs/uploads/" + "0" * 32,
    "manifest": "/v2/a/manifests/absent",
    "tags": "/v2/absent/tags/list",
    "referrers": f"/v2/absent/referrers/{Digest.of(b'absent')}",
}


@pytest.fixture(scope="module")
def client(shared_registry: Registry) -> Iterator[httpx2.Client]:
    """A client of the module's server."""
    with shared_registry.client() as client:
        yield client


def push_blob(client: httpx2.Client, name: str, content: bytes) -> Digest:
    """In one request."""
    digest = Digest.of(content)
    answer = client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=content)
    assert answer.status_code == 201, answer.text
    return digest


def push_manifest(client: httpx2.Client, path: str, document: dict[str, object]) -> httpx2.Response:
    """With the document's own media type."""
    return client.put(path, content=encoded(document), headers={"content-type": str(document["mediaType"])})


def push_image(client: httpx2.Client, name: str, tag: str, **more: object) -> Digest:
    """The smallest image."""
    push_blob(client, name, b"{}")
    push_blob(client, name, b"x")
    answer = push_manifest(client, f"/v2/{name}/manifests/{tag}", image(**more))
    assert answer.status_code == 201, answer.text
    return Digest.parse(answer.headers["docker-content-digest"])


def test_every_path_refuses_other_methods(client: httpx2.Client) -> None:
    """405 with the methods that there are; unknown paths 404; both as JSON errors."""
    for kind, path in PATHS.items():
        allowed = sorted(route.method for route in ROUTES if route.kind == kind)
        for method in ("TRACE", "OPTIONS", "PROPFIND", "DELETE", "PUT", "PATCH", "POST", "GET"):
            if method not in allowed:
                answer = client.request(method, path)
                assert answer.status_code == 405, (method, path)
                assert sorted(answer.headers["allow"].split(", ")) == allowed
                assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
    answer = client.get("/v2/a/b/c")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("kind", ["ping", "catalog", "blob", "manifest", "tags", "referrers", "upload"])
def test_head_has_the_headers_of_get(client: httpx2.Client, kind: str) -> None:
    """Also where the answer is an error."""
    get, head = client.get(PATHS[kind]), client.head(PATHS[kind])
    assert head.status_code == get.status_code
    assert head.content == b""
    for answer in (get, head):
        answer.headers.pop("date", None)
    assert dict(head.headers) == dict(get.headers)


def test_every_answer_names_the_api(client: httpx2.Client) -> None:
    """Old docker looks for it, on the ping and on errors."""
    for path in PATHS.values():
        assert client.get(path).headers["docker-distribution-api-version"] == "registry/2.0"


def test_end_3_conditional_reads(client: httpx2.Client) -> None:
    """The ETag is the digest; 304 with If-None-Match, in every form of the header."""
    digest = push_image(client, "conditional", "v1")
    for path in ("/v2/conditional/manifests/v1", f"/v2/conditional/blobs/{Digest.of(b'x')}"):
        tag = client.get(path).headers["etag"]
        assert tag in (f'"{digest}"', f'"{Digest.of(b"x")}"')
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            for method in ("GET", "HEAD"):
                answer = client.request(method, path, headers={"if-none-match": known})
                assert answer.status_code == 304, (method, path, known)
                assert answer.content == b""
        assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_end_7_conditional_pushes(client: httpx2.Client) -> None:
    """If-None-Match: * makes a tag once; If-Match moves it from what was seen; 412 names what is there."""
    digest = push_image(client, "guarded", "v0")
    path = "/v2/guarded/manifests/v1"
    body = encoded(image())
    headers = {"content-type": OCI_MANIFEST}
    assert client.put(path, content=body, headers={**headers, "if-none-match": "*"}).status_code == 201
    again = client.put(path, content=body, headers={**headers, "if-none-match": "*"})
    assert again.status_code == 412
    assert again.json()["errors"][0]["code"] == "PRECONDITION_FAILED"
    assert again.json()["errors"][0]["detail"]["current"] == str(digest)
    assert client.put(path, content=body, headers={**headers, "if-match": '"sha256:0"'}).status_code == 412
    assert client.put(path, content=body, headers={**headers, "if-match": f'"{digest}"'}).status_code == 201


def test_conditions_that_are_not_understood_do_not_count_as_none(client: httpx2.Client) -> None:
    """RFC 9110 §13: no quotes, no condition: 400 and nothing is pushed; a weak tag never satisfies If-Match."""
    digest = push_image(client, "strict", "v1")
    path, headers = "/v2/strict/manifests/v1", {"content-type": OCI_MANIFEST}
    other = encoded(image(annotations={"a": "b"}))
    for condition in ({"if-none-match": str(digest)}, {"if-match": str(digest)}, {"if-match": '"a" "b"'}):
        assert client.put(path, content=other, headers={**headers, **condition}).status_code == 400
    weak = client.put(path, content=other, headers={**headers, "if-match": f'W/"{digest}"'})
    assert weak.status_code == 412
    assert client.head(path).headers["docker-content-digest"] == str(digest)
    assert client.get(path, headers={"if-none-match": str(digest)}).status_code == 400


def test_end_12_no_entries_wanted(client: httpx2.Client) -> None:
    """n=0 is an empty page, here too."""
    push_blob(client, "none", b"{}")
    push_blob(client, "none", b"x")
    subject = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"s")), "size": 1}
    push_manifest(client, "/v2/none/manifests/r", image(subject=subject))
    answer = client.get(f"/v2/none/referrers/{subject['digest']}?n=0")
    assert answer.json()["manifests"] == []
    assert "link" not in answer.headers


def test_no_redirect_is_made_from_the_host_header(shared_registry: Registry) -> None:
    """SEC-071: a slash too many is 404, and leads nowhere."""
    for url in (shared_registry.url, shared_registry.metrics_url):
        assert httpx2.get(f"{url}/livez/", headers={"host": "elsewhere.test"}).status_code == 404


def test_a_length_may_have_zeros_in_front(shared_registry: Registry) -> None:
    """A number is a number, however it is written."""
    with Raw(shared_registry.port) as raw:
        raw.request("GET /v2/", "Content-Length: " + "0" * 30)
        assert raw.answer().status == 200


def test_readiness_names_a_disk_that_is_full_to_its_reserve(start_registry: Callable[..., Registry]) -> None:
    """Pushes get 507, pulls go on, and nothing is left of what was refused."""
    registry = start_registry("--storage-reserve-bytes", "1000TiB")
    ready = httpx2.get(f"{registry.url}/readyz")
    assert (ready.status_code, list(ready.json()["degraded"])) == (200, ["storage"])
    for _ in range(3):
        answer = httpx2.post(f"{registry.url}/v2/a/blobs/uploads/")
        assert answer.status_code == 507
        assert int(answer.headers["retry-after"]) > 0
    figures = depotry("stats", "--json", "--data", str(registry.data)).stdout
    assert json.loads(figures)["uploads_open"] == 0


def test_end_7_missing_blobs_are_each_named(client: httpx2.Client) -> None:
    """MANIFEST_BLOB_UNKNOWN once a digest, 404."""
    answer = push_manifest(client, "/v2/lacking/manifests/v1", image())
    assert answer.status_code == 404
    errors = answer.json()["errors"]
    assert {error["code"] for error in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    assert [error["detail"]["digest"] for error in errors] == [entry("{}")["digest"], entry()["digest"]]
    assert client.get("/v2/lacking/tags/list").status_code == 404


def test_end_7_a_tag_with_a_digest(client: httpx2.Client) -> None:
    """The fallback of regclient: PUT by tag, the digest and its algorithm announced in the query."""
    push_image(client, "announced", "v0")
    body = encoded(image())
    digest = Digest.of(body, Algorithm.SHA512)
    headers = {"content-type": OCI_MANIFEST}
    answer = client.put(f"/v2/announced/manifests/v1?digest={digest}", content=body, headers=headers)
    assert answer.status_code == 201
    assert client.head("/v2/announced/manifests/v1").headers["docker-content-digest"] == str(digest)
    wrong = client.put(f"/v2/announced/manifests/v2?digest={Digest.of(b'')}", content=body, headers=headers)
    assert wrong.status_code == 400
    assert client.head("/v2/announced/manifests/v2").status_code == 404


def test_end_8_pages_of_tags(client: httpx2.Client) -> None:
    """Byte order, relative Link that starts with <, last exclusive and need not exist, n=0 is an empty page."""
    push_image(client, "paged", "b")
    digest = str(Digest.of(encoded(image())))
    query = "&".join(f"tag={tag}" for tag in ("B", "a", "_x", "10", "9", "b-1"))
    answer = client.put(
        f"/v2/paged/manifests/{digest}?{query}", content=encoded(image()), headers={"content-type": OCI_MANIFEST}
    )
    assert answer.headers["oci-tag"].split(", ") == ["B", "a", "_x", "10", "9", "b-1"]
    everything = ["10", "9", "B", "_x", "a", "b", "b-1"]
    assert client.get("/v2/paged/tags/list").json() == {"name": "paged", "tags": everything}
    assert "link" not in client.get("/v2/paged/tags/list").headers
    empty = client.get("/v2/paged/tags/list?n=0")
    assert empty.json()["tags"] == []
    assert "link" not in empty.headers
    assert client.get("/v2/paged/tags/list?last=Z").json()["tags"] == ["_x", "a", "b", "b-1"]
    assert walk(client, "/v2/paged/tags/list?n=3", "tags") == everything


def walk(client: httpx2.Client, path: str, key: str) -> list[str]:
    """Follow Link to the end."""
    found: list[str] = []
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        found += answer.json()[key]
        link = answer.headers.get("link", "")
        assert not link or (link.startswith("</v2/") and link.endswith('>; rel="next"'))
        path = link.partition(">")[0].removeprefix("<")
    return found


def test_the_catalog(client: httpx2.Client) -> None:
    """Only repositories that hold something, in pages; an upload alone makes none visible."""
    for name in ("catalog/b", "catalog/a"):
        push_image(client, name, "v1")
    client.post("/v2/catalog/only-an-upload/blobs/uploads/")
    names = walk(client, "/v2/_catalog?n=2", "repositories")
    assert names == sorted(names)
    assert [name for name in names if name.startswith("catalog/")] == ["catalog/a", "catalog/b"]


def test_end_10_a_blob_in_use(client: httpx2.Client) -> None:
    """405 UNSUPPORTED names the manifests."""
    digest = push_image(client, "used", "v1")
    answer = client.delete(f"/v2/used/blobs/{Digest.of(b'x')}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["errors"][0]["detail"] == {"manifests": [str(digest)]}
    assert client.delete(f"/v2/used/manifests/{digest}").status_code == 202
    assert client.delete(f"/v2/used/blobs/{Digest.of(b'x')}").status_code == 202
    assert client.delete(f"/v2/used/blobs/{Digest.of(b'x')}").status_code == 404


def test_end_11_mounts(client: httpx2.Client) -> None:
    """201 where a source has it, otherwise an upload begins: never 404, whatever `from` says."""
    digest = push_blob(client, "mount/source", b"mounted")
    for query in (f"mount={digest}&from=mount/source", f"mount={digest}"):
        answer = client.post(f"/v2/mount/target/blobs/uploads/?{query}")
        assert answer.status_code == 201
        assert answer.headers["docker-content-digest"] == str(digest)
        assert client.get(answer.headers["location"]).content == b"mounted"
    for source in ("mount/none", "..", "", "A"):
        answer = client.post(f"/v2/mount/target/blobs/uploads/?mount={digest}&from={source}")
        assert answer.status_code == 202
        assert answer.headers["range"] == "0-0"
    assert client.post("/v2/mount/target/blobs/uploads/?mount=nonsense").status_code == 400


def test_end_12_referrers(client: httpx2.Client) -> None:
    """Several artifactTypes mean any of them; pages by n with Link; the media type is exact."""
    push_blob(client, "ref", b"{}")
    push_blob(client, "ref", b"x")
    subject = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"subject")), "size": 7}
    for number in range(6):
        document = image(subject=subject, artifactType=f"type/{number % 3}", annotations={"n": str(number)})
        answer = push_manifest(client, f"/v2/ref/manifests/r{number}", document)
        assert answer.headers["oci-subject"] == subject["digest"]
    path = f"/v2/ref/referrers/{subject['digest']}"
    answer = client.get(path)
    assert answer.headers["content-type"] == OCI_INDEX
    assert "oci-filters-applied" not in answer.headers
    assert [shown["annotations"]["n"] for shown in answer.json()["manifests"]] == list("012345")
    some = client.get(f"{path}?artifactType=type/0&artifactType=type/2&n=3")
    assert some.headers["oci-filters-applied"] == "artifactType"
    link = some.headers["link"].partition(">")[0].removeprefix("<")
    assert parse_qs(urlsplit(link).query)["artifactType"] == ["type/0", "type/2"]
    numbers = [shown["annotations"]["n"] for shown in some.json()["manifests"] + client.get(link).json()["manifests"]]
    assert numbers == list("0235")
    assert client.get(f"{path}?last=abc").status_code == 400


def test_an_index_of_blobs(client: httpx2.Client) -> None:
    """BuildKit's old cache: children that are no manifests are blobs of the repository, and in use."""
    layer = push_blob(client, "cache", b"cached layer")
    document = index(entry("cached layer"))
    assert push_manifest(client, "/v2/cache/manifests/v1", document).status_code == 201
    assert client.delete(f"/v2/cache/blobs/{layer}").status_code == 405


def test_browsers_run_nothing_that_was_pushed(client: httpx2.Client) -> None:
    """SEC-032 for content: a type that is not shown, no sniffing, a sandbox."""
    digest = push_blob(client, "page", b"<script>alert(1)</script>")
    answer = client.get(f"/v2/page/blobs/{digest}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_compressed_bodies_are_refused(client: httpx2.Client) -> None:
    """Content is stored as it is sent: 415 instead of guessing."""
    location = client.post("/v2/packed/blobs/uploads/").headers["location"]
    answer = client.patch(location, content=b"x", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert client.get(location).headers["range"] == "0-0"


def test_the_operators_listener(shared_registry: Registry) -> None:
    """Health and metrics have a port of their own, which serves no content; readiness is on both."""
    with httpx2.Client(base_url=shared_registry.metrics_url, timeout=30) as operator:
        assert operator.get("/livez").json() == {"status": "alive"}
        assert operator.get("/readyz").json() == {"status": "ready"}
        assert "depotry_http_requests_total" in operator.get("/metrics").text
        assert operator.get("/v2/").status_code == 404
    with shared_registry.client() as public:
        assert public.get("/readyz").status_code == 200
        assert public.get("/metrics").status_code == 404
        assert "docker push" in public.get("/").text


def test_one_log_line_a_request(shared_registry: Registry, client: httpx2.Client) -> None:
    """As JSON where standard error is no terminal; with the error's code; without the query."""
    client.get("/v2/logged/manifests/v1?secret=hunter2")
    lines: list[dict[str, Any]] = []

    def is_written() -> bool:
        lines[:] = [line for line in shared_registry.log_lines() if line.get("path") == "/v2/logged/manifests/v1"]
        return bool(lines)

    wait_until(is_written, what="the log line")
    [line] = lines
    assert (line["status"], line["error"], line["method"]) == (404, "NAME_UNKNOWN", "GET")
    assert "hunter2" not in json.dumps(line)
