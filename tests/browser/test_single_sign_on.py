"""Single sign-on as people live it: in a real browser, at a provider of another site.

The provider is at `localhost` and the registry at 127.0.0.1: for a browser these are two sites, so that what it does
with cookies, forms and policies between them counts here as it does between two companies.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from registry.auth import sealing, totp
from registry.core.limits import SIGN_IN_MS
from registry.services.single_sign_on import PURPOSE
from tests.backends.oidc import (
    CLIENT_ID,
    CLIENT_SECRET,
    Canned,
    Claims,
    IdentityProvider,
    RealProvider,
    real_provider,
)
from tests.browser.browsing import Window, browser, window
from tests.running import ADMIN_PASSWORD, STILL, Pair, Registry, free_port
from tests.web.affairs import tables

PASSWORD = "a rainy day in lisbon"
LIMIT_MS = 10_000.0
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
FLAGS = (*STILL, "--requests-per-second", "0", "--login-failures-per-address", "1000")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for everybody."""
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def there() -> Iterator[IdentityProvider]:
    """The provider, who knows some people."""
    names = ("uma", "vic", "wes", "xia", "yan", "zoe", "kim", "lea", "max", "nia", "admin")
    people: dict[str, Claims] = {f"{name}-there": {"preferred_username": name} for name in names}
    found = IdentityProvider(people=people, host="localhost")
    yield found
    found.close()


