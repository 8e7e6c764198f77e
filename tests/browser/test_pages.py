"""Every page that people browse, in a browser: nothing in its console, nobody else asked, nothing wider than the
window, nothing that axe calls serious; and what scripts do on them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import Window, browser, window
from tests.running import Registry
from tests.web.screenshots import Picture, filled_registry, pictures, show, sign_in

BEYOND = """() => {
  const main = document.querySelector("main");
  const style = getComputedStyle(main);
  const box = main.getBoundingClientRect();
  const [left, right] = [box.left + parseFloat(style.paddingLeft) - 1, box.right - parseFloat(style.paddingRight) + 1];
  const clips = (one) => getComputedStyle(one).overflowX !== "visible";
  const scrolls = (one) => one && one !== main && (clips(one) || scrolls(one.parentElement));
  const floats = "dialog, .menu-panel, .tabs, .side, svg, .visually-hidden";
  return [...main.querySelectorAll("*")].filter((one) => {
    const at = one.getBoundingClientRect();
    if (!at.width || !at.height || one.closest(floats)) return false;
    return (at.right > right || at.left < left) && !scrolls(one.parentElement);
  }).slice(0, 3).map((one) => one.outerHTML.slice(0, 120));
}"""
"""What stands out of the column of the page, and of nothing that can be scrolled."""
LOOKS = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for all of them."""
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, list[Picture]]]:
    """A registry with content, and what there is to see."""
    with filled_registry(tmp_path_factory.mktemp("pictures")) as (registry, names):
        yield registry, pictures(names)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("who", ["", "ada", "ben", "chen", "admin"])
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_clean(
    chrome: Browser, filled: tuple[Registry, list[Picture]], who: str, width: int, scheme: str
) -> None:
    """As each of them sees it, whatever is open on it."""
    registry, found = filled
    problems: list[str] = []
    with window(chrome, registry.url, width=width, scheme=scheme) as seen:
        if who:
            sign_in(seen, who)
        for one in found:
            if one.who == who and one.language == "en":
                status = show(seen, one)
                found_here = _problems(seen, width) + ([f"is {status}"] if status != one.status else [])
                problems += [f"{one.name}: {text}" for text in found_here]
        seen.require_clean()
    assert not problems, "\n".join(problems)


def _problems(seen: Window, width: int) -> list[str]:
    found = seen.serious_problems()
    if seen.page.evaluate("document.documentElement.scrollWidth") > width:
        found.append("wider than the window")
    found += [f"lies beyond the page: {text}" for text in seen.page.evaluate(BEYOND)]
    if not seen.page.title():
        found.append("no title")
    return found


@pytest.fixture
def seen(chrome: Browser, filled: tuple[Registry, list[Picture]]) -> Iterator[Window]:
    """A window of somebody who is signed in."""
    with window(chrome, filled[0].url) as opened:
        sign_in(opened, "ada")
        yield opened
        opened.require_clean()


class TestScripts:
    """What pages do without being loaded again."""

    def test_a_list_follows_what_is_typed(self, seen: Window) -> None:
        """The address too, and going back comes back."""
        seen.go("/explore")
        seen.page.locator("#filter-q").fill("postgres")
        seen.page.wait_for_url("**/explore?q=postgres")
        expect(seen.page.locator("#results .card-target")).to_have_count(1)
        expect(seen.page.locator("#filter-sort option").first).to_have_text("Best match")
        seen.page.locator("#filter-sort").select_option("name")
        seen.page.wait_for_url("**/explore?q=postgres&sort=name")

    def test_tags_follow_the_filter(self, seen: Window) -> None:
        """Rows and their number."""
        seen.go("/r/acme/web/-/tags")
        seen.page.locator("#filter-q").fill("alpine")
        expect(seen.page.locator("#tags .tag-name")).to_have_count(12)
        expect(seen.page.locator("#tags-total")).to_have_text("12 of 31")

    def test_a_command_is_copied(self, seen: Window) -> None:
        """What the menu of a row says is about that row."""
        seen.go("/r/acme/web/-/tags")
        seen.page.locator("details[data-fill] > summary").nth(1).click()
        command = seen.page.locator("details[data-fill][open] .command").first
        command.locator("[data-copy]").click()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        name = seen.page.locator("#tags .tag-name").nth(1).inner_text()
        assert copied.startswith("docker pull ") and copied.endswith(f"/acme/web:{name}")

    def test_type_ahead_by_keyboard(self, seen: Window) -> None:
        """A slash, a few letters, an arrow, and there."""
        seen.go("/api/v1")
        seen.page.keyboard.press("/")
        seen.page.keyboard.type("alpin")
        seen.page.locator(".search.is-open .suggestion").first.wait_for()
        seen.page.keyboard.press("ArrowDown")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/r/mirror/alpine")

    def test_a_star(self, seen: Window) -> None:
        """In place."""
        seen.go("/r/mirror/nginx")
        button = seen.page.locator("#star button")
        assert button.get_attribute("aria-pressed") == "false"
        button.click()
        seen.page.locator("#star button[aria-pressed=true]").wait_for()
        assert "/r/mirror/nginx" in seen.page.url
        seen.page.locator("#star button").click()
        seen.page.locator("#star button[aria-pressed=false]").wait_for()

    def test_a_readme_is_seen_while_it_is_written(self, seen: Window) -> None:
        """The preview, without saving."""
        seen.go("/r/acme/payments/api/-/readme")
        seen.page.locator("#readme").fill("# Hello\n\n<img src=x onerror=alert(1)>")
        seen.page.locator("#preview h2").wait_for()
        assert "<img" in seen.page.locator("#preview").inner_text()
        seen.go("/r/acme/payments/api")
        assert seen.page.locator(".readme").count() == 0

    def test_a_question_before_tags_go(self, seen: Window) -> None:
        """In a dialog that Escape closes; what was chosen by Shift goes."""
        seen.go("/r/acme/web/-/tags?sort=name")
        boxes = seen.page.locator("[data-select-row]")
        boxes.nth(0).click()
        boxes.nth(3).click(modifiers=["Shift"])
        expect(seen.page.locator("[data-select-count]")).to_have_text("4 chosen")
        seen.page.locator(".selection-bar button").click()
        seen.page.locator("dialog[open]").wait_for()
        seen.page.keyboard.press("Escape")
        seen.page.locator("dialog[open]").wait_for(state="detached")
        assert boxes.count() >= 30
        seen.page.locator(".selection-bar button").click()
        seen.page.locator("dialog[open] .button-destroy").click()
        seen.page.wait_for_url("**/-/tags")
        assert "4 tags are deleted." in seen.page.locator("main").inner_text()


@pytest.mark.parametrize(
    "path", ["/", "/explore?q=web", "/u/acme", "/r/acme/web", "/r/acme/web/-/tags", "/r/acme/web/-/tags/latest"]
)
def test_without_scripts(chrome: Browser, filled: tuple[Registry, list[Picture]], path: str) -> None:
    """Everything is there to read, forms have buttons, platforms are listed."""
    context = chrome.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{filled[0].url}{path}")
        assert page.locator("main").inner_text().strip()
        if path.endswith("/-/tags"):
            assert page.locator("tr.sub").first.is_visible()
            assert page.locator(".filter button").is_visible()
    finally:
        context.close()
