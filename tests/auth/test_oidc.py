"""Signing in at an identity provider: a right one, a real one, and what must not be believed."""

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from registry.auth import oidc
from registry.auth.issuers import issuer_problem, url_problem
from registry.auth.oidc import Attempt, Client, Person, Provider
from registry.auth.oidc_http import ANSWER_MAX_BYTES, ProviderHttp
from registry.core.errors import ProviderFailed, RegistryError, SignInRefused
from tests.backends.oidc import CLIENT_ID, CLIENT_SECRET, Canned, Claims, IdentityProvider, Key, real_provider

pytestmark = pytest.mark.anyio
BACK = "https://hub.example.com/sign-in/callback"
ALICE: Claims = {"preferred_username": "alice", "email": "alice@example.com", "groups": ["developers", "ops"]}


def new_attempt(ahead_s: float = 0.0, *, proves: bool = False) -> Attempt:
    """One of a browser of its own."""
    return Attempt.of(secrets.token_urlsafe(32), "1", BACK, began_s=time() + ahead_s, proves=proves)


@dataclass
class Signing:
    """The registry's side of sign-ins at `there`."""

    there: IdentityProvider
    ahead_s: float = 0.0
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        """Know the provider."""
        self.client = Client(self.there.issuer, CLIENT_ID, CLIENT_SECRET)
        self.provider = self.anew()

    def anew(self, **changes: Any) -> Provider:
        """As after a restart, with other settings."""
        self.provider = Provider(replace(self.client, **changes), lambda: time() + self.ahead_s)
        return self.provider

    async def begin(self, subject: str = "1", *, proves: bool = False) -> tuple[str, Attempt]:
        """Somebody signs in there; returns the code that comes back."""
        attempt = new_attempt(self.ahead_s, proves=proves)
        address = await self.provider.address(attempt, "the state")
        place, query = await asyncio.to_thread(self.there.sign_in, address, subject)
        assert place == BACK and query["state"] == "the state"
        return query["code"], attempt

    async def person(self, subject: str = "1", *, proves: bool = False) -> Person:
        """Who that is."""
        return await self.provider.person(*await self.begin(subject, proves=proves))

    async def outcome(self) -> str:
        """The name of who signed in, or the class of the error."""
        try:
            return str((await self.person()).name)
        except RegistryError as error:
            return type(error).__name__


@pytest.fixture
def there() -> Iterator[IdentityProvider]:
    """A provider that knows alice."""
    found = IdentityProvider(people={"1": ALICE})
    yield found
    found.close()


@pytest.fixture
async def signing(there: IdentityProvider) -> AsyncIterator[Signing]:
    """Against it."""
    found = Signing(there)
    yield found
    found.provider.close()


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says, which is where operators look."""
    return "\n".join(record.getMessage() for record in caplog.records)


async def test_who_signs_in_is_known_by_issuer_and_subject(signing: Signing) -> None:
    """The whole way, with PKCE, the secret by Basic, and the claims of the ID token."""
    expected = Person(signing.there.issuer, "1", "alice", "alice@example.com", frozenset({"developers", "ops"}))
    assert await signing.person() == expected
    assert signing.there.asked["/userinfo"] == 0


async def test_claims_may_come_from_the_userinfo_endpoint(signing: Signing) -> None:
    """Where the ID token lacks what is wanted; never those of somebody else."""
    signing.there.claims_in_token = False
    assert (await signing.person()).groups == {"developers", "ops"}
    signing.there.canned["/userinfo"] = Canned(200, json.dumps({**ALICE, "sub": "2"}).encode())
    assert await signing.outcome() == "ProviderFailed"


async def test_the_secret_may_have_to_be_in_the_form(signing: Signing) -> None:
    """A provider that does not take Basic says so in its description."""
    signing.there.takes_basic = False
    assert await signing.outcome() == "alice"


async def test_the_address_to_sign_in(signing: Signing) -> None:
    """Everything that protects the sign-in is asked for, the verifier is not shown, and no two are alike."""
    begun = [new_attempt() for _ in range(2)]
    addresses = [await signing.provider.address(attempt, "s&code=x") for attempt in begun]
    fields = [parse_qs(urlsplit(address).query, strict_parsing=True) for address in addresses]
    assert fields[0]["theme"] == ["plain"] and fields[0]["state"] == ["s&code=x"] and "code" not in fields[0]
    assert fields[0]["response_type"] == ["code"] and fields[0]["code_challenge_method"] == ["S256"]
    assert fields[0]["nonce"] != fields[1]["nonce"] and fields[0]["code_challenge"] != fields[1]["code_challenge"]
    assert begun[0].verifier not in addresses[0] and CLIENT_SECRET not in addresses[0]


async def test_a_code_counts_once_and_with_its_verifier_only(signing: Signing) -> None:
    """SEC-065, RFC 7636: a code that somebody else has seen is of no use, and neither is a second time."""
    code, attempt = await signing.begin()
    with pytest.raises(SignInRefused):
        await signing.provider.person(code, new_attempt())
    code, attempt = await signing.begin()
    assert (await signing.provider.person(code, attempt)).subject == "1"
    with pytest.raises(SignInRefused, match="begin again"):
        await signing.provider.person(code, attempt)


def public_forms(key: Key) -> list[bytes]:
    """The public key, as somebody could give it to a library as a shared secret."""
    public = key.private.public_key()
    pem = serialization.Encoding.PEM
    forms = [
        public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        json.dumps(key.jwk()).encode(),
    ]
    return [*forms, forms[0].strip()]


def by_hand(header: Claims, claims: Claims, signature: bytes = b"") -> str:
    """A token that no library would make."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hs256(header: Claims, claims: Claims, secret: bytes) -> str:
    """Signed with a shared secret, which may be any bytes."""
    import hashlib
    import hmac

    signed = by_hand(header, claims).rpartition(".")[0]
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ["ES256"], "HS256", "ES256K", "RS1"])
async def test_no_other_way_to_sign_counts(signing: Signing, algorithm: object) -> None:
    """SEC-095: no signature, or by another algorithm, with the provider's kid."""
    header = {"alg": algorithm, "kid": signing.there.keys[-1].kid, "typ": "JWT"}
    for signature in (b"", b"x" * 64):
        signing.there.sign = lambda claims, signature=signature: by_hand(header, claims, signature)
        assert await signing.outcome() == "ProviderFailed"


