"""What one tenant has is not there for another, whatever it knows of it."""

import itertools
import re
from collections.abc import Callable, Iterator

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX
from tests.core.test_manifest import encoded
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.tenants import (
    ALICE,
    BOB,
    CANARY,
    CANARY_DIGEST,
    NOBODY,
    OWN,
    PRIVATE,
    PUBLIC,
    SHARED,
    SHOWN,
    SHOWN_DIGEST,
    UNKNOWN_DIGEST,
    WAYS,
    Person,
    add_user,
    code,
    put_manifest,
    scope,
    wait_for_changes,
)
from tests.running import Registry, wait_until

GRANT_BOUND_S = 8.0
"""A revocation holds everywhere within 5 s; the rest is for a busy machine."""


@pytest.fixture(params=WAYS)
def bob(house: Registry, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """bob, with a token that he asked everything for."""
    names = (PRIVATE.name, PUBLIC.name, SHARED.name, OWN.name, "bob/taken", "bob/none", "alice/missing")
    with BOB.client(house, request.param, *map(scope, names)) as client:
        yield client


def nothing_of_alice(client: httpx2.Client, name: str = "bob/taken", digest: Digest = CANARY_DIGEST) -> None:
    """The blob is not in a repository of somebody else, for whom it is not in alice's either."""
    for repository in (name, PRIVATE.name):
        for method in ("GET", "HEAD"):
            answer = client.request(method, f"/v2/{repository}/blobs/{digest}")
            assert answer.status_code in (401, 403, 404)
            assert CANARY not in answer.content


SOURCES = {
    "": (202,),
    "&from=alice/private": (202,),
    "&from=alice/missing": (202,),
    "&from=bob/own": (202,),
    "&from=bob/taken": (202,),
    "&from=bob/none": (202,),
    "&from=nobody/knows": (202, 401),
    "&from=": (202, 401),
    "&from=..": (202, 401),
    "&from=ALICE/private": (202, 401),
    "&from=alice%2Fprivate": (202,),
    "&from=bob/own&from=alice/private": (202,),
    "&from=alice/private&from=bob/own": (202,),
    "&from=alice/private%00": (202, 401),
    "&from=http://x/alice/private": (202, 401),
}


@pytest.mark.parametrize("source", SOURCES)
def test_sec_010_a_mount_needs_the_right_to_pull(bob: httpx2.Client, source: str) -> None:
    """SEC-010: whoever knows a digest gets an upload to send the bytes to, never the blob, as where nobody has it."""
    answers = [
        bob.post(f"/v2/bob/taken/blobs/uploads/?mount={digest}{source}") for digest in (CANARY_DIGEST, UNKNOWN_DIGEST)
    ]
    assert {answer.status_code for answer in answers} <= set(SOURCES[source])
    assert answers[0].status_code == answers[1].status_code
    nothing_of_alice(bob)


def test_sec_010_a_token_must_name_the_source(house: Registry) -> None:
    """SEC-010, decision 17: a token that says nothing of the source is told what to ask for."""
    with BOB.client(house, "bearer", scope("bob/taken")) as client:
        answer = client.post(f"/v2/bob/taken/blobs/uploads/?mount={CANARY_DIGEST}&from={PRIVATE.name}")
        assert answer.status_code == 401
        assert f"repository:{PRIVATE.name}:pull" in answer.headers["www-authenticate"]
        nothing_of_alice(client)


@pytest.mark.parametrize("source", ["", f"&from={PUBLIC.name}"])
def test_sec_010_what_may_be_pulled_may_be_mounted(house: Registry, bob: httpx2.Client, source: str) -> None:
    """SEC-010, the other side: a blob that everybody may pull is linked, with and without a source."""
    name = f"bob/mounted{len(source)}"
    with BOB.client(
        house, "basic" if "Basic" in bob.headers["authorization"] else "bearer", scope(name), scope(PUBLIC.name, "pull")
    ) as client:
        expect(client.post(f"/v2/{name}/blobs/uploads/?mount={SHOWN_DIGEST}{source}"), 201)
        assert client.get(f"/v2/{name}/blobs/{SHOWN_DIGEST}").content == SHOWN


def test_sec_010_without_a_login_nothing_is_mounted(house: Registry) -> None:
    """SEC-010: nobody may push, so nobody mounts, whatever the source."""
    with NOBODY.client(house) as bare, NOBODY.client(house, "bearer", scope("bob/taken"), scope(PUBLIC.name)) as known:
        for client, digest in itertools.product((bare, known), (SHOWN_DIGEST, CANARY_DIGEST)):
            for source in ("", f"&from={PUBLIC.name}", f"&from={PRIVATE.name}"):
                assert client.post(f"/v2/bob/taken/blobs/uploads/?mount={digest}{source}").status_code == 401


def test_sec_010_a_digest_is_no_content(bob: httpx2.Client) -> None:
    """SEC-010: a whole upload, or the end of one, with nothing or with other bytes is no blob of that digest."""
    whole = f"/v2/bob/taken/blobs/uploads/?digest={CANARY_DIGEST}"
    assert bob.post(whole).status_code == 202
    assert bob.post(whole, content=CANARY[:-1]).status_code == 400
    for content in (b"", CANARY[:-1], CANARY + b"x"):
        location = expect(bob.post("/v2/bob/taken/blobs/uploads/"), 202).headers["location"]
        answer = bob.put(f"{location}?digest={CANARY_DIGEST}", content=content)
        assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    nothing_of_alice(bob)


def test_sec_010_a_reference_is_no_content(house: Registry, bob: httpx2.Client) -> None:
    """SEC-010: a manifest that names the blob, an index that names it or alice's manifest as a child, and a referrer
    bring nothing of alice's here."""
    copied = Image("bob/taken", "copied", PRIVATE.blobs)
    assert code(expect(put_manifest(bob, copied), 404)) == "MANIFEST_BLOB_UNKNOWN"
    theirs = Digest.of(PRIVATE.manifest)
    children = [
        {"mediaType": "application/octet-stream", "digest": str(CANARY_DIGEST), "size": len(CANARY)},
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(theirs),
            "size": len(PRIVATE.manifest),
        },
    ]
    for index in (
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": children[1]},
    ):
        headers = {"content-type": OCI_INDEX}
        answer = bob.put("/v2/bob/taken/manifests/borrowed", content=encoded(index), headers=headers)
        assert answer.status_code in (201, 404)
        nothing_of_alice(bob)
        assert bob.get(f"/v2/bob/taken/manifests/{theirs}").status_code == 404
    with ALICE.client(house) as alice:
        assert alice.get(f"/v2/{PRIVATE.name}/referrers/{theirs}").json()["manifests"] == []


