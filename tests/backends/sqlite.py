"""SQLite: a file for each database."""

from pathlib import Path

from registry.metadata.database import Database
from registry.metadata.sqlite import SqliteDatabase


class SqliteBackend:
    """Files in a folder."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[SqliteDatabase] = []

    def new(self) -> Database:
        """A file of its own; the first one is called as a server would call it."""
        number = len(list(self._folder.glob("registry*.db")))
        found = self._open(self._folder / f"registry{number or ''}.db")
        found.migrate()
        return found

    def again(self, database: Database) -> Database:
        """The same file."""
        assert isinstance(database, SqliteDatabase)
        return self._open(Path(str(database.url.database)))

    def close(self) -> None:
        """Close all."""
        for database in self._opened:
            database.close()

    def _open(self, path: Path) -> SqliteDatabase:
        self._opened.append(SqliteDatabase(path))
        return self._opened[-1]
