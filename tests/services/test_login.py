"""Passwords, tokens and the limits on guessing them, at the service and on real servers."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import argon2.low_level
import bcrypt
import httpx2
import pytest
from sqlalchemy import text

from registry.auth.passwords import Passwords
from registry.blobstore.memory import MemoryStore
from registry.core.access import Role, TokenLimits, TokenScope
from registry.core.errors import RegistryError, TooManyRequests
from registry.core.names import AccountName
from registry.metadata import accounts, moved
from registry.metadata.accounts import NewAccount
from registry.metadata.database import Connection, Database
from registry.metadata.sqlite import SqliteDatabase
from registry.services.accounts import Accounts
from registry.services.attempts import LoginLimits
from registry.services.changes import Changes
from registry.services.installation import Installation
from registry.services.login import Login
from registry.services.organizations import Organizations
from registry.services.personal_tokens import PersonalTokens
from tests.backends import Backend
from tests.reliability.hub import ADMIN, PASSWORD, Desk, ask, basic, bearer, refresh
from tests.running import Registry, wait_until

pytestmark = pytest.mark.anyio
ADDRESS = "192.0.2.1"
LIMITS = LoginLimits(per_account=20, per_address=100, window_ms=900_000)
REFUSED = "wrong name or password, or a token that no longer counts"


@dataclass
class Door:
    """Login on a real database, with a clock that is set by hand."""

    database: Database
    passwords: Passwords
    now: int = 1_700_000_000_000
    limits: LoginLimits = LIMITS

    def __post_init__(self) -> None:
        """Wire it together."""
        self.changes = Changes(self.database)
        self.accounts = Accounts(self.database, self.passwords, self.clock)
        self.tokens = PersonalTokens(self.database, self.clock)
        self.login = Login(self.database, self.changes, self.passwords, self.clock, self.limits)

    def clock(self) -> int:
        """The time that the test has set."""
        return self.now

    async def attempt(self, name: str, secret: str, address: str = ADDRESS) -> str:
        """What becomes of a login: the account's name, or the error and what it says."""
        try:
            return (await self.login.basic(name, secret, address)).name
        except RegistryError as error:
            return f"{type(error).__name__}: {error.message}" if isinstance(error, TooManyRequests) else error.message

    async def stored(self, name: str) -> str:
        """The hash of an account."""

        def read(connection: Connection) -> str:
            row = connection.execute(text("SELECT password_hash FROM accounts WHERE name = :name"), {"name": name})
            return str(row.scalar_one())

        return await self.database.read(read)

    async def counted(self) -> dict[str, int]:
        """Failed attempts by subject."""

        def read(connection: Connection) -> dict[str, int]:
            rows = connection.execute(text("SELECT subject, attempts FROM login_failures WHERE attempts > 0"))
            return {row[0]: row[1] for row in rows}

        return await self.database.read(read)


@pytest.fixture
async def door(backend: Backend) -> AsyncIterator[Door]:
    """With the user alice."""
    database = backend.new()
    passwords = Passwords()
    found = Door(database, passwords)
    await Installation(database, MemoryStore(), found.clock).open()
    await found.accounts.add_user("alice", PASSWORD, ADMIN)
    yield found
    passwords.close()


@contextmanager
def hashes_counted() -> Iterator[Counter[str]]:
    """Counts, in threads that begin inside, how often a password is really hashed."""
    counts: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is argon2.low_level.verify_secret.__code__:
            counts["argon2"] += 1
        elif event == "c_call" and argument is bcrypt.checkpw:
            counts["bcrypt"] += 1

    threading.setprofile(profile)
    try:
        yield counts
    finally:
        threading.setprofile(None)


async def several_accounts(door: Door) -> dict[str, tuple[str, str]]:
    """Logins that all are refused, for different reasons: name and password."""
    await door.accounts.add_user("disabled", PASSWORD, ADMIN)
    await door.accounts.set_disabled("disabled", ADMIN, is_disabled=True)
    await door.accounts.add_user("gone", PASSWORD, ADMIN)
    await door.accounts.delete("gone", ADMIN)
    await Organizations(door.database, door.clock).add("acme", "alice", ADMIN)
    await door.accounts.add_robot("acme+ci", Role.WRITE, ADMIN)
    return {
        "wrong": ("alice", "not the password"),
        "empty": ("alice", ""),
        "unknown": ("nobody", PASSWORD),
        "disabled, wrong": ("disabled", "not the password"),
        "disabled, right": ("disabled", PASSWORD),
        "deleted": ("gone", PASSWORD),
        "organization": ("acme", PASSWORD),
        "robot": ("acme+ci", PASSWORD),
        "no name": ("", PASSWORD),
        "hostile name": ("' OR 1=1 --\0", PASSWORD),
        "long": ("alice", "x" * 5000),
        "long and unknown": ("nobody", "x" * 5000),
    }


