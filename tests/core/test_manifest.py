"""Manifests: what is taken, what is refused, and what a listing says of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import Digest
from registry.core.errors import ManifestInvalid
from registry.core.limits import MANIFEST_MAX_REFERENCES
from registry.core.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Kind,
    config_summary,
    parse,
    parse_config,
    platform_name,
)

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


def entry(content: str = "x", media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    """A descriptor."""
    return {
        "mediaType": media_type, "digest": str(Digest.of(content.encode())), "size": len(content), **more
    }  # fmt: skip


def image(**more: Any) -> dict[str, Any]:
    """An image manifest, with fields replaced or added."""
    return {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry("{}", CONFIG), "layers": [entry()], **more
    }  # fmt: skip


def index(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An index."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children), **more}


def encoded(document: object) -> bytes:
    """As a client sends it."""
    return json.dumps(document).encode()


def test_an_image() -> None:
    """Config and layers are what it needs; the payload stays byte for byte."""
    payload = encoded(image(annotations={"a": "b"}, unknown={"kept": [1]}))
    manifest = parse(payload, OCI_MANIFEST)
    assert manifest.kind is Kind.IMAGE
    assert manifest.payload is payload
    assert [str(blob.digest) for blob in manifest.blobs] == [entry("{}")["digest"], entry()["digest"]]
    assert manifest.artifact_type == CONFIG
    assert manifest.annotations == {"a": "b"}


def test_an_index_with_platforms_and_a_blob_among_its_children() -> None:
    """A child of a type that is no manifest is a blob (BuildKit caches); attestations have no platform."""
    manifest = parse(
        encoded(
            index(
                entry("1", OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
                entry("2", OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"}),
                entry("3", LAYER),
            )
        ),
        OCI_INDEX,
    )
    assert manifest.kind is Kind.INDEX
    assert manifest.platforms == ["linux/arm64/v8"]
    assert len(manifest.children) == 2
    assert len(manifest.blobs) == 1


def test_docker_types() -> None:
    """Docker's own types are read by the same rules."""
    assert parse(encoded(image(mediaType=DOCKER_MANIFEST)), DOCKER_MANIFEST).kind is Kind.IMAGE
    assert parse(encoded(index(mediaType=DOCKER_LIST)), DOCKER_LIST).kind is Kind.INDEX


