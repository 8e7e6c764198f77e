"""Finding repositories: the first page, lists, search, namespaces, what is the caller's own."""

import re
from pathlib import Path

import httpx2
import pytest

from tests.running import Registry
from tests.web.conftest import Pages

pytestmark = pytest.mark.anyio
STATEMENTS_MAX = 3


def names(html: str) -> list[str]:
    """The repositories that a page lists, in order."""
    return re.findall(r'class="card-target" href="/r/([^"]+)"', html)


class TestStart:
    """The first page."""

    async def test_what_is_here(self, pages: Pages) -> None:
        """Public repositories, the most pulled first; for who is signed in its own too."""
        seen = await pages.get("/")
        assert names(seen)[:2] == ["mirror/alpine", "acme/web"]
        assert "acme/payments/api" not in seen and "ada/experiments" not in seen
        seen = await pages.get("/", "ada")
        assert "acme/payments/api" in names(seen)
        assert 'href="/r/ada/experiments"' in seen
        assert "ada/experiments" not in await pages.get("/", "ben")

    async def test_its_order(self, pages: Pages) -> None:
        """Newest pushes first, where that is asked for; nothing that is no order (SEC-026)."""
        assert names(await pages.get("/?sort=-pushed_at"))[0] == "acme/web"
        for order in ("password_hash", "-", "name;drop", "pushed_at,name"):
            assert "sort is one of" in await pages.get(f"/?sort={order}", status=400)

    def test_the_first_push(self, shared_registry: Registry) -> None:
        """An empty registry says how: with the real host, and no login where none is needed."""
        with shared_registry.client() as client:
            seen = client.get("/").text
            host = f"localhost:{shared_registry.port}"
            assert f"docker push {host}/NAME/alpine:3" in seen
            assert "docker login" not in seen and "Two steps to the first push" in seen

    def test_without_accounts_nothing_leads_to_signing_in(self, shared_registry: Registry) -> None:
        """Everybody administers then, and finds where."""
        with shared_registry.client() as client:
            for path in ("/", "/nothing", "/settings"):
                seen = client.get(path).text
                assert 'href="/admin"' in seen and "/sign-in" not in seen, path

    def test_the_first_push_with_accounts(self, tmp_path: Path) -> None:
        """Who is signed in sees its own name."""
        registry = Registry.start(tmp_path / "data", is_open=False)
        try:
            with registry.client() as client:
                seen = client.get("/").text
                assert "docker login" in seen and "/NAME/alpine:3" in seen
                seen = client.get("/", auth=("admin", (tmp_path / "data.admin-password").read_text())).text
                assert f"docker login localhost:{registry.port} -u admin" in seen
                assert f"docker push localhost:{registry.port}/admin/alpine:3" in seen
        finally:
            registry.kill()


class TestExplore:
    """All that there is."""

    async def test_everybody_sees_what_it_may(self, pages: Pages) -> None:
        """SEC-027, SEC-028: nothing of what is private, in no order and by no filter, for who may not pull it."""
        for query in ("", "?q=payments", "?q=api", "?sort=name", "?platform=linux/arm64", "?visibility=private"):
            for who in ("", "chen"):
                seen = await pages.get(f"/explore{query}", who)
                assert "acme/payments" not in seen and "ada/experiments" not in seen
        assert "acme/payments/api" in names(await pages.get("/explore?q=payments", "ada"))

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ("sort=name", ["acme/charts/site", "acme/models/tiny", "acme/web", "mirror/alpine"]),
            ("sort=-name", ["mirror/postgres", "mirror/nginx", "mirror/alpine", "acme/web"]),
            ("sort=-size_bytes", ["acme/web"]),
            ("type=chart", ["acme/charts/site"]),
            ("type=model", ["acme/models/tiny"]),
            ("type=application/vnd.cncf.helm.config.v1%2Bjson", ["acme/charts/site"]),
            ("platform=linux/arm64", ["acme/web"]),
            ("platform=plan9/mips", []),
            ("visibility=private", []),
            ("namespace=mirror&sort=name", ["mirror/alpine", "mirror/nginx", "mirror/postgres"]),
            ("namespace=mirror&q=alpine", ["mirror/alpine"]),
            ("namespace=ada", []),
            ("namespace=%27%20OR%201", []),
            ("q=web", ["acme/web"]),
            ("q=alpime", ["mirror/alpine"]),
            ("q=mirror&sort=name", ["mirror/alpine", "mirror/nginx", "mirror/postgres"]),
        ],
    )
    async def test_filters_and_orders(self, pages: Pages, query: str, wanted: list[str]) -> None:
        """Each alone."""
        found = names(await pages.get(f"/explore?{query}"))
        assert found[: len(wanted)] == wanted
        assert wanted or not found

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("sort=created_by", "sort"),
            ("sort=namespace_id", "sort"),
            ("visibility=secret", "visibility"),
            ("visibility=public'--", "visibility"),
            ("after=x", "after"),
            ("q=%00", "q"),
            (f"q={'x' * 300}", "q"),
            (f"platform={'x' * 300}", "platform"),
            ("type=%00", "type"),
        ],
    )
    async def test_sec_026_what_is_no_filter_is_refused(self, pages: Pages, query: str, field: str) -> None:
        """The page says which field it is."""
        assert field in await pages.get(f"/explore?{query}", status=400)

    async def test_a_position_of_another_order_is_refused(self, pages: Pages) -> None:
        """A cursor belongs to its list."""
        from registry.api.hub import cursors

        await pages.get(f"/explore?sort=name&after={cursors.write((5, 1))}", status=400)

    async def test_what_it_does_not_know_is_left_alone(self, pages: Pages) -> None:
        """Links gather fields on their way."""
        assert names(await pages.get("/explore?utm_source=mail&ref=x"))

    async def test_a_piece_for_htmx(self, pages: Pages) -> None:
        """The list alone, and the shortest address of it."""
        seen = await pages.client.get("/explore?q=web&visibility=&type=&sort=relevance", headers={"hx-request": "true"})
        assert seen.text.strip().startswith('<div id="results"') and "<html" not in seen.text
        assert seen.headers["hx-replace-url"] == "/explore?q=web"
        whole = {"hx-request": "true", "hx-history-restore-request": "true"}
        assert "<html" in (await pages.client.get("/explore?q=web", headers=whole)).text

    async def test_search_finds_people_too(self, pages: Pages) -> None:
        """Namespaces whose name begins with the text."""
        assert 'href="/u/acme"' in await pages.get("/search?q=acm")
        assert 'href="/u/ada"' not in await pages.get("/search?q=ada")
        assert 'href="/u/ada"' in await pages.get("/search?q=ada", "ada")


