"""Other products' lists: their shapes, every page of them by number and by the next address, names in any escaping."""

from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from tests.core.test_manifest import encoded, image, index
from tests.reliability.client import expect
from tests.running import Registry

NAMES = ("acme/app", "acme/deep/er/one", *(f"many/r{number:02}" for number in range(25)))
TAGS = [f"v1.{number}" for number in range(12)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """An open server with some repositories, one of which has tags, an index, and a referrer."""
    registry = Registry.start(tmp_path_factory.mktemp("views") / "data")
    with registry.client() as found:
        for name in NAMES:
            put(found, name, "latest", encoded(index(annotations={"of": name})), OCI_INDEX)
        fill(found)
        yield found
    registry.kill()


def put(client: httpx2.Client, name: str, reference: str, content: bytes, kind: str) -> None:
    """Push a manifest."""
    expect(client.put(f"/v2/{name}/manifests/{reference}", content=content, headers={"content-type": kind}), 201)


def fill(client: httpx2.Client) -> None:
    """An image for two platforms with twelve tags, and a signature of it."""
    for content in (b"{}", b"x"):
        path = f"/v2/acme/app/blobs/uploads/?digest={Digest.of(content)}"
        expect(client.post(path, content=content), 201)
    children = []
    for architecture in ("amd64", "arm64"):
        child = encoded(image(annotations={"for": architecture}))
        put(client, "acme/app", str(Digest.of(child)), child, OCI_MANIFEST)
        platform = {"os": "linux", "architecture": architecture}
        children.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(Digest.of(child)),
                "size": len(child),
                "platform": platform,
            }
        )
    content = encoded(index(manifests=children))
    for tag in TAGS:
        put(client, "acme/app", tag, content, OCI_INDEX)
    subject = {"mediaType": OCI_INDEX, "digest": str(Digest.of(content)), "size": len(content)}
    referrer = encoded(index(subject=subject, annotations={"is": "a referrer"}))
    put(client, "acme/app", str(Digest.of(referrer)), referrer, OCI_INDEX)


def all_of_hub(client: httpx2.Client, path: str) -> list[dict[str, object]]:
    """Every entry, by the address of the next page."""
    found: list[dict[str, object]] = []
    url: str | None = path
    while url is not None:
        page = expect(client.get(url), 200).json()
        assert page["results"] and set(page) == {"count", "next", "previous", "results"}
        found += page["results"]
        url = page["next"]
        if url is not None:
            assert url.startswith("http")
            url = url.removeprefix(url[: url.index("/hub/")])
    return found


@pytest.mark.parametrize("root", ["/hub/v2/namespaces/many/repositories", "/hub/v2/repositories/many/"])
def test_repositories_as_docker_hub_lists_them(client: httpx2.Client, root: str) -> None:
    """In their order, each once, by the next address or by numbers; the old path is as good as the new one."""
    wanted = [f"r{number:02}" for number in range(25)]
    found = all_of_hub(client, f"{root}?ordering=name&page_size=10")
    assert [entry["name"] for entry in found] == wanted
    by_number = [
        entry["name"]
        for number in (1, 2, 3)
        for entry in expect(client.get(f"{root}?ordering=-name&page_size=10&page={number}"), 200).json()["results"]
    ]
    assert by_number == wanted[::-1]
    assert expect(client.get(f"{root}?page_size=3"), 200).json()["count"] == 25
    assert [entry["name"] for entry in all_of_hub(client, f"{root}?name=r1&ordering=name")] == wanted[10:20]
    entry = found[0]
    assert (entry["namespace"], entry["is_private"], entry["repository_type"]) == ("many", True, "image")
    assert str(entry["last_updated"]).endswith("Z")


def test_a_repository_and_its_tags_as_docker_hub_shows_them(client: httpx2.Client) -> None:
    """With the digest of the index and of each platform, which is more than is there."""
    one = expect(client.get("/hub/v2/repositories/acme/app/"), 200).json()
    assert (one["name"], one["namespace"], one["hub_user"], one["has_starred"]) == ("app", "acme", "acme", False)
    tags = all_of_hub(client, "/hub/v2/namespaces/acme/repositories/app/tags?page_size=5")
    assert {tag["name"] for tag in tags} == {"latest", *TAGS} and len(tags) == 13
    by_name = all_of_hub(client, "/hub/v2/namespaces/acme/repositories/app/tags?page_size=5&ordering=name")
    assert [tag["name"] for tag in by_name] == sorted(["latest", *TAGS])
    tag = expect(client.get("/hub/v2/repositories/acme/app/tags/v1.3"), 200).json()
    assert {tag["id"]} == {other["id"] for other in tags if other["name"] == "v1.3"}
    assert [(part["os"], part["architecture"]) for part in tag["images"]] == [("linux", "amd64"), ("linux", "arm64")]
    assert len({tag["digest"], *(part["digest"] for part in tag["images"])}) == 3
    assert {part["size"] for part in tag["images"]} != {0}


