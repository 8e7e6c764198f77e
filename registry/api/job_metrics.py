"""Metrics of background work: what this process did, and what all of them know."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge


class JobState(Protocol):
    """What is shown of a job's row. Times in ms since 1970 UTC."""

    @property
    def kind(self) -> str:
        """Which work."""
        ...

    @property
    def finished_at(self) -> int | None:
        """The end of the last run that did not fail, on any node."""
        ...


class JobMetrics:
    """Takes what the runner says (`jobs.runner.Observer`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "depotry_job_runs", "Runs of background work that ended here.", ["kind", "outcome"], registry=registry
        )
        self.items = Counter(
            "depotry_job_items",
            "What background work did here, by what it counts.",
            ["kind", "item"],
            registry=registry,
        )
        self.last_success = Gauge(
            "depotry_job_last_success_timestamp_seconds",
            "When background work last succeeded, on any node.",
            ["kind"],
            registry=registry,
            multiprocess_mode="max",
        )
        self.freed = Counter("depotry_storage_freed_bytes", "Bytes that were removed from storage.", registry=registry)
        self.dead = Gauge(
            "depotry_storage_dead_bytes",
            "Bytes of collected blobs that wait for their removal, when remove-dead last ran here.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def ran(self, kind: str, outcome: str, account: Mapping[str, int]) -> None:
        """A run ended; `account` says what it did, also where it failed half way."""
        self.runs.labels(kind, outcome).inc()
        for name, value in account.items():
            if name == "dead_bytes":
                self.dead.set(value)
            elif name != "dead":
                self.items.labels(kind, name).inc(value)
        self.freed.inc(account.get("removed_bytes", 0) + account.get("expired_bytes", 0))

    def looked(self, states: Sequence[JobState]) -> None:
        """The rows of all kinds, as they are now."""
        for state in states:
            if state.finished_at is not None:
                self.last_success.labels(state.kind).set(state.finished_at / 1000)
