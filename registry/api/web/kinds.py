"""What an artifact is, in a word, by its artifact type: images, charts, signatures and the like."""

from collections.abc import Iterable
from enum import StrEnum

from registry.core.manifest import DOCKER_CONFIG, DOCKER_LIST, OCI_CONFIG, OCI_INDEX


class Kind(StrEnum):
    """What people call it; templates have the words."""

    IMAGE = "image"
    INDEX = "index"
    CHART = "chart"
    SIGNATURE = "signature"
    SBOM = "sbom"
    ATTESTATION = "attestation"
    SCAN = "scan"
    WASM = "wasm"
    MODEL = "model"
    PLUGIN = "plugin"
    POLICY = "policy"
    OTHER = "other"


_EXACT = {
    OCI_CONFIG: Kind.IMAGE,
    DOCKER_CONFIG: Kind.IMAGE,
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
    "application/vnd.cncf.helm.config.v1+json": Kind.CHART,
    "application/vnd.docker.plugin.v1+json": Kind.PLUGIN,
    "application/vnd.security.vulnerability.report": Kind.SCAN,
}
_PIECES = (
    ("helm", Kind.CHART),
    ("in-toto", Kind.ATTESTATION),
    ("dsse", Kind.ATTESTATION),
    ("spdx", Kind.SBOM),
    ("cyclonedx", Kind.SBOM),
    ("syft", Kind.SBOM),
    ("sbom", Kind.SBOM),
    ("sarif", Kind.SCAN),
    ("trivy", Kind.SCAN),
    ("cosign", Kind.SIGNATURE),
    ("sigstore", Kind.SIGNATURE),
    ("notary", Kind.SIGNATURE),
    ("signature", Kind.SIGNATURE),
    ("wasm", Kind.WASM),
    ("ollama", Kind.MODEL),
    ("modelkit", Kind.MODEL),
    ("cncf.model", Kind.MODEL),
    ("ai.model", Kind.MODEL),
    ("openpolicyagent", Kind.POLICY),
)
"""What makers of artifacts put into their types, the more telling first."""


def kind_of(artifact_type: str | None) -> Kind:
    """What an artifact of this type is; an index where it has none."""
    if not artifact_type:
        return Kind.INDEX
    if (known := _EXACT.get(artifact_type)) is not None:
        return known
    lowered = artifact_type.lower()
    return next((kind for piece, kind in _PIECES if piece in lowered), Kind.OTHER)


def kinds_of(artifact_types: Iterable[str]) -> list[Kind]:
    """What several are, each word once."""
    return list(dict.fromkeys(map(kind_of, artifact_types)))