UPLOAD_NAMES = (PRIVATE.name, "bob/taken", SHARED.name, "alice/missing")


def test_sec_050_an_upload_belongs_to_who_began_it(house: Registry, bob: httpx2.Client) -> None:
    """SEC-050: nobody else does anything with its id, under whatever name, and the upload goes on as it stood."""
    with ALICE.client(house) as alice:
        location = expect(alice.post(f"/v2/{PRIVATE.name}/blobs/uploads/"), 202).headers["location"]
        expect(alice.patch(location, content=CANARY[:100]), 202)
        upload_id = location.rpartition("/")[2]
        for name in UPLOAD_NAMES:
            path = f"/v2/{name}/blobs/uploads/{upload_id}"
            for method, query in (
                ("GET", ""),
                ("HEAD", ""),
                ("PATCH", ""),
                ("PUT", f"?digest={CANARY_DIGEST}"),
                ("DELETE", ""),
            ):
                content = b"bob" if method in ("PATCH", "PUT") else None
                answer = bob.request(method, path + query, content=content)
                assert answer.status_code in (401, 403, 404), (method, path)
        for name in (PUBLIC.name, SHARED.name, "alice/missing"):
            assert alice.get(f"/v2/{name}/blobs/uploads/{upload_id}").status_code == 404
        assert alice.get(location).headers["range"] == "0-99"
        expect(alice.put(f"{location}?digest={CANARY_DIGEST}", content=CANARY[100:]), 201)
        # What it became is nobody else's either.
        assert bob.put(f"/v2/bob/taken/blobs/uploads/{upload_id}?digest={CANARY_DIGEST}").status_code == 404
    nothing_of_alice(bob)


