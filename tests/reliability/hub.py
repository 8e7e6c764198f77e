"""Real servers with accounts: what a client holds to get in, and an admin's desk beside them."""

import asyncio
import base64
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from registry.auth.passwords import Passwords
from registry.core.access import Actor, RepositoryAccess, Role, TokenLimits, TokenScope, Visibility
from registry.core.names import RepositoryName
from registry.metadata.sqlite import SqliteDatabase
from registry.services.accounts import Accounts
from registry.services.clock import system_clock
from registry.services.organizations import Organizations
from registry.services.personal_tokens import PersonalTokens
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from tests.reliability.client import Image, Pusher, expect
from tests.running import Registry

T = TypeVar("T")
Headers = dict[str, str]
ORIGIN = "http://registry.test"
"""What servers on one data folder are known by, whatever ports they have."""
PASSWORD = "a password of eight"
ADMIN = Actor(None, "test", "command line")


def basic(name: str, secret: str) -> Headers:
    """The header with a name and a password or personal token."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def bearer(token: str) -> Headers:
    """The header with an access token."""
    return {"authorization": f"Bearer {token}"}


def ask(client: httpx2.Client, shown: Headers | None, *scopes: str, **fields: str) -> dict[str, Any]:
    """What the token server answers."""
    query = {"scope": list(scopes), **fields}
    answer = expect(client.get("/token", params=query, headers=shown or {}), 200)
    found: dict[str, Any] = answer.json()
    return found


def token_of(client: httpx2.Client, shown: Headers | None, *scopes: str) -> str:
    """An access token."""
    found: str = ask(client, shown, *scopes)["token"]
    return found


def refresh(client: httpx2.Client, refresh_token: str, scope: str = "") -> httpx2.Response:
    """The answer to a form that shows a refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "test", "scope": scope}
    return client.post("/token", data=form)


def push(registry: Registry, shown: Headers, name: str, tag: str = "v1") -> Image:
    """Push an image of its own."""
    image = Image.random(name, tag, random.Random(0))
    with registry.client() as client:
        client.headers.update(shown)
        Pusher(client).push(image, way="whole")
    return image


class Desk:
    """Administration in a process of its own: this one. Every method returns after the commit."""

    def __init__(self, data: Path) -> None:
        self.database = SqliteDatabase(data / "registry.db")
        self._passwords = Passwords()
        self.accounts = Accounts(self.database, self._passwords, system_clock)
        self.organizations = Organizations(self.database, system_clock)
        self.repositories = Repositories(self.database, system_clock, 86_400_000)
        self.roles = Roles(self.database, system_clock)
        self.tokens = PersonalTokens(self.database, system_clock)

    def close(self) -> None:
        """Close the database."""
        self._passwords.close()
        self.database.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to the end."""
        return asyncio.run(work)

    def user(self, name: str, *, is_admin: bool = False) -> Headers:
        """A new user; returns its Basic header."""
        self.run(self.accounts.add_user(name, PASSWORD, ADMIN, is_admin=is_admin))
        return basic(name, PASSWORD)

    def robot(self, name: str, role: Role) -> Headers:
        """A new robot with a role on everything of its owner; returns a Basic header with a token of it."""
        self.run(self.accounts.add_robot(name, role, ADMIN))
        return basic(name, self.personal_token(name)[1])

    def personal_token(
        self, name: str, *scopes: TokenScope, repositories: tuple[str, ...] | None = None, life_s: int | None = None
    ) -> tuple[int, str]:
        """A new token: its id and the secret. Without scopes one that reads and writes."""
        limits = TokenLimits(frozenset(scopes or (TokenScope.READ, TokenScope.WRITE)), repositories)
        return self.run(self.tokens.create(name, "test", limits, ADMIN, life_s=life_s))

    def organization(self, name: str, owner: str) -> None:
        """A new organization."""
        self.run(self.organizations.add(name, owner, ADMIN))

    def member(self, organization: str, name: str, *, is_owner: bool = False) -> None:
        """A new member, or another role of one."""
        self.run(self.organizations.set_member(organization, name, ADMIN, is_owner=is_owner))

    def team(self, organization: str, name: str, *members: str) -> None:
        """A new team with its members."""
        self.run(self.organizations.add_team(organization, name, ADMIN))
        for member in members:
            self.run(self.organizations.set_in_team((organization, name), member, ADMIN, is_in=True))

    def give(self, place: str, holder: str, role: Role) -> None:
        """A role, NONE to take it away."""
        self.run(self.roles.give(self.run(self.roles.spot(place, ADMIN)), holder, role))

    def show(self, name: str, visibility: Visibility) -> None:
        """Let everybody pull a repository, or no longer."""
        self.run(self.repositories.set_visibility(self.way_in(name), visibility))

    def way_in(self, name: str) -> RepositoryAccess:
        """What the services want to be shown for a repository."""
        return self.run(self.repositories.entry(RepositoryName(name), ADMIN))

    def move(self, name: str, new: str) -> None:
        """Give a repository another name, here or in another namespace."""
        self.run(self.repositories.move(self.way_in(name), RepositoryName(new), None))

    def give_up(self, name: str, alias: str) -> None:
        """Give a former name up."""
        self.run(self.repositories.remove_alias(self.way_in(name), RepositoryName(alias)))

    def delete(self, name: str) -> None:
        """Delete a repository."""
        self.run(self.repositories.delete(self.way_in(name)))


StartRegistry = Callable[..., Registry]
