"""One look at a page: who looks, in which language and theme, and what the session wants to say."""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

from registry.api.asgi import Request
from registry.api.web.languages import LANGUAGES, Language, accepted, language_of
from registry.auth.return_to import safe_return

LANGUAGE_COOKIE = "depotry_language"
THEME_COOKIE = "depotry_theme"
COOKIES_MAX = 64
_PLACE_MAX_CHARS = 2048


class Theme(StrEnum):
    """Colours: as the visitor chose, or as the device has it."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


class FlashKind(StrEnum):
    """How good the news are."""

    SUCCESS = "success"
    INFO = "info"
    WARNING = "warning"
    DANGER = "danger"


@dataclass(frozen=True, slots=True)
class Flash:
    """A message that is shown once, on the page after the one where something happened."""

    text: str
    kind: FlashKind = FlashKind.SUCCESS


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is signed in."""

    name: str
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What every template knows of a request, as `view`."""

    path: str
    """As it was sent, without the query."""
    now_ms: int
    language: Language = LANGUAGES[0]
    theme: Theme = Theme.AUTO
    caller: Caller | None = None
    csrf: str = ""
    """Goes into the field `csrf` of every form; empty where there is no session."""
    flashes: tuple[Flash, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    is_htmx: bool = False
    """A piece of the page is asked for, not all of it."""
    came_from: str = ""
    """For a form that was sent: the page that it stands on, as far as the browser tells."""

    @property
    def place(self) -> str:
        """Path and query: where to come back to."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def way_back(self) -> str:
        """Where to come back to after signing in, or showing once more who one is: a form that was sent is no page."""
        return self.came_from or self.place

    def link(self, **changes: str | int | None) -> str:
        """This page with other fields in its query; None takes one away. Whoever filters or sorts starts at the first
        page again: `after` and `before` go unless they are named."""
        changed: dict[str, str | int | None] = {"after": None, "before": None, **changes}
        kept = [(key, value) for key, value in self.query if key not in changed]
        added = [(key, str(value)) for key, value in changed.items() if value is not None]
        return f"{self.path}?{urlencode([*kept, *added])}" if kept or added else self.path


def preferences(request: Request) -> tuple[Language, Theme]:
    """Language and theme of a request: `?lang=` for this one page, the cookies of the switches, `Accept-Language`."""
    cookies = cookies_of(request)
    asked = request.query().get("lang", [""])[-1]
    language = language_of(asked) or language_of(cookies.get(LANGUAGE_COOKIE))
    theme = cookies.get(THEME_COOKIE, "")
    return (
        language or accepted(request.header(b"accept-language")),
        Theme(theme) if theme in set(Theme) else Theme.AUTO,
    )


def came_from(request: Request, origin: str) -> str:
    """The page of ours, at `origin`, on which a form stands that was sent; the start where the browser says nothing."""
    if request.method in ("GET", "HEAD"):
        return ""
    shown = (request.header(b"hx-current-url") or request.header(b"referer") or "")[:_PLACE_MAX_CHARS]
    if not shown.lower().startswith(f"{origin.lower()}/"):
        return "/"
    try:
        parts = urlsplit(shown)
    except ValueError:
        return "/"
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return place_of(path)


def cookies_of(request: Request) -> dict[str, str]:
    """The cookies of a request; of several with one name the first, which is the one of the longest path."""
    found: dict[str, str] = {}
    for pair in ";".join(request.header_values(b"cookie")).split(";", COOKIES_MAX)[:COOKIES_MAX]:
        name, separator, value = pair.strip().partition("=")
        if separator:
            found.setdefault(name, value.strip('"'))
    return found


def is_own_path(path: str) -> bool:
    """Whether a text is a path of this host and nothing that a browser could read as another one (SEC-031)."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isascii()
        and path.isprintable()
        and "\\" not in path
        and " " not in path
    )


def place_of(text: str) -> str:
    """The page that a form says it stands on; the start where that is none of ours, however it is read (SEC-031)."""
    return safe_return(text, max_chars=_PLACE_MAX_CHARS)
