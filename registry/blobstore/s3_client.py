"""The calls that an S3 store makes, one method each, and what their errors mean. They block: for threads.

A failure is never absence. Only an object that the service itself names as missing is missing; a bucket that is gone, a
refused signature or an answer without a reason is Unavailable, with the setting that may be wrong.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from registry.blobstore import s3_model
from registry.blobstore.ledger import Part
from registry.blobstore.s3_location import S3Location
from registry.core.errors import OurFault, StorageFull, Unavailable
from registry.core.limits import CHUNK_BYTES, MIB

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

REGION_DEFAULT = "us-east-1"
PAGE = 1000

_REASONS = {
    "NoSuchBucket": "the bucket does not exist (see storage)",
    "AccessDenied": "the credentials for the S3 service could not be got (see s3_access_key_id)",
    "InvalidAccessKeyId": "the access key is not known there (see s3_access_key_id)",
    "SignatureDoesNotMatch": "the secret is not that of the access key (see s3_secret_access_key_file)",
    "RequestTimeTooSkewed": "the clocks of this machine and of the S3 service differ too much; set the time right",
    "ExpiredToken": "the credentials have expired (see s3_access_key_id)",
    "PermanentRedirect": "the bucket is in another region or at another address (see region= and endpoint= in storage)",
    "SlowDown": "the S3 service asks for fewer requests",
    "InvalidObjectState": "objects of this storage class cannot be read at once (see storage_class= in storage)",
    "InvalidStorageClass": "the storage class is not known there (see storage_class= in storage)",
}
_ALSO = {
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "AccountProblem": "AccessDenied",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "XAdminUserNotFound": "InvalidAccessKeyId",
    "TokenRefreshRequired": "ExpiredToken",
    "ExpiredTokenException": "ExpiredToken",
    "InvalidToken": "ExpiredToken",
    "301": "PermanentRedirect",
    "302": "PermanentRedirect",
    "307": "PermanentRedirect",
    "TemporaryRedirect": "PermanentRedirect",
    "AuthorizationHeaderMalformed": "PermanentRedirect",
    "IllegalLocationConstraintException": "PermanentRedirect",
    "RequestExpired": "RequestTimeTooSkewed",
    "RequestLimitExceeded": "SlowDown",
    "TooManyRequests": "SlowDown",
}
_PERMISSIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
"""What a policy has to allow for each call."""
_CONNECTION_REASONS = {
    "EndpointConnectionError": "nothing answers at the address of the S3 service (see endpoint= in storage)",
    "ConnectTimeoutError": "nothing answers at the address of the S3 service (see endpoint= in storage)",
    "ReadTimeoutError": "the S3 service did not answer in time",
    "SSLError": "the certificate of the S3 service is not trusted (see ca_file= in storage)",
    "NoCredentialsError": "there are no credentials for the S3 service (see s3_access_key_id)",
    "PartialCredentialsError": "the credentials for the S3 service are not complete (see s3_access_key_id)",
    "CredentialRetrievalError": "the credentials for the S3 service could not be got (see s3_access_key_id)",
    "ProfileNotFound": "the profile with the credentials for the S3 service does not exist (see AWS_PROFILE)",
}
_FULL = {"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceededException", "507"}
_MISSING = {"NoSuchKey"}
_PARTS_LOST = {"NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"}


_SLOWNESS = ((64 * MIB, 1), (4096 * MIB, 10))
"""An object up to so many bytes may take so many times as long."""
_SLOWEST = 120


class PartsLost(Exception):
    """The service no longer has the multipart upload, or not the parts that it acknowledged."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A pair of keys."""

    access_key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take before it is given up, in seconds, and how often it is tried, the first time
    included."""

    connect_timeout_s: float = 3.0
    read_timeout_s: float = 30.0
    attempts: int = 3

    def for_object_of(self, size: int) -> "Patience":
        """With an object of so many bytes that is put together."""
        factor = next((factor for limit, factor in _SLOWNESS if size <= limit), _SLOWEST)
        return self if factor == 1 else replace(self, read_timeout_s=factor * self.read_timeout_s, attempts=1)


class Stream(Protocol):
    """The content of an object on its way here."""

    def read(self, amt: int | None = None) -> bytes: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list: its size in bytes, and when it was written, in milliseconds since 1970."""

    key: str
    size: int
    modified_at: int


