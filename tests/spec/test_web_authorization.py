"""Who may do what through the pages: every route, every caller, compared with the same table as the hub's API.

A route that the table does not know fails here. Where the API says 401, a page leads to the form for signing in.
SEC-020, SEC-021, SEC-027.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from registry.api.web import browsing, preferences
from registry.api.web.routes import WEB_ROUTES
from registry.core.digest import Digest
from tests.spec import callers
from tests.spec.callers import MANIFEST, USERS, Caller, Place, Scheme, World
from tests.spec.test_authorization import RIGHTS, rows_of
from tests.spec.test_hub_authorization import Row, expected

DIGEST = Digest.of(MANIFEST)
ROWS: dict[str, Row] = {
    "start": Row("GET", "/", "catalog", 200),
    "explore": Row("GET", "/explore?sort=name", "catalog", 200),
    "search": Row("GET", "/search?q=app", "catalog", 200),
    "suggestions": Row("GET", "/search/suggestions?q=app", "catalog", 200),
    "namespace": Row("GET", "/u/acme", "catalog", 200),
    "repositories": Row("GET", "/repositories", "self", 200),
    "stars": Row("GET", "/stars", "self", 200),
    "new-repository-form": Row("GET", "/new", "self", 200),
    "new-repository": Row("POST", "/new", "self", 400, content={"namespace": "acme", "name": "new"}),
    "overview": Row("GET", "/r/{}", "pull", 200),
    "readme-form": Row("GET", "/r/{}/-/readme", "administer", 200),
    "readme": Row("POST", "/r/{}/-/readme", "administer", 409, content={"readme": "x", "version": "another"}),
    "readme-preview": Row("POST", "/r/{}/-/readme/preview", "administer", 200, content={"readme": "x"}),
    "star": Row("POST", "/r/{}/-/star", "pull", 303, content={"star": "off"}),
    "tags": Row("GET", "/r/{}/-/tags", "pull", 200),
    "tag": Row("GET", "/r/{}/-/tags/v1", "pull", 200),
    "manifest": Row("GET", f"/r/{{}}/-/manifests/{DIGEST}", "pull", 200),
    "manifest-bytes": Row("GET", f"/r/{{}}/-/manifests/{DIGEST}/raw", "pull", 200),
    "config-bytes": Row("GET", f"/r/{{}}/-/manifests/{DIGEST}/config", "pull", 200),
    "delete-tags": Row("POST", "/r/{}/-/delete-tags", "delete", 200, content={}),
    "delete-manifest": Row("POST", "/r/{}/-/delete-manifest", "delete", 400, content={"digest": "x"}),
    "activity": Row("GET", "/r/{}/-/activity", "pull", 200),
    "repository-audit": Row("GET", "/r/{}/-/audit", "administer", 200),
    "restore-tag": Row("POST", "/r/{}/-/restore-tag", "push", 400, 400, content={"tag": ".x"}),
    "repository-settings": Row("GET", "/r/{}/-/settings", "administer", 200),
    "description": Row("POST", "/r/{}/-/settings/description", "administer", 400, content={"description": "a\nb"}),
    "visibility": Row("POST", "/r/{}/-/settings/visibility", "administer", 400, content={"visibility": "x"}),
    "repository-name": Row("POST", "/r/{}/-/settings/name", "administer", 400, content={"name": "NO"}),
    "alias": Row("POST", "/r/{}/-/settings/aliases", "administer", 400, content={"name": "NO"}),
    "repository-access": Row("GET", "/r/{}/-/settings/access", "administer", 200),
    "role": Row("POST", "/r/{}/-/settings/access", "administer", 400, content={"holder": "x"}),
    "repository-deletion": Row("GET", "/r/{}/-/settings/delete", "administer", 200),
    "delete-repository": Row("POST", "/r/{}/-/settings/delete", "administer", 400, content={"confirmation": "x"}),
    "api-documentation": Row("GET", "/api/v1", "ping", 200),
    "preferences": Row("POST", "/preferences", "login", 303, content={"theme": "dark"}),
}
"""By the name of the route. The content of a form is nothing that changes anything. Pages of people's own affairs have
their own tests, in `tests/web/affairs`."""
UNAUTHENTICATED = 303
"""To the form for signing in."""


@dataclass(frozen=True)
class Signed(Caller):
    """Somebody whose browser is signed in."""

    cookie: str = ""
    word: str = ""

    def __str__(self) -> str:
        return f"{self.who} (signed in)"


def signed_in(made: World, who: str) -> Signed:
    """Sign in by the form."""
    name, secret = made.passwords[who]
    answer = made.client.post("/sign-in", data={"name": name, "password": secret})
    cookie = "; ".join(value.partition(";")[0] for value in answer.headers.get_list("set-cookie"))
    made.client.cookies.clear()
    page = made.client.get("/repositories", headers={"cookie": cookie})
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert page.status_code == 200 and found is not None
    return Signed(who, Scheme.BASIC, lambda _: None, cookie, found[1])


@dataclass
class Cast:
    """The world and its callers."""

    world: World
    callers: list[Caller]
    before: dict[str, list[Any]]

    def send(self, row: Row, place: Place, caller: Caller) -> httpx2.Response:
        """Knock."""
        scope = f"repository:{place}:pull,push,delete" if "{}" in row.path else "registry:catalog:*"
        shown = caller.authorization(scope)
        headers = {} if shown is None else {"authorization": shown}
        form = dict(row.content or {})
        if isinstance(caller, Signed):
            headers["cookie"] = caller.cookie
            form["csrf"] = caller.word
        content = None
        if row.content is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
            content = urlencode(form, doseq=True)
        return self.world.client.request(row.method, row.path.format(place), content=content, headers=headers)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        scopes = {"registry:catalog:*", *(f"repository:{place}:pull,push,delete" for place in Place)}
        callers.disable(made, scopes)
        found = callers.callers(made)
        found += [signed_in(made, who) for who in (*(user for user in USERS if user != "gone"), "admin")]
        yield Cast(made, found, rows_of(made))


def wanted(row: Row, place: Place, caller: Caller) -> int:
    """What the API would say, as a page says it."""
    status = expected(replace(row, need="ping" if row.need == "login" else row.need), place, caller)
    return UNAUTHENTICATED if status == 401 else status


def test_every_route_has_a_row() -> None:
    """A route without a row, a row without a route, and an action that the table does not know are mistakes."""
    assert len({(route.spec_id, route.method) for route in WEB_ROUTES}) == len(WEB_ROUTES)
    ours = (*browsing.ROUTES, *preferences.ROUTES)
    routes = {(route.spec_id, route.method, route.action.value) for route in ours}
    assert {(spec_id, row.method, row.need) for spec_id, row in ROWS.items()} == routes


def test_everybody_at_every_page(cast: Cast) -> None:
    """The matrix; nothing has changed after it, and no page of an error says what was not shown."""
    wrong = []
    for spec_id, row in ROWS.items():
        for place in Place if "{}" in row.path else (Place.APP,):
            for caller in cast.callers:
                answer, status = cast.send(row, place, caller), wanted(row, place, caller)
                if answer.status_code != status:
                    wrong.append(f"{caller}: {spec_id} of {place}: {answer.status_code}, not {status}")
                if status == UNAUTHENTICATED and row.there != UNAUTHENTICATED:
                    assert answer.headers["location"].startswith("/sign-in?next=")
    assert not wrong, "\n" + "\n".join(wrong)
    assert rows_of(cast.world) == cast.before


def test_sec_027_what_is_hidden_looks_like_what_is_missing(cast: Cast) -> None:
    """SEC-027: who has no right to a private repository gets what it gets for a missing one, but for the name."""
    wrong = []
    for spec_id, row in ROWS.items():
        if "{}" not in row.path:
            continue
        for caller in cast.callers:
            rights = RIGHTS.get(caller.who, ("", "", "", "", "", ""))
            if rights[0] or rights[3]:
                continue
            seen = [_appearance(cast.send(row, place, caller), place) for place in (Place.APP, Place.MISSING)]
            if seen[0] != seen[1]:
                wrong.append(f"{caller}: {spec_id}: {seen[0]} is not {seen[1]}")
    assert not wrong, "\n" + "\n".join(wrong)


def _appearance(answer: httpx2.Response, place: Place) -> tuple[object, ...]:
    escaped = place.replace("/", "%2F")
    headers = [(key, _unnamed(value, place, escaped)) for key, value in answer.headers.items() if key != "date"]
    return answer.status_code, headers, _unnamed(answer.text, place, escaped)


def _unnamed(text: str, place: Place, escaped: str) -> str:
    return text.replace(place, "NAME").replace(escaped, "NAME")
