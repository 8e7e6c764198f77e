"""Rendering: templates to answers, with all that a page needs and a policy that lets it load only our own files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup

from registry.api import errors
from registry.api.asgi import Headers
from registry.api.responses import Answer
from registry.api.web import plots
from registry.api.web.assets import Assets
from registry.api.web.formats import Formats, machine_time
from registry.api.web.languages import LANGUAGES, Catalogue, Language, read_catalogue
from registry.api.web.view import Theme, View, is_own_path
from registry.core.artifacts import Sort, sort_of
from registry.core.errors import MethodNotAllowed, RegistryError, Unauthenticated

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.runtime import Context

FOLDER = Path(__file__).parent
SIGN_IN = "/sign-in"
HUES = 12
"""Colours of avatars."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY),
    # Forms of ours say where they come from; nobody else is told.
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"vary", b"cookie, accept-language, hx-request"),
]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """What every page knows of this instance."""

    version: str
    name: str = "Depotry"
    host: str = "localhost"
    """What stands before the name of an image in `docker pull`."""
    url: str = "http://localhost"
    """Where the API is, for programs."""
    sign_up_is_open: bool = False
    is_open: bool = False
    """Everybody may do everything; there are no accounts."""


class Pages:
    """Makes answers of templates. Templates are read when they are used first, and so is Jinja."""

    def __init__(self, assets: Assets, site: Site, folders: Sequence[Path] = (FOLDER / "templates",)) -> None:
        self._assets = assets
        self.site = site
        self._folders = folders
        self._formats: dict[str, Formats] = {}

    def render(self, view: View, name: str, values: Values | None = None, *, status: int = 200) -> Answer:
        """A whole page. `values` are the names that its template uses besides `view`, `site`, `ui` and `chart`; one
        that is used and not given is an error."""
        return self._answer(self._template(name).render(self._names(view, values)), status)

    def fragment(self, view: View, name: str, block: str, values: Values | None = None, *, status: int = 200) -> Answer:
        """One block of a page's template, for htmx: the same markup that the whole page holds. Raises KeyError for a
        block that the template itself does not define."""
        template = self._template(name)
        context = template.new_context(self._names(view, values))
        return self._answer("".join(template.blocks[block](context)), status)

    def error(self, view: View, error: RegistryError) -> Answer:
        """The page for an error; who has to sign in for that is sent there, and back afterwards."""
        status, _ = errors.TABLE[type(error)]
        if isinstance(error, Unauthenticated):
            return self.to_sign_in(view)
        answer = self.render(view, "error.html", {"status": status, "message": error.message}, status=status)
        if isinstance(error, MethodNotAllowed):
            answer.headers.append((b"allow", ", ".join(error.facts["allow"]).encode()))
        if status in (429, 503, 507):
            seconds = error.facts.get("retry_after_s", errors.RETRY_AFTER_DEFAULT_S)
            answer.headers.append((b"retry-after", str(seconds).encode()))
        return answer

    def failure(self, view: View) -> Answer:
        """The page where our own code failed: it says nothing of what happened; the log does."""
        return self.render(view, "error.html", {"status": 500, "message": ""}, status=500)

    def to_sign_in(self, view: View) -> Answer:
        """The way to the form for signing in, which leads back to this place."""
        return self.redirect(view, f"{SIGN_IN}?{urlencode({'next': view.way_back})}")

    def redirect(self, view: View, path: str, *, cookies: Headers | None = None) -> Answer:
        """After a form, or to another page of ours; a request of htmx is told to load it as a whole page. `cookies` are
        `set-cookie` headers. Raises ValueError for anything but a path of this host."""
        if not is_own_path(path):
            raise ValueError(f"not a path of this host: {path!r}")
        name, status = (b"hx-redirect", 200) if view.is_htmx else (b"location", 303)
        return Answer(status, [*PAGE_HEADERS, (name, path.encode()), *(cookies or [])])

    def texts(self, view: View) -> Catalogue:
        """The language of a view, for what a handler says itself: messages after a form, errors of its fields."""
        return self.formats(view.language).catalogue

    def formats(self, language: Language) -> Formats:
        """Texts, sizes and times in a language, for what is written outside of a template."""
        found = self._formats.get(language.code)
        if found is None:
            catalogue = read_catalogue(language, FOLDER / "languages")
            found = self._formats[language.code] = Formats(catalogue)
        return found

    def _template(self, name: str) -> "Template":
        return self._environment.get_template(name)

    def _names(self, view: View, values: Values | None) -> dict[str, Any]:
        names: dict[str, Any] = {**(values or {}), "view": view, "site": self.site}
        # The macros know the view as well: its language, and the token that their forms carry.
        names["ui"] = self._template("ui.html").make_module(names)
        names["chart"] = self._template("charts.html").make_module(names)
        return names

    @staticmethod
    def _answer(html: str, status: int) -> Answer:
        return Answer(status, list(PAGE_HEADERS), html.encode("utf-8"))

    @cached_property
    def _environment(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(self._folders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.i18n"],
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.globals.update(
            asset=self._assets.url, languages=LANGUAGES, themes=tuple(Theme), plots=plots, reason=_reason
        )
        environment.filters.update({**self._filters(), "initials": initials, "hue": hue})
        environment.filters["sorts"] = _sorts
        environment.filters["exact"] = _exact
        self._speak(environment)
        return environment

    def _speak(self, environment: "Environment") -> None:
        """Texts of templates in the language of the view."""
        from jinja2 import pass_context

        def of(context: "Context") -> Formats:
            return self.formats(context["view"].language)

        @pass_context
        def gettext(context: "Context", text: str) -> str:
            return of(context).catalogue.gettext(text)

        @pass_context
        def ngettext(context: "Context", one: str, many: str, count: int) -> str:
            return of(context).catalogue.ngettext(one, many, count)

        @pass_context
        def pgettext(context: "Context", about: str, text: str) -> str:
            return of(context).catalogue.pgettext(about, text)

        @pass_context
        def npgettext(context: "Context", about: str, one: str, many: str, count: int) -> str:
            return of(context).catalogue.npgettext(about, one, many, count)

        environment.install_gettext_callables(  # type: ignore[attr-defined]
            gettext, ngettext, newstyle=True, pgettext=pgettext, npgettext=npgettext
        )

    def _filters(self) -> dict[str, Callable[..., object]]:
        """Those that depend on the language."""
        from jinja2 import pass_context

        def plain(name: str) -> Callable[..., object]:
            @pass_context
            def apply(context: "Context", value: object) -> object:
                return getattr(self.formats(context["view"].language), name)(value)

            return apply

        @pass_context
        def ago(context: "Context", at_ms: int | None) -> Markup:
            formats, view = self.formats(context["view"].language), context["view"]
            if at_ms is None:
                return Markup("—")
            return _time(at_ms, formats.ago(at_ms, view.now_ms), formats)

        @pass_context
        def day(context: "Context", at_ms: int) -> Markup:
            formats = self.formats(context["view"].language)
            return _time(at_ms, formats.date(at_ms), formats)

        names = ("size", "number", "short", "percent", "date", "short_date", "clock", "hour", "moment", "duration")
        return {**{name: plain(name) for name in names}, "ago": ago, "day": day}


def initials(name: str) -> str:
    """One or two letters for an avatar: of the first two words of a name."""
    words = [word for word in name.replace("_", "-").replace(".", "-").split("-") if word]
    letters = "".join(word[0] for word in words[:2]) if len(words) > 1 else name[:1]
    return letters.upper()


def hue(name: str) -> int:
    """The colour of an avatar, from 0: always the same for one name."""
    return sha256(name.encode()).digest()[0] % HUES


def _time(at_ms: int, text: str, formats: Formats) -> Markup:
    template = Markup('<time datetime="{}" title="{}">{}</time>')
    return template.format(machine_time(at_ms), formats.moment(at_ms), text)


def _sorts(artifact_types: Iterable[str]) -> list[Sort]:
    """What artifacts of these types are to people, each once."""
    return list(dict.fromkeys(sort_of("", artifact_type) for artifact_type in artifact_types))


def _exact(platforms: Sequence[str]) -> list[str]:
    """Platforms without those that another one says more exactly: `linux/arm` beside `linux/arm/v7` is for searches."""
    return [name for name in platforms if not any(other.startswith(f"{name}/") for other in platforms)]


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase
