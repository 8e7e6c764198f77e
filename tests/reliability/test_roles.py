"""A role, a token's limits and the form of a credential: what each of them opens, and that it opens nothing else."""

import base64
import itertools
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from registry.core.digest import Digest
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.raw import Raw
from tests.reliability.tenants import (
    ADMIN,
    ALICE,
    BOB,
    CANARY_DIGEST,
    CATALOG,
    NOBODY,
    OWN,
    PRIVATE,
    PUBLIC,
    SHARED,
    WAYS,
    Person,
    basic,
    personal_token,
    put_manifest,
    scope,
)
from tests.running import Registry

OVERWRITES = ["latest", "v1", "V1", "LATEST", "v2"]


@pytest.fixture(scope="module")
def overwriting(house: Registry) -> Image:
    """alice's second image, without its tag: the same config and layer, another manifest."""
    with ALICE.client(house) as alice:
        layers = [SHARED.blobs[1], b"a second layer"]
        Pusher(alice).push_blob(SHARED.name, layers[1], way="whole")
        expect(put_manifest(alice, SHARED, "latest"), 201)
    return Image(SHARED.name, "v2", [b"{}", *layers])


def tags_of(registry: Registry) -> dict[str, str]:
    """Each tag of the shared repository and its digest."""
    with ALICE.client(registry) as alice:
        names = alice.get(f"/v2/{SHARED.name}/tags/list").json()["tags"]
        heads = {name: alice.head(f"/v2/{SHARED.name}/manifests/{name}") for name in names}
    return {name: answer.headers["docker-content-digest"] for name, answer in heads.items()}


@pytest.mark.parametrize("way", WAYS)
def test_sec_014_a_reader_overwrites_nothing(house: Registry, overwriting: Image, way: str) -> None:
    """SEC-014: who may pull sets no tag, new or old, in whatever case, by PUT of a tag, by `?tag=`, or by digest."""
    before = tags_of(house)
    with BOB.client(house, way, scope(SHARED.name), scope("alice/new")) as bob:
        refused = {"basic": 403, "bearer": 401}[way]
        assert bob.get(f"/v2/{SHARED.name}/manifests/v1").status_code == 200
        digest = Digest.of(overwriting.manifest)
        for tag in OVERWRITES:
            assert put_manifest(bob, overwriting, tag).status_code == refused
            assert put_manifest(bob, overwriting, str(digest), f"?tag={tag}").status_code == refused
            assert put_manifest(bob, SHARED, str(Digest.of(SHARED.manifest)), f"?tag={tag}").status_code == refused
            assert bob.delete(f"/v2/{SHARED.name}/manifests/{tag}").status_code == refused
            assert put_manifest(bob, SHARED, tag, name="alice/new").status_code == refused
        assert put_manifest(bob, overwriting, str(digest)).status_code == refused
        assert bob.delete(f"/v2/{SHARED.name}/blobs/{Digest.of(SHARED.blobs[1])}").status_code == refused
        assert bob.post(f"/v2/{SHARED.name}/blobs/uploads/").status_code == refused
    assert tags_of(house) == before


def test_sec_014_a_reader_does_not_win_a_race(house: Registry, overwriting: Image) -> None:
    """SEC-014: while the owner sets a tag for the first time, again and again a new one, a reader who sends the same
    requests never gets 201, and each tag is the owner's."""
    answers: list[int] = []
    ended = threading.Event()

    def reader() -> None:
        with BOB.client(house) as bob:
            for number in itertools.cycle(range(20)):
                if ended.is_set():
                    return
                answers.append(put_manifest(bob, overwriting, f"race{number}").status_code)

    readers = [threading.Thread(target=reader) for _ in range(3)]
    for thread in readers:
        thread.start()
    with ALICE.client(house) as alice:
        for number in range(20):
            expect(put_manifest(alice, SHARED, f"race{number}"), 201)
    ended.set()
    for thread in readers:
        thread.join()
    assert set(answers) == {403}
    found = tags_of(house)
    assert {found[f"race{number}"] for number in range(20)} == {str(Digest.of(SHARED.manifest))}


