"""Metrics of counting: what became of the pulls that this process has counted."""

from prometheus_client import CollectorRegistry, Counter


class CountingMetrics:
    """Takes what `services.counting` says (`Observer`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._written = Counter(
            "depotry_pulls_counted", "Pulls of manifests that were written down.", registry=registry
        )
        self._lost = Counter(
            "depotry_pulls_lost",
            "Pulls that were counted and never written down, because the database was away for too long.",
            registry=registry,
        )
        self._failures = Counter(
            "depotry_pulls_flush_failures", "Times that counts could not be written down.", registry=registry
        )

    def written(self, pulls: int) -> None:
        """So many pulls are in the database."""
        self._written.inc(pulls)

    def failed(self) -> None:
        """They could not be written, and are kept."""
        self._failures.inc()

    def lost(self, pulls: int) -> None:
        """So many will never be."""
        self._lost.inc(pulls)
