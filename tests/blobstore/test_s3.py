"""The contract on versitygw, with the ledger that the registry uses, and what only this back end promises."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.backends.s3 import S3Service, service
from tests.blobstore.s3_world import World
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import Backend


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module."""
    with service("versitygw", tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture
async def world(versitygw: S3Service, tmp_path: Path) -> AsyncIterator[World]:
    """A bucket and a database of its own."""
    async with World.open(versitygw, tmp_path) as world:
        yield world


@pytest.fixture
def backend(world: World) -> Backend:
    """Stores on the same bucket and the same ledger."""
    return world.backend