def test_harbors_projects_and_repositories(client: httpx2.Client) -> None:
    """Bare lists, with the total and the addresses of pages in headers."""
    assert client.get("/api/v2.0/ping").text == "Pong"
    answer = expect(client.get("/api/v2.0/projects?page_size=1"), 200)
    assert [entry["name"] for entry in answer.json()] == ["acme"] and answer.headers["x-total-count"] == "2"
    following = expect(client.get(answer.links["next"]["url"]), 200)
    assert [entry["name"] for entry in following.json()] == ["many"] and "next" not in following.links
    assert expect(client.get("/api/v2.0/projects/many"), 200).json()["repo_count"] == 25
    url, found = "/api/v2.0/projects/many/repositories?sort=name&page_size=10", []
    while url:
        answer = expect(client.get(url), 200)
        assert answer.headers["x-total-count"] == "25"
        found += [entry["name"] for entry in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert found == [f"many/r{number:02}" for number in range(25)]
    assert len(expect(client.get("/api/v2.0/repositories?page_size=100"), 200).json()) == len(NAMES)
    narrowed = expect(client.get("/api/v2.0/projects/many/repositories?q=name%3D~r0&page_size=100"), 200)
    assert len(narrowed.json()) == 10
    searched = expect(client.get("/api/v2.0/search?q=r07"), 200).json()
    assert searched["repository"][0]["repository_name"] == "many/r07"


def test_harbors_artifacts(client: httpx2.Client) -> None:
    """What stands for itself, with its tags and parts: neither the parts nor what refers to it."""
    root = "/api/v2.0/projects/acme/repositories/app/artifacts"
    answer = expect(client.get(f"{root}?page_size=1"), 200)
    assert answer.headers["x-total-count"] == "2"
    (artifact,) = answer.json()
    assert [tag["name"] for tag in artifact["tags"]] == sorted(TAGS) and artifact["type"] == "IMAGE"
    assert [part["platform"]["architecture"] for part in artifact["references"]] in (
        ["amd64", "arm64"],
        ["arm64", "amd64"],
    )
    (last,) = expect(client.get(answer.links["next"]["url"]), 200).json()
    assert [tag["name"] for tag in last["tags"]] == ["latest"]
    assert expect(client.get(f"{root}/v1.4"), 200).json() == artifact
    assert expect(client.get(f"{root}/{artifact['digest']}"), 200).json() == artifact
    child = artifact["references"][0]["child_digest"]
    assert expect(client.get(f"{root}/{child}"), 200).json()["digest"] == child
    assert [entry["id"] for entry in expect(client.get(f"{root}?q=tags=v1.4"), 200).json()] == [artifact["id"]]
    assert expect(client.get(f"{root}?q=tags=nil"), 200).json() == []
    assert len(expect(client.get(f"{root}?q=tags=*"), 200).json()) == 2
    tags = expect(client.get(f"{root}/v1.4/tags?page_size=5&page=2"), 200)
    assert [tag["name"] for tag in tags.json()] == sorted(TAGS)[5:10]


def once(text: str) -> str:
    """Escaped as a path is."""
    return quote(text, safe="")


def twice(text: str) -> str:
    """As Harbor's clients do."""
    return once(once(text))


@pytest.mark.parametrize("escaped", [str, once, twice])
def test_names_with_slashes_come_in_any_escaping(client: httpx2.Client, escaped: Callable[[str], str]) -> None:
    """As they are, escaped once, or twice."""
    name = escaped("deep/er/one")
    for path, field in (
        (f"/api/v2.0/projects/acme/repositories/{name}", "name"),
        (f"/api/v2.0/projects/acme/repositories/{name}/artifacts/latest", "repository_name"),
    ):
        assert expect(client.get(path), 200).json()[field] == "acme/deep/er/one"
    assert expect(client.get(f"/hub/v2/repositories/acme/{name}/tags/latest"), 200).json()["name"] == "latest"
    assert expect(client.get(f"/hub/v2/namespaces/acme/repositories/{name}"), 200).json()["name"] == "deep/er/one"


HUB, HARBOR = "/hub/v2/repositories/many", "/api/v2.0/projects/many/repositories"
WRONG = [
    (f"{HUB}?page=0", 400),
    (f"{HUB}?page=x", 400),
    (f"{HUB}?page=9999999", 400),
    (f"{HUB}?page=101&page_size=10", 400),
    (f"{HUB}?page=4&page_size=10", 404),
    (f"{HUB}?ordering=password_hash", 400),
    (f"{HUB}?after=nonsense", 400),
    (f"{HUB}?name={'x' * 300}", 400),
    (f"{HUB}/r00/tags/none", 404),
    (f"{HUB}/none", 404),
    ("/hub/v2/repositories/%ff/x", 400),
    ("/hub/v2/repositories/many/%25252Fx", 400),
    ("/hub/v2/none", 404),
    (f"{HARBOR}?sort=created_by", 400),
    (f"{HARBOR}?q=owner=x", 400),
    (f"{HARBOR}?q=name=[a~b]", 400),
    (f"{HARBOR}?page_size=-1", 400),
    (f"{HARBOR}?q=name%3Dx%00", 400),
    (f"{HARBOR}/r00/artifacts/none", 404),
    (f"{HARBOR}/r00/artifacts/sha256:0", 400),
    ("/api/v2.0/projects/NoName", 400),
    ("/api/v2.0/projects/none", 404),
    ("/api/v2.0/users", 404),
]


@pytest.mark.parametrize(("path", "status"), WRONG)
def test_bad_input_is_said_in_their_words(client: httpx2.Client, path: str, status: int) -> None:
    """SEC-026: only what is documented can be ordered by and filtered by; nothing is a 500."""
    answer = expect(client.get(path), status)
    body = answer.json()
    if path.startswith("/hub/"):
        assert body["message"]
    else:
        assert body["errors"][0]["code"] == {400: "BAD_REQUEST", 404: "NOT_FOUND"}[status]
    assert client.head(path).status_code == status


def test_nothing_is_written_there(client: httpx2.Client) -> None:
    """Other methods are refused, with those that there are."""
    for path in ("/hub/v2/repositories/many/r00", "/api/v2.0/projects/many/repositories/r00"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = expect(client.request(method, path), 405)
            assert answer.headers["allow"] == "GET, HEAD"
        assert urlsplit(path).path == path
