"""The four pairs of back ends, each fresh for whoever asks: what to tell a server so that it stands on one.

With DEPOTRY_TESTS_PAIR=postgresql+s3 every server that a test starts stands on that pair instead of SQLite and files,
the same data folder always on the same database and bucket.
"""

import atexit
import os
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.backends.postgresql import Cluster
from tests.backends.s3 import S3Service, service
from tests.running import Pair

PAIRS = ("sqlite+files", "postgresql+files", "sqlite+s3", "postgresql+s3")
VARIABLE = "DEPOTRY_TESTS_PAIR"


class Grounds:
    """The services that pairs stand on, started when the first one needs them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._cluster: Cluster | None = None
        self._s3: S3Service | None = None

    @property
    def cluster(self) -> Cluster:
        """PostgreSQL. Skips the test where it is not installed."""
        if self._cluster is None:
            self._cluster = Cluster()
            self._stack.callback(self._cluster.remove)
        return self._cluster

    @property
    def s3(self) -> S3Service:
        """versitygw. Skips the test where it is not installed."""
        if self._s3 is None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="depotry-s3-"))
            self._s3 = self._stack.enter_context(service("versitygw", Path(folder) / "service"))
        return self._s3

    def pair(self, name: str) -> Pair:
        """A new, empty pair."""
        flags: list[str] = []
        env: dict[str, str] = {}
        bucket = None
        if name.startswith("postgresql"):
            flags += ["--database", self.cluster.url(self.cluster.empty())]
        if name.endswith("+s3"):
            bucket = self.s3.new_bucket()
            flags += ["--storage", self.s3.url(bucket)]
            env |= self.s3.env()
        return Pair(name, tuple(flags), env, bucket)

    def close(self) -> None:
        """Stop what was started."""
        self._stack.close()


@cache
def grounds() -> Grounds:
    """Those of this process; they go with it."""
    made = Grounds()
    atexit.register(made.close)
    return made


@cache
def chosen(data: Path) -> Pair:
    """The pair that a server with this data folder stands on, as the environment says."""
    name = os.environ.get(VARIABLE, PAIRS[0])
    assert name in PAIRS, f"{VARIABLE} is one of {', '.join(PAIRS)}"
    return grounds().pair(name)
