"""SEC-032: what strangers write is text, wherever a page shows it; SEC-031: no form and no address leads elsewhere."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.running import Registry
from tests.web import evil
from tests.web.conftest import ORIGIN, Pages, served

pytestmark = pytest.mark.anyio
PLACE = f"/r/{evil.NAME}"


@pytest.fixture(scope="module")
def evil_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose every text is evil."""
    data = tmp_path_factory.mktemp("evil") / "data"
    registry = Registry.start(data, "--requests-per-second", "0", is_open=False)
    try:
        evil.fill(registry)
        registry.stop()
    finally:
        registry.kill()
    return data


@pytest.fixture
async def pages(evil_data: Path) -> AsyncIterator[Pages]:
    """Its pages."""
    async with served(evil_data) as found:
        yield found


async def test_sec_032_what_was_pushed_and_written(pages: Pages) -> None:
    """Every page that shows it, for who may look and for who may change it."""
    listed = await pages.get(f"{PLACE}/-/tags/image")
    digests = list(dict.fromkeys(re.findall(r"/-/manifests/(sha256:[0-9a-f]{64})", listed)))
    assert len(digests) >= 2
    shown = 0
    for path in evil.addresses(digests):
        for who in ("", "ada"):
            seen = await pages.get(path, who)
            assert evil.wrong_with(seen) == [], path
            shown += evil.MARK in seen
    for place in ("readme", "settings", "settings/access", "settings/delete", "audit"):
        assert evil.wrong_with(await pages.get(f"{PLACE}/-/{place}", "ada")) == [], place
    # It was really there.
    assert shown > 15


async def test_sec_032_pieces(pages: Pages) -> None:
    """What htmx gets is markup of the same kind."""
    for path in ("/explore", "/search?q=evil", "/search/suggestions?q=evil", "/u/acme", f"{PLACE}/-/tags"):
        seen = await pages.get(path, piece=True)
        assert evil.wrong_with(seen) == [], path
    for place, form in (("readme/preview", {"readme": evil.ALL}), ("delete-tags", {"tag": "image"})):
        answer = await pages.client.post(
            f"{PLACE}/-/{place}", data=form, headers={"hx-request": "true"} | pages.shown("ada")
        )
        assert answer.status_code == 200 and evil.wrong_with(answer.text) == []


@pytest.mark.parametrize("text", evil.CORPUS)
async def test_sec_032_what_an_address_says(pages: Pages, text: str) -> None:
    """It is repeated as text: in fields, titles, links of orders and of pages, errors."""
    said = quote(text)
    paths = [f"/search?q={said[:500]}", f"/explore?type={said}&platform={said}&namespace={said[:60]}"]
    paths += [f"/explore?sort={said}&x={said}"]
    paths += [f"/search/suggestions?q={said}", f"/u/{said}", f"/r/{said}", f"{PLACE}/-/tags?q={said}", f"/{said}"]
    paths += [f"{PLACE}/-/tags/{said}", f"{PLACE}/-/activity?tag={said}", f"/new?namespace={said}&lang={said}"]
    for path in paths:
        answer = await pages.client.get(path, headers=pages.shown("ada"))
        assert answer.status_code < 500, path
        assert evil.wrong_with(answer.text) == [], path


@pytest.mark.parametrize("text", evil.CORPUS)
async def test_sec_032_what_a_form_says(pages: Pages, text: str) -> None:
    """A form that is shown again holds what was typed, as text."""
    forms = {
        "/new": {"namespace": text, "name": text, "description": text, "visibility": "private"},
        f"{PLACE}/-/settings/name": {"name": text},
        f"{PLACE}/-/settings/description": {"description": text + "\n" + text},
        f"{PLACE}/-/settings/access": {"holder": text, "role": "read"},
        f"{PLACE}/-/settings/delete": {"confirmation": text},
        f"{PLACE}/-/readme": {"readme": text, "version": text},
        f"{PLACE}/-/delete-tags": {"tag": text},
        f"{PLACE}/-/restore-tag": {"tag": text, "digest": text},
    }
    for path, form in forms.items():
        answer = await pages.post(path, "ada", form)
        assert 400 <= answer.status_code < 500, path
        assert evil.wrong_with(answer.text) == [], path


@pytest.mark.parametrize(
    "target",
    [
        "https://example.com",
        "//example.com",
        "/\\example.com",
        "\\\\example.com",
        "/%0d%0aLocation:x",
        "javascript:alert(1)",
        " //example.com",
        "/ /example.com",
        "http:example.com",
        "/a\tb",
        "",
    ],
)
async def test_sec_031_no_form_leads_elsewhere(pages: Pages, target: str) -> None:
    """Where a form comes back to is a path of this host, or the start."""
    answer = await pages.client.post("/preferences", data={"theme": "dark", "next": target})
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location.startswith("/") and not location.startswith(("//", "/\\")) and "example.com" not in location[:12]


async def test_sec_031_the_way_to_sign_in_leads_back_here(pages: Pages) -> None:
    """Whatever the address says that needs it."""
    answer = await pages.client.get("/repositories?x=https://example.com")
    assert answer.headers["location"].startswith("/sign-in?next=%2Frepositories")
    # A path that a browser takes for a host is no page, and nobody is led there.
    answer = await pages.client.get(f"{ORIGIN}//example.com/repositories")
    assert answer.status_code in (400, 404)
