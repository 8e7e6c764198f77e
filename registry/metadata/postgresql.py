"""PostgreSQL: connections with limits on everything, and transactions that are repeated where that is safe.

A connection is in autocommit, so that a point is one round trip; a transaction begins with one simple query that holds
BEGIN and its settings. Past a pooler the limits are given when a connection is made; through one they are part of each
transaction, because a session belongs to whoever comes next.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from registry.core.errors import CommitUnknown, Unavailable
from registry.metadata import installation, migrate, search
from registry.metadata.database import DatabaseUnusable, Query
from registry.metadata.failures import REPEATABLE, is_outage, sqlstate, translate, translated
from registry.metadata.lanes import Lane, Lanes
from registry.metadata.notices import Notices
from registry.metadata.schema import metadata

T = TypeVar("T")

TRIES = 4
TRY_LIMIT_S = 5.0
"""A transaction that is given up for another one is not begun again after this."""
PAUSE_S = 0.05
MIGRATION_WAIT_S = 60
MIGRATION_LOCK = 0x6465706F747279
"""The word "depotry": the advisory lock of who migrates."""

_LIMITS = {"statement_timeout": "10s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s"}
_CONNECTION = {
    "application_name": "depotry",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A peer that is gone is noticed within about 20 s, whatever the connection waits for. The URL may say otherwise."""

_FORBIDDEN = "42501"
_NO_EXTENSION = ("0A000", "58P01")
"""SQLSTATE for what the server was not installed with, by its version."""

_BEGINS = "depotry_begins"
"""The execution option that holds what a transaction begins with; without it there is none."""
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
_RELAXED = "; SET LOCAL synchronous_commit = off"


