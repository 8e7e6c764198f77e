"""Questions to an identity provider: one request, one JSON object, within limits on time and size.

No redirect is followed, no proxy is asked, and only https is spoken, but for a provider on this machine. Certificates
are checked against those that the system trusts (`SSL_CERT_FILE` names others).
"""

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from registry.auth.issuers import url_problem
from registry.core.errors import ProviderFailed, TooManyRequests

if TYPE_CHECKING:
    import urllib3

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
"""Between two bytes."""
TOTAL_TIMEOUT_S = 15.0
ANSWER_MAX_BYTES = 1024 * 1024
_THREADS = 4
_WAITING_MAX = 64
_PIECE_BYTES = 64 * 1024
_OBJECT = re.compile(r"^(<[^>]*>|HTTPS?Connection(Pool)?\([^)]*\)): ")
"""What messages of the library begin with."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A status, and the JSON object that came with it."""

    status: int
    content: dict[str, Any]


class ProviderHttp:
    """Asks, in threads of its own. Nothing is loaded or started before the first question."""

    def __init__(self, *, may_be_plain: bool = False) -> None:
        self._may_be_plain = may_be_plain
        self._pool: urllib3.PoolManager | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="oidc")
        self._waiting = 0

    async def get(self, url: str, *, bearer: str | None = None) -> ProviderAnswer:
        """The answer to a GET. Raises ProviderFailed where there is none that is JSON, TooManyRequests."""
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        return await self._ask("GET", url, headers, None)

    async def post(self, url: str, fields: Mapping[str, str], *, authorization: str | None = None) -> ProviderAnswer:
        """The answer to a form. Raises as `get`."""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if authorization is not None:
            headers["authorization"] = authorization
        return await self._ask("POST", url, headers, urlencode(fields).encode("ascii"))

    def close(self) -> None:
        """End the threads once what they ask is answered. Idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._pool is not None:
            self._pool.clear()

    async def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> ProviderAnswer:
        problem = url_problem(url, may_be_plain=self._may_be_plain)
        if problem is not None:
            raise ProviderFailed(f"the identity provider names an address that {problem}")
        if self._waiting >= _WAITING_MAX:
            raise TooManyRequests("too many sign-ins at once", retry_after_s=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._ask_now, method, url, headers, body)
        except TimeoutError:
            raise ProviderFailed(f"{_place(url)} did not answer within {TOTAL_TIMEOUT_S:.0f} s") from None
        finally:
            self._waiting -= 1

    def _ask_now(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> ProviderAnswer:
        """Blocks. Raises ProviderFailed."""
        import urllib3

        # Compressed, a small answer could become a large one.
        wanted = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "depotry", **headers}
        try:
            response = self._connections().request(
                method, url, body=body, headers=wanted, redirect=False, retries=False, preload_content=False
            )
            try:
                content = _read(response, url)
            finally:
                # A connection whose answer was not read to its end is of no further use.
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise ProviderFailed(f"{_place(url)} cannot be reached: {_reason(error)}") from None
        if 300 <= response.status < 400:
            raise ProviderFailed(f"{_place(url)} answers with a redirect, which is not followed: set its own address")
        return ProviderAnswer(response.status, _parsed(content, response.status, url))

    def _connections(self) -> "urllib3.PoolManager":
        import urllib3

        if self._pool is None:
            self._pool = urllib3.PoolManager(
                num_pools=4,
                maxsize=_THREADS,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
                ssl_context=ssl.create_default_context(),
            )
        return self._pool


def _read(response: "urllib3.BaseHTTPResponse", url: str) -> bytes:
    """The body. Raises ProviderFailed without reading on over the limits, and HTTPError."""
    until = monotonic() + TOTAL_TIMEOUT_S
    pieces: list[bytes] = []
    left = ANSWER_MAX_BYTES
    while piece := response.read1(_PIECE_BYTES, decode_content=False):
        left -= len(piece)
        if left < 0:
            raise ProviderFailed(f"{_place(url)} answers with more than {ANSWER_MAX_BYTES} bytes")
        if monotonic() > until:
            raise ProviderFailed(f"{_place(url)} did not answer within {TOTAL_TIMEOUT_S:.0f} s")
        pieces.append(piece)
    return b"".join(pieces)


def _parsed(content: bytes, status: int, url: str) -> dict[str, Any]:
    """A JSON object without a name that comes twice. Raises ProviderFailed."""
    try:
        found = json.loads(content, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProviderFailed(f"{_place(url)} answers {status} with what is no JSON object")
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _place(url: str) -> str:
    """The URL as a message shows it: a query might hold a secret."""
    return url.partition("?")[0]


def _reason(error: Exception) -> str:
    """The innermost reason: what is around it names objects of the library."""
    while isinstance(inner := getattr(error, "reason", None), Exception):
        error = inner
    return _OBJECT.sub("", str(error)) or type(error).__name__
