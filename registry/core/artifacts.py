"""What a manifest is, told by its types: an image, a chart, a signature. For showing only; nothing is decided by it.

Sources: the media types that docker, BuildKit, Helm, cosign, notation, ORAS, Flux and CycloneDX/SPDX tools write.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

from registry.core.manifest import DOCKER_CONFIG, OCI_CONFIG, is_index

OCI_EMPTY = "application/vnd.oci.empty.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
UNKNOWN_PLATFORM = "unknown/unknown"
"""The platform that BuildKit gives to attestations in an index."""

SIGNATURES = (
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
)
"""Artifact types of what carries a signature of its subject."""


class Sort(StrEnum):
    """What a manifest is to people."""

    IMAGE = "image"
    INDEX = "index"
    CHART = "chart"
    SIGNATURE = "signature"
    ATTESTATION = "attestation"
    SBOM = "sbom"
    CACHE = "cache"
    WASM = "wasm"
    MODEL = "model"
    ARTIFACT = "artifact"
    """Something else that is no image."""


_SORTS: dict[str, Sort] = {
    OCI_CONFIG: Sort.IMAGE,
    DOCKER_CONFIG: Sort.IMAGE,
    HELM_CONFIG: Sort.CHART,
    "application/vnd.buildkit.cacheconfig.v0": Sort.CACHE,
    "application/vnd.wasm.config.v0+json": Sort.WASM,
    "application/vnd.wasm.config.v1+json": Sort.WASM,
    "application/vnd.cncf.model.manifest.v1+json": Sort.MODEL,
    "application/vnd.cncf.model.config.v1+json": Sort.MODEL,
    "application/vnd.docker.ai.model.config.v0.1+json": Sort.MODEL,
    "application/vnd.in-toto+json": Sort.ATTESTATION,
    "application/vnd.dsse.envelope.v1+json": Sort.ATTESTATION,
    "application/vnd.dev.cosign.artifact.att.v1+json": Sort.ATTESTATION,
    "application/vnd.dev.cosign.artifact.sbom.v1+json": Sort.SBOM,
    **dict.fromkeys(SIGNATURES, Sort.SIGNATURE),
}
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_SIGNED = "https://sigstore.dev/cosign/sign/v1"
_OF_PARTS: dict[str, Sort] = {
    "application/vnd.dev.cosign.simplesigning.v1+json": Sort.SIGNATURE,
    "application/vnd.dsse.envelope.v1+json": Sort.ATTESTATION,
    "application/vnd.in-toto+json": Sort.ATTESTATION,
    "application/vnd.buildkit.cacheconfig.v0": Sort.CACHE,
}
"""By the type of a part: cosign and BuildKit give what is no image the config of one, or put it into an index."""
_SBOM = re.compile(r"(?:application|text)/(?:spdx|vnd\.cyclonedx|vnd\.syft)\b.*")
_FALLBACK = re.compile(r"sha256-[0-9a-f]{64}(?:\.(sig|att|sbom))?")
_OF_SUFFIX = {"sig": Sort.SIGNATURE, "att": Sort.ATTESTATION, "sbom": Sort.SBOM}


def sort_of(media_type: str, artifact_type: str | None) -> Sort:
    """What a manifest is, by its own type and its artifact type (that of its config where it states none)."""
    if artifact_type is not None:
        if artifact_type in _SORTS:
            return _SORTS[artifact_type]
        return Sort.SBOM if _SBOM.fullmatch(artifact_type) else Sort.ARTIFACT
    return Sort.INDEX if is_index(media_type) else Sort.ARTIFACT


def sort_of_whole(known: Sort, media_types: Iterable[str]) -> Sort:
    """The same, where the types of its layers or parts are known too."""
    if known not in (Sort.IMAGE, Sort.INDEX):
        return known
    return next((_OF_PARTS[media_type] for media_type in media_types if media_type in _OF_PARTS), known)


def sort_of_referrer(media_type: str, artifact_type: str | None, annotations: dict[str, str]) -> Sort:
    """What refers to another manifest. A bundle of sigstore says in its annotations what it states."""
    predicate = annotations.get(_PREDICATE)
    if artifact_type != _BUNDLE or predicate in (None, "", _SIGNED):
        return sort_of(media_type, artifact_type)
    return Sort.SBOM if "spdx" in predicate or "cyclonedx" in predicate else Sort.ATTESTATION


def sort_of_fallback(tag: str) -> Sort | None:
    """What a tag stands for that clients made for themselves out of a digest, where a registry had no list of
    referrers: a signature, attestation or SBOM of cosign, or the list itself. None for any other tag."""
    found = _FALLBACK.fullmatch(tag)
    return None if found is None else _OF_SUFFIX.get(found[1], Sort.INDEX)


def types_of(sort: Sort) -> tuple[str, ...]:
    """The artifact types that are known to be of a sort."""
    return tuple(artifact_type for artifact_type, known in _SORTS.items() if known is sort)