class PostgresqlDatabase:
    """A database on a server, as `database.Database` promises it."""

    def __init__(
        self, url: str, *, direct: str | None = None, password: str | None = None, connections: int = 10
    ) -> None:
        """`direct` is the URL past a pooler, if `url` goes through one; `password` beats those in the URLs. At most
        `connections` are open at once, apart from the one that listens. Connects to nothing yet. Raises
        DatabaseUnusable."""
        self.url = _url(url, password)
        self.direct_url = self.url if direct is None else _url(direct, password)
        is_pooled = direct is not None
        self._limits = (
            "".join(f"; SET LOCAL {name} = '{value}'" for name, value in _LIMITS.items()) if is_pooled else ""
        )
        session = {} if is_pooled else _LIMITS
        self._engine = _engine(self.url, session, is_pooled=is_pooled, pool_size=connections, max_overflow=0)
        self._direct = _engine(self.direct_url, {}, is_pooled=False, poolclass=NullPool)
        self._direct_setting = "--database-direct" if is_pooled else "--database"
        self._lanes = Lanes(connections)
        self._notices = Notices(self._direct)

    async def point(self, query: Query[T]) -> T:
        """One round trip, without a transaction around it."""
        return await self._lanes.run(Lane.READ, lambda: self._repeated(lambda: self._point(query)))

    async def read(self, query: Query[T]) -> T:
        """On one snapshot."""
        return await self._lanes.run(Lane.READ, lambda: self._repeated(lambda: self._transaction(query, _READ)))

    async def write(self, query: Query[T], *, durable: bool = True) -> T:
        """READ COMMITTED: what has to hold at the commit is locked by the query functions."""
        begins = _WRITE if durable else _WRITE + _RELAXED
        return await self._lanes.run(Lane.WRITE, lambda: self._repeated(lambda: self._transaction(query, begins)))

    async def check(self) -> None:
        """A read, and a write to the log."""
        await self.point(installation.find)
        await self.write(installation.touch, durable=False)

    def listen(self, told: Callable[[], None]) -> None:
        """By LISTEN, past a pooler."""
        self._notices.listen(told)

    def prepare(self) -> None:
        """Only an empty database is given its schema: the others are somebody's decision, because servers of another
        version may be running on it."""
        with self._opened(self._engine, "--database") as connection:
            _require_writable(connection, "--database")
            is_empty = migrate.current(connection) is None
        if is_empty:
            self.migrate()
        self.require_current()

    def migrate(self, say: Callable[[str], None] = lambda _text: None) -> tuple[str | None, str]:
        """Past a pooler, under an advisory lock: of several that come at once one does it."""
        with self._opened(self._direct, self._direct_setting) as connection:
            _require_writable(connection, self._direct_setting)
        limits = f"; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{MIGRATION_WAIT_S}s'"
        with translated(), self._direct.connect() as held:
            connection = held.execution_options(**{_BEGINS: _WRITE + limits})
            with connection.begin():
                _wait_for_turn(connection, say)
                _make_trigrams(connection)
                return migrate.upgrade_here(connection)

    def require_current(self) -> None:
        """By the revision in the database; and its user may do there what the registry needs."""
        with self._opened(self._engine, "--database") as connection:
            migrate.require_current(connection)
            _require_rights(connection)

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        self._lanes.close()
        self._notices.close()
        self._engine.dispose()
        self._direct.dispose()

    @contextmanager
    def _opened(self, engine: Engine, setting: str) -> Iterator[Connection]:
        """A connection for a start, without a transaction. Raises DatabaseUnusable where there is none to be had."""
        try:
            held = engine.connect()
        except DBAPIError as error:
            raise DatabaseUnusable(_unusable(error, engine.url, setting)) from None
        with held, translated():
            yield held

    def _point(self, query: Query[T]) -> T:
        with self._engine.connect() as connection:
            return query(connection)

    def _transaction(self, query: Query[T], begins: str) -> T:
        committing = False
        try:
            with self._engine.connect() as held:
                connection = held.execution_options(**{_BEGINS: begins + self._limits})
                with connection.begin() as transaction:
                    value = query(connection)
                    committing = True
                    transaction.commit()
                    return value
        except DBAPIError as error:
            if committing and error.connection_invalidated:
                raise CommitUnknown("the database went away during a commit", retry_after_s=1) from error
            raise

    def _repeated(self, attempt: Callable[[], T]) -> T:
        """Run until it goes through, or until it should not be tried again. Raises as `database.Database`."""
        begun = monotonic()
        reconnects = 1
        for number in range(1, TRIES + 1):
            try:
                return attempt()
            except DBAPIError as error:
                if error.connection_invalidated and reconnects:
                    # What is in the pool may be as old as this one was; SQLAlchemy has marked all of it.
                    reconnects -= 1
                    continue
                in_time = number < TRIES and monotonic() - begun < TRY_LIMIT_S
                if sqlstate(error) in REPEATABLE and in_time:
                    sleep(PAUSE_S * number * random.random())  # noqa: S311 - so that two do not meet again
                    continue
                if not is_outage(error):
                    raise
                raise translate(error) from error
        raise AssertionError("the last attempt returns or raises")


def _url(text_: str, password: str | None) -> URL:
    scheme, _, rest = text_.partition("://")
    authority, slash, tail = rest.partition("/")
    # A password may hold an @ that is not escaped: what is after the last one is the host, and nothing before it is
    # ever told.
    user, at, host = authority.rpartition("@")
    try:
        url = make_url(f"{scheme}://{user.replace('@', '%40')}{at}{host}{slash}{tail}")
        url = url.set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # Not what it says: that may quote the password.
        raise DatabaseUnusable("--database is no URL of PostgreSQL: the port has to be a number") from None
    return url if password is None else url.set(password=password)


