"""People, organizations, tokens, roles, settings and the audit through the hub's API, over HTTP on a real server."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest

from registry.api.hub.paths import parameters_of
from registry.api.hub.routes import HUB_ROUTES
from registry.api.hub.table import HubRoute
from registry.core.access import Role
from tests.reliability.hub import PASSWORD, Desk, push
from tests.reliability.hub import basic as shown_as
from tests.running import ADMIN_PASSWORD, Registry

API = "/api/v1"
OTHER_PASSWORD = "another password of more"


@dataclass
class Hub:
    """A server; ann owns acme, ben owns bens, cid is nobody. Each asks with name and password."""

    registry: Registry
    desk: Desk
    ann: httpx2.Client
    ben: httpx2.Client
    cid: httpx2.Client
    admin: httpx2.Client
    nobody: httpx2.Client

    def with_token(self, token: str) -> httpx2.Client:
        """Who shows a personal token."""
        return self.client({"authorization": f"Bearer {token}"})

    def client(self, headers: dict[str, str]) -> httpx2.Client:
        """Who shows something."""
        return httpx2.Client(base_url=self.registry.url, headers=headers)

    def rows(self) -> dict[str, list[Any]]:
        """Everything that administration changes, but for when something was used last, and the count of attempts."""
        tables = ("accounts", "members", "teams", "team_members", "grants", "readmes", "stars")
        shown = "SELECT id, name, namespace_id, visibility, description, star_count FROM repositories"
        with sqlite3.connect(self.registry.data / "registry.db") as connection:
            found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
            found["repositories"] = connection.execute(f"{shown} WHERE deleted_at IS NULL").fetchall()
            found["tokens"] = connection.execute("SELECT id, account_id, name, scopes FROM tokens").fetchall()
            found["aliases"] = connection.execute("SELECT * FROM repository_aliases").fetchall()
            found["audit"] = connection.execute("SELECT count(*) FROM audit WHERE action <> 'login.failed'").fetchall()
        return found


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """For the whole module."""
    data = tmp_path_factory.mktemp("hub") / "data"
    limits = ("--login-failures-per-account", "10000", "--login-failures-per-address", "10000")
    registry = Registry.start(data, "--requests-per-second", "0", *limits, is_open=False)
    desk = Desk(data)
    clients = [httpx2.Client(base_url=registry.url, headers=desk.user(name)) for name in ("ann", "ben", "cid")]
    clients.append(httpx2.Client(base_url=registry.url, auth=("admin", ADMIN_PASSWORD)))
    clients.append(httpx2.Client(base_url=registry.url))
    found = Hub(registry, desk, *clients)
    for name, owner in (("acme", "ann"), ("bens", "ben")):
        desk.organization(name, owner)
        push(registry, shown_as(owner, PASSWORD), f"{name}/app")
    yield found
    for client in clients:
        client.close()
    desk.close()
    assert [line for line in registry.log_lines() if line["level"] == "error"] == []
    registry.kill()


def ask(client: httpx2.Client, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
    """The JSON of an answer, which has this status."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None
    if body is not None:
        given["content-type"] = "application/json"
        content = json.dumps(body)
    answer = client.request(method, f"{API}{path}", content=content, headers=given)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer


def problem(client: httpx2.Client, method: str, path: str, body: Any = None, status: int = 400) -> tuple[str, str]:
    """Field and text of a refusal."""
    found = ask(client, method, path, body, status)
    return found.get("field", ""), found["detail"]


def etag(client: httpx2.Client, path: str) -> str:
    """The version of what is there."""
    answer = client.get(f"{API}{path}")
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


def pages(client: httpx2.Client, path: str) -> list[Any]:
    """A whole list, by its links."""
    found: list[Any] = []
    url: str | None = f"{API}{path}"
    while url is not None:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        link = answer.headers.get("link")
        url = None if link is None else link[1 : link.index(">")]
        assert (url is None) == (answer.json()["next"] is None)
    return found


# What people do


