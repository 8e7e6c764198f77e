"""What refers to a manifest, and what refers to that: a signature of an SBOM of an image. One statement walks down to
a depth and a number that have an end; another finds the tags that cosign makes where it does not use referrers."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, and_, bindparam, case, func, literal, null, select, true
from sqlalchemy.engine import Connection

from registry.core.digest import Algorithm, Digest
from registry.metadata.schema import manifests, tags

DEPTH_MAX = 8
NODES_MAX = 200
TAGGED_MAX = 10
"""Of the nearest so many the tags are looked up that stand for referrers."""
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


_COLUMNS = (
    manifests.c.id,
    manifests.c.digest,
    manifests.c.subject_digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.total_size,
    manifests.c.pushed_at,
    case(
        (func.length(manifests.c.referrer_descriptor) <= DESCRIPTOR_MAX_CHARS, manifests.c.referrer_descriptor),
        else_=null(),
    ).label("descriptor"),
)
_HERE = manifests.c.repository_id == bindparam("repository")


@cache
def _referrers(dialect: str) -> Select[Any]:
    """The walk, nearer ones first. Of each manifest so many referrers are looked at and no more, in the words that each
    engine has for that; so what is cut in the end is not much more than what is kept."""
    limit = NODES_MAX + 1
    first = select(*_COLUMNS).where(_HERE, manifests.c.subject_digest == bindparam("root"))
    # The order is that of the index alone: by id, a planner may walk through the table instead.
    start = first.order_by(manifests.c.artifact_type).limit(limit).subquery("first")
    walk = select(start, literal(1, Integer).label("level")).cte("walk", recursive=True)
    below = select(*_COLUMNS).where(_HERE, manifests.c.subject_digest == walk.c.digest)
    if dialect == "postgresql":
        some = below.order_by(manifests.c.artifact_type).limit(limit).lateral("some")
        step = select(*some.c, walk.c.level + 1).select_from(walk).join(some, true())
    else:
        others = manifests.alias("others")
        beyond = (
            select(others.c.id)
            .where(others.c.repository_id == bindparam("repository"), others.c.subject_digest == walk.c.digest)
            .order_by(others.c.id)
            .offset(limit)
            .limit(1)
            .scalar_subquery()
        )
        is_near = manifests.c.id < func.coalesce(beyond, 2**63 - 1)
        step = (
            select(*_COLUMNS, walk.c.level + 1)
            .select_from(walk)
            .join(manifests, and_(_HERE, manifests.c.subject_digest == walk.c.digest, is_near))
        )
    found = walk.union_all(step.where(walk.c.level < DEPTH_MAX))
    some_of_it = select(found).limit(limit).subquery("found")
    return select(some_of_it).order_by(some_of_it.c.level, some_of_it.c.id)


_TAGGED = (
    select(
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.artifact_type,
        manifests.c.total_size,
        manifests.c.pushed_at,
        tags.c.name,
    )
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name.in_(bindparam("names", expanding=True)))
    .order_by(tags.c.name)
)


def walk(connection: Connection, repository_id: int, root: Digest) -> Walk:
    """Everything that refers to `root`, directly or not, whether the repository holds it or not."""
    rows = connection.execute(
        _referrers(connection.dialect.name), {"repository": repository_id, "root": root.pack()}
    ).all()
    nodes = list({node.digest: node for node in map(_referrer, rows[:NODES_MAX])}.values())
    nearest = (root, *(node.digest for node in nodes[:TAGGED_MAX]))
    fallback = {name: digest for digest in nearest for name in _fallback(digest)}
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
