"""Answers that would tell what somebody must not know: compared with those for what is not there, byte for byte and
statement for statement. (Times are compared by `bench/oracles.py`.)
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from registry import config
from registry.app import Application, House, Stores, open_stores
from registry.core.access import Actor, TokenLimits, TokenScope
from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.services.accounts import Accounts
from registry.services.clock import system_clock
from registry.services.organizations import Organizations
from registry.services.personal_tokens import PersonalTokens
from tests.reliability.client import expect
from tests.reliability.tenants import (
    ALICE,
    BOB,
    CANARY,
    CANARY_DIGEST,
    CATALOG,
    MANY_FAILURES,
    NOBODY,
    PRIVATE,
    UNKNOWN_DIGEST,
    Person,
    basic,
    claims,
    scope,
)

MISSING = "alice/missing"
"""As long as the name of the private repository, so that lengths are comparable as well."""
URL = "http://127.0.0.1:5000"


@dataclass
class Indoors:
    """The whole application in this process, where statements can be counted."""

    client: httpx2.AsyncClient
    statements: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, person: dict[str, str], content: bytes | None = None) -> list[object]:
        """Everything that a request can tell: status, headers, body, and the statements that it took."""
        self.statements.clear()
        answer = await self.client.request(method, path, headers=person, content=content)
        return [answer.status_code, sorted(answer.headers.items()), answer.text, list(self.statements)]

    async def token(self, person: Person, *scopes: str) -> dict[str, str]:
        """The header of an access token."""
        answer = await self.client.get("/token", params={"scope": list(scopes)}, headers=person.basic)
        return {"authorization": f"Bearer {expect(answer, 200).json()['token']}"}


@contextmanager
def recorded(statements: list[str]) -> Iterator[None]:
    """Note every statement of this process."""

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
async def indoors(tmp_path: Path) -> AsyncIterator[Indoors]:
    """alice with a private repository, bob with nothing, and accounts that cannot log in."""
    flags = dict(zip((flag[2:].replace("-", "_") for flag in MANY_FAILURES[::2]), MANY_FAILURES[1::2], strict=True))
    settings = config.load({"data": tmp_path / "data", **flags}, {}, None)
    stores = await asyncio.to_thread(open_stores, settings, upgrade=True)
    from registry.app import make_first_keys_and_admin

    await asyncio.to_thread(make_first_keys_and_admin, settings, stores)
    application = Application(settings, stores, ports=[5000, 5001], announce=lambda: None)
    await _people(stores, application._house)
    transport = httpx2.ASGITransport(app=application.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
        found = Indoors(client)
        for blob in PRIVATE.blobs:
            path = f"/v2/{PRIVATE.name}/blobs/uploads/?digest={Digest.of(blob)}"
            expect(await client.post(path, headers=ALICE.basic, content=blob), 201)
        headers = {"content-type": OCI_MANIFEST, **ALICE.basic}
        path = f"/v2/{PRIVATE.name}/manifests/v1"
        expect(await client.put(path, headers=headers, content=PRIVATE.manifest), 201)
        with recorded(found.statements):
            yield found
    await application.stop()


async def _people(stores: Stores, house: House) -> None:
    operator = Actor(None, "operator", "command line")
    accounts = Accounts(stores.database, house.passwords, system_clock)
    for person in (ALICE, BOB, Person("disabled", BOB.secret)):
        await accounts.add_user(person.name, person.secret, operator)
    await accounts.set_disabled("disabled", operator, is_disabled=True)
    await Organizations(stores.database, system_clock).add("group", "alice", operator)
    limits = TokenLimits(frozenset({TokenScope.READ}))
    await PersonalTokens(stores.database, system_clock).create("bob", "x", limits, operator, life_s=None)


UPLOAD = "0" * 32
ROUTES = [
    ("GET", "manifests/v1"),
    ("HEAD", "manifests/v1"),
    ("GET", "manifests/none"),
    ("GET", f"manifests/{Digest.of(PRIVATE.manifest)}"),
    ("GET", f"blobs/{CANARY_DIGEST}"),
    ("HEAD", f"blobs/{CANARY_DIGEST}"),
    ("GET", "tags/list"),
    ("GET", f"referrers/{CANARY_DIGEST}"),
    ("DELETE", "manifests/v1"),
    ("DELETE", f"blobs/{CANARY_DIGEST}"),
    ("PUT", "manifests/v1"),
    ("POST", "blobs/uploads/"),
    ("POST", f"blobs/uploads/?mount={CANARY_DIGEST}"),
    ("POST", f"blobs/uploads/?digest={CANARY_DIGEST}"),
    ("GET", f"blobs/uploads/{UPLOAD}"),
    ("PATCH", f"blobs/uploads/{UPLOAD}"),
    ("PUT", f"blobs/uploads/{UPLOAD}?digest={CANARY_DIGEST}"),
    ("DELETE", f"blobs/uploads/{UPLOAD}"),
]


def same_name(answer: list[object]) -> list[Any]:
    """The answer with the one name in place of the other."""
    status, headers, text, statements = answer
    assert isinstance(headers, list)
    renamed = [(key, str(value).replace(MISSING, PRIVATE.name)) for key, value in headers]
    return [status, renamed, str(text).replace(MISSING, PRIVATE.name), statements]


async def test_sec_011_private_is_like_missing(indoors: Indoors) -> None:
    """SEC-011: on every route, for nobody and for bob in every form, also the second time: same status, headers, body
    and statements."""
    scopes = [scope(PRIVATE.name), scope(MISSING)]
    shown = [{}, BOB.basic, await indoors.token(BOB), await indoors.token(BOB, *scopes)]
    shown.append(await indoors.token(NOBODY, *scopes))
    for person in shown:
        await indoors.ask("GET", "/v2/", person)
        for method, route in ROUTES:
            for _ in range(2):
                private, missing = [
                    await indoors.ask(method, f"/v2/{name}/{route}", person) for name in (PRIVATE.name, MISSING)
                ]
                assert private[0] in (401, 403, 404) or "referrers" in route
                assert same_name(private) == same_name(missing), (method, route)


async def test_sec_011_tokens_say_the_same(indoors: Indoors) -> None:
    """SEC-011: a token for what is private says as much as one for what is missing."""
    found = []
    for name in (PRIVATE.name, MISSING):
        indoors.statements.clear()
        answer = await indoors.client.get("/token", params={"scope": [scope(name), CATALOG]}, headers=BOB.basic)
        said = claims(answer.json()["token"])
        for varying in ("jti", "iat", "nbf", "exp"):
            said.pop(varying)
        entries = str(said).replace(MISSING, PRIVATE.name)
        found.append((answer.status_code, answer.json()["scope"], entries, len(indoors.statements)))
    # Times and ids apart, the first request also verified the password.
    assert found[0][:3] == found[1][:3]
    again = []
    for name in (PRIVATE.name, MISSING):
        indoors.statements.clear()
        await indoors.client.get("/token", params={"scope": scope(name)}, headers=BOB.basic)
        again.append(list(indoors.statements))
    assert again[0] == again[1]


MOUNTS = ["", f"&from={PRIVATE.name}", f"&from={MISSING}", "&from=bob/taken", "&from=.."]


@pytest.mark.parametrize("source", MOUNTS)
async def test_sec_011_known_is_like_unknown(indoors: Indoors, source: str) -> None:
    """SEC-011: a digest that somebody else has is answered like one that nobody has, with the same statements."""
    scopes = [scope("bob/taken"), scope(PRIVATE.name), scope(MISSING)]
    for person in (BOB.basic, await indoors.token(BOB, *scopes)):
        # The first one makes the repository, and the second one is the first to find it.
        for _ in range(2):
            await indoors.ask("POST", "/v2/bob/taken/blobs/uploads/", person)
        answers = []
        for digest in (CANARY_DIGEST, UNKNOWN_DIGEST):
            path = f"/v2/bob/taken/blobs/uploads/?mount={digest}{source}"
            status, headers, text, statements = await indoors.ask("POST", path, person)
            assert isinstance(headers, list)
            names = [key for key, _ in headers]
            answers.append([status, names, text, statements])
        assert answers[0][0] == 202
        assert answers[0] == answers[1]


async def test_sec_011_a_wrong_body_does_not_tell(indoors: Indoors) -> None:
    """SEC-011: bytes under a digest that somebody else has, and under one that nobody has."""
    for _ in range(2):
        await indoors.ask("POST", "/v2/bob/taken/blobs/uploads/", BOB.basic)
    for content in (b"", b"x" * len(CANARY)):
        answers = []
        for digest in (CANARY_DIGEST, UNKNOWN_DIGEST):
            path = f"/v2/bob/taken/blobs/uploads/?digest={digest}"
            status, headers, text, statements = await indoors.ask("POST", path, BOB.basic, content)
            assert isinstance(headers, list)
            names = [key for key, _ in headers]
            answers.append([status, names, str(text).replace(str(digest), "-"), statements])
        assert answers[0] == answers[1]
    for method in ("GET", "HEAD", "DELETE"):
        known, unknown = [
            await indoors.ask(method, f"/v2/bob/taken/blobs/{digest}", BOB.basic)
            for digest in (CANARY_DIGEST, UNKNOWN_DIGEST)
        ]
        assert str(known).replace(str(CANARY_DIGEST), str(UNKNOWN_DIGEST)) == str(unknown)


async def test_sec_027_accounts_cannot_be_told_apart(indoors: Indoors) -> None:
    """SEC-011, SEC-027: a wrong password, an unknown name, a disabled account, one without a password and somebody
    else's token: the same answer, statements and audit."""
    shown = [
        basic("alice", "a wrong password"),
        basic("nobody", "a wrong password"),
        basic("disabled", "a wrong password"),
        basic("disabled", BOB.secret),
        basic("group", "a wrong password"),
    ]
    for method, path in (("GET", "/token"), ("GET", f"/v2/{PRIVATE.name}/tags/list"), ("GET", "/v2/")):
        answers = [await indoors.ask(method, path, headers) for headers in shown]
        assert answers[0][0] == 401
        for answer in answers[1:]:
            assert answer == answers[0]