def _started(folder: Path, issuer: str, *flags: str) -> Registry:
    secret = folder / "secret"
    secret.write_text(CLIENT_SECRET, encoding="utf-8")
    of_provider = ("--oidc-issuer", issuer, "--oidc-client-id", CLIENT_ID, "--oidc-client-secret-file", str(secret))
    return Registry.start(folder / "data", *FLAGS, *of_provider, *flags, is_open=False, pair=Pair("its own"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, there: IdentityProvider) -> Iterator[Registry]:
    """A registry where whoever comes from the provider gets an account."""
    registry = _started(tmp_path_factory.mktemp("hub"), there.issuer, "--oidc-sign-up")
    for name in ("linda", "lars", "mona"):
        registry.command("user", "add", name, "--password-stdin", stdin=f"{PASSWORD}\n")
    yield registry
    registry.kill()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, there: IdentityProvider) -> Iterator[Registry]:
    """One where passwords are for admins, and accounts are made by them."""
    registry = _started(tmp_path_factory.mktemp("strict"), there.issuer, "--oidc-only")
    yield registry
    registry.kill()


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One whose provider is not there. Its admin is somebody of it."""
    issuer = f"http://localhost:{free_port()}"
    registry = _started(tmp_path_factory.mktemp("lost"), issuer, "--oidc-sign-up")
    registry.command("user", "add", "lars", "--password-stdin", stdin=f"{PASSWORD}\n")
    registry.command("user", "link", "admin", "admin-there", "--issuer", issuer)
    yield registry
    registry.kill()


@contextmanager
def opened(
    chrome: Browser, registry: Registry, friend: str = "", *, width: int = 1280, scheme: str = "light"
) -> Iterator[Window]:
    """A window that may go to the provider, and at its end has seen nothing else that is strange."""
    parts = urlsplit(friend)
    with window(chrome, registry.url, width=width, scheme=scheme, friend=f"{parts.scheme}://{parts.netloc}") as seen:
        seen.page.set_default_timeout(LIMIT_MS)
        yield seen
        seen.require_clean()


@pytest.fixture
def seen(chrome: Browser, hub: Registry, there: IdentityProvider) -> Iterator[Window]:
    """A window on the registry, of nobody yet."""
    with opened(chrome, hub, there.issuer) as found:
        yield found


# What people do


def _go_there(page: Page) -> None:
    """From the form for signing in to the provider."""
    page.get_by_role("link", name="Sign in with localhost").click()
    expect(page).to_have_title("Who are you?")


def _be(page: Page, name: str) -> None:
    """Say there who one is."""
    page.get_by_role("button", name=f"{name}-there", exact=True).click()


def _refuse(page: Page) -> None:
    page.get_by_role("button", name="Nobody", exact=True).click()


def _sign_in(seen: Window, name: str, target: str = "/repositories") -> None:
    """At the provider."""
    seen.go(f"/sign-in?next={target}")
    _go_there(seen.page)
    _be(seen.page, name)
    seen.page.wait_for_url(f"{seen.url}{target}")


def _sign_in_here(seen: Window, name: str, password: str = PASSWORD, target: str = "/repositories") -> None:
    """With a password."""
    seen.go(f"/sign-in?next={target}")
    seen.page.locator("#name").fill(name)
    seen.page.locator("#password").fill(password)
    seen.page.locator("main form button").click()
    seen.page.wait_for_url(lambda url: not urlsplit(url).path.startswith("/sign-in"))


def _sign_out(page: Page) -> None:
    page.locator(".user-button").click()
    page.get_by_role("button", name="Sign out").click()


def _is_signed_in(seen: Window, name: str) -> None:
    expect(seen.page.locator(".user-button")).to_have_attribute("aria-label", f"Menu of {name}")


def _is_signed_out(seen: Window) -> None:
    assert seen.page.locator(".user-button").count() == 0
    assert "depotry" not in {cookie.get("name") for cookie in seen.context.cookies()}


def _says(page: Page, text: str) -> None:
    expect(page.locator("main [role=alert]")).to_contain_text(text)


def _callback(seen: Window, name: str) -> str:
    """The address at which the browser comes back, by somebody who signs in now."""
    met: list[str] = []

    def note(request: Request) -> None:
        if "/sign-in/callback" in request.url:
            met.append(request.url)

    seen.page.on("request", note)
    _be(seen.page, name)
    seen.page.wait_for_url(lambda url: "/authorize" not in url)
    seen.page.remove_listener("request", note)
    [address] = met
    return address.removeprefix(seen.url)


@contextmanager
def _nothing_changes(registry: Registry) -> Iterator[None]:
    """But that an answer was given: it counts no second time."""
    before = tables.everything(registry)
    yield
    after = tables.everything(registry)
    assert {**after, "sign_ons": None} == {**before, "sign_ons": None}


# There and back


def test_there_and_back(seen: Window, hub: Registry, there: IdentityProvider) -> None:
    """Who comes for the first time gets an account, and is back on the page where the way began; the second time it is
    the same account. The pages' policy lets no form lead elsewhere, and nothing of this needs one that does."""
    seen.go("/explore?sort=name&q=a%26b")
    seen.page.get_by_role("link", name="Sign in", exact=True).click()
    assert seen.page.get_by_role("link", name=f"Sign in with localhost:{there.port}").is_visible()
    _go_there(seen.page)
    assert parse_qs(urlsplit(seen.page.url).query)["code_challenge_method"] == ["S256"]
    _be(seen.page, "uma")
    seen.page.wait_for_url(f"{seen.url}/explore?sort=name&q=a%26b")
    _is_signed_in(seen, "uma")
    seen.go("/settings/sign-in")
    expect(seen.page.locator("main")).to_contain_text("You sign in at the identity provider.")
    expect(seen.page.locator("main")).to_contain_text(there.issuer)
    with seen.context.expect_page() as other:
        seen.page.evaluate("window.open('/sign-in?next=/settings', '_blank')")
    other.value.wait_for_url(f"{seen.url}/settings")
    other.value.close()
    _sign_out(seen.page)
    _sign_in(seen, "uma")
    assert tables.scalar(hub, "SELECT count(*) FROM accounts WHERE name = 'uma'") == 1


def test_a_form_never_leads_to_the_provider(seen: Window, there: IdentityProvider) -> None:
    """Chromium would stop it there: who signs in with a password while `next` names the way to the provider is let in,
    and stays here."""
    _sign_in_here(seen, "mona", target="/sign-in/provider%3Fnext=/explore")
    assert seen.page.url == f"{seen.url}/"
    _is_signed_in(seen, "mona")
    answer = seen.page.request.get(f"{seen.url}/sign-in")
    assert "form-action 'self'" in answer.headers["content-security-policy"]


