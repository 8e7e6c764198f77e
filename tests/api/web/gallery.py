"""Every component on pages of its own, served as the product's pages are: for the tests in a browser, and for the eye.

`python -m tests.api.web.gallery FOLDER` takes pictures of them, light and dark, wide and narrow, English and Chinese.
"""

import math
import re
from pathlib import Path
from typing import Any

from registry.api.asgi import Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.responses import Answer
from registry.api.web import plots
from registry.api.web.assets import PREFIX, Assets
from registry.api.web.markdown import Markdown
from registry.api.web.pages import FOLDER, Pages, Site
from registry.api.web.plots import Series, Unit
from registry.api.web.view import Caller, Flash, View, preferences
from registry.core.errors import Denied, NameUnknown, RegistryError

HERE = Path(__file__).parent
NOW_MS = 1_795_521_600_000
DAY_MS = 86_400_000
ICONS = re.findall(r'<symbol id="([^"]+)"', (FOLDER / "static" / "icons.svg").read_text(encoding="utf-8"))
PAGES = ("gallery", "gallery-admin", "gallery-forms", "missing", "denied", "failed")

README = """# api

A small service. See the [documentation](https://example.test/docs) and [usage](#usage).

![build](https://example.test/build.svg)

## Usage

Run it with `docker run`:

```sh
docker run --rm -p 8080:8080 hub.test/team/api:1.4.2
```

| Variable | Default | Meaning |
|---|:-:|---:|
| `PORT` | 8080 | where it listens |
| `LOG_LEVEL` | info | how much it says |

- [x] answers
- [ ] asks

> Not for production yet.
"""


def pages() -> Pages:
    site = Site("0.6.0", host="hub.test", sign_up_is_open=True)
    return Pages(Assets(FOLDER / "static"), site, (FOLDER / "templates", HERE / "templates"))


def values() -> dict[str, Any]:
    """What the templates of the gallery use."""
    days = [NOW_MS - (29 - index) * DAY_MS for index in range(30)]
    wave = [1000 + 400 * math.sin(index / 3) + index * 40 for index in range(30)]
    pulls = Series("Pulls", wave)
    pushes = Series("Pushes", [value / 6 + 60 * math.cos(index) for index, value in enumerate(wave)])
    spaces = [(f"team-{name}", (9 - index) * 31_234_567_890.0) for index, name in enumerate("abcdefghi")]
    stored = Series("Stored", [value * 4e8 for value in wave])
    return {
        "readme": Markdown().render_now(README),
        "tags": [(f"1.4.{n}", 41_234_567 - n * 981_234, NOW_MS - n**3 * 3_600_000, 10 ** (n % 6)) for n in range(9)],
        "icons": ICONS,
        "pulls_chart": plots.lines("Pulls a day", days, [pulls]),
        "storage": plots.lines("Storage", days, [stored], Unit.SIZE),
        "traffic": plots.lines("Pulls and pushes", days, [pulls, pushes]),
        "stacked": plots.columns("Answers", days, [pulls, pushes]),
        "bars": plots.bars("Largest namespaces", [(n, v, f"#{n}") for n, v in spaces], Unit.SIZE),
        "ring": plots.parts("By namespace", spaces, Unit.SIZE, others="others"),
    }


class Gallery:
    """An ASGI application."""

    def __init__(self) -> None:
        self.pages = pages()
        self.assets = Assets(FOLDER / "static")
        self._boundary = Boundary(self._respond, self._failed, self._broken)
        self._values = values()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> Answer:
        path = request.raw_path
        if path.startswith(PREFIX):
            return self.assets.answer(request)
        name = path.removeprefix("/")
        view = self.view(request)
        if path == "/search/suggestions":
            query = request.query().get("q", [""])[0]
            found = [
                ("repository", f"team/{query}", "A service", "#r", True),
                ("user", query, "", "#u", False),
            ]
            return self.pages.fragment(view, "suggestions.html", "content", {"suggestions": found, "query": query})
        if name == "denied":
            raise Denied("not for you")
        if name == "failed":
            raise ValueError("a secret that stands in the log only")
        if name not in PAGES or name == "missing":
            raise NameUnknown("nothing here")
        return self.pages.render(view, f"{name}.html", self._values)

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        return self.pages.error(self.view(request), error)

    def _broken(self, request: Request) -> Answer:
        return self.pages.failure(self.view(request))

    def view(self, request: Request) -> View:
        language, theme = preferences(request)
        is_signed_in = "anonymous" not in request.query()
        query = tuple((key, value) for key, values in request.query().items() for value in values)
        return View(
            request.raw_path,
            NOW_MS,
            language,
            theme,
            Caller("ada", is_admin=True) if is_signed_in else None,
            "a-token" if is_signed_in else "",
            (Flash("The repository was created."),) if request.raw_path == "/gallery" else (),
            query,
            is_htmx=request.header(b"hx-request") == "true",
        )
