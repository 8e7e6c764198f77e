"""Administration: the dashboard, all repositories, users, organizations, the audit log, health, settings."""

import json
import re
from collections.abc import Callable

from tests.running import ADMIN_PASSWORD, Registry, wait_until
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Page, Reader

Open = Callable[[str], Reader]


def pushed(hub: Registry, who: str, *names: str) -> None:
    """Repositories that are there, by a push that has begun."""
    password = ADMIN_PASSWORD if who == "admin" else PASSWORD
    with hub.client((who, password)) as client:
        for name in names:
            assert client.post(f"/v2/{name}/blobs/uploads/").status_code == 202


class TestDashboard:
    """Numbers and plots."""

    def test_every_period(self, browsers: Open) -> None:
        """Each is drawn, and any other is refused."""
        reader = browsers("admin")
        for period in ("", "?period=day", "?period=week", "?period=month", "?period=year"):
            reader.get(f"/admin{period}").says("Pulls and pushes").says("Requests").says("Errors")
            reader.get(f"/admin/storage{period}")
        for path in ("/admin?period=ever", "/admin/storage?period=1"):
            reader.get(path, status=400)

    def test_what_was_measured(self, hub: Registry, browsers: Open) -> None:
        """Storage by day and by namespace, and what sharing saves."""
        reader = browsers("admin")
        today = tables.scalar(hub, "SELECT max(created_at) / 86400000 FROM accounts")
        for day, size, stored in ((today - 1, 1000, 800), (today, 3_000_000, 1_000_000)):
            statement = (
                "INSERT OR REPLACE INTO usage (day, namespace_id, repositories, tags, size_bytes, stored_bytes)"
                " VALUES (?, ?, 1, 1, ?, ?)"
            )
            tables.change(hub, statement, day, 0, size, stored)
            tables.change(hub, statement, day, -1, size, 0)
        page = reader.get("/admin/storage").says("Storage over time").says("without an owner")
        page.says("Deduplication").says("2 MB").says("67%")

    def test_only_for_admins(self, browsers: Open) -> None:
        """Everybody else is told so."""
        reader = browsers("mere-user")
        for path in ("", "/storage", "/repositories", "/users", "/organizations", "/audit", "/health", "/settings"):
            reader.get(f"/admin{path}", status=403)


class TestRepositories:
    """All of them as one table."""

    def test_bulk_visibility(self, hub: Registry, browsers: Open) -> None:
        """Chosen, asked, done, and told for each."""
        browsers("many-owner")
        pushed(hub, "many-owner", "many-owner/a", "many-owner/b", "many-owner/c")
        reader = browsers("admin")
        reader.get("/admin/repositories?q=many-owner").says("many-owner/a")
        names = ["many-owner/a", "many-owner/b", "many-owner/gone"]
        page = reader.post("/admin/repositories", {"csrf": reader.word, "deed": "public", "name": names})
        page.says("Make 3 repositories public?").says("is not there")
        assert _visibility(hub, "many-owner/a") == "private"
        reader.send("/admin/repositories/change").says("2 of 3 are done").says("It is not there")
        assert [_visibility(hub, f"many-owner/{one}") for one in "abc"] == ["public", "public", "private"]

    def test_bulk_delete(self, hub: Registry, browsers: Open) -> None:
        """After how many was typed."""
        browsers("gone-owner")
        pushed(hub, "gone-owner", "gone-owner/a", "gone-owner/b", "gone-owner/stays")
        reader = browsers("admin")
        reader.get("/admin/repositories")
        fields = {"csrf": reader.word, "deed": "delete", "name": ["gone-owner/a", "gone-owner/b"]}
        reader.post("/admin/repositories", fields).says("Delete 2 repositories?")
        reader.send("/admin/repositories/change", confirm="3", status=400).says("not what was asked for")
        assert _visibility(hub, "gone-owner/a") == "private"
        reader.send("/admin/repositories/change", confirm="2").says("2 of 2 are done")
        assert _visibility(hub, "gone-owner/a") is None and _visibility(hub, "gone-owner/stays") == "private"

    def test_what_is_refused(self, hub: Registry, browsers: Open) -> None:
        """Deeds that there are not, too many at once; nothing chosen is nothing asked."""
        reader = browsers("admin")
        reader.get("/admin/repositories")
        word = reader.word
        reader.post("/admin/repositories", {"csrf": word, "deed": "burn", "name": "a/b"}, status=400)
        many = [f"a/b{number}" for number in range(101)]
        reader.post("/admin/repositories/change", {"csrf": word, "deed": "public", "name": many}, status=400)
        assert reader.post("/admin/repositories", {"csrf": word, "deed": "public"}).path == "/admin/repositories"

    def test_sec_026_orders_and_filters(self, browsers: Open) -> None:
        """SEC-026: by what is documented, and by nothing else."""
        reader = browsers("admin")
        for query in ("sort=name", "sort=-size_bytes", "sort=-pull_count", "sort=-pushed_at", "visibility=public"):
            reader.get(f"/admin/repositories?{query}")
        for query in ("sort=id", "sort=namespace_id", "sort=name;drop", "visibility=hidden", "after=x"):
            reader.get(f"/admin/repositories?{query}", status=400)


