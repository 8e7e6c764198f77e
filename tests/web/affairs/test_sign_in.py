"""Signing in, out and up; the second factor; showing once more who one is."""

import base64
import re
import threading
import time
from collections.abc import Callable

import httpx2
import pytest

from registry.auth import totp
from tests.running import ADMIN_PASSWORD, Registry
from tests.spec.callers import claims_of
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Page, Reader

Open = Callable[[str], Reader]
AWAY = [
    *("//evil.test", "/\\evil.test", "/%2f%2fevil.test", "/%5cevil.test", "https:evil.test", "https://evil.test"),
    *(
        "javascript:alert(1)",
        "/x\r\nset-cookie: a=b",
        "/\t/evil.test",
        "/../..//evil.test",
        "evil.test",
        "///evil.test",
    ),
    *("/%252f%252fevil.test", "//127.0.0.1@evil.test", "/.//evil.test", "/x/..//evil.test"),
]


class TestSigningIn:
    """By name and password."""

    def test_it_leads_back(self, hub: Registry, browsers: Open) -> None:
        """Who opens a page of its own signs in, and is there."""
        reader = browsers("")
        page = reader.get("/settings/tokens?x=1")
        assert page.path == "/sign-in?next=%2Fsettings%2Ftokens%3Fx%3D1"
        page = reader.send("/sign-in", name="admin", password=ADMIN_PASSWORD)
        assert page.path == "/settings/tokens?x=1"
        assert reader.get("/sign-in?next=/settings/sessions").path == "/settings/sessions"

    def test_it_ends(self, browsers: Open) -> None:
        """The cookie that was there counts no more, wherever it was kept."""
        reader = browsers("leaver")
        kept = dict(reader.http.cookies)
        reader.get("/settings/sign-in")
        reader.send("/sign-out")
        reader.http.cookies.update(kept)
        assert reader.get("/settings/sign-in").path.startswith("/sign-in?")

    def test_the_secret_changes(self, browsers: Open) -> None:
        """Whoever signs in gets another cookie, whatever was there before; the session of that one ends."""
        reader = browsers("rotator")
        before = reader.http.cookies["depotry"]
        answer = reader.http.post("/sign-in", data={"name": "rotator", "password": PASSWORD, "csrf": _word(reader)})
        assert answer.status_code == 303 and answer.cookies["depotry"] != before
        reader.http.cookies.clear()
        reader.http.cookies.set("depotry", before)
        assert reader.get("/settings/sign-in").path.startswith("/sign-in?")

    def test_sec_023_the_cookie(self, hub: Registry) -> None:
        """SEC-023: no script reads it, no other site sends it with a form, and `/v2` and the token server do not know
        it."""
        with hub.client() as client:
            answer = client.post("/sign-in", data={"name": "admin", "password": ADMIN_PASSWORD})
            attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= attributes
            assert client.cookies["depotry"]
            assert client.get("/v2/").status_code == 401
            assert client.get("/v2/_catalog").status_code == 401
            assert claims_of(client.get("/token").json()["token"])["sub"] == ""
            assert client.get("/api/v1/me").status_code == 200

    def test_sec_027_whatever_is_wrong_looks_alike(self, hub: Registry, browsers: Open) -> None:
        """SEC-027: a name that nobody has, a wrong password, a disabled account."""
        browsers("tester")
        gone = browsers("goner")
        tables.change(hub, "UPDATE accounts SET disabled_at = 1 WHERE name = 'goner'")
        gone.http.cookies.clear()
        reader, seen = browsers(""), []
        for name, password in (("nobody-at-all", "x" * 9), ("tester", "wrong password"), ("goner", PASSWORD)):
            reader.get("/sign-in")
            page = reader.send("/sign-in", name=name, password=password, status=403)
            seen.append(page.answer.text.replace(name, "NAME"))
            assert "set-cookie" not in page.answer.headers
        assert len(set(seen)) == 1

    def test_too_many_attempts(self, tmp_path: object, start_registry: Callable[..., Registry]) -> None:
        """They are refused before the password is looked at, and the page says so."""
        registry = start_registry("--login-failures-per-account", "2", is_open=False)
        reader = Reader(registry)
        for _ in range(2):
            reader.get("/sign-in")
            reader.send("/sign-in", name="admin", password="wrong password", status=403)
        reader.get("/sign-in")
        page = reader.send("/sign-in", name="admin", password=ADMIN_PASSWORD, status=429)
        page.says("Too many attempts")
        assert int(page.answer.headers["retry-after"]) > 0
        reader.close()

    @pytest.mark.parametrize("target", AWAY)
    def test_sec_031_it_leads_nowhere_else(self, hub: Registry, browsers: Open, target: str) -> None:
        """SEC-031: whatever `next` says, in the query or in the form, signed in or not."""
        with hub.client() as client:
            answer = client.post("/sign-in", data={"name": "admin", "password": ADMIN_PASSWORD, "next": target})
            assert answer.status_code == 303 and answer.headers["location"] == "/"
            answer = client.get("/sign-in", params={"next": target})
            assert answer.status_code == 303 and answer.headers["location"] == "/"
            page = Page.of(client.get("/prove", params={"next": target}))
            assert page.form("/prove").fields["next"] == ["/"]
            word = page.form("/prove").fields["csrf"][0]
            proof = {"next": target, "proof": ADMIN_PASSWORD, "csrf": word}
            assert client.post("/prove", data=proof).headers["location"] == "/"
            choice = {"next": target, "theme": "dark", "csrf": word}
            assert _is_here(client.post("/preferences", data=choice).headers["location"])

    def test_where_nobody_can_sign_in(self, start_registry: Callable[..., Registry]) -> None:
        """A registry that is open to everybody has no such pages."""
        registry = start_registry()
        with registry.client() as client:
            for path in ("/sign-in", "/sign-up", "/sign-in/code", "/sign-in/provider", "/sign-in/callback"):
                assert client.get(path).status_code == 404, path
            assert client.get("/settings/tokens").status_code == 403


