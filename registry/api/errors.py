"""From an error to an answer: one table, which a test keeps complete.

Codes: OCI distribution specification, "Error Codes"; those outside its table are ones that clients know.
"""

import json
from collections.abc import Callable

from registry.api.asgi import Headers, Request
from registry.api.responses import Answer
from registry.core import errors
from registry.core.errors import RegistryError

TABLE: dict[type[RegistryError], tuple[int, str]] = {
    errors.InvalidRequest: (400, "UNSUPPORTED"),
    errors.NameInvalid: (400, "NAME_INVALID"),
    errors.TagInvalid: (400, "TAG_INVALID"),
    errors.DigestInvalid: (400, "DIGEST_INVALID"),
    errors.DigestMismatch: (400, "DIGEST_INVALID"),
    errors.SizeInvalid: (400, "SIZE_INVALID"),
    errors.PageInvalid: (400, "PAGINATION_NUMBER_INVALID"),
    errors.ManifestInvalid: (400, "MANIFEST_INVALID"),
    errors.ManifestTooLarge: (413, "MANIFEST_INVALID"),
    errors.ContentEncodingUnsupported: (415, "UNSUPPORTED"),
    errors.RangeInvalid: (400, "RANGE_INVALID"),
    errors.RangeUnsatisfiable: (416, "RANGE_INVALID"),
    errors.ChunkOutOfOrder: (416, "RANGE_INVALID"),
    errors.NameUnknown: (404, "NAME_UNKNOWN"),
    errors.ManifestUnknown: (404, "MANIFEST_UNKNOWN"),
    errors.BlobUnknown: (404, "BLOB_UNKNOWN"),
    errors.UploadUnknown: (404, "BLOB_UPLOAD_UNKNOWN"),
    errors.ReferencesUnknown: (404, "MANIFEST_BLOB_UNKNOWN"),
    errors.RouteUnknown: (404, "UNSUPPORTED"),
    errors.BlobInUse: (405, "UNSUPPORTED"),
    errors.UploadBusy: (409, "BLOB_UPLOAD_INVALID"),
    errors.PreconditionFailed: (412, "PRECONDITION_FAILED"),
    errors.MethodNotAllowed: (405, "UNSUPPORTED"),
    errors.FieldInvalid: (400, "UNSUPPORTED"),
    errors.MediaTypeUnsupported: (415, "UNSUPPORTED"),
    errors.Conflict: (409, "CONFLICT"),
    errors.ProofRequired: (403, "PROOF_REQUIRED"),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.Denied: (403, "DENIED"),
    errors.TooManyRequests: (429, "TOOMANYREQUESTS"),
    errors.SignInRefused: (403, "DENIED"),
    errors.AccountNameInvalid: (400, "NAME_INVALID"),
    errors.PasswordInvalid: (400, "UNSUPPORTED"),
    errors.AccountInvalid: (400, "UNSUPPORTED"),
    errors.AccountUnknown: (404, "UNSUPPORTED"),
    errors.Unavailable: (503, "UNAVAILABLE"),
    errors.SyncFailed: (503, "UNAVAILABLE"),
    errors.CommitUnknown: (503, "UNAVAILABLE"),
    errors.ProviderFailed: (503, "UNAVAILABLE"),
    errors.WritesClosed: (503, "UNAVAILABLE"),
    errors.StorageFull: (507, "UNAVAILABLE"),
    errors.ContentCorrupt: (500, "UNKNOWN"),
}
RETRY_AFTER_DEFAULT_S = 5


def answer_to(error: RegistryError, request: Request) -> Answer:
    """The answer that tells a client of `error`."""
    status, code = TABLE[type(error)]
    headers = _HEADERS.get(type(error), _no_headers)(error, request)
    if status in (429, 503, 507):
        headers.append((b"retry-after", str(error.facts.get("retry_after_s", RETRY_AFTER_DEFAULT_S)).encode()))
    return json_answer(status, {"errors": _entries(code, error)}, headers)


def internal_error() -> Answer:
    """The answer where our own code failed: it says nothing of what happened; the log does."""
    entry = {"code": "UNKNOWN", "message": "the registry failed; its log says why", "detail": {}}
    return json_answer(500, {"errors": [entry]})


def json_answer(status: int, content: object, headers: Headers | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(
        status,
        [(b"content-type", b"application/json"), *(headers or [])],
        json.dumps(content).encode("utf-8"),
    )


def _entries(code: str, error: RegistryError) -> list[dict[str, object]]:
    """One entry; for missing references one each, which is how clients print them all."""
    if isinstance(error, errors.ReferencesUnknown):
        return [
            {"code": code, "message": f"{error.message}: {digest}", "detail": {"digest": digest}}
            for digest in error.facts["missing"]
        ]
    detail = {key: value for key, value in error.facts.items() if key != "retry_after_s"}
    return [{"code": code, "message": error.message, "detail": detail}]


def _no_headers(_error: RegistryError, _request: Request) -> Headers:
    return []


def _allow(error: RegistryError, _request: Request) -> Headers:
    return [(b"allow", ", ".join(error.facts["allow"]).encode())]


def _blob_allow(_error: RegistryError, _request: Request) -> Headers:
    return [(b"allow", b"GET, HEAD")]


def _whole_size(error: RegistryError, _request: Request) -> Headers:
    return [(b"content-range", b"bytes */%d" % error.facts["size"]), (b"accept-ranges", b"bytes")]


def _upload_place(error: RegistryError, request: Request) -> Headers:
    """Where the upload stands, so that the client can go on from there."""
    return [
        (b"location", request.scope["raw_path"]),
        (b"range", b"0-%d" % max(error.facts["offset"] - 1, 0)),
    ]


_HEADERS: dict[type[RegistryError], Callable[[RegistryError, Request], Headers]] = {
    errors.MethodNotAllowed: _allow,
    errors.BlobInUse: _blob_allow,
    errors.RangeUnsatisfiable: _whole_size,
    errors.ChunkOutOfOrder: _upload_place,
}