class TestUsers:
    """Users, one by one."""

    def test_made_with_a_password(self, browsers: Open) -> None:
        """Given, or made here and shown once."""
        reader = browsers("admin")
        reader.get("/admin/users/new")
        reader.send("/admin/users", name="given", password=PASSWORD).says("The user is there")
        browsers("").sign_in("given")
        reader.get("/admin/users/new")
        page = reader.send("/admin/users", name="made")
        browsers("").sign_in("made", _secret(page))
        reader.get("/admin/users/new")
        reader.send("/admin/users", name="given", password=PASSWORD, status=400).says("cannot be used")
        reader.send("/admin/users", name="other", password="short", status=400).says("at least 8")
        reader.get("/admin/users?q=giv").says("given")
        assert "made" not in reader.get("/admin/users?q=giv").text

    def test_disabled_and_enabled(self, hub: Registry, browsers: Open) -> None:
        """Its sessions end, and it signs in again after that."""
        user, reader = browsers("sleeper"), browsers("admin")
        reader.get("/admin/users/sleeper").says("Firefox · Linux")
        reader.send("/admin/users/sleeper/disabled", {"disabled": "yes"}).says("sleeper is disabled now.")
        wait_until(lambda: user.http.get("/settings").status_code == 303, what="the end of the session")
        user.get("/settings")
        user.send("/sign-in", name="sleeper", password=PASSWORD, status=403)
        reader.get("/admin/users/sleeper").says("Disabled")
        reader.send("/admin/users/sleeper/disabled", {"disabled": "no"})
        user.sign_in("sleeper")

    def test_admins(self, hub: Registry, browsers: Open) -> None:
        """Made and unmade, and the last one stays."""
        user, reader = browsers("riser"), browsers("admin")
        reader.get("/admin/users/riser")
        reader.send("/admin/users/riser/admin").says("Admin")
        wait_until(lambda: user.http.get("/admin").status_code == 200, what="the right")
        reader.get("/admin/users/riser")
        reader.send("/admin/users/riser/admin", {"admin": "no"})
        wait_until(lambda: user.http.get("/admin").status_code == 403, what="its end")
        reader.get("/admin/users/admin")
        reader.send("/admin/users/admin/admin", {"admin": "no"}, status=409).says("admin")
        reader.get("/admin/users/admin")
        reader.send("/admin/users/admin/disabled", {"disabled": "yes"}, status=409)

    def test_another_password(self, browsers: Open) -> None:
        """Shown once; the old one, and every session, ends."""
        user, reader = browsers("forgetter"), browsers("admin")
        reader.get("/admin/users/forgetter")
        secret = _secret(reader.send("/admin/users/forgetter/password"))
        wait_until(lambda: user.get("/settings").path.startswith("/sign-in?"), what="the end of the session")
        user.send("/sign-in", name="forgetter", password=PASSWORD, status=403)
        user.sign_in("forgetter", secret)

    def test_signed_out(self, browsers: Open) -> None:
        """Everywhere."""
        user, reader = browsers("wanderer"), browsers("admin")
        reader.get("/admin/users/wanderer")
        reader.send("/admin/users/wanderer/sign-out").says("Signed in nowhere")
        wait_until(lambda: user.get("/settings").path.startswith("/sign-in?"), what="the end of the session")

    def test_deleted(self, hub: Registry, browsers: Open) -> None:
        """After its name was typed."""
        browsers("doomed")
        reader = browsers("admin")
        reader.get("/admin/users/doomed")
        reader.send("/admin/users/doomed/delete", confirm="doom", status=400)
        reader.send("/admin/users/doomed/delete", confirm="doomed").says("doomed is gone")
        reader.get("/admin/users/doomed", status=404)

    def test_pages_that_ask(self, browsers: Open) -> None:
        """For who has no dialogs."""
        browsers("questioned")
        reader = browsers("admin")
        for key in ("disable", "promote", "password", "factor-off", "delete"):
            reader.get(f"/admin/users/questioned/ask/{key}").says("questioned")
        reader.get("/admin/users/questioned/ask/other", status=404)
        reader.get("/admin/users/missing", status=404)


