"""Repositories: found by name, made on the first push, renamed, and let go."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    String,
    bindparam,
    case,
    cast,
    delete,
    literal,
    select,
    update,
)
from sqlalchemy.engine import Connection

from registry.core.access import RepositoryAccess, Visibility
from registry.core.errors import NameUnknown, Unavailable
from registry.core.names import RepositoryName
from registry.metadata import aliases, pulls, tally
from registry.metadata.aliases import MEANT
from registry.metadata.insert import insert
from registry.metadata.manifests import protect_blobs
from registry.metadata.schema import (
    accounts,
    grants,
    manifests,
    objects,
    repositories,
    repository_aliases,
    repository_blobs,
    stars,
    tag_history,
    tags,
    uploads,
)

_FIND = select(MEANT)


class Hold(Enum):
    """How a transaction holds a repository. Each keeps it from being deleted."""

    SHARED = "shared"
    """Beside others: uploads, and blobs that arrive."""
    ALONE = "alone"
    """The only one that changes manifests and tags in it, or takes blobs out: edges, tags and their history are decided
    by what is there. Blobs may arrive meanwhile."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A repository that a transaction holds, with the name that it has now. What is written down takes this one: the
    request may have come by a former one."""

    id: int
    name: str


def _held(condition: ColumnElement[bool]) -> dict[Hold, Select[int, str, int]]:
    """A question for a repository that is there, with each hold."""
    columns = (repositories.c.id, repositories.c.name, repositories.c.namespace_id)
    there = select(*columns).where(condition, repositories.c.deleted_at.is_(None))
    return {
        Hold.SHARED: there.with_for_update(read=True, key_share=True),
        Hold.ALONE: there.with_for_update(key_share=True),
    }


_BY_ID = _held(repositories.c.id == bindparam("id"))
_BY_NAME = _held(repositories.c.id == MEANT)
_NAMESPACE = (
    select(accounts.c.id)
    .where(accounts.c.id == bindparam("id"), accounts.c.deleted_at.is_(None))
    .with_for_update(read=True)
)
_EMPTYING = select(repositories.c.id).where(repositories.c.id == bindparam("id")).with_for_update()


def find(connection: Connection, name: RepositoryName) -> int | None:
    """The id of the repository that has or had this name, or None."""
    found: int | None = connection.execute(_FIND, {"name": name}).scalar()
    return found


def lock(connection: Connection, access: RepositoryAccess, hold: Hold = Hold.SHARED) -> Locked:
    """The repository, which is held until the transaction ends. Raises NameUnknown."""
    row = None if access.id is None else connection.execute(_BY_ID[hold], {"id": access.id}).first()
    if row is None:
        raise NameUnknown("no such repository", name=access.name)
    return Locked(row[0], row[1])


def ensure(
    connection: Connection, access: RepositoryAccess, hold: Hold = Hold.SHARED, *, now: int
) -> tuple[Locked, bool]:
    """The repository, which is held until the transaction ends, and whether it was made now: it is if there was none
    when access was decided. Raises NameUnknown for one that has been deleted since, or whose namespace was."""
    if access.id is not None:
        return lock(connection, access, hold), False
    _require_namespace(connection, access)
    for _ in range(_ENSURE_TRIES):
        made = _add(connection, access, now=now)
        if made is not None:
            return Locked(made, access.name), True
        # Somebody else was quicker, and may have deleted it again since.
        row = connection.execute(_BY_NAME[hold], {"name": access.name}).first()
        if row is None:
            continue
        if row[2] != access.namespace_id:
            # It was decided that this account may create here, which says nothing about what was moved elsewhere.
            raise Unavailable("the repository was made meanwhile, and has gone elsewhere", retry_after_s=1)
        return Locked(row[0], row[1]), False
    raise Unavailable("the repository is made and deleted all the time", retry_after_s=1)


_ENSURE_TRIES = 5


def _require_namespace(connection: Connection, access: RepositoryAccess) -> None:
    """A namespace that is about to be deleted is seen here, or sees what is made in it."""
    if access.namespace_id is None:
        return
    if connection.execute(_NAMESPACE, {"id": access.namespace_id}).scalar() is None:
        raise NameUnknown("the namespace of this repository is gone", name=access.name)


def _add(connection: Connection, access: RepositoryAccess, *, now: int) -> int | None:
    """Make the repository; its id, or None where the name means one."""
    row = {
        "name": access.name,
        "created_at": now,
        "namespace_id": access.namespace_id,
        "visibility": access.visibility.value,
        "created_by": access.actor.account_id,
    }
    made = _take_name(connection, row)
    # Asked after that, not before: a rename that was under way is then known. A name becomes a former one only where a
    # repository has it, so none can become one from now on.
    if made is not None and aliases.find(connection, access.name) is not None:
        connection.execute(delete(repositories).where(repositories.c.id == made))
        return None
    return made


def _take_name(connection: Connection, row: dict[str, object]) -> int | None:
    """A new row; its id, or None where a repository has the name. Who wants the same name waits until this ends."""
    statement = insert(connection, repositories).on_conflict_do_nothing(index_elements=["name"])
    if connection.execute(statement, row).rowcount != 1:
        return None
    made: int = connection.execute(_BY_EXACT_NAME, {"name": row["name"]}).scalar_one()
    return made


_BY_EXACT_NAME = select(repositories.c.id).where(repositories.c.name == bindparam("name"))


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as its administration sees it. `namespace` None: the instance's. Times in ms since 1970 UTC."""

    id: int
    name: str
    namespace_id: int | None
    namespace: str | None
    visibility: Visibility
    created_at: int
    description: str


