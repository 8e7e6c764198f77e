"""What an S3 service may refuse, and what it is told of how to keep objects: on versitygw, with users of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.blobstore import s3
from registry.blobstore.s3_access import require_permissions
from registry.blobstore.s3_client import Credentials, S3Client
from registry.blobstore.s3_keys import Keys
from registry.core.digest import Digest
from registry.core.errors import Unavailable
from tests.backends.s3 import ACCESS_KEY, PERMISSIONS, SECRET, S3Service, service
from tests.blobstore.s3_world import MIN_PART, QUICK, SMALL_PARTS, World
from tests.blobstore.suite import new_id, put, read, sample
from tests.reliability.s3_proxy import Call, S3Proxy

PREFIX = "some/prefix/"
STORING = {
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "alias/depotry",
}
SAYS_HOW_TO_STORE = {"PutObject", "CreateMultipartUpload"}


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture(scope="module")
def somebody(versitygw: S3Service) -> Credentials:
    """A user who may do what the policy of a bucket says."""
    return versitygw.new_user("somebody")


def but(lacking: str) -> list[str]:
    """All permissions but one."""
    return [each for each in PERMISSIONS if each != lacking]


@pytest.mark.parametrize("lacking", [*([each] for each in PERMISSIONS), [*PERMISSIONS], []])
def test_each_permission_that_is_missing_is_named(
    versitygw: S3Service, somebody: Credentials, lacking: list[str]
) -> None:
    """CR-24: all of them at once, and those of the manual are enough. One object at most stays where nobody may remove
    it, however often it is tried."""
    bucket = versitygw.new_bucket()
    versitygw.allow(bucket, "somebody", *(each for each in PERMISSIONS if each not in lacking), prefix=PREFIX)
    client = S3Client(versitygw.location(bucket), somebody, patience=QUICK)
    key = Keys(PREFIX).check("permissions")
    for _ in range(2):
        if lacking:
            with pytest.raises(Unavailable) as caught:
                require_permissions(client, key)
            assert caught.value.facts["permissions"] == lacking
            assert f"for lack of {', '.join(lacking)} (see s3_access_key_id" in caught.value.message
        else:
            require_permissions(client, key)
    assert set(versitygw.keys(bucket)) == ({key} if lacking == ["s3:DeleteObject"] else set())
    assert versitygw.multiparts(bucket) == []
    client.close()


@pytest.mark.anyio
@pytest.mark.parametrize("lacking", PERMISSIONS)
async def test_readiness_notices_what_is_taken_away(
    versitygw: S3Service, somebody: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """Also what only tidying up needs, once in a while; and that it is back."""
    async with World.open(versitygw, tmp_path) as world:
        bucket, now = world.location.bucket, 1000.0
        monkeypatch.setattr(s3, "monotonic", lambda: now)
        world.credentials = somebody
        versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
        store = world.backend.another()
        await store.check()
        versitygw.allow(bucket, "somebody", *but(lacking), prefix=PREFIX)
        now += s3.PERMISSIONS_TRIED_S
        for _ in range(2):
            with pytest.raises(Unavailable, match=lacking):
                await store.check()
        versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
        await store.check()
        assert world.keys("checks/") == {}


@pytest.mark.anyio
async def test_a_check_costs_three_requests_between_two_trials(versitygw: S3Service, tmp_path: Path) -> None:
    """A service takes money for each."""
    async with World.open(versitygw, tmp_path) as world:
        await world.backend.store.check()
        before = world.calls()
        await world.backend.store.check()
        assert world.calls() - before == {"PutObject": 1, "GetObject": 1, "DeleteObject": 1}


def call_each(client: S3Client) -> Iterator[Unavailable]:
    """What every kind of question gets as an answer."""
    for call in (lambda: client.size("key"), lambda: client.open("key"), lambda: client.objects("")):
        with pytest.raises(Unavailable) as caught:
            call()
        yield caught.value


def test_cr24_another_region_is_said(versitygw: S3Service) -> None:
    """The library would go on in the right one, and sign URLs for clients for the wrong one."""
    client = S3Client(replace(versitygw.location(), region="eu-central-1"), versitygw.credentials, patience=QUICK)
    for failure in call_each(client):
        assert "the bucket is in another region" in failure.message and "see region=" in failure.message
    client.close()


def test_cr24_a_token_that_does_not_count_is_said(versitygw: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets 400 without a reason from HEAD. (versitygw takes no tokens at all.)"""
    location = versitygw.location()
    for name, value in (("ACCESS_KEY_ID", ACCESS_KEY), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", "old")):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = S3Client(location, patience=QUICK)
    for failure in call_each(client):
        assert "the credentials have expired (see s3_access_key_id)" in failure.message
    client.close()


@contextmanager
def elsewhere(status: int) -> Iterator[str]:
    """The URL of a server that sends everybody to https."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("location", "https://s3.example.com/")
            self.send_header("content-length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_: object) -> None:
            """Nowhere."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 307])
def test_cr24_another_address_is_said(versitygw: S3Service, status: int) -> None:
    with elsewhere(status) as endpoint:
        location = replace(versitygw.location(), endpoint=endpoint)
        client = S3Client(location, versitygw.credentials, patience=QUICK)
        for failure in call_each(client):
            assert "at another address (see region= and endpoint= in storage)" in failure.message
        client.close()


@pytest.mark.anyio
async def test_how_to_store_is_said_with_everything_that_is_written(versitygw: S3Service, tmp_path: Path) -> None:
    """Class and encryption, signed, with each request that begins an object, and with no other: services refuse them
    there. versitygw takes them, and keeps everything in the one way that it knows."""
    with S3Proxy(versitygw.port) as proxy:
        async with World.open(versitygw, tmp_path, part_sizes=SMALL_PARTS) as world:
            world.location = replace(
                world.location,
                endpoint=f"http://127.0.0.1:{proxy.port}",
                storage_class="STANDARD_IA",
                sse="aws:kms",
                sse_kms_key_id="alias/depotry",
            )
            store = world.backend.another()
            await store.check()
            content = sample(MIN_PART + 100)
            for blob in (b"small", content):
                info = await put(store, blob)
                assert await read(store, info.key) == blob
            upload_id, object_id = new_id(), 77
            session = await store.create_upload(upload_id, object_id)
            await session.write([b"a tail"])
            await session.suspend()
            session = await store.resume_upload(upload_id, object_id)
            await session.commit(Digest.of(b"a tail"))
        calls = list(proxy.calls)
    names = {call.name for call in calls}
    assert names >= SAYS_HOW_TO_STORE | {"UploadPart", "CompleteMultipartUpload", "GetObject", "DeleteObject"}
    assert any(".tail." in call.key for call in calls if call.name == "PutObject")
    for call in calls:
        assert told(call) == (STORING if call.name in SAYS_HOW_TO_STORE else {}), call
        assert set(told(call)) <= signed(call), call


def told(call: Call) -> dict[str, str]:
    return {name: value for name, value in call.headers.items() if name in STORING}


def signed(call: Call) -> set[str]:
    """Names of the headers that the signature covers."""
    listed = call.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    return set(listed.split(";"))