async def test_every_refusal_is_the_same_and_costs_the_same(door: Door) -> None:
    """SEC-027, SEC-030: unknown, wrong, disabled, deleted, without password, robot: one message and one hash each."""
    wrong = await several_accounts(door)
    door.passwords.close()
    for what, (name, secret) in wrong.items():
        with hashes_counted() as counts:
            fresh = Door(door.database, Passwords())
            assert await fresh.attempt(name, secret) == REFUSED, what
            fresh.passwords.close()
        assert counts == {"argon2": 1}, what


async def test_an_imported_account_costs_what_others_cost(door: Door) -> None:
    """SEC-030: wrong passwords of an account that came with a bcrypt hash, also ones that bcrypt cannot take, cost at
    least what those of an unknown account cost."""
    hashed = bcrypt.hashpw(b"from the old registry", bcrypt.gensalt(5)).decode()
    await door.accounts.import_users([f"bob:{hashed}"], ADMIN)
    door.passwords.close()
    for secret in ("wrong", "x" * 73, "nul\0in it", ""):
        with hashes_counted() as counts:
            fresh = Door(door.database, Passwords())
            assert await fresh.attempt("bob", secret) == REFUSED
            fresh.passwords.close()
        assert counts["argon2"] == 1, secret


async def test_only_what_is_right_is_remembered(door: Door) -> None:
    """Wrong credentials are verified each time; right ones once; a change of the account voids what is remembered."""
    door.passwords.close()
    with hashes_counted() as counts:
        fresh = Door(door.database, Passwords())
        for _ in range(3):
            assert await fresh.attempt("alice", "wrong") == REFUSED
        assert counts == {"argon2": 3}
        for _ in range(5):
            assert await fresh.attempt("alice", PASSWORD) == "alice"
        assert counts == {"argon2": 4}
        assert await fresh.attempt("alice", "wrong") == REFUSED
        await fresh.accounts.set_password("alice", "quite another one", ADMIN)
        await fresh.changes.refresh()
        assert await fresh.attempt("alice", PASSWORD) == REFUSED
        assert await fresh.attempt("alice", "quite another one") == "alice"
        await fresh.accounts.set_disabled("alice", ADMIN, is_disabled=True)
        await fresh.changes.refresh()
        assert await fresh.attempt("alice", "quite another one") == REFUSED
        fresh.passwords.close()


async def test_what_was_wrong_may_become_right(door: Door) -> None:
    """A password that was refused a moment ago is taken as soon as it is the account's."""
    assert await door.attempt("alice", "quite another one") == REFUSED
    await door.accounts.set_password("alice", "quite another one", ADMIN)
    assert await door.attempt("alice", "quite another one") == "alice"


async def test_names_and_passwords_are_not_joined(door: Door) -> None:
    """SEC-062: what is remembered of one name and password does not stand for another cut of the same text."""
    assert await door.attempt("alice", PASSWORD) == "alice"
    for name, secret in (("alic", f"e{PASSWORD}"), (f"alice{PASSWORD[0]}", PASSWORD[1:]), ("", f"alice{PASSWORD}")):
        assert await door.attempt(name, secret) == REFUSED


@pytest.mark.parametrize("long", ["p" * 80, "0123456789" * 8, "é" * 40, "p" * 1024])
async def test_no_password_is_cut(door: Door, long: str) -> None:
    """SEC-054: of a password of 80 bytes no part, no longer one, and none with a NUL is taken."""
    await door.accounts.add_user("bob", long, ADMIN)
    with_nul = (long + "\0", long[:72] + "\0" + long[72:], long[:8] + "\0", "\0" + long)
    for wrong in (long[:72], long[:-1], long + "x", *with_nul):
        if wrong != long:
            assert await door.attempt("bob", wrong) == REFUSED
    assert await door.attempt("bob", long) == "bob"


