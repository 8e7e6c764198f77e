"""What refers to a manifest, and what refers to that: a signature of an SBOM of an image. One statement walks down to a
depth and a number that have an end, and finds the tags that cosign makes where it does not use referrers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    CompoundSelect,
    Integer,
    LargeBinary,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata.mixed import rows
from registry.metadata.schema import manifests, tags
from registry.metadata.tag_list import fallback_name

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


def _referrers(dialect: str) -> CTE:
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
    return select(found).limit(limit).cte("found")


def parts(dialect: str) -> tuple[Select[Any], Select[Any]]:
    """What `walk_of` reads: referrers, and tags that stand for some. Of `repository` and `root`."""
    found = _referrers(dialect)
    referrers = rows(
        "referrer",
        id=found.c.id,
        digest=found.c.digest,
        subject=found.c.subject_digest,
        media_type=found.c.media_type,
        artifact_type=found.c.artifact_type,
        size=found.c.total_size,
        at=found.c.pushed_at,
        number=found.c.level,
        text=found.c.descriptor,
    )
    names = _fallback_names(dialect, found)
    is_one = tags.c.name == any_(func.array(names)) if dialect == "postgresql" else tags.c.name.in_(names)
    tagged = (
        rows(
            "tagged",
            digest=manifests.c.digest,
            name=tags.c.name,
            media_type=manifests.c.media_type,
            artifact_type=manifests.c.artifact_type,
            size=manifests.c.total_size,
            at=manifests.c.pushed_at,
        )
        .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
        .where(tags.c.repository_id == bindparam("repository"), is_one)
    )
    return referrers, tagged


def _fallback_names(dialect: str, found: CTE) -> Any:
    """The tags that clients make out of the digest of the root and of what is near to it. What they would make out of
    one of SHA-512 is too long for a tag."""
    nearest = select(found.c.digest).order_by(found.c.level, found.c.id).limit(TAGGED_MAX).subquery("nearest")
    root = select(bindparam("root", type_=LargeBinary()).label("digest"))
    some = union_all(root, select(nearest.c.digest)).subquery("some_of_it")
    ends = union_all(*(select(literal(suffix, Text).label("suffix")) for suffix in _SUFFIXES)).subquery("ends")
    return (
        select(fallback_name(dialect, some.c.digest, ends.c.suffix))
        .select_from(some.join(ends, true()))
        .scalar_subquery()
    )


@cache
def _walk(dialect: str) -> CompoundSelect[Any]:
    return union_all(*parts(dialect))


def walk(connection: Connection, repository_id: int, root: Digest) -> Walk:
    """Everything that refers to `root`, directly or not, whether the repository holds it or not."""
    wanted = {"repository": repository_id, "root": root.pack()}
    return walk_of(connection.execute(_walk(connection.dialect.name), wanted).all())


def walk_of(found: Sequence[Any]) -> Walk:
    """What rows say that `parts` has selected; others do not matter."""
    referrers = sorted((row for row in found if row.kind == "referrer"), key=lambda row: (row.number, row.id))
    nodes = list({node.digest: node for node in map(_referrer, referrers[:NODES_MAX])}.values())
    tagged = sorted((row for row in found if row.kind == "tagged"), key=lambda row: str(row.name))
    nodes += [_node(row, subject=_subject_of(row.name), annotations={}, tag=row.name) for row in tagged]
    return Walk(nodes, is_cut=len(referrers) > NODES_MAX)


def _subject_of(tag: str) -> Digest:
    """What a tag is made out of."""
    algorithm, _, rest = tag.partition("-")
    return Digest.parse(f"{algorithm}:{rest.partition('.')[0]}")


def _referrer(row: Any) -> Node:
    annotations = None if row.text is None else json.loads(row.text).get("annotations", {})
    return _node(row, subject=Digest.unpack(row.subject), annotations=annotations)


def _node(row: Any, *, subject: Digest, annotations: dict[str, str] | None, tag: str | None = None) -> Node:
    return Node(
        digest=Digest.unpack(row.digest),
        subject=subject,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.size,
        pushed_at=row.at,
        annotations=annotations,
        tag=tag,
    )
