"""Organizations and namespaces: members, teams, robots, roles, activity, settings."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.running import Registry, wait_until
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Page, Reader

Open = Callable[[str], Reader]


def founded(browsers: Open, owner: str, name: str) -> Reader:
    """Somebody who has made an organization."""
    reader = browsers(owner)
    reader.get("/organizations/new")
    page = reader.send("/organizations", name=name)
    assert page.path == f"/u/{name}/members"
    return reader


class TestOrganizations:
    """Made, listed, ended."""

    def test_the_whole_way(self, browsers: Open) -> None:
        """Who makes one owns it, and finds it in the list."""
        reader = founded(browsers, "founder", "first-org")
        reader.get("/organizations").says("first-org Owner")
        assert reader.get("/organizations/first-org").path == "/u/first-org/members"
        reader.get("/organizations/new")
        reader.send("/organizations", name="first-org", status=400).says("cannot be used")
        reader.send("/organizations", name="First Org", status=400).says("cannot be used")

    def test_an_end_with_repositories(self, hub: Registry, browsers: Open) -> None:
        """What is in it is said, and keeps it from going."""
        reader = founded(browsers, "holder", "holding")
        with hub.client(("holder", PASSWORD)) as client:
            answer = client.post("/v2/holding/app/blobs/uploads/")
            assert answer.status_code == 202
        page = reader.get("/u/holding/delete").says("1 repository is in it").says("holding/app")
        assert not [form for form in page.forms if form.action == "/u/holding/delete"]
        fields = {"csrf": reader.word, "confirm": "holding"}
        reader.post("/u/holding/delete", fields, status=409)
        assert tables.scalar(hub, "SELECT deleted_at FROM accounts WHERE name = 'holding'") is None


class TestMembers:
    """Owners and members."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Added, made an owner, taken out; the last owner stays."""
        reader = founded(browsers, "boss", "firm")
        worker = browsers("worker")
        worker.get("/u/firm/members", status=404)
        reader.get("/u/firm/members")
        reader.send("/u/firm/members", {"role": "member"}, name="nobody-there", status=404).says("There is no")
        reader.send("/u/firm/members", {"name": "nobody-there"}, name="worker").says("worker is a member now")
        worker.get("/u/firm/members").says("worker").says("Leave")
        worker.get("/u/firm/settings", status=403)
        reader.send("/u/firm/members", {"name": "worker"}).says("worker is an owner now")
        worker.get("/u/firm/settings")
        reader.get("/u/firm/members")
        reader.send("/u/firm/members/remove", {"name": "worker"}).says("no longer in the organization")
        wait_until(lambda: worker.http.get("/u/firm/members").status_code == 404, what="the end of membership")
        reader.get("/u/firm/members/leave")
        reader.send("/u/firm/members/leave", status=409).says("only owner")

    def test_leaving(self, hub: Registry, browsers: Open) -> None:
        """A member goes by itself."""
        reader = founded(browsers, "host", "hostel")
        guest = browsers("lodger")
        reader.get("/u/hostel/members")
        reader.send("/u/hostel/members", name="lodger")
        guest.get("/u/hostel/members")
        guest.send("/u/hostel/members/leave").says("You have left hostel")
        assert tables.scalar(hub, "SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id"
                                  " WHERE a.name = 'lodger'") == 0  # fmt: skip

    def test_users_have_none(self, browsers: Open) -> None:
        """A user's namespace has robots and roles, and neither members nor teams."""
        reader = browsers("single")
        for part, status in (("members", 404), ("teams", 404), ("robots", 200), ("access", 200), ("settings", 200)):
            reader.get(f"/u/single/{part}", status=status)


class TestTeams:
    """Teams and their roles."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Made, filled, given roles, ended."""
        reader = founded(browsers, "coach", "club")
        browsers("player")
        reader.get("/u/club/members")
        reader.send("/u/club/members", name="player")
        reader.get("/u/club/teams").says("No teams yet")
        reader.send("/u/club/teams", name="Not A Name", status=400).says("cannot be used")
        assert reader.send("/u/club/teams", name="eleven").path == "/u/club/teams/eleven"
        reader.get("/u/club/teams")
        reader.send("/u/club/teams", name="eleven", status=409)
        reader.get("/u/club/teams/eleven")
        reader.send("/u/club/teams/eleven/members", name="admin", status=400).says("neither a member nor a robot")
        reader.send("/u/club/teams/eleven/members", name="player").says("player is in the team now")
        with hub.client(("coach", PASSWORD)) as client:
            assert client.post("/v2/club/ball/blobs/uploads/").status_code == 202
        reader.get("/u/club/teams/eleven/roles")
        for place in ("club/nothing", "someone/elses", "Not A Name"):
            reader.send("/u/club/teams/eleven/roles", place=place, status=400 if " " in place else 404)
        reader.send("/u/club/teams/eleven/roles", place="club/ball", role="write").says("The role is given")
        reader.send("/u/club/teams/eleven/roles", place="club/*", role="read")
        page = reader.get("/u/club/teams/eleven/roles").says("club/ball Write").says("club/* Read")
        with hub.client(("player", PASSWORD)) as client:
            wait_until(lambda: client.post("/v2/club/ball/blobs/uploads/").status_code == 202, what="the role")
            assert client.post("/v2/club/other/blobs/uploads/").status_code == 403
        reader.send("/u/club/teams/eleven/roles/remove", {"place": "club/ball"}).says("The role is taken away")
        page = reader.get("/u/club/teams/eleven/settings")
        assert not [form for form in page.forms if form.action.endswith("/group")]
        reader.send("/u/club/teams/eleven/delete").says("The team is gone")
        reader.get("/u/club/teams/eleven", status=404)

    def test_sec_022_roles_elsewhere_are_not_given(self, hub: Registry, browsers: Open) -> None:
        """SEC-022: who owns an organization gives its teams no role on what is not its own."""
        other = founded(browsers, "victim-owner", "victim-org")
        with hub.client(("victim-owner", PASSWORD)) as client:
            assert client.post("/v2/victim-org/secret/blobs/uploads/").status_code == 202
        other.get("/u/victim-org/members")
        reader = founded(browsers, "intruder", "intruders")
        reader.get("/u/intruders/teams")
        reader.send("/u/intruders/teams", name="gang")
        reader.get("/u/intruders/teams/gang/roles")
        before = tables.everything(hub)["grants"]
        for place in ("victim-org/secret", "victim-org/*", "victim-org/missing"):
            reader.send(
                "/u/intruders/teams/gang/roles", place=place, role="admin", status=404 if "/*" not in place else 400
            )
        assert tables.everything(hub)["grants"] == before


class TestRobots:
    """Robots and their tokens."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Made with a role, given a token that pushes, ended."""
        reader = founded(browsers, "maker", "factory")
        reader.get("/u/factory/robots").says("No robots yet")
        reader.send("/u/factory/robots", name="No Robot", status=400).says("cannot be used")
        reader.send("/u/factory/robots", name="arm", role="write").says("factory+arm").says("No tokens yet")
        reader.get("/u/factory/robots/arm/new")
        page = reader.send("/u/factory/robots/arm/tokens", name="line 1", rights="push").says("factory+arm")
        secret = _secret(page)
        assert "docker login" in page.text and "-u factory+arm" in page.text
        with hub.client(("factory+arm", secret)) as client:
            assert client.post("/v2/factory/part/blobs/uploads/").status_code == 202
        reader.get("/u/factory/robots/arm").says("line 1").says("used just now")
        reader.send("/u/factory/robots/arm/revoke").says("The token is revoked")
        reader.send("/u/factory/robots/arm/delete").says("The robot is gone")
        reader.get("/u/factory/robots/arm", status=404)

    def test_sec_022_only_those_of_the_namespace(self, hub: Registry, browsers: Open) -> None:
        """SEC-022: a path with one's own namespace reaches no robot of another, and no token of another robot."""
        other = founded(browsers, "robot-owner", "robotics")
        other.get("/u/robotics/robots")
        other.send("/u/robotics/robots", name="r2", role="admin")
        other.get("/u/robotics/robots/r2/new")
        other.send("/u/robotics/robots/r2/tokens", name="theirs")
        theirs = tables.scalar(hub, "SELECT id FROM tokens WHERE name = 'theirs'")
        reader = founded(browsers, "robot-thief", "thieves")
        reader.get("/u/thieves/robots")
        reader.send("/u/thieves/robots", name="c3", role="none")
        before = tables.everything(hub)
        for name in ("r2", "robotics+r2", "../../robotics/robots/r2", "c3+r2"):
            for path in ("", "/new"):
                reader.get(f"/u/thieves/robots/{quote(name, safe='')}{path}", status=404)
        reader.get("/u/thieves/robots/c3")
        word = reader.word
        reader.post("/u/thieves/robots/c3/revoke", {"csrf": word, "token": str(theirs)}, status=404)
        reader.post("/u/robotics/robots/r2/revoke", {"csrf": word, "token": str(theirs)}, status=404)
        reader.post("/u/robotics/robots/r2/tokens", {"csrf": word, "name": "mine", "rights": "everything"}, status=404)
        reader.post("/u/thieves/robots/r2/tokens", {"csrf": word, "name": "mine", "rights": "everything"}, status=404)
        assert tables.everything(hub) == before

    def test_of_a_user(self, browsers: Open) -> None:
        """A user has robots too."""
        reader = browsers("hobbyist")
        reader.get("/u/hobbyist/robots")
        reader.send("/u/hobbyist/robots", name="nas", role="read").says("hobbyist+nas")