_REPOSITORY = (
    select(
        repositories.c.id,
        repositories.c.name,
        repositories.c.namespace_id,
        accounts.c.name,
        repositories.c.visibility,
        repositories.c.created_at,
        repositories.c.description,
    )
    .outerjoin(accounts, accounts.c.id == repositories.c.namespace_id)
    .where(repositories.c.deleted_at.is_(None))
)


_AFTER_ALL = "~"
"""Sorts after every character that a name can have."""


def get(connection: Connection, name: RepositoryName) -> Repository | None:
    """The repository that has or had this name."""
    return _repository(connection.execute(_MEANT_REPOSITORY, {"name": name}).first())


def by_id(connection: Connection, repository_id: int) -> Repository | None:
    """The repository with this id."""
    return _repository(connection.execute(_REPOSITORY.where(repositories.c.id == repository_id)).first())


_MEANT_REPOSITORY = _REPOSITORY.where(repositories.c.id == MEANT)


def _repository(row: Any) -> Repository | None:
    return None if row is None else Repository(row[0], row[1], row[2], row[3], Visibility(row[4]), row[5], row[6])


def named(connection: Connection, names: list[RepositoryName]) -> dict[str, Repository]:
    """Those of these names that are there, by name; former names mean nothing here."""
    rows = connection.execute(_REPOSITORY.where(repositories.c.name.in_(names)))
    return {found.name: found for row in rows if (found := _repository(row)) is not None}


def page(connection: Connection, *, after: str, count: int, prefix: str = "") -> list[Repository]:
    """The next repositories by name whose name begins with `prefix`, empty ones too."""
    query = _REPOSITORY.where(repositories.c.name > after).order_by(repositories.c.name).limit(count)
    if prefix:
        query = query.where(repositories.c.name >= prefix, repositories.c.name < f"{prefix}{_AFTER_ALL}")
    return [found for row in connection.execute(query) if (found := _repository(row)) is not None]


def set_visibility(connection: Connection, repository_id: int, visibility: Visibility) -> None:
    """Who may pull without a role."""
    connection.execute(
        update(repositories).where(repositories.c.id == repository_id).values(visibility=visibility.value)
    )


def set_visibilities(connection: Connection, repository_ids: list[int], visibility: Visibility) -> None:
    """The same of many."""
    changed = update(repositories).where(repositories.c.id.in_(repository_ids))
    connection.execute(changed.values(visibility=visibility.value))


def describe(connection: Connection, repository_id: int, description: str) -> None:
    """What it is, in one line."""
    changed = update(repositories).where(repositories.c.id == repository_id)
    connection.execute(changed.values(description=description))


def assign(connection: Connection, repository_id: int, namespace_id: int | None) -> None:
    """Let a namespace own a repository, or the instance (None)."""
    connection.execute(update(repositories).where(repositories.c.id == repository_id).values(namespace_id=namespace_id))


def rename(connection: Connection, repository: Repository, new: RepositoryName, *, now: int) -> bool:
    """Give a repository another name; the one that it has becomes a former one. False where the new one means another
    repository. After `access.lock_changes`, which keeps former names as they are."""
    if aliases.find(connection, new) not in (None, repository.id):
        return False
    # A row that takes the name away from pushes, which make repositories without asking anybody. It waits for those
    # that are about to, and those that come later wait for it.
    place = {"name": new, "created_at": now, "visibility": repository.visibility.value}
    taken = _take_name(connection, place)
    if taken is None:
        return False
    connection.execute(delete(repositories).where(repositories.c.id == taken))
    aliases.remove(connection, repository.id, new)
    aliases.add(connection, repository.id, repository.name, now=now)
    connection.execute(update(repositories).where(repositories.c.id == repository.id).values(name=new))
    return True