@pytest.mark.parametrize("kind", ["ES256", "RS256"])
async def test_the_public_key_is_no_shared_secret(signing: Signing, kind: str) -> None:
    """SEC-090: HS256 with the public key in each of its forms."""
    key = Key.make(algorithm=kind)
    signing.there.keys = [key]
    assert await signing.outcome() == "alice"
    for secret in [*public_forms(key), b"", CLIENT_SECRET.encode()]:
        for algorithm in ("HS256", kind):
            header = {"alg": algorithm, "kid": key.kid}
            signing.there.sign = lambda claims, header=header, secret=secret: hs256(header, claims, secret)
            assert await signing.outcome() == "ProviderFailed"


async def test_keys_in_the_token_are_not_looked_at(signing: Signing) -> None:
    """SEC-004: an attacker's key in jwk, jku, x5u or x5c, under the right kid; nothing is fetched for it."""
    mine = Key.make(signing.there.keys[-1].kid)
    trap = f"http://127.0.0.1:{signing.there.port}/trap"
    for name, value in {"jwk": mine.jwk(), "jku": trap, "x5u": trap, "x5c": ["MIIB"]}.items():
        headers = {"kid": mine.kid, name: value}
        signing.there.sign = lambda claims, headers=headers: jwt.encode(
            claims, mine.private, algorithm="ES256", headers=headers
        )
        assert await signing.outcome() == "ProviderFailed"
    assert signing.there.asked["/trap"] == 0


