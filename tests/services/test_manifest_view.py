"""Manifests as people see them: what is known is shown, and what cannot be read is said to be so."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from registry.core.artifacts import SIGNATURES, Sort
from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown, NameUnknown
from registry.core.limits import CONFIG_MAX_BYTES
from registry.core.manifest import OCI_CONFIG, OCI_MANIFEST
from registry.core.names import Reference
from registry.metadata import referrer_tree
from registry.services.manifest_view import ConfigState, ManifestView
from registry.services.referrer_view import Referrer, Referrers
from tests.core.test_image_config import CONFIG
from tests.core.test_manifest import encoded, entry, image, index
from tests.services.conftest import NAME, OTHER, House, by_tag
from tests.services.test_contents import describe, numbered, with_blobs

pytestmark = pytest.mark.anyio
HELM = "application/vnd.cncf.helm.config.v1+json"


async def seen(house: House, reference: Reference) -> ManifestView:
    """The view."""
    return await house.contents.manifest(await house.at(NAME), reference)


async def referrers(house: House, subject: Digest) -> Referrers:
    """The tree."""
    return await house.contents.referrers(await house.at(NAME), subject)


async def with_config(house: House, config: bytes, media_type: str = OCI_CONFIG, layers: int = 2) -> ManifestView:
    """An image with this config, as it is seen."""
    await house.blob(config)
    for number in range(layers):
        await house.blob(b"layer %d" % number)
    document = image(
        config=entry(config.decode("latin-1"), media_type) | {"digest": str(Digest.of(config)), "size": len(config)},
        layers=[entry(f"layer {number}") for number in range(layers)],
    )
    await house.manifest(document, "v1")
    return await seen(house, by_tag("v1"))


async def test_an_image(house: House) -> None:
    """Layers with the steps that made them, what it runs, where it is tagged, and its bytes."""
    found = await with_config(house, json.dumps(CONFIG).encode())
    assert (found.sort, found.media_type, found.subject) == (Sort.IMAGE, OCI_MANIFEST, None)
    assert [(layer.instruction, layer.size, layer.is_held) for layer in found.layers] == [
        ("ADD file:1 in /", 7, True), ("RUN make", 7, True),
    ]  # fmt: skip
    assert found.config is not None
    assert found.config.state is ConfigState.READ
    assert found.config.image is not None
    assert found.config.image.cmd == ("serve", "--port", "80")
    assert found.config.text is not None
    assert json.loads(found.config.text) == CONFIG
    assert found.text is not None
    assert Digest.of(found.text.encode()) == found.digest
    assert (found.named.tags, found.named.parents, found.is_cut) == (["v1"], [], False)
    assert found.size == len(found.text) + len(found.config.text) + 14
    assert found == await seen(house, Reference(digest=found.digest))


async def test_shared_layers_are_those_of_other_manifests_here(house: House) -> None:
    """What other repositories hold is not told; SEC-022."""
    await house.blob(b"{}", OTHER)
    await house.blob(b"x", OTHER)
    await with_blobs(house)
    await house.manifest(image(), "one")
    (layer,) = (await seen(house, by_tag("one"))).layers
    assert not layer.is_shared
    await house.manifest(numbered(1), "two")
    (layer,) = (await seen(house, by_tag("one"))).layers
    assert layer.is_shared
    with pytest.raises(ManifestUnknown):
        await house.contents.manifest(await house.at(OTHER), Reference(digest=Digest.of(encoded(image()))))
    with pytest.raises(NameUnknown):
        await house.contents.manifest(await house.at(type(NAME)("team/none")), by_tag("one"))


@pytest.mark.parametrize(
    "content", [b"no json", b"[]", b"\xff\xfe", b"", b'{"config": 7, "history": "x"}', b"[" * 9999]
)
async def test_a_config_that_is_none(house: House, content: bytes) -> None:
    """Whatever was pushed as a config, the manifest is shown; layers have no steps then."""
    found = await with_config(house, content)
    assert found.config is not None
    assert found.config.state is (ConfigState.READ if content.startswith(b"{") else ConfigState.UNAVAILABLE)
    assert [layer.instruction for layer in found.layers] == [None, None]


async def test_a_config_that_is_damaged_or_gone(house: House) -> None:
    """Wrong bytes, a wrong size, no object, a mark: the rest is shown, and the read changes nothing."""
    await with_config(house, json.dumps(CONFIG).encode())
    digest = Digest.of(json.dumps(CONFIG).encode())
    content = house.store._shelf.objects
    (key,) = [key for key in content if key.digest == digest]
    whole = content[key]
    for damaged in (whole[:-1], whole[:-1] + b"!"):
        content[key] = damaged
        found = await seen(house, by_tag("v1"))
        assert found.config is not None
        assert (found.config.state, found.config.text) == (ConfigState.UNAVAILABLE, None)
        assert len(found.layers) == 2
    del content[key]
    found = await seen(house, by_tag("v1"))
    assert found.config is not None
    assert found.config.state is ConfigState.UNAVAILABLE
    assert await house.rows("SELECT id FROM objects WHERE corrupt_at IS NOT NULL") == []
    content[key] = whole
    await house.database.write(lambda connection: connection.execute(text("UPDATE objects SET corrupt_at = 1")))
    found = await seen(house, by_tag("v1"))
    assert found.config is not None
    assert found.config.state is ConfigState.UNAVAILABLE
    assert not any(layer.is_held for layer in found.layers)


async def test_a_config_that_is_too_large_is_not_read(house: House) -> None:
    """I10: it is stored like any blob."""
    found = await with_config(house, b" " * (CONFIG_MAX_BYTES + 1))
    assert found.config is not None
    assert found.config.state is ConfigState.UNAVAILABLE


async def test_a_chart_and_other_artifacts(house: House) -> None:
    """A chart says what it is; an unknown config is shown as text; an empty one is said to be empty."""
    found = await with_config(house, b'{"name": "web", "version": "1.0.0"}', HELM, layers=1)
    assert found.sort is Sort.CHART
    assert found.config is not None
    assert found.config.chart is not None
    assert (found.config.chart.name, found.config.state) == ("web", ConfigState.READ)
    found = await with_config(house, b'{"a": 1}', "application/vnd.example+json", layers=1)
    assert found.sort is Sort.ARTIFACT
    assert found.config is not None
    assert (found.config.state, found.config.text) == (ConfigState.FOREIGN, '{"a": 1}')
    found = await with_config(house, b"{}", "application/vnd.oci.empty.v1+json", layers=1)
    assert found.config is not None
    assert found.config.text == "{}"


async def test_an_index_with_its_parts_and_a_part_with_its_index(house: House) -> None:
    """Platforms with digests and sizes, what an attestation is about, what is not here; parents and their platforms."""
    await with_blobs(house)
    amd, proof = numbered(1), numbered(2)
    for document in (amd, proof):
        await house.manifest(document)
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": describe(amd)["digest"],
    }
    whole = index(
        describe(amd, platform={"os": "linux", "architecture": "amd64"}),
        describe(proof, platform={"os": "unknown", "architecture": "unknown"}, annotations=about),
        describe(numbered(3), platform={"os": "windows", "architecture": "amd64"}),
    )
    await house.manifest(whole, "v1", "v2")
    found = await seen(house, by_tag("v1"))
    assert (found.sort, found.config, found.layers) == (Sort.INDEX, None, ())
    size = len(encoded(amd)) + 3
    digest = Digest.of(encoded(amd))
    assert [(part.platform, part.size, part.is_attestation, part.attests) for part in found.parts] == [
        ("linux/amd64", size, False, None),
        ("unknown/unknown", len(encoded(proof)) + 3, True, digest),
        ("windows/amd64", None, False, None),
    ]
    assert [part.is_held for part in found.parts] == [True, True, False]
    assert found.named.tags == ["v1", "v2"]
    part = await seen(house, Reference(digest=digest))
    assert [(parent.digest, parent.platform) for parent in part.named.parents] == [(found.digest, "linux/amd64")]


async def test_a_build_cache(house: House) -> None:
    """BuildKit's index of layers and a config: blobs as parts, and said to be a cache."""
    await with_blobs(house)
    await house.manifest(index(entry("x"), entry("{}", "application/vnd.buildkit.cacheconfig.v0")), "cache")
    found = await seen(house, by_tag("cache"))
    assert found.sort is Sort.CACHE
    assert [(part.size, part.is_held) for part in found.parts] == [(1, True), (2, True)]


