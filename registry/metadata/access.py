"""What access is decided by: one query for one repository, one condition for lists, and the changes that void both."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from registry.core.access import Facts, Permit, RepositoryAccess, Role, Standing, TokenLimits, Visibility
from registry.core.errors import Unauthenticated
from registry.core.limits import CHANGES_KEPT_MS
from registry.core.names import RepositoryName
from registry.metadata.aliases import MEANT
from registry.metadata.notices import notify
from registry.metadata.schema import (
    access_changes,
    accounts,
    grants,
    installation,
    manifests,
    members,
    repositories,
    repository_blobs,
    team_members,
)
from registry.metadata.ways import CALLER, OWN_NAMESPACES, OWN_REPOSITORIES, VISIBLE, Viewer, Walk, covered, place

_owner = accounts.alias("owner")
_namespace = accounts.alias("namespace")
_named = accounts.alias("named")
_namespace_id = func.coalesce(_namespace.c.id, _named.c.id)


def is_active(account: Any, owner: Any) -> ColumnElement[bool]:
    """Whether an account can be used; `owner` is the account that owns it, all NULL unless it is a robot."""
    return and_(
        account.c.disabled_at.is_(None),
        account.c.deleted_at.is_(None),
        owner.c.disabled_at.is_(None),
        owner.c.deleted_at.is_(None),
    )


def _highest(on: ColumnElement[bool]) -> list[ColumnElement[int]]:
    """The caller's highest roles of the grants `on` something: its own, and that of its teams; 0 for none."""
    role = select(func.coalesce(func.max(grants.c.role), 0)).correlate(repositories, _namespace, _named)
    own = role.where(grants.c.account_id == CALLER, on)
    # Not a join: SQLite would begin it with the roles of everybody, of which a place may have many.
    its_teams = select(team_members.c.team_id).where(team_members.c.account_id == CALLER)
    of_team = role.where(grants.c.team_id.in_(its_teams), on)
    return [own.scalar_subquery(), of_team.scalar_subquery()]


_OWNS = or_(
    _namespace_id == CALLER,
    exists()
    .where(members.c.organization_id == _namespace_id, members.c.account_id == CALLER, members.c.is_owner)
    .correlate(_namespace, _named),
)
_FACTS = (
    select(
        installation.c.access_revision.label("revision"),
        accounts.c.id.label("caller"),
        is_active(accounts, _owner).label("active"),
        accounts.c.is_admin.label("admin"),
        _namespace_id.label("namespace"),
        _OWNS.label("owns"),
        repositories.c.id.label("repository"),
        repositories.c.visibility,
        repositories.c.created_by,
        repositories.c.created_at,
        func.coalesce(_namespace.c.default_visibility, _named.c.default_visibility).label("new_visibility"),
        *_highest(grants.c.repository_id == repositories.c.id),
        *_highest(grants.c.namespace_id == _namespace_id),
    )
    .select_from(installation)
    .outerjoin(accounts, accounts.c.id == CALLER)
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
    .outerjoin(repositories, repositories.c.id == MEANT)
    .outerjoin(_namespace, _namespace.c.id == repositories.c.namespace_id)
    # Who would own the name, as long as there is no repository: that one has an owner of its own, or none.
    .outerjoin(
        _named,
        and_(
            _named.c.name == bindparam("first"),
            _named.c.kind != "robot",
            _named.c.deleted_at.is_(None),
            repositories.c.id.is_(None),
        ),
    )
)
_ROLES_FROM = 11


def facts(connection: Connection, account_id: int | None, name: RepositoryName) -> Facts:
    """Everything that access of an account to the repository that this name means, or meant before it was renamed, is
    decided by."""
    return _facts(connection, account_id, {"name": name, "first": name.namespace})


def facts_of_new(connection: Connection, account_id: int | None, name: RepositoryName) -> Facts:
    """As `facts`, as if the name meant no repository: what making one is decided by."""
    return _facts(connection, account_id, {"name": _NO_NAME, "first": name.namespace})


_NO_NAME = ""
"""No repository has it."""


def _facts(connection: Connection, account_id: int | None, about: dict[str, str | None]) -> Facts:
    row = connection.execute(_FACTS, {"account": account_id, **about}).one()
    return Facts(
        revision=row.revision,
        is_active=account_id is None or (row.caller is not None and bool(row.active)),
        is_admin=bool(row.admin),
        namespace_id=row.namespace,
        owns_namespace=bool(row.owns),
        repository_id=row.repository,
        is_public=row.visibility == Visibility.PUBLIC,
        role=Role(max(row[_ROLES_FROM:])),
        created_by=row.created_by,
        created_at=row.created_at or 0,
        new_visibility=None if row.new_visibility is None else Visibility(row.new_visibility),
    )


_STANDING = (
    select(
        installation.c.access_revision.label("revision"),
        accounts.c.id.label("caller"),
        is_active(accounts, _owner).label("active"),
        accounts.c.is_admin.label("admin"),
        accounts.c.kind,
        _named.c.id.label("namespace"),
        _named.c.kind.label("namespace_kind"),
        members.c.is_owner.label("owner"),
    )
    .select_from(installation)
    .outerjoin(accounts, accounts.c.id == CALLER)
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
    .outerjoin(
        _named,
        and_(_named.c.name == bindparam("named"), _named.c.kind != "robot", _named.c.deleted_at.is_(None)),
    )
    .outerjoin(members, and_(members.c.organization_id == _named.c.id, members.c.account_id == CALLER))
)


