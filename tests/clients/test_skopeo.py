"""skopeo (containers/image): streamed PATCH without a length, format conversion, mounts, tag lists, deletes."""

import json
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import Tool, assert_mounted, digest_of_tag, tags_of, tool
from tests.running import Registry

PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")
EXACT = ("copy", "--all", "--preserve-digests", *PLAIN)


@pytest.fixture
def skopeo(tmp_path: Path) -> Tool:
    """skopeo with a policy that accepts everything."""
    return tool("skopeo", tmp_path / "home")


@pytest.mark.parametrize("kind", ["oci", "zstd", "uncompressed", "index", "artifact"])
def test_what_skopeo_pushes_it_pulls_into_an_empty_folder(
    skopeo: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """OCI images, indexes and artifacts keep their digests on the way in and out."""
    layout = images.FORMATS[kind](tmp_path / "made")
    reference = f"docker://{shared_registry.address}/skopeo/{kind}:v1"
    skopeo(*EXACT, f"oci:{layout.path}:{images.TAG}", reference)
    assert digest_of_tag(shared_registry, f"skopeo/{kind}", "v1") == layout.digest
    skopeo(*EXACT, reference, f"oci:{tmp_path / 'pulled'}:v1")
    images.assert_same(tmp_path / "pulled", layout)


@pytest.mark.parametrize("kind", ["oci", "index"])
def test_skopeo_converts_to_docker_schema_2(skopeo: Tool, shared_registry: Registry, tmp_path: Path, kind: str) -> None:
    """What it converts on the way in comes out with the digest that it computed, and the layers unchanged."""
    make = {"oci": images.single, "index": images.unattested}[kind]
    layout = make(tmp_path / "made")
    reference = f"docker://{shared_registry.address}/skopeo/v2s2-{kind}:v1"
    digest_file = tmp_path / "digest"
    skopeo(
        *("copy", "--all", "--format=v2s2", f"--digestfile={digest_file}", *PLAIN),
        *(f"oci:{layout.path}:{images.TAG}", reference),
    )
    skopeo(*EXACT, reference, f"dir:{tmp_path / 'pulled'}")
    manifest = (tmp_path / "pulled" / "manifest.json").read_bytes()
    assert images.digest_of(manifest) == digest_file.read_text(encoding="ascii")
    assert json.loads(manifest)["mediaType"] in (images.DOCKER_MANIFEST, images.DOCKER_LIST)
    _check_folder(tmp_path / "pulled")


def _check_folder(folder: Path) -> None:
    """Every blob of a `dir:` copy has the digest that is its name."""
    blobs = [path for path in folder.iterdir() if len(path.name) == 64]
    assert blobs
    for path in blobs:
        assert images.digest_of(path.read_bytes()) == f"sha256:{path.name}"


@pytest.mark.parametrize("kind", ["oci", "index"])
def test_skopeo_copies_between_repositories_without_sending_a_layer(
    skopeo: Tool, shared_registry: Registry, tmp_path: Path, kind: str
) -> None:
    """A copy inside one registry mounts the layers that skopeo itself pushed before.

    It remembers a layer for mounts only if it saw the end of its own file before the server's answer. It always does
    where it compresses on the way; with a known length the answer sometimes comes first.
    """
    plain = {
        "oci": lambda path: images.single(path, compression=""),
        "index": lambda path: images.multi_platform(path, compression="", attested=False),
    }
    layout = plain[kind](tmp_path / "made")
    name = f"docker://{shared_registry.address}/skopeo"
    skopeo("copy", "--all", *PLAIN, f"oci:{layout.path}:{images.TAG}", f"{name}/from-{kind}:v1")
    skopeo(*EXACT, f"{name}/from-{kind}:v1", f"{name}/to-{kind}:v1")
    assert_mounted(shared_registry, f"skopeo/to-{kind}", at_least=2, sent_at_most=8 * images.KIB)
    digest = digest_of_tag(shared_registry, f"skopeo/from-{kind}", "v1")
    assert digest is not None and digest_of_tag(shared_registry, f"skopeo/to-{kind}", "v1") == digest
    skopeo(*EXACT, f"{name}/to-{kind}:v1", f"oci:{tmp_path / 'pulled'}:v1")
    assert len(images.graph(tmp_path / "pulled", digest)) == {"oci": 4, "index": 7}[kind]


def test_skopeo_lists_tags_inspects_and_deletes(skopeo: Tool, shared_registry: Registry, tmp_path: Path) -> None:
    """A delete by tag is a delete of the manifest: every tag on it goes."""
    repository = f"docker://{shared_registry.address}/skopeo/listed"
    first = images.single(tmp_path / "first", files=images.random_files(images.KIB))
    other = images.single(tmp_path / "other", files=images.random_files(images.KIB))
    for layout, tag in ((first, "one"), (first, "two"), (other, "three")):
        skopeo(*EXACT, f"oci:{layout.path}:{images.TAG}", f"{repository}:{tag}")
    assert skopeo.json("list-tags", "--tls-verify=false", repository)["Tags"] == ["one", "three", "two"]
    shown = skopeo.json("inspect", "--tls-verify=false", f"{repository}:one")
    assert (shown["Digest"], shown["Architecture"]) == (first.digest, "amd64")
    skopeo("delete", "--tls-verify=false", f"{repository}:one")
    assert tags_of(shared_registry, "skopeo/listed") == ["three"]
    assert "manifest unknown" in skopeo.refused("inspect", "--tls-verify=false", f"{repository}:two")


def test_skopeo_does_not_send_what_the_repository_holds(
    skopeo: Tool, shared_registry: Registry, tmp_path: Path
) -> None:
    """A second push of the same image asks for each blob, and sends none."""
    layout = images.single(tmp_path / "made")
    reference = f"docker://{shared_registry.address}/skopeo/again"
    skopeo(*EXACT, f"oci:{layout.path}:{images.TAG}", f"{reference}:v1")
    before = _sent(shared_registry)
    skopeo(*EXACT, f"oci:{layout.path}:{images.TAG}", f"{reference}:v2")
    assert digest_of_tag(shared_registry, "skopeo/again", "v2") == layout.digest
    assert _sent(shared_registry) == before


def _sent(registry: Registry) -> int:
    uploads = "/v2/skopeo/again/blobs/uploads/"
    return sum(line["received_bytes"] for line in registry.log_lines() if str(line.get("path", "")).startswith(uploads))
