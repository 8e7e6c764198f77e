"""Errors of the hub's API: Problem Details (RFC 9457) that name the field which is wrong."""

import json
from http import HTTPStatus

from registry.api.asgi import Headers, Request
from registry.api.errors import RETRY_AFTER_DEFAULT_S, TABLE
from registry.api.responses import Answer
from registry.core import errors
from registry.core.errors import RegistryError

CONTENT_TYPE = b"application/problem+json"
CHALLENGE = b'Bearer realm="depotry"'
"""Not Basic: a browser would ask for a password in a window of its own."""

_FIELDS: dict[type[RegistryError], str] = {
    errors.NameInvalid: "repository",
    errors.TagInvalid: "tag",
    errors.DigestInvalid: "digest",
    errors.AccountNameInvalid: "name",
    errors.PasswordInvalid: "password",
}
"""What an error is about that does not say so itself."""


def answer_to(error: RegistryError, request: Request) -> Answer:
    """The answer that tells a client of `error`."""
    status, code = TABLE[type(error)]
    headers: Headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store")]
    if status in (429, 503, 507):
        headers.append((b"retry-after", str(error.facts.get("retry_after_s", RETRY_AFTER_DEFAULT_S)).encode()))
    if status == 401:
        headers.append((b"www-authenticate", CHALLENGE))
    if isinstance(error, errors.MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.facts["allow"]).encode()))
    return Answer(status, headers, json.dumps(problem(error, status, code)).encode("utf-8"))


def broken(headers: Headers) -> Answer:
    """The answer where our own code failed: it says nothing of what happened; the log does."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
        "status": 500,
        "detail": "the registry failed; its log says why",
        "code": "UNKNOWN",
    }
    kind: Headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store")]
    return Answer(500, [*kind, *headers], json.dumps(body).encode("utf-8"))


def problem(error: RegistryError, status: int, code: str) -> dict[str, object]:
    """The body: the members of RFC 9457, `code` for programs, `field` where one is wrong, and the facts."""
    facts = {key: value for key, value in error.facts.items() if key not in ("retry_after_s", "field")}
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": code,
    }
    field = error.facts.get("field") or _FIELDS.get(type(error))
    if field:
        body["field"] = field
    if facts:
        body["facts"] = facts
    return body