class TestSuggestions:
    """What somebody may mean who still types."""

    async def test_they_are_a_piece(self, pages: Pages) -> None:
        """Repositories and namespaces, as far as the caller may see them."""
        seen = await pages.get("/search/suggestions?q=ac", piece=True)
        assert "<html" not in seen and 'href="/u/acme"' in seen
        assert "acme/payments" not in await pages.get("/search/suggestions?q=payments", "chen", piece=True)
        assert "acme/payments/api" in await pages.get("/search/suggestions?q=payments", "ada", piece=True)

    async def test_nothing_for_nothing(self, pages: Pages) -> None:
        """An empty text suggests nothing."""
        assert (await pages.get("/search/suggestions?q=", piece=True)).strip() == ""


class TestNamespace:
    """Somebody's page."""

    async def test_what_it_says(self, pages: Pages) -> None:
        """Its repositories and numbers, as far as the caller may see them."""
        seen = await pages.get("/u/acme")
        assert set(names(seen)) == {"acme/web", "acme/charts/site", "acme/models/tiny"}
        assert "3 repositories" in seen and "46 pulls" in seen
        assert "/u/acme/members" not in seen and "New repository" not in seen

    async def test_for_who_belongs_to_it(self, pages: Pages) -> None:
        """Members see who else is in it, owners make repositories in it."""
        seen = await pages.get("/u/acme", "ben")
        assert 'href="/u/acme/members"' in seen and "/new?namespace=acme" not in seen
        seen = await pages.get("/u/acme", "ada")
        assert 'href="/u/acme/members"' in seen and "/new?namespace=acme" in seen
        assert "acme/payments/api" in names(seen)
        assert 'href="/u/acme/members"' not in await pages.get("/u/acme", "chen")

    async def test_nobody_knows_of_what_it_may_not_see(self, pages: Pages) -> None:
        """A namespace of private things only, one that is empty, and none look the same."""
        seen = {re.sub("/u/[a-z]+", "", await pages.get(f"/u/{name}", status=404)) for name in ("ada", "ben", "zed")}
        assert len(seen) == 1
        assert "ada/experiments" in await pages.get("/u/ada", "ada")

    async def test_names_that_cannot_be(self, pages: Pages) -> None:
        """400, not a look-up."""
        await pages.get("/u/NOT%20A%20NAME", status=400)


class TestMine:
    """What is the caller's own."""

    async def test_repositories(self, pages: Pages) -> None:
        """In its namespaces, and where it has a role."""
        assert set(names(await pages.get("/repositories", "ada"))) >= {"ada/experiments", "acme/payments/api"}
        assert names(await pages.get("/repositories", "chen")) == ["acme/web"]

    async def test_who_is_nobody_signs_in_first(self, pages: Pages) -> None:
        """And comes back."""
        for path in ("/repositories", "/stars"):
            answer = await pages.client.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"] == f"/sign-in?next={path.replace('/', '%2F')}"

    async def test_stars(self, pages: Pages) -> None:
        """None yet."""
        assert "No stars yet" in await pages.get("/stars", "chen")


class TestCost:
    """What pages ask the database."""

    @pytest.mark.parametrize("who", ["", "ada"])
    @pytest.mark.parametrize(
        "path",
        [
            *("/", "/explore", "/explore?q=web&sort=-pull_count", "/search?q=acme", "/search/suggestions?q=acme"),
            *("/u/acme", "/repositories", "/stars"),
        ],
    )
    async def test_three_statements(self, pages: Pages, path: str, who: str) -> None:
        """However much is there: no page asks once for each of what it lists."""
        if not who and path in ("/repositories", "/stars"):
            return
        statements = await pages.cost(path, who)
        assert len(statements) <= STATEMENTS_MAX, "\n\n".join(statements)


class TestPaging:
    """Lists that are longer than a page."""

    async def test_one_page_after_the_other(self, pages: Pages) -> None:
        """Each entry once, and a way back to the start."""
        from registry.api.hub import cursors

        whole = names(await pages.get("/explore?sort=name"))
        part = await pages.get(f"/explore?sort=name&after={cursors.write((whole[2], 0))}")
        assert names(part) == whole[3:]
        assert 'href="/explore?sort=name"' in part


def test_heads(shared_registry: Registry) -> None:
    """HEAD is GET without a body."""
    with httpx2.Client(base_url=shared_registry.url) as client:
        answer = client.head("/explore")
        assert answer.status_code == 200 and answer.content == b""
        assert int(answer.headers["content-length"]) > 1000