class TestAccess:
    """Roles on a whole namespace."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Given to a user, a team and a robot; taken away."""
        reader = founded(browsers, "granter", "granting")
        browsers("granted")
        reader.get("/u/granting/teams")
        reader.send("/u/granting/teams", name="all")
        reader.get("/u/granting/access").says("granter Admin owns it")
        reader.send("/u/granting/access", holder="granted", role="write").says("granted Write was given it")
        reader.send("/u/granting/access", holder="team:granting/all", role="read").says("all Team Read")
        reader.send("/u/granting/access", holder="granting", role="read", status=400).says("is an organization")
        reader.send("/u/granting/access", holder="missing", role="read", status=404).says("There is no")
        reader.get("/u/granting/access")
        reader.send("/u/granting/access/remove", {"holder": "granted"}).says("The role is taken away")
        assert tables.scalar(hub, "SELECT count(*) FROM grants g JOIN accounts a ON a.id = g.account_id"
                                  " WHERE a.name = 'granted'") == 0  # fmt: skip


class TestActivity:
    """The audit of a namespace."""

    def test_what_concerns_it(self, browsers: Open) -> None:
        """What its owner sees, and nothing of others; members do not see it."""
        reader = founded(browsers, "watcher", "watched")
        other = founded(browsers, "bystander", "elsewhere")
        reader.get("/u/watched/teams")
        reader.send("/u/watched/teams", name="guards")
        page = reader.get("/u/watched/activity").says("watched/guards").says("team.added")
        assert "elsewhere" not in page.text and "bystander" not in page.text
        reader.get("/u/watched/activity?action=team.*").says("team.added")
        assert "member.set" not in reader.get("/u/watched/activity?action=team.*").text
        reader.get("/u/watched/activity?since=2999-01-01").says("Nothing was found")
        for query in ("since=yesterday", "after=x", "digest=x", "until=2026-13-01"):
            reader.get(f"/u/watched/activity?{query}", status=400)
        other.get("/u/watched/activity", status=404)


class TestNamespaceSettings:
    """What owners set."""

    def test_they_are_kept(self, hub: Registry, browsers: Open) -> None:
        """What new repositories are counts for the next push."""
        reader = founded(browsers, "setter", "settling")
        reader.get("/u/settling/settings")
        reader.send("/u/settling/settings", title="Settlers", description="", visibility="public").says("are kept")
        with hub.client(("setter", PASSWORD)) as client:
            wait_until(lambda: client.post("/v2/settling/new/blobs/uploads/").status_code == 202, what="the next push")
        assert tables.scalar(hub, "SELECT visibility FROM repositories WHERE name = 'settling/new'") == "public"


def _secret(page: Page) -> str:
    found = re.search(r'<div class="secret"><code[^>]*>([^<]+)</code>', page.answer.text)
    assert found is not None, page.text
    return found[1]


@pytest.mark.parametrize("part", ["members", "teams", "robots", "access", "activity", "settings", "delete"])
def test_sec_027_what_is_hidden_looks_like_what_is_missing(hub: Registry, browsers: Open, part: str) -> None:
    """SEC-027: the inside of a namespace that one does not belong to, and of one that is not there."""
    founded(browsers, f"hider-{part}", f"hidden-{part}")
    reader = browsers(f"seeker-{part}")
    name, other = f"hidden-{part}", "h" * len(f"hidden-{part}")
    there = reader.http.get(f"/u/{name}/{part}")
    missing = reader.http.get(f"/u/{other}/{part}")
    assert there.status_code == missing.status_code == 404
    assert there.text.replace(name, "NAME") == missing.text.replace(other, "NAME")
