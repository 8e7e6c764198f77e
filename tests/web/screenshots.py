"""Pictures of every page, light and dark, wide and narrow, of a registry with content: for the eye.

`python -m tests.web.screenshots FOLDER [PART OF A NAME ...]` starts a registry, fills it, and writes PNG files. Every
route that is read by GET is pictured without being listed here: what its path leaves open is in `NAMES`.
"""

import base64
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from playwright.sync_api import Browser, Page

from registry.api.web.routes import WEB_ROUTES
from registry.auth import totp
from tests.browser.browsing import Window, browser, window
from tests.running import ADMIN_PASSWORD, Registry
from tests.web import past
from tests.web.affairs.reader import Reader
from tests.web.world import PASSWORD, command, fill

NAMES = {
    "repository": "acme/web",
    "namespace": "acme",
    "tag": "latest",
    "team": "crew",
    "robot": "ci",
    "account": "ada",
    "question": "delete",
}
QUERIES = {
    "member-remove-page": "?name=ben",
    "token-revoke-page": "?token={token}",
    "robot-token-revoke-page": "?token={robot_token}",
}
"""What pages are about that have it in their query."""
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
DIGEST = "docker-content-digest"
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
    status: int = 200


def _open_menu(page: Page) -> None:
    page.locator("details[data-fill] > summary").first.click()
    page.locator("details[data-fill][open] .command").first.wait_for()


def _submit(page: Page) -> None:
    """The last button of the form in the middle: the one that does it."""
    page.locator("main form .actions button").last.click()
    page.wait_for_load_state()


def _make_token(page: Page) -> None:
    page.locator("main #name").fill("build server")
    _submit(page)
    page.locator(".secret").wait_for()


def _take_out(page: Page) -> None:
    page.locator("tr", has_text="ben").locator("[data-dialog]").click()


def _ask_admin(page: Page) -> None:
    page.locator("[data-dialog=disable]").click()


def _choose_to_delete(page: Page) -> None:
    page.locator("[data-select-row]").nth(0).check()
    page.locator("[data-select-row]").nth(1).check()
    page.locator(".selection-bar .button-danger").click()
    page.locator("[name=confirm]").wait_for()


def _make_public(page: Page) -> None:
    page.locator("tr", has_text="mirror/").locator("[data-select-row]").first.check()
    page.locator(".selection-bar button").first.click()
    page.locator("[action$=change] .button-primary").click()
    page.locator(".alert-success").wait_for()


def _to_code(page: Page) -> None:
    page.locator("#name").fill("emi")
    page.locator("#password").fill(PASSWORD)
    page.locator("main button").first.click()
    page.wait_for_url("**/sign-in/code**")


def _fail(page: Page) -> None:
    page.locator("main #name").fill("Nobody")
    page.locator(".inline-form button").click()
    page.locator(".field-error").wait_for()


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
    Picture("tag-deleted", "/r/acme/web/-/tags/broken", status=404),
    Picture("tag-missing", "/r/acme/web/-/tags/never", status=404),
    Picture("manifest-delete", "/r/acme/web/-/manifests/{digest}", act=_delete_image),
    Picture("settings-delete", "/r/acme/web/-/settings", act=_ask),
    Picture("settings-former-name", "/r/ada/lab/-/settings"),
    Picture("start-newcomer", "/", "chen"),
    Picture("stars-none", "/stars", "chen"),
    Picture("organizations-none", "/organizations", "chen"),
    Picture("namespace-none", "/u/kiln", "ben"),
    Picture("teams-none", "/u/kiln/teams", "ben"),
    Picture("robots-none", "/u/kiln/robots", "ben"),
    Picture("member-unknown", "/u/kiln/members", "ben", _fail),
    Picture("organization-deletion", "/u/kiln/delete", "ben"),
    Picture("member-remove", "/u/acme/members", act=_take_out),
    Picture("members-of-a-member", "/u/acme/members", "ben"),
    Picture("token-shown", "/settings/tokens/new", act=_make_token),
    Picture("robot-token-shown", "/u/acme/robots/ci/new", act=_make_token),
    Picture("second-factor-code", "/settings/second-factor", "chen", _submit),
    Picture("sign-in-code", "/sign-in", "", _to_code),
    Picture("admin-dashboard-day", "/admin?period=day", "admin"),
    Picture("admin-storage-year", "/admin/storage?period=year", "admin"),
    Picture("admin-user-disable", "/admin/users/ben", "admin", _ask_admin),
    Picture("admin-user-promote", "/admin/users/ben/ask/promote", "admin"),
    Picture("admin-user-password", "/admin/users/dora/ask/password", "admin", _submit),
    Picture("admin-repositories-delete", "/admin/repositories", "admin", _choose_to_delete),
    Picture("admin-repositories-public", "/admin/repositories", "admin", _make_public),
    Picture("admin-audit-narrowed", "/admin/audit?action=tag.*&actor=ada", "admin"),
    Picture("admin-audit-nothing", "/admin/audit?actor=zzz", "admin"),
    Picture("audit-wrong", "/admin/audit?since=yesterday", "admin", status=400),
    Picture("missing", "/nothing/here", status=404),
    Picture("denied", "/r/mirror/alpine/-/settings", status=403),
    Picture("explore-chinese", "/explore", language="zh-CN"),
    Picture("overview-chinese", "/r/acme/web", language="zh-CN"),
    Picture("tags-chinese", "/r/acme/web/-/tags", language="zh-CN"),
    Picture("tag-chinese", "/r/acme/web/-/tags/latest", language="zh-CN"),
    Picture("members-chinese", "/u/acme/members", language="zh-CN"),
    Picture("team-roles-chinese", "/u/acme/teams/crew/roles", language="zh-CN"),
    Picture("robot-chinese", "/u/acme/robots/ci", language="zh-CN"),
    Picture("tokens-chinese", "/settings/tokens", language="zh-CN"),
    Picture("settings-chinese", "/r/acme/web/-/settings", language="zh-CN"),
    Picture("activity-chinese", "/r/acme/web/-/activity", language="zh-CN"),
    Picture("admin-dashboard-chinese", "/admin", "admin", language="zh-CN"),
    Picture("admin-health-chinese", "/admin/health", "admin", language="zh-CN"),
    Picture("admin-user-chinese", "/admin/users/ada", "admin", language="zh-CN"),
    Picture("admin-audit-chinese", "/admin/audit", "admin", language="zh-CN"),
)
"""Beside the plain pages: what they are like for others, empty, wrong, or while something is open."""


