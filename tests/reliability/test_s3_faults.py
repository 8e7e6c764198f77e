"""Every S3 call of a push and of a pull goes wrong once, in each way: what was acknowledged is stored, what failed is
our fault and says so, a client that tries again gets through, and nothing is left behind.

The library's own retries are off here, so that each fault reaches the registry. (CR-17, CR-18, CR-19, CR-23, I1, I6,
I7, I8)
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from registry.api.asgi import App, Message, Receive, Scope, Send
from registry.app import Application, Stores
from registry.blobstore.ledger import LEASE_MS
from registry.blobstore.s3_client import Patience
from registry.config import load
from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.jobs.runner import Runner
from registry.jobs.upkeep import EXPIRE, REMOVE_DEAD, SWEEP, Graces, jobs_of
from registry.services.clock import SharedClock
from tests.backends.s3 import S3Service, service
from tests.blobstore.s3_world import MIN_PART, SMALL_PARTS, World
from tests.reliability.client import Image, offset_of
from tests.reliability.s3_proxy import Call, Fault, S3Proxy

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

TRIES = 12
DAY_MS = 86_400_000
IMPATIENT = Patience(connect_timeout_s=1, read_timeout_s=0.5, attempts=1)
HARMLESS = {Fault.SLOW}
"""Faults that a client of the registry does not notice."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Proxy, S3Service]]:
    """A proxy in front of versitygw."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw")) as running, S3Proxy(running.port) as proxy:
        yield proxy, running


class Refused(Exception):
    """An answer that a client has to do something about."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
        self.status = answer.status_code


@dataclass
class Client:
    """A client that keeps to the specification: what fails is tried again, from where the upload stands."""

    http: httpx2.AsyncClient
    world: World
    failures: Counter[int]

    async def ask(self, method: str, path: str, *wanted: int, **options: Any) -> httpx2.Response:
        """The answer with one of these statuses, after some failures that say so honestly."""
        for _ in range(TRIES):
            answer = await self.once(method, path, *wanted, **options)
            if answer is not None:
                return answer
        pytest.fail(f"{method} {path} did not come through")

    async def once(self, method: str, path: str, *wanted: int, **options: Any) -> httpx2.Response | None:
        """The answer, or None if it says that the server has failed. A pull that breaks off counts as that."""
        try:
            answer = await self.http.request(method, path, **options)
        except httpx2.TransportError:
            self.failures[0] += 1
            return None
        if answer.status_code in wanted:
            return answer
        self.failures[answer.status_code] += 1
        if answer.status_code == 409:
            # The session that failed could not even let go.
            self.world.ahead_ms += LEASE_MS + 1
            return None
        if answer.status_code < 500:
            raise Refused(answer)
        return None

    async def push(self, image: Image) -> None:
        """All of it, each blob in another way."""
        await self.upload(image.name, image.blobs[1], chunks=1)
        await self.upload(image.name, image.blobs[2], chunks=2)
        config = Digest.of(image.blobs[0])
        await self.ask("POST", f"/v2/{image.name}/blobs/uploads/?digest={config}", 201, content=image.blobs[0])
        headers = {"content-type": OCI_MANIFEST}
        await self.ask("PUT", f"/v2/{image.name}/manifests/latest", 201, content=image.manifest, headers=headers)

    async def upload(self, name: str, blob: bytes, *, chunks: int) -> None:
        """One blob; from the start where the upload is gone, which only a failure before may have caused."""
        for _ in range(TRIES):
            try:
                answer = await self.ask("POST", f"/v2/{name}/blobs/uploads/", 202)
                await self.finish(answer.headers["location"], blob, chunks=chunks)
            except Refused as refused:
                assert refused.status == 404 and self.failures, refused
                continue
            return
        pytest.fail("an upload did not come through")

    async def finish(self, location: str, blob: bytes, *, chunks: int) -> None:
        """The bytes of one upload, from where it stands."""
        step = -(-len(blob) // chunks)
        for _ in range(TRIES):
            offset = offset_of(await self.ask("GET", location, 204))
            if offset == len(blob):
                answer = await self.once("PUT", f"{location}?digest={Digest.of(blob)}", 201)
                if answer is not None:
                    return
                continue
            chunk = blob[offset : offset + step]
            place = {"content-range": f"{offset}-{offset + len(chunk) - 1}"}
            await self.once("PATCH", location, 202, 416, content=chunk, headers=place)
        pytest.fail(f"{location} did not come through")

    async def pull(self, image: Image) -> None:
        """I1, I4: everything, byte for byte."""
        stored = await self.ask("GET", f"/v2/{image.name}/manifests/latest", 200)
        assert stored.content == image.manifest
        for blob in image.blobs:
            path = f"/v2/{image.name}/blobs/{Digest.of(blob)}"
            await self.ask("HEAD", path, 200)
            assert (await self.ask("GET", path, 200)).content == blob
        part = await self.ask("GET", path, 206, headers={"range": "bytes=3-5"})
        assert part.content == blob[3:6]


@dataclass
class _Cutting:
    """An application whose unfinished answers are seen as connections that were cut."""

    inner: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def watched(message: Message) -> None:
            nonlocal is_whole
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        await self.inner(scope, receive, watched)
        if not is_whole:
            raise httpx2.RemoteProtocolError("the connection was cut")


@dataclass
class Bench:
    """A registry whose S3 service is behind the proxy."""

    client: Client
    world: World
    proxy: S3Proxy

    @classmethod
    @asynccontextmanager
    async def open(cls, proxy: S3Proxy, running: S3Service, folder: Path) -> AsyncIterator["Bench"]:
        """With parts of 5 MiB, and little patience."""
        proxy.begin(None)
        async with World.open(running, folder, part_sizes=SMALL_PARTS, patience=IMPATIENT) as world:
            world.location = replace(world.location, endpoint=f"http://127.0.0.1:{proxy.port}")
            store = world.backend.another()
            settings = load({"data": folder / "data", "open": True}, {}, None)
            application = Application(
                settings,
                Stores(world.database, store, SharedClock(world.database)),
                ports=[5000, 5001],
                announce=lambda: None,
            )
            transport = httpx2.ASGITransport(app=_Cutting(application.asgi))
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:5000", timeout=60) as http:
                yield cls(Client(http, world, Counter()), world, proxy)

    async def assert_tidy(self) -> None:
        """I8: when failed uploads have expired, dead objects are removed, and the sweep came twice with two days in
        between, what is in the bucket is what is live."""
        self.proxy.begin(None)
        graces = Graces(DAY_MS, 1, 0, DAY_MS, DAY_MS, DAY_MS)
        for kind in (EXPIRE, REMOVE_DEAD, SWEEP, SWEEP):
            self.world.ahead_ms += 3 * DAY_MS
            store = self.world.backend.store
            await Runner(self.world.database, jobs_of(store, graces), self.world.clock).run_now(kind)
        rows = await self.world.database.read(
            lambda connection: connection.execute(text("SELECT id, size FROM objects WHERE state = 'live'")).all()
        )
        live = {f"{row[0] % 256:02x}/{row[0]}": row[1] for row in rows}
        assert self.world.keys() == live
        assert self.world.multiparts() == []


def new_image(number: int) -> Image:
    """A config, a small blob, and one of two parts, that no other image has."""
    rng = random.Random(number)
    sizes = (20, 3000, MIN_PART + 100_000)
    return Image(f"faults/image-{number}", "latest", [rng.randbytes(size) for size in sizes])


@pytest.mark.parametrize("fault", Fault)
async def test_any_call_of_a_push_or_pull_may_go_wrong(
    proxy: tuple[S3Proxy, S3Service], tmp_path: Path, fault: Fault
) -> None:
    async with Bench.open(*proxy, tmp_path) as bench:
        client = bench.client
        image = new_image(0)
        await client.push(image)
        await client.pull(image)
        calls = list(bench.proxy.calls)
        assert {call.name for call in calls} >= {
            *("PutObject", "GetObject", "DeleteObject"),
            *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "HeadObject"),
        }
        assert not client.failures
        for index in range(len(calls)):
            image = new_image(index + 1)
            bench.proxy.begin(lambda call, index=index: fault if call.index == index else None)  # type: ignore[misc]
            await client.push(image)
            await client.pull(image)
            assert 404 not in client.failures, f"call {index}: {calls[index]}"
        assert set(client.failures) <= {0, 409, 500, 503}, client.failures
        assert bool(client.failures) != (fault in HARMLESS), client.failures
        await bench.assert_tidy()
        for index in range(len(calls) + 1):
            await client.pull(new_image(index))