def flat(found: tuple[Referrer, ...]) -> list[Any]:
    """A tree as lists."""
    return [[one.sort.value, *flat(one.referrers)] for one in found]


def counted(found: tuple[Referrer, ...]) -> int:
    """The lines of a tree."""
    return sum(1 + counted(one.referrers) for one in found)


async def test_the_tree_of_referrers(house: House) -> None:
    """A signature of an SBOM of an image, an attestation, and what cosign tags beside them; with annotations."""
    await with_blobs(house)
    await house.manifest(image(), "v1")
    root = Digest.of(encoded(image()))
    sbom = image(subject=describe(image()), artifactType="application/spdx+json", annotations={"a": "b"})
    await house.manifest(sbom)
    await house.manifest(image(subject=describe(sbom), artifactType=SIGNATURES[0]))
    await house.manifest(image(subject=describe(image()), artifactType="application/vnd.in-toto+json"))
    await house.manifest(numbered(5), f"sha256-{root.hex}.sig")
    await house.manifest(numbered(6), f"sha256-{Digest.of(encoded(sbom)).hex}.att")
    found = await referrers(house, root)
    assert flat(found.referrers) == [
        ["sbom", ["signature"], ["attestation"]], ["attestation"], ["signature"],
    ]  # fmt: skip
    assert found.referrers[0].annotations == {"a": "b"}
    assert [one.tag for one in found.referrers] == [None, None, f"sha256-{root.hex}.sig"]
    assert (found.count, found.is_cut) == (5, False)
    assert (await referrers(house, Digest.of(b"none"))).referrers == ()
    with pytest.raises(NameUnknown):
        await house.contents.referrers(await house.at(OTHER), root)


