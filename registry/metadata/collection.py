"""Collection: which blobs nothing keeps any more (T8), which dead objects may leave the store (T9), and the account.

A blob is kept by references (rows of `manifest_blobs` whose `linked_digest` names it) and by its lease
(`protect_until`). Walking all blobs to find the few that neither keeps would cost more the more is stored. So each blob
that might be one has `review_at`, and an index finds those whose time has come.

The rule. **In every committed state, a blob that nothing refers to has a `review_at`.** With many writers under READ
COMMITTED it holds because of three habits:

1. A new row of `blobs` has a `review_at` (`blobs.claim`), and nothing but collection ever sets it to NULL.
2. Collection sets it to NULL only for a row that it holds FOR UPDATE, and only after a statement that began when it had
   that lock has seen a reference. Call that transaction C, and the reference that it saw E.
3. Whoever takes references away (`manifests.protect_blobs`, before manifests go) updates, in the same transaction, the
   row of every blob that loses one, whatever its lease is. Call that transaction X, and let E be what X takes away.

X and C both lock the row of the blob. If X has it first, C skips the row (SKIP LOCKED) or, coming after X's commit,
sees no E. If C has it first, X's update waits for C's commit and then, as READ COMMITTED has it, works on the newest
version of the row: the NULL that C wrote is replaced. X cannot have committed between C's lock and C's look, since X
holds the lock until it commits. So no NULL outlives the last reference. A reference that comes (a manifest, an upload
or a mount that fills an edge) needs no review: the next one finds it and writes NULL. On SQLite there is one writer at
a time, and the same order holds by itself.

That a blob is not collected while a manifest begins to use it is the other half (I2). `manifests.add` takes the rows of
its blobs FOR KEY SHARE before it looks which of them its repository shows; a mount or an upload updates or inserts the
row before it links it. Collection skips what somebody holds so. For what collection holds they wait, and then do not
find it: the push is refused, and the client sends the blob again. References that were committed before collection got
the lock are seen, because the look is a new statement. The foreign keys are the net below.

That a lease is long enough (I3) is the matter of whoever lengthens it: HEAD, upload, mount, and the removal of a
manifest. A clock that is wrong can end a lease too early; then a push has to send a blob again, and no manifest loses
one.

The previous version of the registry takes references away without setting `review_at`. What it leaves behind while both
run is found by the full review, which walks all blobs.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, delete, func, select, tuple_, update
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.metadata.schema import blobs, manifest_blobs, objects, repository_blobs, uploads


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of the blobs of one step. Sizes in bytes."""

    looked_at: int
    collected: int
    collected_bytes: int


_HAS_REFERENCE = select(manifest_blobs.c.manifest_id).where(manifest_blobs.c.linked_digest == blobs.c.digest).exists()
_DUE = (
    select(blobs.c.digest, blobs.c.object_id, blobs.c.size, blobs.c.protect_until)
    .where(blobs.c.review_at < bindparam("now"))
    .order_by(blobs.c.review_at)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)
)
_REFERENCED = select(blobs.c.digest).where(blobs.c.digest.in_(bindparam("digests", expanding=True)), _HAS_REFERENCE)
_SETTLE = update(blobs).where(blobs.c.digest.in_(bindparam("digests", expanding=True))).values(review_at=None)
_WAIT = (
    update(blobs)
    .where(blobs.c.digest.in_(bindparam("digests", expanding=True)))
    .values(review_at=blobs.c.protect_until)
)
_UNLINK = delete(repository_blobs).where(repository_blobs.c.digest.in_(bindparam("digests", expanding=True)))
_FORGET = delete(blobs).where(blobs.c.digest.in_(bindparam("digests", expanding=True)))
_BURY = (
    update(objects)
    .where(objects.c.id.in_(bindparam("ids", expanding=True)), objects.c.state == "live")
    .values(state="dead", dead_at=bindparam("now"))
)


def review(connection: Connection, *, now: int, count: int) -> Reviewed:
    """Look at up to `count` blobs whose review is due, and collect those that nothing keeps (T8): from this commit on
    no repository shows them, and their objects are dead."""
    due = connection.execute(_DUE, {"now": now, "count": count}).all()
    leased = [row.digest for row in due if row.protect_until >= now]
    free = [row.digest for row in due if row.protect_until < now]
    if leased:
        connection.execute(_WAIT, {"digests": leased})
    # A statement of its own: it sees what was committed before the locks above were there.
    used = set(connection.execute(_REFERENCED, {"digests": free}).scalars()) if free else set()
    if used:
        connection.execute(_SETTLE, {"digests": sorted(used)})
    unused = [row for row in due if row.protect_until < now and row.digest not in used]
    if unused:
        _collect(connection, [row.digest for row in unused], [row.object_id for row in unused], now=now)
    return Reviewed(len(due), len(unused), sum(row.size for row in unused))


def _collect(connection: Connection, digests: list[bytes], object_ids: list[int], *, now: int) -> None:
    connection.execute(_UNLINK, {"digests": digests})
    gone = connection.execute(_FORGET, {"digests": digests}).rowcount
    buried = connection.execute(_BURY, {"ids": object_ids, "now": now}).rowcount
    if not gone == buried == len(digests):
        raise RuntimeError(f"{len(digests)} blobs to collect, {gone} rows, {buried} live objects")


# The full review.

