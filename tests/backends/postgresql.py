"""A real PostgreSQL, started by the tests: a cluster in a temporary folder, and databases copied from a template."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from registry.metadata.database import Database
from registry.metadata.postgresql import PostgresqlDatabase
from tests.running import free_port, require_tool, wait_until

HOW = "apt-get install postgresql"
PLACES = tuple(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
OWNER = "postgres"
PASSWORD_USER = "guarded"
"""Who has to show a password; everybody else is believed."""
SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "fsync": "off",
    "full_page_writes": "off",
    "deadlock_timeout": "10ms",
    "max_connections": "300",
    "shared_buffers": "'32MB'",
    "jit": "off",
    "log_line_prefix": "'%m [%p] %a '",
}
HBA = f"""\
local all all trust
host all {PASSWORD_USER} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class Cluster:
    """A running PostgreSQL of its own."""

    def __init__(self, **settings: str) -> None:
        """Make one and start it. Skips the test where PostgreSQL is not installed."""
        self._initdb = require_tool("initdb", HOW, *PLACES)
        self._server = require_tool("postgres", HOW, *PLACES)
        self.folder = Path(tempfile.mkdtemp(prefix="depotry-postgresql-"))
        self.port = free_port()
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False
        # The server refuses to run as root.
        self.as_owner: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.as_owner |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        try:
            self._make({**SETTINGS, **settings})
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The first of its processes, whose children serve."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _make(self, settings: dict[str, str]) -> None:
        command = [self._initdb, "-D", str(self.data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self.as_owner)
        lines = [f"{name} = {value}" for name, value in settings.items()]
        lines += [f"port = {self.port}", f"unix_socket_directories = '{self.folder}'"]
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write("\n".join(["", *lines, ""]))
        (self.data / "pg_hba.conf").write_text(HBA, encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [self._server, "-D", str(self.data)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self.as_owner)
        wait_until(self._answers, what="PostgreSQL's answer")

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Stop it as an administrator does who does not wait for clients."""
        self._signal("SIGINT")

    def kill(self) -> None:
        """Stop it without any tidying up."""
        self._signal("SIGQUIT")

    def _signal(self, name: str) -> None:
        if self._process is not None and self._process.poll() is None:
            import signal

            self._process.send_signal(getattr(signal, name))
            self._process.wait(60)
        self._process = None

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def connect(self, name: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """A connection of an administrator, in autocommit."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=OWNER, dbname=name, autocommit=True, connect_timeout=5
        ) as connection:
            yield connection

    def is_waiting(self, name: str) -> bool:
        """Whether somebody waits for a lock, seen from the database `name`."""
        with self.connect(name) as connection:
            return connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is not None

    def run(self, *statements: str, name: str = "postgres") -> None:
        """Statements as an administrator."""
        with self.connect(name) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def url(self, name: str, *, user: str = OWNER, password: str | None = None) -> str:
        """The URL of a database, as the setting has it."""
        secret = "" if password is None else f":{password}"
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{name}"

    def empty(self) -> str:
        """A new database without any table; returns its name."""
        name = f"empty{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def migrated(self) -> str:
        """A new database with the schema of this version; returns its name."""
        if not self._has_template:
            self.run("CREATE DATABASE migrated")
            database = PostgresqlDatabase(self.url("migrated"), connections=2)
            try:
                database.migrate()
            finally:
                database.close()
            self._has_template = True
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE migrated")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def deadlocks(self, name: str) -> int:
        """How many deadlocks there have been in a database."""
        with self.connect(name) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", [name]).fetchone()
        assert found is not None
        number: int = found[0]
        return number


class PostgresqlBackend:
    """Databases of a cluster."""

    name = "postgresql"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._opened: list[PostgresqlDatabase] = []
        self._names: list[str] = []

    def new(self) -> Database:
        """A copy of the template."""
        self._names.append(self.cluster.migrated())
        return self._open(self.cluster.url(self._names[-1]))

    def again(self, database: Database) -> Database:
        """The same one."""
        assert isinstance(database, PostgresqlDatabase)
        return self._open(self.cluster.url(str(database.url.database)))

    def close(self) -> None:
        """Close all and remove them."""
        for database in self._opened:
            database.close()
        for name in self._names:
            self.cluster.drop(name)

    def _open(self, url: str) -> PostgresqlDatabase:
        self._opened.append(PostgresqlDatabase(url))
        return self._opened[-1]
