"""Migrations: they make what the models say, once, and never a step back."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.schema import CreateIndex, CreateTable

from registry.metadata import migrate, sqlite
from registry.metadata.postgresql import MIGRATION_LOCK, PostgresqlDatabase
from registry.metadata.schema import metadata
from registry.metadata.search import is_of_the_index
from registry.metadata.sqlite import SqliteDatabase
from tests.backends.postgresql import Cluster, PostgresqlBackend
from tests.running import wait_until


def is_compared(name: str | None, kind: str, _parents: object) -> bool:
    """The index of the search is made by its migration alone, in the words of each engine."""
    return kind != "table" or not is_of_the_index(name)


WITHOUT_INDEX: dict[str, Any] = {"include_name": is_compared}


def test_models_and_migrations_agree(database: SqliteDatabase) -> None:
    """Nothing that autogenerate could still add."""
    engine = sqlite.reading_engine(database.url, connections=1)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, **WITHOUT_INDEX})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_they_agree_on_postgresql(postgresql_backend: PostgresqlBackend) -> None:
    """As above, on the other engine."""
    database = postgresql_backend.new()
    assert isinstance(database, PostgresqlDatabase)
    engine = create_engine(database.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, **WITHOUT_INDEX}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_second_upgrade_does_nothing_on_postgresql(postgresql_backend: PostgresqlBackend) -> None:
    """Idempotent, and a newer one is refused there too."""
    database = postgresql_backend.new()
    assert isinstance(database, PostgresqlDatabase)
    assert database.migrate() == (migrate.head(), migrate.head())
    name = str(database.url.database)
    postgresql_backend.cluster.run("UPDATE alembic_version SET version_num = '9999'", name=name)
    for refused in (database.migrate, database.require_current, database.prepare):
        with pytest.raises(migrate.DatabaseTooNew):
            refused()


def test_who_migrates_waits_its_turn(cluster: Cluster) -> None:
    """It says so, goes on when the other one is done, and leaves nothing where it failed (CR-48)."""
    name = cluster.empty()
    database = PostgresqlDatabase(cluster.url(name))
    said: list[str] = []
    with cluster.connect(name) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        with ThreadPoolExecutor() as pool:
            running = pool.submit(database.migrate, said.append)
            wait_until(lambda: bool(said), what="the word that it waits")
            assert not running.done()
            other.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
            assert running.result(60) == (None, migrate.head())
    database.close()
    cluster.drop(name)


def test_an_upgrade_that_fails_leaves_nothing_on_postgresql(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """CR-48: as above, on the other engine."""
    name = cluster.empty()
    database = PostgresqlDatabase(cluster.url(name))
    run = migrate._run

    def run_and_fail(connection: object) -> None:
        run(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "_run", run_and_fail)
    with pytest.raises(KeyboardInterrupt):
        database.migrate()
    with cluster.connect(name) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    database.close()
    cluster.drop(name)


def test_the_head_is_the_newest_file() -> None:
    """The cheap look at file names finds what Alembic finds."""
    config = Config()
    config.set_main_option("script_location", str(migrate.scripts()))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.head()


def test_a_second_upgrade_does_nothing(database: SqliteDatabase) -> None:
    """Idempotent, and it says so."""
    assert database.migrate() == (migrate.head(), migrate.head())


def test_a_newer_database_is_refused(database: SqliteDatabase, tmp_path: Path) -> None:
    """An old program never touches what it does not know."""
    connection = sqlite.library().connect(tmp_path / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(migrate.DatabaseTooNew):
        database.migrate()


def test_an_upgrade_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CR-48: all revisions of an upgrade are one transaction, so the middle of one does not exist."""
    url = URL.create("sqlite", database=str(tmp_path / "registry.db"))
    engine = sqlite.writing_engine(url, synchronous="FULL")
    run = migrate._run

    def run_and_fail(connection: object) -> None:
        run(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "_run", run_and_fail)
    with pytest.raises(KeyboardInterrupt):
        migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 0
    engine.dispose()


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """One does it, the other waits and finds nothing to do."""
    command = [sys.executable, "-m", "registry", "migrate", "--data", str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = sorted(process.communicate(timeout=60)[0] for process in running)
    assert [process.returncode for process in running] == [0] * 4
    assert len([answer for answer in answers if "was empty" in answer]) == 1


def test_the_schema_is_not_for_sqlite_alone() -> None:
    """Every table and index can be written in PostgreSQL's dialect, with C collation for names and short names."""
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            str(CreateIndex(index).compile(dialect=dialect))
            assert len(str(index.name)) <= 63
        assert all(len(str(constraint.name)) <= 63 for constraint in table.constraints)
        if table.name == "tags":
            assert 'COLLATE "C"' in statement