@dataclass(frozen=True, slots=True)
class ListedMultipart:
    """An unfinished multipart upload in a list."""

    key: str
    multipart_id: str
    begun_at: int


@dataclass(frozen=True, slots=True)
class Direct:
    """How clients reach the objects themselves: the URL of the service as they know it, None where it is the same, and
    how many seconds a URL counts."""

    endpoint: str | None
    ttl_s: int


class S3Client:
    """One bucket, through one low-level client that is made when it is needed first: the library is large, and only who
    stores in S3 loads it."""

    def __init__(
        self,
        location: S3Location,
        credentials: Credentials | None = None,
        *,
        connections: int = 32,
        patience: Patience | None = None,
    ) -> None:
        self.location = location
        self._credentials = credentials
        self._connections = connections
        self._patience = patience or Patience()
        self._making = threading.Lock()
        self._session: Any = None
        self._made: dict[Patience, Any] = {}
        self._signing: Any = None

    def size(self, key: str) -> int | None:
        """Size of an object in bytes, None if it is missing. An answer to HEAD has no reason in it: where it is not a
        size, the first byte is asked for, to learn the reason."""
        with translated():
            try:
                answer = self._client().head_object(Bucket=self.location.bucket, Key=key)
                return int(_member(answer, "ETag") and answer["ContentLength"])
            except self._errors().ClientError as error:
                if _code(error) not in {"404", "403", "400", "301", "NotFound", "NoSuchKey", "Forbidden"}:
                    raise
        opened = self.open(key, 0, 1)
        if opened is None:
            return None
        opened[1].close()
        return opened[0]

    def open(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, Stream] | None:
        """Whole size of an object and its bytes from `start` up to before `end`; None if it is missing. Where it has
        none of these bytes, they are empty."""
        wanted = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        with translated():
            try:
                answer = self._client().get_object(Bucket=self.location.bucket, Key=key, **wanted)
            except self._errors().ClientError as error:
                if _code(error) in _MISSING:
                    return None
                if _code(error) == "InvalidRange":
                    return self._empty(error)
                raise
        try:
            _member(answer, "ETag")
        except Unavailable:
            answer["Body"].close()
            raise
        whole = answer.get("ContentRange", "").rpartition("/")[2]
        return int(whole) if whole.isdigit() else int(answer["ContentLength"]), answer["Body"]

    def read(self, key: str) -> bytes | None:
        """All bytes of a small object, None if it is missing."""
        opened = self.open(key)
        if opened is None:
            return None
        with translated():
            return opened[1].read()

    def copy(self, key: str, take: Callable[[bytes], None]) -> None:
        """Hand all bytes of an object to `take`, piece by piece; none where it is missing."""
        opened = self.open(key)
        if opened is None:
            return
        try:
            with translated():
                while piece := opened[1].read(CHUNK_BYTES):
                    take(piece)
        finally:
            opened[1].close()

    def put(self, key: str, body: Any, size: int, *, once: bool = False) -> None:
        """Write an object of `size` bytes. With `once`, only where there is none; services that cannot do that write it
        all the same."""
        extra: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        with translated():
            try:
                self._put(key, body, size, extra)
            except self._errors().ClientError as error:
                if not once:
                    raise
                if _code(error) == "NotImplemented":
                    self._put(key, body, size, {})
                elif _code(error) not in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                    raise

    def delete(self, key: str) -> None:
        """Remove an object; succeeds when it is missing."""
        with translated():
            try:
                self._client().delete_object(Bucket=self.location.bucket, Key=key)
            except self._errors().ClientError as error:
                if _code(error) not in _MISSING:
                    raise

    def begin_multipart(self, key: str) -> tuple[str, bool]:
        """Begin a multipart upload; returns its id, and whether another one may have been begun by an answer that got
        lost."""
        with translated():
            answer = self._client().create_multipart_upload(Bucket=self.location.bucket, Key=key, **self._storing())
        return _member(answer, "UploadId"), answer["ResponseMetadata"].get("RetryAttempts", 0) > 0

    def put_part(self, key: str, multipart_id: str, number: int, body: Any, size: int) -> str:
        """Write a part of `size` bytes; returns what the service calls it. Raises PartsLost."""
        with translated(of_parts=True):
            answer = self._client().upload_part(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=multipart_id,
                PartNumber=number,
                Body=body,
                ContentLength=size,
            )
        return _member(answer, "ETag")

    def complete(self, key: str, multipart_id: str, parts: list[Part]) -> None:
        """Make the object of its parts. Raises PartsLost, also where an earlier try has done it."""
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        patience = self._patience.for_object_of(sum(part.size for part in parts))
        with translated(of_parts=True):
            self._client(patience).complete_multipart_upload(
                Bucket=self.location.bucket, Key=key, UploadId=multipart_id, MultipartUpload={"Parts": listed}
            )

    def abort(self, key: str, multipart_id: str) -> None:
        """Give a multipart upload up; succeeds when it is gone."""
        try:
            with translated(of_parts=True):
                self._client().abort_multipart_upload(Bucket=self.location.bucket, Key=key, UploadId=multipart_id)
        except PartsLost:
            return

    def objects(self, prefix: str, after: str = "") -> list[Listed]:
        """The next objects by key after `after`, a page of them; empty at the end."""
        with translated():
            answer = self._client().list_objects_v2(
                Bucket=self.location.bucket, Prefix=prefix, StartAfter=after, MaxKeys=PAGE
            )
        return [
            Listed(each["Key"], int(each["Size"]), _milliseconds(each.get("LastModified")))
            for each in answer.get("Contents", [])
        ]

    def multiparts(self, prefix: str) -> Iterator[ListedMultipart]:
        """Every unfinished multipart upload below a prefix."""
        marker: dict[str, str] = {}
        while True:
            with translated():
                answer = self._multipart_page(prefix, marker)
            for each in answer.get("Uploads", []):
                yield ListedMultipart(each["Key"], each["UploadId"], _milliseconds(each.get("Initiated")))
            if not answer.get("IsTruncated") or not answer.get("NextKeyMarker"):
                return
            marker = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer.get("NextUploadIdMarker", "")}

    def _multipart_page(self, prefix: str, marker: dict[str, str]) -> Any:
        try:
            return self._client().list_multipart_uploads(Bucket=self.location.bucket, Prefix=prefix, **marker)
        except self._errors().ClientError as error:
            # So rclone says that there are none.
            if _code(error) != "NoSuchUpload":
                raise
            return {}

    def direct_url(self, key: str, direct: Direct) -> str:
        """A URL that serves an object without us. No call is made for it, unless credentials have to be fetched."""
        with translated():
            signer = self._signer(direct.endpoint)
            url: str = signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.location.bucket,
                    "Key": key,
                    "ResponseContentType": "application/octet-stream",
                },
                ExpiresIn=direct.ttl_s,
            )
        return url

    def close(self) -> None:
        """Close the connections. Idempotent."""
        for client in (*self._made.values(), self._signing):
            if client is not None:
                client.close()

    def _put(self, key: str, body: Any, size: int, extra: dict[str, Any]) -> None:
        answer = self._client().put_object(
            Bucket=self.location.bucket, Key=key, Body=body, ContentLength=size, **self._storing(), **extra
        )
        _member(answer, "ETag")

    def _storing(self) -> dict[str, str]:
        location = self.location
        wanted = {
            "StorageClass": location.storage_class,
            "ServerSideEncryption": location.sse,
            "SSEKMSKeyId": location.sse_kms_key_id,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @staticmethod
    def _empty(error: "ClientError") -> tuple[int, Stream]:
        import io

        whole = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-range", "")
        size = whole.rpartition("/")[2]
        return int(size) if size.isdigit() else 0, io.BytesIO()

    @staticmethod
    def _errors() -> Any:
        import botocore.exceptions

        return botocore.exceptions

    def _client(self, patience: Patience | None = None) -> Any:
        """The library's client, one for each patience: it has no other way to wait longer."""
        wanted = patience or self._patience
        with self._making:
            if wanted not in self._made:
                self._made[wanted] = self._make(self.location.endpoint, wanted)
            return self._made[wanted]

    def _signer(self, endpoint: str | None) -> Any:
        """A client that knows the service by the name that clients use: the name of the host is signed."""
        if endpoint in {None, self.location.endpoint}:
            return self._client()
        with self._making:
            if self._signing is None:
                self._signing = self._make(endpoint, self._patience)
            return self._signing

    def _make(self, endpoint: str | None, patience: Patience) -> Any:
        from botocore.config import Config

        location = self.location
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": location.addressing_style, "payload_signing_enabled": False},
            # Services that are not AWS know neither the checksums that the library would add, nor how it adds them.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": patience.attempts, "mode": "standard"},
            connect_timeout=patience.connect_timeout_s,
            read_timeout=patience.read_timeout_s,
            max_pool_connections=self._connections,
            tcp_keepalive=True,
        )
        session = self._session = self._session or s3_model.new_session()
        given = {}
        if self._credentials is not None:
            given = {
                "aws_access_key_id": self._credentials.access_key_id,
                "aws_secret_access_key": self._credentials.secret,
            }
        client = session.create_client(
            "s3",
            region_name=location.region or session.get_config_variable("region") or REGION_DEFAULT,
            endpoint_url=endpoint,
            verify=None if location.ca_file is None else str(location.ca_file),
            config=config,
            **given,
        )
        client.meta.events.register("before-call.s3", _stay)
        return client