async def test_bcrypt_takes_no_more_than_it_looks_at(door: Door) -> None:
    """SEC-054: of an imported hash that another program made of the first 72 bytes, what is longer is refused, and so
    is what has a NUL after it."""
    long = "p" * 80
    hashed = bcrypt.hashpw(long[:72].encode(), bcrypt.gensalt(4)).decode()
    short = bcrypt.hashpw(b"abcdefgh", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    await door.accounts.import_users([f"bob:{hashed}", f"carol:{short}"], ADMIN)
    for wrong in (long, long[:79], long[:73], long + "x", long[:71], long[:72] + "\0", long[:71] + "\0"):
        assert await door.attempt("bob", wrong) == REFUSED
    for wrong in ("abcdefgh\0", "abcdefgh\0x", "abcdefg", "abcdefghi", "ABCDEFGH"):
        assert await door.attempt("carol", wrong) == REFUSED
    assert await door.attempt("carol", "abcdefgh") == "carol"


async def test_an_imported_hash_is_made_anew_at_login(door: Door) -> None:
    """SEC-054: bcrypt until the first login, Argon2id after it, with the same password; a wrong one changes nothing."""
    hashed = bcrypt.hashpw(b"from the old registry", bcrypt.gensalt(4)).decode()
    await door.accounts.import_users(["# users", "", f"bob:{hashed}"], ADMIN)
    assert await door.attempt("bob", "wrong") == REFUSED
    assert await door.stored("bob") == hashed
    assert await door.attempt("bob", "from the old registry") == "bob"
    assert (await door.stored("bob")).startswith("$argon2id$")
    again = Door(door.database, door.passwords)
    assert await again.attempt("bob", "from the old registry") == "bob"
    assert await again.attempt("bob", "wrong") == REFUSED


async def test_a_short_imported_password_still_logs_in(door: Door) -> None:
    """An account of an htpasswd file whose password is shorter than ours may be can log in, and can be told to change
    it; it is not locked out for good."""
    hashed = bcrypt.hashpw(b"short", bcrypt.gensalt(4)).decode()
    await door.accounts.import_users([f"bob:{hashed}"], ADMIN)
    assert await door.attempt("bob", "short") == "bob"


# Limits


async def test_failed_logins_are_counted_exactly(door: Door) -> None:
    """50 wrong passwords at once: as many as are allowed get looked at, the others 429 with the time to wait."""
    answers = await asyncio.gather(*(door.attempt("alice", f"wrong {number}") for number in range(50)))
    assert answers.count(REFUSED) == LIMITS.per_account
    assert sum(answer.startswith("TooManyRequests") for answer in answers) == 50 - LIMITS.per_account
    with pytest.raises(TooManyRequests) as refused:
        await door.login.basic("alice", PASSWORD, "198.51.100.7")
    assert refused.value.facts["retry_after_s"] == LIMITS.window_ms // 1000
    door.now += LIMITS.window_ms - 1
    assert (await door.attempt("alice", PASSWORD)).startswith("TooManyRequests")
    door.now += 1
    assert await door.attempt("alice", PASSWORD) == "alice"
    assert "account:alice" not in await door.counted()


@pytest.mark.parametrize("processes", [1, 4])
async def test_right_logins_at_once_lock_nobody(door: Door, processes: int) -> None:
    """A build farm behind one address after a restart: what is too many at once is 429 for now, and leaves no trace.
    What runs in another process has not failed either; that is known by SQL alone."""
    hashed = await door.passwords.hash(PASSWORD)
    few = LoginLimits(per_account=20, per_address=20, window_ms=LIMITS.window_ms)
    names = [f"builder{number}" for number in range(2 * few.per_address)]

    def add(connection: Connection) -> None:
        for name in names:
            assert accounts.add(connection, NewAccount(AccountName(name), accounts.USER, hashed), now=door.now)

    await door.database.write(add)
    doors = [Door(door.database, door.passwords, limits=few) for _ in range(processes)]
    answers = await asyncio.gather(
        *(doors[number % processes].attempt(name, PASSWORD) for number, name in enumerate(names))
    )
    refused = {answer for answer in answers if answer not in names}
    assert refused <= {"TooManyRequests: too many logins at once"} and refused
    for other in doors:
        assert [await other.attempt(name, PASSWORD) for name in names] == names


async def test_failures_in_several_processes_are_counted_together(door: Door) -> None:
    """As many as are allowed, wherever they were; then each refuses, for as long as the window."""
    doors = [door, *(Door(door.database, door.passwords) for _ in range(3))]
    answers = [await doors[number % 4].attempt("alice", f"wrong {number}") for number in range(LIMITS.per_account + 8)]
    assert answers.count(REFUSED) == LIMITS.per_account
    for other in doors:
        with pytest.raises(TooManyRequests, match="too many failed logins"):
            await other.login.basic("alice", PASSWORD, "203.0.113.1")


async def test_a_clock_that_was_wrong_locks_nobody_for_longer(door: Door) -> None:
    """Failures written by a clock that was a year ahead are those of no window."""
    right, door.now = door.now, door.now + 400 * 86_400_000
    for number in range(LIMITS.per_account + 1):
        await door.attempt("alice", f"wrong {number}")
    door.now = right
    assert await door.attempt("alice", PASSWORD, "192.0.2.77") == "alice"


async def test_a_token_as_the_name_is_not_written_down(door: Door) -> None:
    """SEC-013: some clients send a token as the name."""
    secret = await personal(door)
    assert await door.attempt(secret, "x-oauth-basic") == REFUSED
    written = await door.database.read(lambda connection: str(connection.execute(text("SELECT * FROM audit")).all()))
    assert secret not in written and "a personal token" in written


@pytest.mark.parametrize("is_over", [False, True])
async def test_failures_before_a_move_count_during_it(tmp_path: Path, *, is_over: bool) -> None:
    """A database that nobody can write to any more is still read: nobody gets new attempts by that, only by the end of
    a window."""
    database = SqliteDatabase(tmp_path / "registry.db")
    database.migrate()
    door = Door(database, Passwords())
    await Installation(database, MemoryStore(), door.clock).open()
    await door.accounts.add_user("alice", PASSWORD, ADMIN)
    for _ in range(LIMITS.per_account - 1):
        assert await door.attempt("alice", "wrong") == REFUSED
    await database.write(lambda connection: moved.close(connection, moved.Closed("postgresql://there", door.now)))
    door.now += LIMITS.window_ms if is_over else 0
    assert await door.attempt("alice", PASSWORD) == "alice"
    assert await door.attempt("alice", "wrong") == REFUSED
    after = await door.attempt("alice", "wrong")
    assert after == REFUSED if is_over else after.startswith("TooManyRequests: too many failed logins")
    door.passwords.close()
    database.close()


async def test_an_address_is_counted_over_all_names(door: Door) -> None:
    """100 wrong attempts of one address with as many names; another address, and one of a /64, go by themselves."""
    answers = [await door.attempt(f"user{number}", "wrong") for number in range(LIMITS.per_address + 5)]
    assert answers[: LIMITS.per_address] == [REFUSED] * LIMITS.per_address
    assert all(answer.startswith("TooManyRequests") for answer in answers[LIMITS.per_address :])
    assert (await door.attempt("alice", PASSWORD)).startswith("TooManyRequests")
    assert (await door.attempt("alice", PASSWORD, f"::ffff:{ADDRESS}")).startswith("TooManyRequests")
    assert await door.attempt("alice", PASSWORD, "192.0.2.2") == "alice"


async def test_a_network_of_ipv6_is_one_address(door: Door) -> None:
    """Who has one IPv6 address has 2^64 of them."""
    for number in range(LIMITS.per_address):
        assert await door.attempt(f"user{number}", "wrong", f"2001:db8::{number:x}") == REFUSED
    assert (await door.attempt("alice", PASSWORD, "2001:db8::ffff:1")).startswith("TooManyRequests")
    assert await door.attempt("alice", PASSWORD, "2001:db8:0:1::1") == "alice"


async def personal(door: Door) -> str:
    """A token of alice."""
    return (await door.tokens.create("alice", "t", TokenLimits(frozenset({TokenScope.READ})), ADMIN, life_s=None))[1]


async def test_a_token_of_a_locked_account_works(door: Door) -> None:
    """Who guesses passwords of an account locks out its password, not its machines."""
    secret = await personal(door)
    for number in range(LIMITS.per_account + 1):
        await door.attempt("alice", f"wrong {number}", "203.0.113.9")
    assert (await door.attempt("alice", PASSWORD)).startswith("TooManyRequests")
    assert await door.attempt("alice", secret) == "alice"
    assert await door.attempt("bob", secret) == REFUSED


async def test_what_is_right_is_never_a_failed_attempt(door: Door) -> None:
    """Many machines behind one address that log in at once with tokens that are right: none of them has to wait."""
    secrets = [await personal(door) for _ in range(LIMITS.per_address + 50)]
    answers = await asyncio.gather(*(door.attempt("alice", secret) for secret in secrets))
    assert answers == ["alice"] * len(secrets)
    assert await door.counted() == {}


async def test_who_was_turned_away_unheard_has_not_failed(door: Door) -> None:
    """When too many passwords wait to be looked at, the login that has to come again is no failed attempt."""
    others = [
        asyncio.ensure_future(door.attempt(f"user{number}", "wrong", f"198.51.100.{number}")) for number in range(200)
    ]
    await asyncio.sleep(0)
    mine = await asyncio.gather(*(Door(door.database, door.passwords).attempt("alice", PASSWORD) for _ in range(5)))
    answers = await asyncio.gather(*others)
    assert any(answer.startswith("TooManyRequests: too many logins at once") for answer in [*answers, *mine])
    unheard = [number for number, answer in enumerate(answers) if answer.startswith("TooManyRequests")]
    counted = await door.counted()
    assert [number for number in unheard if f"account:user{number}" in counted] == []
    assert "account:alice" not in counted


def test_attempts_are_limited_on_a_real_server(start_registry: Callable[..., Registry]) -> None:
    """50 wrong attempts at once over HTTP, half with Basic and half with forms: exactly 20 get 401, the others 429 with
    Retry-After; a personal token, an access token and a refresh token of the account go on; when the window is over, so
    does the password."""
    registry = start_registry("--login-window-s", "8", is_open=False)
    desk = Desk(registry.data)
    try:
        alice = desk.user("alice")
        machine = basic("alice", desk.personal_token("alice")[1])
    finally:
        desk.close()
    with registry.client() as client:
        begun = ask(client, alice, offline_token="true")

        def attempt(number: int) -> httpx2.Response:
            if number % 2:
                return client.get("/v2/", headers=basic("alice", f"wrong {number}"))
            form = {"grant_type": "password", "username": "alice", "password": f"wrong {number}"}
            return client.post("/token", data=form)

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(attempt, range(50)))
        assert Counter(answer.status_code for answer in answers) == {401: 20, 429: 30}
        waits = {int(answer.headers["retry-after"]) for answer in answers if answer.status_code == 429}
        assert waits <= set(range(1, 9))
        assert client.get("/token", headers=basic("alice", "wrong again")).status_code == 429
        assert client.get("/v2/", headers=machine).status_code == 200
        assert client.get("/v2/", headers=bearer(begun["token"])).status_code == 200
        assert refresh(client, begun["refresh_token"]).status_code == 200
        wait_until(lambda: client.get("/v2/", headers=basic("alice", PASSWORD)).status_code == 200, limit_s=12)


