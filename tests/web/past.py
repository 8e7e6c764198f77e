"""A month that a registry has behind it, for the plots: what was stored, pulled and asked each day. On SQLite only: it
is written past the server, as nobody could by requests."""

import sqlite3
import time
from contextlib import closing

from tests.running import ADMIN_PASSWORD, Registry, wait_until

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DAYS = 30
_BY_NAMESPACE = """
    INSERT OR REPLACE INTO usage
    SELECT namespace_id, :day, count(*), sum(tag_count), CAST(sum(size_bytes) * :share AS INTEGER), 0
    FROM repositories WHERE deleted_at IS NULL AND namespace_id IS NOT NULL GROUP BY namespace_id
"""
_IN_ALL = """
    INSERT OR REPLACE INTO usage
    SELECT 0, :day, count(*), sum(tag_count), CAST(sum(size_bytes) * :share AS INTEGER),
        CAST(sum(size_bytes) * :share * 0.7 AS INTEGER) FROM repositories WHERE deleted_at IS NULL
"""
_PULLS = """
    INSERT OR REPLACE INTO pulls SELECT id, '', x'', :day, :pulls, :day * 86400000
    FROM repositories WHERE name = 'acme/web'
"""
_TRAFFIC = "INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?)"
_MEASURE = "UPDATE jobs SET result = NULL, due_at = 0 WHERE kind = 'sample-usage'"
_EACH_HOUR = {
    "pulls": 40,
    "pushes": 6,
    "requests.registry": 900,
    "requests.login": 60,
    "requests.api": 120,
    "requests.page": 210,
    "errors.4xx": 14,
    "errors.5xx": 1,
    "bytes.in": 80_000_000,
    "bytes.out": 640_000_000,
}
"""About what the instance did in an hour, by the names of `services/traffic.py`."""


def write(registry: Registry) -> None:
    """Write it down, and have what is stored now measured."""
    now = int(time.time() * 1000)
    today, hour = now // DAY_MS, now // HOUR_MS
    with closing(sqlite3.connect(registry.data / "registry.db", timeout=10)) as database, database:
        for back in range(1, DAYS):
            values = {"day": today - back, "share": 1 - back / 40, "pulls": _wave(back) * 12}
            for statement in (_BY_NAMESPACE, _IN_ALL, _PULLS):
                database.execute(statement, values)
            _traffic(database, 24, (today - back) * 24, back)
        for back in range(1, 48):
            _traffic(database, 1, hour - back, back)
        database.execute(_MEASURE)
    with registry.client(auth=("admin", ADMIN_PASSWORD)) as client:
        wait_until(lambda: "/u/acme" in client.get("/admin/storage").text, what="the measure")


def _traffic(database: sqlite3.Connection, hours: int, begins: int, back: int) -> None:
    rows = [(name, hours, begins, each * hours * _wave(back) // 4) for name, each in _EACH_HOUR.items()]
    database.executemany(_TRAFFIC, rows)


def _wave(back: int) -> int:
    """Weekends are quiet."""
    return 1 if back % 7 in (0, 1) else 3 + back % 4
