"""A NUL in whatever a client can send: PostgreSQL has no text with one, and no request may fail for that."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from tests.backends.postgresql import Cluster
from tests.core.test_manifest import encoded
from tests.reliability.client import expect
from tests.running import ADMIN_PASSWORD, Registry

NUL = "%00"
DIGEST = str(Digest.of(b"x"))
NAME = "team/app"
PATHS = (
    f"/v2/_catalog?last={NUL}",
    f"/v2/_catalog?n={NUL}",
    f"/v2/{NAME}/tags/list?last=a{NUL}",
    f"/v2/{NAME}/referrers/{DIGEST}?artifactType=a/b{NUL}",
    f"/v2/{NAME}/referrers/{DIGEST}?last={NUL}",
    f"/v2/{NAME}{NUL}/tags/list",
    f"/v2/{NAME}/manifests/v1{NUL}",
    f"/v2/{NAME}/blobs/{DIGEST}{NUL}",
    f"/v2/{NAME}/blobs/uploads/{NUL}",
    f"/token?scope=repository:{NAME}{NUL}:pull",
    f"/token?service={NUL}",
    f"/token?account={NUL}&client_id={NUL}&offline_token=true",
)
OFFLINE = {"access_type": "offline", "client_id": "\0"}
FORMS = (
    {"grant_type": "password", "username": "admin\0", "password": "x"},
    {"grant_type": "password", "username": "admin", "password": "x\0"},
    {
        "grant_type": "password",
        "username": "admin",
        "password": ADMIN_PASSWORD,
        "access_type": "offline",
        "client_id": "\0",
    },
    {"grant_type": "refresh_token", "refresh_token": "\0"},
    {"grant_type": "\0"},
)


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, start_registry: Callable[..., Registry]) -> Registry:
    """A closed server on each database."""
    if request.param == "sqlite":
        return start_registry("--sign-up", is_open=False)
    cluster: Cluster = request.getfixturevalue("cluster")
    return start_registry("--sign-up", is_open=False, database=cluster.url(cluster.empty()))


def put_blob(client: httpx2.Client, content: bytes) -> dict[str, Any]:
    """Push a blob; returns digest and size."""
    digest = str(Digest.of(content))
    expect(client.post(f"/v2/{NAME}/blobs/uploads/?digest={digest}", content=content), 201)
    return {"digest": digest, "size": len(content)}


def put_manifest(client: httpx2.Client, document: dict[str, Any]) -> httpx2.Response:
    """Push a manifest by digest."""
    payload = encoded(document)
    path = f"/v2/{NAME}/manifests/{Digest.of(payload)}"
    return client.put(path, content=payload, headers={"content-type": document["mediaType"]})


def test_a_nul_is_never_our_failure(server: Registry) -> None:
    """I6: in paths, queries, forms, names and credentials."""
    with server.client(("admin", ADMIN_PASSWORD)) as client:
        put_blob(client, b"x")
        for path in PATHS:
            assert client.get(path).status_code < 500, path
        for query in (f"mount={DIGEST}&from=a{NUL}", f"mount={DIGEST}{NUL}", f"digest={DIGEST}{NUL}"):
            assert client.post(f"/v2/{NAME}/blobs/uploads/?{query}").status_code < 500, query
    with server.client() as client:
        for form in FORMS:
            assert client.post("/token", data=form).status_code < 500, form
        for user in ({"name": "a\0b", "password": "long enough"}, {"name": "ab", "password": "long enough\0"}):
            assert client.post("/api/v1/users", json=user).status_code < 500, user
    for name, secret in (("admin\0", "x"), ("\0", "\0"), ("admin", "\0")):
        with server.client((name, secret)) as client:
            assert client.get("/token").status_code == 401
    assert "Traceback" not in server.output()


def test_a_nul_in_content_is_content(server: Registry) -> None:
    """Annotations, platforms and configs may hold one; what is stored is what was pushed, and lists show it."""
    with server.client(("admin", ADMIN_PASSWORD)) as client:
        fields = {"architecture": "a\0b", "os": "\0", "author": "\0me\0", "config": {"User": "\0", "Cmd": ["\0"]}}
        config = {"mediaType": OCI_CONFIG, **put_blob(client, json.dumps(fields).encode())}
        noted = {"no\0te": "a\0b"}
        image = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "annotations": noted}
        digest = expect(put_manifest(client, image), 201).headers["docker-content-digest"]
        about = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(encoded(image))}
        expect(put_manifest(client, {**image, "subject": about}), 201)
        child = {**about, "platform": {"os": "\0", "architecture": "x\0"}}
        expect(put_manifest(client, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}), 201)
        [shown] = expect(client.get(f"/v2/{NAME}/referrers/{digest}"), 200).json()["manifests"]
        assert shown["annotations"] == noted
        assert client.get(f"/v2/{NAME}/manifests/{digest}").content == encoded(image)
