"""Log lines: structured, one form for ours and for those of the libraries."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""What every record has; everything else was given as `extra`."""
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
_TELLING = frozenset(" ='\"")
"""What a value with one of these means would be unclear without quotes."""
_EVENT_CHARS = 30
"""Texts are as wide as this at least, so that the values of most lines begin below each other."""


def set_up(*, log_format: str, level: str, worker: str | None = None) -> None:
    """Send every log to standard error: as text on a terminal, as one JSON object a line elsewhere (`auto`). Each line
    of a worker, one of several processes, says which."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines(worker, has_colours=sys.stderr.isatty()) if is_text else JsonLines(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("alembic").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """A line is an object of `event`, `level`, `logger`, `timestamp`, and what was given with it."""

    def __init__(self, worker: str | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever was given."""
        line: dict[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": _time(record),
            **_given(record, self._worker),
        }
        if failure := _failure(record):
            line["exception"] = failure
        return json.dumps(line, default=repr)


class TextLines(logging.Formatter):
    """A line for people. What was given is quoted where it is not plain, and so is a text of several lines, and a
    traceback is indented: nothing that a client sends can look like a line of its own."""

    def __init__(self, worker: str | None, *, has_colours: bool) -> None:
        super().__init__()
        self._worker = worker
        self._has_colours = has_colours

    def format(self, record: logging.LogRecord) -> str:
        """One line, and after it the lines of what failed."""
        level = f"{record.levelname.lower():<9}"
        colour = _COLOURS.get(record.levelno, "") if self._has_colours else ""
        dim, reset = (_DIM, _RESET) if self._has_colours else ("", "")
        text = _visible(record.getMessage())
        given = "".join(f" {name}={_shown(value)}" for name, value in sorted(_given(record, self._worker).items()))
        stamp = f"{dim}{_time(record)}{reset}"
        line = f"{stamp} [{colour}{level}{reset if colour else ''}] {text:<{_EVENT_CHARS}} [{record.name}]{given}"
        return "\n    ".join((line, *map(_visible, _failure(record).splitlines())))


def _given(record: logging.LogRecord, worker: str | None) -> dict[str, Any]:
    found = {name: value for name, value in vars(record).items() if name not in _OWN}
    if record.stack_info:
        found["stack_info"] = record.stack_info
    if worker is not None:
        found.setdefault("worker", worker)
    return found


def _failure(record: logging.LogRecord) -> str:
    """The traceback of what was raised, nothing where nothing was."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _visible(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _shown(value: object) -> str:
    is_plain = isinstance(value, str) and value.isprintable() and value and not _TELLING & set(value)
    return str(value) if is_plain else repr(value)
