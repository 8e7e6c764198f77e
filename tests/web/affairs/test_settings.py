"""One's own settings: password, sessions, tokens, logins of clients."""

import re
from collections.abc import Callable

from tests.running import Registry, wait_until
from tests.web.affairs import tables
from tests.web.affairs.reader import PASSWORD, Page, Reader

Open = Callable[[str], Reader]


class TestPassword:
    """Another one."""

    def test_other_sessions_end(self, hub: Registry, browsers: Open) -> None:
        """SEC-012: the one that changes it goes on, others do not, and the old password opens nothing."""
        reader, other = browsers("changer"), browsers("")
        other.sign_in("changer")
        reader.get("/settings/password")
        reader.send("/settings/password", password="a new password", again="a new password").says("is changed")
        wait_until(lambda: other.get("/settings/sign-in").path.startswith("/sign-in?"), what="the end of the session")
        other.get("/sign-in")
        other.send("/sign-in", name="changer", password=PASSWORD, status=403)
        other.sign_in("changer", "a new password")

    def test_what_is_wrong_is_said(self, browsers: Open) -> None:
        """Beside the field; the password stays as it was."""
        reader = browsers("keeper")
        reader.get("/settings/password")
        reader.send("/settings/password", password="short", again="short", status=400).says("at least 8")
        reader.send("/settings/password", password="a new password", again="b", status=400).says("not the same")
        browsers("").sign_in("keeper")


class TestProfile:
    """What one says of oneself, and one's end."""

    def test_it_is_kept(self, hub: Registry, browsers: Open) -> None:
        """Title, description, and what new repositories are."""
        reader = browsers("profiled")
        reader.get("/settings")
        reader.send("/settings", title="Pro <b>", description="Says little.", visibility="public").says("is kept")
        page = reader.get("/settings")
        assert page.form("/settings").fields["title"] == ["Pro <b>"]
        assert page.form("/settings").fields["visibility"] == ["public"]
        found = tables.scalar(hub, "SELECT title || default_visibility FROM accounts WHERE name = 'profiled'")
        assert found == "Pro <b>public"
        for fields in ({"title": "x" * 101}, {"description": "a\nb"}, {"visibility": "secret"}):
            reader.get("/settings")
            reader.send("/settings", None, status=400, **fields)
        assert tables.scalar(hub, "SELECT title FROM accounts WHERE name = 'profiled'") == "Pro <b>"

    def test_the_end(self, hub: Registry, browsers: Open) -> None:
        """After the name was typed, and not while it is the only owner of something."""
        reader = browsers("leaving")
        reader.get("/organizations/new")
        reader.send("/organizations", name="left-behind")
        reader.get("/settings/delete")
        reader.send("/settings/delete", confirm="other", status=400).says("not what was asked for")
        reader.send("/settings/delete", confirm="leaving", status=409).says("only owner of left-behind")
        reader.get("/u/left-behind/delete")
        reader.send("/u/left-behind/delete", confirm="left-behind").says("left-behind is gone")
        reader.get("/settings/delete")
        assert reader.send("/settings/delete", confirm="leaving").path == "/"
        assert reader.get("/settings").path.startswith("/sign-in?")
        reader.send("/sign-in", name="leaving", password=PASSWORD, status=403)
        reader.get("/sign-up")
        reader.send("/sign-up", name="leaving", password=PASSWORD, again=PASSWORD, status=400).says("cannot be used")


