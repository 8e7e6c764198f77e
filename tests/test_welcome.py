"""What `serve` prints when it is ready."""

from pathlib import Path

import pytest

from registry import welcome
from registry.config import load


@pytest.mark.parametrize(
    ("storage", "shown"),
    [("/srv/blobs", "/srv/blobs"), ("s3://bucket/prefix?endpoint=http://s3:9000",) * 2],
)
def test_where_blobs_are(tmp_path: Path, storage: str, shown: str) -> None:
    settings = load({"data": tmp_path, "storage": storage}, {}, None)
    assert f"  blobs     {shown}\n" in welcome.text(settings, [5000, 5001], None)


def test_where_pages_are(tmp_path: Path) -> None:
    settings = load({"data": tmp_path, "external_url": "https://hub.example.com"}, {}, None)
    assert "  pages     https://hub.example.com/\n" in welcome.text(settings, [5000, 5001], None)
