"""ID tokens of an identity provider: signature, parties and times.

Only signatures by a key pair count, of keys that the provider publishes: what a token itself says about keys is not
looked at, but for the name of one. Source: OpenID Connect Core §3.1.3.7, RFC 7517, RFC 8725.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from registry.auth.oidc_http import ProviderAnswer

LEEWAY_S = 60
"""The provider's clock may differ from ours by this."""
TOKEN_MAX_CHARS = 128 * 1024
"""A person in a thousand groups has a long one."""
KEYS_MAX = 100
_RSA_MIN_BITS = 2048
_KIND = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that count, and the type and curve of their keys."""


class IdTokenInvalid(Exception):
    """A token that must not be believed. The text says why, for the log."""


class KeyMissing(IdTokenInvalid):
    """Signed by a key that is not among those that are known, or not any more: they may have changed."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A public key, and what the provider says of it."""

    kid: str | None
    kind: tuple[str, str | None]
    algorithm: str | None
    """The only one that it is for, None where the provider does not say."""
    public: Any

    def fits(self, kid: str | None, algorithm: str) -> bool:
        """Whether a token with this header may be signed by it."""
        return (
            (kid is None or self.kid == kid) and self.kind == _KIND[algorithm] and self.algorithm in (None, algorithm)
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say: who issued it, to whom, and for which sign-in."""

    issuer: str
    client_id: str
    nonce: str


def read_keys(answer: ProviderAnswer) -> list[ProviderKey]:
    """The keys of a JWK set that can be used; others in it are for somebody else. Raises IdTokenInvalid where it is
    none."""
    listed = answer.content.get("keys")
    if answer.status != 200 or not isinstance(listed, list):
        raise IdTokenInvalid(f"an answer {answer.status} that is no set of keys")
    return [key for entry in listed[:KEYS_MAX] if (key := _key(entry)) is not None]


def _key(entry: object) -> ProviderKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kind = (entry.get("kty"), entry.get("crv") if entry.get("kty") != "RSA" else None)
    kid, algorithm = entry.get("kid"), entry.get("alg")
    usable = [name for name, of in _KIND.items() if of == kind and algorithm in (None, name)]
    if not usable or not isinstance(kid, str | None):
        return None
    # A private half that somebody published by mistake is not loaded.
    public_half = {name: value for name, value in entry.items() if name in {"kty", "crv", "n", "e", "x", "y"}}
    try:
        public = jwt.PyJWK(public_half, algorithm=usable[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _RSA_MIN_BITS:
        return None
    return ProviderKey(kid, _KIND[usable[0]], algorithm, public)


def verify(token: str, keys: Sequence[ProviderKey], expected: Expected, *, now_s: float) -> dict[str, Any]:
    """The claims of a token that counts at `now_s`. Raises KeyMissing, IdTokenInvalid."""
    if len(token) > TOKEN_MAX_CHARS or token.count(".") != 2:
        raise IdTokenInvalid("no token, or one that is too long")
    try:
        header = jwt.get_unverified_header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in _KIND:
            raise IdTokenInvalid(f"signed by {str(algorithm)[:20]!r}, which is not a way to sign that counts")
        if str(header.get("typ", "JWT")).upper() != "JWT":
            raise IdTokenInvalid("a token of another type")
        claims = _signed_claims(token, algorithm, [key for key in keys if key.fits(kid, algorithm)])
        _require_parties(claims, expected)
        _require_now(claims, now_s)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise IdTokenInvalid(f"not a token: {type(error).__name__}") from None
    return claims


def _signed_claims(token: str, algorithm: str, candidates: Iterable[ProviderKey]) -> dict[str, Any]:
    for key in candidates:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
                    # What they say is looked at below, by the clock that is handed in.
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            continue
        return claims
    raise KeyMissing("signed by a key that the provider does not publish")


def _require_parties(claims: dict[str, Any], expected: Expected) -> None:
    """Raises IdTokenInvalid for a token of another issuer, for another client, or of another sign-in."""
    if claims["iss"] != expected.issuer:
        raise IdTokenInvalid(f"issued by {str(claims['iss'])[:200]!r}, not by {expected.issuer!r}")
    audience = claims["aud"]
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise IdTokenInvalid(f"for the client {str(audience)[:200]!r}, not for {expected.client_id!r}")
    # Of several clients only the one that asked for it is to be let in by it.
    if claims.get("azp", expected.client_id if len(audiences) == 1 else None) != expected.client_id:
        raise IdTokenInvalid("given to another client (azp)")
    nonce = claims["nonce"]
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise IdTokenInvalid("of another sign-in (nonce)")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise IdTokenInvalid("without a subject")


def _require_now(claims: dict[str, Any], now_s: float) -> None:
    """Raises IdTokenInvalid before its time and after it."""
    if time_of(claims, "exp") <= now_s - LEEWAY_S:
        raise IdTokenInvalid("expired: are the clocks of the provider and of this machine right?")
    begins_s = max(time_of(claims, "iat"), time_of(claims, "nbf") if "nbf" in claims else 0)
    if begins_s > now_s + LEEWAY_S:
        raise IdTokenInvalid("not valid yet: are the clocks of the provider and of this machine right?")


def time_of(claims: dict[str, Any], name: str) -> float:
    """A claim in seconds since 1970 UTC. Raises IdTokenInvalid."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise IdTokenInvalid(f"{name} is no time")
    return value