def test_an_organization_from_its_beginning_to_its_end(hub: Hub) -> None:
    """Made, described, with members, teams and roles, and gone once it is empty; each step by its owner alone."""
    made = ask(hub.ann, "POST", "/organizations", {"name": "guild", "title": "The Guild"}, 201)
    assert (made["kind"], made["title"], made["default_visibility"]) == ("organization", "The Guild", None)
    changed = ask(hub.ann, "PATCH", "/organizations/guild", {"description": "We.", "default_visibility": "public"})
    assert (changed["title"], changed["description"], changed["default_visibility"]) == ("The Guild", "We.", "public")
    ask(hub.ann, "PUT", "/organizations/guild/members/cid", {"role": "member"})
    assert ask(hub.cid, "GET", "/organizations/guild/members/cid") == {"name": "cid", "role": "member"}
    ask(hub.cid, "PUT", "/organizations/guild/members/cid", {"role": "owner"}, 403)
    ask(hub.ben, "GET", "/organizations/guild/members", status=404)
    ask(hub.ann, "POST", "/organizations/guild/teams", {"name": "crew"}, 201)
    ask(hub.ann, "PUT", "/organizations/guild/teams/crew/members/cid", status=204)
    assert problem(hub.ann, "PUT", "/organizations/guild/teams/crew/members/ben")[0] == "member"
    push(hub.registry, shown_as("ann", PASSWORD), "guild/ship")
    assert ask(hub.ann, "GET", "/repositories/guild/ship/-/settings")["visibility"] == "public"
    ask(hub.ann, "PUT", "/repositories/guild/ship/-/roles/team:guild%2Fcrew", {"role": "write"})
    access = pages(hub.ann, "/repositories/guild/ship/-/access?limit=1")
    assert [(one["holder"], one["role"], one["by"]) for one in access] == [
        ("ann", "admin", "owner"),
        ("team:guild/crew", "write", "repository"),
    ]
    assert [one["on"] for one in pages(hub.cid, "/organizations/guild/teams/crew/roles")] == ["guild/ship"]
    assert [one["name"] for one in pages(hub.cid, "/organizations/guild/teams")] == ["crew"]
    assert [one["organization"] for one in pages(hub.cid, "/account/organizations")] == ["guild"]
    contents = ask(hub.ann, "DELETE", "/organizations/guild?dry_run=true")
    assert (contents["repositories"], contents["first_repositories"]) == (1, ["guild/ship"])
    ask(hub.ann, "DELETE", "/organizations/guild", status=409)
    ask(hub.cid, "DELETE", "/account/organizations/guild", status=204)
    ask(hub.ann, "DELETE", "/account/organizations/guild", status=409)
    gone = ask(hub.ann, "DELETE", "/repositories/guild/ship")
    assert (gone["name"], gone["tags"], gone["dry_run"]) == ("guild/ship", 1, False)
    ask(hub.ann, "DELETE", "/organizations/guild")
    ask(hub.ann, "GET", "/organizations/guild", status=404)
    assert problem(hub.ben, "POST", "/organizations", {"name": "guild"})[0] == "name"


def test_a_robot_and_its_tokens(hub: Hub) -> None:
    """A robot is made, gets a token, pushes with it, is disabled and enabled, and goes."""
    robot = ask(hub.ann, "POST", "/namespaces/acme/robots", {"name": "ci", "role": "write"}, 201)
    assert robot["name"] == "acme+ci"
    made = ask(
        hub.ann, "POST", "/namespaces/acme/robots/ci/tokens", {"name": "build", "scopes": ["read", "write"]}, 201
    )
    push(hub.registry, shown_as("acme+ci", made["secret"]), "acme/built")
    assert [one["name"] for one in pages(hub.ann, "/namespaces/acme/robots/ci/tokens")] == ["build"]
    assert [one["name"] for one in pages(hub.ann, "/namespaces/acme/robots")] == ["acme+ci"]
    with hub.with_token(made["secret"]) as of_robot:
        assert ask(of_robot, "GET", "/me")["name"] == "acme+ci"
        ask(hub.ann, "PATCH", "/namespaces/acme/robots/ci", {"disabled": True})
        ask(of_robot, "DELETE", "/repositories/acme/built/-/star", status=401)
        ask(hub.ann, "PATCH", "/namespaces/acme/robots/ci", {"disabled": False})
        ask(hub.ann, "DELETE", f"/namespaces/acme/robots/ci/tokens/{made['id']}", status=204)
        ask(of_robot, "DELETE", "/repositories/acme/built/-/star", status=401)
    ask(hub.ann, "DELETE", "/namespaces/acme/robots/ci", status=204)
    assert pages(hub.ann, "/namespaces/acme/robots") == []


def test_ones_own_account(hub: Hub) -> None:
    """Its profile, its password with the old one shown, its tokens and logins."""
    hub.desk.user("eva")
    with hub.client(shown_as("eva", PASSWORD)) as eva:
        ask(eva, "PATCH", "/account", {"title": " Eva ", "description": "It is me."})
        assert ask(eva, "GET", "/account")["title"] == "Eva"
        ask(eva, "PUT", "/account/password", {"old": "wrong password", "new": OTHER_PASSWORD}, 401)
        assert problem(eva, "PUT", "/account/password", {"old": PASSWORD, "new": "short"})[0] == "password"
        made = ask(eva, "POST", "/account/tokens", {"name": "mine", "scopes": ["read"], "life_s": 60}, 201)
        assert [one["scopes"] for one in pages(eva, "/account/tokens")] == [["read"]]
        assert ask(eva, "GET", f"/account/tokens/{made['id']}")["name"] == "mine"
        ask(eva, "PUT", "/account/password", {"old": PASSWORD, "new": OTHER_PASSWORD}, 204)
        ask(eva, "GET", "/account/logins?limit=1", status=401)
    with hub.client(shown_as("eva", OTHER_PASSWORD)) as eva:
        assert ask(eva, "GET", "/account/logins")["items"] == []
        with hub.with_token(made["secret"]) as with_token:
            assert ask(with_token, "GET", "/me")["name"] == "eva"
            ask(with_token, "GET", "/account", status=403)
            ask(eva, "DELETE", f"/account/tokens/{made['id']}", status=204)
            ask(with_token, "PUT", "/repositories/acme/app/-/star", status=401)
        ask(eva, "DELETE", f"/account/tokens/{made['id']}", status=404)


