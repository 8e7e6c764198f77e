"""Requests that another site made a browser send, for every route that writes: SEC-023. And that reading writes
nothing."""

from collections.abc import Callable, Iterator

import pytest

from registry.api.hub.routes import HUB_ROUTES
from registry.api.hub.table import PREFIX
from registry.api.web.routes import WEB_ROUTES
from registry.api.web.table import WebRoute
from tests.running import ADMIN_PASSWORD, Registry
from tests.web.affairs import tables
from tests.web.affairs.reader import Reader

Open = Callable[[str], Reader]
WRITING = [route for route in WEB_ROUTES if route.method != "GET"]
WRITING_API = [route for route in HUB_ROUTES if route.method != "GET"]
READING = [route for route in WEB_ROUTES if route.method == "GET"]
NAMES = {
    "namespace": "forged", "repository": "forged/app", "team": "crew", "robot": "ci", "tag": "v1", "name": "forged",
    "account": "forged", "question": "delete",
    "reference": "v1", "digest": "sha256:" + "0" * 64,
}  # fmt: skip
FORM = {"content-type": "application/x-www-form-urlencoded"}


def filled(path: str) -> str:
    """The path of a route, with names of nothing that is there."""
    for name, value in NAMES.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.fixture(scope="module")
def signed_in(hub: Registry) -> Iterator[Reader]:
    """An admin, who may everything."""
    reader = Reader(hub).sign_in("admin", ADMIN_PASSWORD)
    reader.get("/settings/sign-in")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def others_word(hub: Registry, signed_in: Reader) -> Iterator[str]:
    """The word of another session of the same person; the better one to have stolen."""
    reader = Reader(hub).sign_in("admin", ADMIN_PASSWORD)
    reader.get("/settings/sign-in")
    assert reader.word != signed_in.word
    yield reader.word
    reader.close()


def _forged(hub: Registry, word: str, others: str) -> list[tuple[str, dict[str, str], bytes]]:
    """What other sites can make a browser send, and what lacks the word."""
    right = f"csrf={word}".encode()
    return [
        ("from another origin", {**FORM, "origin": "https://evil.test"}, right),
        ("from an origin that is like ours", {**FORM, "origin": f"{hub.url}.evil.test"}, right),
        ("from no origin", {**FORM, "origin": "null"}, right),
        ("from another port", {**FORM, "origin": "http://127.0.0.1:1"}, right),
        ("from another site", {**FORM, "sec-fetch-site": "cross-site"}, right),
        ("from another host of the site", {**FORM, "sec-fetch-site": "same-site"}, right),
        ("without the word", FORM, b""),
        ("without Origin and Referer", FORM, b"name=x"),
        ("with a wrong word", {**FORM, "origin": hub.url}, b"csrf=" + b"A" * 43),
        ("with the word of another session", {**FORM, "origin": hub.url}, f"csrf={others}".encode()),
        ("with an empty word", {**FORM, "origin": hub.url}, b"csrf="),
        ("as text", {"content-type": "text/plain"}, right),
        ("as JSON", {"content-type": "application/json"}, b'{"csrf": "' + word.encode() + b'"}'),
        ("as parts", {"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n--b--"),
        ("with the word in the query", FORM, b""),
    ]


@pytest.mark.parametrize("route", WRITING, ids=lambda route: route.spec_id)
def test_sec_023_a_form_of_another_site(route: WebRoute, hub: Registry, signed_in: Reader, others_word: str) -> None:
    """SEC-023: it is refused, and nothing has changed."""
    method, path = route.method, filled(route.path)
    word, before = signed_in.word, tables.everything(hub)
    for what, headers, content in _forged(hub, word, others_word):
        target = f"{path}?csrf={word}" if "in the query" in what else path
        answer = signed_in.http.request(method, target, content=content, headers=headers)
        assert answer.status_code in (403, 415), f"{what}: {answer.status_code}"
    assert tables.everything(hub) == before


def test_sec_023_the_api_by_the_cookie(hub: Registry, signed_in: Reader, others_word: str) -> None:
    """SEC-023: the API takes the session of a page too, and so the word, in a header that no form can send."""
    before = tables.everything(hub)
    for route in WRITING_API:
        _forge_for_the_api(signed_in, route.method, PREFIX + filled(route.path), others_word)
    assert tables.everything(hub) == before


def _forge_for_the_api(signed_in: Reader, method: str, path: str, others: str) -> None:
    hub, word = signed_in.registry, signed_in.word
    shown = {"x-csrf-token": word}
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/json", "origin": "https://evil.test"},
        {"content-type": "application/json", "origin": "https://evil.test", **shown},
        {"content-type": "application/json", "sec-fetch-site": "cross-site", **shown},
        {"content-type": "application/json", "origin": hub.url, "x-csrf-token": "A" * 43},
        {"content-type": "application/json", "origin": hub.url, "x-csrf-token": others},
        {**FORM, "origin": hub.url},
    ):
        content = f"csrf={word}" if headers.get("content-type") == FORM["content-type"] else "{}"
        answer = signed_in.http.request(method, path, content=content, headers=headers)
        assert answer.status_code in (403, 415), f"{method} {path} {headers}: {answer.status_code}"


@pytest.mark.parametrize("route", READING, ids=lambda route: route.spec_id)
def test_sec_023_reading_changes_nothing(route: WebRoute, hub: Registry, signed_in: Reader) -> None:
    """SEC-023: whatever a link leads to, by GET or HEAD, with whatever fields."""
    path, before = filled(route.path), tables.everything(hub)
    fields = "?confirm=forged&name=x&delete=yes&password=xxxxxxxxxxx&action=delete&csrf=" + signed_in.word
    for method in ("GET", "HEAD"):
        for query in ("", fields):
            answer = signed_in.http.request(method, path + query)
            assert answer.status_code < 500, answer.text
    assert tables.everything(hub) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_pages_have_no_other_methods(method: str, signed_in: Reader) -> None:
    """A page is read, and its forms are sent."""
    for route in WEB_ROUTES:
        headers = {"x-csrf-token": signed_in.word}
        assert signed_in.http.request(method, filled(route.path), headers=headers).status_code == 405, route.path


@pytest.mark.parametrize("route", WEB_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_sec_036_no_page_stands_in_a_frame(route: WebRoute, hub: Registry, signed_in: Reader) -> None:
    """SEC-036: whatever the answer is, it brings the policy that says so; to anybody."""
    method, path = route.method, filled(route.path)
    with hub.client() as anybody:
        answers = [
            anybody.request(method, path, headers=FORM),
            signed_in.http.request("GET", path) if method == "GET" else signed_in.http.post(path, headers=FORM),
        ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
