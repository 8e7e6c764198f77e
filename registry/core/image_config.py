"""Configs: what an image runs, how it was made, and what a chart says of itself. They were pushed as blobs by anybody,
so each field that is not what it should be is left out, and everything is cut to a size that can be shown.

Sources: OCI image specification ("Image Configuration"), Helm's Chart.yaml, what docker and BuildKit write as history.
"""

import re
from dataclasses import dataclass, field
from typing import Any

TEXT_MAX_CHARS = 4096
ENTRIES_MAX = 500
"""Of each list and map."""
STEPS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a build. `layer` is its place among the layers, from 0; None: it made none."""

    instruction: str
    """As a Dockerfile would say it: `RUN apt-get update`, `CMD ["sh"]`."""
    created: str | None
    comment: str | None
    layer: int | None


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image runs and how it was made. Texts as they stand in the config; times as RFC 3339."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    created: str | None
    author: str | None
    user: str | None
    workdir: str | None
    stop_signal: str | None
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[str, ...]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    labels: dict[str, str]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Dependency:
    """A chart that a chart needs."""

    name: str
    version: str | None
    repository: str | None


@dataclass(frozen=True, slots=True)
class Chart:
    """What a Helm chart says of itself. URLs are http or https."""

    name: str
    version: str | None
    app_version: str | None
    api_version: str | None
    kind: str | None
    description: str | None
    home: str | None
    kube_version: str | None
    is_deprecated: bool = False
    keywords: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    maintainers: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = field(default=())


def image_config(document: dict[str, Any]) -> ImageConfig:
    """An image's config."""
    run = _object(document.get("config"))
    return ImageConfig(
        os=_text(document.get("os")),
        architecture=_text(document.get("architecture")),
        variant=_text(document.get("variant")),
        os_version=_text(document.get("os.version")),
        created=_text(document.get("created")),
        author=_text(document.get("author")),
        user=_text(run.get("User")),
        workdir=_text(run.get("WorkingDir")),
        stop_signal=_text(run.get("StopSignal")),
        entrypoint=_texts(run.get("Entrypoint")),
        cmd=_texts(run.get("Cmd")),
        env=_texts(run.get("Env")),
        ports=_keys(run.get("ExposedPorts")),
        volumes=_keys(run.get("Volumes")),
        labels=_labels(run.get("Labels")),
        steps=_steps(document.get("history")),
    )


def _steps(value: object) -> tuple[Step, ...]:
    found: list[Step] = []
    layers = 0
    for entry in value[:STEPS_MAX] if isinstance(value, list) else []:
        step = _object(entry)
        is_empty = step.get("empty_layer") is True
        found.append(
            Step(
                instruction=instruction(_text(step.get("created_by")) or ""),
                created=_text(step.get("created")),
                comment=_text(step.get("comment")),
                layer=None if is_empty else layers,
            )
        )
        layers += not is_empty
    return tuple(found)


_NOP = re.compile(r"\A/bin/sh -c #\(nop\) +")
_SHELL = re.compile(r"\A(?:\|\d+ .*?)?/bin/sh -c ", re.DOTALL)
_RUN_SHELL = re.compile(r"\ARUN (?:\|\d+ .*? )?/bin/sh -c ", re.DOTALL)


def instruction(created_by: str) -> str:
    """A step as a Dockerfile would say it: without the marks of the builders, and without the values of build
    arguments, which stand before the shell."""
    if _NOP.match(created_by):
        return _NOP.sub("", created_by).strip()
    text = created_by.removesuffix("# buildkit").rstrip()
    if _RUN_SHELL.match(text):
        return _RUN_SHELL.sub("RUN ", text).strip()
    return _SHELL.sub("RUN ", text).strip()


def chart(document: dict[str, Any]) -> Chart | None:
    """A Helm chart's config; None where it has no name."""
    name = _text(document.get("name"))
    if not name:
        return None
    needed = document.get("dependencies")
    dependencies = (_object(entry) for entry in (needed[:ENTRIES_MAX] if isinstance(needed, list) else []))
    people = document.get("maintainers")
    maintainers = (_text(_object(entry).get("name")) for entry in (people if isinstance(people, list) else []))
    return Chart(
        name=name,
        version=_text(document.get("version")),
        app_version=_text(document.get("appVersion")),
        api_version=_text(document.get("apiVersion")),
        kind=_text(document.get("type")),
        description=_text(document.get("description")),
        home=_url(document.get("home")),
        kube_version=_text(document.get("kubeVersion")),
        is_deprecated=document.get("deprecated") is True,
        keywords=_texts(document.get("keywords")),
        sources=tuple(url for url in _texts(document.get("sources")) if _url(url)),
        maintainers=tuple(person for person in maintainers if person)[:ENTRIES_MAX],
        dependencies=tuple(
            Dependency(str(_text(one.get("name"))), _text(one.get("version")), _text(one.get("repository")))
            for one in dependencies
            if _text(one.get("name"))
        ),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """A text without what no page or database takes, cut; None for what is none, and for an empty one."""
    if not isinstance(value, str):
        return None
    return value[:TEXT_MAX_CHARS].encode("utf-8", "replace").decode().replace("\0", "") or None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return ()
    return tuple(text for text in map(_text, value[:ENTRIES_MAX]) if text is not None)


def _keys(value: object) -> tuple[str, ...]:
    return _texts(sorted(_object(value)))


def _labels(value: object) -> dict[str, str]:
    pairs = ((_text(key), _text(text) or "") for key, text in list(_object(value).items())[:ENTRIES_MAX])
    return {key: text for key, text in pairs if key is not None}


def _url(value: object) -> str | None:
    text = _text(value)
    return text if text is not None and text.startswith(("https://", "http://")) else None
