"""Everything that can go wrong, as one tree of exceptions that carry facts.

    RegistryError
    ├── InvalidRequest                the request itself is wrong, whatever the registry holds
    │   ├── NameInvalid  TagInvalid  DigestInvalid  DigestMismatch  SizeInvalid  PageInvalid
    │   ├── AccountNameInvalid  PasswordInvalid  AccountInvalid
    │   ├── FieldInvalid  MediaTypeUnsupported
    │   ├── ManifestInvalid  ManifestTooLarge  ContentEncodingUnsupported
    │   └── RangeInvalid  RangeUnsatisfiable  ChunkOutOfOrder
    ├── NotFound
    │   └── NameUnknown  ManifestUnknown  BlobUnknown  UploadUnknown  ReferencesUnknown
    │       RouteUnknown  AccountUnknown
    ├── Refused                       understood, and against the state of the registry
    │   ├── BlobInUse  UploadBusy  PreconditionFailed  MethodNotAllowed  Conflict
    │   └── Unauthenticated  Denied  ProofRequired  SignInRefused  TooManyRequests
    └── OurFault                      never the client's mistake, never a 404
        ├── StorageFull  ContentCorrupt
        └── Unavailable
            ├── SyncFailed  CommitUnknown  ProviderFailed
            └── WritesClosed

`api/errors.py` turns each class into a status and a code; a test keeps that table complete.
A fact is a plain value (text, number, list or dict of them) and ends up in the `detail` of the answer,
so it never holds a secret or a path on the server.
"""

from typing import Any


class RegistryError(Exception):
    """The base: `message` is one sentence for people, `facts` is what a program can use."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts: dict[str, Any] = facts


class InvalidRequest(RegistryError):
    """The request is wrong in itself."""


class NameInvalid(InvalidRequest):
    """A repository name outside the grammar of the specification."""


class TagInvalid(InvalidRequest):
    """A tag outside the grammar of the specification."""


class DigestInvalid(InvalidRequest):
    """Not a digest, or one of an algorithm that is not supported."""


class DigestMismatch(InvalidRequest):
    """The content does not have the digest that was announced."""


class SizeInvalid(InvalidRequest):
    """A length that contradicts the content."""


class PageInvalid(InvalidRequest):
    """`n` or `last` of a listing cannot be."""


class ManifestInvalid(InvalidRequest):
    """The manifest is no manifest, or not one of the announced type."""


class ManifestTooLarge(InvalidRequest):
    """A manifest over the limit."""


class ContentEncodingUnsupported(InvalidRequest):
    """A compressed request body: content is stored exactly as it is sent."""


class RangeInvalid(InvalidRequest):
    """A `Content-Range` that is no range, or that contradicts the body's length."""


class RangeUnsatisfiable(InvalidRequest):
    """A `Range` of a blob that holds no byte of it. Fact: `size`, in bytes."""


class ChunkOutOfOrder(InvalidRequest):
    """A chunk that does not begin where the upload stands. Fact: `offset`, in bytes."""


class AccountNameInvalid(InvalidRequest):
    """A name that no account can have, or that is reserved, or too like another one."""


class PasswordInvalid(InvalidRequest):
    """A password that is not taken: too short, too long, or one that cannot be stored whole."""


class AccountInvalid(InvalidRequest):
    """Something that cannot be done to this account, such as a team of a user."""


class FieldInvalid(InvalidRequest):
    """A field of a query, form or body is not what it has to be. Fact: `field`, its name, empty for all of it."""


class MediaTypeUnsupported(InvalidRequest):
    """A body of a type that this endpoint does not take."""


class NotFound(RegistryError):
    """The thing is not there, or not visible to the caller."""


class NameUnknown(NotFound):
    """No such repository."""


class ManifestUnknown(NotFound):
    """No manifest under this tag or digest in this repository."""


class BlobUnknown(NotFound):
    """No such blob in this repository."""


class UploadUnknown(NotFound):
    """No such upload in this repository."""


class ReferencesUnknown(NotFound):
    """A manifest names blobs or manifests that the repository does not hold. Fact: `missing`."""


class RouteUnknown(NotFound):
    """No endpoint has this path."""


class AccountUnknown(NotFound):
    """No such account, team, token or role."""


class Refused(RegistryError):
    """Understood, but the registry's state does not allow it."""


class BlobInUse(Refused):
    """A blob that manifests of the repository use. Fact: `manifests`, up to ten of their digests."""


class UploadBusy(Refused):
    """Another request is writing to this upload."""


class PreconditionFailed(Refused):
    """`If-Match` or `If-None-Match` does not hold. Fact: `current`, the digest of the tag or None."""


class MethodNotAllowed(Refused):
    """The endpoint exists, but not with this method. Fact: `allow`, the methods it has."""


class Conflict(Refused):
    """What is to be made is there already, or what is to be changed does not allow it now. Fact: `field` (may be
    absent)."""


class Unauthenticated(Refused):
    """No credential that is good for this was shown. Facts: `scope`, what a token would have to cover (may be absent);
    `error`, what is wrong with the token that was shown: invalid_token or insufficient_scope (may be absent)."""


class Denied(Refused):
    """The caller is known, may know of the repository, and may not do this to it."""


class ProofRequired(Refused):
    """A dangerous action in a session whose person has not shown who it is for a while."""


class TooManyRequests(Refused):
    """A limit on what one client may do. Fact: `retry_after_s`."""


class SignInRefused(Refused):
    """Somebody came back from the identity provider, and is not let in: it said no, the sign-in has ended, or no
    account can be made or taken for this person. The message says what to do."""


class OurFault(RegistryError):
    """A failure of the registry or of what it stands on. The client may try again."""


class Unavailable(OurFault):
    """The database or the store does not answer."""


class SyncFailed(Unavailable):
    """A medium did not make content durable. What it has dropped is unknown, and it may claim success the next time:
    the content is to be given up, never asked for again."""


class CommitUnknown(Unavailable):
    """The database went away in the middle of a commit: the change may be made or not."""


class ProviderFailed(Unavailable):
    """The identity provider does not answer, or answers what cannot be believed: nobody is signed in by that."""


class WritesClosed(Unavailable):
    """Nothing can be written for the time being, and that is meant: the database is on its way to another place, or
    lives there. Reads go on."""


class StorageFull(OurFault):
    """No room for more content."""


class ContentCorrupt(OurFault):
    """Stored content is missing, short, or not what its digest says."""
