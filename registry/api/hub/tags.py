"""The tags of a repository: lists, one, what each has been, and what is done to them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from registry.api.hub import answers, cursors
from registry.api.hub.gate import Visit
from registry.api.hub.lists import After, DryRunQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action
from registry.core.artifacts import Sort, sort_of, sort_of_fallback
from registry.core.digest import Digest
from registry.core.names import Tag as TagName
from registry.services.contents import PAGE_MAX, Entry, Order, Platform, Position, Query, TagChange
from registry.services.push import Condition
from registry.services.remove import TAGS_MAX, TagsRemoval

DIGEST_PATTERN = "^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$"
TAG_PATTERN = "^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$"
Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX, description="So many entries at most.")]
DigestText = Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN, max_length=135)]
TagText = Annotated[str, msgspec.Meta(pattern=TAG_PATTERN, max_length=128)]


class TagOrder(StrEnum):
    """What tags are ordered by; with `-`, the other way round."""

    NAME = "name"
    NAME_DOWN = "-name"
    PUSHED = "pushed"
    PUSHED_DOWN = "-pushed"
    VERSION = "version"
    VERSION_DOWN = "-version"


class TagsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which tags."""

    sort: Annotated[
        TagOrder,
        msgspec.Meta(
            description="The order. By version 1.10 comes after 1.9, and what is no version before all of them."
        ),
    ] = TagOrder.PUSHED_DOWN
    q: Annotated[str, msgspec.Meta(max_length=128, description="What the name has to contain, in any case.")] = ""
    digest: Annotated[
        DigestText | None, msgspec.Meta(description="What they have to point to. They are listed by name.")
    ] = None
    referrers: Annotated[
        bool,
        msgspec.Meta(description="Whether to list tags that clients made out of a digest, `sha256-…`, too."),
    ] = True
    limit: Limit = 50
    after: After = None


class TagPlatform(msgspec.Struct, frozen=True, kw_only=True):
    """An image for one platform. `size_bytes` has all layers; null where the repository does not hold the image."""

    platform: str | None
    """`linux/arm64/v8`; null where nothing says it."""
    os: str | None
    architecture: str | None
    variant: str | None
    digest: str
    size_bytes: int | None


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag, with what it points to."""

    name: str
    digest: str
    kind: Sort
    """What it is to people."""
    media_type: str
    artifact_type: str | None
    size_bytes: int
    """With everything below it."""
    pushed_at: datetime
    """When the tag was last set."""
    pushed_by: str | None
    """By whom; null where nobody had logged in."""
    pulls: int
    pulled_at: datetime | None
    changes: int
    """How often the tag was set or deleted: the length of its history."""
    signed: bool
    """Whether a signature refers to what it points to. Nobody has verified it."""
    platforms: list[TagPlatform]
    attestations: int
    """Parts that are no images: what the builder says about them."""
    more_platforms: bool
    """Whether there are more than are listed."""


class Tagged(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a tag shall point to."""

    digest: DigestText


