"""One-time codes through pages: each counts once, few may be guessed, none is written down. SEC-065."""

import base64
from collections.abc import Callable

import pytest

from tests.running import Registry
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Reader
from tests.web.affairs.test_sign_in import code_of, set_up, to_code

Open = Callable[[str], Reader]
GUESSES = 5


def _wrong(secret: bytes) -> str:
    return "000000" if code_of(secret) != "000000" else "111111"


@pytest.mark.parametrize("kind", ["one-time", "recovery"])
def test_sec_065_used_once_wherever(hub: Registry, browsers: Open, kind: str) -> None:
    """SEC-065: what signed somebody in neither signs in again nor proves anything, and the other way round."""
    name = f"once-{kind}"
    reader = browsers(name)
    secret, codes = set_up(reader)
    tables.change(hub, "UPDATE second_factors SET last_step = 0")
    given = codes[0] if kind == "recovery" else code_of(secret)
    reader.http.cookies.clear()
    to_code(reader, name)
    assert reader.send("/sign-in/code", code=given).path == "/settings/sign-in"
    other = browsers("")
    to_code(other, name)
    other.send("/sign-in/code", code=given, status=403).says("was used before")
    reader.get("/prove")
    reader.send("/prove", proof=given, status=403).says("This code is wrong")
    reader.get("/prove?next=/settings")
    assert reader.send("/prove", proof=codes[1]).path == "/settings"
    to_code(other, name)
    other.send("/sign-in/code", code=codes[1], status=403)
    other.get("/settings/sign-in")
    assert other.page is not None and other.page.path.startswith("/sign-in?")


@pytest.mark.parametrize("place", ["sign-in", "proof", "setting up"])
def test_sec_065_guesses_end(hub: Registry, browsers: Open, place: str) -> None:
    """SEC-065: after a few wrong ones not even the right one counts, from whatever browser; a right password gives no
    more of them."""
    name = f"guessed-{place.replace(' ', '-')}"
    reader = browsers(name)
    if place == "setting up":
        reader.get("/settings/second-factor")
        reader.send("/settings/second-factor")
        for number in range(GUESSES):
            reader.send("/settings/second-factor/code", code=f"{number}x", status=403)
        reader.send("/settings/second-factor/code", code="123456", status=429).says("Too many attempts")
        assert tables.scalar(hub, "SELECT count(*) FROM second_factors WHERE confirmed_at IS NOT NULL AND account_id ="
                                  " (SELECT id FROM accounts WHERE name = ?)", name) == 0  # fmt: skip
        return
    secret, codes = set_up(reader)
    tables.change(hub, "UPDATE second_factors SET last_step = 0")
    tables.change(hub, "DELETE FROM login_failures")
    statuses = [_guess(browsers, reader, name, place, _wrong(secret)) for _ in range(GUESSES + 1)]
    assert statuses == [403] * GUESSES + [429]
    for given in (codes[0], code_of(secret)):
        assert _guess(browsers, reader, name, place, given) == 429
    assert len(codes) == tables.scalar(
        hub, "SELECT count(*) FROM recovery_codes WHERE account_id = (SELECT id FROM accounts WHERE name = ?)", name
    )


def _guess(browsers: Open, reader: Reader, name: str, place: str, given: str) -> int:
    """The status of one attempt: for signing in with a browser of its own, which has just shown the password."""
    if place == "proof":
        return reader.http.post("/prove", data={"proof": given, "csrf": reader.word}).status_code
    other = browsers("")
    to_code(other, name)
    return other.http.post("/sign-in/code", data={"code": given}).status_code


def test_sec_065_nothing_is_written_down(hub: Registry, browsers: Open) -> None:
    """SEC-065, SEC-013: neither secret nor codes nor passwords, right or wrong, in the log, the audit or the
    database."""
    reader = browsers("discreet")
    secret, codes = set_up(reader)
    reader.http.cookies.clear()
    to_code(reader, "discreet")
    reader.send("/sign-in/code", code="wrongcode-7351", status=403)
    reader.send("/sign-in/code", code=codes[3])
    reader.http.post("/sign-in", data={"name": "discreet", "password": "wrongword-7351"})
    reader.http.post("/sign-in?password=wrongword-7351", data={"name": "discreet", "password": "wrongword-7351"})
    typed = base64.b32encode(secret).decode().rstrip("=")
    written = hub.log.read_text(encoding="utf-8") + repr(tables.cells(hub))
    assert "discreet" in written
    for one in (typed, repr(secret)[2:-1], *codes, codes[3].replace("-", ""), PASSWORD, "wrongcode-7351"):
        assert one not in written, one
    assert "wrongword-7351" not in written
