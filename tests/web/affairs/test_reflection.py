"""What an address or a form says is text in the answer, for every route and every field that one knows: SEC-032; and
whatever they say, an answer leads nowhere else: SEC-031."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx2
import pytest

import registry.api.web
from registry.api.web.routes import WEB_ROUTES
from registry.api.web.table import WebRoute
from tests.running import ADMIN_PASSWORD, Registry
from tests.web import evil
from tests.web.affairs import tables
from tests.web.affairs.reader import Reader
from tests.web.affairs.test_forgery import READING, WRITING, filled

Open = Callable[[str], Reader]
AWAY = (
    "https://evil.test/", "//evil.test", "/\\evil.test", "/%2f%2fevil.test", "/%5cevil.test", "https:evil.test",
    "/\t/evil.test", "/x\r\nlocation: //evil.test", "javascript:alert(1)", "/.//evil.test", "/%09/evil.test",
)  # fmt: skip
ENDING = {"sign-out", "sign-in", "sign-up", "sessions-end-others", "second-factor-begin"}
"""Forms that end the session which the others need, or show a picture of ours; what they take is looked at apart."""
LEADING = ("next", "return", "return_to", "redirect", "redirect_uri", "redirect_url", "url", "back", "to", "target")


def _known_fields() -> list[str]:
    """The names of fields that pages look at, as their sources have them."""
    place = Path(registry.api.web.__path__[0])
    source = "".join(file.read_text(encoding="utf-8") for file in sorted(place.glob("*.py")))
    found = re.findall(r"\.(?:text|raw|all|has|choice|order|position|flag|get)\(\s*\"([a-z_]+)\"", source)
    found += re.findall(r"_asked\(visit, \"([a-z_]+)\"\)", source)
    return sorted(set(found))


FIELDS = _known_fields()


@pytest.fixture(scope="module")
def signed_in(hub: Registry) -> Iterator[Reader]:
    """An admin, who may everything."""
    reader = Reader(hub).sign_in("admin", ADMIN_PASSWORD)
    reader.get("/settings/sign-in")
    yield reader
    reader.close()


def test_fields_are_found() -> None:
    """A reader of sources that finds none would prove nothing."""
    assert {"q", "sort", "after", "next", "name", "code", "tag", "holder", "title"} <= set(FIELDS)
    assert len(FIELDS) > 30


@pytest.mark.parametrize("route", READING, ids=lambda route: route.spec_id)
def test_sec_032_every_field_of_an_address(route: WebRoute, hub: Registry, signed_in: Reader) -> None:
    """SEC-032: alone, so that no other field is what is complained about; for an admin and for nobody."""
    path, wrong = filled(route.path), []
    with hub.client() as nobody:
        for name in (*FIELDS, "lang", "state", "error", "error_description", "x"):
            for client, text in ((signed_in.http, evil.SHORT), (nobody, evil.ALL)):
                answer = client.get(path, params={name: text})
                assert answer.status_code < 500, f"{name}: {answer.text[:500]}"
                if answer.headers.get("content-type", "").startswith("text/html"):
                    wrong += [f"{name}: {found}" for found in evil.wrong_with(answer.text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "route", [route for route in WRITING if route.spec_id not in ENDING], ids=lambda route: route.spec_id
)
def test_sec_032_every_field_of_a_form(route: WebRoute, signed_in: Reader) -> None:
    """SEC-032: what is not taken is shown again as text, what is taken is shown as text where it leads."""
    forms = [dict.fromkeys(FIELDS, text) for text in (evil.SHORT, evil.ALL)]
    forms += [dict.fromkeys(FIELDS, "acme") | {name: evil.SHORT} for name in FIELDS if name != "csrf"]
    for form in forms:
        answer = signed_in.http.post(filled(route.path), data={**form, "csrf": signed_in.word})
        assert answer.status_code < 500, answer.text[:500]
        assert evil.wrong_with(answer.text) == [], form
        _require_here(answer, signed_in.registry)


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/sign-in/code"])
def test_sec_032_forms_of_strangers(path: str, hub: Registry) -> None:
    """SEC-032: who is not signed in gets what was typed as text, and no password back."""
    with hub.client() as client:
        for text in (evil.SHORT, *evil.LINES):
            form = {"name": text, "password": f"secret {text}", "again": "x", "code": text, "next": text}
            answer = client.post(path, data=form)
            assert 400 <= answer.status_code < 500 and evil.wrong_with(answer.text) == []
            assert f"secret {text[:4]}" not in answer.text


@pytest.mark.parametrize("route", WEB_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_sec_031_nothing_leads_elsewhere(route: WebRoute, hub: Registry, signed_in: Reader) -> None:
    """SEC-031: whatever a field or a header says, to whom is signed in, has been so for long, or is not."""
    with hub.client() as nobody:
        for target in AWAY:
            for client in (nobody, signed_in.http):
                for answer in _answers(route, client, target, signed_in):
                    _require_here(answer, hub)


def _answers(route: WebRoute, client: httpx2.Client, target: str, signed_in: Reader) -> Iterator[httpx2.Response]:
    path, fields = filled(route.path), dict.fromkeys(LEADING, target)
    named = target.encode("ascii", "backslashreplace").decode().replace("\r", "").replace("\n", "").replace("\t", "")
    for headers in (
        {"referer": named},
        {"referer": f"{signed_in.registry.url}/{named}", "hx-current-url": f"{signed_in.registry.url}/{named}"},
        {
            "host": "evil.test",
            "x-forwarded-host": "evil.test",
            "x-forwarded-prefix": named,
            "forwarded": "host=evil.test",
        },
    ):
        if route.method == "GET":
            yield client.get(path, params=fields, headers=headers)
        elif route.spec_id not in ENDING:
            yield client.post(path, data={**fields, "csrf": signed_in.word}, headers=headers)


def test_sec_031_a_proof_leads_back_here(hub: Registry, browsers: Open) -> None:
    """SEC-031: the page that a form says it stands on is one of ours, or the start."""
    reader = browsers("referred")
    reader.get("/settings/sign-in")
    word = reader.word
    tables.change(hub, "UPDATE sessions SET proved_at = 0")
    reader.http.cookies.update(dict(reader.http.cookies))
    for target in AWAY:
        named = target.replace("\r", "").replace("\n", "").replace("\t", "")
        for shown in (named, f"{hub.url}{named}", f"{hub.url}.evil.test/", f"{hub.url}@evil.test/"):
            answer = reader.http.post("/settings/password", data={"csrf": word}, headers={"referer": shown})
            _require_here(answer, hub)


def _require_here(answer: httpx2.Response, hub: Registry) -> None:
    assert (
        "refresh" not in answer.headers and "hx-redirect" not in answer.headers and "hx-location" not in answer.headers
    )
    place = answer.headers.get("location")
    if place is None:
        return
    assert place.startswith("/"), place
    for _ in range(4):
        assert not place.startswith(("//", "/\\")) and place.isprintable(), place
        assert urlsplit(urljoin(f"{hub.url}/x", place)).netloc == hub.address, place
        query = dict(part.partition("=")[::2] for part in urlsplit(place).query.split("&"))
        if "next" in query:
            following = unquote(query["next"])
            assert following.startswith("/") and not following.startswith(("//", "/\\")), following
        place = unquote(place.partition("?")[0])