class TagNames(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Tags."""

    tags: Annotated[list[TagText], msgspec.Meta(min_length=1, max_length=TAGS_MAX)]


class PointedTag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and what it points to."""

    name: str
    digest: str


class RemovedTags(msgspec.Struct, frozen=True, kw_only=True):
    """Tags that are removed, or would be."""

    dry_run: bool
    tags: list[PointedTag]
    missing: list[str]
    """Those that were not there."""
    same_digest: list[PointedTag] | None
    """Of a dry run: other tags, which stay, that point to the same."""
    untagged: list[str] | None
    """Of a dry run: manifests that stay and that no tag points to any more."""
    more: bool
    """Whether there are more of the same digest than are listed."""


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which changes."""

    limit: Limit = 50
    after: After = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a tag."""

    tag: str
    number: int
    """Counts the changes of this tag, from 1."""
    digest: str | None
    """What it pointed to from then on; null: it was deleted."""
    previous: str | None
    """What it had pointed to; null: there was no such tag."""
    changed_at: datetime
    changed_by: str | None
    """By whom; null where nobody had logged in."""
    restorable: bool
    """Whether the repository still holds what it pointed to."""


async def list_tags(services: HubServices, visit: Visit) -> Answer:
    """The tags of a repository.

    A filter looks at some thousand tags for one page: a page can have fewer entries than it may, or none, and still not
    be the last. Follow `next` to the end. `total` is there where nothing is filtered.
    """
    query: TagsQuery = visit.query
    after = None if query.after is None else Position(*cursors.read(query.after, tuple[int | str | None, str]))
    found = await services.contents.tags(
        visit.access,
        Query(
            order=Order.NAME if query.digest is not None else Order(query.sort.removeprefix("-")),
            descending=query.sort.startswith("-") and (query.digest is None or query.sort is TagOrder.NAME_DOWN),
            after=after,
            count=query.limit,
            name_part=query.q,
            digest=None if query.digest is None else Digest.parse(query.digest),
            with_fallback=query.referrers,
        ),
    )
    next_after = found.page.next_after
    position = None if next_after is None else (next_after.key, next_after.name)
    return answers.page(visit.request, list(map(tag_of, found.page.entries)), position, total=found.total)


async def get_tag(services: HubServices, visit: Visit) -> Answer:
    """One tag. Its ETag is good for `If-Match` as long as it points to the same."""
    return _one(await services.contents.tag(visit.access, visit.tag))


async def set_tag(services: HubServices, visit: Visit) -> Answer:
    """Point a tag to a manifest that the repository holds: to what it was before, or to what another one points to."""
    digest = Digest.parse(visit.body.digest)
    await services.tagging.point(visit.access, visit.tag, digest, condition_of(visit))
    return _one(await services.contents.tag(visit.access, visit.tag))


async def delete_tag(services: HubServices, visit: Visit) -> Answer:
    """Remove a tag. What it points to stays. One that is not there is no error."""
    return await _delete(services, visit, [visit.tag])


async def delete_tags(services: HubServices, visit: Visit) -> Answer:
    """Remove many tags at once, all or, where something is wrong, none. What they point to stays. Those that are not
    there are no error."""
    return await _delete(services, visit, [TagName.parse(name) for name in visit.body.tags])


async def _delete(services: HubServices, visit: Visit, names: list[TagName]) -> Answer:
    is_dry = visit.query.dry_run
    found = await services.remove.tags(visit.access, names, condition_of(visit), dry_run=is_dry)
    return answers.one(_removed(found, dry_run=is_dry))


async def list_tag_history(services: HubServices, visit: Visit) -> Answer:
    """What a tag has pointed to, newest first; also of one that is gone."""
    return await _history(services, visit, visit.tag)


async def list_history(services: HubServices, visit: Visit) -> Answer:
    """The changes of all tags of a repository, newest first."""
    return await _history(services, visit, None)


async def _history(services: HubServices, visit: Visit, tag: TagName | None) -> Answer:
    query: HistoryQuery = visit.query
    (before,) = (None,) if query.after is None else cursors.read(query.after, tuple[cursors.Number])
    found = await services.contents.history(visit.access, tag, before=before, count=query.limit)
    position = None if found.next_before is None else (found.next_before,)
    return answers.page(visit.request, list(map(_change, found.changes)), position)


def condition_of(visit: Visit) -> Condition:
    """What `If-Match` demands of a tag: that it points to what it did. The rest of the ETag is about what is shown."""
    wanted = visit.if_match
    return Condition() if wanted is None else Condition(if_match=(wanted.partition("~")[0],))


def _one(entry: Entry) -> Answer:
    tag = tag_of(entry)
    return answers.one(tag, version=f"{tag.digest}~{answers.fingerprint(tag)}")


def tag_of(entry: Entry) -> Tag:
    """A tag as it is shown."""
    return Tag(
        name=entry.name,
        digest=str(entry.digest),
        kind=sort_of_fallback(entry.name) or sort_of(entry.media_type, entry.artifact_type),
        media_type=entry.media_type,
        artifact_type=entry.artifact_type,
        size_bytes=entry.size,
        pushed_at=moment(entry.pushed_at),
        pushed_by=entry.pushed_by,
        pulls=entry.pulls,
        pulled_at=moment_if(entry.pulled_at),
        changes=entry.changes,
        signed=entry.is_signed,
        platforms=[_platform(one) for one in entry.platforms],
        attestations=entry.attestations,
        more_platforms=entry.is_cut,
    )


def _platform(found: Platform) -> TagPlatform:
    os, architecture, variant = split_platform(found.name)
    return TagPlatform(
        platform=found.name,
        os=os,
        architecture=architecture,
        variant=variant,
        digest=str(found.digest),
        size_bytes=found.size,
    )


def split_platform(name: str | None) -> tuple[str | None, str | None, str | None]:
    """`os/architecture[/variant]` in its parts."""
    os, architecture, variant = [*(name or "").split("/", 2), "", "", ""][:3]
    return os or None, architecture or None, variant or None


def _pointed(name: str, digest: Digest) -> PointedTag:
    return PointedTag(name=name, digest=str(digest))


def _removed(found: TagsRemoval, *, dry_run: bool) -> RemovedTags:
    left = found.left
    return RemovedTags(
        dry_run=dry_run,
        tags=[_pointed(name, digest) for name, digest in found.tags.items()],
        missing=list(found.missing),
        same_digest=None if left is None else [_pointed(name, digest) for name, digest in left.same_digest],
        untagged=None if left is None else [str(digest) for digest in left.untagged],
        more=left is not None and left.is_cut,
    )


def _change(found: TagChange) -> Change:
    return Change(
        tag=found.tag,
        number=found.number,
        digest=None if found.digest is None else str(found.digest),
        previous=None if found.before is None else str(found.before),
        changed_at=moment(found.at),
        changed_by=found.by,
        restorable=found.is_held,
    )


_HERE = "/repositories/{repository}/-"
_TAG = f"{_HERE}/tags/{{tag}}"
_TAGS = answers.Page[Tag]
_CHANGES = answers.Page[Change]
ROUTES = (
    HubRoute("listTags", "GET", f"{_HERE}/tags", Action.PULL, list_tags, answer=_TAGS, query=TagsQuery),
    HubRoute("getTag", "GET", _TAG, Action.PULL, get_tag, answer=Tag),
    HubRoute("setTag", "PUT", _TAG, Action.PUSH, set_tag, answer=Tag, body=Tagged, is_conditional=True),
    HubRoute(
        "deleteTag",
        "DELETE",
        _TAG,
        Action.DELETE,
        delete_tag,
        answer=RemovedTags,
        query=DryRunQuery,
        is_conditional=True,
    ),
    HubRoute(
        "deleteTags",
        "POST",
        f"{_HERE}/delete-tags",
        Action.DELETE,
        delete_tags,
        answer=RemovedTags,
        query=DryRunQuery,
        body=TagNames,
        is_conditional=True,
    ),
    HubRoute(
        "listTagHistory",
        "GET",
        f"{_TAG}/history",
        Action.PULL,
        list_tag_history,
        answer=_CHANGES,
        query=HistoryQuery,
    ),
    HubRoute("listHistory", "GET", f"{_HERE}/history", Action.PULL, list_history, answer=_CHANGES, query=HistoryQuery),
)