WRONG: dict[str, Callable[[Claims], Claims]] = {
    "other issuer": lambda claims: {**claims, "iss": "https://evil.example.com"},
    "issuer, longer": lambda claims: {**claims, "iss": claims["iss"] + "/"},
    "issuer, shorter": lambda claims: {**claims, "iss": claims["iss"][:-1]},
    "issuer, in capitals": lambda claims: {**claims, "iss": claims["iss"].upper()},
    "issuer, a list": lambda claims: {**claims, "iss": [claims["iss"]]},
    "no issuer": lambda claims: without(claims, "iss"),
    "other audience": lambda claims: {**claims, "aud": "other"},
    "audience, part of ours": lambda claims: {**claims, "aud": CLIENT_ID[:-1]},
    "audience, an object": lambda claims: {**claims, "aud": {CLIENT_ID: True}},
    "no audience": lambda claims: without(claims, "aud"),
    "two audiences": lambda claims: {**claims, "aud": [CLIENT_ID, "other"]},
    "two audiences, the other's": lambda claims: {**claims, "aud": [CLIENT_ID, "other"], "azp": "other"},
    "given to another": lambda claims: {**claims, "azp": "other"},
    "other nonce": lambda claims: {**claims, "nonce": "x" + claims["nonce"][1:]},
    "nonce, a list": lambda claims: {**claims, "nonce": [claims["nonce"]]},
    "nonce, not ASCII": lambda claims: {**claims, "nonce": "\ud800é"},
    "no nonce": lambda claims: without(claims, "nonce"),
    "no subject": lambda claims: without(claims, "sub"),
    "empty subject": lambda claims: {**claims, "sub": ""},
    "subject, a number": lambda claims: {**claims, "sub": 1},
    "subject, too long": lambda claims: {**claims, "sub": "1" * 256},
    "expired": lambda claims: {**claims, "exp": claims["iat"] - 61},
    "exp, a text": lambda claims: {**claims, "exp": str(claims["exp"])},
    "exp, without end": lambda claims: {**claims, "exp": 1e30},
    "exp, true": lambda claims: {**claims, "exp": True},
    "no exp": lambda claims: without(claims, "exp"),
    "issued later": lambda claims: {**claims, "iat": claims["iat"] + 90},
    "no iat": lambda claims: without(claims, "iat"),
    "not before later": lambda claims: {**claims, "nbf": claims["iat"] + 90},
    "groups, a number": lambda claims: {**claims, "groups": 7},
    "groups, of numbers": lambda claims: {**claims, "groups": ["developers", 7]},
    "groups, an object": lambda claims: {**claims, "groups": {"ops": True}},
    "groups, none": lambda claims: {**claims, "groups": None},
    "groups, elsewhere": lambda claims: {**without(claims, "groups"), "_claim_names": {"groups": "src1"}},
    "groups, too many": lambda claims: {**claims, "groups": [f"g{number}" for number in range(5001)]},
}


def without(claims: Claims, name: str) -> Claims:
    """The claims but one."""
    return {key: value for key, value in claims.items() if key != name}


@pytest.mark.parametrize("what", WRONG)
async def test_claims_that_are_not_believed(signing: Signing, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """SEC-091, SEC-066, and OpenID Connect Core §3.1.3.7: signed rightly, and wrong in one thing. Nobody is let in, and
    the log says why."""
    signing.there.change = WRONG[what]
    with caplog.at_level(logging.ERROR):
        assert await signing.outcome() == "ProviderFailed"
    assert "because of the identity provider: " in reasons(caplog)


@pytest.mark.parametrize(
    "change",
    [
        lambda claims: {**claims, "aud": [CLIENT_ID]},
        lambda claims: {**claims, "aud": [CLIENT_ID, "other"], "azp": CLIENT_ID},
        lambda claims: {**claims, "azp": CLIENT_ID},
        lambda claims: {**claims, "exp": claims["iat"] - 55},
        lambda claims: {**claims, "iat": claims["iat"] + 55, "nbf": claims["iat"] + 50},
        lambda claims: {**claims, "exp": claims["exp"] + 0.5},
    ],
)
async def test_other_forms_that_are_right(signing: Signing, change: Callable[[Claims], Claims]) -> None:
    """What the specification allows, and clocks that differ by less than a minute."""
    signing.there.change = change
    assert await signing.outcome() == "alice"


@pytest.mark.parametrize(("ahead_s", "expected"), [(50, "alice"), (-50, "alice"), (-70, "ProviderFailed")])
async def test_clocks_may_differ_by_a_minute(signing: Signing, ahead_s: int, expected: str) -> None:
    """The provider's against ours."""
    signing.there.skew_s = 0
    signing.ahead_s = ahead_s
    assert await signing.outcome() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(["a", "b c"], {"a", "b c"}), ("a  b c", {"a", "b", "c"}), ("", set()), ([], set())],
)
async def test_groups_are_a_list_or_words(signing: Signing, given: object, expected: set[str]) -> None:
    """Both forms are in use; a name with a space stays whole in a list."""
    signing.there.people["1"] = {**ALICE, "groups": given}
    assert (await signing.person()).groups == expected


async def test_no_claim_is_no_group(signing: Signing) -> None:
    """Most providers leave the claim out for who is in no group: SEC-012 wants that to take rights away."""
    signing.there.people["1"] = without(ALICE, "groups")
    assert (await signing.person()).groups == frozenset()


