"""What refers to a manifest, and what refers to that: a signature of an SBOM of an image. One statement walks down to
a depth and a number that have an end; another finds the tags that cosign makes where it does not use referrers."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, bindparam, case, func, literal, null, select
from sqlalchemy.engine import Connection

from registry.core.digest import Algorithm, Digest
from registry.metadata.schema import manifests, tags

DEPTH_MAX = 8
NODES_MAX = 200
DESCRIPTOR_MAX_CHARS = 8192
"""Of one whose descriptor is longer the annotations are not shown."""
_SUFFIXES = ("", ".att", ".sbom", ".sig")


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest that refers to another. `size` in bytes, with everything below; `pushed_at` in ms since 1970 UTC."""

    digest: Digest
    subject: Digest
    media_type: str
    artifact_type: str | None
    size: int
    pushed_at: int
    annotations: dict[str, str] | None
    """None where there are too many of them."""
    tag: str | None = None
    """The tag that says so, where the manifest itself does not."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found, those that are nearer first, and whether there is more."""

    nodes: list[Node]
    is_cut: bool


_START = (
    select(
        manifests.c.id,
        manifests.c.digest,
        manifests.c.subject_digest,
        literal(1, Integer).label("level"),
    )
    .where(manifests.c.repository_id == bindparam("repository"), manifests.c.subject_digest == bindparam("root"))
    .cte("walk", recursive=True)
)
_NEXT = (
    select(manifests.c.id, manifests.c.digest, manifests.c.subject_digest, _START.c.level + 1)
    .select_from(_START)
    .join(manifests, manifests.c.subject_digest == _START.c.digest)
    .where(manifests.c.repository_id == bindparam("repository"), _START.c.level < DEPTH_MAX)
)
_WALK = _START.union(_NEXT)
# The limit stands inside: a tree that is too large is not walked to its end before it is cut.
_FOUND = select(_WALK.c.id, _WALK.c.level).limit(NODES_MAX + 1).subquery("found")
_SHOWN = (
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.total_size,
    manifests.c.pushed_at,
)
_REFERRERS = (
    select(
        *_SHOWN,
        manifests.c.subject_digest,
        case(
            (func.length(manifests.c.referrer_descriptor) <= DESCRIPTOR_MAX_CHARS, manifests.c.referrer_descriptor),
            else_=null(),
        ).label("descriptor"),
    )
    .select_from(_FOUND)
    .join(manifests, manifests.c.id == _FOUND.c.id)
    .order_by(_FOUND.c.level, _FOUND.c.id)
)
_TAGGED = (
    select(*_SHOWN, tags.c.name)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name.in_(bindparam("names", expanding=True)))
    .order_by(tags.c.name)
)


def walk(connection: Connection, repository_id: int, root: Digest) -> Walk:
    """Everything that refers to `root`, directly or not, whether the repository holds it or not."""
    rows = connection.execute(_REFERRERS, {"repository": repository_id, "root": root.pack()}).all()
    nodes = list({node.digest: node for node in map(_referrer, rows[:NODES_MAX])}.values())
    fallback = {name: digest for digest in (root, *(node.digest for node in nodes)) for name in _fallback(digest)}
    tagged = connection.execute(_TAGGED, {"repository": repository_id, "names": sorted(fallback)})
    nodes += [_node(row, subject=fallback[row.name], annotations={}, tag=row.name) for row in tagged]
    return Walk(nodes, is_cut=len(rows) > NODES_MAX)


def _fallback(digest: Digest) -> list[str]:
    """The tags that clients make out of a digest. Out of one of SHA-512 none can be made that is short enough."""
    if digest.algorithm is not Algorithm.SHA256:
        return []
    return [f"sha256-{digest.hex}{suffix}" for suffix in _SUFFIXES]


def _referrer(row: Any) -> Node:
    annotations = None if row.descriptor is None else json.loads(row.descriptor).get("annotations", {})
    return _node(row, subject=Digest.unpack(row.subject_digest), annotations=annotations)


def _node(row: Any, *, subject: Digest, annotations: dict[str, str] | None, tag: str | None = None) -> Node:
    return Node(
        digest=Digest.unpack(row.digest),
        subject=subject,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.total_size,
        pushed_at=row.pushed_at,
        annotations=annotations,
        tag=tag,
    )
