"""A manifest as people see it: put together from its own bytes, what SQL knows of its parts, and its config."""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from registry.core import image_config, manifest
from registry.core.artifacts import HELM_CONFIG, OCI_EMPTY, UNKNOWN_PLATFORM, Sort, sort_of, sort_of_whole
from registry.core.digest import Digest
from registry.core.errors import DigestInvalid
from registry.core.image_config import Chart, ImageConfig
from registry.core.limits import SHOWN_PARTS_MAX, SHOWN_TEXT_MAX_BYTES
from registry.core.manifest import DOCKER_CONFIG, OCI_CONFIG
from registry.metadata.manifest_details import Blob, Known, Named, Pieces

_ATTESTED = "vnd.docker.reference.digest"
"""The annotation by which BuildKit says what an attestation is about."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, or another blob of a manifest. `size` in bytes. `instruction`: the step of the build that made it, where
    the config says. `is_shared`: other manifests of this repository have it too; `is_held`: the repository has it."""

    digest: Digest
    media_type: str
    size: int
    instruction: str | None
    is_shared: bool
    is_held: bool
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an index. `size` in bytes, with everything below, None where the repository does not hold it.
    `attests`: what an attestation is about."""

    digest: Digest
    media_type: str
    platform: str | None
    size: int | None
    is_held: bool
    is_attestation: bool
    attests: Digest | None
    annotations: dict[str, str]


class ConfigState(StrEnum):
    """What could be made of a config."""

    READ = "read"
    EMPTY = "empty"
    """It says nothing by intent."""
    FOREIGN = "foreign"
    """Of a type that is not known here; it may still be shown as text."""
    UNAVAILABLE = "unavailable"
    """Missing, corrupt, too large, or not what its type says."""


@dataclass(frozen=True, slots=True)
class Config:
    """The config of a manifest. `size` in bytes. `text`: it as it is, if it is text and not too long."""

    digest: Digest
    media_type: str
    size: int
    state: ConfigState
    image: ImageConfig | None = None
    chart: Chart | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestView:
    """A manifest. Sizes in bytes: `size` with everything below, `payload_size` its own. `pushed_at` in ms since 1970
    UTC. `is_cut`: it has more tags, parents, layers or parts than are named."""

    digest: Digest
    media_type: str
    artifact_type: str | None
    sort: Sort
    size: int
    payload_size: int
    pushed_at: int
    annotations: dict[str, str]
    subject: Digest | None
    has_subject: bool
    named: Named
    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    config: Config | None
    is_cut: bool
    text: str | None
    """Its own bytes, if they are not too many."""


def view(known: Known) -> ManifestView:
    """A manifest without what its config says: that is read afterwards, and added by `with_config`."""
    row = known.row
    document = json.loads(row.payload)
    layers = _layers(document.get("layers"), known.pieces.blobs)
    parts = _parts(document.get("manifests"), known.pieces)
    kinds = [layer.media_type for layer in layers] + [part.media_type for part in parts]
    counts = [len(document.get(key) or []) for key in ("layers", "manifests")]
    return ManifestView(
        digest=row.digest,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        sort=sort_of_whole(sort_of(row.media_type, row.artifact_type), kinds),
        size=row.size,
        payload_size=len(row.payload),
        pushed_at=row.pushed_at,
        annotations=_annotations(document),
        subject=row.subject,
        has_subject=row.has_subject,
        named=known.named,
        layers=layers,
        parts=parts,
        config=_config(document.get("config")),
        is_cut=known.named.is_cut or max(counts) > SHOWN_PARTS_MAX,
        text=_shown(row.payload),
    )


def _layers(value: Any, blobs: dict[Digest, Blob]) -> tuple[Layer, ...]:
    found = []
    for entry in (value or [])[:SHOWN_PARTS_MAX]:
        digest = Digest.parse(entry["digest"])
        blob = blobs.get(digest)
        found.append(
            Layer(
                digest=digest,
                media_type=entry["mediaType"],
                size=entry["size"],
                instruction=None,
                is_shared=blob is not None and blob.is_shared,
                is_held=blob is not None and blob.object_id is not None,
                annotations=_annotations(entry),
            )
        )
    return tuple(found)


def _parts(value: Any, known: Pieces) -> tuple[Part, ...]:
    return tuple(_part(entry, known) for entry in (value or [])[:SHOWN_PARTS_MAX])


def _part(entry: dict[str, Any], known: Pieces) -> Part:
    digest = Digest.parse(entry["digest"])
    child, blob = known.parts.get(digest), known.blobs.get(digest)
    platform = entry.get("platform")
    name = manifest.platform_name(platform) if isinstance(platform, dict) else None
    annotations = _annotations(entry)
    size = None if child is None else child.size
    if blob is not None and blob.object_id is not None:
        size = blob.size
    return Part(
        digest=digest,
        media_type=entry["mediaType"],
        platform=name or (None if child is None else child.name),
        size=size,
        is_held=size is not None,
        is_attestation=name == UNKNOWN_PLATFORM,
        attests=_digest(annotations.get(_ATTESTED)),
        annotations=annotations,
    )


def _config(entry: Any) -> Config | None:
    if not isinstance(entry, dict):
        return None
    digest, media_type = Digest.parse(entry["digest"]), entry["mediaType"]
    state = ConfigState.EMPTY if media_type == OCI_EMPTY else ConfigState.UNAVAILABLE
    return Config(digest, media_type, entry["size"], state)


def with_config(found: ManifestView, content: bytes) -> ManifestView:
    """The same with what its config says, which is `content`. Layers get the steps that made them, if there are as many
    of them as the config says."""
    assert found.config is not None
    config = _read(replace(found.config, text=_shown(content)), content)
    steps = [] if config.image is None else [step for step in config.image.steps if step.layer is not None]
    if len(steps) != len(found.layers):
        return replace(found, config=config)
    layers = (replace(layer, instruction=step.instruction) for layer, step in zip(found.layers, steps, strict=True))
    return replace(found, config=config, layers=tuple(layers))


def _read(config: Config, content: bytes) -> Config:
    if config.media_type not in (OCI_CONFIG, DOCKER_CONFIG, HELM_CONFIG):
        return replace(config, state=ConfigState.FOREIGN)
    document = manifest.parse_config(content)
    if document is None:
        return config
    if config.media_type == HELM_CONFIG:
        chart = image_config.chart(document)
        return config if chart is None else replace(config, state=ConfigState.READ, chart=chart)
    return replace(config, state=ConfigState.READ, image=image_config.image_config(document))


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    value = document.get("annotations")
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _digest(text: str | None) -> Digest | None:
    try:
        return None if text is None else Digest.parse(text)
    except DigestInvalid:
        return None


def _shown(content: bytes) -> str | None:
    if len(content) > SHOWN_TEXT_MAX_BYTES:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
