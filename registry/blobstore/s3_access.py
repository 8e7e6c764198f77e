"""What a store has to be allowed in its bucket, tried before it is missed: what only tidying up needs would be noticed
when the bucket is full of what nobody removed."""

from collections.abc import Callable
from contextlib import suppress

from registry.blobstore.s3_client import S3Client, access_refused
from registry.core.errors import Unavailable

_TRIAL = b"depotry tries what it may do here\n"
_NO_UPLOAD = "0" * 32


def require_permissions(client: S3Client, key: str) -> None:
    """Try everything that needs a permission of its own on the object `key`, which is gone afterwards, where it may be
    removed. Blocks. Raises Unavailable, for permissions one that names all that are missing."""
    missing: list[str] = []
    for call in (
        lambda: client.put(key, _TRIAL, len(_TRIAL)),
        lambda: client.read(key),
        lambda: client.delete(key),
        lambda: client.objects(key),
        lambda: list(client.multiparts(key)),
    ):
        missing += _lacks(call)
    # There is no such upload, and not every service says so in the same words.
    with suppress(Unavailable):
        missing += _lacks(lambda: client.abort(key, _NO_UPLOAD))
    if missing:
        raise access_refused(missing)


def _lacks(call: Callable[[], object]) -> list[str]:
    try:
        call()
    except Unavailable as failure:
        if "permissions" not in failure.facts:
            raise
        return list(failure.facts["permissions"])
    return []
