"""How much one client may ask for: counted for each by itself."""

from collections.abc import Callable

import httpx2

from registry.core.digest import Digest
from tests.reliability.client import expect
from tests.reliability.tenants import ALICE, BOB, Person, add_user, code, personal_token, scope
from tests.running import Registry, wait_until


def too_many(answer: httpx2.Response) -> bool:
    """Whether it is 429, which then says everything that a client needs."""
    if answer.status_code != 429:
        return False
    assert code(answer) == "TOOMANYREQUESTS"
    assert int(answer.headers["retry-after"]) >= 1
    return True


def test_requests_are_limited_for_each(start_registry: Callable[..., Registry]) -> None:
    """SEC-063: alice over her limit is alice in every form, and neither bob nor strangers; no forwarded address gets a
    stranger out of its own; after a while each may go on."""
    registry = start_registry("--requests-per-second", "1", is_open=False)
    for person in (ALICE, BOB):
        add_user(registry, person)
    token = personal_token(registry, ALICE)
    bearer = ALICE.headers(registry, "bearer", scope("alice/x"))
    with httpx2.Client(base_url=registry.url, timeout=60) as client:
        wait_until(lambda: too_many(client.get("/v2/", headers=ALICE.basic)), what="the limit of alice")
        # A whole burst refills in ten seconds, one request in one: some of these come too soon, whatever their form.
        for headers in (ALICE.basic, token.basic, bearer):
            assert any(too_many(client.get("/v2/", headers=headers)) for _ in range(5))
        assert client.get("/v2/", headers=BOB.basic).status_code == 200
        wait_until(lambda: too_many(client.get("/v2/")), what="the limit of a stranger")
        forged = [{"x-forwarded-for": f"203.0.113.{number}", "x-real-ip": "1.2.3.4"} for number in range(5)]
        assert any(too_many(client.get("/v2/", headers=headers)) for headers in forged)
        assert any(too_many(client.get("/token", headers=headers)) for headers in forged)
        assert client.get("/v2/", headers=BOB.basic).status_code == 200
        assert client.get("/livez").status_code == 200
        wait_until(lambda: client.get("/v2/", headers=ALICE.basic).status_code == 200, what="the end of the wait")


def test_the_token_server_is_limited(start_registry: Callable[..., Registry]) -> None:
    """Requests for tokens count for their address, whatever name they show."""
    registry = start_registry("--requests-per-second", "1", is_open=False)
    with httpx2.Client(base_url=registry.url, timeout=60) as client:
        wait_until(lambda: too_many(client.get("/token")), what="the limit")
        assert any(too_many(client.get("/token", headers=Person("x", "y").basic)) for _ in range(5))
        assert any(too_many(client.post("/token", data={"grant_type": "x"})) for _ in range(5))
        wait_until(lambda: client.get("/token").status_code == 200, what="the end of the wait")


def test_addresses_behind_a_proxy_are_limited_apart(start_registry: Callable[..., Registry]) -> None:
    """SEC-063: behind a trusted proxy each client has its own limit."""
    registry = start_registry("--requests-per-second", "1", "--trusted-proxies", "127.0.0.0/8", is_open=False)
    with httpx2.Client(base_url=registry.url, timeout=60) as client:
        first, second = ({"x-forwarded-for": f"6.6.6.6, 203.0.113.{number}"} for number in (1, 2))
        wait_until(lambda: too_many(client.get("/v2/", headers=first)), what="the limit")
        assert client.get("/v2/", headers=second).status_code == 401


def test_open_uploads_are_limited(start_registry: Callable[..., Registry]) -> None:
    """An account with all its uploads open gets 429 until it ends one, however; another is not concerned."""
    registry = start_registry("--uploads-per-account", "3", is_open=False)
    for person in (ALICE, BOB):
        add_user(registry, person)
    token = personal_token(registry, ALICE)
    uploads = "/v2/alice/x/blobs/uploads/"
    with ALICE.client(registry) as alice, BOB.client(registry) as bob, token.client(registry) as same:
        open_now = [expect(alice.post(uploads), 202).headers["location"] for _ in range(3)]
        for client in (alice, same):
            assert too_many(client.post(uploads))
            assert too_many(client.post(f"{uploads}?digest={Digest.of(b'x')}", content=b"x"))
        expect(bob.post("/v2/bob/x/blobs/uploads/"), 202)
        expect(alice.delete(open_now.pop()), 204)
        open_now.append(expect(alice.post(uploads), 202).headers["location"])
        assert too_many(alice.post(uploads))
        expect(alice.put(f"{open_now.pop()}?digest={Digest.of(b'x')}", content=b"x"), 201)
        open_now.append(expect(alice.post(uploads), 202).headers["location"])
        assert too_many(alice.post(uploads))
        # A wrong digest ends an upload too, and what came whole never stays open.
        assert alice.put(f"{open_now.pop()}?digest={Digest.of(b'y')}", content=b"x").status_code == 400
        for content in (b"1", b"2", b"3"):
            expect(alice.post(f"{uploads}?digest={Digest.of(content)}", content=content), 201)
