"""The files in which several processes keep their metrics."""

import fcntl
import os
from pathlib import Path

import pytest

from registry.api import metrics


def test_the_folder_is_private_and_gone_at_the_end() -> None:
    with metrics.shared_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_killed_servers_have_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is in use, nor what is just being made, nor what has another name."""
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, used, new, other = (
        tmp_path / name for name in ("depotry-metrics-a", "depotry-metrics-b", "depotry-metrics-c", "other-a")
    )
    for folder in (abandoned, used, new, other):
        folder.mkdir()
        (folder / "counter_1.db").touch()
        if folder is not new:
            os.utime(folder, (0, 0))
    held = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with metrics.shared_folder():
            assert not abandoned.exists()
            assert used.exists() and new.exists() and other.exists()
    finally:
        os.close(held)
