"""The first page, for who has just started a registry."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import browser, window
from tests.running import Registry


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for all of them."""
    with browser() as made:
        yield made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_clean(chrome: Browser, shared_registry: Registry, scheme: str, width: int) -> None:
    """No error in the console, no request to another host, nothing wider than the window, nothing that axe calls
    serious, light and dark, wide and narrow."""
    with window(chrome, shared_registry.url, width=width, scheme=scheme) as seen:
        seen.go("/")
        assert seen.page.title()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.serious_problems() == []
        seen.require_clean()