def test_a_name_that_is_taken(seen: Window, hub: Registry) -> None:
    """Whoever has that account is told how to come in; nobody else comes in by a name."""
    seen.go("/sign-in?next=/explore")
    with _nothing_changes(hub):
        _go_there(seen.page)
        _be(seen.page, "admin")
        _says(seen.page, "The name admin is taken here")
        _is_signed_out(seen)
    seen.page.locator("#name").fill("linda")
    seen.page.locator("#password").fill(PASSWORD)
    seen.page.locator("main form button").click()
    seen.page.wait_for_url(f"{seen.url}/explore")


def test_accounts_are_made_by_admins(chrome: Browser, strict: Registry, there: IdentityProvider) -> None:
    """Where that is configured: refused until an admin has linked the two. The form for a password is the admins', and
    comes second."""
    with opened(chrome, strict, there.issuer) as seen:
        seen.go("/sign-in?next=/explore")
        expect(seen.page.locator("main .button").first).to_have_text(f"Sign in with localhost:{there.port}")
        with _nothing_changes(strict):
            _go_there(seen.page)
            _be(seen.page, "vic")
            _says(seen.page, "You have no account here")
            _is_signed_out(seen)
        strict.command("user", "add", "victor", "--password-stdin", stdin=f"{PASSWORD}\n")
        strict.command("user", "link", "victor", "vic-there", "--issuer", there.issuer)
        seen.page.locator("#name").fill("victor")
        seen.page.locator("#password").fill(PASSWORD)
        seen.page.locator("main form button").click()
        _says(seen.page, "this account cannot be used")
        _go_there(seen.page)
        _be(seen.page, "vic")
        seen.page.wait_for_url(f"{seen.url}/explore")
        _is_signed_in(seen, "victor")
        seen.go("/prove?next=/settings")
        assert seen.page.locator("main input[type=password]").count() == 0


def test_groups_are_teams(seen: Window, hub: Registry, there: IdentityProvider) -> None:
    """At each sign-in: in the team with the group, out of it without."""
    hub.command("org", "add", "acme", "--owner", "linda")
    hub.command("team", "add", "acme", "devs")
    hub.command("team", "group", "acme", "devs", "developers")
    there.people["wes-there"]["groups"] = ["developers", "others"]
    _sign_in(seen, "wes", "/u/acme/teams/devs")
    expect(seen.page.locator("main")).to_contain_text("wes")
    seen.go("/organizations")
    expect(seen.page.locator("main")).to_contain_text("acme")
    _sign_out(seen.page)
    there.people["wes-there"]["groups"] = ["others"]
    _sign_in(seen, "wes", "/u/acme/teams/devs")
    expect(seen.page.locator("main")).not_to_contain_text("wes")


# An account that is here already


def test_linking_and_unlinking(seen: Window, hub: Registry, there: IdentityProvider) -> None:
    """In the settings. The way there begins with a form, and ends at another site."""
    _sign_in_here(seen, "linda", target="/settings/sign-in")
    seen.page.get_by_role("button", name="Link", exact=True).click()
    expect(seen.page).to_have_title("Who are you?")
    _be(seen.page, "xia")
    seen.page.wait_for_url(f"{seen.url}/settings/sign-in")
    expect(seen.page.locator("main")).to_contain_text(there.issuer)
    _sign_out(seen.page)
    _sign_in(seen, "xia", "/settings/sign-in")
    _is_signed_in(seen, "linda")
    seen.page.get_by_role("button", name="Unlink").or_(seen.page.get_by_role("link", name="Unlink")).first.click()
    seen.page.locator("dialog[open] button[type=submit], dialog[open] form button").last.click()
    expect(seen.page.locator("main")).to_contain_text("no longer linked")
    _sign_out(seen.page)
    seen.page.wait_for_url(f"{seen.url}/")
    _sign_in_here(seen, "linda")


