"""Who may read what in the words of other products: every route, every caller, as in `test_hub_authorization`."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from registry.api.views.routes import VIEW_ROUTES
from tests.spec import callers
from tests.spec.callers import EXISTING, Caller, Place, Scheme, World
from tests.spec.test_authorization import RIGHTS

HUB, OLD, HARBOR = "/hub/v2/namespaces/{0}/repositories", "/hub/v2/repositories/{0}", "/api/v2.0/projects/{0}"
ROWS = {
    "hub-tag": ("pull", f"{HUB}/{{1}}/tags/v1"),
    "hub-tags": ("pull", f"{HUB}/{{1}}/tags"),
    "hub-repository": ("pull", f"{HUB}/{{1}}"),
    "hub-repositories": ("catalog", HUB),
    "hub-old-tag": ("pull", f"{OLD}/{{1}}/tags/v1/"),
    "hub-old-tags": ("pull", f"{OLD}/{{1}}/tags/"),
    "hub-old-repository": ("pull", f"{OLD}/{{1}}/"),
    "hub-old-repositories": ("catalog", f"{OLD}/"),
    "harbor-ping": ("ping", "/api/v2.0/ping"),
    "harbor-search": ("catalog", "/api/v2.0/search?q=a"),
    "harbor-tags": ("pull", f"{HARBOR}/repositories/{{1}}/artifacts/v1/tags"),
    "harbor-artifact": ("pull", f"{HARBOR}/repositories/{{1}}/artifacts/v1"),
    "harbor-artifacts": ("pull", f"{HARBOR}/repositories/{{1}}/artifacts"),
    "harbor-repository": ("pull", f"{HARBOR}/repositories/{{1}}"),
    "harbor-project-repositories": ("catalog", f"{HARBOR}/repositories"),
    "harbor-repositories": ("catalog", "/api/v2.0/repositories"),
    "harbor-project": ("catalog", HARBOR),
    "harbor-projects": ("catalog", "/api/v2.0/projects"),
}
"""Action and path of each route; `{0}` and `{1}` are the parts of the repository's name."""


@dataclass
class Cast:
    """The world and its callers."""

    world: World
    callers: list[Caller]


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        scopes = {"registry:catalog:*", *(f"repository:{place}:pull" for place in Place)}
        callers.disable(made, scopes)
        yield Cast(made, callers.callers(made))


def rights(caller: Caller, place: Place) -> str:
    """What a caller may do there."""
    if caller.scheme is Scheme.NOTHING:
        return "r" if place is Place.OPEN else ""
    return dict(zip(Place, RIGHTS[caller.who], strict=False))[place]


def expected(need: str, place: Place, caller: Caller) -> int:
    """A wrong credential is 401 everywhere; none is 401 where it is not enough; else 404 for what may not be seen."""
    if caller.scheme in (Scheme.WRONG_BASIC, Scheme.WRONG_BEARER):
        return 401
    if need == "ping":
        return 200
    if need == "catalog":
        return 200 if caller.scheme is Scheme.NOTHING or "c" in RIGHTS[caller.who][-1] else 403
    if place in EXISTING and "r" in rights(caller, place):
        return 200
    return 401 if caller.scheme is Scheme.NOTHING else 404


def test_every_route_has_a_row() -> None:
    """A route without a row, and a row without a route, are mistakes."""
    assert {(route.spec_id, route.action.value) for route in VIEW_ROUTES} == {
        (spec_id, need) for spec_id, (need, _) in ROWS.items()
    }
    assert len(VIEW_ROUTES) == len(ROWS)


def test_everybody_at_every_route(cast: Cast) -> None:
    """SEC-020, SEC-027: the matrix; lists show what may be pulled and nothing else, and no namespace of others."""
    wrong = []
    for spec_id, (need, template) in ROWS.items():
        for place in Place if "{1}" in template else (Place.APP, Place.NOWHERE):
            path = template.format(*place.split("/", 1))
            for caller in cast.callers:
                scope = f"repository:{place}:pull" if need == "pull" else "registry:catalog:*"
                shown = caller.authorization(scope)
                answer = cast.world.client.get(path, headers={} if shown is None else {"authorization": shown})
                wanted = expected(need, place, caller)
                if spec_id == "harbor-project" and wanted == 200:
                    is_there = place is Place.APP
                    wanted = 200 if is_there else 404
                if answer.status_code != wanted:
                    wrong.append(f"{caller}: {spec_id} of {place}: {answer.status_code}, not {wanted}: {answer.text}")
                elif wanted == 200 and need == "catalog":
                    hidden = [one for one in EXISTING if "r" not in rights(caller, one)]
                    if any(one in answer.text or f'"{one.split("/")[1]}"' in answer.text for one in hidden):
                        wrong.append(f"{caller}: {spec_id} shows what is hidden: {answer.text}")
    assert not wrong, "\n" + "\n".join(wrong)
