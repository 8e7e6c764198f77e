"""Prometheus metrics. Labels are routes and kinds, never names of repositories: their number has no bound."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
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
        self.running = Gauge("depotry_http_requests_running", "Requests being served now.", registry=self._registry)
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

    def record_store(self, operation: str, seconds: float, error: str | None, size_bytes: int) -> None:
        """Count one operation of the blob store."""
        self.store_seconds.labels(operation).observe(seconds)
        if size_bytes:
            self.store_bytes.labels(operation).inc(size_bytes)
        if error is not None:
            self.store_errors.labels(operation, error).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
