"""The manifests of a repository: what they are made of, what refers to them, and their removal."""

from datetime import datetime
from typing import Annotated

import msgspec

from registry.api.hub import answers
from registry.api.hub.gate import Visit
from registry.api.hub.lists import DryRunQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.tags import split_platform
from registry.api.hub.times import moment
from registry.api.responses import Answer
from registry.core.access import Action
from registry.core.artifacts import Sort
from registry.core.digest import Digest
from registry.core.image_config import Chart, ImageConfig
from registry.services import manifest_view, referrer_view
from registry.services.manifest_view import ConfigState, ManifestView
from registry.services.remove import ManifestRemoval


class ManifestQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How much of it."""

    raw: Annotated[bool, msgspec.Meta(description="With the manifest and its config as the texts that they are.")] = (
        False
    )


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer, or another blob of a manifest."""

    digest: str
    media_type: str
    size_bytes: int
    command: str | None
    """The step of the build that made it, where the config says."""
    shared: bool
    """Whether other manifests of this repository have it too."""
    available: bool
    """Whether the repository holds it."""
    annotations: dict[str, str]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an index."""

    digest: str
    media_type: str
    platform: str | None
    os: str | None
    architecture: str | None
    variant: str | None
    size_bytes: int | None
    """With everything below it; null where the repository does not hold it."""
    attestation: bool
    """Whether it is no image but says something about one."""
    attests: str | None
    """The image that it says something about."""
    annotations: dict[str, str]


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """An index that lists the manifest, with the platform that it gives to it."""

    digest: str
    platform: str | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a build."""

    command: str
    created: str | None
    comment: str | None
    layer: int | None
    """Which layer it made, from 0; null: none."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What an image runs, and how it was made. All of it is what its config says."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    created: str | None
    author: str | None
    user: str | None
    working_dir: str | None
    stop_signal: str | None
    entrypoint: list[str]
    cmd: list[str]
    env: list[str]
    ports: list[str]
    volumes: list[str]
    labels: dict[str, str]
    steps: list[Step]


class ChartDependency(msgspec.Struct, frozen=True, kw_only=True):
    """A chart that a chart needs."""

    name: str
    version: str | None
    repository: str | None


class HelmChart(msgspec.Struct, frozen=True, kw_only=True):
    """What a chart says of itself."""

    name: str
    version: str | None
    app_version: str | None
    api_version: str | None
    type: str | None
    description: str | None
    home: str | None
    kube_version: str | None
    deprecated: bool
    keywords: list[str]
    sources: list[str]
    maintainers: list[str]
    dependencies: list[ChartDependency]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The config of a manifest. `unavailable`: missing, damaged, too large, or not what its type says."""

    digest: str
    media_type: str
    size_bytes: int
    state: ConfigState
    image: Image | None
    chart: HelmChart | None
    raw: str | None
    """As it is, where that was asked for and it is text."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest."""

    digest: str
    kind: Sort
    """What it is to people."""
    media_type: str
    artifact_type: str | None
    size_bytes: int
    """With everything below it."""
    manifest_size_bytes: int
    """Its own bytes."""
    pushed_at: datetime
    annotations: dict[str, str]
    subject: str | None
    """What it refers to."""
    subject_available: bool
    tags: list[str]
    parents: list[Parent]
    layers: list[Layer]
    parts: list[Part]
    config: Config | None
    more: bool
    """Whether there are more tags, parents, layers or parts than are listed."""
    raw: str | None
    """As it is, where that was asked for and it is not too long."""