def pictures(names: dict[str, str]) -> list[Picture]:
    """Everything; `names` are those of `NAMES` and what `filled_registry` adds."""
    found = [*STATES]
    for route in WEB_ROUTES:
        if route.method != "GET" or route.spec_id in NO_PAGES:
            continue
        who = "" if route.spec_id.startswith("sign-") and route.path.startswith("/sign-") else "ada"
        if route.path.startswith("/admin"):
            who = "admin"
        found.append(Picture(route.spec_id, route.path + QUERIES.get(route.spec_id, ""), who))
    return [replace(one, path=_filled(one.path, names)) for one in found]


def _filled(path: str, names: dict[str, str]) -> str:
    return re.sub(r"\{([a-z_]+)\}", lambda match: names[match[1]], path)


@contextmanager
def filled_registry(folder: Path) -> Iterator[tuple[Registry, dict[str, str]]]:
    """A registry with content, and what fills the paths of its pages: the digest of an image for several platforms,
    tokens of a person and of a robot."""
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
        yield registry, NAMES | _affairs(registry)
    finally:
        registry.kill()


def _affairs(registry: Registry) -> dict[str, str]:
    """People with what is theirs: tokens, an organization that has nothing yet, a second factor, a former name."""
    for name in ("dora", "emi"):
        command(registry, "user", "add", name, "--password-stdin", stdin=f"{PASSWORD}\n")
    command(registry, "org", "add", "kiln", "--owner", "ben")
    with closing(Reader(registry).sign_in("emi", PASSWORD)) as emi:
        _set_up_factor(emi)
    with closing(Reader(registry).sign_in("ada", PASSWORD)) as ada:
        ada.get("/new")
        ada.send("/new", namespace="ada", name="old", description="What may become something.")
        ada.get("/r/ada/old/-/settings")
        ada.send("/r/ada/old/-/settings/name", name="ada/lab")
        found = {"token": _token(ada, "/settings/tokens"), "robot_token": _token(ada, "/u/acme/robots/ci")}
    if (registry.data / "registry.db").exists():
        past.write(registry)
    with registry.client(auth=("ada", PASSWORD)) as client:
        accept = {"accept": "application/vnd.oci.image.index.v1+json"}
        return found | {"digest": client.head("/v2/acme/web/manifests/latest", headers=accept).headers[DIGEST]}


def _token(reader: Reader, path: str) -> str:
    """A token that is made on a page; its number."""
    reader.get(f"{path}/new")
    assert reader.page is not None
    action = next(form.action for form in reader.page.forms if "rights" in form.fields)
    reader.send(action, name="laptop")
    made = re.search(r"revoke\?token=(\d+)", reader.get(path).answer.text)
    assert made is not None
    return made[1]


def _set_up_factor(reader: Reader) -> None:
    reader.get("/settings/second-factor")
    page = reader.send("/settings/second-factor")
    typed = re.search(r'data-copy="((?:[A-Z2-7]{4} ?)+)"', page.answer.text)
    assert typed is not None
    secret = base64.b32decode(typed[1].replace(" ", ""))
    reader.send("/settings/second-factor/code", code=totp.code(secret, totp.step_at(int(time.time() * 1000))))


def sign_in(seen: Window, who: str) -> None:
    """By the form, as people do."""
    seen.go("/sign-in")
    seen.page.locator("#name").fill(who)
    seen.page.locator("#password").fill(ADMIN_PASSWORD if who == "admin" else PASSWORD)
    seen.page.locator("main button").first.click()
    seen.page.wait_for_url(lambda url: "/sign-in" not in url)


def take(seen: Window, picture: Picture, file: Path) -> None:
    """One picture: of the whole page, or of the window where something lies over it."""
    show(seen, picture)
    # What moves has come to rest.
    seen.page.wait_for_timeout(150)
    is_covered = seen.page.locator("dialog[open], details[data-menu][open], .search.is-open").count() > 0
    seen.page.screenshot(path=file, full_page=not is_covered)


def show(seen: Window, picture: Picture) -> int:
    """Load the page and do what is to be done on it; the status of its answer."""
    status = seen.go(picture.path)
    if picture.act is not None:
        picture.act(seen.page)
    # What the page loads by itself is there.
    seen.page.locator("[hx-trigger=load]").wait_for(state="detached")
    return status


def main(folder: Path, wanted: list[str]) -> None:
    """All of them, or those that have one of these texts in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, filled_registry(Path(place)) as (registry, names), browser() as made:
        chosen = [one for one in pictures(names) if not wanted or any(text in one.name for text in wanted)]
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
