"""Entity tags: the ETag of content is its digest, quoted. Source: RFC 9110 §13."""

import re

from registry.api.asgi import Request

_ENTITY_TAG = re.compile(r'\*|(?:W/)?"([^"]*)"')


def etag(digest: object) -> bytes:
    """The strong entity tag of content with this digest."""
    return f'"{digest}"'.encode()


def entity_tags(request: Request, header: bytes) -> tuple[str, ...] | None:
    """The tags of `If-Match` or `If-None-Match` without quotes, `*` as it is; None where the header is absent."""
    text = request.header(header)
    if text is None:
        return None
    return tuple("*" if match[0] == "*" else match[1] for match in _ENTITY_TAG.finditer(text))


def not_modified(request: Request, digest: object) -> bool:
    """Whether the client has exactly this content already (`If-None-Match`)."""
    known = entity_tags(request, b"if-none-match")
    return known is not None and ("*" in known or str(digest) in known)
