"""Images made from nothing: OCI layouts for the clients to push, and readers of what they pulled.

Content is random, so that no store on this machine can hold it already.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

Entry = dict[str, Any]
"""A descriptor, as it stands in a manifest or an index."""

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
EMPTY: Final = "application/vnd.oci.empty.v1+json"

KIB: Final = 1024
MIB: Final = 1024 * KIB
TAG: Final = "made"
"""The name of what a layout holds."""

_ZSTD_BLOCK: Final = 128 * KIB


def digest_of(content: bytes) -> str:
    """`sha256:` and the hash."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def random_files(*sizes: int) -> dict[str, bytes]:
    """A small tree of files with these sizes in bytes."""
    return {f"data/{number}/content": os.urandom(size) for number, size in enumerate(sizes)}


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    """The files, under `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_of(files: dict[str, bytes]) -> bytes:
    """A layer with these files, and their folders, owned by root."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zstd_of(content: bytes) -> bytes:
    """A valid zstd frame (RFC 8878) of raw blocks: 128 KiB is the most that one holds."""
    frame = bytearray(b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little"))
    for start in range(0, len(content), _ZSTD_BLOCK):
        block = content[start : start + _ZSTD_BLOCK]
        last = start + _ZSTD_BLOCK >= len(content)
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return bytes(frame)


_COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "gzip": lambda content: gzip.compress(content, compresslevel=1, mtime=0),
    "zstd": zstd_of,
}


class Layout:
    """An OCI layout that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = ""
        self.files: dict[str, dict[str, bytes]] = {}
        """What the image of each architecture shows."""
        (path / "blobs" / "sha256").mkdir(parents=True)

    def add(self, content: bytes, media_type: str, **more: Any) -> Entry:
        """A blob, or a manifest, with its descriptor."""
        digest = digest_of(content)
        blob_path(self.path, digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def add_json(self, value: dict[str, Any], media_type: str, **more: Any) -> Entry:
        """The same, of JSON."""
        return self.add(json.dumps(value, indent=1).encode(), media_type, **more)

    def image(
        self,
        layers: list[dict[str, bytes]],
        *,
        compression: str = "gzip",
        docker: bool = False,
        platform: dict[str, str] | None = None,
    ) -> Entry:
        """An image of these layers, each given by its files."""
        shown = platform or {"architecture": "amd64", "os": "linux"}
        self.files[shown["architecture"]] = {name: files[name] for files in layers for name in files}
        tars = [tar_of(files) for files in layers]
        config = {
            **shown,
            "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tests"} for _ in tars],
        }
        base, joint = (DOCKER_LAYER, ".") if docker else (OCI_LAYER, "+")
        layer_type = f"{base}{joint}{compression}" if compression else base
        manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": self.add_json(config, DOCKER_CONFIG if docker else OCI_CONFIG),
            "layers": [self.add(_COMPRESSIONS[compression](tar), layer_type) for tar in tars],
        }
        return self.add_json(manifest, manifest_type, platform=shown)

    def attestation(self, image: Entry) -> Entry:
        """What BuildKit puts next to an image: a manifest of no platform that speaks about it."""
        statement = self.add(os.urandom(2 * KIB), "application/vnd.in-toto+json")
        config = {"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}}
        config["rootfs"] = {"type": "layers", "diff_ids": [statement["digest"]]}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add_json(config, OCI_CONFIG),
            "layers": [statement],
        }
        notes = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        }
        nowhere = {"architecture": "unknown", "os": "unknown"}
        return self.add_json(manifest, OCI_MANIFEST, annotations=notes, platform=nowhere)

    def artifact(self, content: bytes, artifact_type: str) -> Entry:
        """Something that is no image."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.add(b"{}", EMPTY),
            "layers": [self.add(content, "application/octet-stream")],
        }
        return self.add_json(manifest, OCI_MANIFEST, artifactType=artifact_type)

    def index(self, children: list[Entry], *, docker: bool = False) -> Entry:
        """An index, or docker's manifest list, of these."""
        media_type = DOCKER_LIST if docker else OCI_INDEX
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
        return self.add_json(index, media_type)

    def finish(self, entry: Entry) -> "Layout":
        """Make `entry` the one thing that the layout holds, under the name TAG."""
        self.digest = entry["digest"]
        named = {**entry, "annotations": {"org.opencontainers.image.ref.name": TAG}}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}
        (self.path / "index.json").write_text(json.dumps(index), encoding="utf-8")
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
        return self


