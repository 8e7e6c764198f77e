"""Fixtures of the tests of reliability."""

from collections.abc import Iterator

import pytest

from tests.reliability.tenants import MANY_FAILURES, settle
from tests.running import Registry


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A closed server with the tenants of `tests.reliability.tenants`, for all tests of a module. It has to be alive
    at the end, and never to have failed."""
    registry = Registry.start(tmp_path_factory.mktemp("house") / "data", *MANY_FAILURES, is_open=False)
    try:
        settle(registry)
        yield registry
        assert registry.process.poll() is None
        failed = [line for line in registry.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500]
        assert failed == []
    finally:
        registry.kill()
