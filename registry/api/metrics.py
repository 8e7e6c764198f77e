"""Prometheus metrics. Labels are routes and kinds, never names of repositories: their number has no bound.

Several processes of one server keep theirs in files of a folder that they share, and whoever is asked adds them up.
There, a gauge has to say how (`multiprocess_mode`), and nothing can be asked when it is read (`set_function`).
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from registry.api.counting_metrics import CountingMetrics
from registry.api.job_metrics import JobMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_FOLDER_PREFIX = "depotry-metrics-"
_ABANDONED_S = 60.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder for the files of several processes, in memory where the system has that; it is removed at the end, and
    what a server that was killed has left is removed by the next one. Raises OSError."""
    memory = Path("/dev/shm")  # noqa: S108 - only where a folder of a name of its own is made
    base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    _remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=base))
    # Forked processes hold the lock as well: as long as one of them lives, the folder is in use.
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_abandoned(base: Path) -> None:
    for folder in base.glob(f"{_FOLDER_PREFIX}*"):
        # Somebody else's cannot be opened, and one that was just made may not be locked yet.
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(descriptor)
                if found.st_uid == os.getuid() and time.time() - found.st_mtime > _ABANDONED_S:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def share(folder: Path, process: str) -> None:
    """From now on the metrics of this process are in `folder`, under a name that no other living process has. One
    that has the name of a dead one goes on counting where it stopped."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


def forget_running(folder: Path, process: str) -> None:
    """The process is gone: what it was doing is over. What it had counted stays."""
    mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one process, in a registry of their own, or, after `share`, its part of those of all."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where all processes share theirs."""
        self._folder = folder
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "depotry_http_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "depotry_http_request_duration_seconds",
            "Time from the request's headers to the end of the answer.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.received = Counter("depotry_http_received_bytes", "Bytes of request bodies.", registry=self._registry)
        self.sent = Counter("depotry_http_sent_bytes", "Bytes of answers' bodies.", registry=self._registry)
        self.running = Gauge(
            "depotry_http_requests_running",
            "Requests being served now.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.store_seconds = Histogram(
            "depotry_store_operation_duration_seconds",
            "Time of an operation of the blob store.",
            ["operation"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.store_errors = Counter(
            "depotry_store_errors",
            "Operations of the blob store that failed.",
            ["operation", "error"],
            registry=self._registry,
        )
        self.store_bytes = Counter(
            "depotry_store_bytes",
            "Bytes that operations of the blob store moved.",
            ["operation"],
            registry=self._registry,
        )
        self.jobs = JobMetrics(self._registry)
        self.counting = CountingMetrics(self._registry)

    def record_store(self, operation: str, seconds: float, error: str | None, size_bytes: int) -> None:
        """Count one operation of the blob store."""
        self.store_seconds.labels(operation).observe(seconds)
        if size_bytes:
            self.store_bytes.labels(operation).inc(size_bytes)
        if error is not None:
            self.store_errors.labels(operation, error).inc()

    def text(self) -> bytes:
        """Everything, of all processes that share, in Prometheus' text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(merged)
