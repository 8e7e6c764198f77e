"""Answers of the hub's API: one thing, a page of things, or nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from registry.api.asgi import Headers, Request
from registry.api.hub import cursors
from registry.api.responses import Answer, LinesAnswer

T = TypeVar("T")
_JSON: Headers = [(b"content-type", b"application/json")]
_LINES: Headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
_PRIVATE: Headers = [(b"cache-control", b"private, no-cache"), (b"vary", b"authorization, cookie")]


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list. `next` is the cursor of the one after it, for `after`; null at the end."""

    items: list[T]
    next: str | None = None
    total: int | None = None
    """Of the whole list, where it was asked for."""


def one(thing: object, status: int = 200, *, version: str | None = None, headers: Headers | None = None) -> Answer:
    """One thing as JSON. `version` is its ETag, which a later write may demand."""
    found = [*_JSON, *(headers or [])]
    if version is not None:
        found.append((b"etag", f'"{version}"'.encode()))
    return Answer(status, found, msgspec.json.encode(thing))


def page(
    request: Request,
    items: Sequence[object],
    position: tuple[str | int | None, ...] | None,
    *,
    total: int | None = None,
) -> Answer:
    """A page of a list, with a `Link` to the next one, which begins after `position`; None at the end."""
    cursor = None if position is None else cursors.write(position)
    headers = list(_JSON)
    if cursor is not None:
        fields = [(name, value) for name, values in request.query().items() for value in values if name != "after"]
        target = f"{request.raw_path}?{urlencode([*fields, ('after', cursor)])}"
        headers.append((b"link", f'<{target}>; rel="next"'.encode()))
    body = Page[Any](items=list(items), next=cursor, total=total)
    return Answer(200, headers, msgspec.json.encode(body))


def fingerprint(thing: object) -> str:
    """Another text for anything that is shown otherwise; good for an ETag."""
    return hashlib.sha256(msgspec.json.encode(thing)).hexdigest()[:16]


def nothing() -> Answer:
    """That it is done."""
    return Answer(204)


def finished(request: Request, answer: Answer | LinesAnswer, limits: Headers) -> Answer | LinesAnswer:
    """An answer with what all of them have: an ETag that a repeated GET can show, and what may still be sent."""
    if isinstance(answer, LinesAnswer):
        headers = [*answer.headers, *_LINES, *limits]
        return Answer(200, headers, length=0) if request.method == "HEAD" else replace(answer, headers=headers)
    headers = [*answer.headers, *limits]
    if not any(name == b"cache-control" for name, _ in headers):
        headers += _PRIVATE
    if request.method not in ("GET", "HEAD") or answer.status != 200:
        return replace(answer, headers=headers)
    etag = next((value for name, value in headers if name == b"etag"), None)
    if etag is None:
        etag = b'"' + hashlib.sha256(answer.body).hexdigest()[:32].encode() + b'"'
        headers.append((b"etag", etag))
    if _is_known(request, etag.decode()):
        return Answer(304, [entry for entry in headers if entry[0] != b"content-type"])
    if request.method == "HEAD":
        return Answer(200, headers, length=len(answer.body))
    return replace(answer, headers=headers)


def _is_known(request: Request, etag: str) -> bool:
    shown = request.header(b"if-none-match")
    if shown is None:
        return False
    return any(part.strip().removeprefix("W/") in (etag, "*") for part in shown.split(","))
