"""What all of the hub's API has in common: paths, ETags, problems, limits, and who may come in how."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from registry.api.hub import cursors
from registry.api.hub.paths import Paths
from registry.core.errors import FieldInvalid, InvalidRequest, MethodNotAllowed, RouteUnknown
from tests.hub.routes import Simple
from tests.running import ADMIN_PASSWORD, Pair, Registry

PATHS = Paths(
    [
        Simple("GET", "/repositories"),
        Simple("GET", "/repositories/{repository}"),
        Simple("DELETE", "/repositories/{repository}"),
        Simple("GET", "/repositories/{repository}/-/tags/{tag}"),
    ]
)


class TestPaths:
    """Which route a path means."""

    @pytest.mark.parametrize(
        ("path", "template", "names"),
        [
            ("/repositories", "/repositories", {}),
            ("/repositories/a", "/repositories/{repository}", {"repository": "a"}),
            ("/repositories/a/b/c", "/repositories/{repository}", {"repository": "a/b/c"}),
            ("/repositories/a%2Fb", "/repositories/{repository}", {"repository": "a/b"}),
            ("/repositories/a/tags/x", "/repositories/{repository}", {"repository": "a/tags/x"}),
            (
                "/repositories/a/tags/-/tags/v1",
                "/repositories/{repository}/-/tags/{tag}",
                {"repository": "a/tags", "tag": "v1"},
            ),
            (
                "/repositories/a/-/tags/a%2Fb",
                "/repositories/{repository}/-/tags/{tag}",
                {"repository": "a", "tag": "a/b"},
            ),
            ("/repositories/%252F", "/repositories/{repository}", {"repository": "%2F"}),
        ],
    )
    def test_names_may_have_slashes(self, path: str, template: str, names: dict[str, str]) -> None:
        """Nothing has to be escaped; what is, is decoded once."""
        route, found = PATHS.find("GET", path)
        assert (route.path, found) == (template, names)

    @pytest.mark.parametrize(
        "path", ["/", "", "/x", "/repositories/", "/repositories/a/-/tags/", "/repositories/a/-/b", "//repositories"]
    )
    def test_others_are_unknown(self, path: str) -> None:
        """No path means a route that it has not the form of."""
        with pytest.raises(RouteUnknown):
            PATHS.find("GET", path)

    @pytest.mark.parametrize("path", ["/repositories/a%2", "/repositories/%zz", "/repositories/%ff"])
    def test_broken_escapes_are_refused(self, path: str) -> None:
        """They are not guessed at."""
        with pytest.raises(InvalidRequest):
            PATHS.find("GET", path)

    def test_other_methods_are_told(self) -> None:
        """HEAD is where GET is."""
        assert PATHS.find("HEAD", "/repositories")[0].method == "GET"
        with pytest.raises(MethodNotAllowed) as caught:
            PATHS.find("PUT", "/repositories/a")
        assert caught.value.facts["allow"] == ["DELETE", "GET", "HEAD"]


class TestCursors:
    """Positions as texts."""

    @pytest.mark.parametrize("position", [("a/b", 12), ("é 中", 0), ("", -1)])
    def test_they_come_back(self, position: tuple[str, int]) -> None:
        """What is written is read."""
        text = cursors.write(position)
        assert text.isascii() and "=" not in text
        assert cursors.read(text, tuple[str, int]) == position

    @pytest.mark.parametrize(
        "text", ["", "x", "AAAA", "é", "WyJhIl0", "WzEsMl0", "bnVsbA", "W251bGwsMV0", "/" * 9, "A" * 5000]
    )
    def test_made_up_ones_are_refused(self, text: str) -> None:
        """As a bad field, not as a failure of ours."""
        with pytest.raises(FieldInvalid) as caught:
            cursors.read(text, tuple[str, int])
        assert caught.value.facts["field"] == "after"

    def test_nul_is_refused(self) -> None:
        """PostgreSQL does not take one."""
        with pytest.raises(FieldInvalid):
            cursors.read(cursors.write(("\0", 1)), tuple[str, int])

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
    def test_numbers_that_no_database_takes_are_refused(self, number: int) -> None:
        """SEC-026: whatever the list says of its cursors."""
        with pytest.raises(FieldInvalid):
            cursors.read(cursors.write(("a", number)), tuple[str, int])
        assert cursors.read(cursors.write(("a", 2**63 - 1)), tuple[str, int]) == ("a", 2**63 - 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One server with accounts."""
    registry = Registry.start(tmp_path_factory.mktemp("hub") / "data", is_open=False)
    yield registry
    registry.kill()


@pytest.fixture
def client(served: Registry) -> Iterator[httpx2.Client]:
    """Its admin."""
    with httpx2.Client(base_url=f"{served.url}/api/v1", auth=("admin", ADMIN_PASSWORD)) as made:
        yield made


