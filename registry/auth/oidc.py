"""Signing in at an identity provider: OpenID Connect, authorization code with PKCE.

The provider's own description of itself says where to go (discovery); it is read when it is needed first, so that a
registry starts without its provider. Source: OpenID Connect Core, Discovery and RP-Initiated Logout, RFC 7636 (PKCE),
RFC 9700.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from registry.auth import id_tokens
from registry.auth.id_tokens import LEEWAY_S, Expected, IdTokenInvalid, KeyMissing, ProviderKey
from registry.auth.issuers import is_loopback, url_problem
from registry.auth.oidc_http import ProviderAnswer, ProviderHttp
from registry.core.errors import ProviderFailed, SignInRefused

DESCRIPTION_KEPT_S = 3600.0
FAILURE_KEPT_S = 5.0
KEYS_KEPT_S = 3600.0
"""Then they are read again: a key that the provider has taken away stops counting."""
KEYS_AGAIN_AFTER_S = 60.0
"""Tokens with keys that are not known do not make the provider be asked more often."""
GROUPS_MAX = 5_000
TEXT_MAX_CHARS = 255


@dataclass(frozen=True, slots=True)
class Client:
    """What the provider knows the registry by, and which claims are asked for. `secret` None: a public client."""

    issuer: str
    id: str
    secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in that has begun. `began_s` in seconds since 1970 UTC; `proves`: somebody who is signed in shows again
    who it is."""

    redirect_uri: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    began_s: float
    proves: bool = False

    @classmethod
    def of(cls, browser: str, number: str, redirect_uri: str, *, began_s: float, proves: bool = False) -> "Attempt":
        """The sign-in with this number, of the browser that holds this secret: nobody else can finish it, whatever of
        it is seen on the way."""
        nonce, verifier = (
            _base64(hmac.digest(browser.encode(), f"{purpose}:{number}".encode(), hashlib.sha256))
            for purpose in ("nonce", "verifier")
        )
        return cls(redirect_uri, nonce, verifier, began_s, proves)

    @property
    def challenge(self) -> str:
        """What is told of `verifier` before it is needed."""
        return _base64(hashlib.sha256(self.verifier.encode("ascii")).digest())


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in. `issuer` and `subject` together are who somebody is; name and e-mail address can be chosen, and
    given to somebody else later."""

    issuer: str
    subject: str
    name: str | None
    email: str | None
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Description:
    """What is needed of the provider's description."""

    authorization: str
    token: str
    jwks: str
    userinfo: str | None
    end_session: str | None
    secret_in_body: bool


