"""Fields that no form has, sent with each of them: SEC-020. What a form changes is said here a second time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from registry.api.web.affairs import ROUTES
from registry.metadata.schema import metadata
from tests.running import Registry
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Reader

Open = Callable[[str], Reader]
ALWAYS = {"audit", "outbox"}
"""Tables that any change may write to."""
WORDS = """
    admin root superuser has_admin_role is_admin isAdmin permissions permission privileges roles role owner
    owner_name account account_name account_id user user_id username member members team teams robot robots group
    groups external_group scope scopes rights limits repositories repository_name visibility public private
    is_public default_visibility verified is_active is_disabled disabled deleted is_owner quota created_at
    updated_at expires_at life life_s under parent holder place session session_id token token_id login deed confirm
    namespace organization _method method action
    """.split()  # noqa: SIM905 - fifty words read better as a text
COLUMNS = {column.name for table in metadata.tables.values() for column in table.columns}
VALUES = ("1", "admin", "public", "0", "true", "on", "yes", "[]", '{"is_admin": true}')


@dataclass(frozen=True)
class Case:
    """A form that is sent: by whom, with what; what it may change, and what new rows hold."""

    who: str
    path: str
    fields: dict[str, Any] = field(default_factory=dict)
    status: int = 303
    also: tuple[str, ...] = ()
    """Other fields that the form has."""
    changes: tuple[str, ...] = ()
    """`table.column` of rows that were there."""
    adds: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tables that get a row, with what it has to hold."""
    removes: tuple[str, ...] = ()


ACCOUNT = {"is_admin": 0, "owner_id": None, "disabled_at": None, "deleted_at": None, "default_visibility": None}
PERSON = {**ACCOUNT, "kind": "user", "title": "", "description": ""}
TOKEN = {"kind": "personal", "parent_id": None, "scopes": "write", "repositories": None}
SESSION = {"is_complete": 1}
FACTOR = {"confirmed_at": None, "last_step": 0}
ALICE = {"name": "alice", "password": PASSWORD}
GONE = ("accounts.deleted_at", "accounts.password_hash", "accounts.is_admin")
ORG = "/u/mass"