_NOTE_CHANGE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repository"))
    .values(
        pushed_at=case(
            (bindparam("is_push", type_=Boolean), bindparam("now", type_=BigInteger)), else_=repositories.c.pushed_at
        ),
        tag_count=repositories.c.tag_count + bindparam("tags_more", type_=BigInteger),
        tally_at=tally.again(bindparam("now", type_=BigInteger)),
    )
)


def note_change(connection: Connection, repository_id: int, *, tags_more: int, is_push: bool, now: int) -> None:
    """What the repository holds has changed, in this transaction, which holds it alone: it has `tags_more` tags more
    (fewer where negative), and is to be counted again."""
    change = {"repository": repository_id, "tags_more": tags_more, "is_push": is_push, "now": now}
    connection.execute(_NOTE_CHANGE, change)


# Deleting. The name is free at once; what was in it goes in steps that are short for everybody else, and any of them
# may be the last one before a crash: the next delete goes on with what is left.

_DELETED = ":deleted:"
"""No repository can be given such a name."""
_MANIFESTS_SHARE = 10
"""A manifest takes so much longer than other rows: it has a dozen edges, and its blobs get their leases."""
_AFTER_DELETED = ":deleted;"
"""What sorts after all of them."""


def begin_delete(connection: Connection, *repository_ids: int, now: int) -> None:
    """Take their names away: nobody finds the repositories any more. After `access.lock_changes`."""
    mine = repositories.c.id.in_(repository_ids)
    # In the order of their ids, as everybody holds several.
    connection.execute(select(repositories.c.id).where(mine).order_by(repositories.c.id).with_for_update())
    connection.execute(delete(repository_aliases).where(repository_aliases.c.repository_id.in_(repository_ids)))
    name = literal(_DELETED, String) + cast(repositories.c.id, String)
    connection.execute(update(repositories).where(mine).values(deleted_at=now, name=name, tally_at=None))
    connection.execute(delete(grants).where(grants.c.repository_id.in_(repository_ids)))


def deleted(connection: Connection) -> list[int]:
    """Repositories that are being deleted."""
    query = select(repositories.c.id).where(repositories.c.name > _DELETED, repositories.c.name < _AFTER_DELETED)
    return list(connection.execute(query).scalars())


def empty_step(connection: Connection, repository_id: int, *, count: int, now: int, until: int) -> bool:
    """Remove up to `count` rows of each kind of what a deleted repository holds; False once nothing is left and the
    repository is gone. The blobs of its manifests are kept by their leases until `until` at least, and reviewed then;
    uploads that are still open die."""
    if connection.execute(_EMPTYING, {"id": repository_id}).scalar() is None:
        return False
    removed = _end_uploads(connection, repository_id, count=count, now=now)
    removed = removed or pulls.forget(connection, repository_id, count=count)
    # What refers comes before what is referred to.
    for table, key in (
        (tags, tags.c.name),
        (tag_history, tag_history.c.id),
        (stars, stars.c.account_id),
        (manifests, manifests.c.id),
        (repository_blobs, repository_blobs.c.digest),
    ):
        if removed:
            return True
        mine = table.c.repository_id == repository_id
        limit = max(1, count // _MANIFESTS_SHARE) if table is manifests else count
        some = list(connection.execute(select(key).where(mine).limit(limit)).scalars())
        if some and table is manifests:
            protect_blobs(connection, some, until=until)
        removed = connection.execute(delete(table).where(mine, key.in_(some))).rowcount if some else 0
    if removed:
        return True
    connection.execute(delete(repositories).where(repositories.c.id == repository_id))
    return False


def _end_uploads(connection: Connection, repository_id: int, *, count: int, now: int) -> int:
    mine = (
        select(uploads.c.id, uploads.c.object_id)
        .where(uploads.c.repository_id == repository_id)
        .order_by(uploads.c.id)
        .limit(count)
        .with_for_update()
    )
    rows = connection.execute(mine).all()
    if not rows:
        return 0
    connection.execute(delete(uploads).where(uploads.c.id.in_([row[0] for row in rows])))
    mine_objects = (objects.c.id.in_([row[1] for row in rows if row[1] is not None]), objects.c.state == "uploading")
    connection.execute(update(objects).where(*mine_objects).values(state="dead", dead_at=now))
    return len(rows)
