"""The tree of what refers to a manifest."""

from collections import defaultdict
from dataclasses import dataclass

from registry.core.artifacts import Sort, sort_of_fallback, sort_of_referrer
from registry.core.digest import Digest
from registry.metadata.referrer_tree import Node, Walk


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that refers to another one, with what refers to it. `size` in bytes, with everything below;
    `pushed_at` in ms since 1970 UTC."""

    digest: Digest
    media_type: str
    artifact_type: str | None
    sort: Sort
    size: int
    pushed_at: int
    annotations: dict[str, str] | None
    """None where there are too many of them."""
    tag: str | None
    """The tag that says so, where the manifest itself does not."""
    referrers: tuple["Referrer", ...]


@dataclass(frozen=True, slots=True)
class Referrers:
    """What refers to a manifest. `is_cut`: there is more, further away or beside it."""

    referrers: tuple[Referrer, ...]
    count: int
    is_cut: bool


def tree(root: Digest, found: Walk) -> Referrers:
    """The tree below `root`. Each manifest is shown once under each that it refers to, and what refers to it under the
    nearest of these."""
    below: defaultdict[Digest, list[Node]] = defaultdict(list)
    for node in found.nodes:
        below[node.subject].append(node)
    return Referrers(_below(root, below, _nearest(root, below), frozenset({root})), len(found.nodes), found.is_cut)


def _nearest(root: Digest, below: dict[Digest, list[Node]]) -> dict[Digest, Node]:
    """Where each manifest is met first. By tags everything can refer to everything: shown with all below it wherever it
    is met, a few manifests would make a page of a hundred thousand lines (SEC-016)."""
    found: dict[Digest, Node] = {}
    waiting = [root]
    for subject in waiting:
        for node in below.get(subject, ()):
            if node.digest != root and node.digest not in found:
                found[node.digest] = node
                waiting.append(node.digest)
    return found


def _below(
    subject: Digest, below: dict[Digest, list[Node]], nearest: dict[Digest, Node], path: frozenset[Digest]
) -> tuple[Referrer, ...]:
    """Tags can make a circle, so what is above is not shown again below."""
    nodes = (node for node in below.get(subject, ()) if node.digest not in path)
    return tuple(
        Referrer(
            digest=node.digest,
            media_type=node.media_type,
            artifact_type=node.artifact_type,
            sort=_sort(node),
            size=node.size,
            pushed_at=node.pushed_at,
            annotations=node.annotations,
            tag=node.tag,
            referrers=_below(node.digest, below, nearest, path | {node.digest}) if nearest[node.digest] is node else (),
        )
        for node in nodes
    )


def _sort(node: Node) -> Sort:
    if node.tag is not None:
        return sort_of_fallback(node.tag) or Sort.ARTIFACT
    return sort_of_referrer(node.media_type, node.artifact_type, node.annotations or {})
