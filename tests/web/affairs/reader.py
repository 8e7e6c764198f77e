"""Somebody who reads pages and fills in their forms, without JavaScript: every page has to work for such a one."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from tests.running import ADMIN_PASSWORD, Registry

PASSWORD = "battery staple"
_IGNORED = ("script", "style", "svg", "title")
Fields = dict[str, list[str]]


@dataclass
class Form:
    """A form as it stands on a page: what is sent when only a button of it is pressed."""

    action: str
    method: str
    fields: Fields = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)
    """Their texts, names and values."""


class _Parser(HTMLParser):
    """Gathers forms, links and the words of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._stack: list[str] = []
        self._form: Form | None = None
        self._link: str | None = None
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self._area: tuple[str, list[str]] | None = None
        self._button: tuple[dict[str, str | None], list[str]] | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._stack.append(tag)
        if tag == "form":
            self._form = Form(found.get("action") or "", (found.get("method") or "get").lower())
            self.forms.append(self._form)
        elif tag == "a":
            self._link, self._text = found.get("href"), []
        elif tag == "input" and self._form is not None:
            self._input(self._form, found)
        elif tag == "select":
            self._select = (found.get("name") or "", [])
        elif tag == "option" and self._select is not None:
            self._select[1].append((found.get("value") or "", "selected" in found))
        elif tag == "textarea":
            self._area = (found.get("name") or "", [])
        elif tag == "button":
            self._button = (found, [])
        if tag in ("input", "meta", "link", "br", "img", "hr", "path", "rect", "use", "circle"):
            self._stack.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    @staticmethod
    def _input(form: Form, found: dict[str, str | None]) -> None:
        name, kind = found.get("name"), found.get("type") or "text"
        if name is None or (kind in ("checkbox", "radio") and "checked" not in found):
            return
        form.fields.setdefault(name, []).append(found.get("value") or ("on" if kind == "checkbox" else ""))

    def handle_endtag(self, tag: str) -> None:
        while self._stack and self._stack.pop() != tag:
            pass
        if tag == "form":
            self._form = None
        elif tag == "a" and self._link is not None:
            self.links.append((" ".join("".join(self._text).split()), self._link))
            self._link = None
        elif tag == "select" and self._select is not None and self._form is not None:
            name, options = self._select
            chosen = [value for value, is_chosen in options if is_chosen] or [value for value, _ in options[:1]]
            self._form.fields.setdefault(name, []).extend(chosen[-1:])
            self._select = None
        elif tag == "textarea" and self._area is not None and self._form is not None:
            # A line break at its beginning is HTML's, not the text's.
            self._form.fields.setdefault(self._area[0], []).append("".join(self._area[1]).removeprefix("\n"))
            self._area = None
        elif tag == "button" and self._button is not None:
            if self._form is not None:
                found, texts = self._button
                text = " ".join("".join(texts).split())
                self._form.buttons.append((text, found.get("name") or "", found.get("value") or ""))
            self._button = None

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1].append(data)
        if self._button is not None:
            self._button[1].append(data)
        self._text.append(data)
        if not any(tag in _IGNORED for tag in self._stack):
            self.words.append(data)


@dataclass
class Page:
    """An answer that was read."""

    answer: httpx2.Response
    forms: list[Form]
    links: list[tuple[str, str]]
    text: str
    """Its words, with single blanks."""

    @classmethod
    def of(cls, answer: httpx2.Response) -> "Page":
        parser = _Parser()
        parser.feed(answer.text)
        return cls(answer, parser.forms, parser.links, " ".join(" ".join(parser.words).split()))

    @property
    def status(self) -> int:
        """Of the answer."""
        return self.answer.status_code

    @property
    def path(self) -> str:
        """Where it is, with its query."""
        parts = urlsplit(str(self.answer.url))
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def form(self, action: str, **having: str) -> Form:
        """The form that goes to `action`, and has these values."""
        found = [
            form
            for form in self.forms
            if form.action == action and all(form.fields.get(key) == [value] for key, value in having.items())
        ]
        assert found, f"no form to {action} {having}: {[(form.action, form.fields) for form in self.forms]}"
        return found[0]

    def says(self, text: str) -> "Page":
        """The same, after a look that it holds a text."""
        assert text in self.text, f"{text!r} is not in: {self.text}"
        return self


class Reader:
    """A browser of somebody."""

    def __init__(self, registry: Registry, name: str = "", **headers: str) -> None:
        self.registry = registry
        self.name = name
        self.http = registry.client()
        self.http.headers.update({"user-agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0", **headers})
        self.page: Page | None = None

    def get(self, path: str, *, status: int = 200) -> Page:
        """Open a page, and go where it leads."""
        return self._read(self.http.get(path, headers=self._from_here()), status)

    def post(self, path: str, fields: dict[str, Any], *, status: int = 200) -> Page:
        """Send fields as the form of the page that is open would, and go where that leads."""
        headers = {**self._from_here(), "origin": self.registry.url, "sec-fetch-site": "same-origin"}
        return self._read(self.http.post(path, data=fields, headers=headers), status)

    def send(self, action: str, having: dict[str, str] | None = None, *, status: int = 200, **fields: Any) -> Page:
        """Fill in the form of the page that is open, and send it."""
        assert self.page is not None
        form = self.page.form(action, **(having or {}))
        sent = {**form.fields, **{key: value if isinstance(value, list) else [value] for key, value in fields.items()}}
        if form.method == "get":
            return self.get(str(httpx2.URL(action, params=sent)), status=status)
        return self.post(action, sent, status=status)

    @property
    def word(self) -> str:
        """The secret word of the session, as the page that is open has it."""
        assert self.page is not None
        return next(form.fields["csrf"][0] for form in self.page.forms if "csrf" in form.fields)

    def sign_in(self, name: str = "", password: str = PASSWORD) -> "Reader":
        """By the form."""
        self.name = name or self.name
        self.get("/sign-in")
        page = self.send("/sign-in", name=self.name, password=password)
        assert "/sign-in" not in page.path, page.text
        return self

    def close(self) -> None:
        """End it."""
        self.http.close()

    def _from_here(self) -> dict[str, str]:
        return {} if self.page is None else {"referer": urljoin(self.registry.url, self.page.path)}

    def _read(self, answer: httpx2.Response, status: int) -> Page:
        hops = 0
        while answer.is_redirect:
            hops += 1
            assert hops < 6, "it leads round and round"
            place = answer.headers["location"]
            assert place.startswith("/") and not place.startswith("//"), f"it leads away: {place}"
            answer = self.http.get(place)
        assert answer.status_code == status, f"{answer.request.url}: {answer.status_code}: {Page.of(answer).text}"
        self.page = Page.of(answer)
        return self.page


def admin(registry: Registry) -> Reader:
    """The admin's browser."""
    return Reader(registry).sign_in("admin", ADMIN_PASSWORD)


def newcomer(registry: Registry, name: str) -> Reader:
    """The browser of somebody who signs up."""
    reader = Reader(registry, name)
    reader.get("/sign-up")
    reader.send("/sign-up", name=name, password=PASSWORD, again=PASSWORD)
    return reader