def test_a_repository_is_described_shown_starred_and_moved(hub: Hub) -> None:
    """Settings, README, stars, and names; the old name goes on until it is given up."""
    push(hub.registry, shown_as("ann", PASSWORD), "acme/web")
    here = "/repositories/acme/web/-"
    ask(hub.nobody, "GET", f"{here}/readme", status=401)
    ask(hub.ann, "PATCH", f"{here}/settings", {"description": "The web.", "visibility": "public"})
    ask(hub.ann, "PUT", f"{here}/readme", {"markdown": "# Web\n\nIt <script>is</script>."})
    read = ask(hub.nobody, "GET", f"{here}/readme")
    assert (read["markdown"], read["updated_by"]) == ("# Web\n\nIt <script>is</script>.", "ann")
    assert problem(hub.ann, "PUT", f"{here}/readme", {"markdown": "é" * 140_000})[0] == "markdown"
    assert problem(hub.ann, "PATCH", f"{here}/settings", {"description": "x" * 501})[0] == "description"
    for method in ("GET", "PUT", "DELETE"):
        ask(hub.nobody, method, f"{here}/star", status=401)
    for _ in range(2):
        ask(hub.cid, "PUT", f"{here}/star", status=204)
    assert ask(hub.cid, "GET", f"{here}/star") == {"starred": True}
    ask(hub.cid, "DELETE", f"{here}/star", status=204)
    assert ask(hub.cid, "GET", f"{here}/star") == {"starred": False}
    ask(hub.cid, "POST", f"{here}/move", {"name": "cid/web"}, 403)
    ask(hub.ann, "POST", f"{here}/move", {"name": "cid/web"}, 403)
    assert ask(hub.ann, "POST", f"{here}/move", {"name": "acme/www"})["name"] == "acme/www"
    assert problem(hub.ann, "POST", f"{here}/move", {"name": "acme/app"}, 409)[0] == "name"
    assert problem(hub.ann, "POST", f"{here}/move", {"name": "acme/App"})[0] == "name"
    wanted = {"name": "ci", "scopes": ["read"], "repositories": ["acme/*", "acme//web"]}
    assert problem(hub.ann, "POST", "/account/tokens", wanted)[0] == "repositories[1]"
    assert ask(hub.nobody, "GET", "/repositories/acme/web/-/tags/v1")["name"] == "v1"
    assert [one["name"] for one in ask(hub.ann, "GET", "/repositories/acme/www/-/aliases")["items"]] == ["acme/web"]
    assert [one["now"] for one in pages(hub.ann, "/namespaces/acme/former-names")] == ["acme/www"]
    ask(hub.ann, "DELETE", "/repositories/acme/web", status=409)
    ask(hub.ann, "DELETE", "/repositories/acme/www/-/aliases/acme%2Fweb", status=204)
    ask(hub.ann, "GET", "/repositories/acme/web/-/settings", status=404)
    ask(hub.admin, "POST", "/repositories/acme/www/-/move", {"name": "bens/www"})
    ask(hub.ann, "GET", "/repositories/bens/www/-/settings", status=403)
    ask(hub.ann, "DELETE", "/namespaces/acme/former-names/acme%2Fwww", status=204)
    ask(hub.ben, "DELETE", "/repositories/bens/www")


