"""Entity tags: the ETag of content is its digest, quoted. Source: RFC 9110 §13."""

import re

from registry.api.asgi import Request
from registry.core.errors import InvalidRequest

_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t]*(?:\*|{_ENTITY_TAG}(?:[ \t]*,[ \t]*{_ENTITY_TAG})*)[ \t]*")
_ONE = re.compile(rf"\*|{_ENTITY_TAG}")


def etag(digest: object) -> bytes:
    """The strong entity tag of content with this digest."""
    return f'"{digest}"'.encode()


def entity_tags(request: Request, header: bytes) -> tuple[str, ...] | None:
    """The tags of `If-None-Match`, weak or strong, without quotes, `*` as it is; None where the header is absent.

    Raises InvalidRequest for anything else: a condition that is not understood must not count as none.
    """
    found = _tags(request, header)
    return None if found is None else tuple(tag.removeprefix("W/").strip('"') for tag in found)


def strong_tags(request: Request, header: bytes) -> tuple[str, ...] | None:
    """The tags of `If-Match`, where a weak one never matches. As `entity_tags`."""
    found = _tags(request, header)
    return None if found is None else tuple(tag.strip('"') for tag in found if not tag.startswith("W/"))


def _tags(request: Request, header: bytes) -> list[str] | None:
    text = request.header(header)
    if text is None:
        return None
    if _LIST.fullmatch(text) is None:
        raise InvalidRequest(f"{header.decode()} is * or a list of entity tags in quotes")
    return _ONE.findall(text)


def not_modified(request: Request, digest: object) -> bool:
    """Whether the client has exactly this content already (`If-None-Match`). Raises InvalidRequest."""
    known = entity_tags(request, b"if-none-match")
    return known is not None and ("*" in known or str(digest) in known)
