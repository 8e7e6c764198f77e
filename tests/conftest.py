"""Fixtures that every room's tests may use, and the rule that in CI nothing is skipped."""

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.backends import Backend
from tests.backends.postgresql import Cluster, PostgresqlBackend
from tests.backends.sqlite import SqliteBackend
from tests.running import Pair, Registry

# A first run on a busy machine makes its tables of characters, which is slow and no fault of the test.
settings.register_profile("depotry", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("depotry")


@pytest.fixture
def anyio_backend() -> str:
    """Depotry runs on asyncio."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Under DEPOTRY_TESTS_REQUIRE_ALL a skip is a failure: a tool that is not there proves nothing."""
    report = yield
    if os.environ.get("DEPOTRY_TESTS_REQUIRE_ALL") and report.outcome == "skipped":  # type: ignore[attr-defined]
        report.outcome = "failed"  # type: ignore[attr-defined]
        report.longrepr = f"skipped, but nothing may be: {report.longrepr}"  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL for all tests that want a database of their own in it."""
    found = Cluster()
    yield found
    found.remove()


@pytest.fixture
def sqlite_backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    """Files in the folder of the test."""
    found = SqliteBackend(tmp_path)
    yield found
    found.close()


@pytest.fixture
def postgresql_backend(cluster: Cluster) -> Iterator[PostgresqlBackend]:
    """Databases of the tests' PostgreSQL."""
    found = PostgresqlBackend(cluster)
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of database in turn."""
    found: Backend = request.getfixturevalue(f"{request.param}_backend")
    return found


@pytest.fixture
def start_registry(tmp_path: Path) -> Iterator[Callable[..., Registry]]:
    """Starts real servers, each on a free port; whatever still runs at the end is killed."""
    started: list[Registry] = []

    def start(
        *flags: str,
        data: Path | None = None,
        tls: ssl.SSLContext | None = None,
        is_open: bool = True,
        pair: Pair | None = None,
    ) -> Registry:
        registry = Registry.start(data or tmp_path / "data", *flags, tls=tls, is_open=is_open, pair=pair)
        started.append(registry)
        return registry

    yield start
    for registry in started:
        registry.kill()


@pytest.fixture
def registry(start_registry: Callable[..., Registry]) -> Registry:
    """One server with default settings and an empty folder."""
    return start_registry()


@pytest.fixture(scope="module")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One server for all tests of a module, each of which uses names of its own."""
    registry = Registry.start(tmp_path_factory.mktemp("shared") / "data")
    yield registry
    registry.kill()