def test_a_repository_is_made_before_anything_is_pushed(hub: Hub) -> None:
    """By who may push there; who would not administer it takes the visibility that the namespace gives."""
    wanted = {"name": "acme/planned", "description": "Soon.", "visibility": "public"}
    assert ask(hub.ann, "POST", "/repositories", wanted, 201) == wanted
    assert ask(hub.nobody, "GET", "/repositories/acme/planned")["description"] == "Soon."
    assert problem(hub.ann, "POST", "/repositories", {"name": "acme/planned"}, 409)[0] == "name"
    assert ask(hub.ann, "POST", "/repositories", {"name": "acme/quiet"}, 201)["visibility"] == "private"
    for caller, status in ((hub.ben, 403), (hub.nobody, 401)):
        ask(caller, "POST", "/repositories", {"name": "acme/theirs"}, status)
        ask(caller, "POST", "/repositories", {"name": "acme/quiet"}, status)
    ask(hub.ann, "PUT", "/namespaces/acme/roles/ben", {"role": "write"})
    assert (
        problem(hub.ben, "POST", "/repositories", {"name": "acme/bens", "visibility": "public"}, 403)[0] == "visibility"
    )
    ask(hub.ann, "GET", "/repositories/acme/bens", status=404)
    ask(hub.ben, "POST", "/repositories", {"name": "acme/bens", "visibility": "private"}, 201)
    ask(hub.ann, "DELETE", "/namespaces/acme/roles/ben", status=204)
    for name in ("planned", "quiet", "bens"):
        ask(hub.ann, "DELETE", f"/repositories/acme/{name}")


def test_what_was_seen_is_what_is_changed(hub: Hub) -> None:
    """If-Match: everything that is changed has an ETag that a write can demand, and a wrong one changes nothing."""
    hub.desk.user("mia")
    hub.desk.member("acme", "mia")
    hub.desk.give("acme/app", "mia", Role.READ)
    hub.desk.give("acme/*", "mia", Role.READ)
    ask(hub.ann, "POST", "/namespaces/acme/robots", {"name": "once"}, 201)
    writes: list[tuple[httpx2.Client, str, str, Any]] = [
        (hub.ann, "PATCH", "/account", {"title": "Ann"}),
        (hub.ann, "PATCH", "/organizations/acme", {"title": "Acme"}),
        (hub.ann, "PUT", "/organizations/acme/members/mia", {"role": "owner"}),
        (hub.ann, "PATCH", "/namespaces/acme/robots/once", {"title": "Once"}),
        (hub.ann, "PATCH", "/repositories/acme/app/-/settings", {"description": "An app."}),
        (hub.ann, "PUT", "/repositories/acme/app/-/readme", {"markdown": "# App"}),
        (hub.ann, "PUT", "/repositories/acme/app/-/roles/mia", {"role": "write"}),
        (hub.ann, "PUT", "/namespaces/acme/roles/mia", {"role": "write"}),
        (hub.admin, "PATCH", "/instance/users/mia", {"disabled": True}),
    ]
    for client, method, path, body in writes:
        seen = etag(client, path)
        before = hub.rows()
        ask(client, method, path, body, 412, if_match='"something-else"')
        assert hub.rows() == before
        ask(client, method, path, body, if_match=seen)
        assert etag(client, path) != seen
        ask(client, method, path, body, 412, if_match=seen)
        ask(client, "GET", path, status=304, if_none_match=etag(client, path))
    for path in ("/repositories/acme/app/-/roles/mia", "/namespaces/acme/roles/mia", "/namespaces/acme/robots/once"):
        ask(hub.ann, "DELETE", path, status=412, if_match='"x"')
        ask(hub.ann, "DELETE", path, status=204, if_match=etag(hub.ann, path))


def test_what_is_read_and_deleted_in_one_place(hub: Hub) -> None:
    """The ETag of a GET is good for the DELETE of the same path; a dry run refuses what the deed would."""
    hub.desk.user("lea")
    hub.desk.member("acme", "lea")
    push(hub.registry, shown_as("ann", PASSWORD), "acme/gone")
    one, lea = "/repositories/acme/gone", "/organizations/acme/members/lea"
    seen = etag(hub.ann, one)
    ask(hub.ann, "PUT", f"{one}/-/star", status=204)
    assert etag(hub.ann, one) != seen
    ask(hub.ann, "DELETE", f"{one}?dry_run=true", if_match=seen)
    ask(hub.ann, "PATCH", f"{one}/-/settings", {"description": "Something else."})
    for query in ("", "?dry_run=true"):
        ask(hub.ann, "DELETE", f"{one}{query}", status=412, if_match=seen)
        ask(hub.ann, "DELETE", f"/organizations/acme{query}", status=412, if_match='"x"')
        ask(hub.ann, "DELETE", f"/organizations/ann{query}", status=404)
    ask(hub.ann, "POST", f"{one}/-/move", {"name": "acme/going"})
    for query in ("", "?dry_run=true"):
        ask(hub.ann, "DELETE", f"{one}{query}", status=409)
    ask(hub.ann, "DELETE", "/repositories/acme/going", if_match=etag(hub.ann, "/repositories/acme/going"))
    ask(hub.ann, "DELETE", lea, status=412, if_match='"x"')
    ask(hub.ann, "DELETE", lea, status=204, if_match=etag(hub.ann, lea))


