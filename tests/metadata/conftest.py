"""A database of its own for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from registry.metadata import sqlite
from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase
from tests.backends import Backend
from tests.backends.postgresql import Cluster
from tests.backends.sqlite import SqliteBackend
from tests.metadata.worlds import Drawn


@pytest.fixture
def database(sqlite_backend: SqliteBackend) -> SqliteDatabase:
    """A migrated, empty SQLite database, for what is about SQLite."""
    found = sqlite_backend.new()
    assert isinstance(found, SqliteDatabase)
    return found


@pytest.fixture
def any_database(backend: Backend) -> Database:
    """A migrated, empty database of each kind in turn."""
    return backend.new()


def migrated(path: Path, drawn: Drawn) -> Engine:
    """A database with a world in it."""
    database = SqliteDatabase(path)
    database.migrate()
    engine = sqlite.writing_engine(database.url, synchronous="NORMAL")
    database.close()
    with engine.begin() as connection:
        drawn.write(connection)
    return engine


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Drawn], Engine]]:
    """Makes a database with a world in it, on each engine in turn."""
    if request.param == "sqlite":
        yield lambda drawn: migrated(tmp_path / "registry.db", drawn)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.migrated()
    engine = create_engine(cluster.url(name))

    def write(drawn: Drawn) -> Engine:
        with engine.begin() as connection:
            drawn.write(connection)
        return engine

    yield write
    engine.dispose()
    cluster.drop(name)
