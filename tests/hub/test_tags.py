"""Tags, manifests and their removal through the hub's API, over HTTP on a real server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from registry.core.digest import Digest
from tests.core.test_image_config import CONFIG
from tests.core.test_manifest import encoded, entry, image, index
from tests.running import ADMIN_PASSWORD, Registry, wait_until
from tests.services.test_contents import describe, numbered

APP, OTHER = "acme/app", "acme/other"
HERE = f"/api/v1/repositories/{APP}/-"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One server with accounts."""
    registry = Registry.start(tmp_path_factory.mktemp("hub") / "data", "--requests-per-second", "0", is_open=False)
    yield registry
    registry.kill()


@pytest.fixture(scope="module")
def client(served: Registry) -> Iterator[httpx2.Client]:
    """Its admin."""
    with httpx2.Client(base_url=served.url, auth=("admin", ADMIN_PASSWORD)) as made:
        yield made


def blob(client: httpx2.Client, content: bytes, name: str = APP) -> None:
    """Push a blob."""
    answer = client.post(
        f"/v2/{name}/blobs/uploads/?digest={Digest.of(content)}",
        content=content,
        headers={"content-type": "application/octet-stream"},
    )
    assert answer.status_code == 201, answer.text


def manifest(client: httpx2.Client, document: dict[str, Any], reference: str = "", name: str = APP) -> str:
    """Push a manifest; its digest."""
    content = encoded(document)
    digest = str(Digest.of(content))
    path = f"/v2/{name}/manifests/{reference or digest}"
    answer = client.put(path, content=content, headers={"content-type": document["mediaType"]})
    assert answer.status_code == 201, answer.text
    return digest


@pytest.fixture(scope="module")
def app(client: httpx2.Client) -> dict[str, str]:
    """Twelve versions, a signature, an index, and an image with a config; digests by tag."""
    for name in (APP, OTHER):
        for content in (b"{}", b"x", b"layer 0", b"layer 1", json.dumps(CONFIG).encode()):
            blob(client, content, name)
    found = {f"1.{number}": manifest(client, numbered(number), f"1.{number}") for number in range(12)}
    manifest(client, image(subject=describe(numbered(3)), artifactType="application/vnd.cncf.notary.signature"))
    config = json.dumps(CONFIG)
    whole = image(config=entry(config, image()["config"]["mediaType"]), layers=[entry("layer 0"), entry("layer 1")])
    found["built"] = manifest(client, whole, "built")
    parts = index(describe(numbered(1), platform={"os": "linux", "architecture": "amd64"}))
    found["many"] = manifest(client, parts, "many")
    found["elsewhere"] = manifest(client, numbered(77), "v1", OTHER)
    return found


