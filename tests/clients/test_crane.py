"""crane (go-containerregistry): monolithic uploads with a length, mounts, tags, deletes."""

from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import Tool, assert_mounted, digest_of_tag, tags_of, tool
from tests.running import Registry


@pytest.fixture
def crane(tmp_path: Path) -> Tool:
    """crane, with plain HTTP allowed."""
    return tool("crane", tmp_path / "home", "--insecure")


@pytest.mark.parametrize("kind", images.FORMATS)
def test_what_crane_pushes_it_pulls_into_an_empty_folder(
    crane: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """Images, indexes and artifacts of every format keep their digests on the way in and out."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/crane/{kind}:v1"
    assert crane("push", layout.path, reference).endswith(layout.digest)
    assert crane("digest", reference) == layout.digest
    crane("pull", "--format=oci", reference, tmp_path / "pulled")
    images.assert_same(tmp_path / "pulled", layout)


@pytest.mark.parametrize("kind", ["oci", "docker", "index"])
def test_crane_finds_what_it_pushed_well_formed(
    crane: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """crane's own validation reads every layer back and compares digests, sizes and diff ids."""
    make = {**images.FORMATS, "index": images.unattested}[kind]
    reference = f"{shared_registry.address}/crane/valid-{kind}:v1"
    crane("push", make(tmp_path / "made").path, reference)
    assert "PASS" in crane("validate", "--remote", reference)


@pytest.mark.parametrize("kind", ["oci", "docker", "zstd", "index"])
def test_crane_copies_between_repositories_without_sending_a_blob(
    crane: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """A copy inside one registry is mounts and manifests, no bytes."""
    layout = images.FORMATS[kind](tmp_path / "made")
    source = f"{shared_registry.address}/crane/from-{kind}:v1"
    target = f"{shared_registry.address}/crane/to-{kind}:v1"
    crane("push", layout.path, source)
    crane("copy", source, target)
    assert_mounted(shared_registry, f"crane/to-{kind}", at_least=3)
    crane("pull", "--format=oci", target, tmp_path / "pulled")
    images.assert_same(tmp_path / "pulled", layout)


def test_crane_makes_images_and_an_index_in_the_registry(
    crane: Tool, shared_registry: Registry, tmp_path: Path
) -> None:
    """`append`, `mutate` and `index append` read back what they wrote a moment before."""
    base = f"{shared_registry.address}/crane/appended"
    files = images.random_files(images.MIB, images.KIB)
    layer = tmp_path / "layer.tar"
    layer.write_bytes(images.tar_of(files))
    crane("append", "--oci-empty-base", "-f", layer, "-t", f"{base}:first")
    crane("mutate", "--label", "of=second", "-t", f"{base}:second", f"{base}:first")
    crane("index", "append", "-m", f"{base}:first", "-m", f"{base}:second", "-t", f"{base}:both")
    listed = crane.json("manifest", f"{base}:both")["manifests"]
    assert [entry["digest"] for entry in listed] == [
        crane("digest", f"{base}:first"),
        crane("digest", f"{base}:second"),
    ]
    crane("export", f"{base}:second", tmp_path / "files.tar")
    assert images.tree_in(tmp_path / "files.tar") == images.tree_of(files)


def test_crane_lists_tags_and_repositories_and_deletes(crane: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """A deleted tag leaves its sibling alone; a deleted manifest takes its tags along."""
    repository = f"{shared_registry.address}/crane/listed"
    layout = images.single(tmp_path / "made", files=images.random_files(images.KIB))
    crane("push", layout.path, f"{repository}:one")
    for tag in ("two", "three"):
        crane("tag", f"{repository}:one", tag)
    assert crane("ls", repository).split() == ["one", "three", "two"]
    assert "crane/listed" in crane("catalog", shared_registry.address).split()
    crane("delete", f"{repository}:two")
    assert crane("ls", repository).split() == ["one", "three"]
    assert digest_of_tag(shared_registry, "crane/listed", "one") == layout.digest
    crane("delete", f"{repository}@{layout.digest}")
    assert tags_of(shared_registry, "crane/listed") == []
    assert "MANIFEST_UNKNOWN" in crane.refused("manifest", f"{repository}:one")
