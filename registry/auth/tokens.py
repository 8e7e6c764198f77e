"""Access tokens: JWTs that carry what was granted, by repository id. JWTs of others are for `id_tokens`.

One algorithm, ES256, whatever a token's header says; the key is found by `kid` among ours, and no other header field is
looked at. Source: RFC 7519, RFC 8725; the access claim: token specification of CNCF Distribution.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.auth.scopes import CATALOG_SCOPE, WORD, repository_scope, words
from registry.core.access import (
    Action,
    Principal,
    namespace_subject,
    repository_subject,
)
from registry.core.errors import NameInvalid
from registry.core.limits import TICKET_MAX_CHARS
from registry.core.names import RepositoryName

ALGORITHM = "ES256"
LEEWAY_S = 5
"""Clocks of nodes may differ by this."""
LIFE_MAX_S = 12 * 3600
_ACTION = {word: action for action, word in WORD.items()}
_NUMBER_MAX = 2**63 - 1
_CATALOG_ENTRY = {"type": "registry", "name": "catalog", "actions": ["*"]}


class TokenInvalid(Exception):
    """Not a token of ours, or one that no longer counts. Says nothing of why: that is nobody's business."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows on one repository: one that exists, by `repository_id`; or a name in a namespace (None: the
    instance's) under which its owner may create one."""

    actions: frozenset[Action]
    repository_id: int | None = None
    namespace_id: int | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A verified access token. Times in seconds since 1970 UTC."""

    principal: Principal
    grants: dict[str, Grant]
    lists_catalog: bool
    issued_at_s: int
    expires_at_s: int
    id: str = ""

    @property
    def scope(self) -> str:
        """What was granted, as the protocol writes it."""
        granted = [repository_scope(name, grant.actions) for name, grant in self.grants.items() if grant.actions]
        return " ".join([*granted, CATALOG_SCOPE] if self.lists_catalog else granted)

    @property
    def subjects(self) -> tuple[str, ...]:
        """What must not have changed since it was issued."""
        found = list(self.principal.subjects)
        for grant in self.grants.values():
            if grant.repository_id is not None:
                found.append(repository_subject(grant.repository_id))
            if grant.namespace_id is not None:
                found.append(namespace_subject(grant.namespace_id))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and the name that tokens find it by."""

    kid: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls) -> "SigningKey":
        """A new one."""
        return cls(secrets.token_hex(8), ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, kid: str, pem: bytes) -> "SigningKey":
        """One that `pem()` wrote."""
        private = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return cls(kid, private)

    def pem(self) -> bytes:
        """The private key, to be sealed."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def jwk(self) -> dict[str, str]:
        """The public key for others who verify our tokens (RFC 7517)."""
        found: dict[str, str] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return {**found, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


class KeySet:
    """The keys that count now. `signing` is the one that new tokens are signed with."""

    def __init__(self, keys: Iterable[SigningKey], signing: SigningKey) -> None:
        self._keys = {key.kid: key for key in keys}
        self._public = {key.kid: key.private.public_key() for key in self._keys.values()}
        self.signing = signing

    def public(self, kid: object) -> ec.EllipticCurvePublicKey:
        """Raises TokenInvalid."""
        found = self._public.get(kid) if isinstance(kid, str) else None
        if found is None:
            raise TokenInvalid
        return found

    def jwks(self) -> dict[str, object]:
        """Every key's public half."""
        return {"keys": [key.jwk() for key in self._keys.values()]}


@dataclass(frozen=True, slots=True)
class Parties:
    """Who issues tokens, and the services that they are for."""

    issuer: str
    services: tuple[str, ...]


def issue(ticket: Ticket, *, key: SigningKey, issuer: str, service: str) -> str:
    """The token of a ticket."""
    principal = ticket.principal
    access = [_entry(name, grant) for name, grant in ticket.grants.items()]
    if ticket.lists_catalog:
        access.append(dict(_CATALOG_ENTRY))
    claims = {
        "iss": issuer,
        "aud": service,
        "sub": principal.name,
        "jti": ticket.id,
        "iat": ticket.issued_at_s,
        "nbf": ticket.issued_at_s - LEEWAY_S,
        "exp": ticket.expires_at_s,
        "uid": principal.account_id,
        "via": principal.credential,
        "cid": principal.credential_id,
        "rev": principal.revision,
        "access": access,
    }
    return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})


def _entry(name: str, grant: Grant) -> dict[str, object]:
    entry: dict[str, object] = {"type": "repository", "name": name, "actions": words(grant.actions)}
    # Of what was refused nothing is said that a missing repository would not say.
    if grant.actions:
        entry |= {"id": grant.repository_id, "ns": grant.namespace_id}
    return entry


def verify(token: str, keys: KeySet, parties: Parties, *, now_s: float) -> Ticket:
    """The ticket of a token that counts at `now_s`, by the clock that all nodes share. Raises TokenInvalid for any
    other text, whatever is wrong with it."""
    if len(token) > TICKET_MAX_CHARS or token.count(".") != 2:
        raise TokenInvalid
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(
            token,
            keys.public(header.get("kid")),
            algorithms=[ALGORITHM],
            audience=parties.services,
            issuer=parties.issuer,
            options={
                "require": ["iss", "aud", "sub", "jti", "iat", "nbf", "exp"],
                "strict_aud": False,
                # By the clock that is handed in.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        _require_now(claims, now_s)
        return _ticket(claims)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError, NameInvalid):
        raise TokenInvalid from None


def _require_now(claims: dict[str, Any], now_s: float) -> None:
    """Raises TokenInvalid before its time and after it."""
    begins_s = max(_number(claims["nbf"]), _number(claims["iat"]))
    if begins_s > now_s + LEEWAY_S or _number(claims["exp"]) <= now_s - LEEWAY_S:
        raise TokenInvalid


def _ticket(claims: dict[str, Any]) -> Ticket:
    """Only what `issue` writes is taken, though the signature is ours. Raises TokenInvalid and what wrong types do."""
    issued_at_s, expires_at_s = _number(claims["iat"]), _number(claims["exp"])
    if not isinstance(claims["aud"], str) or not issued_at_s < expires_at_s <= issued_at_s + LIFE_MAX_S:
        raise TokenInvalid
    account_id, credential_id = _number_or_none(claims["uid"]), _number_or_none(claims["cid"])
    principal = Principal(
        account_id, _text(claims["sub"]), _text(claims["via"]), credential_id, revision=_number(claims["rev"])
    )
    grants: dict[str, Grant] = {}
    lists_catalog = False
    for entry in _list(claims["access"]):
        if entry == _CATALOG_ENTRY and not lists_catalog:
            lists_catalog = True
            continue
        name = RepositoryName.parse(entry["name"])
        if entry["type"] != "repository" or name in grants:
            raise TokenInvalid
        actions = frozenset(_ACTION[word] for word in _list(entry["actions"]))
        if actions:
            grants[name] = Grant(actions, _number_or_none(entry["id"]), _number_or_none(entry["ns"]))
        else:
            grants[name] = Grant(actions)
    return Ticket(principal, grants, lists_catalog, issued_at_s, expires_at_s, _text(claims["jti"]))


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _NUMBER_MAX:
        raise TokenInvalid
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TokenInvalid
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TokenInvalid
    return value
