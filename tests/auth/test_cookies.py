"""What browsers hold, and where they are sent."""

import secrets
from urllib.parse import urljoin, urlsplit

import pytest

from registry.auth.cookies import SESSION, SIGN_ON, Cookie
from registry.auth.return_to import safe_return

SECRET = secrets.token_urlsafe(32)


@pytest.mark.parametrize("cookie", [SESSION, SIGN_ON])
def test_cookies_are_for_this_host_alone(cookie: Cookie) -> None:
    """SEC-023: HttpOnly, SameSite, for the whole host; Secure and `__Host-` over https, which no Domain may weaken."""
    header = cookie.set(SECRET, is_https=True, life_s=600)
    name, _, rest = header.partition("=")
    assert name.startswith("__Host-") and rest.startswith(f"{SECRET}; ")
    assert set(rest.split("; ")[1:]) == {"Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"}
    plain = cookie.set(SECRET, is_https=False, life_s=600)
    assert not plain.startswith("__Host-") and "Secure" not in plain and "HttpOnly; SameSite=Lax" in plain
    for is_https in (True, False):
        cleared = cookie.clear(is_https=is_https)
        assert "=; " in cleared and "Max-Age=0" in cleared
        assert cookie.read([cleared.partition(";")[0]], is_https=is_https) is None


def test_cookies_are_read_by_their_whole_name() -> None:
    """Over https the plain name does not count: another host of the domain, or http, could have set it."""
    for is_https, name in ((True, "__Host-depotry"), (False, "depotry")):
        assert SESSION.read([f"a=b; {name}={SECRET}; c"], is_https=is_https) == SECRET
        assert SESSION.read(["a=b", f"{name}={SECRET}"], is_https=is_https) == SECRET
    assert SESSION.read([f"depotry={SECRET}"], is_https=True) is None
    assert SESSION.read([f"__Host-depotry={SECRET}"], is_https=False) is None
    assert SESSION.read([f"__Host-depotry-sign-on={SECRET}"], is_https=True) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "depotry",
        "depotry=",
        f"depotry={SECRET[:-1]}",
        f"depotry={SECRET}x",
        f'depotry="{SECRET}"',
        f"depotry={SECRET[:-1]}é",
        f"depotry={SECRET}; depotry={secrets.token_urlsafe(32)}",
        f"depotry={SECRET}; depotry={SECRET}",
        "; " * 20_000 + f"depotry={SECRET}",
    ],
    ids=range(10),
)
def test_anything_else_is_no_session(header: str) -> None:
    """Wrong forms, two at once, and more pairs than any browser sends: nothing is looked up for them."""
    assert SESSION.read([header], is_https=False) is None


HOSTILE = [
    "//evil.example.com",
    "///evil.example.com",
    "/\\evil.example.com",
    "\\\\evil.example.com",
    "/%2f%2fevil.example.com",
    "/%2F/evil.example.com",
    "/%5cevil.example.com",
    "/%255cevil.example.com",
    "/%25252f/evil.example.com",
    "/.//evil.example.com",
    "/a/..//evil.example.com",
    "/..%2f/evil.example.com",
    "/%2e%2e/%2fevil.example.com",
    "https:evil.example.com",
    "https://evil.example.com",
    "https:/evil.example.com",
    "HtTpS://evil.example.com",
    "http:///evil.example.com",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example.com",
    "@evil.example.com",
    ".evil.example.com",
    "?x",
    "",
    " /",
    " //evil.example.com",
    "/\t/evil.example.com",
    "\t//evil.example.com",
    "/\n/evil.example.com",
    "/x\r\nSet-Cookie: a=b",
    "/x%0d%0aSet-Cookie:%20a=b",
    "/\0/evil",
    "/x?a=\r\nSet-Cookie: a=b",
    "/x?a=\tb",
    "/x#\x7f",
    "/é",
    "/\u2028x",
    "/" + "x" * 1000,
    "/%" + "25" * 200 + "2f/x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nobody_is_sent_to_another_site(text: str) -> None:
    """SEC-031: whatever a browser or a proxy makes of it."""
    assert safe_return(text) == "/"
    assert safe_return(text, default="/settings") == "/settings"


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/r/acme/app",
        "/r/acme/app?tab=tags&filter=%2Fx#top",
        "/r/a%20b",
        "/settings?next=//x",
        "/sign-in?a=https://other.example.com/",
    ],
)
def test_paths_of_ours_are_kept(text: str) -> None:
    """With their queries, in which another address is just text."""
    assert safe_return(text) == text
    assert urlsplit(urljoin("https://hub.example.com/x", text)).netloc == "hub.example.com"
