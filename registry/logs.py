"""Log lines: structured, one form for ours and for those of the libraries."""

import logging
import sys
from typing import Any

import structlog


def set_up(*, log_format: str, level: str, worker: str | None = None) -> None:
    """Send every log to standard error: as text on a terminal, as one JSON object a line elsewhere (`auto`). Each line
    of a worker, one of several processes, says which."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    if worker is not None:
        shared.append(_Named(worker))
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _Named:
    """A processor of log lines that adds the worker."""

    def __init__(self, worker: str) -> None:
        self._worker = worker

    def __call__(self, _logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
        line.setdefault("worker", self._worker)
        return line