async def test_claims_have_the_names_that_are_set(signing: Signing) -> None:
    """And what is no text, or cannot be printed, is no name."""
    signing.there.people["1"] = {"nick": "ali", "roles": "x y"}
    signing.anew(name_claim="nick", groups_claim="roles")
    person = await signing.person()
    assert (person.name, person.email, set(person.groups)) == ("ali", None, {"x", "y"})
    for name in ("a\nb", "", 7, None):
        signing.there.people["1"] = {"nick": name}
        assert (await signing.person()).name is None


async def test_new_keys_are_read_and_old_ones_stop(signing: Signing) -> None:
    """Rotation: a token of a new key makes the keys be read once more, and what was taken away counts no longer."""
    old, new = signing.there.keys[-1], Key.make(algorithm="RS256")
    assert await signing.outcome() == "alice"
    signing.there.keys = [new]
    signing.provider._keys_asked_at -= oidc.KEYS_AGAIN_AFTER_S
    assert await signing.outcome() == "alice"
    signing.there.sign = old.sign
    assert await signing.outcome() == "ProviderFailed"


async def test_a_key_may_change_under_its_name(signing: Signing) -> None:
    """Some providers always use the same kid."""
    assert await signing.outcome() == "alice"
    signing.there.keys = [Key.make(signing.there.keys[-1].kid)]
    signing.provider._keys_asked_at -= oidc.KEYS_AGAIN_AFTER_S
    assert await signing.outcome() == "alice"


async def test_keys_without_a_name(signing: Signing) -> None:
    """A token without kid is tried with every key of its kind."""
    signing.there.keys = [Key.make(), Key(None, Key.make().private, "ES256")]
    assert await signing.outcome() == "alice"


async def test_unknown_keys_do_not_make_the_provider_be_asked(signing: Signing) -> None:
    """SEC-093: of many tokens with unknown keys the first one makes the keys be read again, and those that are known
    count meanwhile."""
    assert await signing.outcome() == "alice"
    signing.provider._keys_asked_at -= oidc.KEYS_AGAIN_AFTER_S
    stranger = Key.make()
    for number in range(20):
        signing.there.sign = replace(stranger, kid=f"{number}").sign
        assert await signing.outcome() == "ProviderFailed"
    assert signing.there.asked["/keys"] == 2
    signing.there.sign = None
    assert await signing.outcome() == "alice"


