"""The entrance of a registry on a real database, with a clock that is set by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any

from sqlalchemy import text

from registry.auth import totp
from registry.auth.oidc import Client, Provider
from registry.auth.passwords import Passwords
from registry.auth.sealing import InstanceSecret
from registry.blobstore.memory import MemoryStore
from registry.core.access import Permit
from registry.core.errors import RegistryError
from registry.metadata.database import Database
from registry.services.accounts import Accounts
from registry.services.attempts import LoginLimits
from registry.services.changes import Changes
from registry.services.groups import Groups
from registry.services.installation import Installation
from registry.services.login import Login
from registry.services.organizations import Organizations
from registry.services.second_factor import SecondFactor
from registry.services.sessions import Session, SessionLimits, Sessions, SignedIn, Visitor
from registry.services.sign_in import SignIn
from registry.services.single_sign_on import Arrival, Back, SingleSignOn
from tests.backends.oidc import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.reliability.hub import ADMIN, PASSWORD

DAY_MS = 86_400_000
MINUTE_MS = 60_000
PER_ADDRESS = 200
ORIGIN = "https://hub.example.com"
HERE = Visitor("192.0.2.1", "A browser/1.0")
PERMIT = Permit(ADMIN)
SECRET = InstanceSecret(b"s" * 32)


@dataclass
class Hall:
    """One worker of a registry."""

    database: Database
    passwords: Passwords
    there: IdentityProvider | None = None
    now: int = 1_700_000_000_000
    signs_up: bool = True
    admin_group: str | None = None
    only_admins_have_passwords: bool = False
    secret: InstanceSecret = SECRET
    factors: dict[str, bytes] = field(default_factory=dict)
    """The secrets of authenticator apps, by account."""

    def __post_init__(self) -> None:
        """Wire it together, as `app` does."""
        database, clock = self.database, self.clock
        self.changes = Changes(database)
        self.accounts = Accounts(database, self.passwords, clock)
        self.organizations = Organizations(database, clock)
        self.login = Login(
            database,
            self.changes,
            self.passwords,
            clock,
            LoginLimits(per_account=200, per_address=PER_ADDRESS, window_ms=900_000),
            only_admins_have_passwords=self.only_admins_have_passwords,
        )
        limits = SessionLimits(idle_ms=3 * DAY_MS, life_ms=14 * DAY_MS)
        self.sessions = Sessions(database, self.changes, self.login.attempts, clock, limits)
        self.second_factor = SecondFactor(database, self.secret, self.login.attempts, self.sessions, clock)
        self.sign_in = SignIn(self.login, self.sessions, self.second_factor)
        self.groups = Groups(database, clock, self.admin_group)
        if self.there is not None:
            client = Client(self.there.issuer, CLIENT_ID, CLIENT_SECRET)
            # Its tokens have the time of the machine, whatever the test has set.
            self.provider = Provider(client, time)
            self.single = SingleSignOn(
                database,
                self.provider,
                self.secret,
                clock,
                sessions=self.sessions,
                groups=self.groups,
                attempts=self.login.attempts,
                signs_up=self.signs_up,
            )

    def clock(self) -> int:
        """The time that the test has set."""
        return self.now

    def other(self, **changes: Any) -> "Hall":
        """Another worker, or the same one after a restart with other settings."""
        found = Hall(self.database, self.passwords, **{"there": self.there, "now": self.now, **changes})
        found.factors = self.factors
        return found

    # Signing in

    async def open(self, name: str = "alice", secret: str = PASSWORD, *, replaces: str | None = None) -> SignedIn:
        """With a password."""
        return await self.sign_in.with_password(name, secret, HERE, replaces=replaces)

    async def session(self, signed_in: SignedIn) -> Session | None:
        """What a page sees of it."""
        return await self.sessions.read(signed_in.secret, HERE.address)

    async def inside(self, name: str = "alice") -> Session:
        """Somebody who is signed in with a password."""
        found = await self.session(await self.open(name))
        assert found is not None
        return found

    async def inside_again(self, name: str = "alice") -> Session:
        """Somebody who is signed in with both."""
        complete = await self.with_code(await self.open(name), self.code(name))
        self.now += 30_000
        found = await self.session(complete)
        assert found is not None
        return found

    async def enrol(self, session: Session) -> list[str]:
        """Turn the second factor on; returns the recovery codes."""
        enrolment = await self.second_factor.begin(session, issuer="hub.example.com")
        name = session.principal.name
        self.factors[name] = bytes_of(enrolment.secret)
        return await self.second_factor.confirm(session, self.code(name), HERE)

    def code(self, name: str = "alice", steps: int = 0) -> str:
        """What the app shows now, or some steps later."""
        return totp.code(self.factors[name], totp.step_at(self.now) + steps)

    async def with_code(self, signed_in: SignedIn, given: str) -> SignedIn:
        """Show a code."""
        return await self.sign_in.with_code(signed_in.secret, given, HERE)

    # At the identity provider

    async def come(self, subject: str, *, held: str | None = None, return_to: str = "/r/acme/app") -> Arrival:
        """Sign in there, all the way."""
        departure = await self.single.begin(ORIGIN, return_to=return_to, browser=None)
        query = await self.go(departure.address, subject)
        return await self.single.finish(Back(query, departure.browser, held, None, HERE))

    async def go(self, address: str, subject: str) -> dict[str, str]:
        """What a browser brings back from there."""
        assert self.there is not None
        place, query = await asyncio.to_thread(self.there.sign_in, address, subject)
        assert place == f"{ORIGIN}/sign-in/callback"
        return query

    async def arrived(self, subject: str) -> Session:
        """Somebody who has signed in there."""
        arrival = await self.come(subject)
        assert arrival.signed_in is not None
        found = await self.session(arrival.signed_in)
        assert found is not None
        return found

    # What has become of it

    async def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """What SQL says."""
        return await self.database.read(
            lambda connection: [tuple(row) for row in connection.execute(text(query), values)]
        )

    async def audited(self, action: str) -> list[str]:
        """The targets of the audit's rows of an action."""
        return [row[0] for row in await self.rows("SELECT target FROM audit WHERE action = :a ORDER BY id", a=action)]

    async def teams(self, organization: str) -> dict[str, list[str]]:
        """Who is in which team."""
        found = await self.organizations.teams(organization)
        places = [(organization, one.name) for one in found]
        return {place[1]: [who.name for who in await self.organizations.in_team(place)] for place in places}


def bytes_of(typed: str) -> bytes:
    """The secret that somebody types into an app."""
    import base64

    return base64.b32decode(typed.replace(" ", ""))


async def refused(work: Any) -> str:
    """The class of the error that work raises."""
    try:
        await work
    except RegistryError as error:
        return type(error).__name__
    return "no error"


@asynccontextmanager
async def opened(database: Database, there: IdentityProvider | None = None) -> AsyncIterator[Hall]:
    """A hall with the users alice and carol, who is an admin."""
    passwords = Passwords()
    hall = Hall(database, passwords, there)
    await Installation(database, MemoryStore(), hall.clock).open()
    await hall.accounts.add_user("alice", PASSWORD, ADMIN)
    await hall.accounts.add_user("carol", PASSWORD, ADMIN, is_admin=True)
    try:
        yield hall
    finally:
        passwords.close()
        if there is not None:
            hall.provider.close()
