"""A database of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.metadata.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty database."""
    database = Database(tmp_path / "registry.db")
    database.migrate()
    yield database
    database.close()
