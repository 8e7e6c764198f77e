"""A real Chromium, watched: what it logs, whom it asks, and what the rules of accessibility say of a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, sync_playwright

from tests.running import require_tool

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERIOUS = ("serious", "critical")


def chromium() -> str:
    """The browser of the system. Skips where there is none."""
    return require_tool("chromium", "apt-get install chromium", "/usr/bin", "/snap/bin")


@contextmanager
def browser() -> Iterator[Browser]:
    """One browser process."""
    path = chromium()
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield made
        finally:
            made.close()


@dataclass
class Window:
    """A window of its own, with cookies of its own, and what was seen in it."""

    context: BrowserContext
    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    """What the console said that was an error or a warning, and what scripts threw."""
    strangers: list[str] = field(default_factory=list)
    """Requests to other hosts."""
    friend: str = ""
    """The address of a host that pages may lead to, and that they ask for nothing else."""
    dialogs: list[str] = field(default_factory=list)
    """What `alert` and its like said; nothing of ours uses them."""

    def go(self, path: str) -> int:
        """Load a page of the registry; the status of its answer."""
        answer = self.page.goto(f"{self.url}{path}", wait_until="load")
        return 0 if answer is None else answer.status

    def require_clean(self) -> None:
        """Nothing was logged, nobody else was asked, no dialog of a script was seen."""
        assert not self.errors, self.errors
        assert not self.strangers, self.strangers
        assert not self.dialogs, self.dialogs

    def serious_problems(self) -> list[str]:
        """What axe finds on this page that keeps people out."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: " + "; ".join(node["html"] for node in rule["nodes"][:3])
            for rule in found
            if rule["impact"] in SERIOUS
        ]

    def watch(self) -> None:
        """Begin to write down what is seen."""

        def logged(message: ConsoleMessage) -> None:
            # The browser itself writes a line for each answer that is an error, which a test may have wanted.
            if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
                self.errors.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            parts = urlsplit(request.url)
            is_of_friend = f"{parts.scheme}://{parts.netloc}" == self.friend and request.is_navigation_request()
            is_ours = f"{parts.scheme}://{parts.netloc}" == self.url
            if parts.scheme in ("http", "https", "ws", "wss") and not is_ours and not is_of_friend:
                self.strangers.append(request.url)

        def shown(dialog: Dialog) -> None:
            self.dialogs.append(dialog.message)
            dialog.dismiss()

        self.page.on("console", logged)
        self.page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))
        self.page.on("dialog", shown)
        self.context.on("request", asked)


@contextmanager
def window(
    made: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: str = "light",
    language: str = "en",
    friend: str = "",
) -> Iterator[Window]:
    """A new window on a registry."""
    context = made.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale=language,
        permissions=["clipboard-read", "clipboard-write"],
    )
    try:
        found = Window(context, context.new_page(), url.rstrip("/"), friend=friend)
        found.watch()
        yield found
    finally:
        context.close()
