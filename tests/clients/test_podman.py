"""podman: images it builds, in each format and compression, and lists; pulled into stores that were empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import (
    PLAIN,
    PUSHES,
    Tool,
    assert_mounted,
    build_context,
    digest_of_tag,
    exported,
    manifest_of,
    tags_of,
    tool,
)
from tests.running import Registry

Store = Callable[[str], Tool]
LAYER_TYPES = {
    "oci": f"{images.OCI_LAYER}+gzip",
    "docker": f"{images.DOCKER_LAYER}.gzip",
    "zstd": f"{images.OCI_LAYER}+zstd",
}


def build(podman: Tool, folder: Path, reference: str) -> dict[str, bytes]:
    """Build an image of two layers with random content; returns its files."""
    files = build_context(folder)
    podman("build", "--layers", "--tag", reference, folder)
    return files


def assert_pulled(podman: Tool, reference: str, digest: str | None, files: dict[str, bytes]) -> None:
    """The store holds the image under its digest, with these files and no others."""
    (shown,) = podman.json("image", "inspect", reference)
    assert f"{reference.rpartition(':')[0]}@{digest}" in shown["RepoDigests"]
    assert exported(podman, reference) == images.tree_of(files)


@pytest.mark.parametrize("kind", PUSHES)
def test_what_podman_pushes_it_pulls_into_an_empty_store(
    podman_with: Store, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """OCI, docker's schema 2 and zstd: the digest of the push is the digest of the pull, and the files are the same."""
    reference = f"{shared_registry.address}/podman/{kind}:v1"
    podman = podman_with("podman")
    files = build(podman, tmp_path / "context", reference)
    podman("push", PLAIN, *PUSHES[kind], "--digestfile", tmp_path / "digest", reference)
    digest = (tmp_path / "digest").read_text(encoding="ascii")
    assert digest_of_tag(shared_registry, f"podman/{kind}", "v1") == digest
    layers = manifest_of(shared_registry, f"podman/{kind}", "v1")["layers"]
    assert [layer["mediaType"] for layer in layers] == [LAYER_TYPES[kind]] * 2
    empty = podman_with("empty")
    empty("pull", PLAIN, reference)
    assert_pulled(empty, reference, digest, files)


@pytest.mark.parametrize("kind", ["oci", "docker", "zstd", "uncompressed", "index", "docker-list"])
def test_podman_pulls_what_crane_pushed(
    podman_with: Store, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """podman finds its platform in images and indexes of every format, and their files in the image."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/podman/crane-{kind}:v1"
    tool("crane", tmp_path / "other", "--insecure")("push", layout.path, reference)
    empty = podman_with("empty")
    empty("pull", PLAIN, "--platform=linux/amd64", reference)
    assert_pulled(empty, reference, layout.digest, layout.files["amd64"])


def test_podman_copies_between_repositories_without_sending_a_layer(
    podman_with: Store, shared_registry: Registry, tmp_path: Path
) -> None:
    """The same image in a second repository is mounts of the layers that podman pushed before."""
    source, target = (f"{shared_registry.address}/podman/{name}:v1" for name in ("from", "to"))
    podman = podman_with("podman")
    files = build(podman, tmp_path / "context", source)
    podman("push", PLAIN, source)
    podman("push", PLAIN, source, target)
    assert_mounted(shared_registry, "podman/to", at_least=2, sent_at_most=8 * images.KIB)
    empty = podman_with("empty")
    empty("pull", PLAIN, target)
    assert_pulled(empty, target, digest_of_tag(shared_registry, "podman/to", "v1"), files)


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_podman_pushes_a_list_of_platforms(
    podman_with: Store, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """A list goes in with all its images, in both families, and each platform comes out of it."""
    name = f"{shared_registry.address}/podman/list-{kind}"
    podman = podman_with("podman")
    podman("manifest", "create", "made")
    trees = {}
    for platform in ("amd64", "arm64"):
        trees[platform] = build_context(tmp_path / platform)
        podman("build", f"--platform=linux/{platform}", "--manifest=made", tmp_path / platform)
    podman("manifest", "push", "--all", PLAIN, *PUSHES[kind], "made", f"docker://{name}:v1")
    expected = {"oci": images.OCI_INDEX, "docker": images.DOCKER_LIST}[kind]
    assert manifest_of(shared_registry, f"podman/list-{kind}", "v1")["mediaType"] == expected
    digest = digest_of_tag(shared_registry, f"podman/list-{kind}", "v1")
    for platform, files in trees.items():
        empty = podman_with(f"empty-{platform}")
        empty("pull", PLAIN, f"--platform=linux/{platform}", f"{name}:v1")
        assert_pulled(empty, f"{name}:v1", digest, files)


def allow_plain_http(podman: Tool, registry: Registry) -> None:
    """Say it in the configuration instead of on the command line."""
    table = f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
    (podman.home / ".config/containers/registries.conf").write_text(table, encoding="utf-8")


def test_podman_lists_and_pulls_all_tags(podman_with: Store, shared_registry: Registry, tmp_path: Path) -> None:
    """The tags of a repository are what podman searches, and what it pulls with `--all-tags`."""
    name = f"{shared_registry.address}/podman/tagged"
    podman = podman_with("podman")
    build(podman, tmp_path / "context", f"{name}:one")
    for tag in ("one", "two", "three"):
        podman("push", PLAIN, f"{name}:one", f"{name}:{tag}")
    assert tags_of(shared_registry, "podman/tagged") == ["one", "three", "two"]
    found = podman("search", PLAIN, "--list-tags", name).splitlines()
    assert [line.split() for line in found[1:]] == [[name, tag] for tag in ("one", "three", "two")]
    empty = podman_with("empty")
    # Podman 4 does not hand the flag on when it asks for the list.
    allow_plain_http(empty, shared_registry)
    empty("pull", "--all-tags", name)
    assert all(empty.succeeds("image", "exists", f"{name}:{tag}") for tag in ("one", "two", "three"))
