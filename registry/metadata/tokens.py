"""Personal access tokens and refresh tokens, by hash; and the keys that sign access tokens."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.engine import Connection

from registry.core.access import TokenLimits, TokenScope
from registry.metadata.access import is_active
from registry.metadata.schema import accounts, installation, signing_keys, tokens

PERSONAL = "personal"
REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token and the account it stands for, as they are now. Times in ms since 1970 UTC."""

    id: int
    account_id: int
    account_name: str
    kind: str
    name: str
    limits: TokenLimits | None
    parent_id: int | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    last_used_from: str | None
    is_active: bool
    """Whether the account can be used."""
    revision: int


_owner = accounts.alias("owner")
_TOKEN = (
    select(
        tokens.c.id,
        tokens.c.account_id,
        accounts.c.name.label("account_name"),
        tokens.c.kind,
        tokens.c.name,
        tokens.c.scopes,
        tokens.c.repositories,
        tokens.c.parent_id,
        tokens.c.created_at,
        tokens.c.expires_at,
        tokens.c.last_used_at,
        tokens.c.last_used_from,
        is_active(accounts, _owner).label("is_active"),
        installation.c.access_revision,
    )
    .select_from(installation)
    .join(tokens, tokens.c.id.is_not(None))
    .join(accounts, accounts.c.id == tokens.c.account_id)
    .outerjoin(_owner, _owner.c.id == accounts.c.owner_id)
)
_BY_HASH = _TOKEN.where(tokens.c.secret_hash == bindparam("hash"))
_BY_ID = _TOKEN.where(tokens.c.id == bindparam("id"))
_OF_ACCOUNT = _TOKEN.where(tokens.c.account_id == bindparam("account"), tokens.c.kind == bindparam("kind")).order_by(
    tokens.c.id
)


def _stored(row: Any) -> StoredToken:
    limits = None
    if row.scopes is not None:
        scopes = frozenset(TokenScope(word) for word in row.scopes.split(","))
        limits = TokenLimits(scopes, None if row.repositories is None else tuple(json.loads(row.repositories)))
    return StoredToken(
        id=row.id,
        account_id=row.account_id,
        account_name=row.account_name,
        kind=row.kind,
        name=row.name,
        limits=limits,
        parent_id=row.parent_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        last_used_from=row.last_used_from,
        is_active=bool(row.is_active),
        revision=row.access_revision,
    )


def find(connection: Connection, secret_hash: bytes) -> StoredToken | None:
    """The token with this hash, also where it has expired."""
    row = connection.execute(_BY_HASH, {"hash": secret_hash}).first()
    return None if row is None else _stored(row)


def get(connection: Connection, token_id: int) -> StoredToken | None:
    """The token with this id."""
    row = connection.execute(_BY_ID, {"id": token_id}).first()
    return None if row is None else _stored(row)


def of_account(connection: Connection, account_id: int, kind: str) -> list[StoredToken]:
    """The tokens of an account, oldest first."""
    rows = connection.execute(_OF_ACCOUNT, {"account": account_id, "kind": kind})
    return [_stored(row) for row in rows]


_PAGE = (
    _TOKEN.where(
        tokens.c.account_id == bindparam("account"),
        tokens.c.kind == bindparam("kind"),
        tokens.c.id < bindparam("before"),
    )
    .order_by(tokens.c.id.desc())
    .limit(bindparam("count"))
)
_NEWEST = 2**63 - 1


def page(connection: Connection, account_id: int, kind: str, *, before: int | None, count: int) -> list[StoredToken]:
    """The newest tokens of an account, newest first; with `before`, those with smaller ids."""
    parameters = {"account": account_id, "kind": kind, "before": before or _NEWEST, "count": count}
    return [_stored(row) for row in connection.execute(_PAGE, parameters)]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be."""

    account_id: int
    kind: str
    name: str
    secret_hash: bytes
    limits: TokenLimits | None
    expires_at: int | None
    parent_id: int | None = None


def add(connection: Connection, new: NewToken, *, now: int) -> int:
    """Add a token; returns its id."""
    limits = new.limits
    row = {
        "account_id": new.account_id,
        "kind": new.kind,
        "name": new.name,
        "secret_hash": new.secret_hash,
        "scopes": None if limits is None else ",".join(sorted(limits.scopes)),
        "repositories": None if limits is None or limits.repositories is None else json.dumps(limits.repositories),
        "parent_id": new.parent_id,
        "created_at": now,
        "expires_at": new.expires_at,
    }
    added = connection.execute(plain_insert(tokens), row)
    token_id: int = added.inserted_primary_key[0]  # type: ignore[index]
    return token_id


def used(connection: Connection, token_id: int, *, at: int, address: str | None) -> None:
    """Note the last use."""
    values = {"last_used_at": at, "last_used_from": address}
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(**values))


def remove(connection: Connection, token_ids: list[int]) -> list[int]:
    """Remove tokens, and with each what was got with it: refresh tokens, and personal ones with theirs; returns the ids
    of all."""
    first = select(tokens.c.id).where(tokens.c.id.in_(token_ids)).cte("got", recursive=True)
    # Not UNION ALL: no chain is walked twice.
    got = first.union(select(tokens.c.id).join(first, tokens.c.parent_id == first.c.id))
    gone = list(connection.execute(select(got.c.id)).scalars())
    connection.execute(delete(tokens).where(tokens.c.id.in_(gone)))
    return gone


def expired(connection: Connection, account_id: int, *, now: int) -> list[int]:
    """The tokens of an account that count no longer."""
    return list(
        connection.execute(
            select(tokens.c.id).where(tokens.c.account_id == account_id, tokens.c.expires_at <= now)
        ).scalars()
    )


def remove_expired(connection: Connection, *, before: int, count: int) -> int:
    """Remove up to `count` tokens that expired before a time; returns how many."""
    old = select(tokens.c.id).where(tokens.c.expires_at < before).limit(count).with_for_update(skip_locked=True)
    return len(remove(connection, list(connection.execute(old).scalars())))


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key, sealed. Times in ms since 1970 UTC; `retired_at` None is the newest one."""

    kid: str
    sealed: bytes
    signs_from: int
    retired_at: int | None


def keys(connection: Connection, *, retired_after: int) -> list[StoredKey]:
    """The keys that have not been retired before `retired_after`, oldest first."""
    query = (
        select(signing_keys.c.kid, signing_keys.c.sealed, signing_keys.c.signs_from, signing_keys.c.retired_at)
        .where(or_(signing_keys.c.retired_at.is_(None), signing_keys.c.retired_at > retired_after))
        .order_by(signing_keys.c.signs_from, signing_keys.c.kid)
    )
    return [StoredKey(*row) for row in connection.execute(query)]


def have_keys(connection: Connection) -> bool:
    """Whether there is any key."""
    return connection.execute(select(signing_keys.c.kid).limit(1)).first() is not None


def add_key(connection: Connection, key: StoredKey) -> None:
    """Add a key, and retire those before it at the moment from which it signs."""
    connection.execute(
        update(signing_keys).where(signing_keys.c.retired_at.is_(None)).values(retired_at=key.signs_from)
    )
    row = {"kid": key.kid, "sealed": key.sealed, "signs_from": key.signs_from, "retired_at": None}
    connection.execute(plain_insert(signing_keys), row)


def remove_keys(connection: Connection, *, retired_before: int | None) -> None:
    """Remove keys that were retired before a time, or all of them (None)."""
    old = delete(signing_keys)
    connection.execute(old if retired_before is None else old.where(signing_keys.c.retired_at < retired_before))
