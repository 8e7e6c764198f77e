"""Manifests: strict parsing of what is pushed, and what a listing will say of it.

Sources: OCI image specification ("Image Manifest", "Image Index", "Descriptor"), Docker image manifest version 2
schema 2. A document that could be read as both a manifest and an index is refused (CVE-2021-41190).
"""

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from registry.core.digest import Digest
from registry.core.errors import DigestInvalid, ManifestInvalid
from registry.core.limits import MANIFEST_MAX_REFERENCES, MANIFEST_MAX_VALUES, SIZE_MAX

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

_MANIFESTS = {OCI_MANIFEST, DOCKER_MANIFEST}
_INDEXES = {OCI_INDEX, DOCKER_LIST}
_NOT_DISTRIBUTED = re.compile(
    r"application/vnd\.docker\.image\.rootfs\.foreign\..*|application/vnd\.oci\.image\.layer\.nondistributable\..*"
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def is_index(media_type: str) -> bool:
    """Whether manifests of this type name others."""
    return media_type in _INDEXES


class Kind(StrEnum):
    """The two shapes a manifest can have."""

    IMAGE = "image"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content, as far as the registry cares. `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: str | None = None
    elsewhere: bool = False
    """The content lives at other URLs or may not be distributed, so it need not be here."""

    @property
    def is_manifest(self) -> bool:
        """Whether it names a manifest rather than a blob."""
        return self.media_type in _MANIFESTS or self.media_type in _INDEXES


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest. `blobs` and `children` hold each digest once, in order of appearance."""

    kind: Kind
    media_type: str
    payload: bytes
    artifact_type: str | None
    config: Descriptor | None
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def platforms(self) -> list[str]:
        """The platforms of an index's children, e.g. `linux/arm64/v8`; without those of attestations."""
        found = (child.platform for child in self.children)
        return list(dict.fromkeys(name for name in found if name and name != "unknown/unknown"))

    def referrer_descriptor(self, digest: Digest) -> dict[str, Any]:
        """What the referrers list of the subject shows of this manifest."""
        shown: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(digest),
            "size": len(self.payload),
        }
        if self.artifact_type:
            shown["artifactType"] = self.artifact_type
        if self.annotations:
            shown["annotations"] = self.annotations
        return shown


def parse(payload: bytes, content_type: str | None) -> Manifest:
    """The manifest in `payload`, which the client announced as `content_type`. Raises ManifestInvalid."""
    if content_type is None:
        raise ManifestInvalid("Content-Type has to name the media type of the manifest")
    if content_type not in _MANIFESTS and content_type not in _INDEXES:
        raise ManifestInvalid("this media type is no manifest that is accepted here", media_type=content_type[:200])
    document = _load(payload)
    _refuse_twins(document, _DOCUMENT_KEYS)
    if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
        raise ManifestInvalid("schemaVersion is not 2")
    stated = document.get("mediaType", content_type)
    if stated != content_type:
        raise ManifestInvalid("mediaType and Content-Type differ", content_type=content_type)
    if content_type in _INDEXES:
        return _index(document, payload, content_type)
    return _image(document, payload, content_type)


def _image(document: dict[str, Any], payload: bytes, media_type: str) -> Manifest:
    if "manifests" in document:
        raise ManifestInvalid("an image manifest has no `manifests`")
    config = _descriptor(document.get("config"), "config")
    layers = _descriptors(document.get("layers"), "layers")
    return Manifest(
        kind=Kind.IMAGE,
        media_type=media_type,
        payload=payload,
        artifact_type=_media_type(document, "artifactType") or config.media_type,
        config=config,
        blobs=_distinct([config, *layers]),
        children=(),
        subject=_subject(document),
        annotations=_annotations(document),
    )


def _index(document: dict[str, Any], payload: bytes, media_type: str) -> Manifest:
    if "layers" in document or "config" in document:
        raise ManifestInvalid("an index has neither `layers` nor `config`")
    if not isinstance(document.get("manifests"), list):
        raise ManifestInvalid("an index has a list `manifests`")
    entries = _distinct(_descriptors(document["manifests"], "manifests"))
    return Manifest(
        kind=Kind.INDEX,
        media_type=media_type,
        payload=payload,
        artifact_type=_media_type(document, "artifactType"),
        config=None,
        blobs=tuple(entry for entry in entries if not entry.is_manifest),
        children=tuple(entry for entry in entries if entry.is_manifest),
        subject=_subject(document),
        annotations=_annotations(document),
    )


def _subject(document: dict[str, Any]) -> Descriptor | None:
    return None if document.get("subject") is None else _descriptor(document["subject"], "subject")


def _descriptors(value: object, where: str) -> list[Descriptor]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ManifestInvalid(f"`{where}` is not a list")
    if len(value) > MANIFEST_MAX_REFERENCES:
        raise ManifestInvalid(f"`{where}` has more than {MANIFEST_MAX_REFERENCES} entries")
    return [_descriptor(entry, f"{where}[{number}]") for number, entry in enumerate(value)]


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"`{where}` is not a descriptor")
    _refuse_twins(value, _DESCRIPTOR_KEYS)
    media_type = _media_type(value, "mediaType", where)
    if media_type is None:
        raise ManifestInvalid(f"`{where}` has no mediaType")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_MAX:
        raise ManifestInvalid(f"`{where}.size` is not a number of bytes")
    return Descriptor(
        media_type=media_type,
        digest=_digest(value.get("digest"), where),
        size=size,
        platform=_platform(value.get("platform")),
        elsewhere=bool(value.get("urls")) or _NOT_DISTRIBUTED.fullmatch(media_type) is not None,
    )


def _digest(value: object, where: str) -> Digest:
    try:
        return Digest.parse(value if isinstance(value, str) else "")
    except DigestInvalid as error:
        raise ManifestInvalid(f"`{where}.digest`: {error.message}") from None


def _media_type(value: dict[str, Any], key: str, where: str = "") -> str | None:
    text = value.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or _MEDIA_TYPE.fullmatch(text) is None:
        raise ManifestInvalid(f"`{where}.{key}` is no media type" if where else f"`{key}` is no media type")
    return text


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestInvalid("`annotations` is not an object of texts")
    return value


def _platform(value: object) -> str | None:
    """`os/architecture[/variant]`, or None. A platform is only shown, so an odd one is no reason to refuse."""
    if not isinstance(value, dict):
        return None
    return platform_name(value)


def platform_name(value: dict[str, Any]) -> str | None:
    """`os/architecture[/variant]` from an object with these fields, None where one is absent or odd."""
    parts = [value.get("os"), value.get("architecture")]
    if value.get("variant"):
        parts.append(value["variant"])
    if not all(isinstance(part, str) and 0 < len(part) <= 64 and part.isprintable() for part in parts):
        return None
    return "/".join(str(part) for part in parts)


def _distinct(descriptors: list[Descriptor]) -> tuple[Descriptor, ...]:
    """Each digest once. What is needed here by one mention is needed, whatever another mention says."""
    seen: dict[Digest, Descriptor] = {}
    for descriptor in descriptors:
        known = seen.get(descriptor.digest)
        if known is not None and known.size != descriptor.size:
            raise ManifestInvalid("two descriptors give one digest different sizes", digest=str(known.digest))
        if known is None or known.elsewhere:
            seen[descriptor.digest] = descriptor
    return tuple(seen.values())


_DOCUMENT_KEYS = (
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"
)  # fmt: skip
_DESCRIPTOR_KEYS = ("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")


def _refuse_twins(value: dict[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a key that is a known one but for its case: the JSON of Go, which most clients use, takes it for the known
    one, and so they would read another manifest than the registry has checked."""
    folded = {key.casefold() for key in known}
    for key in value:
        if key not in known and key.casefold() in folded:
            raise ManifestInvalid(f"a key differs from one of the specification only in its case: {key[:40]!r}")


_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|([,\[{])', re.DOTALL)


def _refuse_too_many_values(payload: bytes) -> None:
    """Each value becomes an object many times its size, so their number has a limit of its own."""
    if len(payload) < MANIFEST_MAX_VALUES:
        return
    marks = (match for match in _STRUCTURE.finditer(payload) if match[1])
    if next(islice(marks, MANIFEST_MAX_VALUES, None), None) is not None:
        raise ManifestInvalid(f"a manifest has at most {MANIFEST_MAX_VALUES} values")


def _load(payload: bytes) -> dict[str, Any]:
    """A JSON object by RFC 8259, with nothing that two parsers could read differently."""
    _refuse_too_many_values(payload)
    try:
        document = json.loads(
            payload.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_number,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        raise ManifestInvalid("the manifest is nested too deeply") from None
    except ValueError as error:
        raise ManifestInvalid(f"the manifest is no JSON: {error}"[:200]) from None
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is no JSON object")
    if _SURROGATE_ESCAPE.search(payload):
        _refuse_lone_surrogates(document)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ManifestInvalid("a key occurs twice in one JSON object")
    return found


def _refuse_number(text: str) -> float:
    raise ManifestInvalid(f"{text} is no JSON number")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ManifestInvalid("a number is too large")
    return number


def _int(text: str) -> int:
    if len(text) > 20:
        raise ManifestInvalid("a number is too large")
    return int(text)


def _refuse_lone_surrogates(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        raise ManifestInvalid("a text holds half of a surrogate pair") from None


_SUMMARY_TEXTS = ("architecture", "os", "variant", "os.version", "created", "author")
_SUMMARY_TEXT_MAX = 256
_COMMAND_MAX_WORDS = 32


def parse_config(content: bytes) -> dict[str, Any] | None:
    """An image config as a JSON object, None where it is none: it was pushed as a blob and need not be JSON."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def config_summary(config: dict[str, Any]) -> dict[str, Any]:
    """The few fields of an image config that a listing shows, each bounded in length."""
    summary: dict[str, Any] = {}
    for key in _SUMMARY_TEXTS:
        if (text := _short(config.get(key))) is not None:
            summary[key] = text
    process = config.get("config")
    if isinstance(process, dict):
        for key in ("User", "WorkingDir"):
            if text := _short(process.get(key)):
                summary[key] = text
        for key in ("Entrypoint", "Cmd"):
            if words := _short_list(process.get(key)):
                summary[key] = words
        if isinstance(process.get("ExposedPorts"), dict):
            summary["ExposedPorts"] = _short_list(sorted(process["ExposedPorts"]))
    return summary


def _short(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "")[:_SUMMARY_TEXT_MAX]


def _short_list(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [text for text in map(_short, value[:_COMMAND_MAX_WORDS]) if text is not None]
