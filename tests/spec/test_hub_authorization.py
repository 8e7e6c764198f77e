"""Who may do what through the hub's API: every route, every caller, compared with a table, as in `test_authorization`.

The table says it a second time and shares no code with the product. A route that it does not know fails here.
SEC-020, SEC-021.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from registry.api.hub.routes import HUB_ROUTES
from tests.spec import callers
from tests.spec.callers import EXISTING, Caller, Place, Scheme, World
from tests.spec.test_authorization import RIGHTS, rows_of

# What each caller may do beside pulling and pushing. On a repository: a administer.
#     elsewhere: s be somebody; k its account; i look into acme; g change it; A instance
ADMINISTERS = {"owner": EXISTING, "keeper": (Place.APP,), "token for other": (Place.OTHER,), "admin": EXISTING}
ELSEWHERE = {
    "owner": "skig",
    "stranger": "sk",
    "reader": "sk",
    "writer": "sk",
    "teamster": "ski",
    "keeper": "sk",
    "member": "ski",
    "robot with write": "s",
    "robot without role": "s",
    "token for other": "s",
    "token to read": "si",
    "token to delete": "s",
    "admin": "skigA",
}
LETTER = {
    "pull": "r", "push": "w", "delete": "d", "administer": "a",
    "self": "s", "account": "k", "inspect": "i", "govern": "g", "instance": "A",
}  # fmt: skip
ON_REPOSITORY = ("pull", "push", "delete", "administer")


@dataclass(frozen=True)
class Row:
    """A harmless request to one route: its path (`{}` stands for the repository), what it needs, and the statuses for
    who may, where there is such a repository and where there is none."""

    method: str
    path: str
    need: str
    there: int
    missing: int = 404
    content: Any = None
    by_somebody: bool = False
    """Whether it is for accounts only, though everybody may see what it is about."""


ROWS: dict[str, Row] = {
    "getOpenApi": Row("GET", "/openapi.json", "ping", 200, 200),
    "getMe": Row("GET", "/me", "self", 200),
    "listRepositories": Row("GET", "/repositories", "catalog", 200),
    "createRepository": Row("POST", "/repositories", "self", 400, content={}),
    "getRepository": Row("GET", "/repositories/{}", "pull", 200),
    "listNamespaces": Row("GET", "/namespaces", "catalog", 200),
    "getNamespace": Row("GET", "/namespaces/acme", "catalog", 200),
    "getSuggestions": Row("GET", "/suggestions?q=web", "catalog", 200),
    "getHealth": Row("GET", "/instance/health", "instance", 200),
    "listJobs": Row("GET", "/instance/jobs", "instance", 200),
    "listSettings": Row("GET", "/instance/settings", "instance", 200),
    "getTotals": Row("GET", "/instance/statistics", "instance", 200),
    "getStorage": Row("GET", "/instance/storage", "instance", 200),
    "getTraffic": Row("GET", "/instance/traffic", "instance", 200),
    "getRanking": Row("GET", "/instance/ranking", "instance", 200),
    "listTags": Row("GET", "/repositories/{}/-/tags", "pull", 200),
    "getTag": Row("GET", "/repositories/{}/-/tags/v1", "pull", 200),
    "setTag": Row("PUT", "/repositories/{}/-/tags/v1", "push", 404, content={"digest": f"sha256:{'0' * 64}"}),
    "deleteTag": Row("DELETE", "/repositories/{}/-/tags/none", "delete", 200),
    "deleteTags": Row("POST", "/repositories/{}/-/delete-tags", "delete", 200, content={"tags": ["none"]}),
    "listTagHistory": Row("GET", "/repositories/{}/-/tags/v1/history", "pull", 200),
    "listHistory": Row("GET", "/repositories/{}/-/history", "pull", 200),
    "getManifest": Row("GET", "/repositories/{}/-/manifests/v1", "pull", 200),
    "deleteManifest": Row("DELETE", f"/repositories/{{}}/-/manifests/sha256:{'0' * 64}", "delete", 404),
    "listReferrers": Row("GET", "/repositories/{}/-/manifests/v1/referrers", "pull", 200),
    "getRepositoryPulls": Row("GET", "/repositories/{}/-/pulls", "pull", 200),
    "getTagPulls": Row("GET", "/repositories/{}/-/tags/v1/pulls", "pull", 200),
    "getAccount": Row("GET", "/account", "account", 200),
    "updateAccount": Row("PATCH", "/account", "account", 200, content={}),
    "setPassword": Row("PUT", "/account/password", "account", 400, content={}),
    "listMemberships": Row("GET", "/account/organizations", "account", 200),
    "leaveOrganization": Row("DELETE", "/account/organizations/none", "account", 404),
    "listAccountAudit": Row("GET", "/account/audit", "account", 200),
    "listTokens": Row("GET", "/account/tokens", "account", 200),
    "createToken": Row("POST", "/account/tokens", "account", 400, content={}),
    "getToken": Row("GET", "/account/tokens/0", "account", 404),
    "revokeToken": Row("DELETE", "/account/tokens/0", "account", 404),
    "listLogins": Row("GET", "/account/logins", "account", 200),
    "endLogin": Row("DELETE", "/account/logins/0", "account", 404),
    "createOrganization": Row("POST", "/organizations", "account", 400, content={}),
    "getOrganization": Row("GET", "/organizations/acme", "inspect", 200),
    "updateOrganization": Row("PATCH", "/organizations/acme", "govern", 200, content={}),
    "deleteOrganization": Row("DELETE", "/organizations/acme?dry_run=true", "govern", 200),
    "listMembers": Row("GET", "/organizations/acme/members", "inspect", 200),
    "getMember": Row("GET", "/organizations/acme/members/none", "inspect", 404),
    "setMember": Row("PUT", "/organizations/acme/members/none", "govern", 404, content={"role": "owner"}),
    "removeMember": Row("DELETE", "/organizations/acme/members/none", "govern", 404),
    "listTeams": Row("GET", "/organizations/acme/teams", "inspect", 200),
    "createTeam": Row("POST", "/organizations/acme/teams", "govern", 400, content={}),
    "getTeam": Row("GET", "/organizations/acme/teams/none", "inspect", 404),
    "deleteTeam": Row("DELETE", "/organizations/acme/teams/none", "govern", 404),
    "setTeamGroup": Row(
        "PUT", "/instance/organizations/acme/teams/none/group", "instance", 404, content={"group": None}
    ),
    "listTeamMembers": Row("GET", "/organizations/acme/teams/none/members", "inspect", 404),
    "addTeamMember": Row("PUT", "/organizations/acme/teams/none/members/none", "govern", 404),
    "removeTeamMember": Row("DELETE", "/organizations/acme/teams/none/members/none", "govern", 404),
    "listTeamRoles": Row("GET", "/organizations/acme/teams/none/roles", "inspect", 404),
    "listRobots": Row("GET", "/namespaces/acme/robots", "inspect", 200),
    "createRobot": Row("POST", "/namespaces/acme/robots", "govern", 400, content={}),
    "getRobot": Row("GET", "/namespaces/acme/robots/none", "inspect", 404),
    "updateRobot": Row("PATCH", "/namespaces/acme/robots/none", "govern", 404, content={}),
    "deleteRobot": Row("DELETE", "/namespaces/acme/robots/none", "govern", 404),
    "listRobotTokens": Row("GET", "/namespaces/acme/robots/none/tokens", "govern", 404),
    "createRobotToken": Row("POST", "/namespaces/acme/robots/none/tokens", "govern", 400, content={}),
    "revokeRobotToken": Row("DELETE", "/namespaces/acme/robots/none/tokens/0", "govern", 404),
    "listAccess": Row("GET", "/repositories/{}/-/access", "administer", 200),
    "getRole": Row("GET", "/repositories/{}/-/roles/none", "administer", 404),
    "setRole": Row("PUT", "/repositories/{}/-/roles/none", "administer", 404, content={"role": "admin"}),
    "removeRole": Row("DELETE", "/repositories/{}/-/roles/none", "administer", 404),
    "listNamespaceAccess": Row("GET", "/namespaces/acme/access", "inspect", 200),
    "getNamespaceRole": Row("GET", "/namespaces/acme/roles/none", "inspect", 404),
    "setNamespaceRole": Row("PUT", "/namespaces/acme/roles/none", "govern", 404, content={"role": "admin"}),
    "removeNamespaceRole": Row("DELETE", "/namespaces/acme/roles/none", "govern", 404),
    "getSettings": Row("GET", "/repositories/{}/-/settings", "administer", 200),
    "updateSettings": Row("PATCH", "/repositories/{}/-/settings", "administer", 200, content={}),
    "getReadme": Row("GET", "/repositories/{}/-/readme", "pull", 200),
    "putReadme": Row("PUT", "/repositories/{}/-/readme", "administer", 400, content={}),
    "moveRepository": Row("POST", "/repositories/{}/-/move", "administer", 400, content={}),
    "listAliases": Row("GET", "/repositories/{}/-/aliases", "administer", 200),
    "removeAlias": Row("DELETE", "/repositories/{}/-/aliases/none", "administer", 404),
    "listFormerNames": Row("GET", "/namespaces/acme/former-names", "govern", 200),
    "freeName": Row("DELETE", "/namespaces/acme/former-names/acme%2Fnone", "govern", 404),
    "getStar": Row("GET", "/repositories/{}/-/star", "pull", 200, by_somebody=True),
    "addStar": Row("PUT", "/repositories/{}/-/star?none=", "pull", 400),
    "removeStar": Row("DELETE", "/repositories/{}/-/star", "pull", 204, by_somebody=True),
    "deleteRepository": Row("DELETE", "/repositories/{}?dry_run=true", "administer", 200),
    "listAudit": Row("GET", "/instance/audit", "instance", 200),
    "exportAudit": Row("GET", "/instance/audit/export", "instance", 200),
    "listActions": Row("GET", "/instance/audit/actions", "instance", 200),
    "listNamespaceAudit": Row("GET", "/namespaces/acme/audit", "govern", 200),
    "listUsers": Row("GET", "/instance/users", "instance", 200),
    "createUser": Row("POST", "/instance/users", "instance", 400, content={}),
    "getUser": Row("GET", "/instance/users/none", "instance", 404),
    "updateUser": Row("PATCH", "/instance/users/none", "instance", 404, content={}),
    "deleteUser": Row("DELETE", "/instance/users/none", "instance", 404),
    "setUserPassword": Row("PUT", "/instance/users/none/password", "instance", 400, content={}),
    "signUserOut": Row("DELETE", "/instance/users/none/sessions", "instance", 404),
    "removeSecondFactor": Row("DELETE", "/instance/users/none/second-factor", "instance", 404),
    "listOrganizations": Row("GET", "/instance/organizations", "instance", 200),
    "setOrganizationState": Row("PATCH", "/instance/organizations/none", "instance", 404, content={}),
    "listAllRobots": Row("GET", "/instance/robots", "instance", 200),
    "setVisibilities": Row("POST", "/instance/repositories/visibility", "instance", 400, content={}),
    "deleteRepositories": Row("POST", "/instance/repositories/delete", "instance", 400, content={}),
}
"""By the id of the operation."""


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
            headers["content-type"] = "application/json"
            content = json.dumps(row.content)
        path = f"/api/v1{row.path.format(place)}"
        return self.world.client.request(row.method, path, content=content, headers=headers)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        scopes = {"registry:catalog:*", *(f"repository:{place}:pull,push,delete" for place in Place)}
        callers.disable(made, scopes)
        yield Cast(made, callers.callers(made), rows_of(made))


def expected(row: Row, place: Place, caller: Caller) -> int:
    """The rules: a wrong credential is 401 everywhere; none is 401 wherever it is not enough; else 404 for what may not
    be seen, 403 for what may be and not done."""
    if caller.scheme in (Scheme.WRONG_BASIC, Scheme.WRONG_BEARER):
        return 401
    done = row.there if place in EXISTING else row.missing
    if row.need == "ping":
        return row.there
    if row.need == "catalog":
        return row.there if caller.scheme is Scheme.NOTHING or "c" in RIGHTS[caller.who][-1] else 403
    if row.need in ON_REPOSITORY:
        if row.by_somebody and done < 300 and _may(row, place, caller) and _is_nobody(caller):
            return 401
        return done if _may(row, place, caller) else _refused(row, place, caller)
    if caller.scheme is Scheme.NOTHING or caller.who == "anonymous":
        return 401
    if caller.scheme is Scheme.BEARER and row.need != "self":
        return 403
    letters = ELSEWHERE.get(caller.who, "s")
    if LETTER[row.need] in letters:
        return row.there
    belongs = set("ig") & set(ELSEWHERE.get(caller.who, "")) or caller.who in ("token for other", "token to delete")
    return 404 if row.need in ("inspect", "govern") and not belongs else 403


def _letters(place: Place, caller: Caller) -> str:
    if caller.scheme is Scheme.NOTHING:
        return "r" if place is Place.OPEN else ""
    letters = dict(zip(Place, RIGHTS[caller.who], strict=False))[place]
    if caller.scheme is not Scheme.BEARER and place in ADMINISTERS.get(caller.who, ()):
        letters += "a"
    return letters


def _is_nobody(caller: Caller) -> bool:
    return caller.scheme is Scheme.NOTHING or caller.who == "anonymous"


def _may(row: Row, place: Place, caller: Caller) -> bool:
    return LETTER[row.need] in _letters(place, caller)


def _refused(row: Row, place: Place, caller: Caller) -> int:
    if caller.scheme is Scheme.NOTHING:
        return 401
    if row.need == "push":
        return 403
    return 403 if place in EXISTING and "r" in _letters(place, caller) else 404


def test_every_route_has_a_row() -> None:
    """A route without a row, a row without a route, and an action that the table does not know are mistakes."""
    assert len({route.spec_id for route in HUB_ROUTES}) == len(HUB_ROUTES)
    routes = {(route.spec_id, route.method, route.action.value) for route in HUB_ROUTES}
    assert {(spec_id, row.method, row.need) for spec_id, row in ROWS.items()} == routes


def test_everybody_at_every_route(cast: Cast) -> None:
    """The matrix; nothing has changed after it."""
    wrong = []
    for spec_id, row in ROWS.items():
        for place in Place if "{}" in row.path else (Place.APP,):
            for caller in cast.callers:
                answer, wanted = cast.send(row, place, caller), expected(row, place, caller)
                if answer.status_code != wanted:
                    wrong.append(f"{caller}: {spec_id} of {place}: {answer.status_code}, not {wanted}: {answer.text}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert rows_of(cast.world) == cast.before


def test_what_is_hidden_looks_like_what_is_missing(cast: Cast) -> None:
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
    passing = ("date", "ratelimit-remaining", "ratelimit-reset", "etag")
    headers = [(key, value.replace(place, "NAME")) for key, value in answer.headers.items() if key not in passing]
    return answer.status_code, headers, answer.text.replace(place, "NAME")
