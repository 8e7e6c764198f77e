"""regctl (regclient): chunks with Content-Range, anonymous mounts, sha512, referrers, tag deletes of its own."""

import json
import os
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import Tool, assert_mounted, digest_of_tag, tags_of, tool
from tests.running import Registry

SBOM = "application/vnd.depotry.sbom"
SIGNATURE = "application/vnd.depotry.signature"


@pytest.fixture
def regctl(tmp_path: Path, shared_registry: Registry) -> Tool:
    """regctl, told that the registry speaks plain HTTP."""
    return tool("regctl", tmp_path / "home", "--host", f"reg={shared_registry.address},tls=disabled")


@pytest.mark.parametrize("kind", images.FORMATS)
def test_what_regctl_pushes_it_pulls_into_an_empty_folder(
    regctl: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """Images, indexes and artifacts of every format keep their digests on the way in and out."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"{shared_registry.address}/regctl/{kind}:v1"
    regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", reference)
    assert regctl("image", "digest", reference) == layout.digest
    regctl("image", "copy", reference, f"ocidir://{tmp_path / 'pulled'}:v1")
    images.assert_same(tmp_path / "pulled", layout)


@pytest.mark.parametrize("kind", ["oci", "docker", "index", "artifact"])
def test_regctl_copies_between_repositories_without_sending_a_blob(
    regctl: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """A copy inside one registry is mounts and manifests, no bytes."""
    layout = images.FORMATS[kind](tmp_path / "made")
    source = f"{shared_registry.address}/regctl/from-{kind}:v1"
    target = f"{shared_registry.address}/regctl/to-{kind}:v1"
    regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", source)
    regctl("image", "copy", source, target)
    assert_mounted(shared_registry, f"regctl/to-{kind}", at_least=2)
    regctl("image", "copy", target, f"ocidir://{tmp_path / 'pulled'}:v1")
    images.assert_same(tmp_path / "pulled", layout)


def test_regctl_mounts_anonymously(regctl: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """regctl asks for a mount from nowhere in particular before it sends: what any repository shows needs no bytes."""
    layout = images.single(tmp_path / "made")
    name = f"{shared_registry.address}/regctl/anonymous"
    for number in (1, 2):
        regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", f"{name}-{number}:v1")
    assert_mounted(shared_registry, "regctl/anonymous-2", at_least=3)
    assert digest_of_tag(shared_registry, "regctl/anonymous-2", "v1") == layout.digest


def test_regctl_sends_chunks_with_ranges(regctl: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """A blob in chunks of 100,000 bytes, each with its Content-Range, is the blob that was sent."""
    address = shared_registry.address
    regctl(*("registry", "set", "--tls=disabled", "--blob-chunk=100000", "--blob-max=1000", "--skip-check", address))
    content = os.urandom(images.MIB + 17)
    digest = regctl_blob(regctl, f"{address}/regctl/chunked", content)
    assert digest == images.digest_of(content)
    chunks = [
        line
        for line in shared_registry.log_lines()
        if line.get("method") == "PATCH" and str(line["path"]).startswith("/v2/regctl/chunked/")
    ]
    assert len(chunks) >= 11 and {line["status"] for line in chunks} == {202}
    assert regctl.raw("blob", "get", f"{address}/regctl/chunked", digest) == content


def regctl_blob(regctl: Tool, repository: str, content: bytes) -> str:
    """Push a blob; returns its digest."""
    shown = regctl("blob", "put", repository, "--format={{.Digest}}", stdin=content)
    return shown.split()[-1]


def test_regctl_pushes_and_pulls_sha512(regctl: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """An image whose manifest and blobs are named by sha512 goes in by tag and comes out with that digest."""
    layout = images.single(tmp_path / "made")
    name = f"{shared_registry.address}/regctl/sha512"
    regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", f"{name}:v1")
    regctl("image", "mod", f"{name}:v1", "--digest-algo=sha512", "--create", f"{name}:v2")
    digest = regctl("image", "digest", f"{name}:v2")
    assert digest.startswith("sha512:")
    assert digest_of_tag(shared_registry, "regctl/sha512", "v2") == digest
    regctl("image", "copy", f"{name}:v2", f"ocidir://{tmp_path / 'pulled'}:v2")
    pulled = images.graph(tmp_path / "pulled", digest)
    assert {name.split(":")[0] for name in pulled} == {"sha512"} and len(pulled) == 4


def attach(regctl: Tool, reference: str, artifact_type: str, content: bytes) -> str:
    """Attach a blob to an image; returns the digest of the referrer."""
    return regctl(
        *("artifact", "put", "--artifact-type", artifact_type, "--subject", reference),
        "--format={{.Manifest.GetDescriptor.Digest}}",
        stdin=content,
    )


def referrers(regctl: Tool, reference: str, *flags: str) -> dict[str, str]:
    """Digest to artifact type of what regctl lists on a manifest."""
    found = json.loads(regctl("artifact", "list", reference, "--format={{json .Descriptors}}", *flags))
    return {entry["digest"]: entry["artifactType"] for entry in found or []}


def test_regctl_attaches_and_lists_referrers(regctl: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """Referrers are found through the API, all or by type, without a fallback tag; they copy along."""
    layout = images.single(tmp_path / "made")
    name = f"{shared_registry.address}/regctl/attached"
    regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", f"{name}:v1")
    content = os.urandom(images.KIB)
    sbom = attach(regctl, f"{name}:v1", SBOM, content)
    signature = attach(regctl, f"{name}:v1", SIGNATURE, b"")
    assert referrers(regctl, f"{name}:v1") == {sbom: SBOM, signature: SIGNATURE}
    assert referrers(regctl, f"{name}:v1", f"--filter-artifact-type={SBOM}") == {sbom: SBOM}
    got = regctl.raw("artifact", "get", "--subject", f"{name}:v1", f"--filter-artifact-type={SBOM}")
    assert got == content
    assert sbom in regctl("artifact", "tree", f"{name}:v1")
    assert tags_of(shared_registry, "regctl/attached") == ["v1"]
    regctl("image", "copy", "--referrers", f"{name}:v1", f"{name}-too:v1")
    assert referrers(regctl, f"{name}-too:v1") == {sbom: SBOM, signature: SIGNATURE}


def test_regctl_makes_an_index_of_images(regctl: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """An index made in the registry names its images with their platforms, and resolves by platform."""
    name = f"{shared_registry.address}/regctl/indexed"
    layout = images.multi_platform(tmp_path / "made")
    regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", f"{name}:v1")
    regctl(
        *("index", "create", f"{name}:both", "--ref", f"{name}:v1"),
        *("--platform", "linux/amd64", "--platform", "linux/arm64/v8"),
    )
    made = json.loads(regctl("manifest", "get", "--format=raw-body", f"{name}:both"))
    assert [entry["platform"]["architecture"] for entry in made["manifests"]] == ["amd64", "arm64"]
    found = regctl("image", "digest", "--platform=linux/arm64/v8", f"{name}:both")
    assert found == made["manifests"][1]["digest"]


def test_regctl_lists_tags_and_repositories_and_deletes(
    regctl: Tool, shared_registry: Registry, tmp_path: Path
) -> None:
    """A tag is deleted alone, without the dummy manifest of old registries; a manifest with its tags."""
    name = f"{shared_registry.address}/regctl/listed"
    layout = images.single(tmp_path / "made", files=images.random_files(images.KIB))
    for tag in ("one", "two", "three"):
        regctl("image", "copy", f"ocidir://{layout.path}:{images.TAG}", f"{name}:{tag}")
    assert regctl("tag", "ls", name).split() == ["one", "three", "two"]
    assert "regctl/listed" in regctl("repo", "ls", shared_registry.address).split()
    regctl("tag", "delete", f"{name}:two")
    assert regctl("tag", "ls", name).split() == ["one", "three"]
    assert digest_of_tag(shared_registry, "regctl/listed", "one") == layout.digest
    regctl("manifest", "delete", f"{name}@{layout.digest}")
    assert tags_of(shared_registry, "regctl/listed") == []
    assert "not found" in regctl.refused("manifest", "head", f"{name}:one")