async def test_a_tree_has_an_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: so deep, and so many; it says that there is more."""
    await with_blobs(house)
    chain = image()
    for number in range(referrer_tree.DEPTH_MAX + 3):
        await house.manifest(chain)
        chain = numbered(number, subject=describe(chain))
    found = await referrers(house, Digest.of(encoded(image())))
    assert found.count == referrer_tree.DEPTH_MAX
    monkeypatch.setattr(referrer_tree, "NODES_MAX", 2)
    other = numbered(99)
    await house.manifest(other)
    for number in range(5):
        await house.manifest(numbered(number, subject=describe(other)))
    # The limit of the statement is that of the module's start: what is more is cut after it.
    found = await referrers(house, Digest.of(encoded(other)))
    assert (found.count, found.is_cut) == (2, True)


async def test_tags_in_a_circle(house: House) -> None:
    """Two manifests that are tagged as each other's signature do not go round."""
    await with_blobs(house)
    one, other = (Digest.of(encoded(numbered(number))) for number in (1, 2))
    await house.manifest(numbered(1), f"sha256-{other.hex}.sig")
    await house.manifest(numbered(2), f"sha256-{one.hex}.sig")
    found = await referrers(house, one)
    assert flat(found.referrers) == [["signature"]]


async def test_sec_016_tags_in_every_direction(house: House) -> None:
    """SEC-016: where tags say that everything is attached to everything, each manifest is shown under each, and what is
    below it once: eleven of them are no page of 35,000 lines."""
    await with_blobs(house)
    root = numbered(0)
    documents = [root, *(numbered(number) | {"subject": describe(root)} for number in range(1, 11))]
    for number, document in enumerate(documents):
        for step, suffix in enumerate(("", ".att", ".sbom", ".sig")):
            target = Digest.of(encoded(documents[(number + step + 1) % len(documents)]))
            await house.manifest(document, f"sha256-{target.hex}{suffix}")
    found = await referrers(house, Digest.of(encoded(root)))
    assert found.count == 54
    assert counted(found.referrers) <= found.count
    assert {one.digest for one in found.referrers} == {Digest.of(encoded(one)) for one in documents[1:]}


async def test_long_annotations_are_left_out_of_the_tree(house: House) -> None:
    """I10: a tree of many referrers stays small, whatever they say."""
    await with_blobs(house)
    await house.manifest(image(subject=describe(image()), annotations={"long": "x" * 20_000}))
    found = await referrers(house, Digest.of(encoded(image())))
    assert found.referrers[0].annotations is None