async def test_an_outage_is_an_outage(proxy: tuple[S3Proxy, S3Service], tmp_path: Path) -> None:
    """While nothing gets through everything is 5xx, and afterwards all is as before."""
    async with Bench.open(*proxy, tmp_path) as bench:
        image = new_image(0)
        await bench.client.push(image)
        for fault in (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.RESET_BEFORE, Fault.ERROR_IN_200, Fault.TIMEOUT):
            bench.proxy.begin(lambda _call, fault=fault: fault)  # type: ignore[misc]
            digest = Digest.of(image.blobs[2])
            for method, path in (
                ("GET", f"/v2/{image.name}/blobs/{digest}"),
                ("POST", f"/v2/{image.name}/blobs/uploads/?digest={Digest.of(b'new')}"),
            ):
                answer = await bench.client.http.request(method, path, content=b"new" if method == "POST" else b"")
                assert answer.status_code == 503, f"{fault}: {answer.text}"
                assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
                assert int(answer.headers["retry-after"]) > 0
        bench.proxy.begin(None)
        await bench.client.pull(image)
        await bench.assert_tidy()


async def test_cr19_an_error_in_200_is_no_success(proxy: tuple[S3Proxy, S3Service], tmp_path: Path) -> None:
    """CR-19: for Complete that is how AWS says that it failed after it had begun to answer. With the retries of the
    library: it tries again, and the blob is there."""

    def choose(call: Call) -> Fault | None:
        completes = [each for each in proxy[0].calls if each.name == "CompleteMultipartUpload"]
        return Fault.ERROR_IN_200 if call.name == "CompleteMultipartUpload" and len(completes) == 1 else None

    async with Bench.open(*proxy, tmp_path) as bench:
        bench.world.patience = Patience(connect_timeout_s=1, read_timeout_s=2, attempts=3)
        store = bench.world.backend.another()
        proxy[0].begin(choose)
        blob = new_image(1).blobs[2]
        session = await store.create_upload("0" * 31 + "1", 77)
        await session.write([blob])
        info = await session.commit(Digest.of(blob))
        assert [call.name for call in proxy[0].calls].count("CompleteMultipartUpload") == 2
        assert await store.confirm(info.key) == info
