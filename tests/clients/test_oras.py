"""oras (oras-go): single PUT uploads with an exact 202 before, artifacts, referrers, mounts, paged tag lists."""

import os
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import Tool, assert_mounted, digest_of_tag, tags_of, tool
from tests.running import Registry

SBOM = "application/vnd.depotry.sbom"
SIGNATURE = "application/vnd.depotry.signature"


@pytest.fixture
def oras(tmp_path: Path) -> Tool:
    """oras; `--plain-http` is a flag of each command."""
    return tool("oras", tmp_path / "home")


def push_layout(oras: Tool, layout: images.Layout, reference: str) -> None:
    """Bring a layout in."""
    oras("cp", "--from-oci-layout", f"{layout.path}:{images.TAG}", "--to-plain-http", reference)


def pull_layout(oras: Tool, reference: str, path: Path, *flags: str) -> None:
    """Bring it out again, into a folder that is not there yet."""
    oras("cp", *flags, "--from-plain-http", reference, "--to-oci-layout", f"{path}:pulled")


@pytest.mark.parametrize("kind", images.FORMATS)
def test_what_oras_pushes_it_pulls_into_an_empty_folder(
    oras: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """Images, indexes and artifacts of every format keep their digests on the way in and out."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/oras/{kind}:v1"
    push_layout(oras, layout, reference)
    assert oras("resolve", "--plain-http", reference) == layout.digest
    pull_layout(oras, reference, tmp_path / "pulled")
    images.assert_same(tmp_path / "pulled", layout)


@pytest.mark.parametrize("kind", ["oci", "docker", "index", "artifact"])
def test_oras_copies_between_repositories_without_sending_a_blob(
    oras: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """A copy inside one registry is mounts and manifests, no bytes."""
    layout = images.FORMATS[kind](tmp_path / "made")
    source = f"{shared_registry.address}/oras/from-{kind}:v1"
    target = f"{shared_registry.address}/oras/to-{kind}:v1"
    push_layout(oras, layout, source)
    oras("cp", "--from-plain-http", source, "--to-plain-http", target)
    assert_mounted(shared_registry, f"oras/to-{kind}", at_least=2)
    pull_layout(oras, target, tmp_path / "pulled")
    images.assert_same(tmp_path / "pulled", layout)


def test_oras_pushes_and_pulls_files(oras: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """An artifact of files, with a config and an empty one among them, comes back as the same files."""
    files = {"a.bin": os.urandom(3 * images.MIB), "below/b.txt": b"text\n", "empty": b""}
    images.write_tree(oras.home, {**files, "config.json": b'{"of": "tests"}'})
    reference = f"{shared_registry.address}/oras/files:v1"
    oras(
        *("push", "--plain-http", "--artifact-type", "application/vnd.depotry.files"),
        *("--config", "config.json:application/vnd.depotry.config+json", reference, *files),
    )
    oras("pull", "--plain-http", reference, "--output", tmp_path / "pulled")
    assert {name: (tmp_path / "pulled" / name).read_bytes() for name in files} == files
    manifest = oras.json("manifest", "fetch", "--plain-http", reference)
    assert manifest["artifactType"] == "application/vnd.depotry.files"
    assert [layer["digest"] for layer in manifest["layers"]] == list(images.tree_of(files).values())


def attach(oras: Tool, reference: str, artifact_type: str) -> str:
    """Attach a file to an image; returns the digest of the referrer."""
    images.write_tree(oras.home, {"note": os.urandom(images.KIB)})
    shown = oras.json(
        *("attach", "--plain-http", "--format=json"),
        *("--artifact-type", artifact_type, "--annotation", "of=tests", reference, "note"),
    )
    return str(shown["digest"])


def referrers(oras: Tool, reference: str, *flags: str) -> dict[str, str]:
    """Digest to artifact type of what oras discovers directly on a manifest."""
    found = oras.json("discover", "--plain-http", "--format=json", "--depth=1", *flags, reference)
    return {entry["digest"]: entry["artifactType"] for entry in found.get("referrers") or []}


def test_oras_attaches_and_discovers_referrers(oras: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """Referrers are found through the API, all or by type, without a fallback tag; deleted ones are gone."""
    layout = images.multi_platform(tmp_path / "made")
    name = f"{shared_registry.address}/oras/attached"
    push_layout(oras, layout, f"{name}:v1")
    sbom = attach(oras, f"{name}:v1", SBOM)
    signature = attach(oras, f"{name}:v1", SIGNATURE)
    assert referrers(oras, f"{name}:v1") == {sbom: SBOM, signature: SIGNATURE}
    assert referrers(oras, f"{name}:v1", f"--artifact-type={SBOM}") == {sbom: SBOM}
    on_signature = attach(oras, f"{name}@{signature}", SIGNATURE)
    assert referrers(oras, f"{name}@{signature}") == {on_signature: SIGNATURE}
    assert tags_of(shared_registry, "oras/attached") == ["v1"]
    oras("manifest", "delete", "--plain-http", "--force", f"{name}@{sbom}")
    assert referrers(oras, f"{name}:v1") == {signature: SIGNATURE}


def test_oras_copies_an_image_with_its_referrers(oras: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """`cp --recursive` takes referrers along, to another repository and to a folder."""
    layout = images.single(tmp_path / "made")
    source = f"{shared_registry.address}/oras/with-referrers"
    target = f"{shared_registry.address}/oras/with-referrers-too"
    push_layout(oras, layout, f"{source}:v1")
    sbom = attach(oras, f"{source}:v1", SBOM)
    oras("cp", "--recursive", "--from-plain-http", f"{source}:v1", "--to-plain-http", f"{target}:v1")
    assert_mounted(shared_registry, "oras/with-referrers-too", at_least=4)
    assert referrers(oras, f"{target}:v1") == {sbom: SBOM}
    pull_layout(oras, f"{target}:v1", tmp_path / "pulled", "--recursive")
    images.assert_same(tmp_path / "pulled", layout)
    assert images.graph(tmp_path / "pulled", sbom)


def test_oras_lists_tags_and_repositories_and_deletes(oras: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """Tags come in byte order, also from the middle; a deleted manifest takes its tags along."""
    name = f"{shared_registry.address}/oras/listed"
    layout = images.artifact(tmp_path / "made")
    push_layout(oras, layout, f"{name}:v1")
    oras("tag", "--plain-http", f"{name}:v1", "a", "Z", "v10")
    assert oras("repo", "tags", "--plain-http", name).split() == ["Z", "a", "v1", "v10"]
    assert oras("repo", "tags", "--plain-http", "--last", "a", name).split() == ["v1", "v10"]
    assert "oras/listed" in oras("repo", "ls", "--plain-http", shared_registry.address).split()
    assert digest_of_tag(shared_registry, "oras/listed", "Z") == layout.digest
    oras("manifest", "delete", "--plain-http", "--force", f"{name}:v1")
    assert tags_of(shared_registry, "oras/listed") == []
    assert "not found" in oras.refused("manifest", "fetch", "--plain-http", f"{name}@{layout.digest}")


def test_oras_handles_single_blobs(oras: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """A blob goes in and out by its digest, and is gone after its deletion."""
    content = os.urandom(images.MIB)
    (tmp_path / "blob").write_bytes(content)
    reference = f"{shared_registry.address}/oras/blob@{images.digest_of(content)}"
    oras("blob", "push", "--plain-http", reference, tmp_path / "blob")
    assert oras.raw("blob", "fetch", "--plain-http", "--output=-", reference) == content
    oras("blob", "delete", "--plain-http", "--force", reference)
    assert "not found" in oras.refused("blob", "fetch", "--plain-http", "--output=-", reference)