def test_somebody_who_is_linked_already(seen: Window, hub: Registry) -> None:
    """Stays with that account; so does the one that wanted to be linked, which stays signed in, where it was."""
    _sign_in(seen, "yan")
    _sign_out(seen.page)
    _sign_in_here(seen, "lars", target="/settings/sign-in")
    with _nothing_changes(hub):
        seen.page.get_by_role("button", name="Link", exact=True).click()
        _be(seen.page, "yan")
        seen.page.wait_for_url(f"{seen.url}/settings/sign-in")
        _says(seen.page, "This person of the identity provider has another account here already")
        _is_signed_in(seen, "lars")
        seen.page.get_by_role("button", name="Link", exact=True).click()
        _refuse(seen.page)
        seen.page.wait_for_url(f"{seen.url}/settings/sign-in")
        _says(seen.page, "The identity provider did not let you in (access_denied)")


def test_a_second_factor_is_asked_for_after_it(seen: Window, hub: Registry) -> None:
    """And only then there is a session; then one is where one wanted to be."""
    _sign_in(seen, "zoe", "/settings/second-factor")
    seen.page.get_by_role("button", name="Set up").click()
    secret = seen.page.locator("main .command code").inner_text().replace(" ", "")
    seen.page.locator("#code").fill(_code_of(secret))
    seen.page.get_by_role("button", name="Turn on").click()
    codes = seen.page.locator(".codes code").all_inner_texts()
    _sign_out(seen.page)
    seen.go("/sign-in?next=/explore")
    _go_there(seen.page)
    _be(seen.page, "zoe")
    seen.page.wait_for_url("**/sign-in/code**")
    assert seen.page.locator(".user-button").count() == 0
    assert seen.page.request.get(f"{seen.url}/settings", max_redirects=0).status == 303
    seen.page.locator("main input[name=code]").fill("000000")
    seen.page.locator("main form button").click()
    expect(seen.page.locator("main")).to_contain_text("This code is wrong")
    seen.page.locator("main input[name=code]").fill(codes[0])
    seen.page.locator("main form button").click()
    seen.page.wait_for_url(f"{seen.url}/explore")
    _is_signed_in(seen, "zoe")


def _code_of(secret: str) -> str:
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return totp.code(raw, totp.step_at(int(time() * 1000)))


