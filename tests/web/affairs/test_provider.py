"""Signing in at an identity provider, as pages do it: there and back, linking, showing again who one is."""

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.backends.oidc import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.running import Pair, Registry
from tests.web.affairs import tables
from tests.web.affairs.conftest import FLAGS
from tests.web.affairs.reader import PASSWORD, Page, Reader, newcomer
from tests.web.affairs.test_sign_in import AWAY

Open = Callable[[str], Reader]


@pytest.fixture(scope="module")
def there() -> Iterator[IdentityProvider]:
    """The provider."""
    found = IdentityProvider(
        people={
            name: {"preferred_username": name, "groups": ["staff"]}
            for name in ("uma", "vic", "wes", "xia", "yan", "zoe")
        }
    )
    yield found
    found.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, there: IdentityProvider) -> Iterator[Registry]:
    """A server that knows it."""
    folder: Path = tmp_path_factory.mktemp("provider")
    secret = folder / "secret"
    secret.write_text(CLIENT_SECRET, encoding="utf-8")
    flags = (
        "--oidc-issuer", there.issuer, "--oidc-client-id", CLIENT_ID, "--oidc-client-secret-file", str(secret),
        "--oidc-sign-up",
    )  # fmt: skip
    registry = Registry.start(folder / "data", *FLAGS, *flags, is_open=False, pair=Pair("its own"))
    yield registry
    registry.kill()


def _back(reader: Reader, there: IdentityProvider, address: str, subject: str, *, status: int = 200) -> Page:
    """Sign in there, and come back."""
    place, query = there.sign_in(address, subject)
    assert place == f"{reader.registry.url}/sign-in/callback"
    return reader.get(str(httpx2.URL("/sign-in/callback", params=query)), status=status)


def _gone(reader: Reader, path: str = "/sign-in/provider") -> str:
    """Where a link to the provider leads."""
    answer = reader.http.get(path)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def _departed(page: Page) -> str:
    """Where a page leads that goes to the provider by itself."""
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.answer.text)
    assert found is not None, page.text
    address = html.unescape(found[1])
    assert [url for _, url in page.links if url == address]
    return address


def test_there_and_back(hub: Registry, there: IdentityProvider, browsers: Open) -> None:
    """Who comes for the first time gets an account, and is where it wanted to go."""
    reader = browsers("")
    page = reader.get("/sign-in?next=/settings/tokens").says(f"Sign in with 127.0.0.1:{there.port}")
    [link] = [url for _, url in page.links if url.startswith("/sign-in/provider")]
    assert _back(reader, there, _gone(reader, link), "uma").path == "/settings/tokens"
    page = reader.get("/settings/sign-in").says("You sign in at the identity provider").says(there.issuer)
    reader.get("/settings/sign-in").says("No password")
    with hub.client(("uma", "anything")) as client:
        assert client.get("/v2/").status_code == 401


@pytest.mark.parametrize("target", AWAY)
def test_sec_031_it_leads_nowhere_else(there: IdentityProvider, browsers: Open, target: str) -> None:
    """SEC-031: whatever `next` said when it was begun."""
    reader = browsers("")
    address = _gone(reader, str(httpx2.URL("/sign-in/provider", params={"next": target})))
    assert address.startswith(there.issuer)
    _, query = there.sign_in(address, "vic")
    answer = reader.http.get(str(httpx2.URL("/sign-in/callback", params=query)))
    assert answer.status_code == 303 and answer.headers["location"] == "/"


def test_what_does_not_count(hub: Registry, there: IdentityProvider, browsers: Open) -> None:
    """An answer for another browser, one that was given already, a refusal, nonsense: no session, and the form says
    so."""
    reader, other = browsers(""), browsers("")
    _, query = there.sign_in(_gone(reader), "wes")
    path = str(httpx2.URL("/sign-in/callback", params=query))
    other.get(path, status=403).says("begin again")
    assert "depotry" not in other.http.cookies
    assert reader.get(path).path == "/"
    reader.get("/settings/sign-in")
    reader.send("/sign-out")
    reader.get(path, status=403).says("begin again")
    _gone(reader)
    for query_text in ("", "?state=x&code=y", "?error=access_denied", "?state=x&state=y", "?code=%00"):
        assert reader.get(f"/sign-in/callback{query_text}", status=403).path.startswith("/sign-in/callback")
    assert tables.scalar(hub, "SELECT count(*) FROM accounts WHERE name = 'wes'") == 1


