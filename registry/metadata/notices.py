"""What PostgreSQL tells of by itself: that access was changed, so that nobody has to wait for the next look.

A thread holds a connection that listens. Losing it costs nothing but time: who listens looks for itself each second,
and is told once when the connection is there again.
"""

import logging
import random
import threading
from collections.abc import Callable

from sqlalchemy import Engine, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

CHANNEL = "depotry_access"
WAIT_S = 1.0
"""How long closing may have to wait for the thread."""
RECONNECT_S = (1.0, 5.0)


def notify(connection: Connection) -> None:
    """Wake everybody who listens once this transaction commits. Nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))


class Notices:
    """Listens, from the first `listen` to `close`."""

    def __init__(self, engine: Engine) -> None:
        """`engine` makes a connection that is a session of its own: not one through a pooler."""
        self._engine = engine
        self._told: list[Callable[[], None]] = []
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = logging.getLogger("depotry.database")
        self._is_lost = False

    def listen(self, told: Callable[[], None]) -> None:
        """Call `told` in the thread, for each notice and after each time that some may have been missed."""
        self._told.append(told)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sql-notices", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        import psycopg

        while not self._closed.is_set():
            try:
                self._follow()
            except (psycopg.Error, SQLAlchemyError) as error:
                self._lost(error)
                self._closed.wait(random.uniform(*RECONNECT_S))  # noqa: S311 - so that not all nodes come back at once

    def _follow(self) -> None:
        import psycopg

        held = self._engine.raw_connection()
        try:
            connection = held.driver_connection
            assert isinstance(connection, psycopg.Connection)
            connection.execute(f"LISTEN {CHANNEL}")
            if self._is_lost:
                self._is_lost = False
                self._log.info("notices of changes arrive again")
            self._tell()
            while not self._closed.is_set():
                for _ in connection.notifies(timeout=WAIT_S, stop_after=1):
                    self._tell()
        finally:
            held.close()

    def _tell(self) -> None:
        for told in self._told:
            told()

    def _lost(self, error: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._log.warning(
                "no notices of changes: they are looked for each second until the database is back: %s",
                str(error).partition("\n")[0],
            )