def test_a_condition_that_nobody_would_heed_is_refused(hub: Hub) -> None:
    """Where a write does not look at If-Match it does not pretend to."""
    for method, path, body in (
        ("PUT", "/repositories/acme/app/-/star", None),
        ("POST", "/organizations/acme/teams", {"name": "conditional"}),
        ("DELETE", "/account/tokens/1", None),
    ):
        problem = ask(hub.ann, method, path, body, 400, if_match='"x"')
        assert problem["field"] == "If-Match"
    ask(hub.ann, "PUT", "/repositories/acme/app/-/star", status=204, if_match="*")
    ask(hub.ann, "DELETE", "/repositories/acme/app/-/star", status=204)


def test_one_after_the_other_without_a_pause(hub: Hub) -> None:
    """What somebody has just done is known to the next request: nothing is refused for a change of one's own."""
    for number in range(5):
        ask(hub.ann, "POST", "/organizations", {"name": f"quick{number}"}, 201)
        ask(hub.ann, "PATCH", f"/organizations/quick{number}", {"default_visibility": "public"})
        ask(hub.ann, "PUT", f"/organizations/quick{number}/members/cid", {"role": "owner"})
        ask(hub.cid, "DELETE", f"/organizations/quick{number}/members/ann", status=204)
        ask(hub.ann, "PATCH", f"/organizations/quick{number}", {"title": "mine?"}, 404)
        ask(hub.cid, "DELETE", f"/organizations/quick{number}")


# Admins of the instance


def test_admins_look_after_users(hub: Hub) -> None:
    """Made, found, promoted, given a password, disabled, gone."""
    ask(hub.admin, "POST", "/instance/users", {"name": "zoe", "password": OTHER_PASSWORD}, 201)
    assert [one["name"] for one in pages(hub.admin, "/instance/users?q=zo&limit=1")] == ["zoe"]
    names = [one["name"] for one in pages(hub.admin, "/instance/users?limit=2")]
    assert names == sorted(names)
    assert {"ann", "ben", "zoe", "admin"} <= set(names)
    with hub.client(shown_as("zoe", OTHER_PASSWORD)) as zoe:
        ask(zoe, "GET", "/instance/users", status=403)
        ask(hub.admin, "PATCH", "/instance/users/zoe", {"admin": True})
        assert "acme" in [one["name"] for one in pages(zoe, "/instance/organizations?limit=1")]
        ask(hub.admin, "PATCH", "/instance/users/zoe", {"admin": False})
        ask(zoe, "POST", "/instance/users", {}, 403)
        ask(hub.admin, "PUT", "/instance/users/zoe/password", {"password": PASSWORD}, 204)
        ask(zoe, "POST", "/instance/users", {}, 401)
    with hub.client(shown_as("zoe", PASSWORD)) as zoe:
        ask(zoe, "GET", "/account")
        ask(hub.admin, "DELETE", "/instance/users/zoe/sessions", status=204)
        ask(hub.admin, "DELETE", "/instance/users/zoe/second-factor", status=400)
        ask(hub.admin, "PATCH", "/instance/users/zoe", {"disabled": True})
        ask(zoe, "POST", "/organizations", {"name": "late"}, 401)
    ask(hub.admin, "DELETE", "/instance/users/zoe", status=204)
    ask(hub.admin, "GET", "/instance/users/zoe", status=404)
    for body in ({"admin": False}, {"disabled": True}):
        ask(hub.admin, "PATCH", "/instance/users/admin", body, 409)
    ask(hub.admin, "GET", "/instance/users/acme", status=404)
    ask(hub.admin, "PATCH", "/instance/users/acme", {"disabled": True}, 404)
    ask(hub.admin, "PATCH", "/instance/organizations/ann", {"disabled": True}, 404)
    assert ask(hub.admin, "PATCH", "/instance/organizations/bens", {"disabled": True})["disabled"]
    ask(hub.admin, "PATCH", "/instance/organizations/bens", {"disabled": False})


def test_many_repositories_in_one_call(hub: Hub) -> None:
    """Visibility and deletion of many, with what became of each, and without doing it."""
    names = [f"bens/many{number}" for number in range(3)]
    for name in names:
        push(hub.registry, shown_as("ben", PASSWORD), name)
    body = {"names": [*names, "bens/none"], "visibility": "public"}
    looked = ask(hub.admin, "POST", "/instance/repositories/visibility?dry_run=true", body)
    assert [one["done"] for one in looked["items"]] == [True, True, True, False]
    ask(hub.nobody, "GET", f"/repositories/{names[0]}/-/readme", status=401)
    ask(hub.admin, "POST", "/instance/repositories/visibility", body)
    for name in names:
        ask(hub.nobody, "GET", f"/repositories/{name}/-/readme")
    ask(hub.admin, "POST", "/instance/repositories/delete?dry_run=true", {"names": names})
    ask(hub.ben, "GET", f"/repositories/{names[0]}/-/settings")
    found = ask(hub.admin, "POST", "/instance/repositories/delete", {"names": names})
    assert all(one["done"] for one in found["items"])
    for name in names:
        ask(hub.ben, "DELETE", f"/repositories/{name}", status=404)
    many = [f"bens/x{number}" for number in range(101)]
    assert problem(hub.admin, "POST", "/instance/repositories/delete", {"names": many})[0] == "names"


