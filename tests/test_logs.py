"""Log lines: one each, in both forms, whatever is written into them."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from registry import logs

FORGED = 'x\n{"event": "forged"}\r\x1b[2J'


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The logger that is set up, as it was before afterwards."""
    found = logging.getLogger()
    kept, level = list(found.handlers), found.level
    yield found
    found.handlers[:] = kept
    found.setLevel(level)


def written(capsys: pytest.CaptureFixture[str], *, worker: str | None = None, log_format: str = "json") -> list[str]:
    """The lines of a few records: a plain one, one with what a client may send, one about a failure, one too quiet."""
    logs.set_up(log_format=log_format, level="info", worker=worker)
    log = logging.getLogger("depotry.test")
    log.info("request", extra={"path": FORGED, "status": 200, "user": None, "note": "two words"})
    log.warning("said %s", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("failed", extra={"what": b"bytes"})
    log.debug("nobody hears this")
    return capsys.readouterr().err.splitlines()


def test_json_lines(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """An object a line; what is no JSON is shown as Python has it."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in written(capsys, worker="w2")]
    assert [line["event"] for line in lines] == ["request", f"said {FORGED}", "failed"]
    assert {line["worker"] for line in lines} == {"w2"}
    first = lines[0]
    assert (first["path"], first["status"], first["user"]) == (FORGED, 200, None)
    assert (first["level"], first["logger"]) == ("info", "depotry.test")
    assert first["timestamp"].endswith("Z")
    assert lines[2]["what"] == "b'bytes'"
    assert lines[2]["exception"].startswith("Traceback")
    assert "exception" not in first


def test_text_lines(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """SEC-033: nothing that is logged can look like another line; without colours where nobody sees them."""
    lines = written(capsys, log_format="text")
    assert "\x1b" not in "".join(lines[:2])
    assert lines[0].endswith(f"[depotry.test] note='two words' path={FORGED!r} status=200 user=None")
    assert f"[warning  ] {f'said {FORGED}'!r}" in lines[1]
    assert lines[2].endswith("[depotry.test] what=b'bytes'")
    assert lines[3] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in lines[3:])


def test_of_a_terminal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`auto` means text there, with colours."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lines = written(capsys, log_format="auto")
    assert lines[0].startswith("\x1b[2m2")
    assert "\x1b[33m" in lines[1] and "warning" in lines[1]
