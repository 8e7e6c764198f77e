"""Servers on an S3 service with users, with buckets as names of hosts, and with other addresses for clients."""

import contextlib
import json
import os
import random
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from registry.blobstore.s3_client import Credentials
from registry.core.digest import Digest
from tests.backends.s3 import PERMISSIONS, S3Service, service
from tests.certificates import make_pair
from tests.reliability.client import Image, Pusher, expect, offset_of, pull_whole
from tests.reliability.s3_proxy import S3Proxy
from tests.running import Registry, wait_until

MIB = 1024 * 1024
PREFIX = "registry/"
DOMAIN = "s3.localhost"
RESOLVER = f"""
import socket

known = socket.getaddrinfo


def getaddrinfo(host, *others, **named):
    return known("127.0.0.1" if str(host).endswith(".{DOMAIN}") else host, *others, **named)


socket.getaddrinfo = getaddrinfo
"""
"""What stands in for the DNS of whoever gives buckets a name: a module that each process of Python loads."""
Start = Callable[..., Registry]


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module, with buckets in the path and as names."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw"), domain=DOMAIN) as running:
        yield running


@pytest.fixture(scope="module")
def somebody(versitygw: S3Service) -> Credentials:
    """A user who may do what the policy of a bucket says."""
    return versitygw.new_user("somebody")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers on the same data folder; whatever still runs at the end is killed."""
    started: list[Registry] = []

    def node(storage: str, *flags: str, env: dict[str, str]) -> Registry:
        started.append(Registry.start(tmp_path / "data", "--storage", storage, *flags, env=env))
        return started[-1]

    yield node
    for registry in started:
        registry.kill()


def env_of(credentials: Credentials) -> dict[str, str]:
    """Variables with these, for a registry."""
    return {"AWS_ACCESS_KEY_ID": credentials.access_key_id, "AWS_SECRET_ACCESS_KEY": credentials.secret}


def but(*lacking: str) -> list[str]:
    """All permissions but these."""
    return [each for each in PERMISSIONS if each not in lacking]


@pytest.mark.parametrize(
    "lacking",
    [
        ["s3:PutObject"],
        ["s3:GetObject"],
        ["s3:DeleteObject"],
        ["s3:ListBucket"],
        ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
        list(PERMISSIONS),
    ],
    ids=["write", "read", "delete", "list", "change", "anything"],
)
def test_cr24_who_may_not_do_all_is_refused_at_the_start(
    versitygw: S3Service, somebody: Credentials, tmp_path: Path, start: Start, lacking: list[str]
) -> None:
    """With one line that says what is missing and where it is set. Nothing is claimed, nothing removed, by an
    installation that is new nor by one that has content; and once it is allowed, the server has everything."""
    bucket = versitygw.new_bucket()
    storage = versitygw.url(bucket, PREFIX)
    versitygw.allow(bucket, "somebody", *but(*lacking), prefix=PREFIX)
    left = {f"{PREFIX}checks/permissions"} if lacking == ["s3:DeleteObject"] else set()
    assert_refused(storage, tmp_path / "data", somebody, lacking)
    assert versitygw.keys(bucket).keys() == left
    owned = start(storage, env=versitygw.env())
    image = Image.random("kept/app", "latest", random.Random(1))
    with owned.client() as client:
        Pusher(client).push(image, way="put")
    assert owned.stop() == 0
    before = versitygw.keys(bucket)
    assert_refused(storage, tmp_path / "data", somebody, lacking)
    after = versitygw.keys(bucket)
    assert (after.keys() - before.keys(), before.items() - after.items()) == (left, set())
    versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
    with start(storage, env=env_of(somebody)).client() as client:
        pull_whole(client, image)
    assert versitygw.keys(bucket).keys() == before.keys() - left


def assert_refused(storage: str, data: Path, credentials: Credentials, lacking: list[str]) -> None:
    """A server does not start, and says why."""
    ended = subprocess.run(
        [sys.executable, "-m", "registry", "serve", "--data", str(data), "--storage", storage, "--port", "0", "--open"],
        env={**os.environ, **env_of(credentials)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("depotry: ")]
    assert (ended.returncode, len(lines)) == (2, 1), ended.stderr
    assert f"access was refused for lack of {', '.join(lacking)} (see s3_access_key_id" in lines[0]
    assert "the policy of the bucket in storage" in lines[0] and "Traceback" not in ended.stderr


def unavailable(answer: httpx2.Response) -> bool:
    """Whether it did not work, which then is our failure and says so; never that something is not there."""
    assert answer.status_code < 300 or answer.status_code == 503, f"{answer.request.url}: {answer.text}"
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0
        if answer.request.method != "HEAD":
            assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    return answer.status_code == 503


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacking", "failing"),
    [
        ("s3:PutObject", {"whole", "small", "large"}),
        ("s3:GetObject", {"pull"}),
        ("s3:DeleteObject", {"cancel"}),
        ("s3:ListBucket", {"cancel"}),
        ("s3:ListBucketMultipartUploads", {"cancel"}),
        ("s3:AbortMultipartUpload", set()),
        ("anything", {"whole", "small", "large", "pull", "cancel"}),
    ],
)
def test_i6_what_is_taken_away_while_it_serves_is_an_outage(
    versitygw: S3Service, somebody: Credentials, start: Start, lacking: str, failing: set[str]
) -> None:
    """What needs it is 503, the rest goes on; readiness says what is missing. When it is back, every client gets
    through with what it had begun, and nothing is left over. (CR-24, I7, I8)"""
    bucket = versitygw.new_bucket()
    versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
    flags = ("--removal-grace-s", "0", "--collect-interval-s", "1")
    node = start(versitygw.url(bucket, PREFIX), *flags, env=env_of(somebody))
    image = Image.random("kept/app", "latest", random.Random(1))
    small, large, whole, gone = (os.urandom(size) for size in (5000, 17 * MIB, 7000, 9000))
    with node.client() as client:
        pusher = Pusher(client)
        pusher.push(image, way="put")
        for blob in (small, large, gone):
            location = expect(client.post("/v2/kept/app/blobs/uploads/"), 202).headers["location"]
            pusher.uploads[location] = blob
            expect(client.patch(location, content=blob[:2000]), 202)
        at = {blob: location for location, blob in pusher.uploads.items()}
        versitygw.allow(bucket, "somebody", *([] if lacking == "anything" else but(lacking)), prefix=PREFIX)

        def send(blob: bytes) -> httpx2.Response:
            place = {"content-range": f"2000-{len(blob) - 1}"}
            return client.patch(at[blob], content=blob[2000:], headers=place)

        pulled = f"/v2/kept/app/blobs/{Digest.of(image.blobs[1])}"
        answers = {
            "pull": client.get(pulled),
            "whole": client.post(f"/v2/kept/app/blobs/uploads/?digest={Digest.of(whole)}", content=whole),
            "small": send(small),
            "large": send(large),
            "cancel": client.delete(at[gone]),
        }
        assert {name for name, answer in answers.items() if unavailable(answer)} == failing
        unavailable(client.head(pulled))
        expect(client.get("/v2/kept/app/manifests/latest"), 200)
        for name, blob in (("small", small), ("large", large)):
            expected = 2000 if name in failing else len(blob)
            assert offset_of(expect(client.get(at[blob]), 204)) == expected
        if lacking in ("anything", "s3:PutObject", "s3:GetObject", "s3:DeleteObject"):
            wait_until(lambda: client.get("/readyz").status_code == 503, what="an end of readiness")
            problem = client.get("/readyz").json()["problems"]["storage"]
            assert "access was refused for lack of s3:" in problem and (lacking == "anything" or lacking in problem)

        versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
        wait_until(lambda: client.get("/readyz").status_code == 200, what="readiness")
        if "cancel" in failing:
            expect(client.delete(at[gone]), 204)
        expect(client.get(at[gone]), 404)
        for blob in (small, large):
            pusher.resume(at[blob])
        pusher.push_blob("kept/app", whole, way="whole")
        pull_whole(client, image)
        kept = sorted(len(blob) for blob in (small, large, whole, *image.blobs))
        wait_until(lambda: sorted(objects_of(versitygw, bucket, lacking)) == kept, what="no rest")
        wait_until(lambda: not versitygw.keys(bucket, f"{PREFIX}checks/"), what="no check")
        assert versitygw.multiparts(bucket) == []
    assert "a request failed" not in node.output()


def objects_of(versitygw: S3Service, bucket: str, lacked: str) -> list[int]:
    """Sizes of what a registry keeps. Tails that could not be removed when their upload went on are for a sweep."""
    keys = versitygw.keys(bucket, f"{PREFIX}objects/")
    return [size for key, size in keys.items() if lacked != "s3:DeleteObject" or ".tail." not in key]


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
def test_a_bucket_may_be_a_name(tmp_path: Path, versitygw: S3Service, start: Start, secured: bool) -> None:
    """Everything of a push and a pull, also by redirect, and by TLS with a certificate for all buckets."""
    pair = make_pair(tmp_path, "s3", hosts=(f"*.{DOMAIN}",)) if secured else None
    with contextlib.ExitStack() as stack:
        running = (
            stack.enter_context(service("versitygw", tmp_path / "s3", tls=pair, domain=DOMAIN)) if pair else versitygw
        )
        bucket = running.new_bucket()
        trusted = f"&ca_file={pair.cert}" if pair else ""
        address = f"{urlsplit(running.endpoint).scheme}://{DOMAIN}:{running.port}"
        storage = running.url(bucket, PREFIX, address) + "&addressing=virtual" + trusted
        node = start(storage, "--storage-redirect", env=running.env() | resolving(tmp_path))
        image = image_of_parts()
        with node.client() as client:
            Pusher(client).push(image, way="stream")
            for blob in image.blobs:
                url = expect(client.get(f"/v2/{image.name}/blobs/{Digest.of(blob)}"), 307).headers["location"]
                assert url.startswith(f"{address.replace(DOMAIN, f'{bucket}.{DOMAIN}')}/{PREFIX}objects/")
                assert fetched(url, verify=pair.trusting() if pair else True) == blob
        assert node.stop() == 0
        with start(storage, env=running.env() | resolving(tmp_path)).client() as client:
            pull_whole(client, image)
        assert len(running.keys(bucket, f"{PREFIX}objects/")) == len(image.blobs)


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_clients_are_sent_to_the_address_that_they_know(
    tmp_path: Path, versitygw: S3Service, start: Start, addressing: str
) -> None:
    """The URL is signed for that address: the service takes it there and not at the other one."""
    bucket = versitygw.new_bucket()
    host = "127.0.0.1" if addressing == "path" else DOMAIN
    with S3Proxy(versitygw.port) as outside:
        storage = versitygw.url(bucket, PREFIX, f"http://{host}:{versitygw.port}") + f"&addressing={addressing}"
        public = f"http://{host}:{outside.port}"
        flags = ("--storage-redirect", "--storage-public-endpoint", public)
        node = start(storage, *flags, env=versitygw.env() | resolving(tmp_path))
        image = image_of_parts()
        with node.client() as client:
            Pusher(client).push(image, way="stream")
            assert outside.calls == []
            for blob in image.blobs:
                url = expect(client.get(f"/v2/{image.name}/blobs/{Digest.of(blob)}"), 307).headers["location"]
                below = f"{public}/{bucket}" if addressing == "path" else public.replace(DOMAIN, f"{bucket}.{DOMAIN}")
                assert url.startswith(f"{below}/{PREFIX}objects/")
                assert fetched(url) == blob
                assert asked(url.replace(str(outside.port), str(versitygw.port))).status_code == 403
        assert {call.name for call in outside.calls} == {"GetObject"}


def image_of_parts() -> Image:
    """A config, and a layer of more than one part."""
    return Image("named/app", "latest", [b"{}" + os.urandom(8), os.urandom(17 * MIB)])


def resolving(folder: Path) -> dict[str, str]:
    """Variables for a process that finds names below DOMAIN."""
    place = folder / "resolver"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(RESOLVER, encoding="utf-8")
    return {"PYTHONPATH": str(place)}


def asked(url: str, verify: ssl.SSLContext | bool = True) -> httpx2.Response:
    """The answer to a client who finds the name of the host at this machine."""
    parts = urlsplit(url)
    with httpx2.Client(verify=verify, timeout=60) as client:
        return client.get(
            parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl(),
            headers={"host": parts.netloc},
            extensions={"sni_hostname": parts.hostname or ""},
        )


def fetched(url: str, verify: ssl.SSLContext | bool = True) -> bytes:
    """What is there."""
    return expect(asked(url, verify), 200).content


@contextmanager
def role_of_the_machine(*each: Credentials) -> Iterator[tuple[str, list[int]]]:
    """A service as containers of AWS have one: it gives out these credentials in turn, the last ones again and again,
    all but those for a moment. Yields its URL, and which ones it gave."""
    given: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = min(len(given), len(each) - 1)
            given.append(number)
            # The library gets new ones when these count for ten minutes more, or less.
            life = timedelta(hours=1) if number == len(each) - 1 else timedelta(minutes=5)
            answer = {
                "AccessKeyId": each[number].access_key_id,
                "SecretAccessKey": each[number].secret,
                "Token": None,
                "Expiration": (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nowhere."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/role", given
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_role_of_the_machine_is_asked_again(versitygw: S3Service, somebody: Credentials, start: Start) -> None:
    """Credentials that end are replaced while it serves, also where URLs are signed. (Without a token: versitygw takes
    none.)"""
    bucket = versitygw.new_bucket()
    versitygw.allow(bucket, "somebody", *PERMISSIONS, prefix=PREFIX)
    with role_of_the_machine(somebody, versitygw.credentials) as (role, given):
        env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": role, "AWS_EC2_METADATA_DISABLED": "true"}
        node = start(versitygw.url(bucket, PREFIX), "--storage-redirect", env=env)
        assert given
        versitygw.allow(bucket, "somebody")
        image = Image.random("role/app", "latest", random.Random(1))
        with node.client() as client:
            Pusher(client).push(image, way="put")
            for blob in image.blobs:
                url = expect(client.get(f"/v2/{image.name}/blobs/{Digest.of(blob)}"), 307).headers["location"]
                assert fetched(url) == blob
        assert given[-1] == 1
