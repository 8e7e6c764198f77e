"""What a manifest is, told by its types: an image, a chart, a signature. For showing only; nothing is decided by it.

Sources: the media types that docker, BuildKit, Helm, cosign, notation, ORAS, Flux and CycloneDX/SPDX tools write.
"""

import re
from enum import StrEnum

from registry.core.manifest import DOCKER_CONFIG, OCI_CONFIG, is_index

OCI_EMPTY = "application/vnd.oci.empty.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
COSIGN_SIGNATURE_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
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


def sort_of_fallback(tag: str) -> Sort | None:
    """What a tag stands for that clients made for themselves out of a digest, where a registry had no list of
    referrers: a signature, attestation or SBOM of cosign, or the list itself. None for any other tag."""
    found = _FALLBACK.fullmatch(tag)
    return None if found is None else _OF_SUFFIX.get(found[1], Sort.INDEX)