class Provider:
    """One identity provider. Only for the event loop's thread."""

    def __init__(self, client: Client, clock_s: Callable[[], float], http: ProviderHttp | None = None) -> None:
        """`clock_s`: seconds since 1970 UTC, by the clock that all nodes share."""
        self._client = client
        self._clock_s = clock_s
        parts = urlsplit(client.issuer)
        is_here = parts.scheme == "http" and is_loopback(parts.hostname or "")
        self._http = http or ProviderHttp(may_be_plain=is_here)
        self._may_be_plain = is_here
        self._description: _Description | None = None
        self._description_holds_until = 0.0
        self._describing = asyncio.Lock()
        self._keys: list[ProviderKey] = []
        self._keys_hold_until = 0.0
        self._keys_asked_at = -KEYS_AGAIN_AFTER_S
        self._reading_keys = asyncio.Lock()
        self._log = logging.getLogger("depotry.oidc")

    @property
    def issuer(self) -> str:
        """Its name."""
        return self._client.issuer

    async def address(self, attempt: Attempt, state: str) -> str:
        """Where to send a browser. Raises ProviderFailed, TooManyRequests."""
        description = await self._described()
        fields = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": attempt.redirect_uri,
            "scope": " ".join(self._client.scopes),
            "state": state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        if attempt.proves:
            fields |= {"prompt": "login", "max_age": "0"}
        return _with_query(description.authorization, fields)

    async def sign_out_address(self) -> str | None:
        """Where somebody signs out of the provider itself; None where it does not say. Raises ProviderFailed,
        TooManyRequests.

        Nothing says where to come back to: without an ID token, which nobody keeps, the provider must not follow that
        unless it knows better, and many answer with an error for an address that they were not told before.
        """
        description = await self._described()
        if description.end_session is None:
            return None
        return _with_query(description.end_session, {"client_id": self._client.id})

    async def person(self, code: str, attempt: Attempt) -> Person:
        """Who the provider's code stands for. Raises SignInRefused for a code that it does not know (any more),
        ProviderFailed, TooManyRequests."""
        description = await self._described()
        answer = await self._exchange(description, code, attempt)
        token, access_token = answer.content.get("id_token"), answer.content.get("access_token")
        if not isinstance(token, str):
            raise self._reported(
                "its token endpoint gives no ID token: is the scope openid among those that are asked?"
            )
        claims = await self._verified(token, Expected(self._client.issuer, self._client.id, attempt.nonce))
        if attempt.proves:
            self._require_recent(claims, attempt)
        wanted = (self._client.name_claim, self._client.groups_claim)
        if description.userinfo and isinstance(access_token, str) and any(name not in claims for name in wanted):
            claims = await self._userinfo(description.userinfo, access_token, claims["sub"]) | claims
        return Person(
            self._client.issuer,
            claims["sub"],
            _text(claims.get(self._client.name_claim)),
            _text(claims.get("email")),
            self._groups(claims),
        )

    def close(self) -> None:
        """End what runs. Idempotent."""
        self._http.close()

    # What the provider says of itself

    async def _described(self) -> _Description:
        """Raises ProviderFailed; who comes in the seconds after a failure gets the same without another question."""
        async with self._describing:
            if monotonic() >= self._description_holds_until:
                self._description_holds_until = monotonic() + FAILURE_KEPT_S
                url = f"{self._client.issuer.rstrip('/')}/.well-known/openid-configuration"
                try:
                    self._description = self._read_description(await self._http.get(url))
                    self._description_holds_until = monotonic() + DESCRIPTION_KEPT_S
                except ProviderFailed as error:
                    self._log.error("the identity provider does not describe itself: %s", error.message)
            if self._description is None:
                raise _failed()
            return self._description

    def _read_description(self, answer: ProviderAnswer) -> _Description:
        """Raises ProviderFailed."""
        content = answer.content
        if answer.status != 200:
            raise ProviderFailed(f"its description is answered with {answer.status}: is oidc_issuer right?")
        if content.get("issuer") != self._client.issuer:
            # Somebody else's, or the same by another name: then its tokens have that name too.
            shown = str(content.get("issuer"))[:200]
            raise ProviderFailed(f"it calls itself {shown!r}: set oidc_issuer to exactly this, if it is the right one")
        ways = content.get("token_endpoint_auth_methods_supported")
        knows_basic = not isinstance(ways, list) or "client_secret_basic" in ways
        return _Description(
            self._endpoint(content, "authorization_endpoint"),
            self._endpoint(content, "token_endpoint"),
            self._endpoint(content, "jwks_uri"),
            self._endpoint(content, "userinfo_endpoint") if "userinfo_endpoint" in content else None,
            self._way_out(content),
            secret_in_body=not knows_basic,
        )

    def _way_out(self, content: dict[str, Any]) -> str | None:
        """Nobody is kept from signing in because signing out is described badly."""
        try:
            return self._endpoint(content, "end_session_endpoint")
        except ProviderFailed:
            return None

    def _endpoint(self, content: dict[str, Any], name: str) -> str:
        url = content.get(name)
        problem = "is missing"
        if isinstance(url, str):
            problem = url_problem(url, may_be_plain=self._may_be_plain) or ""
        if problem:
            raise ProviderFailed(f"its description is of no use: {name} {problem}")
        return str(url)

    # From a code to claims

    async def _exchange(self, description: _Description, code: str, attempt: Attempt) -> ProviderAnswer:
        client = self._client
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        authorization = None
        if client.secret is None:
            fields["client_id"] = client.id
        elif description.secret_in_body:
            fields |= {"client_id": client.id, "client_secret": client.secret}
        else:
            pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
            authorization = "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")
        answer = await self._asked(self._http.post(description.token, fields, authorization=authorization))
        if answer.status == 200:
            return answer
        error_code = str(answer.content.get("error"))[:100]
        if answer.status == 400 and error_code == "invalid_grant":
            raise SignInRefused("the identity provider does not know this sign-in any more: begin again")
        advice = ""
        if error_code in ("invalid_client", "unauthorized_client"):
            advice = ": check oidc_client_id and the secret in oidc_client_secret_file"
        raise self._reported(f"its token endpoint answers {answer.status} {error_code!r}{advice}")

    async def _userinfo(self, url: str, access_token: str, subject: str) -> dict[str, Any]:
        """Claims that the ID token lacks. Raises ProviderFailed, also where they are somebody else's."""
        answer = await self._asked(self._http.get(url, bearer=access_token))
        if answer.status != 200 or answer.content.get("sub") != subject:
            raise self._reported(f"its userinfo endpoint answers {answer.status}, or about somebody else")
        return answer.content

    async def _asked(self, question: Awaitable[ProviderAnswer]) -> ProviderAnswer:
        try:
            return await question
        except ProviderFailed as error:
            raise self._reported(error.message) from None

    async def _verified(self, token: str, expected: Expected) -> dict[str, Any]:
        """The claims of a token. Raises ProviderFailed."""
        keys = await self._known_keys()
        try:
            try:
                return id_tokens.verify(token, keys, expected, now_s=self._clock_s())
            except KeyMissing:
                keys = await self._known_keys(lacking=keys)
                return id_tokens.verify(token, keys, expected, now_s=self._clock_s())
        except IdTokenInvalid as error:
            raise self._reported(f"its ID token cannot be believed: {error}") from None

    async def _known_keys(self, *, lacking: list[ProviderKey] | None = None) -> list[ProviderKey]:
        """The provider's keys; newer ones than `lacking`, if it may be asked for them already. Those that are known
        count on while it does not answer. Raises ProviderFailed where none are known."""
        async with self._reading_keys:
            now = monotonic()
            wanted = now >= self._keys_hold_until or self._keys is lacking
            if not wanted or (self._keys and now - self._keys_asked_at < KEYS_AGAIN_AFTER_S):
                return self._keys
            self._keys_asked_at = now
            description = await self._described()
            try:
                self._keys = id_tokens.read_keys(await self._http.get(description.jwks))
                self._keys_hold_until = now + KEYS_KEPT_S
            except (ProviderFailed, IdTokenInvalid) as error:
                self._log.error("the keys of the identity provider cannot be read: %s", error)
            if not self._keys:
                raise _failed()
            return self._keys

    def _require_recent(self, claims: dict[str, Any], attempt: Attempt) -> None:
        """Raises SignInRefused where the provider says that it has not asked again. Not every one says when it did."""
        try:
            is_old = "auth_time" in claims and id_tokens.time_of(claims, "auth_time") < attempt.began_s - LEEWAY_S
        except IdTokenInvalid:
            is_old = True
        if is_old:
            raise SignInRefused("the identity provider did not ask who you are: sign out there, and try again")

    def _groups(self, claims: dict[str, Any]) -> frozenset[str]:
        """The groups: a list of texts, or one text with spaces between them. No such claim is no group: most providers
        leave it out then. Raises ProviderFailed where it cannot be told: nobody keeps or loses a right by that."""
        name = self._client.groups_claim
        elsewhere = claims.get("_claim_names")
        if isinstance(elsewhere, dict) and name in elsewhere:
            raise self._reported(f"the claim {name} is too long for it to send: let it send fewer groups")
        found = claims.get(name, [])
        groups = found.split() if isinstance(found, str) else found
        is_right = isinstance(groups, list) and all(isinstance(group, str) for group in groups)
        if not is_right or len(groups) > GROUPS_MAX:
            raise self._reported(f"the claim {name} is no list of up to {GROUPS_MAX} texts")
        return frozenset(groups)

    def _reported(self, reason: str) -> ProviderFailed:
        """What is wrong is for the log: who signs in cannot help it."""
        self._log.error("a single sign-on failed, because of the identity provider: %s", reason)
        return _failed()


def _with_query(url: str, fields: dict[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields, quote_via=quote)}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _failed() -> ProviderFailed:
    return ProviderFailed("the identity provider does not answer as it should; the log of the registry says why")


def _text(value: object) -> str | None:
    """A claim for people, None where it is missing or nothing that can be shown."""
    return value[:TEXT_MAX_CHARS] if isinstance(value, str) and value and value.isprintable() else None