# The same over HTTP


def test_refusals_look_the_same_over_http(start_registry: Callable[..., Registry]) -> None:
    """SEC-027: unknown, wrong, disabled, without password, robot, and a token of somebody else: status, headers and
    body are equal, at the registry and at the token server."""
    registry = start_registry("--login-failures-per-account", "1000", is_open=False)
    desk = Desk(registry.data)
    try:
        desk.user("alice")
        desk.user("disabled")
        disabled_token = desk.personal_token("disabled")[1]
        desk.robot("alice+ci", Role.WRITE)
        token = desk.personal_token("alice")[1]
        desk.run(desk.accounts.set_disabled("disabled", ADMIN, is_disabled=True))
    finally:
        desk.close()
    wrong = [
        ("nobody", PASSWORD),
        ("alice", "wrong"),
        ("alice", ""),
        ("disabled", PASSWORD),
        ("disabled", disabled_token),
        ("alice+ci", PASSWORD),
        ("admin", token),
        ("alice", token[:-1] + "-"),
        ("alice", "dpat_" + "a" * 43),
        ("nobody", token),
    ]
    with registry.client() as client:
        for path in ("/v2/", "/v2/alice/app/manifests/v1", "/token?scope=repository:alice/app:pull"):
            seen = set()
            for name, secret in wrong:
                answer = client.get(path, headers=basic(name, secret))
                headers = [(key, value) for key, value in answer.headers.items() if key not in ("date", "x-request-id")]
                seen.add((answer.status_code, answer.text, tuple(headers)))
            assert len(seen) == 1, seen
            assert next(iter(seen))[0] == 401
