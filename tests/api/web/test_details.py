"""What a page says of a manifest."""

import json
from collections.abc import Iterator

import pytest

from registry.api.web import details


def test_documents_of_one_line_get_several() -> None:
    """Others stay as they are: what is no JSON, what has lines, and what would be too long for a page."""
    assert details.readable('{"a":[1,"ä"]}') == '{\n  "a": [\n    1,\n    "ä"\n  ]\n}'
    for text in ("no JSON", '{\n"a":1}', "[" * 30_000, json.dumps(list(range(11_000)), separators=(",", ":"))):
        assert details.readable(text) == text
    assert details.readable("x" * (details.DOCUMENT_MAX_CHARS + 1)) is None


def test_sec_016_deep_documents_are_not_written_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-016: each of 28,000 numbers is as many blanks to the right as it is deep: 50 MB of them, and seconds in which
    nobody else is served. It stays as it is as soon as that is known."""
    written = []
    encode = json.JSONEncoder.iterencode

    def counted(encoder: json.JSONEncoder, value: object) -> Iterator[str]:
        for piece in encode(encoder, value):
            written.append(len(piece))
            yield piece

    monkeypatch.setattr(json.JSONEncoder, "iterencode", counted)
    text = "[" * 900 + ",".join(["1"] * 28_000) + "]" * 900
    assert details.readable(text) == text
    assert details.DOCUMENT_MAX_CHARS < sum(written) < 2 * details.DOCUMENT_MAX_CHARS