class TestSigningUp:
    """Where everybody may."""

    def test_what_is_wrong_is_said(self, browsers: Open) -> None:
        """Beside the field, and what was typed stays, but for the passwords."""
        reader = browsers("")
        for fields, text in (
            ({"name": "Not A Name", "password": PASSWORD, "again": PASSWORD}, "This name cannot be used"),
            ({"name": "admin", "password": PASSWORD, "again": PASSWORD}, "This name cannot be used"),
            ({"name": "fresh", "password": "short", "again": "short"}, "at least 8 characters"),
            ({"name": "fresh", "password": PASSWORD, "again": "another one"}, "not the same"),
        ):
            reader.get("/sign-up")
            page = reader.send("/sign-up", None, status=400, **fields).says(text)
            assert page.form("/sign-up").fields["name"] == [fields["name"]]
            assert page.form("/sign-up").fields["password"] == [""]

    def test_it_is_closed(self, start_registry: Callable[..., Registry]) -> None:
        """By default an admin makes accounts."""
        registry = start_registry(is_open=False)
        with registry.client() as client:
            assert client.get("/sign-up").status_code == 404
            fields = {"name": "fresh", "password": PASSWORD, "again": PASSWORD}
            assert client.post("/sign-up", data=fields).status_code == 404
            assert "/sign-up" not in client.get("/sign-in").text


class TestSecondFactor:
    """Codes of an app, and recovery codes."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Set up, used to sign in, other recovery codes, turned off."""
        reader = browsers("factor")
        secret, codes = set_up(reader)
        assert len(codes) == 10
        again = browsers("")
        page = to_code(again, "factor")
        again.send("/sign-in/code", code="000000", status=403).says("This code is wrong")
        # The one that turned it on was used.
        again.send("/sign-in/code", code=code_of(secret), status=403).says("was used before")
        page = again.send("/sign-in/code", code=codes[0].upper().replace("-", " "))
        assert page.path == "/settings/sign-in"
        page.says("9 are left")
        assert _logs_in(hub, "factor") == 401
        page = again.send("/settings/second-factor/codes")
        new = re.findall(r"<code>([0-9a-z-]{19})</code>", page.answer.text)
        assert len(new) == 10 and not set(new) & set(codes)
        reader.http.cookies.clear()
        to_code(reader, "factor")
        reader.send("/sign-in/code", code=codes[1], status=403)
        reader.send("/sign-in/code", code=new[1])
        again.get("/settings/second-factor/off")
        again.send("/settings/second-factor/off").says("The second factor is off")
        assert _logs_in(hub, "factor") == 200

    def test_a_password_alone_opens_nothing(self, browsers: Open) -> None:
        """The session between the two steps is good for the second one only."""
        reader = browsers("halfway")
        set_up(reader)
        reader.http.cookies.clear()
        to_code(reader, "halfway")
        for path in ("/settings/sign-in", "/settings/tokens", "/settings/sessions", "/prove"):
            answer = reader.http.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?"), path
        assert reader.http.get("/api/v1/me").status_code == 401

    def test_who_has_none_is_not_asked(self, browsers: Open) -> None:
        """The page for the code leads to the one for the password."""
        reader = browsers("")
        assert reader.get("/sign-in/code?next=/settings").path == "/sign-in?next=%2Fsettings"
        page = reader.post("/sign-in/code", {"code": "123456"}, status=403)
        page.says("begin again")

    def test_sec_065_a_code_counts_once(self, hub: Registry, browsers: Open) -> None:
        """SEC-065: fifty browsers that have shown the password use one recovery code, and one one-time code, at once:
        one of them is signed in."""
        reader = browsers("onetime")
        secret, codes = set_up(reader)
        tables.change(hub, "UPDATE second_factors SET last_step = 0")
        for given in (codes[5], code_of(secret)):
            assert _at_once(hub, "onetime", given, 12 if given != codes[5] else 50) == 1