PATHS = [
    "/v2/_catalog",
    "/v2/_catalog/",
    "//v2/_catalog",
    "/V2/_catalog",
    "/v2/_CATALOG",
    "/v2/%5fcatalog",
    "/v2/%5Fcatalog",
    "/v2/./_catalog",
    "/v2/x/../_catalog",
    "/v2/%2e/_catalog",
    "/v2//_catalog",
    "/v2/_catalog?n=1",
    "/v2/_catalog?n=1&last=a",
    "/v2/_catalog;x=1",
    "/v2/_catalog%00",
    "/v2/_catalog%2f",
    "/v2/_catalog%20",
    "/v2/_catalog.json",
    "/v2%2f_catalog",
    "/v2\\_catalog",
    "/%762/_catalog",
    "/./v2/_catalog",
    "http://127.0.0.1/v2/_catalog",
    "/v2/_catalog/../_catalog",
    "/v1/_catalog",
    "/v2/_catalog/tags/list",
    "/v2/*/tags/list",
    "/api/v1/repositories",
    "/v1/search?q=alice",
]
METHODS = ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "SEARCH"]


OPEN_LISTS = ("/api/v1/repositories", "/v1/search?q=alice")


@pytest.mark.parametrize("path", PATHS)
def test_sec_028_nobody_lists_anything(house: Registry, path: str) -> None:
    """SEC-028: without a credential no spelling of the catalog's path and no method of HTTP gives names away."""
    for method in METHODS:
        with Raw(house.port) as raw:
            raw.request(f"{method} {path}", "Content-Length: 0", "Connection: close")
            answer = raw.answer(head=method == "HEAD")
        # What is public may be looked for without an account, and nothing else is found.
        wanted = (200, 400, 401, 403, 404, 405) if path in OPEN_LISTS else (400, 401, 404, 405)
        assert answer.status in wanted, (method, path)
        shown = set(re.findall(rb"alice/[a-z-]+", answer.body))
        assert shown <= ({b"alice/public"} if path in OPEN_LISTS else set()), (method, path)


def pages(client: httpx2.Client, path: str, key: str, count: int) -> list[str]:
    """A list, page by page, each of which has exactly `count` names as long as others follow."""
    found: list[str] = []
    link: str | None = f"{path}?n={count}"
    while link is not None:
        answer = expect(client.get(link), 200)
        names = answer.json()[key]
        found += names
        following = answer.links.get("next")
        link = None if following is None else following["url"]
        assert len(names) == count or link is None
        assert link is None or urlsplit(link).path == path
    return found


@pytest.mark.parametrize("way", WAYS)
def test_sec_028_lists_show_what_may_be_pulled(house: Registry, way: str) -> None:
    """SEC-028: the catalog is cut to each caller, on whatever page, and ends where theirs ends."""
    everything = [PRIVATE.name, PUBLIC.name, SHARED.name, OWN.name]
    limited = personal_token(house, ALICE, "--scope", "read", "--repository", PUBLIC.name)
    below = personal_token(house, ALICE, "--scope", "read", "--repository", "alice/*", "--repository", OWN.name)
    visible = {
        ADMIN: everything,
        ALICE: everything[:3],
        BOB: [PUBLIC.name, SHARED.name, OWN.name],
        limited: [PUBLIC.name],
        below: everything[:3],
    }
    if way == "bearer":
        visible[NOBODY] = [PUBLIC.name]
    for person, names in visible.items():
        with person.client(house, way, CATALOG) as client:
            assert client.get("/v2/_catalog").json()["repositories"] == names
            for count in (1, 2, 3):
                assert pages(client, "/v2/_catalog", "repositories", count) == names
            # A page that begins behind a name that may not be seen says nothing of it.
            after = client.get(f"/v2/_catalog?last={PRIVATE.name}").json()["repositories"]
            assert after == [name for name in names if name > PRIVATE.name]


