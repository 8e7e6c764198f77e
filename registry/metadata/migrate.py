"""Bringing a database to the schema of this version. Revisions are numbered files in `migrations/versions`."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

import registry
from registry.metadata.failures import translated


class DatabaseTooNew(Exception):
    """The database was made by a newer version of Depotry."""


class DatabaseNotCurrent(Exception):
    """The database has another schema than this version of Depotry."""


def scripts() -> Path:
    """The folder of the migrations: inside an installed package, or beside it in the repository."""
    package = Path(registry.__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def head() -> str:
    """The newest revision: what this version of the code expects. Read from the file names, because loading Alembic
    costs a good part of a start at which there is nothing to do."""
    return max(path.name.partition("_")[0] for path in (scripts() / "versions").glob("[0-9]*_*.py"))


def current(connection: Connection) -> str | None:
    """The revision of a database, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def require_current(connection: Connection) -> None:
    """Raises DatabaseNotCurrent, DatabaseTooNew."""
    found = current(connection)
    _refuse_newer(found)
    if found != head():
        raise DatabaseNotCurrent(
            f"the database is at {found or 'nothing'}, this version works with {head()}: see `depotry migrate`"
        )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the database up to date in one transaction; returns the revision before and after.

    `engine` takes the write lock when a transaction begins, so that of several processes one migrates and the others
    find nothing to do. Raises DatabaseTooNew; Unavailable or StorageFull if the database fails, and then nothing has
    changed.
    """
    with translated(), engine.begin() as connection:
        return upgrade_here(connection)


def upgrade_here(connection: Connection) -> tuple[str | None, str]:
    """As `upgrade`, in a transaction that keeps every other upgrade out."""
    before = current(connection)
    _refuse_newer(before)
    if before != head():
        _run(connection)
    return before, head()


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > head():
        raise DatabaseTooNew(
            f"the database has revision {found}, this version of depotry knows {head()}: use a newer one"
        )


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config: Any = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
