"""Browsers that are signed in, by the hash of what their cookie holds."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.engine import Connection

from registry.metadata.access import is_active
from registry.metadata.schema import accounts, installation, sessions


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session and its account, as they are now. Times in ms since 1970 UTC."""

    id: int
    account_id: int
    account_name: str
    is_admin: bool
    is_active: bool
    """Whether the account can be used."""
    is_complete: bool
    """False as long as the second factor has not been shown."""
    created_at: int
    seen_at: int
    proved_at: int
    expires_at: int
    address: str | None
    user_agent: str
    revision: int
    """The newest change of access when this was read."""


_owner = accounts.alias("owner")
_SESSION = (
    select(
        sessions.c.id,
        sessions.c.account_id,
        accounts.c.name,
        accounts.c.is_admin,
        is_active(accounts, _owner).label("is_active"),
        sessions.c.is_complete,
        sessions.c.created_at,
        sessions.c.seen_at,
        sessions.c.proved_at,
        sessions.c.expires_at,
        sessions.c.address,
        sessions.c.user_agent,
        installation.c.access_revision,
    )
    .select_from(installation)
    .join(sessions, sessions.c.id.is_not(None))
    .join(accounts, accounts.c.id == sessions.c.account_id)
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
)
_BY_HASH = _SESSION.where(sessions.c.secret_hash == bindparam("hash"))
_BY_ID = _SESSION.where(sessions.c.id == bindparam("id"))
_OF_ACCOUNT = _SESSION.where(sessions.c.account_id == bindparam("account"), sessions.c.is_complete).order_by(
    sessions.c.id.desc()
)


def _stored(row: Any) -> StoredSession:
    return StoredSession(
        id=row.id,
        account_id=row.account_id,
        account_name=row.name,
        is_admin=bool(row.is_admin),
        is_active=bool(row.is_active),
        is_complete=bool(row.is_complete),
        created_at=row.created_at,
        seen_at=row.seen_at,
        proved_at=row.proved_at,
        expires_at=row.expires_at,
        address=row.address,
        user_agent=row.user_agent,
        revision=row.access_revision,
    )


def find(connection: Connection, secret_hash: bytes) -> StoredSession | None:
    """The session with this hash, also where it has expired."""
    row = connection.execute(_BY_HASH, {"hash": secret_hash}).first()
    return None if row is None else _stored(row)


def get(connection: Connection, session_id: int) -> StoredSession | None:
    """The session with this id."""
    row = connection.execute(_BY_ID, {"id": session_id}).first()
    return None if row is None else _stored(row)


def of_account(connection: Connection, account_id: int, *, now: int, seen_after: int) -> list[StoredSession]:
    """The sessions of an account that count, newest first."""
    query = _OF_ACCOUNT.where(sessions.c.expires_at > now, sessions.c.seen_at > seen_after)
    return [_stored(row) for row in connection.execute(query, {"account": account_id})]


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be."""

    account_id: int
    secret_hash: bytes
    is_complete: bool
    expires_at: int
    address: str | None
    user_agent: str


def add(connection: Connection, new: NewSession, *, now: int) -> int:
    """Add a session; returns its id."""
    row = {
        "account_id": new.account_id,
        "secret_hash": new.secret_hash,
        "is_complete": new.is_complete,
        "created_at": now,
        "seen_at": now,
        "proved_at": now,
        "expires_at": new.expires_at,
        "address": new.address,
        "user_agent": new.user_agent,
    }
    added = connection.execute(plain_insert(sessions), row)
    session_id: int = added.inserted_primary_key[0]  # type: ignore[index]
    return session_id


def complete(connection: Connection, session_id: int, secret_hash: bytes, *, expires_at: int, now: int) -> bool:
    """The second factor was shown: the session counts from now on, under another secret. False if it has ended, or
    somebody else was first."""
    where = (sessions.c.id == session_id, sessions.c.is_complete.is_(False), sessions.c.expires_at > now)
    values = {
        "is_complete": True,
        "secret_hash": secret_hash,
        "expires_at": expires_at,
        "seen_at": now,
        "proved_at": now,
    }
    return connection.execute(update(sessions).where(*where).values(**values)).rowcount == 1


def proved(connection: Connection, session_id: int, *, at: int) -> bool:
    """The person has shown again who it is; False if the session has ended."""
    changed = connection.execute(update(sessions).where(sessions.c.id == session_id).values(proved_at=at))
    return changed.rowcount == 1


def seen(connection: Connection, session_id: int, *, at: int, not_since: int, address: str | None) -> None:
    """Note the last use, unless somebody did after `not_since`."""
    where = (sessions.c.id == session_id, sessions.c.seen_at <= not_since)
    connection.execute(update(sessions).where(*where).values(seen_at=at, address=address))


def ids_of_account(connection: Connection, account_id: int, *, is_complete: bool | None = None) -> list[int]:
    """The sessions of an account, oldest first, those that have expired too; None: all of them."""
    query = select(sessions.c.id).where(sessions.c.account_id == account_id).order_by(sessions.c.id)
    if is_complete is not None:
        query = query.where(sessions.c.is_complete.is_(is_complete))
    return list(connection.execute(query).scalars())


def remove(connection: Connection, account_id: int, session_ids: list[int]) -> list[int]:
    """Remove sessions, if they are of this account; returns the ids of those that were there."""
    where = (sessions.c.account_id == account_id, sessions.c.id.in_(session_ids))
    return list(connection.execute(delete(sessions).where(*where).returning(sessions.c.id)).scalars())


def remove_ended(connection: Connection, *, now: int, seen_before: int, count: int) -> int:
    """Remove up to `count` that count no longer: after their time, or not seen for long; returns how many."""
    old = (
        select(sessions.c.id)
        .where(or_(sessions.c.expires_at <= now, sessions.c.seen_at <= seen_before))
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(sessions).where(sessions.c.id.in_(old))).rowcount
