"""Log lines: structured, one form for ours and for those of the libraries."""

import io
import logging
import sys
from typing import Any, TextIO

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
        [_visible_event, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_indented)]
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


def _visible_event(_logger: object, _method: str, line: dict[str, Any]) -> dict[str, Any]:
    """A processor for people: a text with line ends or control characters is quoted, as values are. Nothing that a
    client sends can look like a line of its own."""
    line["event"] = _visible(str(line["event"]))
    return line


def _indented(out: TextIO, failure: Any) -> None:
    """Write a traceback so that none of its lines looks like one of ours."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, failure)
    out.writelines(f"\n    {_visible(line)}" for line in text.getvalue().strip().splitlines())


def _visible(text: str) -> str:
    return text if text.isprintable() else repr(text)
