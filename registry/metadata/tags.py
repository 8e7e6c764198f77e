"""Tags: one live row a name, and a history that only grows. Lists for people are in `tag_list`."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, delete, func, insert, null, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.versions import version_key
from registry.metadata.schema import manifests, tag_history, tags

_PAGE = (
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("count"))
)
_LIVE = (
    select(tags.c.name, manifests.c.digest)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name.in_(bindparam("names", expanding=True)))
    .order_by(tags.c.name)
)
_LIVE_AND_HELD = _LIVE.with_for_update(of=tags)
_VERSIONS = (
    select(tag_history.c.name, func.max(tag_history.c.version))
    .where(
        tag_history.c.repository_id == bindparam("repository"),
        tag_history.c.name.in_(bindparam("names", expanding=True)),
    )
    .group_by(tag_history.c.name)
)
_MOVE = (
    update(tags)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
    .values(
        manifest_id=bindparam("manifest"),
        version=bindparam("number"),
        updated_at=bindparam("now"),
        updated_by=bindparam("by"),
        version_key=bindparam("sorts_as"),
    )
)
_END_HISTORY = insert(tag_history).from_select(
    ["repository_id", "name", "digest", "version", "changed_at", "changed_by"],
    select(
        tags.c.repository_id,
        tags.c.name,
        null(),
        tags.c.version + 1,
        bindparam("now", type_=BigInteger),
        bindparam("by", type_=BigInteger),
    ).where(tags.c.manifest_id == bindparam("manifest")),
)
_REMOVE_OF_MANIFEST = delete(tags).where(tags.c.manifest_id == bindparam("manifest"))
_OF_MANIFEST = select(tags.c.name).where(tags.c.manifest_id == bindparam("manifest"))


def page(connection: Connection, repository_id: int, *, after: str, count: int) -> list[str]:
    """The next `count` tags after `after`, in byte order."""
    return list(connection.execute(_PAGE, {"repository": repository_id, "after": after, "count": count}).scalars())


def live(connection: Connection, repository_id: int, names: list[str], *, lock: bool = True) -> dict[str, Digest]:
    """Those of `names` that exist, with what they point to; with `lock` they stay so until the transaction ends."""
    rows = connection.execute(_LIVE_AND_HELD if lock else _LIVE, {"repository": repository_id, "names": names})
    return {row[0]: Digest.unpack(row[1]) for row in rows}


def of_manifest(connection: Connection, manifest_id: int) -> list[str]:
    """The tags that point to a manifest, in byte order."""
    return sorted(connection.execute(_OF_MANIFEST, {"manifest": manifest_id}).scalars())


@dataclass(frozen=True, slots=True)
class Change:
    """When tags change, and whose doing it is: an account, None for nobody who has logged in."""

    now: int
    by: int | None


@dataclass(frozen=True, slots=True)
class Pointed:
    """What became of tags: those that point somewhere else now, and how many of them there were not before."""

    changed: list[str]
    created: int


def point(
    connection: Connection,
    repository_id: int,
    names: list[str],
    *,
    manifest_id: int,
    digest: Digest,
    change: Change,
) -> Pointed:
    """Let all `names` point to a manifest. Who calls counts the tags of the repository (`repositories.note_change`)."""
    before = live(connection, repository_id, names)
    changed = sorted(name for name in set(names) if before.get(name) != digest)
    if not changed:
        return Pointed([], 0)
    versions = _next_versions(connection, repository_id, changed)
    row = {
        "repository_id": repository_id,
        "manifest_id": manifest_id,
        "updated_at": change.now,
        "updated_by": change.by,
    }
    created = [
        {"name": name, "version": versions[name], "version_key": version_key(name), **row}
        for name in changed
        if name not in before
    ]
    to = {"repository": repository_id, "manifest": manifest_id, "now": change.now, "by": change.by}
    moved = [
        {"tag": name, "number": versions[name], "sorts_as": version_key(name), **to}
        for name in changed
        if name in before
    ]
    if created:
        connection.execute(insert(tags), created)
    if moved:
        connection.execute(_MOVE, moved)
    _append_history(connection, repository_id, versions, digest=digest, change=change)
    return Pointed(changed, len(created))


def remove(connection: Connection, repository_id: int, names: list[str], *, change: Change) -> None:
    """Delete live tags, and write that into the history."""
    if not names:
        return
    versions = _next_versions(connection, repository_id, names)
    connection.execute(delete(tags).where(tags.c.repository_id == repository_id, tags.c.name.in_(names)))
    _append_history(connection, repository_id, versions, digest=None, change=change)


def remove_of_manifest(connection: Connection, manifest_id: int, *, change: Change) -> None:
    """Delete every tag that points to a manifest, however many, and write that into the history."""
    connection.execute(_END_HISTORY, {"manifest": manifest_id, "now": change.now, "by": change.by})
    connection.execute(_REMOVE_OF_MANIFEST, {"manifest": manifest_id})


def _next_versions(connection: Connection, repository_id: int, names: list[str]) -> dict[str, int]:
    rows = connection.execute(_VERSIONS, {"repository": repository_id, "names": names})
    newest: dict[str, int] = {row[0]: row[1] for row in rows}
    return {name: newest.get(name, 0) + 1 for name in names}


def _append_history(
    connection: Connection, repository_id: int, versions: dict[str, int], *, digest: Digest | None, change: Change
) -> None:
    rows = [
        {
            "repository_id": repository_id,
            "name": name,
            "digest": None if digest is None else digest.pack(),
            "version": version,
            "changed_at": change.now,
            "changed_by": change.by,
        }
        for name, version in versions.items()
    ]
    connection.execute(insert(tag_history), rows)
