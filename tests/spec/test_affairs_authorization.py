"""Who may do what through the pages of people's own affairs and of administration: every route, every caller, compared
with the same table as the hub's API, as in `test_web_authorization`.

A route that the table does not know fails here. SEC-020, SEC-021.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from registry.api.web import affairs
from tests.spec import callers
from tests.spec.callers import USERS, Caller, Place
from tests.spec.test_authorization import rows_of
from tests.spec.test_hub_authorization import Row, expected
from tests.spec.test_web_authorization import UNAUTHENTICATED, Cast, Signed, signed_in, wanted


@dataclass(frozen=True)
class Own(Row):
    """A request to a page that is about the person in front of it: whoever shows a token or a password in place of a
    session has to sign in."""

    needs_session: bool = field(default=True, kw_only=True)


LET_IN = 299
"""Stands for whatever is answered to who may."""
ROWS: dict[str, Row] = {
    "sign-in-page": Row("GET", "/sign-in?next=/x", "login", 200),
    "sign-in": Row("POST", "/sign-in", "login", 403, content={"name": "none", "password": "none"}),
    "sign-in-code-page": Row("GET", "/sign-in/code", "login", 303),
    "sign-in-code": Row("POST", "/sign-in/code", "login", 403, content={"code": "1"}),
    "sign-in-provider": Row("GET", "/sign-in/provider", "login", 404),
    "sign-in-callback": Row("GET", "/sign-in/callback", "login", 404),
    "signed-out": Row("GET", "/signed-out", "login", 404),
    "sign-up-page": Row("GET", "/sign-up", "login", 404),
    "sign-up": Row("POST", "/sign-up", "login", 404, content={}),
    "proof-page": Own("GET", "/prove", "account", 200),
    "proof": Own("POST", "/prove", "account", 403, content={"proof": "wrong"}),
    "proof-at-provider": Own("POST", "/prove/provider", "account", 404, content={}),
    "profile": Row("GET", "/settings", "account", 200),
    "profile-set": Row("POST", "/settings", "account", 400, content={"visibility": "x"}),
    "account-delete-page": Own("GET", "/settings/delete", "account", 200),
    "account-delete": Own("POST", "/settings/delete", "account", 400, content={"confirm": "x"}),
    "sign-in-settings": Row("GET", "/settings/sign-in", "account", 200),
    "password-page": Row("GET", "/settings/password", "account", 200),
    "password": Own("POST", "/settings/password", "account", 400, content={"password": "x", "again": "y"}),
    "identity-link": Row("POST", "/settings/identity/link", "account", 404, content={}),
    "identity-unlink-page": Row("GET", "/settings/identity/unlink", "account", 200),
    "identity-unlink": Own("POST", "/settings/identity/unlink", "account", 400, content={}),
    "second-factor-page": Row("GET", "/settings/second-factor", "account", 200),
    "second-factor-confirm": Own("POST", "/settings/second-factor/code", "account", 400, content={"code": "x"}),
    "second-factor-codes": Own("POST", "/settings/second-factor/codes", "account", 400, content={}),
    "second-factor-off-page": Row("GET", "/settings/second-factor/off", "account", 200),
    "sessions": Own("GET", "/settings/sessions", "account", 200),
    "session-end": Own("POST", "/settings/sessions/end", "account", 404, content={"session": "0"}),
    "login-end": Own("POST", "/settings/sessions/end-login", "account", 404, content={"login": "0"}),
    "sessions-end-others": Own("POST", "/settings/sessions/end-others", "account", 303, content={}),
    "tokens": Row("GET", "/settings/tokens", "account", 200),
    "token-page": Row("GET", "/settings/tokens/new", "account", 200),
    "token-create": Row("POST", "/settings/tokens", "account", 400, content={"name": "x"}),
    "token-revoke-page": Row("GET", "/settings/tokens/revoke?token=0", "account", 200),
    "token-revoke": Row("POST", "/settings/tokens/revoke", "account", 404, content={"token": "0"}),
    "organizations": Row("GET", "/organizations", "account", 200),
    "organization-page": Row("GET", "/organizations/new", "account", 200),
    "organization-create": Row("POST", "/organizations", "account", 400, content={"name": "NO"}),
    "organization": Row("GET", "/organizations/acme", "inspect", 303),
    "members": Row("GET", "/u/acme/members", "inspect", 200),
    "member-set": Row("POST", "/u/acme/members", "govern", 404, content={"name": "none"}),
    "member-remove-page": Row("GET", "/u/acme/members/remove?name=x", "govern", 200),
    "member-remove": Row("POST", "/u/acme/members/remove", "govern", 404, content={"name": "none"}),
    "member-leave-page": Row("GET", "/u/acme/members/leave", "inspect", 200),
    "teams": Row("GET", "/u/acme/teams", "inspect", 200),
    "team-create": Row("POST", "/u/acme/teams", "govern", 400, content={"name": "NO"}),
    "team": Row("GET", "/u/acme/teams/crew", "inspect", 200),
    "team-join": Row("POST", "/u/acme/teams/crew/members", "govern", 404, content={"name": "none"}),
    "team-take-out": Row("POST", "/u/acme/teams/crew/members/remove", "govern", 404, content={"name": "none"}),
    "team-roles": Row("GET", "/u/acme/teams/crew/roles", "inspect", 200),
    "team-role": Row("POST", "/u/acme/teams/crew/roles", "govern", 400, content={"place": "NO", "role": "read"}),
    "team-role-end": Row("POST", "/u/acme/teams/crew/roles/remove", "govern", 400, content={"place": "NO"}),
    "team-settings": Row("GET", "/u/acme/teams/crew/settings", "govern", 200),
    "team-group": Row("POST", "/u/acme/teams/none/group", "instance", 404, content={"group": "x"}),
    "team-delete-page": Row("GET", "/u/acme/teams/crew/delete", "govern", 200),
    "team-delete": Row("POST", "/u/acme/teams/none/delete", "govern", 404, content={}),
    "robots": Row("GET", "/u/acme/robots", "inspect", 200),
    "robot-create": Row("POST", "/u/acme/robots", "govern", 400, content={"name": "NO", "role": "none"}),
    "robot": Row("GET", "/u/acme/robots/idle", "govern", 200),
    "robot-token-page": Row("GET", "/u/acme/robots/idle/new", "govern", 200),
    "robot-token-create": Row("POST", "/u/acme/robots/idle/tokens", "govern", 400, content={"name": "x"}),
    "robot-token-revoke-page": Row("GET", "/u/acme/robots/idle/revoke?token=0", "govern", 200),
    "robot-token-revoke": Row("POST", "/u/acme/robots/idle/revoke", "govern", 404, content={"token": "0"}),
    "robot-delete-page": Row("GET", "/u/acme/robots/idle/delete", "govern", 200),
    "robot-delete": Row("POST", "/u/acme/robots/none/delete", "govern", 404, content={}),
    "holders": Row("GET", "/u/acme/access", "inspect", 200),
    "holder-set": Row("POST", "/u/acme/access", "govern", 404, content={"holder": "none", "role": "read"}),
    "holder-end": Row("POST", "/u/acme/access/remove", "govern", 404, content={"holder": "none"}),
    "namespace-settings": Row("GET", "/u/acme/settings", "govern", 200),
    "namespace-settings-set": Row("POST", "/u/acme/settings", "govern", 400, content={"visibility": "x"}),
    "namespace-delete-page": Row("GET", "/u/acme/delete", "govern", 200),
    "namespace-delete": Row("POST", "/u/acme/delete", "govern", 200, content={"confirm": "x"}),
    "namespace-activity": Row("GET", "/u/acme/activity", "govern", 200),
    "admin-audit": Row("GET", "/admin/audit", "instance", 200),
    "admin-audit-export": Row("GET", "/admin/audit.jsonl?action=none", "instance", 200),
    "admin-dashboard": Row("GET", "/admin", "instance", 200),
    "admin-storage": Row("GET", "/admin/storage", "instance", 200),
    "admin-repositories": Row("GET", "/admin/repositories", "instance", 200),
    "admin-repositories-choose": Row("POST", "/admin/repositories", "instance", 400, content={"deed": "x"}),
    "admin-repositories-change": Row("POST", "/admin/repositories/change", "instance", 400, content={"deed": "x"}),
    "admin-users": Row("GET", "/admin/users", "instance", 200),
    "admin-user-page": Row("GET", "/admin/users/new", "instance", 200),
    "admin-user-create": Row("POST", "/admin/users", "instance", 400, content={"name": "NO"}),
    "admin-user": Row("GET", "/admin/users/owner", "instance", 200),
    "admin-user-ask": Row("GET", "/admin/users/owner/ask/delete", "instance", 200),
    "admin-user-admin": Row("POST", "/admin/users/none/admin", "instance", 404, content={"admin": "yes"}),
    "admin-user-disabled": Row("POST", "/admin/users/none/disabled", "instance", 404, content={"disabled": "yes"}),
    "admin-user-password": Row("POST", "/admin/users/none/password", "instance", 404, content={}),
    "admin-user-sign-out": Row("POST", "/admin/users/none/sign-out", "instance", 404, content={}),
    "admin-user-factor-off": Row("POST", "/admin/users/none/factor-off", "instance", 404, content={}),
    "admin-user-delete": Row("POST", "/admin/users/none/delete", "instance", 404, content={"confirm": "none"}),
    "admin-organizations": Row("GET", "/admin/organizations", "instance", 200),
    "admin-organization-create": Row("POST", "/admin/organizations", "instance", 400, content={"name": "NO"}),
    "admin-organization-disabled": Row(
        "POST", "/admin/organizations/none/disabled", "instance", 404, content={"disabled": "yes"}
    ),
    "admin-health": Row("GET", "/admin/health", "instance", 200),
    "admin-settings": Row("GET", "/admin/settings", "instance", 200),
}
"""By the name of the route. The content of a form is nothing that changes anything."""
ELSEWHERE = {"sign-out", "member-leave", "second-factor-begin", "second-factor-off"}
"""What cannot be asked for without doing it: `tests/web/affairs`."""


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """One server, and everybody."""
    with callers.world(tmp_path_factory.mktemp("matrix")) as made:
        callers.disable(made, {"registry:catalog:*"})
        found = callers.callers(made)
        found += [signed_in(made, who) for who in (*(user for user in USERS if user != "gone"), "admin")]
        yield Cast(made, found, rows_of(made))


def test_every_route_has_a_row() -> None:
    """A route without a row, a row without a route, and an action that the table does not know are mistakes."""
    routes = {(one.spec_id, one.method, one.action.value) for one in affairs.ROUTES if one.spec_id not in ELSEWHERE}
    assert {(spec_id, row.method, row.need) for spec_id, row in ROWS.items()} == routes


def test_sec_021_everybody_at_every_page(cast: Cast) -> None:
    """SEC-021: the matrix; nothing has changed after it."""
    wrong = []
    for spec_id, row in ROWS.items():
        for caller in cast.callers:
            answer, status = cast.send(row, Place.APP, caller), _wanted(spec_id, row, caller)
            if answer.status_code != status:
                wrong.append(f"{caller}: {spec_id}: {answer.status_code}, not {status}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert rows_of(cast.world) == cast.before


def _wanted(spec_id: str, row: Row, caller: Caller) -> int:
    if isinstance(caller, Signed):
        # Who is signed in goes on.
        return 303 if spec_id == "sign-in-page" else wanted(row, Place.APP, caller)
    if isinstance(row, Own) and expected(replace(row, there=LET_IN), Place.APP, caller) == LET_IN:
        return UNAUTHENTICATED
    return wanted(row, Place.APP, caller)