def test_the_audit_is_read_by_whom_it_concerns(hub: Hub) -> None:
    """All of it by admins, as pages and as lines; a namespace's by its owners, without others' addresses; one's own."""
    push(hub.registry, shown_as("ann", PASSWORD), "acme/audited")
    hub.desk.give("acme/audited", "cid", Role.WRITE)
    push(hub.registry, shown_as("cid", PASSWORD), "acme/audited", "v2")
    rows = pages(hub.admin, "/instance/audit?repository=acme/audited&limit=3")
    assert [row["actor"] for row in rows if row["action"] == "tag.set"] == ["cid", "ann"]
    assert all(row["address"] == "127.0.0.1" for row in rows if row["actor"] in ("ann", "cid"))
    own = pages(hub.ann, "/namespaces/acme/audit?repository=acme/audited&action=tag.*")
    assert [(row["actor"], row["address"]) for row in own] == [("cid", None), ("ann", None)]
    mine = pages(hub.cid, "/account/audit?action=tag.set")
    assert [(row["repository"], row["address"]) for row in mine] == [("acme/audited", "127.0.0.1")]
    assert pages(hub.cid, "/account/audit?actor=ann") == []
    ask(hub.cid, "GET", "/namespaces/acme/audit", status=404)
    when = rows[0]["at"]
    assert pages(hub.admin, f"/instance/audit?repository=acme/audited&since={when}")[0]["id"] == rows[0]["id"]
    assert rows[0]["id"] not in [row["id"] for row in pages(hub.admin, "/instance/audit?until=2001-01-01T00:00:00")]
    assert "tag.set" in ask(hub.admin, "GET", "/instance/audit/actions")["items"]
    lines = hub.admin.get(f"{API}/instance/audit/export?repository=acme/audited")
    assert lines.headers["content-type"] == "application/x-ndjson"
    exported = [json.loads(line) for line in lines.text.splitlines()]
    assert [row["id"] for row in exported] == [row["id"] for row in rows]
    head = hub.admin.head(f"{API}/instance/audit/export")
    assert (head.status_code, head.content) == (200, b"")


# Holes that others had

VALID: dict[str, Any] = {
    "updateAccount": {"title": "x"},
    "setPassword": {"old": PASSWORD, "new": OTHER_PASSWORD},
    "createToken": {"name": "x", "scopes": ["read"]},
    "createOrganization": {"name": "fresh"},
    "updateOrganization": {"title": "x"},
    "setMember": {"role": "owner"},
    "createTeam": {"name": "fresh"},
    "setTeamGroup": {"group": "fresh"},
    "createRobot": {"name": "fresh"},
    "updateRobot": {"title": "x"},
    "createRobotToken": {"name": "x", "scopes": ["read"]},
    "setRole": {"role": "admin"},
    "setNamespaceRole": {"role": "admin"},
    "createRepository": {"name": "acme/fresh"},
    "updateSettings": {"description": "x"},
    "putReadme": {"markdown": "x"},
    "moveRepository": {"name": "acme/fresh"},
    "createUser": {"name": "fresh", "password": OTHER_PASSWORD},
    "updateUser": {"title": "x"},
    "setUserPassword": {"password": OTHER_PASSWORD},
    "setOrganizationState": {"disabled": True},
    "setVisibilities": {"names": ["acme/app"], "visibility": "public"},
    "deleteRepositories": {"names": ["acme/app"]},
}
"""Bodies of writes that are this module's business."""
FIELDS = (
    *("id", "name", "kind", "admin", "is_admin", "owner", "owner_id", "is_owner", "role", "password", "password_hash"),
    *("disabled", "disabled_at", "deleted_at", "created_at", "created_by", "account_id", "namespace_id", "visibility"),
    *("star_count", "pull_count", "size_bytes", "scopes", "repositories", "parent_id", "secret", "external_group"),
    *("canonical", "default_visibility", "updated_by", "__class__", "Admin", "is_active", "expires_at", "life_s"),
)
NAMES = {
    "namespace": "acme", "repository": "acme/app", "member": "ben", "team": "devs", "robot": "ci", "holder": "ben",
    "user": "ben", "organization": "acme", "token": "1", "alias": "acme%2Fapp", "tag": "v1",
}  # fmt: skip


