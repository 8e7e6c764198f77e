"""Tenants of a closed server, nobody, and its admin: who the tests of isolation are about."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx2

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.metadata import sqlite
from tests.reliability.client import Image, Pusher, expect
from tests.running import ADMIN_PASSWORD, Registry, wait_until

CANARY = b"what only alice may know: " + bytes(range(256)) * 20
CANARY_DIGEST = Digest.of(CANARY)
SHOWN = b"what alice shows to everybody"
SHOWN_DIGEST = Digest.of(SHOWN)
UNKNOWN_DIGEST = Digest.of(b"what nobody ever pushed")
PRIVATE = Image("alice/private", "v1", [b"{}", CANARY])
"""Nobody but alice and the admin may see it."""
PUBLIC = Image("alice/public", "v1", [b"{}", SHOWN])
SHARED = Image("alice/shared", "v1", [b"{}", b"what bob may read"])
"""bob has the role read."""
OWN = Image("bob/own", "v1", [b"{}", b"what bob has himself"])
MANY_FAILURES = ("--login-failures-per-account", "1000000", "--login-failures-per-address", "1000000")
"""For tests that show many wrong credentials and are about something else."""
WAYS = ("basic", "bearer")


def basic(name: str, secret: str) -> dict[str, str]:
    """The header of name and password."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def scope(name: str, actions: str = "pull,push,delete") -> str:
    """A scope of the token protocol."""
    return f"repository:{name}:{actions}"


CATALOG = "registry:catalog:*"


@dataclass(frozen=True)
class Person:
    """Somebody with a password or a personal token; with neither, nobody."""

    name: str
    secret: str

    @property
    def basic(self) -> dict[str, str]:
        """The header with each request; none for nobody."""
        return basic(self.name, self.secret) if self.name else {}

    def token(self, registry: Registry, *scopes: str) -> str:
        """An access token."""
        answer = httpx2.get(f"{registry.url}/token", params={"scope": list(scopes)}, headers=self.basic, timeout=60)
        token: str = expect(answer, 200).json()["token"]
        return token

    def headers(self, registry: Registry, way: str, *scopes: str) -> dict[str, str]:
        """The header of one of WAYS. `scopes` are for the token of `bearer`."""
        return self.basic if way == "basic" else {"authorization": f"Bearer {self.token(registry, *scopes)}"}

    def client(self, registry: Registry, way: str = "basic", *scopes: str) -> httpx2.Client:
        """A client that sends it."""
        headers = self.headers(registry, way, *scopes)
        return httpx2.Client(base_url=registry.url, timeout=60, headers=headers)


ALICE = Person("alice", "alice has a long password")
BOB = Person("bob", "bob has another password")
ADMIN = Person("admin", ADMIN_PASSWORD)
NOBODY = Person("", "")


def add_user(registry: Registry, person: Person, *flags: str) -> None:
    """Make the account of somebody."""
    registry.command("user", "add", person.name, "--password-stdin", *flags, stdin=person.secret + "\n")


def personal_token(registry: Registry, person: Person, *flags: str) -> Person:
    """The same person with a personal token in place of the password."""
    return Person(person.name, registry.command("token", "create", person.name, *flags).strip())


def settle(registry: Registry) -> None:
    """alice and bob, and what they have pushed."""
    for person in (ALICE, BOB):
        add_user(registry, person)
    for person, images in ((ALICE, (PRIVATE, PUBLIC, SHARED)), (BOB, (OWN,))):
        with person.client(registry) as client:
            for image in images:
                Pusher(client).push(image, way="whole")
    registry.command("repository", "visibility", PUBLIC.name, "public")
    registry.command("repository", "grant", SHARED.name, "bob", "read")
    wait_for_changes(registry, BOB)


def wait_for_changes(registry: Registry, person: Person) -> None:
    """Until the server has taken note of what was changed beside it: a token that it issues before is refused after."""
    [(newest,)] = sql(registry, "SELECT access_revision FROM installation")
    wait_until(lambda: bool(claims(person.token(registry))["rev"] >= newest), what="the news")


def put_manifest(
    client: httpx2.Client, image: Image, reference: str | None = None, query: str = "", name: str | None = None
) -> httpx2.Response:
    """Push the manifest of an image alone."""
    path = f"/v2/{name or image.name}/manifests/{reference or image.tag}{query}"
    return client.put(path, content=image.manifest, headers={"content-type": OCI_MANIFEST})


def sql(registry: Registry, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What the database of a running server says to one statement."""
    connection = sqlite.library().connect(f"file:{registry.data / 'registry.db'}?mode=ro", uri=True)
    try:
        return list(connection.execute(statement, parameters))
    finally:
        connection.close()


def claims(token: str) -> dict[str, Any]:
    """What an access token says, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def code(answer: httpx2.Response) -> str:
    """The first error's code."""
    found: str = answer.json()["errors"][0]["code"]
    return found
