"""Real servers that stores stand on, each in a process of its own, and the databases that tests run on: each makes
fresh, migrated ones, and closes what it made."""

from typing import Protocol

from registry.metadata.database import Database


class Backend(Protocol):
    """A kind of database."""

    name: str

    def new(self) -> Database:
        """An empty database with the schema of this version, apart from all others."""

    def again(self, database: Database) -> Database:
        """The same database, opened once more, as another process has it."""