def path_of(route: HubRoute) -> str:
    """A path that it has."""
    return route.path.format(**{name: NAMES.get(name, "x") for name in parameters_of(route.path)})


@pytest.mark.parametrize("spec_id", VALID)
def test_sec_020_only_documented_fields_are_taken(hub: Hub, spec_id: str) -> None:
    """SEC-020: every other field of every model is refused by its name, whoever sends it, and nothing changes."""
    route = next(one for one in HUB_ROUTES if one.spec_id == spec_id)
    taken = {field.encode_name for field in msgspec.structs.fields(route.body)}
    before = hub.rows()
    for field in FIELDS:
        if field not in taken:
            body = {**VALID[spec_id], field: True}
            assert problem(hub.admin, route.method, path_of(route), body)[0] == field
    assert hub.rows() == before


def test_sec_020_every_write_has_a_body_here(hub: Hub) -> None:
    """A new route with a body cannot be forgotten; those of tags are strict by `test_openapi`."""
    mine = {one.spec_id for one in HUB_ROUTES if one.body is not None}
    assert mine - set(VALID) <= {"setTag", "deleteTags"}


def test_sec_020_a_user_does_not_make_itself_more(hub: Hub) -> None:
    """SEC-020: neither an admin by its profile, nor a member an owner, nor a token a stronger one."""
    for body in ({"admin": True}, {"title": "x", "admin": True}, {"disabled": False}):
        ask(hub.cid, "PATCH", "/account", body, 400)
    assert not ask(hub.cid, "GET", "/account")["admin"]
    made = ask(hub.cid, "POST", "/account/tokens", {"name": "t", "scopes": ["admin"], "life_s": 3600}, 201)
    with hub.with_token(made["secret"]) as narrow:
        for life in (None, 7200):
            ask(narrow, "POST", "/account/tokens", {"name": "t", "scopes": ["read"], "life_s": life}, 403)
        child = ask(narrow, "POST", "/account/tokens", {"name": "t", "scopes": ["admin"], "life_s": 60}, 201)
        ask(hub.cid, "DELETE", f"/account/tokens/{made['id']}", status=204)
        with hub.with_token(child["secret"]) as grown:
            ask(grown, "POST", "/organizations", {"name": "stolen"}, 401)
        ask(narrow, "POST", "/organizations", {"name": "stolen"}, 401)
    reader = ask(hub.cid, "POST", "/account/tokens", {"name": "t", "scopes": ["read"]}, 201)
    with hub.with_token(reader["secret"]) as narrow:
        ask(narrow, "POST", "/account/tokens", {"name": "t", "scopes": ["admin"]}, 403)


def test_sec_022_a_child_is_looked_for_below_its_parent(hub: Hub) -> None:
    """SEC-022: with one's own parent and another's child there is nothing, and nothing changes: tokens by number,
    robots, teams, members, roles and former names."""
    theirs = ask(hub.ben, "POST", "/account/tokens", {"name": "theirs", "scopes": ["read"]}, 201)["id"]
    ask(hub.ben, "POST", "/namespaces/bens/robots", {"name": "bot", "role": "write"}, 201)
    ask(hub.ann, "POST", "/namespaces/acme/robots", {"name": "own"}, 201)
    of_robot = ask(hub.ben, "POST", "/namespaces/bens/robots/bot/tokens", {"name": "theirs", "scopes": ["read"]}, 201)[
        "id"
    ]
    ask(hub.ben, "POST", "/organizations/bens/teams", {"name": "theirs"}, 201)
    ask(hub.ben, "PUT", "/organizations/bens/members/cid", {"role": "member"})
    ask(hub.ben, "PUT", "/organizations/bens/teams/theirs/members/cid", status=204)
    push(hub.registry, shown_as("ben", PASSWORD), "bens/old")
    ask(hub.ben, "POST", "/repositories/bens/old/-/move", {"name": "bens/new"})
    before = hub.rows()
    attempts: list[tuple[str, str, Any]] = [
        ("GET", f"/account/tokens/{theirs}", None),
        ("DELETE", f"/account/tokens/{theirs}", None),
        ("DELETE", f"/account/logins/{theirs}", None),
        ("DELETE", f"/account/tokens/{of_robot}", None),
        ("DELETE", f"/namespaces/acme/robots/own/tokens/{of_robot}", None),
        ("DELETE", f"/namespaces/acme/robots/own/tokens/{theirs}", None),
        ("GET", "/namespaces/acme/robots/bot", None),
        ("PATCH", "/namespaces/acme/robots/bot", {"disabled": True}),
        ("DELETE", "/namespaces/acme/robots/bot", None),
        ("GET", "/namespaces/acme/robots/bot/tokens", None),
        ("POST", "/namespaces/acme/robots/bot/tokens", {"name": "x", "scopes": ["read"]}),
        ("GET", "/organizations/acme/teams/theirs", None),
        ("DELETE", "/organizations/acme/teams/theirs", None),
        ("PUT", "/organizations/acme/teams/theirs/members/ann", None),
        ("DELETE", "/organizations/acme/teams/theirs/members/cid", None),
        ("DELETE", "/organizations/acme/members/cid", None),
        ("DELETE", "/repositories/acme/app/-/aliases/bens%2Fold", None),
        ("DELETE", "/namespaces/acme/former-names/bens%2Fold", None),
        ("GET", "/repositories/acme/app/-/roles/team:bens%2Ftheirs", None),
        ("PUT", "/repositories/acme/app/-/roles/team:bens%2Ftheirs", {"role": "read"}),
        ("DELETE", "/namespaces/acme/roles/bens+bot", None),
        ("GET", "/namespaces/acme/robots/..%2Fbens+bot", None),
        ("GET", "/namespaces/acme/robots/%2Bbot", None),
    ]
    for method, path, body in attempts:
        ask(hub.ann, method, path, body, 404)
    assert hub.rows() == before
    for namespace in ("bens", "nothere"):
        texts = {
            ask(hub.ann, method, f"/namespaces/{namespace}{path}", body, 404)["detail"]
            for method, path, body in (
                ("GET", "/robots", None),
                ("DELETE", "/robots/bot", None),
                ("PUT", "/roles/ann", {"role": "admin"}),
                ("GET", "/audit", None),
                ("GET", "/access", None),
            )
        }
        assert texts == {"there is no such namespace, or none that this account belongs to"}