def test_linking(hub: Registry, there: IdentityProvider) -> None:
    """Who is signed in here becomes somebody there as well; clients need tokens from then on, until that ends."""
    reader = newcomer(hub, "linker")
    reader.get("/settings/sign-in")
    address = _departed(reader.send("/settings/identity/link"))
    assert _back(reader, there, address, "xia").path == "/settings/sign-in"
    reader.get("/settings/sign-in").says("xia")
    with hub.client(("linker", PASSWORD)) as client:
        assert client.get("/v2/").status_code == 401
    reader.get("/settings/identity/unlink").says("Unlink the two accounts?")
    reader.send("/settings/identity/unlink").says("no longer linked")
    with hub.client(("linker", PASSWORD)) as client:
        assert client.get("/v2/").status_code == 200
    reader.close()


def test_unlinking_needs_a_password(there: IdentityProvider, browsers: Open) -> None:
    """Or nobody could sign in any more; one can be set."""
    reader = browsers("")
    _back(reader, there, _gone(reader), "yan")
    reader.get("/settings/identity/unlink")
    reader.send("/settings/identity/unlink", status=400).says("Set a password first")
    reader.get("/settings/password")
    reader.send("/settings/password", password=PASSWORD, again=PASSWORD)
    reader.get("/settings/identity/unlink")
    reader.send("/settings/identity/unlink").says("no longer linked")


def test_showing_again_who_one_is(hub: Registry, there: IdentityProvider, browsers: Open) -> None:
    """Without a password, at the provider: as the same person, and nobody else."""
    reader = browsers("")
    _, query = there.sign_in(_gone(reader), "uma")
    assert reader.http.get(str(httpx2.URL("/sign-in/callback", params=query))).status_code == 303
    tables.change(hub, "UPDATE sessions SET proved_at = 0")
    page = reader.get("/settings/tokens/new")
    assert page.path == "/prove?next=%2Fsettings%2Ftokens%2Fnew"
    assert not [form for form in page.forms if form.action == "/prove"]
    address = _departed(reader.send("/prove/provider"))
    page = _back(reader, there, address, "vic").says("That was somebody else")
    assert page.path == "/prove?next=%2Fsettings%2Ftokens%2Fnew"
    address = _departed(reader.send("/prove/provider"))
    assert _back(reader, there, address, "uma").path == "/settings/tokens/new"


def test_a_link_that_fails(hub: Registry, there: IdentityProvider, browsers: Open) -> None:
    """Who is signed in stays so, and stands where it was linked from, with the reason."""
    _back(browsers(""), there, _gone(browsers("")), "zoe", status=403)
    reader = browsers("")
    _back(reader, there, _gone(reader), "zoe")
    reader = newcomer(hub, "unlinked")
    for subject, reason in (("zoe", "has another account here already"), ("nobody", "did not let you in")):
        reader.get("/settings/sign-in")
        address = _departed(reader.send("/settings/identity/link"))
        page = _back(reader, there, address, subject).says(reason)
        assert page.path == "/settings/sign-in"
    reader.close()


def test_two_windows(there: IdentityProvider, browsers: Open) -> None:
    """One browser begins twice, and comes back twice."""
    reader = browsers("")
    first, second = _gone(reader), _gone(reader, "/sign-in/provider?next=/explore")
    assert _back(reader, there, first, "uma").path == "/"
    assert _back(reader, there, second, "uma").path == "/explore"


def test_a_form_leads_to_no_provider(hub: Registry, browsers: Open) -> None:
    """The policy of the pages says `form-action 'self'`, and browsers hold redirects to it: whoever has filled in a
    form is never sent on to the way there."""
    newcomer(hub, "formal").close()
    for target in ("/sign-in/provider?next=/", "/sign-in/callback?code=x", "/sign-in"):
        reader = browsers("")
        reader.get(str(httpx2.URL("/sign-in", params={"next": target})))
        page = reader.send("/sign-in", name="formal", password=PASSWORD)
        assert page.path == "/"
        assert "form-action 'self';" in page.answer.headers["content-security-policy"]


def test_signing_out(hub: Registry, there: IdentityProvider, browsers: Open) -> None:
    """Who is somebody of the provider is told that it may be signed in there, and shown the way out."""
    reader = browsers("")
    _back(reader, there, _gone(reader), "uma")
    reader.get("/settings")
    page = reader.send("/sign-out").says("You may still be signed in at")
    assert page.path == "/signed-out"
    assert f"{there.issuer}/logout?theme=plain&client_id={CLIENT_ID}" in [url for _, url in page.links]
    reader.get("/settings").says("Sign in")
    reader = newcomer(hub, "leaver")
    reader.get("/settings")
    assert reader.send("/sign-out").path == "/"
    reader.close()


def test_a_provider_that_is_down(there: IdentityProvider, hub: Registry, browsers: Open) -> None:
    """The form says so, and whoever has a password signs in by that."""
    reader = browsers("")
    address = _gone(reader)
    _, query = there.sign_in(address, "vic")
    there.close()
    reader.get(str(httpx2.URL("/sign-in/callback", params=query)), status=503).says("does not answer")
    newcomer(hub, "local").close()