class TestSessions:
    """Browsers that are signed in."""

    def test_one_and_all_others(self, browsers: Open) -> None:
        """Each is listed with what it is, and ended by its owner."""
        reader, phone, laptop = browsers("roamer"), browsers(""), browsers("")
        phone.http.headers["user-agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1"
        phone.sign_in("roamer")
        laptop.sign_in("roamer")
        page = reader.get("/settings/sessions").says("Safari · iOS")
        assert page.text.count("Firefox · Linux") == 2 and page.text.count("This one") == 1
        shown = [form.fields["session"][0] for form in page.forms if form.action == "/settings/sessions/end"]
        assert len(shown) == 3
        # The newest comes first.
        reader.send("/settings/sessions/end", {"session": shown[0]}).says("The session has ended")
        assert laptop.get("/settings/sessions").path.startswith("/sign-in?")
        assert phone.get("/settings/sessions").path == "/settings/sessions"
        reader.send("/settings/sessions/end-others").says("1 other session has ended")
        assert phone.get("/settings/sessions").path.startswith("/sign-in?")
        page = reader.get("/settings/sessions")
        reader.send("/settings/sessions/end")
        assert reader.get("/settings/sessions").path.startswith("/sign-in?")

    def test_sec_022_not_those_of_others(self, hub: Registry, browsers: Open) -> None:
        """SEC-022: the number of somebody else's session means nothing."""
        reader, other = browsers("meddler"), browsers("meddled")
        theirs = tables.scalar(hub, "SELECT max(id) FROM sessions")
        reader.get("/settings/sessions")
        for number in (str(theirs), "0", "999999999999999999"):
            reader.post("/settings/sessions/end", {"csrf": reader.word, "session": number}, status=404)
            reader.get("/settings/sessions")
        for number in ("", "x", "-1", "9" * 40, "1 OR 1"):
            reader.post("/settings/sessions/end", {"csrf": reader.word, "session": number}, status=400)
            reader.get("/settings/sessions")
        assert other.get("/settings/sessions").path == "/settings/sessions"


class TestTokens:
    """Access tokens."""

    def test_the_whole_way(self, hub: Registry, browsers: Open) -> None:
        """Made, shown once with where to put it, used, listed with its last use, revoked."""
        reader = browsers("tokener")
        reader.get("/settings/tokens").says("No tokens yet")
        reader.get("/settings/tokens/new")
        page = reader.send("/settings/tokens", name="build <b>", rights="pull", repositories="tokener/a\ntokener/b/*")
        secret = _secret(page)
        for word in ("docker login", "podman login", "kubectl create secret", "docker/login-action", "before_script"):
            page.says(word)
        assert "-u tokener --password-stdin" in page.text
        with hub.client(("tokener", secret)) as client:
            assert client.get("/v2/").status_code == 200
        page = reader.get("/settings/tokens").says("build <b>")
        page.says("used just now").says("tokener/b/*").says("Pull")
        assert secret not in page.answer.text
        number = page.form("/settings/tokens/revoke").fields["token"][0]
        reader.get(f"/settings/tokens/revoke?token={number}").says("Revoke the token?")
        reader.send("/settings/tokens/revoke").says("The token is revoked")
        with hub.client(("tokener", secret)) as client:
            wait_until(lambda: client.get("/v2/").status_code == 401, what="the end of the token")
        scopes = tables.scalar(hub, "SELECT count(*) FROM tokens WHERE name = 'build <b>'")
        assert scopes == 0

    def test_rights_and_ends(self, hub: Registry, browsers: Open) -> None:
        """What is chosen is what is written down."""
        reader = browsers("chooser")
        for rights, life, scopes in (
            ("pull", "7", "read"),
            ("push", "30", "write"),
            ("delete", "365", "delete,write"),
            ("everything", "", "admin"),
        ):
            reader.get("/settings/tokens/new")
            reader.send("/settings/tokens", name=f"may {rights}", rights=rights, life=life)
            found = tables.scalar(
                hub,
                "SELECT scopes || ' ' || coalesce((expires_at - created_at) / 86400000, '') FROM tokens WHERE name = ?",
                f"may {rights}",
            )
            assert found == f"{scopes} {life}"

    def test_what_is_wrong_is_said(self, hub: Registry, browsers: Open) -> None:
        """Nothing is made, and what was filled in stays."""
        reader = browsers("clumsy")
        for fields in (
            {"name": ""},
            {"name": "x" * 101},
            {"name": "a", "rights": "root"},
            {"name": "a", "life": "12"},
            {"name": "a", "repositories": "Not A Name"},
            {"name": "a", "repositories": " ".join(f"a/b{n}" for n in range(101))},
        ):
            reader.get("/settings/tokens/new")
            page = reader.send("/settings/tokens", None, status=400, **fields)
            assert page.form("/settings/tokens").fields["name"] == [fields["name"]]
        assert tables.scalar(hub, "SELECT count(*) FROM tokens t JOIN accounts a ON a.id = t.account_id"
                                  " WHERE a.name = 'clumsy'") == 0  # fmt: skip

    def test_sec_022_not_those_of_others(self, hub: Registry, browsers: Open) -> None:
        """SEC-022: neither a token nor a login of somebody else is ended."""
        browsers("victim").get("/settings/tokens/new")
        reader = browsers("victim2")
        reader.get("/settings/tokens/new")
        reader.send("/settings/tokens", name="theirs")
        theirs = tables.scalar(hub, "SELECT id FROM tokens WHERE name = 'theirs'")
        thief = browsers("thief")
        for action, field in (("/settings/tokens/revoke", "token"), ("/settings/sessions/end-login", "login")):
            thief.get("/settings/tokens")
            thief.post(action, {"csrf": thief.word, field: str(theirs)}, status=404)
        assert tables.scalar(hub, "SELECT count(*) FROM tokens WHERE id = ?", theirs) == 1

    def test_pages_of_many(self, hub: Registry, browsers: Open) -> None:
        """Fifty a page, oldest first, each once."""
        reader = browsers("collector")
        tables.change(
            hub,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)"
            " INSERT INTO tokens (account_id, kind, name, secret_hash, scopes, created_at)"
            " SELECT a.id, 'personal', 'many ' || i, randomblob(32), 'read', 0 FROM n, accounts a WHERE a.name = ?",
            "collector",
        )
        page, seen = reader.get("/settings/tokens"), []
        for _ in range(4):
            seen += re.findall(r"many (\d+) ", page.text)
            following = [url for text, url in page.links if text == "Next"]
            if not following:
                break
            page = reader.get(following[0])
        assert seen == [str(n) for n in range(1, 121)]


class TestLogins:
    """Logins that clients keep."""

    def test_they_are_listed_and_ended(self, hub: Registry, browsers: Open) -> None:
        """A refresh token, by what the client calls itself."""
        reader = browsers("dockerer")
        with hub.client() as client:
            form = {
                "grant_type": "password", "username": "dockerer", "password": PASSWORD, "access_type": "offline",
                "client_id": "my-client", "service": hub.address,
            }  # fmt: skip
            refresh = client.post("/token", data=form).json()["refresh_token"]
            reader.get("/settings/sessions").says("my-client")
            reader.send("/settings/sessions/end-login").says("The login has ended")
            form = {"grant_type": "refresh_token", "refresh_token": refresh, "service": hub.address}
            assert client.post("/token", data=form).status_code == 401


def _secret(page: Page) -> str:
    found = re.search(r'<div class="secret"><code[^>]*>([^<]+)</code>', page.answer.text)
    assert found is not None, page.text
    return found[1]