_PAGE = (
    select(blobs.c.digest).where(blobs.c.digest > bindparam("after")).order_by(blobs.c.digest).limit(bindparam("count"))
)
_FORGOTTEN = select(blobs.c.digest).where(
    blobs.c.digest > bindparam("after"),
    blobs.c.digest <= bindparam("last"),
    blobs.c.review_at.is_(None),
    ~_HAS_REFERENCE,
)


@dataclass(frozen=True, slots=True)
class Page:
    """Blobs that were walked through: the last one, None at the end; how many; and which of them have neither a
    reference nor a review."""

    last: bytes | None
    count: int
    forgotten: list[bytes]


def walk(connection: Connection, *, after: bytes, count: int) -> Page:
    """The next blobs by digest, for whoever looks at all of them."""
    digests = list(connection.execute(_PAGE, {"after": after, "count": count}).scalars())
    if not digests:
        return Page(None, 0, [])
    between = {"after": after, "last": digests[-1]}
    return Page(digests[-1], len(digests), list(connection.execute(_FORGOTTEN, between).scalars()))


def review_again(connection: Connection, digests: list[bytes]) -> None:
    """Have these blobs reviewed when their leases are over, whatever refers to them by then."""
    connection.execute(_WAIT, {"digests": digests})


# Dead objects.


@dataclass(frozen=True, slots=True)
class DeadObject:
    """What the store may still hold of it. `digest` and `size` (bytes) are None where it never was live."""

    id: int
    digest: Digest | None
    size: int | None
    dead_at: int


_DEAD = (
    select(objects.c.id, objects.c.digest, objects.c.size, objects.c.dead_at)
    .where(
        objects.c.state == "dead",
        objects.c.dead_at < bindparam("before"),
        tuple_(objects.c.dead_at, objects.c.id)
        > tuple_(bindparam("after_at", type_=BigInteger), bindparam("after_id", type_=BigInteger)),
    )
    .order_by(objects.c.dead_at, objects.c.id)
    .limit(bindparam("count"))
)
_WAITING = select(func.count(), func.coalesce(func.sum(objects.c.size), 0)).where(objects.c.state == "dead")
_KNOWN = select(objects.c.id, objects.c.digest).where(objects.c.id.in_(bindparam("ids", expanding=True)))


def dead(connection: Connection, *, before: int, after: tuple[int, int], count: int) -> list[DeadObject]:
    """The next objects that died before a time (T9), by (dead_at, id)."""
    rows = connection.execute(_DEAD, {"before": before, "after_at": after[0], "after_id": after[1], "count": count})
    return [DeadObject(row[0], None if row[1] is None else Digest.unpack(row[1]), row[2], row[3]) for row in rows]


def waiting(connection: Connection) -> tuple[int, int]:
    """How many objects are dead and still have their row, and how many bytes they had."""
    count, size = connection.execute(_WAITING).one()
    return count, int(size)


def known(connection: Connection, object_ids: list[int]) -> dict[int, Digest | None]:
    """Those of these ids that are objects, with the digest if they ever were live."""
    rows = connection.execute(_KNOWN, {"ids": object_ids})
    return {row[0]: None if row[1] is None else Digest.unpack(row[1]) for row in rows}


# The account.


@dataclass(frozen=True, slots=True)
class Account:
    """Where the bytes are. Counts, and sizes in bytes; `leased_until` in ms since 1970 UTC."""

    live: int
    live_bytes: int
    referenced: int
    referenced_bytes: int
    leased: int
    """In use by no manifest, and kept by a lease."""
    leased_bytes: int
    leased_until: int | None
    """When the last of these leases ends, if nobody lengthens it."""
    collectable: int
    collectable_bytes: int
    dead: int
    """Collected, and in the store until their grace is over."""
    dead_bytes: int
    removable: int
    """Those of the dead whose grace is over."""
    removable_bytes: int
    uploads: int
    """Unfinished."""
    uploads_bytes: int
    uploads_expired: int


def account(connection: Connection, *, now: int, dead_before: int) -> Account:
    """Count everything, in one state of the database. Walks all blobs."""
    size = func.coalesce(func.sum(blobs.c.size), 0)

    def unused(*where: object) -> tuple[int, int, int | None]:
        query = select(func.count(), size, func.max(blobs.c.protect_until)).where(~_HAS_REFERENCE, *where)  # type: ignore[arg-type]
        count, total, until = connection.execute(query).one()
        return count, int(total), until

    live, live_bytes = connection.execute(select(func.count(), size)).one()
    leased = unused(blobs.c.protect_until >= now)
    free = unused(blobs.c.protect_until < now)
    dead_now = waiting(connection)
    removable, removable_bytes = connection.execute(_WAITING.where(objects.c.dead_at < dead_before)).one()
    unfinished = select(func.count(), func.coalesce(func.sum(uploads.c.offset), 0)).where(uploads.c.state != "finished")
    begun, begun_bytes = connection.execute(unfinished).one()
    expired, _ = connection.execute(unfinished.where(uploads.c.expires_at < now)).one()
    return Account(
        live=live,
        live_bytes=int(live_bytes),
        referenced=live - leased[0] - free[0],
        referenced_bytes=int(live_bytes) - leased[1] - free[1],
        leased=leased[0],
        leased_bytes=leased[1],
        leased_until=leased[2],
        collectable=free[0],
        collectable_bytes=free[1],
        dead=dead_now[0],
        dead_bytes=dead_now[1],
        removable=removable,
        removable_bytes=int(removable_bytes),
        uploads=begun,
        uploads_bytes=int(begun_bytes),
        uploads_expired=expired,
    )
