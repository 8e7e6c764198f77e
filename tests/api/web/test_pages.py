"""Rendering: escapes, headers, languages, themes, errors; and what templates may not hold."""

import re
from typing import Any

import pytest

from registry.api.asgi import Message, Request
from registry.api.edge import Edge
from registry.api.web.languages import CHINESE, ENGLISH, LANGUAGES
from registry.api.web.pages import FOLDER, POLICY, hue, initials
from registry.api.web.view import Caller, Theme, View, is_own_path, preferences
from registry.core import errors
from registry.core.errors import Denied, InvalidRequest, MethodNotAllowed, NameUnknown, TooManyRequests, Unauthenticated
from tests.api.web.gallery import NOW_MS, pages, values

PAGES = pages()
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
EVIL = "<img src=x onerror=alert(1)>\"'"


def view(path: str = "/x", **others: Any) -> View:
    return View(path, NOW_MS, **others)


def request(query: str = "", **headers: str) -> Request:
    async def receive() -> Message:
        return {"type": "http.request"}

    shown = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"method": "GET", "raw_path": b"/", "query_string": query.encode(), "headers": shown}, receive)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
@pytest.mark.parametrize("name", ["gallery", "gallery-admin", "gallery-forms"])
def test_every_component_renders(name: str, language: Any) -> None:
    """In each language, signed in or not, and as what the language is called."""
    for caller in (None, Caller("ada"), Caller("ada", is_admin=True)):
        answer = PAGES.render(view(language=language, caller=caller), f"{name}.html", values())
        assert answer.status == 200
        assert f'<html lang="{language.code}" data-theme="auto">'.encode() in answer.body


def test_sec_032_values_are_escaped() -> None:
    """SEC-032: whatever a value holds, it is text: in a page, an attribute, a link, an error."""
    evil = view(f"/{EVIL}", caller=Caller(EVIL), csrf=EVIL, query=(("q", EVIL),))
    suggestions = [("repository", EVIL, EVIL, "/x", True), ("user", EVIL, EVIL, "/x", False)]
    for answer in (
        PAGES.error(evil, InvalidRequest(EVIL)),
        PAGES.render(evil, "gallery-forms.html", values()),
        PAGES.fragment(evil, "suggestions.html", "content", {"suggestions": suggestions, "query": EVIL}),
    ):
        assert b"<img" not in answer.body
        assert b"&lt;img" in answer.body or b"%3Cimg" in answer.body


def test_sec_036_the_policy() -> None:
    """SEC-036: a page may load our files and nothing else, and stands in no frame; its policy is the only one."""
    answer = PAGES.render(view(), "gallery-forms.html", values())
    headers = Edge([], is_https=True).secured(answer.headers)
    named = dict(headers)
    assert len(named) == len(headers)
    assert named[b"content-security-policy"] == POLICY
    assert b"unsafe" not in POLICY and b"frame-ancestors 'none'" in POLICY and b"default-src 'none'" in POLICY
    assert named[b"referrer-policy"] == b"same-origin"
    assert named[b"x-content-type-options"] == b"nosniff" and b"strict-transport-security" in named
    assert named[b"cache-control"] == b"no-store"


def test_a_missing_name_is_an_error() -> None:
    """A template that uses what nobody gave does not render something half."""
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        PAGES.render(view(), "gallery-forms.html".replace("forms", "admin"), {})


def test_a_block_alone() -> None:
    """What htmx gets is the markup of the whole page, cut out."""
    found = {"suggestions": [], "query": "alp"}
    fragment = PAGES.fragment(view(), "suggestions.html", "content", found)
    assert fragment.body.strip() in PAGES.render(view(), "suggestions.html", found).body
    with pytest.raises(KeyError):
        PAGES.fragment(view(), "suggestions.html", "none", found)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NameUnknown("a private name"), 404, "There is nothing here"),
        (Denied("secret"), 403, "You may not do that"),
        (InvalidRequest("name is missing"), 400, "name is missing"),
        (TooManyRequests("slowly", retry_after_s=7), 429, "slowly"),
        (MethodNotAllowed("no", allow=["GET", "HEAD"]), 405, "That cannot be done here"),
    ],
)
def test_errors_for_people(error: errors.RegistryError, status: int, text: str) -> None:
    """The status of the API, in words; and a page that does not exist looks like one that may not be seen."""
    answer = PAGES.error(view(), error)
    assert answer.status == status and text.encode() in answer.body
    assert b"a private name" not in answer.body and b"secret" not in answer.body
    assert dict(answer.headers).get(b"retry-after") == (b"7" if status == 429 else None)
    assert dict(answer.headers).get(b"allow") == (b"GET, HEAD" if status == 405 else None)