def standing(connection: Connection, account_id: int, namespace: str | None) -> Standing:
    """What an account is, and what it is in a namespace, if one is asked for."""
    row = connection.execute(_STANDING, {"account": account_id, "named": namespace}).one()
    return Standing(
        revision=row.revision,
        is_active=row.caller is not None and bool(row.active),
        is_admin=bool(row.admin),
        is_user=row.kind == "user",
        namespace_id=row.namespace,
        is_own=row.namespace is not None and (row.namespace == account_id or bool(row.owner)),
        is_member=row.owner is not None,
        namespace_kind=row.namespace_kind,
    )


# Lists


def page(
    connection: Connection, account_id: int | None, limits: TokenLimits | None, *, after: str, count: int
) -> list[str]:
    """The next `count` names after `after` of repositories that hold something and that an account may pull, within the
    limits of its token, in byte order."""
    viewer = Viewer(account_id, limits)
    if viewer.sees_nothing:
        return []
    walk = _names(connection, after=after, count=count).where(*viewer.conditions)
    private = place(OWN_NAMESPACES.subquery("own").c.id, Visibility.PRIVATE)
    parts = [
        walk.through_visibility(Visibility.PUBLIC),
        walk.through_places(private),
        walk.through_ids(OWN_REPOSITORIES),
        walk.only_if(viewer.sees_all, walk.through_names()),
    ]
    return list(connection.execute(walk.first_of(parts), {"account": account_id}).scalars("key"))


def _names(connection: Connection, *, after: str, count: int) -> Walk:
    """Those that hold something, by name."""
    holds = exists().where(manifests.c.repository_id == repositories.c.id)
    return Walk(connection, repositories.c.name, False, (after,), count, (holds,))


def everything(connection: Connection, *, after: str, count: int) -> list[str]:
    """As `page`, of all repositories: for a registry that is open to everybody."""
    names = _names(connection, after=after, count=count).through_names()
    return list(connection.execute(names).scalars("key"))


_HOLDERS = (
    select(repositories.c.name)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .where(repository_blobs.c.digest == bindparam("digest"), repositories.c.deleted_at.is_(None))
)
_VISIBLE_HOLDERS = _HOLDERS.where(VISIBLE)


def may_pull_somewhere(
    connection: Connection, account_id: int | None, limits: TokenLimits | None, packed_digest: bytes
) -> bool:
    """Whether a blob is in a repository that an account may pull, within the limits of its token."""
    if limits is not None and not limits.pulls:
        return False
    query = _VISIBLE_HOLDERS
    if limits is not None and limits.repositories is not None:
        query = query.where(covered(limits.repositories))
    parameters = {"account": account_id, "digest": packed_digest}
    return connection.execute(query.limit(1), parameters).first() is not None


# Changes

_LOCK_CHANGES = select(installation.c.id).with_for_update(key_share=True)


def lock_changes(connection: Connection) -> None:
    """The first statement of every transaction that will note changes, or that decides by what others of them do: they
    run one after the other, so that what they look at stays until they end."""
    connection.execute(_LOCK_CHANGES)


def note_changes(connection: Connection, subjects: Iterable[str], *, now: int) -> None:
    """What was decided about these before is void once this commits. After `lock_changes`.

    The revision is a row that everybody who changes access locks, so revisions become visible in their order.
    """
    named = sorted(set(subjects))
    if not named:
        return
    connection.execute(update(installation).values(access_revision=installation.c.access_revision + 1))
    revision = connection.execute(select(installation.c.access_revision)).scalar_one()
    connection.execute(delete(access_changes).where(access_changes.c.changed_at < now - CHANGES_KEPT_MS))
    rows = [{"revision": revision, "subject": subject, "changed_at": now} for subject in named]
    connection.execute(insert(access_changes), rows)
    notify(connection)


_CHANGES = (
    select(access_changes.c.revision, access_changes.c.subject)
    .where(access_changes.c.revision > bindparam("revision"))
    .order_by(access_changes.c.revision)
)
_REVISION = select(installation.c.access_revision)


def changes_after(connection: Connection, revision: int) -> tuple[list[tuple[int, str]], int]:
    """Changes newer than a revision, oldest first, and the newest revision that there was before they were read: those
    that were removed meanwhile are not among them."""
    newest = connection.execute(_REVISION).scalar() or 0
    rows = [(row[0], row[1]) for row in connection.execute(_CHANGES, {"revision": revision})]
    return rows, max(newest, rows[-1][0] if rows else 0)


def require_unchanged(connection: Connection, access: RepositoryAccess | Permit) -> None:
    """Asked in the transaction that makes a change: a request may have begun long ago, and access been taken away
    since. Raises Unauthenticated."""
    if access.subjects and has_changed(connection, access.subjects, since=access.revision):
        raise Unauthenticated("access has changed since the request began", error="invalid_token")


def has_changed(connection: Connection, subjects: Iterable[str], *, since: int) -> bool:
    """Whether something about these subjects has changed since a revision."""
    where = (access_changes.c.revision > since, access_changes.c.subject.in_(list(subjects)))
    return connection.execute(select(access_changes.c.revision).where(*where).limit(1)).first() is not None