class Referrer(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that refers to another."""

    digest: str
    kind: Sort
    media_type: str
    artifact_type: str | None
    size_bytes: int
    pushed_at: datetime
    annotations: dict[str, str] | None
    """Null where they are too many."""
    tag: str | None
    """The tag that says so, where the manifest itself does not."""
    referrers: list["Referrer"]


class Referrers(msgspec.Struct, frozen=True, kw_only=True):
    """What refers to a manifest, directly or not."""

    digest: str
    count: int
    referrers: list[Referrer]
    more: bool
    """Whether there is more than is listed."""


class RemovedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that is removed, or would be. What stays is only said of a dry run."""

    dry_run: bool
    digest: str
    tags: list[str]
    """Tags that go with it."""
    parents: list[str] | None
    """Indexes that lose a part."""
    referrers: list[str] | None
    """Manifests that lose their subject."""
    untagged: list[str] | None
    """Parts that neither a tag nor another index leads to any more."""
    freed_bytes: int | None
    """At most so much is freed, once it is collected."""
    more: bool
    """Whether there are more than are listed."""


async def get_manifest(services: HubServices, visit: Visit) -> Answer:
    """A manifest by tag or digest: layers with the commands that made them, platforms, config, where it is tagged."""
    found = await services.contents.manifest(visit.access, visit.reference)
    return answers.one(_manifest(found, raw=visit.query.raw))


async def list_referrers(services: HubServices, visit: Visit) -> Answer:
    """What refers to a manifest, as a tree: signatures, SBOMs, attestations, and what is said about these.

    The tags that some clients make out of a digest count as well. Of something that the repository does not hold the
    tree can be there too.
    """
    reference = visit.reference
    digest = reference.digest
    if reference.tag is not None:
        digest = (await services.contents.tag(visit.access, reference.tag)).digest
    assert digest is not None
    found = await services.contents.referrers(visit.access, digest)
    tree = Referrers(
        digest=str(digest), count=found.count, referrers=list(map(_referrer, found.referrers)), more=found.is_cut
    )
    return answers.one(tree)


async def delete_manifest(services: HubServices, visit: Visit) -> Answer:
    """Remove a manifest, by its digest, with all tags that point to it."""
    digest = Digest.parse(visit.names["reference"])
    found = await services.remove.image(visit.access, digest, dry_run=visit.query.dry_run)
    return answers.one(_removed(found, dry_run=visit.query.dry_run))


def _manifest(found: ManifestView, *, raw: bool) -> Manifest:
    return Manifest(
        digest=str(found.digest),
        kind=found.sort,
        media_type=found.media_type,
        artifact_type=found.artifact_type,
        size_bytes=found.size,
        manifest_size_bytes=found.payload_size,
        pushed_at=moment(found.pushed_at),
        annotations=found.annotations,
        subject=None if found.subject is None else str(found.subject),
        subject_available=found.has_subject,
        tags=found.named.tags,
        parents=[Parent(digest=str(one.digest), platform=one.platform) for one in found.named.parents],
        layers=list(map(_layer, found.layers)),
        parts=list(map(_part, found.parts)),
        config=None if found.config is None else _config(found.config, raw=raw),
        more=found.is_cut,
        raw=found.text if raw else None,
    )


def _layer(found: manifest_view.Layer) -> Layer:
    return Layer(
        digest=str(found.digest),
        media_type=found.media_type,
        size_bytes=found.size,
        command=found.instruction,
        shared=found.is_shared,
        available=found.is_held,
        annotations=found.annotations,
    )


def _part(found: manifest_view.Part) -> Part:
    os, architecture, variant = split_platform(found.platform)
    return Part(
        digest=str(found.digest),
        media_type=found.media_type,
        platform=found.platform,
        os=os,
        architecture=architecture,
        variant=variant,
        size_bytes=found.size,
        attestation=found.is_attestation,
        attests=None if found.attests is None else str(found.attests),
        annotations=found.annotations,
    )


def _config(found: manifest_view.Config, *, raw: bool) -> Config:
    return Config(
        digest=str(found.digest),
        media_type=found.media_type,
        size_bytes=found.size,
        state=found.state,
        image=None if found.image is None else _image(found.image),
        chart=None if found.chart is None else _chart(found.chart),
        raw=found.text if raw else None,
    )


def _image(found: ImageConfig) -> Image:
    steps = [
        Step(command=step.instruction, created=step.created, comment=step.comment, layer=step.layer)
        for step in found.steps
    ]
    return Image(
        os=found.os,
        architecture=found.architecture,
        variant=found.variant,
        os_version=found.os_version,
        created=found.created,
        author=found.author,
        user=found.user,
        working_dir=found.workdir,
        stop_signal=found.stop_signal,
        entrypoint=list(found.entrypoint),
        cmd=list(found.cmd),
        env=list(found.env),
        ports=list(found.ports),
        volumes=list(found.volumes),
        labels=found.labels,
        steps=steps,
    )


def _chart(found: Chart) -> HelmChart:
    needed = [
        ChartDependency(name=one.name, version=one.version, repository=one.repository) for one in found.dependencies
    ]
    return HelmChart(
        name=found.name,
        version=found.version,
        app_version=found.app_version,
        api_version=found.api_version,
        type=found.kind,
        description=found.description,
        home=found.home,
        kube_version=found.kube_version,
        deprecated=found.is_deprecated,
        keywords=list(found.keywords),
        sources=list(found.sources),
        maintainers=list(found.maintainers),
        dependencies=needed,
    )


def _referrer(found: referrer_view.Referrer) -> Referrer:
    return Referrer(
        digest=str(found.digest),
        kind=found.sort,
        media_type=found.media_type,
        artifact_type=found.artifact_type,
        size_bytes=found.size,
        pushed_at=moment(found.pushed_at),
        annotations=found.annotations,
        tag=found.tag,
        referrers=list(map(_referrer, found.referrers)),
    )


def _removed(found: ManifestRemoval, *, dry_run: bool) -> RemovedManifest:
    left = found.left

    def named(digests: list[Digest] | None) -> list[str] | None:
        return None if digests is None else [str(digest) for digest in digests]

    return RemovedManifest(
        dry_run=dry_run,
        digest=str(found.digest),
        tags=list(found.tags),
        parents=named(None if left is None else left.parents),
        referrers=named(None if left is None else left.referrers),
        untagged=named(None if left is None else left.children),
        freed_bytes=None if left is None else left.freed_bytes,
        more=left is not None and left.is_cut,
    )


_MANIFEST = "/repositories/{repository}/-/manifests/{reference}"
ROUTES = (
    HubRoute("getManifest", "GET", _MANIFEST, Action.PULL, get_manifest, answer=Manifest, query=ManifestQuery),
    HubRoute(
        "deleteManifest",
        "DELETE",
        _MANIFEST,
        Action.DELETE,
        delete_manifest,
        answer=RemovedManifest,
        query=DryRunQuery,
    ),
    HubRoute("listReferrers", "GET", f"{_MANIFEST}/referrers", Action.PULL, list_referrers, answer=Referrers),
)