def test_every_error_has_a_page() -> None:
    """In each language."""
    from registry.api.errors import TABLE

    for kind in TABLE:
        for language in LANGUAGES:
            PAGES.error(view(language=language), kind("x", allow=["GET"]))


def test_a_failure_says_nothing() -> None:
    """500: what happened is in the log."""
    assert PAGES.failure(view()).status == 500


def test_signing_in_leads_back() -> None:
    """401 is the way to the form; a request of htmx goes there as a whole page."""
    here = view("/ada/api", query=(("page", "2&x=1"),))
    answer = PAGES.error(here, Unauthenticated("who?"))
    assert answer.status == 303
    assert dict(answer.headers)[b"location"] == b"/sign-in?next=%2Fada%2Fapi%3Fpage%3D2%2526x%253D1"
    htmx = PAGES.error(view("/ada/api", is_htmx=True), Unauthenticated("who?"))
    assert htmx.status == 200 and dict(htmx.headers)[b"hx-redirect"] == b"/sign-in?next=%2Fada%2Fapi"


ELSEWHERE = [
    *(
        "//evil.test",
        "/\\evil.test",
        "https://evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "",
        "evil",
        "\\\\evil",
    ),
    *("/\t/evil.test", "/x\r\nset-cookie: a=b", "/x\n", " /x", "/x y", "/\u202e", "/x\\..\\y", "/\x00", "///evil.test"),
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_sec_031_redirects_stay_here(path: str) -> None:
    """SEC-031: only a path of this host, as every browser reads it."""
    assert not is_own_path(path)
    with pytest.raises(ValueError):
        PAGES.redirect(view(), path)


def test_redirects() -> None:
    """303 with the cookies that the handler sets."""
    answer = PAGES.redirect(view(), "/ada?x=%2F", cookies=[(b"set-cookie", b"a=b")])
    assert answer.status == 303 and answer.headers[-2:] == [(b"location", b"/ada?x=%2F"), (b"set-cookie", b"a=b")]


def test_preferences() -> None:
    """`?lang=`, then the cookie, then what the browser says; whatever is unknown means nothing."""
    chinese = "depotry_language=zh-CN; depotry_theme=dark"
    assert preferences(request()) == (ENGLISH, Theme.AUTO)
    assert preferences(request(accept_language="zh")) == (CHINESE, Theme.AUTO)
    assert preferences(request(accept_language="en", cookie=chinese)) == (CHINESE, Theme.DARK)
    assert preferences(request("lang=en", cookie=chinese)) == (ENGLISH, Theme.DARK)
    assert preferences(request("lang=xx", cookie="depotry_theme=evil; depotry_language=../x")) == (ENGLISH, Theme.AUTO)


def test_links_to_this_page() -> None:
    """Another order starts at the first page again."""
    here = view("/x", query=(("q", "a b"), ("sort", "name"), ("after", "xyz")))
    assert here.link(sort="-name") == "/x?q=a+b&sort=-name"
    assert here.link(after="abc") == "/x?q=a+b&sort=name&after=abc"
    assert here.link(q=None, sort=None) == "/x"
    assert here.place == "/x?q=a+b&sort=name&after=xyz"


def test_avatars() -> None:
    """Letters of the first two words, and always the same colour."""
    assert [initials(name) for name in ("ada", "team-core", "a_b_c", "-", "李雷")] == ["A", "TC", "AB", "-", "李"]
    assert hue("ada") == hue("ada") and len({hue(str(n)) for n in range(200)}) == 12


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_keep_to_the_policy(path: Any) -> None:
    """No inline script, style or handler, no other host, nothing marked as safe; forms that write have the token."""
    text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"\bstyle=|\son\w+=|javascript:|hx-on|hx-vals|js:|\|\s*safe\b|autoescape", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style", text)
    assert not re.search(r"""(?:src|href|action)="(?:https?:)?//""", text)
    assert len(re.findall(r'<form[^>]*method="post"', text)) == len(
        re.findall(r'<form[^>]*method="post"[^>]*>\s*\{\{ (?:ui\.)?csrf\(\)', text)
    )
    assert text.count('target="_blank"') == 0
