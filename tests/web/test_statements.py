"""What every page and list asks of the database: three statements at most, whatever there is to show.

All of them are counted, also the one that finds what an account may do, but for what no page asks for: the look for
changes of access, which a server has once a second for all requests, and what is remembered until there is one: who a
session or a credential is, and what it may do in a repository. So each page is asked for twice, and the second time
counts.
"""

import pytest

from registry.api.hub.paths import parameters_of
from registry.api.hub.routes import HUB_ROUTES
from registry.api.hub.table import PREFIX
from registry.api.views.routes import VIEW_ROUTES
from registry.api.web.routes import WEB_ROUTES
from registry.core.access import Action
from tests.running import ADMIN_PASSWORD
from tests.web.conftest import Pages
from tests.web.world import PASSWORD

STATEMENTS_MAX = 3
TRIES = 3
FOUND_BY_NAME = {f"{PREFIX}/namespaces/{{namespace}}/roles/{{holder}}": 4}
"""No page and no list: one role, after the place and the holder. It is as many whatever there is."""
SHOW_NOTHING = {
    "/organizations/{namespace}", "/sign-in", "/sign-in/code", "/sign-in/provider", "/sign-in/callback", "/sign-up",
    "/signed-out",
}  # fmt: skip
"""These lead elsewhere, or are for who has not signed in, yet or any more."""
QUERIES = {
    "/explore": ("q=web&sort=-pull_count", "q=wbe", "sort=name"),
    "/search": ("q=acme",),
    "/search/suggestions": ("q=acme",),
    "/u/{namespace}": ("sort=-star_count",),
    "/u/{namespace}/activity": ("actor=ada",),
    "/u/{namespace}/members/remove": ("name=ben",),
    "/r/{repository}/-/tags": ("q=alpine&sort=-version", "q=stable", "sort=name"),
    "/r/{repository}/-/activity": ("tag=2",),
    "/admin": ("period=day",),
    "/admin/repositories": ("sort=-size_bytes", "q=web&visibility=public"),
    "/admin/users": ("q=a",),
    "/admin/audit": ("actor=admin", "action=repository.*&since=2026-01-01"),
    f"{PREFIX}/repositories": ("q=web&sort=relevance", "namespace=acme", "count=true", "sort=-pulls"),
    f"{PREFIX}/suggestions": ("q=acme",),
    f"{PREFIX}/repositories/{{repository}}/-/tags": ("q=alpine", "sort=-version", "limit=100"),
}
"""What else than nothing is asked for."""
OLD_CLIENTS = ("/v2/_catalog", "/v2/acme/web/tags/list", "/v1/search?q=web", "/v1/_ping")


def templates() -> dict[str, Action]:
    """The path of every GET, but for those of the distribution API, with the action that it needs."""
    hub = {f"{PREFIX}{route.path}": route.action for route in HUB_ROUTES if route.method == "GET"}
    web = {route.path: route.action for route in WEB_ROUTES if route.method == "GET"}
    return hub | web | {route.path: route.action for route in VIEW_ROUTES}


async def values(pages: Pages) -> dict[str, str]:
    """What stands for parameters: an image for several platforms, with signatures, one of its parts, and people."""
    shown = await pages.client.get(f"{PREFIX}/repositories/acme/web/-/tags/latest")
    given, ada = {"name": "ci", "scopes": ["read"]}, pages.shown("ada")
    made = await pages.client.post(f"{PREFIX}/account/tokens", json=given, headers=ada)
    assert made.status_code == 201, made.text
    role = await pages.client.put(f"{PREFIX}/namespaces/acme/roles/chen", json={"role": "read"}, headers=ada)
    assert role.status_code == 200, role.text
    return {
        "repository": "acme/web", "name": "web", "namespace": "acme", "tag": "latest", "reference": "latest",
        "digest": shown.json()["platforms"][0]["digest"], "user": "ada", "account": "ada", "member": "ben",
        "holder": "chen", "team": "crew", "robot": "ci", "question": "disable", "token": str(made.json()["id"]),
    }  # fmt: skip


async def signed_in(pages: Pages, name: str) -> None:
    """From now on it is the browser of this person."""
    pages.client.cookies.clear()
    given = {"name": name, "password": ADMIN_PASSWORD if name == "admin" else PASSWORD}
    assert (await pages.client.post("/sign-in", data=given)).status_code == 303
    await pages.settle()


async def too_much(pages: Pages, path: str, who: str = "", *, limit: int = STATEMENTS_MAX) -> list[str]:
    """The statements of a page, if they are too many each time: what is counted is written down meanwhile, now and
    then."""
    found: list[str] = []
    for _ in range(TRIES):
        found = await pages.cost(path, who)
        if len(found) <= limit:
            return []
    return [f"{path}: {len(found)}", *found]


@pytest.mark.parametrize("who", ["ada", "admin"])
async def test_three_statements_at_most(desk: Pages, who: str) -> None:
    """Every page and list of the tables, by somebody who owns what it shows, and by an admin of the instance."""
    known = await values(desk)
    await signed_in(desk, who)
    wrong: list[str] = []
    for template, action in templates().items():
        if template in SHOW_NOTHING or (action is Action.INSTANCE and who != "admin"):
            continue
        assert set(parameters_of(template)) <= known.keys(), f"{template}: what stands for its parameters?"
        if "{token}" in template and who != "ada":
            continue
        path, limit = template.format(**known), FOUND_BY_NAME.get(template, STATEMENTS_MAX)
        for query in ("", *QUERIES.get(template, ())):
            wrong += await too_much(desk, f"{path}?{query}" if query else path, limit=limit)
    assert not wrong, "\n".join(wrong)


async def test_three_statements_for_nobody(pages: Pages) -> None:
    """What is public; and what clients of older interfaces ask, with a password."""
    known = {"repository": "acme/web", "namespace": "acme", "name": "web", "tag": "latest", "reference": "latest"}
    public = [one for one, action in templates().items() if action in (Action.PULL, Action.CATALOG, Action.PING)]
    public.remove(f"{PREFIX}/repositories/{{repository}}/-/star")
    open_to_all = [one.format(**known) for one in public if set(parameters_of(one)) <= known.keys()]
    assert len(open_to_all) > 30
    wrong: list[str] = []
    for path in open_to_all:
        wrong += await too_much(pages, path)
    for path in OLD_CLIENTS:
        wrong += await too_much(pages, path, "ben")
    assert not wrong, "\n".join(wrong)


async def test_every_query_is_of_a_route(pages: Pages) -> None:
    """None is left over from a route that is gone."""
    assert {*QUERIES, *FOUND_BY_NAME, *SHOW_NOTHING} <= templates().keys()


async def test_what_is_not_there(pages: Pages) -> None:
    """It costs no more to say so."""
    for path in ("/r/acme/web/-/tags/broken", "/r/acme/web/-/tags/never", "/r/acme/none", "/u/nobody-here"):
        await pages.get(path, "ada", status=404)
        pages.statements.clear()
        await pages.get(path, "ada", status=404)
        found = [text for text in pages.statements if text != "BEGIN" and "access_changes" not in text]
        assert len(found) <= STATEMENTS_MAX, "\n".join(found)
