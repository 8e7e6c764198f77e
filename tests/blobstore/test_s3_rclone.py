"""The contract on a second S3 service, which others wrote and which knows less: rclone on a folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.backends.s3 import S3Service, service
from tests.blobstore.s3_world import World
from tests.blobstore.suite import *  # noqa: F403
from tests.blobstore.suite import Backend

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # type: ignore[assignment]


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """One for the module."""
    with service("rclone", tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture
async def backend(rclone: S3Service, tmp_path: Path) -> AsyncIterator[Backend]:
    """Stores on the same bucket and the same ledger."""
    async with World.open(rclone, tmp_path) as world:
        yield world.backend
