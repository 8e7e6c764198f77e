"""A client that keeps to the specification, remembers what it was promised, and goes on after anything."""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.core.test_manifest import CONFIG, LAYER, encoded
from tests.running import wait_until

CHUNK = 64 * 1024
WAYS = ("whole", "put", "stream", "chunks")
"""How a blob is pushed: see `Pusher.push_blob`."""
LOST = (httpx2.TransportError,)
"""What a request ends with when the server dies in the middle of it."""
BUSY = (409, 503)
"""Statuses that ask for the same request again, a little later."""


class Unexpected(AssertionError):
    """An answer with another status than the test wants."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(f"{answer.status_code} to {answer.request.method} {answer.request.url}: {answer.text[:500]}")
        self.answer = answer


@dataclass
class Image:
    """An image to push: its blobs, and the manifest that names them."""

    name: str
    tag: str
    blobs: list[bytes]

    @classmethod
    def random(cls, name: str, tag: str, rng: random.Random) -> "Image":
        """A config and up to three layers of up to 300 KB that no other image has."""
        sizes = [rng.randrange(1, 300_000) for _ in range(rng.randrange(1, 4))]
        return cls(name, tag, [b"{}" + rng.randbytes(8), *(rng.randbytes(size) for size in sizes)])

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes."""
        entries = [{"mediaType": LAYER, "digest": str(Digest.of(blob)), "size": len(blob)} for blob in self.blobs]
        config = {**entries[0], "mediaType": CONFIG}
        return encoded({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": entries[1:]})


@dataclass
class Pusher:
    """Pushes, and notes each open upload and each acknowledged blob, so that it can go on after anything."""

    client: httpx2.Client
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Location of each upload that is not finished, and the content that it shall become."""
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    """Repository and content of each blob whose 201 has come."""

    def push(self, image: Image, *, way: str) -> None:
        """Push an image; raises what the connection raised if an answer got lost."""
        for blob in image.blobs:
            self.push_blob(image.name, blob, way=way)
        self.put_manifest(image)

    def put_manifest(self, image: Image) -> None:
        """The last step of a push."""
        path = f"/v2/{image.name}/manifests/{image.tag}"
        expect(self.client.put(path, content=image.manifest, headers={"content-type": OCI_MANIFEST}), 201)

    def push_blob(self, name: str, blob: bytes, *, way: str) -> None:
        """`whole` (one POST), `put` (POST and PUT with the body), `stream` (as docker does) or `chunks`."""
        digest = Digest.of(blob)
        if way == "whole":
            expect(self.client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=blob), 201)
        else:
            self._push_by_upload(name, blob, way)
        self.stored.append((name, blob))

    def _push_by_upload(self, name: str, blob: bytes, way: str) -> None:
        location = self.start(name, blob)
        if way == "put":
            self.finish(location, blob)
        else:
            if way == "stream":
                expect(self.client.patch(location, content=pieces(blob)), 202)
            else:
                self.send_chunks(location, blob, 0)
            self.finish(location, b"")

    def start(self, name: str, blob: bytes) -> str:
        """Begin an upload that shall become `blob`; returns its location."""
        location: str = expect(self.client.post(f"/v2/{name}/blobs/uploads/"), 202).headers["location"]
        self.uploads[location] = blob
        return location

    def finish(self, location: str, body: bytes) -> None:
        """The last PUT, with or without a body."""
        digest = Digest.of(self.uploads[location])
        answer = expect(self.client.put(f"{location}?digest={digest}", content=body), 201)
        assert answer.headers["docker-content-digest"] == str(digest)
        del self.uploads[location]

    def send_chunks(self, location: str, blob: bytes, offset: int) -> None:
        """The rest of a blob, chunk by chunk, each with its place."""
        for start in range(offset, len(blob), CHUNK):
            chunk = blob[start : start + CHUNK]
            expect(self.client.patch(location, content=chunk, headers=place_of(start, chunk)), 202)

    def resume(self, location: str, *, ask: str = "status") -> int:
        """Go on with an upload from where the server says that it stands, and finish it; returns that offset, or -1
        if it was finished already. `ask` by `status` (GET) or by the answer to a chunk out of `place` (416).

        A 404 is right for a finished upload only, which a repeated PUT confirms.
        """
        blob = self.uploads[location]
        name = location.removeprefix("/v2/").partition("/blobs/")[0]
        answer = self.client.get(location) if ask == "status" else self.out_of_place(location)
        offset = -1
        if answer.status_code != 404:
            offset = offset_of(expect(answer, 204 if ask == "status" else 416))
            assert offset <= len(blob), f"the server claims {offset} of {len(blob)} bytes"
            assert answer.headers["location"] == location
            self.send_chunks(location, blob, offset)
        self.finish(location, b"")
        digest = Digest.of(blob)
        assert expect(self.client.get(f"/v2/{name}/blobs/{digest}"), 200).content == blob
        return offset

    def out_of_place(self, location: str) -> httpx2.Response:
        """The answer to a chunk far behind the end of any upload here: 416 if nobody else is writing, else 409."""
        return self.client.patch(location, content=b"z", headers=place_of(10**12, b"z"))


def pieces(blob: bytes) -> Iterator[bytes]:
    """A body without a length, in pieces of 32 KiB."""
    for start in range(0, len(blob), 32 * 1024):
        yield blob[start : start + 32 * 1024]


def place_of(start: int, chunk: bytes) -> dict[str, str]:
    """The header that says where a chunk belongs."""
    return {"content-range": f"{start}-{start + len(chunk) - 1}"}


def expect(answer: httpx2.Response, status: int) -> httpx2.Response:
    """The answer, which has this status. Raises Unexpected."""
    if answer.status_code != status:
        raise Unexpected(answer)
    return answer


def repeat(send: Callable[[], httpx2.Response], *, limit_s: float = 20.0) -> httpx2.Response:
    """The answer to a request that is sent again while its outcome is unknown or the server asks for patience."""
    answers: list[httpx2.Response] = []

    def try_once() -> bool:
        try:
            answers.append(send())
        except LOST:
            return False
        return answers[-1].status_code not in BUSY

    wait_until(try_once, limit_s=limit_s, what="an answer that is final")
    return answers[-1]


def offset_of(answer: httpx2.Response) -> int:
    """Bytes that an upload has, from `Range`. The specification cannot tell none from one."""
    found = re.fullmatch(r"0-(\d+)", answer.headers["range"])
    assert found is not None
    last = int(found[1])
    return last + 1 if last else 0


def pull(client: httpx2.Client, name: str, reference: str) -> list[bytes]:
    """The manifest and the blobs of an image, each with the digest and the size that whoever names it gives."""
    answer = expect(client.get(f"/v2/{name}/manifests/{reference}"), 200)
    assert answer.headers["docker-content-digest"] == str(Digest.of(answer.content))
    manifest = json.loads(answer.content)
    found = [answer.content]
    for entry in [manifest["config"], *manifest["layers"]]:
        blob = expect(client.get(f"/v2/{name}/blobs/{entry['digest']}"), 200).content
        assert (str(Digest.of(blob)), len(blob)) == (entry["digest"], entry["size"])
        found.append(blob)
    return found


def pull_whole(client: httpx2.Client, image: Image) -> None:
    """I1, I2: the tag, the manifest and every blob are there, byte for byte."""
    assert pull(client, image.name, image.tag) == [image.manifest, *image.blobs]