class TestAnswers:
    """Over HTTP."""

    def test_an_etag_saves_the_body(self, client: httpx2.Client) -> None:
        """304 where nothing has changed; HEAD says what GET would."""
        first = client.get("/me")
        assert first.status_code == 200 and first.json() == {"name": "admin", "credential": "password"}
        again = client.get("/me", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = client.head("/me")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == first.headers["etag"]
        assert head.headers["content-length"] == str(len(first.content))

    def test_nobody_keeps_it_for_others(self, client: httpx2.Client) -> None:
        """A shared cache must not show one caller what another one got."""
        headers = client.get("/me").headers
        assert headers["cache-control"] == "private, no-cache"
        assert headers["vary"] == "authorization, cookie"

    def test_limits_are_told(self, client: httpx2.Client) -> None:
        """How many requests may follow at once."""
        headers = client.get("/me").headers
        assert int(headers["ratelimit-remaining"]) < int(headers["ratelimit-limit"])
        assert int(headers["ratelimit-reset"]) >= 0

    @pytest.mark.parametrize("query", ["?x=1", "?limit=1", "?is_admin=true"])
    def test_sec_026_what_is_not_documented_is_refused(self, client: httpx2.Client, query: str) -> None:
        """A filter that nobody has thought of is no way to ask."""
        answer = client.get(f"/me{query}")
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"] == query[1:].partition("=")[0]

    @pytest.mark.parametrize("depth", [1, 100, 400, 480, 600, 900, 2_000, 100_000])
    def test_sec_094_a_body_may_be_nested(self, client: httpx2.Client, depth: int) -> None:
        """SEC-094: it is refused, however deep it goes, and never our failure."""
        for start, middle, end in (("[", "", "]"), ('{"a":', "1", "}"), ('[{"a":', '"\\u0000"', "}]")):
            body = f'{{"title": {start * depth}{middle}{end * depth}}}'.encode()
            answer = client.patch("/account", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400, answer.text

    @pytest.mark.parametrize("body", [b'{"title": "\xff"}', b'{"title": "\xed\xa0\x80"}', b'{"\xff": 1}', b"\xff"])
    def test_sec_094_a_body_is_utf_8(self, client: httpx2.Client, body: bytes) -> None:
        """SEC-094: other bytes are no JSON."""
        answer = client.patch("/account", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400 and answer.json()["detail"] == "the body is not JSON"

    def test_a_word_that_a_field_does_not_know_is_answered_with_those_it_does(self, client: httpx2.Client) -> None:
        """Nobody has to open the documentation for a typo."""
        answer = client.get("/repositories?sort=-pushed_at")
        assert (answer.status_code, answer.json()["field"]) == (400, "sort")
        assert "pushed, -pushed" in answer.json()["detail"]
        answer = client.get("/repositories?visibility=publik")
        assert answer.json()["detail"].endswith("it is one of public, private")

    def test_what_is_missing_and_what_is_not_allowed(self, client: httpx2.Client) -> None:
        """Problems here too, and the methods that there are."""
        assert client.get("/none").json()["status"] == 404
        answer = client.post("/me")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"


class TestCredentials:
    """Who may come in how."""

    def test_a_personal_token_as_a_bearer(self, served: Registry, client: httpx2.Client) -> None:
        """As programs send it; a wrong one, and one with a letter changed, are refused."""
        secret = served.command("token", "create", "admin", "--scope", "read").strip()
        with httpx2.Client(base_url=f"{served.url}/api/v1") as plain:
            good = plain.get("/me", headers={"authorization": f"Bearer {secret}"})
            assert good.json()["name"] == "admin"
            for wrong in (secret[:-1], secret[:-1] + ("a" if secret[-1] != "a" else "b"), "x"):
                assert plain.get("/me", headers={"authorization": f"Bearer {wrong}"}).status_code == 401
            # The distribution API takes access tokens in this place, and nothing else.
            shown = {"authorization": f"Bearer {secret}"}
            assert plain.get(f"{served.url}/v2/", headers=shown).status_code == 401

    def test_sec_023_another_site_is_refused(self, client: httpx2.Client) -> None:
        """Whatever it shows, for all that could change something; reading is not refused, because nobody there reads
        it."""
        for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            assert client.post("/me", headers=headers).status_code in (403, 405)
            assert client.get("/me", headers=headers).status_code == 200


def test_our_own_failure_is_a_problem_too(tmp_path: Path) -> None:
    """A row that no code of ours writes: the document of an error, nothing of what happened, and a line of the log."""
    registry = Registry.start(tmp_path / "data", pair=Pair("sqlite+files", (), {}), is_open=False)
    try:
        with registry.client(("admin", ADMIN_PASSWORD)) as client:
            assert client.post("/api/v1/repositories", json={"name": "some/thing"}).status_code == 201
            with closing(sqlite3.connect(registry.data / "registry.db")) as database, database:
                database.execute("UPDATE repositories SET created_at = 'yesterday'")
            answer = client.get("/api/v1/repositories/some/thing")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert answer.json()["code"] == "UNKNOWN" and "yesterday" not in answer.text
        assert any("Traceback" in str(line.get("exception")) for line in registry.log_lines())
    finally:
        registry.kill()