@pytest.mark.parametrize("way", WAYS)
def test_sec_028_tags_are_listed_to_who_may_pull(house: Registry, way: str) -> None:
    """SEC-028: and a personal token that is for another repository lists none."""
    limited = personal_token(house, ALICE, "--scope", "read", "--repository", PUBLIC.name)
    visible = {ALICE: (PRIVATE, PUBLIC, SHARED), BOB: (PUBLIC, SHARED), limited: (PUBLIC,)}
    if way == "bearer":
        visible[NOBODY] = (PUBLIC,)
    for person, image in itertools.product(visible, (PRIVATE, PUBLIC, SHARED)):
        path = f"/v2/{image.name}/tags/list"
        with person.client(house, way, scope(image.name)) as client:
            if image in visible[person]:
                assert pages(client, path, "tags", 1) == client.get(path).json()["tags"]
            else:
                assert client.get(path).status_code == {"basic": 404, "bearer": 401}[way]


LIMITED = Image("alice/limited", "v1", [b"{}", b"content"])
ALLOWED = {
    "read": {"ping", "pull", "catalog"},
    "write": {"ping", "pull", "push", "catalog"},
    "delete": {"ping", "delete"},
    "read,delete": {"ping", "pull", "delete", "catalog"},
    "write,delete": {"ping", "pull", "push", "delete", "catalog"},
    "admin": {"ping", "pull", "push", "delete", "catalog"},
}


def deeds(registry: Registry, person: Person, way: str) -> set[str]:
    """What somebody with this credential can do, each thing tried for real."""
    name = "alice/limited"
    scopes = (scope(name), scope(PRIVATE.name), CATALOG)
    with person.client(registry, way, *scopes) as client:
        statuses = {
            "ping": client.get("/v2/").status_code,
            "pull": client.get(f"/v2/{name}/manifests/v1").status_code,
            "push": put_manifest(client, LIMITED, "v2").status_code,
            "delete": client.delete(f"/v2/{name}/manifests/gone").status_code,
            "catalog": client.get("/v2/_catalog").status_code,
            "other": client.get(f"/v2/{PRIVATE.name}/manifests/v1").status_code,
        }
    assert set(statuses.values()) <= {200, 201, 202, 401, 403, 404}
    return {deed for deed, status in statuses.items() if status < 300}


@pytest.fixture(scope="module")
def limited(house: Registry) -> Image:
    """The repository that the tokens are for."""
    with ALICE.client(house) as alice:
        Pusher(alice).push(LIMITED, way="whole")
    return LIMITED


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scopes", ALLOWED)
def test_sec_061_a_token_has_the_same_rights_in_each_form(
    house: Registry, limited: Image, way: str, scopes: str
) -> None:
    """SEC-061: as the password with Basic, and turned into an access token, a personal token opens what its scopes say,
    in the one repository that it is for."""
    with ALICE.client(house) as alice:
        expect(put_manifest(alice, LIMITED, "gone"), 201)
    person = personal_token(house, ALICE, "--scope", scopes, "--repository", LIMITED.name)
    assert deeds(house, person, way) == ALLOWED[scopes]


def test_sec_061_an_access_token_lists_no_more_than_what_it_was_got_with(house: Registry, limited: Image) -> None:
    """SEC-061: turned into an access token, a personal token for one repository shows no other one of its account, on
    no page and in no list; one that was got for a repository lists nothing, though it was got with the password."""
    person = personal_token(house, ALICE, "--scope", "read,write", "--repository", LIMITED.name)
    catalog = "registry:catalog:*"
    one = scope(LIMITED.name)
    for shown, wanted in ((person.basic, catalog), (person.basic, one), (ALICE.basic, one)):
        query = {"service": f"127.0.0.1:{house.port}", "scope": wanted}
        token = expect(httpx2.get(f"{house.url}/token", params=query, headers=shown), 200).json()["token"]
        with httpx2.Client(base_url=house.url, headers={"authorization": f"Bearer {token}"}) as client:
            assert expect(client.get("/api/v1/me"), 200).json()["name"] == ALICE.name
            for path in ("/repositories", "/stars", "/explore", "/api/v1/repositories", "/api/v2.0/repositories"):
                assert PRIVATE.name not in client.get(path).text, path
            found = client.get("/repositories").text
            assert (LIMITED.name in found) == (wanted == catalog)


