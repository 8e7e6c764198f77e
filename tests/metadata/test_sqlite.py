"""SQLite as it has to be set up for a commit to be a promise."""

import sqlite3
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from registry.core.digest import Digest
from registry.metadata import blobs, sqlite
from registry.metadata.sqlite import SqliteDatabase


def test_the_library_is_new_enough() -> None:
    """The one in use has no WAL-reset bug."""
    version = tuple(int(part) for part in sqlite.library().sqlite_version.split("."))
    assert version >= sqlite.MINIMUM_VERSION


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one line that says what to do, instead of a database that may break one day."""
    import pysqlite3.dbapi2

    monkeypatch.setattr(pysqlite3.dbapi2, "sqlite_version", "3.40.1")
    with pytest.raises(sqlite.LibraryTooOld, match="pip install pysqlite3"):
        sqlite.library()


@pytest.mark.parametrize(("synchronous", "value"), [("FULL", 2), ("NORMAL", 1)])
def test_the_pragmas_are_really_set(tmp_path: Path, synchronous: str, value: int) -> None:
    """WAL, foreign keys, and the durability that was asked for."""
    url = URL.create("sqlite", database=str(tmp_path / "a ? file.db"))
    engine = sqlite.writing_engine(url, synchronous=synchronous)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA synchronous")).scalar() == value
    engine.dispose()
    assert (tmp_path / "a ? file.db").exists()


def test_readers_cannot_write(database: SqliteDatabase) -> None:
    """The connections for reads refuse to change anything."""
    engine = sqlite.reading_engine(database.url, connections=1)
    with engine.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("DELETE FROM outbox"))
    engine.dispose()


@pytest.mark.anyio
async def test_ids_are_never_given_out_twice(database: SqliteDatabase) -> None:
    """AUTOINCREMENT: the id of a deleted object does not come back."""
    insert = text("INSERT INTO objects (state, created_at) VALUES ('uploading', 0) RETURNING id")
    first = await database.write(lambda connection: connection.execute(insert).scalar_one())
    await database.write(lambda connection: connection.execute(text("DELETE FROM objects")).rowcount)
    second = await database.write(lambda connection: connection.execute(insert).scalar_one())
    assert second > first


@pytest.mark.anyio
async def test_dead_is_the_end(database: SqliteDatabase) -> None:
    """An object that was given up can never be published: the transaction that tries it fails and changes nothing."""
    insert = text("INSERT INTO objects (state, created_at) VALUES ('uploading', 0) RETURNING id")
    object_id = await database.write(lambda connection: connection.execute(insert).scalar_one())
    await database.write(lambda connection: blobs.abandon(connection, object_id, now=1))
    new = blobs.NewObject(Digest.of(b"x"), object_id, 1)
    with pytest.raises(RuntimeError):
        await database.write(lambda connection: blobs.publish(connection, new, broken=None, until=9, now=1))
    assert await database.read(lambda connection: blobs.live_page(connection, after=0, count=9)) == []


def module_of(connection: object) -> ModuleType | str:
    """Where a driver's connection comes from."""
    return type(connection).__module__


def test_the_packaged_library_is_used_where_there_is_one(database: SqliteDatabase) -> None:
    """And not the system's, which may be old."""
    engine = sqlite.reading_engine(database.url, connections=1)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert module_of(driver) != sqlite3.Connection.__module__
    engine.dispose()
