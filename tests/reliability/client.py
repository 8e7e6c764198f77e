"""A client that keeps to the specification, and remembers what it was promised."""

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.core.test_manifest import CONFIG, LAYER, encoded

CHUNK = 64 * 1024
LOST = (httpx2.TransportError,)
"""What a request ends with when the server dies in the middle of it."""


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
        return cls(name, tag, [b"{}" + os.urandom(8), *(os.urandom(size) for size in sizes)])

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes."""
        entries = [{"mediaType": LAYER, "digest": str(Digest.of(blob)), "size": len(blob)} for blob in self.blobs]
        config = {**entries[0], "mediaType": CONFIG}
        return encoded({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": entries[1:]})


@dataclass
class Pusher:
    """Pushes, and notes each open upload, so that it can go on after anything."""

    client: httpx2.Client
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Location of each upload that is not finished, and the content that it shall become."""

    def push(self, image: Image, *, way: str) -> None:
        """Push an image; raises what the connection raised if an answer got lost."""
        for blob in image.blobs:
            self.push_blob(image.name, blob, way=way)
        headers = {"content-type": OCI_MANIFEST}
        path = f"/v2/{image.name}/manifests/{image.tag}"
        expect(self.client.put(path, content=image.manifest, headers=headers), 201)

    def push_blob(self, name: str, blob: bytes, *, way: str) -> None:
        """`whole`, `put` (POST and PUT with the body), `stream` (as docker does) or `chunks`."""
        digest = Digest.of(blob)
        if way == "whole":
            expect(self.client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=blob), 201)
            return
        location = expect(self.client.post(f"/v2/{name}/blobs/uploads/"), 202).headers["location"]
        self.uploads[location] = blob
        if way == "put":
            expect(self.client.put(f"{location}?digest={digest}", content=blob), 201)
        else:
            if way == "stream":
                expect(self.client.patch(location, content=pieces(blob)), 202)
            else:
                self.send_chunks(location, blob, 0)
            expect(self.client.put(f"{location}?digest={digest}"), 201)
        del self.uploads[location]

    def send_chunks(self, location: str, blob: bytes, offset: int) -> None:
        """The rest of a blob, chunk by chunk, each with its place."""
        for start in range(offset, len(blob), CHUNK):
            chunk = blob[start : start + CHUNK]
            place = {"content-range": f"{start}-{start + len(chunk) - 1}"}
            expect(self.client.patch(location, content=chunk, headers=place), 202)

    def resume(self, location: str) -> str:
        """Go on with an upload from where the server says that it stands; returns what became of it."""
        blob = self.uploads.pop(location)
        name = location.removeprefix("/v2/").partition("/blobs/")[0]
        digest = Digest.of(blob)
        status = self.client.get(location)
        if status.status_code == 404:
            # It was finished, which a repeated PUT confirms: an upload that got 202 is never forgotten.
            expect(self.client.put(f"{location}?digest={digest}"), 201)
        else:
            offset = offset_of(expect(status, 204))
            if offset < len(blob):
                self.send_chunks(location, blob, offset)
            expect(self.client.put(f"{location}?digest={digest}"), 201)
        assert self.client.get(f"/v2/{name}/blobs/{digest}").content == blob
        return "resumed"


def pieces(blob: bytes) -> Iterator[bytes]:
    """A body without a length, in pieces of 32 KiB."""
    for start in range(0, len(blob), 32 * 1024):
        yield blob[start : start + 32 * 1024]


def expect(answer: httpx2.Response, status: int) -> httpx2.Response:
    """The answer, which has this status."""
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer


def offset_of(answer: httpx2.Response) -> int:
    """Bytes that an upload has, from `Range`. The specification cannot tell none from one."""
    found = re.fullmatch(r"0-(\d+)", answer.headers["range"])
    assert found is not None
    last = int(found[1])
    return last + 1 if last else 0


def pull_whole(client: httpx2.Client, image: Image) -> None:
    """I1, I2: the tag, the manifest and every blob are there, byte for byte."""
    stored = expect(client.get(f"/v2/{image.name}/manifests/{image.tag}"), 200)
    assert stored.content == image.manifest
    for blob in image.blobs:
        assert expect(client.get(f"/v2/{image.name}/blobs/{Digest.of(blob)}"), 200).content == blob
