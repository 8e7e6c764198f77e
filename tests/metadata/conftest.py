"""A database of its own for each test."""

import pytest

from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase
from tests.backends import Backend
from tests.backends.sqlite import SqliteBackend


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
