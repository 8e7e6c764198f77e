"""What a page says of one manifest: its layers beside the steps that made them, what it runs, links, its own text."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from registry.core.image_config import Chart, ImageConfig
from registry.services.manifest_view import Layer, ManifestView

DOCUMENT_MAX_CHARS = 64_000
"""A longer one is for downloading."""
_TITLE = "org.opencontainers.image.title"
_LINKS = ("source", "url", "documentation")
_ENDS_MS = (0, 253_402_300_799_000)
"""Moments that can be shown: from 1970 to the year 9999."""

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """A layer, or a step of the build that made none."""

    word: str
    """What a Dockerfile calls it: `RUN`, `COPY`; empty where nobody says."""
    text: str
    title: str
    """The name of the file, where it is one."""
    layer: Layer | None
    share: float
    """Of the size of all layers."""


def lines(shown: ManifestView) -> list[Line]:
    """Layers and steps in the order of the build, as far as the config tells it; else the layers."""
    config = None if shown.config is None else shown.config.image
    total = sum(layer.size for layer in shown.layers) or 1
    steps = [] if config is None else config.steps
    if sum(step.layer is not None for step in steps) != len(shown.layers):
        return [_line(layer.instruction or "", layer, total) for layer in shown.layers]
    return [_line(step.instruction, None if step.layer is None else shown.layers[step.layer], total) for step in steps]


def _line(instruction: str, layer: Layer | None, total: int) -> Line:
    word, _, rest = instruction.partition(" ")
    if not (word.isascii() and word.isupper() and rest):
        word, rest = "", instruction
    title = "" if layer is None else layer.annotations.get(_TITLE, "")
    return Line(word, rest.strip(), title, layer, 0.0 if layer is None else layer.size / total)


def settings(config: ImageConfig) -> list[tuple[str, str | tuple[str, ...]]]:
    """What an image runs, as whom and where: what is said of it, by names that the template knows."""
    found: list[tuple[str, str | tuple[str, ...]]] = [
        ("entrypoint", " ".join(map(_quoted, config.entrypoint))),
        ("command", " ".join(map(_quoted, config.cmd))),
        ("user", config.user or ""),
        ("folder", config.workdir or ""),
        ("ports", config.ports),
        ("volumes", config.volumes),
        ("signal", config.stop_signal or ""),
    ]
    return [(name, value) for name, value in found if value]


def _quoted(word: str) -> str:
    return json.dumps(word, ensure_ascii=False) if not word or " " in word or '"' in word else word


def environment(config: ImageConfig) -> Pairs:
    """Names and values of its variables."""
    split = (entry.partition("=") for entry in config.env)
    return [(name, value) for name, _, value in split]


def about_chart(chart: Chart) -> list[tuple[str, str | tuple[str, ...]]]:
    """What a chart says of itself."""
    needs = tuple(" ".join(filter(None, (one.name, one.version))) for one in chart.dependencies)
    found: list[tuple[str, str | tuple[str, ...]]] = [
        ("name", chart.name),
        ("version", chart.version or ""),
        ("app", chart.app_version or ""),
        ("description", chart.description or ""),
        ("kubernetes", chart.kube_version or ""),
        ("type", chart.kind or ""),
        ("keywords", chart.keywords),
        ("maintainers", chart.maintainers),
        ("dependencies", needs),
    ]
    return [(name, value) for name, value in found if value]


def links(shown: ManifestView) -> Pairs:
    """Where annotations, labels and charts lead to, by names that the template knows; only to the web."""
    config = shown.config
    labels = {} if config is None or config.image is None else config.image.labels
    named = [(word, f"org.opencontainers.image.{word}") for word in _LINKS]
    found = [(word, shown.annotations.get(key) or labels.get(key, "")) for word, key in named]
    if config is not None and config.chart is not None:
        found += [("home", config.chart.home or ""), *(("source", url) for url in config.chart.sources)]
    return [(word, url) for word, url in _distinct(found) if is_web(url)]


def _distinct(pairs: Pairs) -> Iterable[tuple[str, str]]:
    return {url: (word, url) for word, url in reversed(pairs)}.values()


def is_web(url: str) -> bool:
    """Whether a text of a stranger is an address of the web that can be a link."""
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def moment_of(text: str | None) -> int | None:
    """An RFC 3339 time in ms since 1970 UTC; None for what is none, or what nobody could have meant."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at_ms = int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at_ms if _ENDS_MS[0] < at_ms <= _ENDS_MS[1] else None


def readable(text: str | None) -> str | None:
    """A document as people read it: JSON of one line gets several. None where it is too long for a page."""
    if text is None or len(text) > DOCUMENT_MAX_CHARS:
        return None
    if "\n" in text.strip():
        return text
    try:
        return _spread(text)
    except (ValueError, RecursionError):
        return text


def _spread(text: str) -> str:
    """The same JSON in several lines, or as it is where they are too long for a page: each line is as far to the right
    as it is deep, so what is nested deeply is found to be so before all of it is written. Raises ValueError,
    RecursionError."""
    pieces, size = [], 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(text)):
        pieces.append(piece)
        size += len(piece)
        if size > DOCUMENT_MAX_CHARS:
            return text
    return "".join(pieces)