CASES: list[tuple[str, Case]] = [
    ("sign-in", Case("", "/sign-in", ALICE, also=("next",), adds={"sessions": SESSION})),
    ("sign-in-code", Case("", "/sign-in/code", {"code": "123456"}, 403, also=("next",))),
    (
        "sign-up",
        Case(
            "",
            "/sign-up",
            {"name": "fresh", "password": PASSWORD, "again": PASSWORD},
            also=("next",),
            adds={"accounts": {**PERSON, "name": "fresh"}, "sessions": SESSION},
        ),
    ),
    ("proof", Case("alice", "/prove", {"proof": PASSWORD}, also=("next",), changes=("sessions.proved_at",))),
    ("proof-at-provider", Case("alice", "/prove/provider", {}, 404, also=("next",))),
    (
        "profile-set",
        Case(
            "alice",
            "/settings",
            {"title": "Alice", "description": "", "visibility": "public"},
            changes=("accounts.title", "accounts.description", "accounts.default_visibility"),
        ),
    ),
    (
        "password",
        Case(
            "alice", "/settings/password", {"password": PASSWORD, "again": PASSWORD},
            changes=("accounts.password_hash",), removes=("sessions", "tokens"),
        ),
    ),
    ("identity-link", Case("alice", "/settings/identity/link", {}, 404)),
    ("identity-unlink", Case("alice", "/settings/identity/unlink", {}, 400)),
    ("second-factor-off", Case("alice", "/settings/second-factor/off", {}, 400)),
    ("second-factor-codes", Case("alice", "/settings/second-factor/codes", {}, 400)),
    (
        "second-factor-begin",
        Case("alice", "/settings/second-factor", {}, 200, adds={"second_factors": FACTOR}),
    ),
    ("second-factor-confirm", Case("alice", "/settings/second-factor/code", {"code": "000000"}, 403)),
    (
        "token-create",
        Case(
            "alice",
            "/settings/tokens",
            {"name": "one", "rights": "push", "life": "7", "repositories": ""},
            200,
            adds={"tokens": {**TOKEN, "name": "one"}},
        ),
    ),
    ("token-revoke", Case("alice", "/settings/tokens/revoke", {"token": "TOKEN one"}, removes=("tokens",))),
    ("login-end", Case("alice", "/settings/sessions/end-login", {"login": "999"}, 404)),
    ("session-end", Case("alice", "/settings/sessions/end", {"session": "999"}, 404)),
    ("sessions-end-others", Case("alice", "/settings/sessions/end-others", {}, removes=("sessions",))),
    (
        "organization-create",
        Case(
            "alice",
            "/organizations",
            {"name": "mass"},
            adds={"accounts": {**ACCOUNT, "kind": "organization", "name": "mass"}, "members": {"is_owner": 1}},
        ),
    ),
    (
        "member-set",
        Case("alice", f"{ORG}/members", {"name": "bob", "role": "member"}, adds={"members": {"is_owner": 0}}),
    ),
    (
        "team-create",
        Case("alice", f"{ORG}/teams", {"name": "crew"}, adds={"teams": {"name": "crew", "external_group": None}}),
    ),
    ("team-join", Case("alice", f"{ORG}/teams/crew/members", {"name": "bob"}, adds={"team_members": {}})),
    (
        "team-role",
        Case(
            "alice", f"{ORG}/teams/crew/roles", {"place": "mass/*", "role": "read"},
            adds={"grants": {"role": 1, "account_id": None, "repository_id": None}},
        ),
    ),
    ("team-role-end", Case("alice", f"{ORG}/teams/crew/roles/remove", {"place": "mass/*"}, removes=("grants",))),
    ("team-group", Case("alice", f"{ORG}/teams/crew/group", {"group": "x"}, 403)),
    ("team-take-out", Case("alice", f"{ORG}/teams/crew/members/remove", {"name": "bob"}, removes=("team_members",))),
    ("team-delete", Case("alice", f"{ORG}/teams/crew/delete", {}, removes=("teams",))),
    (
        "robot-create",
        Case(
            "alice", f"{ORG}/robots", {"name": "ci", "role": "read"},
            adds={
                "accounts": {"kind": "robot", "name": "mass+ci", "is_admin": 0, "password_hash": None},
                "grants": {"role": 1, "team_id": None, "repository_id": None},
            },
        ),
    ),
    (
        "robot-token-create",
        Case(
            "alice",
            f"{ORG}/robots/ci/tokens",
            {"name": "two", "rights": "push", "life": "7", "repositories": ""},
            200,
            adds={"tokens": {**TOKEN, "name": "two"}},
        ),
    ),
    ("robot-token-revoke", Case("alice", f"{ORG}/robots/ci/revoke", {"token": "TOKEN two"}, removes=("tokens",))),
    (
        "holder-set",
        Case(
            "alice", f"{ORG}/access", {"holder": "bob", "role": "read"},
            adds={"grants": {"role": 1, "team_id": None, "repository_id": None}},
        ),
    ),
    ("holder-end", Case("alice", f"{ORG}/access/remove", {"holder": "bob"}, removes=("grants",))),
    (
        "namespace-settings-set",
        Case(
            "alice",
            f"{ORG}/settings",
            {"title": "Mass", "description": "", "visibility": "private"},
            changes=("accounts.title", "accounts.description", "accounts.default_visibility"),
        ),
    ),
    ("robot-delete", Case("alice", f"{ORG}/robots/ci/delete", {}, changes=GONE, removes=("grants",))),
    ("member-leave", Case("bob", f"{ORG}/members/leave", {}, removes=("members",))),
    ("member-remove", Case("alice", f"{ORG}/members/remove", {"name": "bob"}, 404)),
    ("namespace-delete", Case("alice", f"{ORG}/delete", {"confirm": "mass"}, changes=GONE, removes=("members",))),
    (
        "admin-user-create",
        Case(
            "admin", "/admin/users", {"name": "carol", "password": PASSWORD}, also=("admin",),
            adds={"accounts": {**PERSON, "name": "carol"}},
        ),
    ),
    ("admin-user-admin", Case("admin", "/admin/users/carol/admin", {"admin": "no"}, changes=("accounts.is_admin",))),
    (
        "admin-user-disabled",
        Case("admin", "/admin/users/carol/disabled", {"disabled": "no"}, changes=("accounts.disabled_at",)),
    ),
    ("admin-user-password", Case("admin", "/admin/users/carol/password", {}, 200, changes=("accounts.password_hash",))),
    ("admin-user-sign-out", Case("admin", "/admin/users/bob/sign-out", {}, removes=("sessions",))),
    ("admin-user-factor-off", Case("admin", "/admin/users/carol/factor-off", {}, 400)),
    ("admin-user-delete", Case("admin", "/admin/users/carol/delete", {"confirm": "carol"}, changes=GONE)),
    (
        "admin-organization-create",
        Case(
            "admin", "/admin/organizations", {"name": "given", "owner": "alice"},
            adds={"accounts": {**ACCOUNT, "kind": "organization", "name": "given"}, "members": {"is_owner": 1}},
        ),
    ),
    (
        "admin-organization-disabled",
        Case("admin", "/admin/organizations/given/disabled", {"disabled": "yes"}, changes=("accounts.disabled_at",)),
    ),
    ("admin-repositories-choose", Case("admin", "/admin/repositories", {"deed": "public", "name": "alice/app"}, 200)),
    (
        "admin-repositories-change",
        Case(
            "admin", "/admin/repositories/change", {"deed": "private", "name": "alice/app"}, 200,
            changes=("repositories.visibility",),
        ),
    ),
    ("sign-out", Case("dave", "/sign-out", {}, removes=("sessions",))),
    (
        "account-delete",
        Case("erin", "/settings/delete", {"confirm": "erin"}, changes=GONE, removes=("sessions",)),
    ),
]  # fmt: skip