def get(client: httpx2.Client, path: str, **query: Any) -> Any:
    """The answer of a GET, as JSON."""
    answer = client.get(f"{HERE}{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def whole_list(client: httpx2.Client, path: str, **query: Any) -> list[Any]:
    """A list to its end, by the links."""
    answer = client.get(f"{HERE}{path}", params=query)
    found = []
    while True:
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if "next" not in answer.links:
            assert answer.json()["next"] is None
            return found
        answer = client.get(answer.links["next"]["url"])


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_lists_in_every_order(client: httpx2.Client, app: dict[str, str], limit: int) -> None:
    """Each page leads to the next; newest first where nothing is said."""
    names = [one for one in app if one != "elsewhere"]
    down = whole_list(client, "/tags", limit=limit, sort="-version")
    assert [one["name"] for one in down] == [f"1.{n}" for n in reversed(range(12))] + ["many", "built"]
    assert [one["name"] for one in whole_list(client, "/tags", limit=limit, sort="name")] == sorted(names)
    assert whole_list(client, "/tags", limit=limit)[0]["name"] == "many"
    found = whole_list(client, "/tags", limit=limit, q="1.1", sort="version")
    assert [one["name"] for one in found] == ["1.1", "1.10", "1.11"]
    assert [one["name"] for one in whole_list(client, "/tags", digest=app["1.3"])] == ["1.3"]
    assert whole_list(client, "/tags", digest=app["elsewhere"]) == []


def test_a_tag_says_what_it_is(client: httpx2.Client, app: dict[str, str]) -> None:
    """With platforms, who pushed it, whether it is signed; the number of all is told with a list."""
    found = get(client, "/tags/many")
    assert (found["digest"], found["kind"], found["pushed_by"], found["changes"]) == (app["many"], "index", "admin", 1)
    assert [(one["os"], one["architecture"], one["digest"]) for one in found["platforms"]] == [
        ("linux", "amd64", app["1.1"])
    ]
    assert get(client, "/tags/1.3")["signed"]
    assert not get(client, "/tags/1.4")["signed"]
    assert get(client, "/tags", limit=1)["total"] == 14
    assert get(client, "/tags", limit=1, q="1")["total"] is None


def test_a_manifest_with_everything(client: httpx2.Client, app: dict[str, str]) -> None:
    """Layers with commands, the config, the texts where they are asked for, parents; the tree of referrers."""
    found = get(client, "/manifests/built")
    assert [layer["command"] for layer in found["layers"]] == ["ADD file:1 in /", "RUN make"]
    assert found["config"]["image"]["labels"] == CONFIG["config"]["Labels"]
    assert (found["raw"], found["config"]["raw"]) == (None, None)
    raw = get(client, f"/manifests/{app['built']}", raw="true")
    assert Digest.of(raw["raw"].encode()) == Digest.parse(app["built"])
    assert json.loads(raw["config"]["raw"]) == CONFIG
    assert get(client, "/manifests/1.1")["parents"] == [{"digest": app["many"], "platform": "linux/amd64"}]
    for reference in ("1.3", app["1.3"]):
        tree = get(client, f"/manifests/{reference}/referrers")
        assert [one["kind"] for one in tree["referrers"]] == ["signature"]


def test_one_repository_is_as_lists_show_it(client: httpx2.Client, app: dict[str, str]) -> None:
    """Types and platforms too, once they have been gathered."""

    def is_the_same() -> bool:
        one = client.get(HERE.removesuffix("/-")).json()
        listed = client.get("/api/v1/repositories", params={"limit": 100}).json()["items"]
        return bool(one["platforms"] and one["artifact_types"]) and one in listed

    wait_until(is_the_same, what="the same entry")


def test_etags_hold_as_long_as_the_tag_does(client: httpx2.Client, app: dict[str, str]) -> None:
    """A pull changes what is shown, not what `If-Match` asks; a move does."""
    manifest(client, numbered(1), "moves")
    shown = client.get(f"{HERE}/tags/moves").headers["etag"]
    again = client.get(f"{HERE}/tags/moves", headers={"if-none-match": shown})
    assert again.status_code == 304
    content, headers = {"digest": app["1.2"]}, {"if-match": shown}
    assert client.put(f"{HERE}/tags/moves", json=content, headers=headers).json()["digest"] == app["1.2"]
    assert client.put(f"{HERE}/tags/moves", json=content, headers=headers).status_code == 412
    assert client.delete(f"{HERE}/tags/moves", headers={"if-match": shown}).status_code == 412
    history = get(client, "/tags/moves/history")["items"]
    assert [(one["number"], one["digest"], one["previous"], one["changed_by"]) for one in history] == [
        (2, app["1.2"], app["1.1"], "admin"),
        (1, app["1.1"], None, "admin"),
    ]
    assert client.delete(f"{HERE}/tags/moves").json()["tags"] == [{"name": "moves", "digest": app["1.2"]}]
    assert client.delete(f"{HERE}/tags/moves").json()["missing"] == ["moves"]
    assert client.get(f"{HERE}/tags/moves").status_code == 404
    assert client.put(f"{HERE}/tags/moves", json={"digest": app["1.1"]}).status_code == 200
    assert client.delete(f"{HERE}/tags/moves").status_code == 200
    assert [one["tag"] for one in get(client, "/history", limit=5)["items"]] == ["moves"] * 5


def test_removal_with_a_dry_run(client: httpx2.Client, app: dict[str, str]) -> None:
    """What is named goes; the dry run changes nothing."""
    digest = manifest(client, numbered(50), "a")
    manifest(client, numbered(50), "b")
    manifest(client, index(describe(numbered(50))), "parent")
    planned = client.post(f"{HERE}/delete-tags?dry_run=true", json={"tags": ["a", "none"]}).json()
    assert planned["same_digest"] == [{"name": "b", "digest": digest}]
    assert (planned["dry_run"], planned["untagged"], planned["missing"]) == (True, [], ["none"])
    parent = get(client, "/tags/parent")["digest"]
    planned = client.delete(f"{HERE}/manifests/{digest}?dry_run=true").json()
    assert (planned["tags"], planned["parents"]) == (["a", "b"], [parent])
    assert get(client, "/tags/a")["digest"] == digest
    assert client.post(f"{HERE}/delete-tags", json={"tags": ["a", "parent"]}).json()["same_digest"] is None
    assert client.delete(f"{HERE}/manifests/{digest}").json()["tags"] == ["b"]
    assert client.delete(f"{HERE}/manifests/{digest}").status_code == 404


WRONG = [
    ("GET", "/tags?sort=id", "sort"),
    ("GET", "/tags?limit=0", "limit"),
    ("GET", "/tags?limit=101", "limit"),
    ("GET", "/tags?digest=sha256:1", "digest"),
    ("GET", "/tags?after=x", "after"),
    ("GET", "/tags?pushed_by=admin", "pushed_by"),
    ("GET", "/tags?q=a&q=b", "q"),
    ("GET", "/tags/-x", "tag"),
    ("GET", "/history?after=W10", "after"),
    ("GET", "/manifests/sha256:1", "digest"),
    ("DELETE", "/manifests/latest", "digest"),
    ("DELETE", "/tags/v1?dry_run=perhaps", "dry_run"),
]


@pytest.mark.parametrize(("method", "path", "field"), WRONG)
def test_sec_026_bad_input_names_its_field(
    client: httpx2.Client, app: dict[str, str], method: str, path: str, field: str
) -> None:
    """400, and nothing that is not documented is filtered or sorted by."""
    answer = client.request(method, f"{HERE}{path}")
    assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text


BODIES: list[tuple[str, str, Any, str]] = [
    ("PUT", "/tags/x", {}, "digest"),
    ("PUT", "/tags/x", {"digest": "sha256:1"}, "digest"),
    ("PUT", "/tags/x", {"digest": f"sha256:{'0' * 64}", "pushed_by": "ann"}, "pushed_by"),
    ("POST", "/delete-tags", {"tags": []}, "tags"),
    ("POST", "/delete-tags", {"tags": ["a"] * 101}, "tags"),
    ("POST", "/delete-tags", {"tags": ["-a"]}, "tags[0]"),
    ("POST", "/delete-tags", {"tags": ["a"], "repository": OTHER}, "repository"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), BODIES)
def test_sec_020_only_what_is_documented_is_taken(
    client: httpx2.Client, app: dict[str, str], method: str, path: str, body: Any, field: str
) -> None:
    """Every other field is refused by its name."""
    answer = client.request(method, f"{HERE}{path}", json=body)
    assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text
    assert client.get(f"{HERE}/tags/x").status_code == 404


def test_a_cursor_of_another_order_is_refused(client: httpx2.Client, app: dict[str, str]) -> None:
    """It would be compared with what it cannot be compared with."""
    for sort, other in (("name", "pushed"), ("pushed", "version"), ("version", "pushed")):
        cursor = get(client, "/tags", limit=1, sort=sort)["next"]
        answer = client.get(f"{HERE}/tags", params={"sort": other, "after": cursor})
        assert (answer.status_code, answer.json()["field"]) == (400, "after")


def test_sec_022_what_another_repository_holds_is_missing_here(client: httpx2.Client, app: dict[str, str]) -> None:
    """By digest or tag, to read, set or remove: 404 like for what is nowhere, and nothing changes."""
    digest = app["elsewhere"]
    nowhere = f"sha256:{'0' * 64}"
    before = client.get(f"/api/v1/repositories/{OTHER}/-/tags/v1").json()
    for method, path, body in (
        ("GET", "/manifests/{}", None),
        ("GET", "/manifests/{}?raw=true", None),
        ("DELETE", "/manifests/{}", None),
        ("DELETE", "/manifests/{}?dry_run=true", None),
        ("PUT", "/tags/stolen", "{}"),
    ):
        answers = []
        for one in (digest, nowhere):
            content = None if body is None else {"digest": one}
            answer = client.request(method, f"{HERE}{path.format(one)}", json=content)
            answers.append((answer.status_code, answer.text.replace(one, "DIGEST")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert get(client, f"/manifests/{digest}/referrers")["referrers"] == []
    assert client.get(f"{HERE}/tags/stolen").status_code == 404
    assert client.get(f"/api/v1/repositories/{OTHER}/-/tags/v1").json() == before
