"""Who may do what through the pages: every route, every caller, compared with the same table as the hub's API.

A route that the table does not know fails here. Where the API says 401, a page leads to the form for signing in.
SEC-020, SEC-021, SEC-027.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from registry.api.web.routes import WEB_ROUTES
from tests.spec import callers
from tests.spec.callers import Caller, Place, World
from tests.spec.test_authorization import RIGHTS, rows_of
from tests.spec.test_hub_authorization import Row, expected

ROWS: dict[str, Row] = {
    "start": Row("GET", "/", "catalog", 200),
    "explore": Row("GET", "/explore?sort=name", "catalog", 200),
    "search": Row("GET", "/search?q=app", "catalog", 200),
    "suggestions": Row("GET", "/search/suggestions?q=app", "catalog", 200),
    "namespace": Row("GET", "/u/acme", "catalog", 200),
    "repositories": Row("GET", "/repositories", "self", 200),
    "stars": Row("GET", "/stars", "self", 200),
    "api-documentation": Row("GET", "/api/v1", "ping", 200),
    "preferences": Row("POST", "/preferences", "login", 303, content={"theme": "dark"}),
}
"""By the name of the route. The content of a form is nothing that changes anything."""
UNAUTHENTICATED = 303
"""To the form for signing in."""


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
        content = None
        if row.content is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
            content = urlencode(row.content, doseq=True)
        return self.world.client.request(row.method, row.path.format(place), content=content, headers=headers)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        scopes = {"registry:catalog:*", *(f"repository:{place}:pull,push,delete" for place in Place)}
        callers.disable(made, scopes)
        yield Cast(made, callers.callers(made), rows_of(made))


def wanted(row: Row, place: Place, caller: Caller) -> int:
    """What the API would say, as a page says it."""
    status = expected(replace(row, need="ping" if row.need == "login" else row.need), place, caller)
    return UNAUTHENTICATED if status == 401 else status


def test_every_route_has_a_row() -> None:
    """A route without a row, a row without a route, and an action that the table does not know are mistakes."""
    assert len({route.spec_id for route in WEB_ROUTES}) == len(WEB_ROUTES)
    routes = {(route.spec_id, route.method, route.action.value) for route in WEB_ROUTES}
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
