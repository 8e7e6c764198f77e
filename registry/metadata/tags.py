"""Tags: one live row a name, and a history that only grows."""

from sqlalchemy import BigInteger, bindparam, delete, func, insert, null, select, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
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
    .with_for_update(of=tags)
)
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
    .values(manifest_id=bindparam("manifest"), version=bindparam("number"), updated_at=bindparam("now"))
)
_END_HISTORY = insert(tag_history).from_select(
    ["repository_id", "name", "digest", "version", "changed_at"],
    select(
        tags.c.repository_id,
        tags.c.name,
        null(),
        tags.c.version + 1,
        bindparam("now", type_=BigInteger),
    ).where(tags.c.manifest_id == bindparam("manifest")),
)
_REMOVE_OF_MANIFEST = delete(tags).where(tags.c.manifest_id == bindparam("manifest"))
_OF_MANIFEST = select(tags.c.name).where(tags.c.manifest_id == bindparam("manifest"))


def page(connection: Connection, repository_id: int, *, after: str, count: int) -> list[str]:
    """The next `count` tags after `after`, in byte order."""
    return list(connection.execute(_PAGE, {"repository": repository_id, "after": after, "count": count}).scalars())


def live(connection: Connection, repository_id: int, names: list[str]) -> dict[str, Digest]:
    """Those of `names` that exist, with what they point to; they stay so until the transaction ends."""
    rows = connection.execute(_LIVE, {"repository": repository_id, "names": names})
    return {row[0]: Digest.unpack(row[1]) for row in rows}


def of_manifest(connection: Connection, manifest_id: int) -> list[str]:
    """The tags that point to a manifest, in byte order."""
    return sorted(connection.execute(_OF_MANIFEST, {"manifest": manifest_id}).scalars())


def point(
    connection: Connection,
    repository_id: int,
    names: list[str],
    *,
    manifest_id: int,
    digest: Digest,
    now: int,
) -> list[str]:
    """Let all `names` point to a manifest; returns those for which that is a change."""
    before = live(connection, repository_id, names)
    changed = sorted(name for name in set(names) if before.get(name) != digest)
    if not changed:
        return []
    versions = _next_versions(connection, repository_id, changed)
    created = [
        {
            "repository_id": repository_id,
            "name": name,
            "manifest_id": manifest_id,
            "version": versions[name],
            "updated_at": now,
        }
        for name in changed
        if name not in before
    ]
    moved = [
        {
            "repository": repository_id,
            "tag": name,
            "manifest": manifest_id,
            "number": versions[name],
            "now": now,
        }
        for name in changed
        if name in before
    ]
    if created:
        connection.execute(insert(tags), created)
    if moved:
        connection.execute(_MOVE, moved)
    _append_history(connection, repository_id, versions, digest=digest, now=now)
    return changed


def remove(connection: Connection, repository_id: int, names: list[str], *, now: int) -> None:
    """Delete live tags, and write that into the history."""
    if not names:
        return
    versions = _next_versions(connection, repository_id, names)
    connection.execute(delete(tags).where(tags.c.repository_id == repository_id, tags.c.name.in_(names)))
    _append_history(connection, repository_id, versions, digest=None, now=now)


def remove_of_manifest(connection: Connection, manifest_id: int, *, now: int) -> None:
    """Delete every tag that points to a manifest, however many, and write that into the history."""
    connection.execute(_END_HISTORY, {"manifest": manifest_id, "now": now})
    connection.execute(_REMOVE_OF_MANIFEST, {"manifest": manifest_id})


def _next_versions(connection: Connection, repository_id: int, names: list[str]) -> dict[str, int]:
    rows = connection.execute(_VERSIONS, {"repository": repository_id, "names": names})
    newest: dict[str, int] = {row[0]: row[1] for row in rows}
    return {name: newest.get(name, 0) + 1 for name in names}


def _append_history(
    connection: Connection, repository_id: int, versions: dict[str, int], *, digest: Digest | None, now: int
) -> None:
    rows = [
        {
            "repository_id": repository_id,
            "name": name,
            "digest": None if digest is None else digest.pack(),
            "version": version,
            "changed_at": now,
        }
        for name, version in versions.items()
    ]
    connection.execute(insert(tag_history), rows)