@pytest.fixture(scope="module")
def credentials(house: Registry) -> dict[str, str]:
    """One secret of each kind, all of alice."""
    login = {"service": f"127.0.0.1:{house.port}", "offline_token": "true", "scope": scope(PRIVATE.name)}
    answer = expect(httpx2.get(f"{house.url}/token", params=login, headers=ALICE.basic), 200).json()
    return {
        "password": ALICE.secret,
        "personal": personal_token(house, ALICE).secret,
        "access": answer["token"],
        "refresh": answer["refresh_token"],
    }


RIGHT = {("password", "Basic"), ("personal", "Basic"), ("access", "Bearer")}
KINDS = ("password", "personal", "access", "refresh")


def encoded_basic(name: str, secret: str) -> str:
    """The value after the scheme."""
    return base64.b64encode(f"{name}:{secret}".encode()).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_sec_061_each_credential_counts_in_its_own_form_only(
    house: Registry, credentials: dict[str, str], kind: str
) -> None:
    """SEC-061: Basic for passwords and personal tokens, Bearer for access tokens, the scheme in whatever case;
    nothing counts in a query, in a cookie, or in a header of another name."""
    secret = credentials[kind]
    values = {"Basic": encoded_basic("alice", secret), "Bearer": secret}
    path = f"/v2/{PRIVATE.name}/manifests/v1"
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        for scheme, value in values.items():
            expected = 200 if (kind, scheme) in RIGHT else 401
            for written in (scheme, scheme.lower(), scheme.upper()):
                headers = {"authorization": f"{written} {value}"}
                assert client.get(path, headers=headers).status_code == expected, (kind, written)
            for header in ("proxy-authorization", "x-authorization", "x-forwarded-authorization", "x-api-key"):
                assert client.get(path, headers={header: f"{scheme} {value}"}).status_code == 401
        for field in ("token", "access_token", "authorization", "api_key", "password", "account"):
            assert client.get(path, params={field: secret}).status_code == 401
            assert client.get(path, headers={"cookie": f"{field}={secret}; session={secret}"}).status_code == 401
        for value in (secret, f"Token {secret}", f"Basic {secret}", f"Basic {encoded_basic('', secret)}"):
            assert client.get(path, headers={"authorization": value}).status_code == 401
        assert client.get(path, headers=basic("bob", secret)).status_code == 401
        assert client.post(path, params={"_method": "GET"}, data={"access_token": secret}).status_code in (401, 405)


def forms(credentials: dict[str, str]) -> Iterator[list[str]]:
    """Pairs of Authorization headers, right and wrong ones in both orders."""
    right = f"Basic {encoded_basic('alice', credentials['password'])}"
    bearer = f"Bearer {credentials['access']}"
    bob = f"Basic {encoded_basic('bob', BOB.secret)}"
    for one, other in itertools.product((right, bearer, bob, "Basic x", ""), repeat=2):
        yield [f"Authorization: {one}", f"Authorization: {other}"]
        yield [f"Authorization: {one}, {other}"]


def test_sec_061_two_credentials_are_none(house: Registry, credentials: dict[str, str]) -> None:
    """SEC-061: which of them would count? Two headers, or two in one, are refused, and never anonymous either."""
    for headers in forms(credentials):
        for path in (f"/v2/{PRIVATE.name}/blobs/{CANARY_DIGEST}", "/v2/", "/token"):
            with Raw(house.port) as raw:
                raw.request(f"GET {path}", *headers, "Connection: close")
                assert raw.answer().status == 401, headers