@contextmanager
def translated(*, of_parts: bool = False) -> Iterator[None]:
    """Turns what the library raises into Unavailable or StorageFull, and in a call `of_parts` into PartsLost; the cause
    stays for the log."""
    import botocore.exceptions
    import urllib3.exceptions

    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable("the blob store failed: the connection to the S3 service broke") from error
    except botocore.exceptions.ClientError as error:
        if of_parts and _code(error) in _PARTS_LOST:
            raise PartsLost(_code(error)) from error
        raise refusal(error) from error
    except botocore.exceptions.BotoCoreError as error:
        raise disconnection(error) from error


def refusal(error: "ClientError") -> OurFault:
    """What an answer of the service means."""
    code = _code(error)
    if code in _FULL:
        return StorageFull("the S3 service is full")
    known = _ALSO.get(code, code)
    if known == "AccessDenied" and error.operation_name in _PERMISSIONS:
        return access_refused([_PERMISSIONS[error.operation_name]])
    reason = _REASONS.get(known, f"the S3 service answered {code[:40]!r}")
    wait = {"retry_after_s": 10} if known == "SlowDown" else {}
    return Unavailable(f"the blob store failed: {reason}", **wait)


def access_refused(permissions: list[str]) -> Unavailable:
    """The credentials count, and may not do this. Fact: `permissions`, what they lack."""
    return Unavailable(
        f"the blob store failed: access was refused for lack of {', '.join(permissions)}"
        " (see s3_access_key_id, and what the policy of the bucket in storage allows)",
        permissions=permissions,
    )


def disconnection(error: "BotoCoreError") -> OurFault:
    """What it means when there is no answer."""
    reasons = (_CONNECTION_REASONS.get(kind.__name__) for kind in type(error).__mro__)
    reason = next(filter(None, reasons), "the connection to the S3 service broke")
    return Unavailable(f"the blob store failed: {reason}")


def _stay(context: dict[str, Any], **_: Any) -> None:
    """Called by the library before each call: it shall not go on by itself where the service sends it to another region
    or address. URLs for clients would be signed for the wrong one all the same, and nobody would know why they fail."""
    context.get("s3_redirect", {})["redirected"] = True


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _member(answer: Mapping[str, Any], name: str) -> str:
    """What every such answer of a service has: one without may come from something in between, whatever its status."""
    value: str = answer.get(name, "")
    if not value:
        raise Unavailable("the blob store failed: what answers is no S3 service, or its answer is not whole")
    return value


def _milliseconds(moment: Any) -> int:
    return 0 if moment is None else int(moment.timestamp() * 1000)
