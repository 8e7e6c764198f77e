"""docker: a real daemon streams layers with no length, mounts what it knows, and pulls what others pushed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.daemon import remove_images
from tests.clients.tools import Tool, assert_mounted, build_context, digest_of_tag, manifest_of, tags_of, tool
from tests.running import Registry, wait_until


@pytest.fixture(autouse=True)
def _emptied(docker: Tool, shared_registry: Registry) -> Iterator[None]:
    """The daemon may be the machine's own: nothing of these tests stays there."""
    yield
    remove_images(docker, shared_registry.address)


def build(docker: Tool, folder: Path, reference: str) -> dict[str, bytes]:
    """Build an image of two layers with random content; returns its files."""
    files = build_context(folder)
    docker("build", "--tag", reference, folder)
    return files


def files_of(docker: Tool, reference: str, archive: Path) -> dict[str, str]:
    """Path to digest of each file of an image in the daemon's store."""
    docker("save", "--output", archive, reference)
    return images.files_in_image(archive)


def is_pulled(docker: Tool, reference: str, digest: str | None) -> bool:
    """Whether the daemon knows the image as what the registry calls `digest`."""
    shown = docker.json("image", "inspect", reference)[0]["RepoDigests"]
    return any(name.endswith(f"@{digest}") for name in shown)


def test_what_docker_pushes_it_pulls_into_an_emptied_store(
    docker: Tool, shared_registry: Registry, tmp_path: Path
) -> None:
    """An image of docker's schema 2 comes back by tag and by digest, with the same digest and the same files."""
    name = f"{shared_registry.address}/docker/single"
    files = build(docker, tmp_path / "context", f"{name}:v1")
    said = docker("push", f"{name}:v1")
    digest = digest_of_tag(shared_registry, "docker/single", "v1")
    assert f"digest: {digest} size:" in said
    assert manifest_of(shared_registry, "docker/single", "v1")["mediaType"] == images.DOCKER_MANIFEST
    for reference in (f"{name}:v1", f"{name}@{digest}"):
        remove_images(docker, shared_registry.address)
        assert "No such image" in docker.refused("image", "inspect", f"{name}:v1")
        assert f"Digest: {digest}" in docker("pull", reference)
        assert is_pulled(docker, reference, digest)
        assert files_of(docker, reference, tmp_path / "saved.tar") == images.tree_of(files)
    wait_until(lambda: layers_sent(shared_registry, "docker/single") >= 4, what="two layers pulled twice")


def layers_sent(registry: Registry, repository: str) -> int:
    """How many blobs the server sent that are more than a config."""
    prefix = f"/v2/{repository}/blobs/"
    lines = [line for line in registry.log_lines() if str(line.get("path", "")).startswith(prefix)]
    return sum(line["method"] == "GET" and line["sent_bytes"] >= images.MIB for line in lines)


@pytest.mark.parametrize("kind", ["oci", "docker", "uncompressed", "index", "docker-list"])
def test_docker_pulls_what_crane_pushed(docker: Tool, shared_registry: Registry, tmp_path: Path, kind: str) -> None:
    """docker finds its platform in images and indexes of both families, and their files in the image."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/docker/{kind}:v1"
    tool("crane", tmp_path / "other", "--insecure")("push", layout.path, reference)
    docker("pull", "--platform=linux/amd64", reference)
    assert is_pulled(docker, reference, layout.digest)
    assert files_of(docker, reference, tmp_path / "saved.tar") == images.tree_of(layout.files["amd64"])


@pytest.mark.parametrize("kind", ["index", "docker-list"])
def test_docker_pulls_another_platform(docker: Tool, shared_registry: Registry, tmp_path: Path, kind: str) -> None:
    """An index leads docker to the image of the platform that it is asked for."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/docker/arm64-{kind}:v1"
    tool("crane", tmp_path / "other", "--insecure")("push", layout.path, reference)
    docker("pull", "--platform=linux/arm64", reference)
    assert docker.json("image", "inspect", reference)[0]["Architecture"] == "arm64"
    assert files_of(docker, reference, tmp_path / "saved.tar") == images.tree_of(layout.files["arm64"])


def test_docker_copies_between_repositories_without_sending_a_layer(
    docker: Tool, shared_registry: Registry, tmp_path: Path
) -> None:
    """The same image in a second repository is mounts of its layers; docker sends only the config."""
    source, target = (f"{shared_registry.address}/docker/{name}:v1" for name in ("from", "to"))
    build(docker, tmp_path / "context", source)
    docker("push", source)
    docker("tag", source, target)
    assert "Mounted from docker/from" in docker("push", target)
    assert_mounted(shared_registry, "docker/to", at_least=2, sent_at_most=8 * images.KIB)
    digests = {digest_of_tag(shared_registry, f"docker/{name}", "v1") for name in ("from", "to")}
    assert len(digests) == 1 and None not in digests


def test_docker_makes_and_pushes_a_manifest_list(docker: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """`docker manifest` reads two images, and pushes a list of them that resolves by platform."""
    name = f"{shared_registry.address}/docker/listed"
    trees = {}
    for platform in ("amd64", "arm64"):
        trees[platform] = build(docker, tmp_path / platform, f"{name}:{platform}")
        docker("push", f"{name}:{platform}")
    docker("manifest", "create", "--insecure", f"{name}:both", f"{name}:amd64", f"{name}:arm64")
    docker("manifest", "annotate", "--arch=arm64", f"{name}:both", f"{name}:arm64")
    digest = docker("manifest", "push", "--insecure", f"{name}:both").split()[-1]
    assert digest_of_tag(shared_registry, "docker/listed", "both") == digest
    assert manifest_of(shared_registry, "docker/listed", "both")["mediaType"] == images.DOCKER_LIST
    remove_images(docker, shared_registry.address)
    docker("pull", "--platform=linux/amd64", f"{name}:both")
    assert files_of(docker, f"{name}:both", tmp_path / "saved.tar") == images.tree_of(trees["amd64"])


def test_docker_pushes_and_pulls_all_tags(docker: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """`--all-tags` pushes several tags of one image, and finds them again through the registry's list."""
    name = f"{shared_registry.address}/docker/tagged"
    build(docker, tmp_path / "context", f"{name}:one")
    for tag in ("two", "three"):
        docker("tag", f"{name}:one", f"{name}:{tag}")
    docker("push", "--all-tags", name)
    assert tags_of(shared_registry, "docker/tagged") == ["one", "three", "two"]
    remove_images(docker, shared_registry.address)
    docker("pull", "--all-tags", name)
    digest = digest_of_tag(shared_registry, "docker/tagged", "one")
    assert all(is_pulled(docker, f"{name}:{tag}", digest) for tag in ("one", "two", "three"))


def test_docker_learns_that_an_image_is_not_there(docker: Tool, shared_registry: Registry) -> None:
    """An unknown repository and an unknown tag are errors that docker understands."""
    refused = docker.refused("pull", f"{shared_registry.address}/docker/none:v1")
    assert "not found" in refused or "manifest unknown" in refused