class TestOrganizations:
    """Organizations, for admins."""

    def test_made_and_disabled(self, hub: Registry, browsers: Open) -> None:
        """With somebody as its owner."""
        owner, reader = browsers("org-owner"), browsers("admin")
        reader.get("/admin/organizations")
        reader.send("/admin/organizations", name="given-org", owner="missing", status=404).says("There is no")
        page = reader.send("/admin/organizations", name="given-org", owner="org-owner")
        assert page.path == "/u/given-org/members"
        owner.get("/u/given-org/settings")
        reader.get("/admin/organizations?q=given")
        action = "/admin/organizations/given-org/disabled"
        reader.send(action, {"disabled": "yes"}).says("Disabled")
        reader.send(action, {"disabled": "no"})
        assert tables.scalar(hub, "SELECT disabled_at FROM accounts WHERE name = 'given-org'") is None


class TestAudit:
    """The audit log."""

    def test_filters(self, browsers: Open) -> None:
        """By who, what, where and when; what cannot be is refused."""
        browsers("audited")
        reader = browsers("admin")
        reader.get("/admin/audit?actor=audited").says("session.begun")
        reader.get("/admin/audit?action=user.*").says("user.added").says("audited")
        reader.get("/admin/audit?address=192.0.2.1").says("Nothing was found")
        reader.get("/admin/audit?since=2020-01-01&until=2999-01-01&repository=no/such").says("Nothing was found")
        for query in ("since=now", "until=2026-02-30", "digest=sha256:1", "after=AAAA", "actor=%00", "after=WzEsMl0x"):
            reader.get(f"/admin/audit?{query}", status=400)

    def test_pages(self, hub: Registry, browsers: Open) -> None:
        """Each row once, newest first."""
        reader, seen = browsers("admin"), []
        tables.change(
            hub,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120) INSERT INTO audit"
            " (at, actor, credential, action, target) SELECT i / 3, 'pager', 'none', 'test.row', 'row ' || i FROM n",
        )
        page = reader.get("/admin/audit?actor=pager")
        for _ in range(5):
            seen += [int(number) for number in re.findall(r"row (\d+)\b", page.text)]
            following = [url for text, url in page.links if text == "Next"]
            if not following:
                break
            page = reader.get(following[0])
        assert seen == list(range(120, 0, -1))

    def test_export(self, hub: Registry, browsers: Open) -> None:
        """JSON lines of all that the filters leave; a NUL or a date that is none is refused."""
        browsers("exported")
        reader = browsers("admin")
        answer = reader.http.get("/admin/audit.jsonl?actor=exported")
        assert answer.headers["content-type"].startswith("application/jsonl")
        assert "attachment" in answer.headers["content-disposition"]
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert {row["actor"] for row in rows} == {"exported"}
        assert rows[-1]["at"].endswith("Z") and "session.begun" in {row["action"] for row in rows}
        everything = reader.http.get("/admin/audit.jsonl").text.splitlines()
        assert len(everything) == tables.scalar(hub, "SELECT count(*) FROM audit")
        assert reader.http.get("/admin/audit.jsonl?since=x").status_code == 400
        assert reader.http.head("/admin/audit.jsonl").content == b""
        assert browsers("not-admin").http.get("/admin/audit.jsonl").status_code == 403


class TestInstance:
    """Health, background work, settings."""

    def test_health(self, start_registry: Callable[..., Registry]) -> None:
        """What the server stands on works, and the work in the background is listed."""
        reader = Reader(start_registry())
        wait_until(lambda: "tally" in reader.get("/admin/health").text, what="background work")
        page = reader.get("/admin/health").says("collect").says("sweep")
        assert page.text.count("Works") == 3
        reader.close()

    def test_settings(self, hub: Registry, browsers: Open) -> None:
        """Each with its value and where that comes from; found by a word; secrets are not shown."""
        reader = browsers("admin")
        page = reader.get("/admin/settings").says("sign_up").says("--sign-up").says("DEPOTRY_SIGN_UP")
        assert ADMIN_PASSWORD not in page.text
        page = reader.get("/admin/settings?q=session_idle").says("session_idle_s")
        assert "default_visibility" not in page.text

    def test_where_access_is_open(self, start_registry: Callable[..., Registry]) -> None:
        """Everybody administers a registry that is open to everybody, but for accounts, which it has not."""
        registry = start_registry()
        with registry.client() as client:
            for path in ("", "/storage", "/repositories", "/audit", "/health", "/settings"):
                assert client.get(f"/admin{path}").status_code == 200, path


def _visibility(hub: Registry, name: str) -> str | None:
    found: str | None = tables.scalar(hub, "SELECT visibility FROM repositories WHERE name = ?", name)
    return found


def _secret(page: Page) -> str:
    found = re.search(r'<div class="secret"><code[^>]*>([^<]+)</code>', page.answer.text)
    assert found is not None, page.text
    return found[1]