def _at_once(hub: Registry, name: str, given: str, count: int) -> int:
    """How many of so many browsers a code lets in."""
    clients = [hub.client() for _ in range(count)]
    statuses: list[int] = []
    try:
        for client in clients:
            assert client.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
        start = threading.Barrier(count)

        def show(client: httpx2.Client) -> None:
            start.wait(30)
            statuses.append(client.post("/sign-in/code", data={"code": given}).status_code)

        threads = [threading.Thread(target=show, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        signed_in = sum(client.get("/api/v1/me").status_code == 200 for client in clients)
    finally:
        for client in clients:
            client.close()
    assert len(statuses) == count and set(statuses) <= {303, 403, 429}
    assert statuses.count(303) == signed_in
    return signed_in


class TestProof:
    """Before something dangerous."""

    def test_an_old_session_shows_it_again(self, hub: Registry, browsers: Open) -> None:
        """Ten minutes after signing in, and is led back."""
        reader = browsers("prover")
        _sign_in_long_ago(hub, reader)
        page = reader.get("/settings/tokens/new?x=1")
        assert page.path == "/prove?next=%2Fsettings%2Ftokens%2Fnew%3Fx%3D1"
        reader.send("/prove", proof="wrong password", status=403).says("The password is wrong")
        assert reader.send("/prove", proof=PASSWORD).path == "/settings/tokens/new?x=1"

    def test_a_form_leads_back_to_its_page(self, hub: Registry, browsers: Open) -> None:
        """What was sent is not done, and the page where it was filled in is there again."""
        reader = browsers("formal")
        _sign_in_long_ago(hub, reader)
        reader.get("/settings/sign-in")
        fields = {"csrf": reader.word, "password": "another password", "again": "another password"}
        page = reader.post("/settings/password", fields)
        assert page.path == "/prove?next=%2Fsettings%2Fsign-in"
        assert reader.send("/prove", proof=PASSWORD).path == "/settings/sign-in"
        reader.post("/settings/password", fields).says("The password is changed")

    def test_a_second_factor_is_asked_for(self, hub: Registry, browsers: Open) -> None:
        """The password alone proves nothing then."""
        reader = browsers("careful")
        _, codes = set_up(reader)
        reader.http.cookies.clear()
        to_code(reader, "careful")
        reader.http.post("/sign-in/code", data={"code": codes[0]})
        tables.change(hub, "UPDATE sessions SET proved_at = 0")
        reader.get("/settings/password").says("authenticator app")
        reader.send("/prove", proof=PASSWORD, status=403).says("This code is wrong")
        assert reader.send("/prove", proof=codes[1]).path == "/settings/password"


def _sign_in_long_ago(hub: Registry, reader: Reader) -> None:
    """A session whose person has not shown for long who it is, and that no worker remembers yet."""
    reader.http.cookies.clear()
    answer = reader.http.post("/sign-in", data={"name": reader.name, "password": PASSWORD})
    assert answer.status_code == 303
    tables.change(hub, "UPDATE sessions SET proved_at = 0 WHERE id = (SELECT max(id) FROM sessions)")


def _word(reader: Reader) -> str:
    reader.get("/settings/sign-in")
    return reader.word


def _is_here(place: str) -> bool:
    return place.startswith("/") and not place.startswith(("//", "/\\"))


def _logs_in(hub: Registry, name: str) -> int:
    with hub.client((name, PASSWORD)) as client:
        return client.get("/v2/").status_code


def code_of(secret: bytes) -> str:
    """What the app shows now."""
    return totp.code(secret, totp.step_at(int(time.time() * 1000)))


def set_up(reader: Reader) -> tuple[bytes, list[str]]:
    """Turn it on; the secret, and the recovery codes."""
    reader.get("/settings/second-factor")
    page = reader.send("/settings/second-factor")
    typed = re.search(r'data-copy="((?:[A-Z2-7]{4} ?)+)"', page.answer.text)
    assert typed is not None, page.answer.text
    secret = base64.b32decode(typed[1].replace(" ", ""))
    reader.send("/settings/second-factor/code", code="999999" if code_of(secret) != "999999" else "1", status=403)
    page = reader.send("/settings/second-factor/code", code=code_of(secret))
    return secret, re.findall(r"<code>([0-9a-z-]{19})</code>", page.answer.text)


def to_code(reader: Reader, name: str) -> Page:
    """Show the password; the page that asks for the code."""
    reader.get("/sign-in?next=/settings/sign-in")
    page = reader.send("/sign-in", name=name, password=PASSWORD)
    assert page.path == "/sign-in/code?next=%2Fsettings%2Fsign-in"
    return page