@pytest.mark.parametrize("route", [one for one in HUB_ROUTES if one.method == "GET"], ids=lambda one: one.spec_id)
def test_sec_026_only_documented_filters_are_taken(hub: Hub, route: HubRoute) -> None:
    """SEC-026: a filter, an order or a field of the rows that is not documented is refused by its name: nobody tries
    hashes letter by letter."""
    taken = set() if route.query is None else {field.encode_name for field in msgspec.structs.fields(route.query)}
    path = path_of(route).replace("{digest}", "x").replace("{reference}", "v1")
    for field in ("password_hash", "secret_hash", "owner_id", "order", "sort_by", "filter", "fields", "__proto__"):
        if field not in taken:
            answer = hub.admin.get(f"{API}{path}?{field}=a")
            assert answer.status_code == 400, answer.text
            assert answer.json()["field"] == field


def test_sec_022_whose_access_ended_does_nothing_more(hub: Hub) -> None:
    """SEC-021, SEC-022: an owner who was taken out, an admin who is none any more: the next request already is
    refused."""
    hub.desk.user("old")
    ask(hub.ann, "PUT", "/organizations/acme/members/old", {"role": "owner"})
    with hub.client(shown_as("old", PASSWORD)) as old:
        ask(old, "POST", "/organizations/acme/teams", {"name": "olds"}, 201)
        ask(hub.ann, "DELETE", "/organizations/acme/members/old", status=204)
        for method, path, body in (
            ("POST", "/organizations/acme/teams", {"name": "more"}),
            ("PUT", "/organizations/acme/members/old", {"role": "owner"}),
            ("PUT", "/namespaces/acme/roles/old", {"role": "admin"}),
            ("GET", "/organizations/acme/members", None),
            ("PATCH", "/repositories/acme/app/-/settings", {"visibility": "public"}),
        ):
            ask(old, method, path, body, 404)


def test_an_open_registry_lets_everybody_do_what_needs_no_account(registry: Registry) -> None:
    """Where access is open to all, repositories are described, moved and deleted by whoever comes; there are no
    accounts to look after, and nobody has stars."""
    push(registry, {}, "any/app")
    with httpx2.Client(base_url=registry.url) as anybody:
        ask(anybody, "PATCH", "/repositories/any/app/-/settings", {"description": "Ours."})
        ask(anybody, "PUT", "/repositories/any/app/-/readme", {"markdown": "# Ours"})
        ask(anybody, "POST", "/repositories/any/app/-/move", {"name": "other/app"})
        assert ask(anybody, "GET", "/repositories/any/app/-/readme")["markdown"] == "# Ours"
        ask(anybody, "PUT", "/repositories/other/app/-/star", status=401)
        ask(anybody, "POST", "/organizations", {"name": "none"}, 403)
        ask(anybody, "POST", "/instance/repositories/visibility", {"names": ["other/app"], "visibility": "public"})
        rows = pages(anybody, "/instance/audit?repository=other/app")
        assert rows[0]["action"] == "repository.visibility"
        ask(anybody, "DELETE", "/repositories/other/app")
        ask(anybody, "GET", "/repositories/any/app/-/readme", status=404)