def test_every_form_is_here() -> None:
    """A form without a case, and a case without a form, are mistakes."""
    writing = {route.spec_id for route in ROUTES if route.method != "GET"}
    assert {name for name, _ in CASES} == writing
    assert len(CASES) == len(writing)


@pytest.fixture
def people(hub: Registry, browsers: Open) -> dict[str, Reader]:
    """Everybody, signed in, with an open page."""
    found = {name: browsers(name) for name in ("alice", "bob", "dave", "erin", "admin")}
    for reader in found.values():
        reader.get("/settings/sign-in")
    with hub.client(("alice", PASSWORD)) as client:
        assert client.post("/v2/alice/app/blobs/uploads/").status_code == 202
    found[""] = browsers("")
    return found


def test_sec_020_only_what_a_form_has_is_changed(hub: Registry, people: dict[str, Reader]) -> None:
    """SEC-020: with the name of every column, and of whatever others were taken in by, as a field."""
    wrong: list[str] = []
    for number, (name, case) in enumerate(CASES):
        reader = people[case.who]
        fields = {key: _resolved(hub, value) for key, value in case.fields.items()}
        known = {*fields, *case.also, "csrf"}
        value = VALUES[number % len(VALUES)]
        extra = dict.fromkeys(sorted({*WORDS, *COLUMNS} - known), value)
        before = tables.cells(hub)
        word = {} if case.who == "" else {"csrf": reader.word}
        answer = reader.http.post(case.path, data={**extra, **fields, **word})
        if answer.status_code != case.status:
            wrong.append(f"{name}: {answer.status_code}, not {case.status}")
        wrong += [f"{name}: {text}" for text in differences(before, tables.cells(hub), case)]
        if case.who == "":
            reader.http.cookies.clear()
    assert not wrong, "\n" + "\n".join(wrong)


def _resolved(hub: Registry, value: Any) -> Any:
    if isinstance(value, str) and value.startswith("TOKEN "):
        return str(tables.scalar(hub, "SELECT id FROM tokens WHERE name = ?", value.removeprefix("TOKEN ")))
    return value


def differences(before: tables.Cells, after: tables.Cells, case: Case) -> list[str]:
    """What has changed that may not, and new rows that hold something else."""
    found: list[str] = []
    for table in after:
        if table in ALWAYS:
            continue
        for key, row in before[table].items():
            if key not in after[table]:
                found += [] if table in case.removes else [f"{table} {key} is gone"]
                continue
            changed = {f"{table}.{name}" for name, value in row.items() if after[table][key][name] != value}
            found += [f"{one} of {key} changed" for one in changed - set(case.changes)]
        for key in after[table].keys() - before[table].keys():
            wanted = case.adds.get(table)
            if wanted is None:
                found.append(f"{table} {key} is new")
                continue
            row = after[table][key]
            found += [f"{table}.{name} is {row[name]!r}" for name, value in wanted.items() if row[name] != value]
    return found