FAULTS = {
    "500": Canned(500),
    "429": Canned(429, b"{}", {"retry-after": "1"}),
    "garbage": Canned(200, b"<html>"),
    "a list": Canned(200, b"[]"),
    "nothing": Canned(200, b""),
    "an empty object": Canned(200, b"{}"),
    "a name twice": Canned(200, b'{"keys": [], "keys": []}'),
    "deep": Canned(200, b"[" * 100_000),
    "too long": Canned(200, b" " * (ANSWER_MAX_BYTES + 1) + b"{}"),
    "redirect": Canned(302, b"{}", {"location": "/realm/trap"}),
    "compressed": Canned(200, b"\x1f\x8b\x08", {"content-encoding": "gzip"}),
    "cut": Canned(200, b"{", {"content-length": "100", "connection": "close"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
async def test_what_a_broken_provider_answers_lets_nobody_in(signing: Signing, path: str, fault: str) -> None:
    """SEC-066, SEC-040: each answer of it may be anything, and no redirect is followed."""
    code, attempt = await signing.begin()
    signing.anew()
    signing.there.canned[path] = FAULTS[fault]
    with pytest.raises(ProviderFailed, match="the log of the registry says why"):
        await signing.provider.person(code, attempt)
    assert signing.there.asked["/trap"] == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_known_keys_count_while_they_cannot_be_read(signing: Signing, fault: str) -> None:
    """SEC-093: a failure takes no key away, and so no sign-in."""
    assert await signing.outcome() == "alice"
    signing.there.canned["/keys"] = FAULTS[fault]
    signing.there.canned["/.well-known/openid-configuration"] = FAULTS[fault]
    signing.provider._keys_hold_until = signing.provider._description_holds_until = 0
    signing.provider._keys_asked_at -= oidc.KEYS_AGAIN_AFTER_S
    assert await signing.outcome() == "alice"
    assert signing.there.asked["/keys"] == 2


async def test_a_provider_that_is_down(signing: Signing, caplog: pytest.LogCaptureFixture) -> None:
    """The first who comes asks, who comes in the same seconds is told the same at once, and it mends by itself."""
    signing.there.close()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            with pytest.raises(ProviderFailed):
                await signing.provider.address(new_attempt(), "state")
    assert "cannot be reached: " in reasons(caplog)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://evil.example.com"}, "calls itself 'https://evil.example.com'"),
        ({"token_endpoint": "http://hub.example.com/token"}, "token_endpoint must begin with https://"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri must"),
        ({"jwks_uri": None}, "jwks_uri is missing"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint must"),
        ({"authorization_endpoint": "https://user:pass@hub.example.com/"}, "authorization_endpoint must not hold"),
        ({"userinfo_endpoint": "https://hub.example.com\\@evil/"}, "userinfo_endpoint is not a URL"),
    ],
)
async def test_descriptions_that_are_not_taken(
    signing: Signing, caplog: pytest.LogCaptureFixture, change: Claims, why: str
) -> None:
    """SEC-040, RFC 9207: somebody else's description, and addresses that no secret is sent to."""
    body = json.dumps({**signing.there.description(), **change}).encode()
    signing.there.canned["/.well-known/openid-configuration"] = Canned(200, body)
    with caplog.at_level(logging.ERROR), pytest.raises(ProviderFailed):
        await signing.provider.address(new_attempt(), "state")
    assert why in reasons(caplog)


async def test_a_wrong_secret_is_named_and_not_shown(signing: Signing, caplog: pytest.LogCaptureFixture) -> None:
    """SEC-013: the log tells an operator which settings to look at, and holds no secret."""
    signing.anew(secret="wrong-secret")
    with caplog.at_level(logging.DEBUG):
        assert await signing.outcome() == "ProviderFailed"
    assert "check oidc_client_id and the secret in oidc_client_secret_file" in reasons(caplog)
    assert "wrong-secret" not in reasons(caplog) and "wrong-secret" not in repr(signing.client)


async def test_who_shows_again_who_it_is_was_asked(signing: Signing) -> None:
    """A provider that says when it asked must have asked since."""
    assert (await signing.person(proves=True)).subject == "1"
    signing.there.change = lambda claims: {**claims, "auth_time": claims["auth_time"] - 90}
    assert await signing.outcome() == "alice"
    with pytest.raises(SignInRefused, match="did not ask"):
        await signing.person(proves=True)


async def test_answers_that_take_too_long_end(monkeypatch: pytest.MonkeyPatch, there: IdentityProvider) -> None:
    """SEC-066: a provider that takes the question and says nothing."""
    import socket

    monkeypatch.setattr("registry.auth.oidc_http.READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = ProviderHttp(may_be_plain=True)
        with pytest.raises(ProviderFailed, match="cannot be reached: Read timed out"):
            await http.get(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        http.close()


@pytest.mark.parametrize(
    "issuer",
    [
        "https://id.example.com",
        "https://id.example.com:8443/realms/company",
        "http://localhost:9998/",
        "http://127.0.0.1:8080/dex",
        "http://[::1]:8080",
    ],
)
def test_issuers_that_can_be(issuer: str) -> None:
    """https, or this machine."""
    assert issuer_problem(issuer) is None


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "id.example.com",
        "http://id.example.com",
        "http://127.0.0.1.evil.example.com",
        "https://",
        "https://user@id.example.com",
        "https://id.example.com/?x=1",
        "https://id.example.com/#x",
        "https://id.example.com:99999/",
        "https://[::1/",
        "https://id.example.com\\evil",
        "https://id example.com",
        "https://exämple.com",
        "https://id.example.com/\r\nx: y",
        "ftp://id.example.com",
        "https://id.example.com/" + "x" * 3000,
    ],
)
def test_issuers_that_cannot_be(issuer: str) -> None:
    """Said before anything is sent there."""
    assert issuer_problem(issuer) is not None
    assert url_problem("http://127.0.0.1/", may_be_plain=False) is not None


async def test_a_real_provider(tmp_path: Path) -> None:
    """The whole way at an implementation that is not ours: its issuer ends in a slash, and its claims come from the
    userinfo endpoint."""
    with real_provider(tmp_path, BACK, {"alice": "developers ops"}) as there:
        client = Client(there.issuer, there.client_id, there.client_secret, groups_claim=there.groups_claim)
        provider = Provider(client, time)
        for proves in (False, True):
            attempt = new_attempt(proves=proves)
            address = await provider.address(attempt, "state")
            place, query = await asyncio.to_thread(there.sign_in, address, "alice")
            assert place == BACK and query["state"] == "state"
            person = await provider.person(query["code"], attempt)
            assert person == Person(
                there.issuer, "id-of-alice", "alice", "alice@example.com", frozenset({"developers", "ops"})
            )
            with pytest.raises(SignInRefused):
                await provider.person(query["code"], attempt)
        provider.close()