def test_sec_050_a_role_on_the_repository_opens_no_uploads_of_others(house: Registry) -> None:
    """SEC-050: two who may both push to one repository do not see each other's uploads."""
    carol = Person("carol", "carol has a password too")
    add_user(house, carol)
    with ALICE.client(house) as alice, carol.client(house) as client:
        location = expect(alice.post("/v2/alice/both/blobs/uploads/"), 202).headers["location"]
        house.command("repository", "grant", "alice/both", "carol", "write")
        wait_until(lambda: client.get("/v2/alice/both/tags/list").status_code == 200, what="the grant")
        own = expect(client.post("/v2/alice/both/blobs/uploads/"), 202).headers["location"]
        for somebody, theirs in ((client, location), (alice, own)):
            assert somebody.get(theirs).status_code == 404
            assert somebody.patch(theirs, content=b"x").status_code == 404
            assert somebody.put(f"{theirs}?digest={Digest.of(b'x')}", content=b"x").status_code == 404
            assert somebody.delete(theirs).status_code == 404
        assert alice.delete(location).status_code == client.delete(own).status_code == 204


def test_sec_050_ids_cannot_be_guessed(house: Registry) -> None:
    """SEC-050: 128 bits, of which none repeats itself or stands still."""
    with ALICE.client(house) as alice:
        locations = [expect(alice.post("/v2/alice/ids/blobs/uploads/"), 202).headers["location"] for _ in range(200)]
        for location in locations:
            alice.delete(location)
    ids = [int(location.rpartition("/")[2], 16) for location in locations]
    assert len(set(ids)) == 200
    for bit in range(128):
        # A fair coin gives 100 of 200, and less than 45 or more than 155 once in 10^14 tries.
        assert 45 <= sum(upload_id >> bit & 1 for upload_id in ids) <= 155


def test_sec_062_a_location_holds_nothing_but_a_random_id(house: Registry) -> None:
    """SEC-062: there is no state in a URL that could be taken apart and put together anew: other ids and other names
    are refused."""
    with ALICE.client(house) as alice:
        first, second = (
            expect(alice.post(f"/v2/{name}/blobs/uploads/"), 202).headers["location"]
            for name in ("alice/one", "alice/two")
        )
        for location in (first, second):
            assert re.fullmatch(r"/v2/alice/(one|two)/blobs/uploads/[0-9a-f]{32}", location)
        expect(alice.patch(first, content=b"0123"), 202)
        upload_id = first.rpartition("/")[2]
        swapped = [second.rpartition("/")[0] + "/" + upload_id, first.replace("alice/one", "alice/one/x")]
        swapped += [first[:-1], first + "0", first[:-1] + ("0" if first[-1] != "0" else "1"), first[:-32] + "A" * 32]
        swapped += [first[:-32] + upload_id.upper(), f"{first[:-16]}/{first[-16:]}", first.replace("/one/", "/")]
        for path in swapped:
            if path != first:
                assert alice.get(path).status_code in (400, 403, 404, 405), path
                assert alice.patch(path, content=b"x").status_code in (400, 403, 404, 405), path
        assert alice.get(f"{first}?_state=x&uuid={second.rpartition('/')[2]}").headers["range"] == "0-3"


FORBIDDEN = {
    "manifest by tag": ("GET", f"/v2/{PRIVATE.name}/manifests/v1"),
    "manifest by digest": ("GET", f"/v2/{PRIVATE.name}/manifests/{Digest.of(PRIVATE.manifest)}"),
    "manifest HEAD": ("HEAD", f"/v2/{PRIVATE.name}/manifests/v1"),
    "blob": ("GET", f"/v2/{PRIVATE.name}/blobs/{CANARY_DIGEST}"),
    "blob HEAD": ("HEAD", f"/v2/{PRIVATE.name}/blobs/{CANARY_DIGEST}"),
    "tags": ("GET", f"/v2/{PRIVATE.name}/tags/list"),
    "referrers": ("GET", f"/v2/{PRIVATE.name}/referrers/{CANARY_DIGEST}"),
}
CONDITIONS: tuple[dict[str, str], ...] = (
    {},
    {"range": "bytes=0-9"},
    {"if-none-match": f'"{CANARY_DIGEST}"'},
    {"if-none-match": "*"},
)