def test_content_elsewhere_need_not_be_here() -> None:
    """Foreign and non-distributable layers."""
    foreign = entry("f", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    moved = entry("m", LAYER, urls=["https://example.test/m"])
    manifest = parse(encoded(image(layers=[foreign, moved, entry()])), OCI_MANIFEST)
    assert [blob.elsewhere for blob in manifest.blobs] == [False, True, True, False]


def test_needed_here_once_is_needed() -> None:
    """A blob that is mentioned with and without URLs has to be here."""
    both = image(layers=[entry("m", urls=["https://example.test/m"]), entry("m")])
    assert [blob.elsewhere for blob in parse(encoded(both), OCI_MANIFEST).blobs] == [False, False]


@pytest.mark.parametrize("value", [None, []])
def test_no_layers(value: object) -> None:
    """An empty list, or the null that some Go programs write for it."""
    assert len(parse(encoded(image(layers=value)), OCI_MANIFEST).blobs) == 1


SUBJECT = entry("s", OCI_MANIFEST)


def test_a_referrer_shows_type_size_and_annotations() -> None:
    """The artifact type falls back to the config's media type for an image, and to nothing for an index."""
    manifest = parse(encoded(image(subject=SUBJECT, annotations={"k": "v"})), OCI_MANIFEST)
    shown = manifest.referrer_descriptor(Digest.of(manifest.payload))
    assert shown["artifactType"] == CONFIG
    assert shown["annotations"] == {"k": "v"}
    assert shown["size"] == len(manifest.payload)
    assert "artifactType" not in parse(encoded(index(subject=SUBJECT)), OCI_INDEX).referrer_descriptor(Digest.of(b""))
    typed = parse(encoded(index(subject=SUBJECT, artifactType="a/b")), OCI_INDEX)
    assert typed.referrer_descriptor(Digest.of(b""))["artifactType"] == "a/b"


BAD_IMAGES: list[dict[str, Any]] = [
    {"schemaVersion": 1},
    {"schemaVersion": True},
    {"schemaVersion": "2"},
    {"mediaType": OCI_INDEX},
    {"mediaType": 7},
    {"manifests": []},
    {"config": None},
    {"config": []},
    {"config": entry("{}", "")},
    {"layers": {}},
    {"layers": [None]},
    {"layers": [entry(size=-1)]},
    {"layers": [entry(size=True)]},
    {"layers": [entry(size=1.5)]},
    {"layers": [entry(size="1")]},
    {"layers": [entry(size=2**63)]},
    {"layers": [entry(digest="sha256:bad")]},
    {"layers": [entry(digest=None)]},
    {"layers": [entry(), entry(size=9)]},
    {"layers": [entry("x", "no media type")]},
    {"layers": [entry("x", 5)]},  # type: ignore[arg-type]
    {"subject": "x"},
    {"subject": {}},
    {"annotations": []},
    {"annotations": {"a": 1}},
    {"artifactType": "evil\r\nheader: x"},
    {"layers": [entry()] * (MANIFEST_MAX_REFERENCES + 1)},
]


@pytest.mark.parametrize("change", BAD_IMAGES, ids=lambda change: str(change)[:60])
def test_a_bad_image_is_refused(change: dict[str, Any]) -> None:
    """SEC-003 and the grammar of descriptors."""
    with pytest.raises(ManifestInvalid):
        parse(encoded(image(**change)), OCI_MANIFEST)


@pytest.mark.parametrize("more", [{"layers": []}, {"config": entry()}, {"manifests": None}, {"manifests": {}}])
def test_a_bad_index_is_refused(more: dict[str, Any]) -> None:
    """SEC-003: nothing can be read as both."""
    with pytest.raises(ManifestInvalid):
        parse(encoded({**index(), **more}), OCI_INDEX)


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", OCI_MANIFEST.upper(), OCI_MANIFEST + "; charset=utf-8",
     f"{OCI_MANIFEST}, {OCI_MANIFEST}",
     "application/vnd.docker.distribution.manifest.v1+prettyjws"],
)  # fmt: skip
def test_the_content_type_has_to_be_exact(content_type: str | None) -> None:
    """SEC-003: missing, twice, with parameters, in upper case, or schema 1."""
    with pytest.raises(ManifestInvalid):
        parse(encoded(image(mediaType=content_type or OCI_MANIFEST)), content_type)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + encoded(image()),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        encoded(image()).replace(b'"size": 1', b'"size": ' + b"1" * 1_000_000),
        encoded(image()).replace(b'"size": 1', b'"size": NaN'),
        encoded(image()).replace(b'"size": 1', b'"size": 1e999'),
        encoded(image(annotations={"a": "HERE"})).replace(b"HERE", rb"\ud800"),
        encoded(image()).replace(b'"layers"', b'"layers": [], "layers"'),
        encoded(image()) + b"x",
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_hostile_json_is_refused(payload: bytes) -> None:
    """SEC-094: nesting, huge numbers, NaN, half surrogates, BOM, duplicate keys, trailing bytes."""
    with pytest.raises(ManifestInvalid):
        parse(payload, OCI_MANIFEST)


def test_a_whole_surrogate_pair_is_fine() -> None:
    """An escaped emoji is text."""
    payload = encoded(image(annotations={"a": "\U0001f600"}))
    assert rb"\ud83d" in payload
    assert parse(payload, OCI_MANIFEST).annotations == {"a": "\U0001f600"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(image())), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*image(), *index(), "subject", "annotations", "artifactType"]), JSON))
def test_any_document_is_a_manifest_or_refused(change: dict[str, Any]) -> None:
    """No JSON raises anything but ManifestInvalid."""
    for base, media_type in ((image(), OCI_MANIFEST), (index(), OCI_INDEX)):
        try:
            parse(encoded({**base, **change}), media_type)
        except ManifestInvalid:
            pass


def test_a_config_is_summarised_within_bounds() -> None:
    """Only the fields of a listing, each short, whatever the config holds."""
    config = {
        "os": "linux", "architecture": "amd64", "created": "x" * 10_000,
        "config": {"Cmd": ["a"] * 1000, "Entrypoint": "no list", "User": None, "ExposedPorts": {"80/tcp": {}}},
    }  # fmt: skip
    summary = config_summary(config)
    assert len(json.dumps(summary)) < 2_000
    assert summary["os"] == "linux"
    assert len(summary["Cmd"]) == 32
    assert summary["ExposedPorts"] == ["80/tcp"]
    assert platform_name(config) == "linux/amd64"


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"[" * 100_000, b"\xff"])
def test_a_config_that_is_no_json_has_no_summary(content: bytes) -> None:
    """A config is a blob like any other: an odd one is no reason to refuse an image."""
    assert parse_config(content) is None


@given(JSON)
def test_any_config_can_be_summarised(config: object) -> None:
    """No config raises."""
    if isinstance(config, dict):
        json.dumps(config_summary(config))
        platform_name(config)
