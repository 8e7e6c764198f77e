"""Second factors: the sealed secrets of one-time codes, and recovery codes by hash.

A code is used in the statement that finds it, so it counts once, however many try at the same time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from registry.metadata.insert import insert as upsert
from registry.metadata.schema import accounts, recovery_codes, second_factors


@dataclass(frozen=True, slots=True)
class StoredFactor:
    """The second factor of an account. `is_on` False: it was begun, and no code of it has been shown yet. Times in ms
    since 1970 UTC."""

    sealed: bytes
    last_step: int
    created_at: int
    confirmed_at: int | None
    codes_left: int

    @property
    def is_on(self) -> bool:
        """Whether it is asked for."""
        return self.confirmed_at is not None


_CODES = (
    select(func.count())
    .where(recovery_codes.c.account_id == second_factors.c.account_id)
    .correlate(second_factors)
    .scalar_subquery()
)
_FACTOR = select(
    second_factors.c.sealed,
    second_factors.c.last_step,
    second_factors.c.created_at,
    second_factors.c.confirmed_at,
    _CODES.label("codes_left"),
).where(second_factors.c.account_id == bindparam("account"))


def find(connection: Connection, account_id: int) -> StoredFactor | None:
    """What an account has, None if nothing."""
    row = connection.execute(_FACTOR, {"account": account_id}).first()
    return None if row is None else StoredFactor(*row)


@dataclass(frozen=True, slots=True)
class Ways:
    """What somebody shows to sign in here. `confirmed_at` None: no code. Times in ms since 1970 UTC."""

    has_password: bool
    confirmed_at: int | None
    codes_left: int


_WAYS = (
    select(accounts.c.password_hash.is_not(None), second_factors.c.confirmed_at, _CODES.label("codes_left"))
    .select_from(accounts)
    .outerjoin(second_factors, second_factors.c.account_id == accounts.c.id)
    .where(accounts.c.id == bindparam("account"))
)


def ways(connection: Connection, account_id: int) -> Ways:
    """What an account has; nothing where there is none."""
    row = connection.execute(_WAYS, {"account": account_id}).first()
    if row is None or row[1] is None:
        return Ways(row is not None and bool(row[0]), None, 0)
    return Ways(bool(row[0]), row[1], row[2])


def begin(connection: Connection, account_id: int, sealed: bytes, *, now: int) -> bool:
    """Keep a new secret that does not count yet, in place of another such one; False where one counts."""
    row = {"account_id": account_id, "sealed": sealed, "last_step": 0, "created_at": now, "confirmed_at": None}
    statement = upsert(connection, second_factors).on_conflict_do_update(
        index_elements=["account_id"],
        set_={"sealed": sealed, "last_step": 0, "created_at": now},
        where=second_factors.c.confirmed_at.is_(None),
    )
    return connection.execute(statement, row).rowcount == 1


def confirm(connection: Connection, account_id: int, sealed: bytes, *, step: int, now: int) -> bool:
    """It counts from now on, with the code of `step` used; False where it counts already, or is another one."""
    where = (
        second_factors.c.account_id == account_id,
        second_factors.c.sealed == sealed,
        second_factors.c.confirmed_at.is_(None),
    )
    values = {"confirmed_at": now, "last_step": step}
    return connection.execute(update(second_factors).where(*where).values(**values)).rowcount == 1


def use_step(connection: Connection, account_id: int, sealed: bytes, *, step: int) -> bool:
    """Use the code of a step; False where it, or one after it, was used before, or the secret is another one."""
    where = (
        second_factors.c.account_id == account_id,
        second_factors.c.sealed == sealed,
        second_factors.c.confirmed_at.is_not(None),
        second_factors.c.last_step < step,
    )
    return connection.execute(update(second_factors).where(*where).values(last_step=step)).rowcount == 1


def use_code(connection: Connection, account_id: int, code_hash: bytes) -> bool:
    """Use a recovery code; False where there is none, or not any more."""
    where = (recovery_codes.c.account_id == account_id, recovery_codes.c.code_hash == code_hash)
    return connection.execute(delete(recovery_codes).where(*where)).rowcount == 1


def replace_codes(connection: Connection, account_id: int, hashes: Iterable[bytes]) -> None:
    """These are the recovery codes of an account, and no others."""
    connection.execute(delete(recovery_codes).where(recovery_codes.c.account_id == account_id))
    rows = [{"account_id": account_id, "code_hash": one} for one in sorted(hashes)]
    connection.execute(insert(recovery_codes), rows)


def remove(connection: Connection, account_id: int) -> bool:
    """The account has no second factor any more, nor recovery codes; False if it had none."""
    gone = connection.execute(delete(second_factors).where(second_factors.c.account_id == account_id)).rowcount == 1
    connection.execute(delete(recovery_codes).where(recovery_codes.c.account_id == account_id))
    return gone