def single(
    path: Path, *, compression: str = "gzip", docker: bool = False, files: dict[str, bytes] | None = None
) -> Layout:
    """One image: a layer of 1 KiB and one of 3 MiB, or a layer of `files`."""
    layout = Layout(path)
    layers = [random_files(KIB), random_files(2 * MIB, MIB)] if files is None else [files]
    return layout.finish(layout.image(layers, compression=compression, docker=docker))


def unattested(path: Path) -> Layout:
    """An OCI index of images and nothing else."""
    return multi_platform(path, attested=False)


def multi_platform(path: Path, *, compression: str = "gzip", docker: bool = False, attested: bool = True) -> Layout:
    """One image each for amd64 and arm64/v8, and for OCI what BuildKit attests of the first."""
    layout = Layout(path)
    platforms = [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    children = [
        layout.image(
            [{"platform": platform["architecture"].encode(), **random_files(256 * KIB)}],
            compression=compression,
            docker=docker,
            platform=platform,
        )
        for platform in platforms
    ]
    if attested and not docker:
        children.append(layout.attestation(children[0]))
    return layout.finish(layout.index(children, docker=docker))


def artifact(path: Path) -> Layout:
    """Half a MiB of a type of its own."""
    layout = Layout(path)
    return layout.finish(layout.artifact(os.urandom(512 * KIB), "application/vnd.depotry.test"))


FORMATS: Final[dict[str, Callable[[Path], Layout]]] = {
    "oci": single,
    "docker": lambda path: single(path, docker=True),
    "zstd": lambda path: single(path, compression="zstd"),
    "uncompressed": lambda path: single(path, compression=""),
    "index": multi_platform,
    "docker-list": lambda path: multi_platform(path, docker=True),
    "artifact": artifact,
}
"""Everything that a client which copies layouts is asked to push and pull."""


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout keeps a blob."""
    return layout.joinpath("blobs", *digest.split(":"))


def graph(layout: Path, digest: str) -> set[str]:
    """Everything that is reachable from `digest` in a layout; fails where a blob is missing or is not its digest."""
    found: set[str] = set()
    waiting = [{"digest": digest, "mediaType": "manifest"}]
    while waiting:
        entry = waiting.pop()
        if entry["digest"] in found:
            continue
        content = blob_path(layout, entry["digest"]).read_bytes()
        assert hashlib.new(entry["digest"].split(":")[0], content).hexdigest() == entry["digest"].split(":")[1]
        found.add(entry["digest"])
        if "manifest" in entry["mediaType"] or "image.index" in entry["mediaType"]:
            waiting += _references(json.loads(content))
    return found


def _references(manifest: dict[str, Any]) -> list[Entry]:
    config = [manifest["config"]] if "config" in manifest else []
    return config + list(manifest.get("layers", [])) + list(manifest.get("manifests", []))


def assert_same(pulled: Path, pushed: Layout) -> None:
    """A pulled layout holds what was pushed: the same digests, of the right bytes."""
    assert graph(pulled, pushed.digest) == graph(pushed.path, pushed.digest)


def tree_in(archive: Path | IO[bytes]) -> dict[str, str]:
    """Path to digest for each file of a tar, and `-> target` for each symbolic link."""
    if isinstance(archive, Path):
        with archive.open("rb") as file:
            return tree_in(file)
    found: dict[str, str] = {}
    with tarfile.open(fileobj=archive, mode="r:*") as tar:
        for member in tar:
            name = member.name.removeprefix("./").removeprefix("/")
            if member.issym():
                found[name] = f"-> {member.linkname}"
            elif member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                found[name] = digest_of(content.read())
    return found


def files_in_image(archive: Path) -> dict[str, str]:
    """The same for an image in docker's archive format, its layers laid over each other."""
    found: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        listing = tar.extractfile("manifest.json")
        assert listing is not None
        (image,) = json.load(listing)
        for name in image["Layers"]:
            layer = tar.extractfile(_target(tar, name))
            assert layer is not None
            found |= tree_in(layer)
    return found


def _target(tar: tarfile.TarFile, name: str) -> str:
    """Old docker daemons link equal layers to each other."""
    member = tar.getmember(name)
    if not member.issym():
        return name
    return os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))


def tree_of(files: dict[str, bytes]) -> dict[str, str]:
    """What `files_in_image` says of an image with these files."""
    return {name: digest_of(content) for name, content in files.items()}