def test_showing_again_who_one_is(seen: Window, hub: Registry) -> None:
    """Before something dangerous, for who has no password: at the provider, which is told to ask again; as the same
    person, and nobody else."""
    seen.go("/sign-in")
    style = seen.page.locator("link[rel=stylesheet]").get_attribute("href")
    # A file belongs to no session: the server has not looked at this one yet, and will find that its proof is old.
    _sign_in(seen, "kim", str(style))
    tables.change(hub, "UPDATE sessions SET proved_at = 0")
    seen.go("/settings/tokens/new")
    assert seen.page.url == f"{seen.url}/prove?next=%2Fsettings%2Ftokens%2Fnew"
    assert seen.page.locator("main input[type=password]").count() == 0
    seen.page.get_by_role("button", name="Sign in with localhost").click()
    expect(seen.page).to_have_title("Who are you?")
    query = parse_qs(urlsplit(seen.page.url).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    with _nothing_changes(hub):
        _be(seen.page, "lea")
        seen.page.wait_for_url(f"{seen.url}/prove?next=%2Fsettings%2Ftokens%2Fnew")
        _says(seen.page, "That was somebody else")
        _is_signed_in(seen, "kim")
    seen.page.get_by_role("button", name="Sign in with localhost").click()
    _be(seen.page, "kim")
    seen.page.wait_for_url(f"{seen.url}/settings/tokens/new")
    assert seen.page.locator("main form").count()


# What goes wrong


def test_the_provider_says_no(seen: Window, hub: Registry) -> None:
    """A form that says so, and still knows where one wanted to be."""
    seen.go("/sign-in?next=/explore")
    with _nothing_changes(hub):
        _go_there(seen.page)
        _refuse(seen.page)
        _says(seen.page, "The identity provider did not let you in (access_denied)")
        _is_signed_out(seen)
    _go_there(seen.page)
    _be(seen.page, "max")
    seen.page.wait_for_url(f"{seen.url}/explore")


def test_the_provider_breaks_on_the_way(seen: Window, hub: Registry, there: IdentityProvider) -> None:
    """Whatever it answers, nobody is signed in by that; later it works again."""
    for canned in (Canned(500), Canned(200, b"<html>"), Canned(200, b'{"id_token": "x.y.z"}'), Canned(302)):
        seen.go("/sign-in?next=/explore")
        with _nothing_changes(hub):
            _go_there(seen.page)
            there.canned["/token"] = canned
            _be(seen.page, "max")
            _says(seen.page, "The identity provider does not answer. Try again in a moment.")
            _is_signed_out(seen)
        del there.canned["/token"]
    _go_there(seen.page)
    _be(seen.page, "max")
    seen.page.wait_for_url(f"{seen.url}/explore")


def test_the_provider_is_down(chrome: Browser, lost: Registry) -> None:
    """The page says so where one stands: at signing in, in the settings, and at showing who one is. Passwords count."""
    with opened(chrome, lost) as seen:
        seen.go("/sign-in?next=/explore")
        seen.page.get_by_role("link", name="Sign in with localhost").click()
        _says(seen.page, "The identity provider does not answer")
        seen.page.locator("#name").fill("lars")
        seen.page.locator("#password").fill(PASSWORD)
        seen.page.locator("main form button").click()
        seen.page.wait_for_url(f"{seen.url}/explore")
        seen.go("/settings/sign-in")
        seen.page.get_by_role("button", name="Link", exact=True).click()
        _says(seen.page, "The identity provider does not answer")
        _is_signed_in(seen, "lars")
    with opened(chrome, lost) as seen:
        _sign_in_here(seen, "admin", ADMIN_PASSWORD)
        seen.go("/prove?next=/settings")
        seen.page.get_by_role("button", name="Sign in with localhost").click()
        _says(seen.page, "The identity provider does not answer")
        _sign_out(seen.page)
        seen.page.wait_for_url("**/signed-out")
        _is_signed_out(seen)


def test_sec065_an_answer_counts_once(seen: Window, hub: Registry, chrome: Browser, there: IdentityProvider) -> None:
    """SEC-065: the same address again, in the same browser, signed in and signed out, and in another one."""
    seen.go("/sign-in?next=/explore")
    _go_there(seen.page)
    address = _callback(seen, "max")
    with _nothing_changes(hub):
        seen.go(address)
        assert seen.page.url == f"{seen.url}/explore"
        _says(seen.page, "This sign-in was answered already")
        _is_signed_in(seen, "max")
        with opened(chrome, hub, there.issuer) as other:
            other.go(address)
            _says(other.page, "This sign-in has ended, or was begun in another browser")
            _is_signed_out(other)
    _sign_out(seen.page)
    seen.page.wait_for_url("**/signed-out")
    with _nothing_changes(hub):
        seen.go(address)
        _says(seen.page, "begin again")
        _is_signed_out(seen)


def test_one_that_took_too_long(seen: Window, hub: Registry) -> None:
    """What was begun ten minutes ago has ended. Its beginning is set back here in what the browser brings."""
    seen.go("/sign-in?next=/explore")
    _go_there(seen.page)
    secret = sealing.load(hub.data / "secret")
    parts = urlsplit(seen.page.url)
    text = parse_qs(parts.query)["state"][0]
    state = json.loads(secret.unseal(PURPOSE, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    sealed = secret.seal(PURPOSE, json.dumps({**state, "began_at": state["began_at"] - SIGN_IN_MS}).encode())
    old = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
    with _nothing_changes(hub):
        seen.page.goto(seen.page.url.replace(text, old))
        _be(seen.page, "max")
        _says(seen.page, "This sign-in has ended")
        _is_signed_out(seen)
    _go_there(seen.page)
    _be(seen.page, "max")
    seen.page.wait_for_url(f"{seen.url}/explore")


def test_two_windows_of_one_browser(seen: Window) -> None:
    """Both began before either came back: both end well."""
    seen.go("/sign-in?next=/explore")
    _go_there(seen.page)
    other = seen.context.new_page()
    other.goto(f"{seen.url}/sign-in?next=/repositories")
    _go_there(other)
    _be(seen.page, "max")
    seen.page.wait_for_url(f"{seen.url}/explore")
    _be(other, "max")
    other.wait_for_url(f"{seen.url}/repositories")
    expect(other.locator(".user-button")).to_have_attribute("aria-label", "Menu of max")


def test_somebody_else_signed_in_meanwhile(seen: Window, hub: Registry) -> None:
    """A link that one account began is no link of the account that is signed in at its end."""
    _sign_in_here(seen, "lars", target="/settings/sign-in")
    seen.page.get_by_role("button", name="Link", exact=True).click()
    expect(seen.page).to_have_title("Who are you?")
    other = seen.context.new_page()
    other.goto(f"{seen.url}/settings")
    _sign_out(other)
    with _nothing_changes(hub):
        _be(seen.page, "nia")
        _says(seen.page, "begin again")
        _is_signed_out(seen)
    _sign_in_here(seen, "lars", target="/settings/sign-in")
    seen.page.get_by_role("button", name="Link", exact=True).click()
    expect(seen.page).to_have_title("Who are you?")
    # Without signing out: the cookie of the window is another account's at once.
    other.goto(f"{seen.url}/explore")
    seen_there = Window(seen.context, other, seen.url)
    seen.context.clear_cookies(name="depotry")
    _sign_in_here(seen_there, "mona")
    with _nothing_changes(hub):
        _be(seen.page, "nia")
        seen.page.wait_for_url(f"{seen.url}/settings/sign-in")
        _says(seen.page, "You were signed out meanwhile")
        _is_signed_in(seen, "mona")


# Signing out


def test_signing_out_here_and_there(seen: Window, there: IdentityProvider) -> None:
    """Here at once. The provider is another matter: it may keep somebody signed in, and is asked to end that only by
    who wants it. OpenID Connect RP-Initiated Logout 1.0, section 2."""
    _sign_in(seen, "max")
    asked = there.asked["/logout"]
    _sign_out(seen.page)
    seen.page.wait_for_url(f"{seen.url}/signed-out")
    _is_signed_out(seen)
    assert there.asked["/logout"] == asked
    expect(seen.page.locator("main")).to_contain_text(f"You may still be signed in at localhost:{there.port}")
    seen.page.get_by_role("link", name="Sign out of localhost").click()
    expect(seen.page).to_have_title("Bye")
    assert parse_qs(urlsplit(seen.page.url).query) == {"theme": ["plain"], "client_id": [CLIENT_ID]}


def test_signing_out_of_a_password(seen: Window) -> None:
    """Who is nobody of the provider is not told of it; the address of that page leads on who is signed in."""
    _sign_in_here(seen, "mona")
    seen.go("/signed-out")
    assert seen.page.url == f"{seen.url}/"
    _sign_out(seen.page)
    seen.page.wait_for_url(f"{seen.url}/")
    _is_signed_out(seen)


def test_signing_out_where_the_provider_does_not_say_how(
    chrome: Browser, there: IdentityProvider, tmp_path: Path
) -> None:
    """The page says what may be so, without a link."""
    there.sign_out_path = None
    registry = _started(tmp_path, there.issuer, "--oidc-sign-up")
    try:
        with opened(chrome, registry, there.issuer) as seen:
            _sign_in(seen, "max")
            _sign_out(seen.page)
            seen.page.wait_for_url("**/signed-out")
            expect(seen.page.locator("main")).to_contain_text("You may still be signed in")
            assert seen.page.get_by_role("link", name="Sign out of").count() == 0
    finally:
        there.sign_out_path = "/realm/logout"
        registry.kill()


# How it looks


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_of_it_is_clean(
    chrome: Browser, hub: Registry, strict: Registry, there: IdentityProvider, width: int, scheme: str
) -> None:
    """Nothing that axe calls serious, nothing wider than the window: with a provider, with a refusal, linked, at
    showing who one is, and signed out."""
    problems: list[str] = []

    def look(seen: Window, what: str) -> None:
        problems.extend(f"{what}: {text}" for text in seen.serious_problems())
        if seen.page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{what}: wider than the window")

    with opened(chrome, strict, there.issuer, width=width, scheme=scheme) as seen:
        seen.go("/sign-in")
        look(seen, "for admins")
        _go_there(seen.page)
        _be(seen.page, "max")
        _says(seen.page, "You have no account here")
        look(seen, "refused")
    with opened(chrome, hub, there.issuer, width=width, scheme=scheme) as seen:
        seen.go("/sign-in")
        look(seen, "signing in")
        _sign_in(seen, "max", "/settings/sign-in")
        look(seen, "linked")
        seen.go("/prove?next=/settings")
        look(seen, "proof")
        seen.page.get_by_role("button", name="Sign in with localhost").click()
        _refuse(seen.page)
        _says(seen.page, "did not let you in")
        look(seen, "no proof")
        _sign_out(seen.page)
        seen.page.wait_for_url("**/signed-out")
        look(seen, "signed out")
    assert not problems, "\n".join(problems)


# The real one


def test_at_a_real_provider(chrome: Browser, tmp_path: Path) -> None:
    """As the README says: the redirect URI there, the settings here, groups that are teams; in, out, and in again."""
    port = free_port()
    redirect_uri = f"http://127.0.0.1:{port}/sign-in/callback"
    with real_provider(tmp_path, redirect_uri, {"ada": "developers admins", "bob": "others"}) as real:
        secret = tmp_path / "client-secret"
        secret.write_text(f"{real.client_secret}\n", encoding="utf-8")
        registry = Registry.start(
            tmp_path / "data", *FLAGS, "--port", str(port), "--external-url", f"http://127.0.0.1:{port}",
            "--oidc-issuer", real.issuer, "--oidc-client-id", real.client_id, "--oidc-client-secret-file", str(secret),
            "--oidc-groups-claim", real.groups_claim, "--oidc-sign-up", "--oidc-admin-group", "admins",
            is_open=False, pair=Pair("its own"),
        )  # fmt: skip
        try:
            registry.command("org", "add", "acme", "--owner", "admin")
            registry.command("team", "add", "acme", "devs")
            registry.command("team", "group", "acme", "devs", "developers")
            with opened(chrome, registry, real.issuer) as seen:
                _in_and_out(seen, real)
            with opened(chrome, registry, real.issuer) as seen:
                _sign_in_at(seen, real, "bob", "/repositories")
                _is_signed_in(seen, "bob")
                assert seen.page.get_by_role("link", name="Administration").count() == 0
        finally:
            registry.kill()


def _in_and_out(seen: Window, real: RealProvider) -> None:
    _sign_in_at(seen, real, "ada", "/u/acme/teams/devs")
    expect(seen.page.locator("main")).to_contain_text("ada")
    assert seen.page.get_by_role("link", name="Administration").is_visible()
    seen.go("/prove?next=/settings/tokens")
    seen.page.get_by_role("button", name="Sign in with localhost").click()
    _answer(seen.page, real, "ada")
    seen.page.wait_for_url(f"{seen.url}/settings/tokens")
    _sign_out(seen.page)
    seen.page.get_by_role("link", name="Sign out of localhost").click()
    expect(seen.page.locator("body")).to_contain_text("signed out successfully")
    seen.go("/settings")
    assert "/sign-in" in seen.page.url


def _sign_in_at(seen: Window, real: RealProvider, name: str, target: str) -> None:
    seen.go(f"/sign-in?next={target}")
    seen.page.get_by_role("link", name="Sign in with localhost").click()
    _answer(seen.page, real, name)
    seen.page.wait_for_url(f"{seen.url}{target}")


def _answer(page: Page, real: RealProvider, name: str) -> None:
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill(real.password)
    page.locator("button[type=submit], input[type=submit], button").first.click()
