"""Sessions on real servers: several workers, what a cookie opens and what it does not, and that it ends everywhere."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from registry.auth.cookies import SESSION
from registry.core.limits import ACCESS_STALE_S
from registry.services.attempts import LoginLimits
from registry.services.changes import Changes
from registry.services.clock import system_clock
from registry.services.login import Login
from registry.services.sessions import Opening, Session, SessionLimits, Sessions, Visitor
from tests.reliability.hub import ADMIN, ORIGIN, PASSWORD, Desk, basic
from tests.running import Registry, wait_until

WORKERS = 4
REQUESTS = 100
PAGE = "/preferences"


@dataclass
class Stage:
    """A server with several workers, a desk beside it, and alice's session."""

    registry: Registry
    desk: Desk
    secret: str
    session: Session

    @property
    def cookie(self) -> dict[str, str]:
        """As a browser sends it."""
        return {"cookie": SESSION.set(self.secret, is_https=False, life_s=1).partition(";")[0]}

    def client(self, **headers: str) -> httpx2.Client:
        """A browser with the session."""
        return httpx2.Client(base_url=self.registry.url, timeout=60, headers={**self.cookie, **headers})

    def fresh(self, **headers: str) -> httpx2.Response:
        """The answer to who one is, on a new connection, which is another worker's now and then."""
        with self.client(**headers) as client:
            return client.get("/api/v1/me")


def sign_in(desk: Desk) -> tuple[str, Session]:
    """A session of alice, made as a page makes it."""
    changes = Changes(desk.database)
    login = Login(desk.database, changes, desk._passwords, system_clock, LoginLimits(20, 20, 900_000))
    limits = SessionLimits(idle_ms=86_400_000, life_ms=86_400_000)
    sessions = Sessions(desk.database, changes, login.attempts, system_clock, limits)

    async def begin() -> tuple[str, Session]:
        account = await login.password("alice", PASSWORD, None)
        opening = Opening(
            account.id, account.name, account.revision, "password", needs_second_factor=False, visitor=Visitor(None)
        )
        signed_in = await sessions.begin(opening)
        found = await sessions.read(signed_in.secret, None)
        assert found is not None
        return signed_in.secret, found

    return desk.run(begin())


@pytest.fixture
def stage(start_registry: Callable[..., Registry]) -> Iterator[Stage]:
    """With alice."""
    flags = ("--workers", str(WORKERS), "--external-url", ORIGIN, "--requests-per-second", "0")
    registry = start_registry(*flags, is_open=False)
    desk = Desk(registry.data)
    desk.user("alice")
    yield Stage(registry, desk, *sign_in(desk))
    desk.close()


def test_every_worker_knows_a_session_and_its_word(stage: Stage) -> None:
    """SEC-024: four workers, many connections: each finds the session, and takes the word that another one has made."""
    for _ in range(REQUESTS):
        answer = stage.fresh()
        assert answer.status_code == 200 and answer.json()["name"] == "alice"
        with stage.client() as client:
            form = {"csrf": stage.session.word, "theme": "dark"}
            assert client.post(PAGE, data=form, headers={"origin": ORIGIN, "host": "registry.test"}).status_code == 303


def test_what_other_sites_send_changes_nothing(stage: Stage) -> None:
    """SEC-023: with the cookie and without the word, or from another site even with it: forms, JSON and texts."""
    word = stage.session.word
    with stage.client(host="registry.test") as client:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json", ""):
            for origin in (None, ORIGIN):
                headers = {"content-type": kind} | ({} if origin is None else {"origin": origin})
                answer = client.post(PAGE, content=b"theme=dark", headers=headers)
                assert answer.status_code in (400, 403, 415) and "set-cookie" not in answer.headers, (kind, origin)
        for headers in (
            {"origin": "http://evil.example.com"},
            {"origin": "null"},
            {"origin": f"{ORIGIN}.evil.example.com"},
            {"origin": "http://sub.registry.test"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        ):
            answer = client.post(PAGE, data={"csrf": word, "theme": "dark"}, headers=headers)
            assert answer.status_code == 403 and "set-cookie" not in answer.headers, headers
        for wrong in ("", word[:-1], word + "x", stage.secret, "é"):
            answer = client.post(PAGE, data={"csrf": wrong, "theme": "dark"}, headers={"origin": ORIGIN})
            assert answer.status_code == 403, wrong


def test_a_cookie_is_nothing_to_the_distribution_api(stage: Stage) -> None:
    """SEC-023, SEC-061: `/v2/` and `/token` know credentials of clients alone, and the secret of a session is none."""
    with stage.client() as client:
        for path in ("/v2/", "/v2/_catalog", "/v2/alice/app/tags/list", "/v2/alice/app/manifests/v1"):
            assert client.get(path).status_code == 401, path
        assert client.post("/v2/alice/app/blobs/uploads/").status_code == 401
        anonymous = client.get("/token", params={"scope": "repository:alice/app:push"}).json()
        assert anonymous["scope"] == ""
        for shown in ({"authorization": f"Bearer {stage.secret}"}, basic("alice", stage.secret)):
            assert client.get("/v2/", headers=shown).status_code == 401
            # And a header that is wrong is not made good by a cookie.
            assert client.get("/api/v1/me", headers=shown).status_code == 401


def test_two_cookies_are_none(stage: Stage) -> None:
    """Which one would count? And the name that is for https does not count here."""
    double = f"{stage.cookie['cookie']}; {stage.cookie['cookie']}"
    assert stage.fresh(cookie=double).status_code == 401
    assert stage.fresh(cookie=f"__Host-{stage.cookie['cookie']}").status_code == 401
    assert stage.fresh().status_code == 200


@pytest.mark.parametrize("how", ["password", "disabled", "signed out"])
def test_a_session_ends_on_every_worker_within_the_bound(stage: Stage, how: str) -> None:
    """SEC-012: whatever worker has it in memory."""
    for _ in range(10 * WORKERS):
        assert stage.fresh().status_code == 200
    accounts = stage.desk.accounts
    began = time.monotonic()
    if how == "password":
        stage.desk.run(accounts.set_password("alice", "another password", ADMIN))
    elif how == "disabled":
        stage.desk.run(accounts.set_disabled("alice", ADMIN, is_disabled=True))
    else:
        assert asyncio.run(accounts.sign_out("alice", ADMIN)) == 1
    wait_until(lambda: stage.fresh().status_code == 401, limit_s=ACCESS_STALE_S)
    wait_until(lambda: time.monotonic() - began > ACCESS_STALE_S, limit_s=2 * ACCESS_STALE_S)
    assert {stage.fresh().status_code for _ in range(20 * WORKERS)} == {401}
    assert stage.secret not in stage.registry.output()