@pytest.mark.parametrize("route", FORBIDDEN)
def test_sec_060_what_returns_bytes_is_denied_by_default(house: Registry, route: str) -> None:
    """SEC-060: nobody, the wrong account, the wrong scope and no token at all get neither bytes nor a word of them,
    nor a 304 for knowing the digest."""
    method, path = FORBIDDEN[route]
    shown: list[dict[str, str]] = [
        {},
        NOBODY.headers(house, "bearer", scope(PRIVATE.name)),
        BOB.basic,
        BOB.headers(house, "bearer", scope(PRIVATE.name)),
        BOB.headers(house, "bearer"),
        ALICE.headers(house, "bearer"),
        ALICE.headers(house, "bearer", scope(PRIVATE.name, "push")),
        ALICE.headers(house, "bearer", scope(PUBLIC.name)),
        Person("alice", BOB.secret).basic,
        {"authorization": "Bearer x.y.z"},
        {"authorization": "Bearer"},
        {"authorization": "x"},
    ]
    for headers, condition in itertools.product(shown, CONDITIONS):
        answer = httpx2.request(method, house.url + path, headers={**headers, **condition})
        is_empty = route == "referrers" and answer.status_code == 200 and answer.json()["manifests"] == []
        assert answer.status_code in (401, 404) or (headers == BOB.basic and is_empty), (headers, answer.text)
        assert CANARY[:26] not in answer.content
        assert "docker-content-digest" not in answer.headers and "etag" not in answer.headers


@pytest.mark.parametrize("ended", ["blob", "manifest", "repository", "role"])
def test_sec_006_no_server_remembers_what_has_ended(start_registry: Callable[..., Registry], ended: str) -> None:
    """SEC-006: what was deleted or taken away in A is gone on every server, also after somebody reads the blob in B.
    Content at once, rights within 5 s."""
    outside = ("--external-url", "http://hub.test")
    one = start_registry(*outside, is_open=False)
    other = start_registry(*outside, data=one.data, is_open=False)
    add_user(one, ALICE)
    add_user(one, BOB)
    image, twin = Image("alice/a", "v1", [b"{}", CANARY]), Image("alice/b", "v1", [b"{}", CANARY])
    with ALICE.client(one) as alice:
        Pusher(alice).push(twin, way="whole")
        for blob in image.blobs:
            Pusher(alice).push_blob(image.name, blob, way="whole")
        if ended != "blob":
            expect(put_manifest(alice, image), 201)
    for image_name in (image.name, twin.name):
        one.command("repository", "grant", image_name, "bob", "read")
    path = f"/v2/{image.name}/manifests/v1" if ended == "manifest" else f"/v2/{image.name}/blobs/{CANARY_DIGEST}"

    def may_pull(registry: Registry) -> bool:
        return httpx2.get(registry.url + path, headers=BOB.basic).status_code == 200

    wait_until(lambda: may_pull(one) and may_pull(other), what="the grants")
    for registry in (one, other):
        wait_for_changes(registry, BOB)
    clients = [
        BOB.client(registry, way, scope(image.name), scope(twin.name)) for registry in (one, other) for way in WAYS
    ]
    for client in clients:
        assert client.get(path).status_code == client.head(path).status_code == 200
    end(one, ended, image)

    def is_gone() -> bool:
        for registry in (one, other):
            reviving = httpx2.get(f"{registry.url}/v2/{twin.name}/blobs/{CANARY_DIGEST}", headers=ALICE.basic)
            assert reviving.content == CANARY
        statuses = {client.request(method, path).status_code for client in clients for method in ("GET", "HEAD")}
        return statuses <= {401, 404}

    if ended in ("repository", "role"):
        wait_until(is_gone, limit_s=GRANT_BOUND_S, what="the end of what was granted")
    for _ in range(10):
        assert is_gone()
    for client in clients:
        client.close()


def end(registry: Registry, what: str, image: Image) -> None:
    """Delete it, or take it away."""
    if what == "role":
        registry.command("repository", "revoke", image.name, "bob")
    elif what == "repository":
        registry.command("repository", "delete", "--yes", image.name)
    else:
        noun = f"blobs/{CANARY_DIGEST}" if what == "blob" else f"manifests/{Digest.of(image.manifest)}"
        with ALICE.client(registry) as alice:
            expect(alice.delete(f"/v2/{image.name}/{noun}"), 202)