def _engine(url: URL, session: dict[str, str], *, is_pooled: bool, **pool: Any) -> Engine:
    """An engine whose connections are in autocommit, `session` being settings of each."""
    given = dict(url.query)
    options = " ".join(
        [*(f"-c {name}={value}" for name, value in session.items()), str(given.pop("options", ""))]
    ).strip()
    connection = {**_CONNECTION, "autocommit": True, "prepare_threshold": None if is_pooled else 5}
    if options:
        connection["options"] = options
    engine = create_engine(
        url.set(query=given),
        connect_args={name: value for name, value in connection.items() if name not in given},
        hide_parameters=True,
        use_native_hstore=False,
        **pool,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(_BEGINS)
        if statement is not None:
            connection.exec_driver_sql(statement)

    @event.listens_for(engine, "do_execute")
    def send_plainly(cursor: Any, statement: str, _parameters: object, _context: object) -> bool | None:
        if not statement.startswith("BEGIN"):
            return None
        # Several commands in one text cannot be prepared.
        cursor.execute(statement, prepare=False)
        return True

    return engine


def _wait_for_turn(connection: Connection, say: Callable[[str], None]) -> None:
    """The lock of migrations, until the transaction ends. Raises Unavailable."""
    if connection.execute(select(func.pg_try_advisory_xact_lock(MIGRATION_LOCK))).scalar():
        return
    say(f"another process is migrating this database: waiting up to {MIGRATION_WAIT_S} s for it")
    try:
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    except DBAPIError as error:
        if sqlstate(error) not in REPEATABLE:
            raise
        raise Unavailable(f"another process has been migrating this database for {MIGRATION_WAIT_S} s") from None


def _make_trigrams(connection: Connection) -> None:
    """The extension that the search goes by, which comes with PostgreSQL and has to be made in each database. Raises
    DatabaseUnusable where it cannot be."""
    if connection.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")).first() is not None:
        return
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except DBAPIError as error:
        if sqlstate(error) in _NO_EXTENSION:
            raise DatabaseUnusable(
                "the server of the database lacks the extension pg_trgm: install PostgreSQL's contrib modules"
                " (postgresql-contrib)"
            ) from None
        if sqlstate(error) != _FORBIDDEN:
            raise
        url = connection.engine.url
        raise DatabaseUnusable(
            f"permission denied: the user {url.username} may not make the extension pg_trgm. Let an administrator of"
            f" the server run `CREATE EXTENSION pg_trgm` in the database {url.database}, or GRANT CREATE ON DATABASE"
        ) from None


def _require_writable(connection: Connection, setting: str) -> None:
    """Raises DatabaseUnusable for a standby, and where transactions are read-only by default."""
    if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
        where = connection.engine.url.render_as_string()
        raise DatabaseUnusable(f"the database is read-only: {_shown(where)} (see {setting})")


_RIGHTS = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name"
    " WHERE NOT (has_table_privilege(name, 'SELECT') AND has_table_privilege(name, 'INSERT')"
    " AND (name = 'audit' OR has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE')))"
    " ORDER BY name LIMIT 1"
)
_SEQUENCE_RIGHTS = text(
    "SELECT has_sequence_privilege(name, 'USAGE') AND has_sequence_privilege(name, 'UPDATE')"
    " FROM pg_get_serial_sequence('objects', 'id') AS name"
)


def _require_rights(connection: Connection) -> None:
    """Raises DatabaseUnusable where the user may not read and change every table (the audit only grows), nor set where
    ids go on."""
    user = connection.engine.url.username
    names = [*(table.name for table in metadata.sorted_tables), search.TABLE]
    lacking = connection.execute(_RIGHTS, {"names": names}).scalar()
    if lacking is not None:
        raise DatabaseUnusable(
            f"the user {user} of the database may not read and change the table {lacking} (see --database)"
        )
    if not connection.execute(_SEQUENCE_RIGHTS).scalar():
        raise DatabaseUnusable(
            f"the user {user} of the database lacks USAGE or UPDATE on the sequence objects_id_seq (see --database)"
        )


def _unusable(error: DBAPIError, url: URL, setting: str) -> str:
    """Why there is no connection, in one line that names the settings and holds no password."""
    reason = " ".join(str(error.orig).split())
    if url.password:
        reason = reason.replace(str(url.password), "***")
    password = ", --database-password-file" if "password" in reason else ""
    pooler = "; is this a pooler? Then set --database-direct too" if "unsupported startup parameter" in reason else ""
    return f"the database cannot be used: {reason} (see {setting}{password}){pooler}"


def _shown(url: str) -> str:
    return url.replace("postgresql+psycopg:", "postgresql:", 1)
