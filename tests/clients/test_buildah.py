"""buildah: images made from nothing, and built for two platforms; pulled into stores that were empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import PLAIN, PUSHES, Tool, assert_mounted, build_context, digest_of_tag, manifest_of, tool
from tests.running import Registry

Store = Callable[[str], Tool]


def make(buildah: Tool, folder: Path, name: str) -> dict[str, bytes]:
    """Make an image from scratch with random content; returns its files."""
    files = images.random_files(images.KIB, 2 * images.MIB)
    images.write_tree(folder, files)
    container = buildah("from", "scratch")
    buildah("copy", container, folder, "/")
    buildah("commit", container, name)
    return files


def files_of(buildah: Tool, reference: str) -> dict[str, str]:
    """Path to digest of each file of an image in the store, zstd or not: a commit makes the layers anew."""
    archive = buildah.home / "saved.tar"
    container = buildah("from", "--pull-never", reference)
    buildah("commit", "--squash", container, f"docker-archive:{archive}")
    return images.files_in_image(archive)


def digests_of(buildah: Tool, reference: str) -> list[str]:
    """The digests under which the store knows an image."""
    listed: list[str] = [image["digest"] for image in buildah.json("images", "--json", reference)]
    return listed


@pytest.mark.parametrize("kind", PUSHES)
def test_what_buildah_pushes_it_pulls_into_an_empty_store(
    buildah_with: Store, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """OCI, docker's schema 2 and zstd: the digest of the push is the digest of the pull, and the files are the same."""
    reference = f"{shared_registry.address}/buildah/{kind}:v1"
    buildah = buildah_with("buildah")
    files = make(buildah, tmp_path / "tree", "made")
    buildah("push", PLAIN, *PUSHES[kind], "--digestfile", tmp_path / "digest", "made", f"docker://{reference}")
    digest = (tmp_path / "digest").read_text(encoding="ascii")
    assert digest_of_tag(shared_registry, f"buildah/{kind}", "v1") == digest
    (layer,) = manifest_of(shared_registry, f"buildah/{kind}", "v1")["layers"]
    assert layer["mediaType"].endswith("zstd" if kind == "zstd" else "gzip")
    empty = buildah_with("empty")
    empty("pull", PLAIN, reference)
    assert digests_of(empty, reference) == [digest]
    assert files_of(empty, reference) == images.tree_of(files)


@pytest.mark.parametrize("kind", ["oci", "docker", "zstd", "index", "docker-list"])
def test_buildah_starts_from_what_crane_pushed(
    buildah_with: Store, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """`buildah from` pulls an image of every format, and what is committed on top pushes only its own layer."""
    layout = images.FORMATS[kind](tmp_path / "made")
    name = f"{shared_registry.address}/buildah/base-{kind}"
    tool("crane", tmp_path / "other", "--insecure")("push", layout.path, f"{name}:v1")
    buildah = buildah_with("buildah")
    container = buildah("from", PLAIN, f"{name}:v1")
    images.write_tree(tmp_path / "more", {"more": b"more\n"})
    buildah("copy", container, tmp_path / "more", "/")
    buildah("commit", container, "grown")
    buildah("push", PLAIN, "grown", f"docker://{name}:v2")
    empty = buildah_with("empty")
    empty("pull", PLAIN, f"{name}:v2")
    assert files_of(empty, f"{name}:v2") == images.tree_of({**layout.files["amd64"], "more": b"more\n"})


def test_buildah_copies_between_repositories_without_sending_a_layer(
    buildah_with: Store, shared_registry: Registry, tmp_path: Path
) -> None:
    """The same image in a second repository is a mount of the layer that buildah pushed before."""
    source, target = (f"{shared_registry.address}/buildah/{name}:v1" for name in ("from", "to"))
    buildah = buildah_with("buildah")
    make(buildah, tmp_path / "tree", "made")
    for reference in (source, target):
        buildah("push", PLAIN, "made", f"docker://{reference}")
    assert_mounted(shared_registry, "buildah/to", at_least=1, sent_at_most=8 * images.KIB)
    digests = {digest_of_tag(shared_registry, f"buildah/{name}", "v1") for name in ("from", "to")}
    assert len(digests) == 1 and None not in digests


def test_buildah_builds_and_pushes_two_platforms(
    buildah_with: Store, shared_registry: Registry, tmp_path: Path
) -> None:
    """A build for two platforms goes in as one index, and each of them comes out of it."""
    reference = f"{shared_registry.address}/buildah/platforms:v1"
    buildah = buildah_with("buildah")
    files = build_context(tmp_path / "context")
    buildah("build", "--platform=linux/amd64,linux/arm64", "--manifest=made", tmp_path / "context")
    buildah("manifest", "push", "--all", PLAIN, "made", f"docker://{reference}")
    index = manifest_of(shared_registry, "buildah/platforms", "v1")
    assert index["mediaType"] == images.OCI_INDEX
    digests = {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]}
    for platform in ("amd64", "arm64"):
        empty = buildah_with(f"empty-{platform}")
        empty("pull", PLAIN, f"--platform=linux/{platform}", reference)
        assert empty.json("inspect", "--type=image", reference)["FromImageDigest"] == digests[platform]
        assert files_of(empty, reference) == images.tree_of(files)
