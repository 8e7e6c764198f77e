"""One tag or manifest: its platforms, layers, configuration, what is attached to it, and its own bytes."""

import re
from dataclasses import dataclass
from typing import Any

from registry.api.asgi import Headers
from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web import details
from registry.api.web.asked import Asked
from registry.api.web.recipes import recipes, shape_of
from registry.api.web.repository import Frame, framed, moved
from registry.api.web.services import WebServices
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.artifacts import Sort, sort_of
from registry.core.digest import Digest
from registry.core.errors import ManifestUnknown
from registry.core.names import Reference
from registry.services.contents import Entry, Platform
from registry.services.manifest_view import ManifestView

HISTORY_ROWS = 1
_FIRST = "linux/amd64"
"""The platform that is shown where nobody asks for one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A platform of an index that can be looked at."""

    platform: Platform
    url: str
    is_current: bool


async def get_tag(services: WebServices, visit: Visit, view: View) -> Answer:
    """A tag, and of an index one of its platforms."""
    tag = visit.tag
    frame = await framed(services, visit, "tags")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    asked = Asked.of(view).text("digest")
    try:
        found = await services.hub.contents.look_at_tag(visit.access, tag, lambda entry: _chosen(entry, asked))
    except ManifestUnknown:
        return await _lost(services, visit, view, frame)
    entry, shown = found.entry, found.manifest
    values = {
        "tag": tag,
        "entry": entry,
        "sort": sort_of(entry.media_type, entry.artifact_type) if shown is None or found.part else shown.sort,
        "digest": entry.digest,
        "choices": [Choice(part, view.link(digest=str(part.digest)), part is found.part) for part in _parts(entry)],
        "is_signed": entry.is_signed,
        **_described(frame, shown, entry.digest),
        "referrers": found.referrers,
    }
    return _page(services, view, frame, values)


def _parts(entry: Entry) -> list[Platform]:
    """The parts of an index; an image has none."""
    return [part for part in entry.platforms if part.digest != entry.digest]


def _chosen(entry: Entry, asked: str) -> Platform | None:
    """The part that is asked for, else the one that most people want."""
    parts = _parts(entry)
    held = [part for part in parts if part.id is not None] or parts
    usual = [part for part in held if part.name == _FIRST] or held
    return next((part for part in parts if str(part.digest) == asked), usual[0] if usual else None)


async def get_manifest(services: WebServices, visit: Visit, view: View) -> Answer:
    """A manifest, by its digest."""
    digest = visit.digest
    frame = await framed(services, visit, "tags")
    if (elsewhere := moved(services, visit, view, frame)) is not None:
        return elsewhere
    try:
        found = await services.hub.contents.look(visit.access, digest)
    except ManifestUnknown:
        lost = {"frame": frame, "tag": None, "digest": str(digest), "past": None, "again": None}
        return services.pages.render(view, "lost_tag.html", lost, status=404)
    values = {
        "tag": None,
        "entry": None,
        "sort": found.manifest.sort,
        "digest": digest,
        "choices": [],
        "is_signed": any(one.sort is Sort.SIGNATURE for one in found.referrers.referrers),
        **_described(frame, found.manifest, digest),
        "referrers": found.referrers,
    }
    return _page(services, view, frame, values)


def _page(services: WebServices, view: View, frame: Frame, values: dict[str, Any]) -> Answer:
    place = f"{services.pages.site.host}/{frame.name}"
    commands = recipes(place, shape_of(values["sort"]), values["tag"], str(values["digest"]))
    return services.pages.render(view, "manifest.html", {"frame": frame, "recipes": commands, **values})


def _described(frame: Frame, shown: ManifestView | None, digest: Digest) -> dict[str, Any]:
    """What the template says of the manifest that is shown, the one of `digest` or a part of it."""
    config = None if shown is None else shown.config
    image = None if config is None else config.image
    documents = [] if shown is None else _documents(frame, shown)
    return {
        "shown": shown,
        "is_part": shown is not None and shown.digest != digest,
        "lines": [] if shown is None else details.lines(shown),
        "layers_size": 0 if shown is None else sum(layer.size for layer in shown.layers),
        "image": image,
        "built_at": None if image is None else details.moment_of(image.created),
        "settings": [] if image is None else details.settings(image),
        "environment": [] if image is None else details.environment(image),
        "chart_facts": [] if config is None or config.chart is None else details.about_chart(config.chart),
        "links": [] if shown is None else details.links(shown),
        "documents": documents,
    }


def _documents(frame: Frame, shown: ManifestView) -> list[tuple[str, str | None, str | None]]:
    """Name, text and address of the manifest's own bytes, and of its config's."""
    place = f"{frame.path}/-/manifests/{shown.digest}"
    found = [("manifest", details.readable(shown.text), None if shown.text is None else f"{place}/raw")]
    config = shown.config
    if config is not None and config.text:
        found.append(("config", details.readable(config.text), f"{place}/config"))
    return found


async def _lost(services: WebServices, visit: Visit, view: View, frame: Frame) -> Answer:
    """The page of a tag that is not there, perhaps not any more."""
    tag = visit.tag
    found = await services.hub.contents.history(visit.access, tag, before=None, count=HISTORY_ROWS)
    last = found.changes[0] if found.changes else None
    again = None if last is None else last.before
    values = {"frame": frame, "tag": tag, "digest": None, "past": last, "again": again}
    return services.pages.render(view, "lost_tag.html", values, status=404)


# Bytes


async def get_raw(services: WebServices, visit: Visit, view: View) -> Answer:
    """A manifest's bytes, as they were pushed."""
    shown = await services.hub.contents.manifest(visit.access, Reference(digest=visit.digest))
    return _file(visit, shown.text, shown.digest)


async def get_config(services: WebServices, visit: Visit, view: View) -> Answer:
    """The bytes of its config."""
    shown = await services.hub.contents.manifest(visit.access, Reference(digest=visit.digest))
    config = shown.config
    if config is None:
        raise ManifestUnknown("this manifest has no config", reference=str(visit.digest))
    return _file(visit, config.text, config.digest)


def _file(visit: Visit, text: str | None, digest: Digest) -> Answer:
    """Something for downloading: no browser shows what a stranger has written as a page."""
    if text is None:
        raise ManifestUnknown("it is too long to be shown: pull it", reference=str(digest))
    last = re.sub(r"[^a-z0-9._-]", "", visit.access.name.rpartition("/")[2])
    name = f"{last}-{digest.hex[:12]}.json"
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"cache-control", b"private, no-store"),
    ]
    return Answer(200, headers, text.encode("utf-8"))


ROUTES = (
    WebRoute("tag", "GET", "/r/{repository}/-/tags/{tag}", Action.PULL, get_tag),
    WebRoute("manifest", "GET", "/r/{repository}/-/manifests/{digest}", Action.PULL, get_manifest),
    WebRoute("manifest-bytes", "GET", "/r/{repository}/-/manifests/{digest}/raw", Action.PULL, get_raw),
    WebRoute("config-bytes", "GET", "/r/{repository}/-/manifests/{digest}/config", Action.PULL, get_config),
)
