"""Pictures of every page, light and dark, wide and narrow, of a registry with content: for the eye.

`python -m tests.web.screenshots FOLDER [PART OF A NAME ...]` starts a registry, fills it, and writes PNG files. Every
route that is read by GET is pictured without being listed here: what its path leaves open is in `NAMES`.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from registry.api.web.routes import WEB_ROUTES
from tests.browser.browsing import Window, browser, window
from tests.running import ADMIN_PASSWORD, Registry
from tests.web.world import PASSWORD, fill

NAMES = {
    "repository": "acme/web",
    "namespace": "acme",
    "tag": "latest",
    "team": "crew",
    "robot": "ci",
    "account": "ada",
    "token": "1",
    "name": "ada",
    "question": "delete",
}
NO_PAGES = {
    "suggestions",
    "manifest-bytes",
    "config-bytes",
    "sign-in-provider",
    "sign-in-callback",
    "signed-out",
    "admin-audit-export",
}
"""Pieces of pages, downloads, and what leads elsewhere."""
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
Act = Callable[[Page], None]


@dataclass(frozen=True)
class Picture:
    """One page, as somebody sees it, after something was done on it."""

    name: str
    path: str
    who: str = "ada"
    act: Act | None = None
    language: str = "en"


def _open_menu(page: Page) -> None:
    page.locator("details[data-fill] > summary").first.click()
    page.locator("details[data-fill][open] .command").first.wait_for()


def _expand(page: Page) -> None:
    page.locator("[data-expand]").first.click()


def _choose(page: Page) -> None:
    boxes = page.locator("[data-select-row]")
    boxes.nth(0).check()
    boxes.nth(8).check()
    page.locator(".selection-bar button").click()
    page.locator("dialog[open] .button-destroy").wait_for()


def _delete_image(page: Page) -> None:
    page.locator(".artifact-header .button-danger").click()
    page.locator("dialog[open] .button-destroy").wait_for()


def _type_ahead(page: Page) -> None:
    page.locator("#search").fill("we")
    page.locator(".search.is-open .suggestion").first.wait_for()
    page.keyboard.press("ArrowDown")


def _ask(page: Page) -> None:
    page.locator("[data-dialog]").first.click()


def _user_menu(page: Page) -> None:
    page.locator(".user-button").click()


def _documents(page: Page) -> None:
    page.locator(".document > summary").first.click()


STATES = (
    Picture("start-anonymous", "/", ""),
    Picture("search-typing", "/explore", act=_type_ahead),
    Picture("search-found", "/search?q=acme"),
    Picture("search-nothing", "/search?q=zzz&platform=linux/riscv64"),
    Picture("explore-narrowed", "/explore?type=chart&sort=name", ""),
    Picture("user-menu", "/repositories", act=_user_menu),
    Picture("namespace-of-a-user", "/u/ada"),
    Picture("namespace-anonymous", "/u/acme", ""),
    Picture("overview-anonymous", "/r/acme/web", ""),
    Picture("overview-empty", "/r/acme/empty"),
    Picture("overview-private", "/r/acme/payments/api"),
    Picture("tags-anonymous", "/r/acme/web/-/tags", ""),
    Picture("tags-expanded", "/r/acme/web/-/tags", act=_expand),
    Picture("tags-menu", "/r/acme/web/-/tags", act=_open_menu),
    Picture("tags-delete", "/r/acme/web/-/tags", act=_choose),
    Picture("tags-nothing", "/r/acme/web/-/tags?q=zzz"),
    Picture("tag-image", "/r/acme/web/-/tags/1.0.0", act=_documents),
    Picture("tag-chart", "/r/acme/charts/site/-/tags/1.0.0"),
    Picture("tag-model", "/r/acme/models/tiny/-/tags/q4"),
    Picture("tag-deleted", "/r/acme/web/-/tags/broken"),
    Picture("tag-missing", "/r/acme/web/-/tags/never"),
    Picture("manifest-delete", "/r/acme/web/-/manifests/{digest}", act=_delete_image),
    Picture("settings-delete", "/r/acme/web/-/settings", act=_ask),
    Picture("missing", "/nothing/here"),
    Picture("denied", "/r/mirror/alpine/-/settings"),
    Picture("explore-chinese", "/explore", language="zh-CN"),
    Picture("overview-chinese", "/r/acme/web", language="zh-CN"),
    Picture("tags-chinese", "/r/acme/web/-/tags", language="zh-CN"),
    Picture("tag-chinese", "/r/acme/web/-/tags/latest", language="zh-CN"),
)
"""Beside the plain pages: what they are like for others, empty, wrong, or while something is open."""


def pictures(digest: str) -> list[Picture]:
    """Everything; `digest` is that of a manifest to show."""
    found = [*STATES]
    for route in WEB_ROUTES:
        if route.method != "GET" or route.spec_id in NO_PAGES:
            continue
        who = "" if route.spec_id.startswith("sign-") and route.path.startswith("/sign-") else "ada"
        if route.path.startswith("/admin"):
            who = "admin"
        found.append(Picture(route.spec_id, route.path, who))
    return [Picture(one.name, _filled(one.path, digest), one.who, one.act, one.language) for one in found]


def _filled(path: str, digest: str) -> str:
    names = {**NAMES, "digest": digest}
    return re.sub(r"\{([a-z_]+)\}", lambda match: names[match[1]], path)


@contextmanager
def filled_registry(folder: Path) -> Iterator[tuple[Registry, str]]:
    """A registry with content, and the digest of an image for several platforms."""
    registry = Registry.start(
        folder / "data",
        "--requests-per-second",
        "0",
        "--sign-up",
        "--login-failures-per-address",
        "1000",
        is_open=False,
    )
    try:
        fill(registry)
        with registry.client(auth=("ada", PASSWORD)) as client:
            accept = {"accept": "application/vnd.oci.image.index.v1+json"}
            found = client.head("/v2/acme/web/manifests/latest", headers=accept)
            yield registry, found.headers["docker-content-digest"]
    finally:
        registry.kill()


def sign_in(seen: Window, who: str) -> None:
    """By the form, as people do."""
    seen.go("/sign-in")
    seen.page.locator("#name").fill(who)
    seen.page.locator("#password").fill(ADMIN_PASSWORD if who == "admin" else PASSWORD)
    seen.page.locator("main button").first.click()
    seen.page.wait_for_url(lambda url: "/sign-in" not in url)


def take(seen: Window, picture: Picture, file: Path) -> None:
    """One picture."""
    seen.go(picture.path)
    if picture.act is not None:
        picture.act(seen.page)
    # What moves has come to rest.
    seen.page.wait_for_timeout(150)
    seen.page.screenshot(path=file, full_page=picture.act is None)


def main(folder: Path, wanted: list[str]) -> None:
    """All of them, or those that have one of these texts in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, filled_registry(Path(place)) as (registry, digest), browser() as made:
        chosen = [one for one in pictures(digest) if not wanted or any(text in one.name for text in wanted)]
        for width in WIDTHS:
            for scheme in SCHEMES:
                _all_of(made, registry, chosen, folder, (width, scheme))


def _all_of(made: Browser, registry: Registry, chosen: list[Picture], folder: Path, look: tuple[int, str]) -> None:
    width, scheme = look
    for who, language in sorted({(one.who, one.language) for one in chosen}):
        with window(made, registry.url, width=width, scheme=scheme, language=language) as seen:
            if who:
                sign_in(seen, who)
            for one in chosen:
                if (one.who, one.language) == (who, language):
                    take(seen, one, folder / f"{one.name}-{width}-{scheme}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
