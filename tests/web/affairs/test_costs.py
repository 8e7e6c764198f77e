"""What pages cost: three statements at most, however much there is."""

import pytest

from tests.web.conftest import Pages
from tests.web.world import PASSWORD

PATHS = {
    "ada": [
        "/settings", "/settings/tokens", "/settings/tokens/new", "/organizations", "/organizations/new",
        "/u/acme/members", "/u/acme/teams", "/u/acme/teams/crew", "/u/acme/teams/crew/roles",
        "/u/acme/teams/crew/settings", "/u/acme/robots", "/u/acme/robots/ci", "/u/acme/robots/ci/new",
        "/u/acme/access", "/u/acme/activity", "/u/acme/activity?actor=ada", "/u/acme/settings",
        "/u/acme/members/remove?name=x", "/u/acme/delete",
    ],
    "admin": [
        "/admin", "/admin?period=day", "/admin/storage", "/admin/repositories", "/admin/repositories?sort=-size_bytes",
        "/admin/repositories?q=web&visibility=public", "/admin/users", "/admin/users?q=a", "/admin/users/ada",
        "/admin/users/new", "/admin/organizations", "/admin/audit", "/admin/audit?actor=admin",
        "/admin/audit?action=repository.*&since=2026-01-01", "/admin/health", "/admin/settings",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("who", "path"), [(who, path) for who, paths in PATHS.items() for path in paths])
async def test_three_statements_at_most(pages: Pages, who: str, path: str) -> None:
    """One to let somebody in, two to find what is shown."""
    statements = await pages.cost(path, who)
    assert len(statements) <= 3, "\n".join(statements)


@pytest.mark.parametrize("path", ["/settings/sign-in", "/settings/sessions", "/prove", "/settings/password"])
async def test_pages_of_a_session(pages: Pages, path: str) -> None:
    """The session itself is remembered."""
    answer = await pages.client.post("/sign-in", data={"name": "ben", "password": PASSWORD})
    assert answer.status_code == 303
    statements = await pages.cost(path)
    assert len(statements) <= 3, "\n".join(statements)
