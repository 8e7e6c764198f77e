"""The history of tags as people read it: what each pointed to, since when, and whose doing it was."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, and_, bindparam, select
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata.schema import accounts, manifests, tag_history


@dataclass(frozen=True, slots=True)
class TagChange:
    """One change of one tag. `id` grows with time over the whole repository. `at` in ms since 1970 UTC."""

    id: int
    tag: str
    number: int
    """Counts the changes of this tag, from 1."""
    digest: Digest | None
    """What it has pointed to since; None: it was deleted."""
    before: Digest | None
    """What it had pointed to; None: there was no such tag."""
    at: int
    by: str | None
    """The account; None where nobody had logged in, or nobody knows any more."""
    is_held: bool
    """Whether the repository still holds what it pointed to, so that it can again."""


_EARLIER = tag_history.alias("earlier")
_SHOWN: Select[Any] = (
    select(
        tag_history.c.id,
        tag_history.c.name,
        tag_history.c.version,
        tag_history.c.digest,
        _EARLIER.c.digest.label("before"),
        tag_history.c.changed_at,
        accounts.c.name.label("by"),
        manifests.c.id.label("manifest"),
    )
    .outerjoin(
        _EARLIER,
        and_(
            _EARLIER.c.repository_id == tag_history.c.repository_id,
            _EARLIER.c.name == tag_history.c.name,
            _EARLIER.c.version == tag_history.c.version - 1,
        ),
    )
    .outerjoin(accounts, accounts.c.id == tag_history.c.changed_by)
    .outerjoin(
        manifests,
        and_(manifests.c.repository_id == tag_history.c.repository_id, manifests.c.digest == tag_history.c.digest),
    )
    .where(tag_history.c.repository_id == bindparam("repository"))
    .limit(bindparam("count"))
)
_BEFORE = bindparam("before", type_=BigInteger)
_OF_REPOSITORY = _SHOWN.where(tag_history.c.id < _BEFORE).order_by(tag_history.c.id.desc())
_OF_TAG = _SHOWN.where(tag_history.c.name == bindparam("tag"), tag_history.c.version < _BEFORE).order_by(
    tag_history.c.version.desc()
)
_LAST = 2**63 - 1


def of_repository(connection: Connection, repository_id: int, *, before: int | None, count: int) -> list[TagChange]:
    """The newest changes of all tags; with `before`, those with smaller ids."""
    found = {"repository": repository_id, "before": _LAST if before is None else before, "count": count}
    return [_change(row) for row in connection.execute(_OF_REPOSITORY, found)]


def of_tag(connection: Connection, repository_id: int, tag: str, *, before: int | None, count: int) -> list[TagChange]:
    """The newest changes of one tag, also of one that is gone; with `before`, those with smaller numbers."""
    found = {"repository": repository_id, "tag": tag, "before": _LAST if before is None else before, "count": count}
    return [_change(row) for row in connection.execute(_OF_TAG, found)]


def _change(row: Any) -> TagChange:
    return TagChange(
        id=row.id,
        tag=row.name,
        number=row.version,
        digest=_digest(row.digest),
        before=_digest(row.before),
        at=row.changed_at,
        by=row.by,
        is_held=row.manifest is not None,
    )


def _digest(packed: bytes | None) -> Digest | None:
    return None if packed is None else Digest.unpack(packed)
