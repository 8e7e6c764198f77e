"""Markdown of strangers as safe HTML (SEC-032): READMEs and descriptions.

Two walls. The parser knows no HTML, makes links only to the web and to mail, and turns images into links, so a page
never asks another host for anything. What it wrote then passes an allow list all the same.
"""

import asyncio
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MARKDOWN_MAX_CHARS = 100_000
"""What is longer is cut before it is read."""
RENDERED_KEPT = 64
"""Rendered texts in memory: the README of a popular repository is rendered once."""
INLINE_CHARS = 2_000
"""Longer texts are rendered in a thread, so that nobody waits for them."""
NESTING_MAX = 20
LINKS_MAX_CHARS = 4 * MARKDOWN_MAX_CHARS
"""Of all addresses and titles of a text together. Only who defines a long one once and uses it ten thousand times has
more: a page of gigabytes."""
ID_PREFIX = "readme-"
"""Before every id that a text defines, so that it cannot take one of the page's."""

REL = "nofollow noopener noreferrer ugc"
_SCHEMES = {"http", "https", "mailto"}
_WEB = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]+\Z", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\]\s+")
_HEADING_TAGS = {f"h{level}" for level in range(2, 7)}
_TAGS = _HEADING_TAGS | {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "div"),
}
_ATTRIBUTES = {
    "a": {"href", "title", "class"},
    "ol": {"start"},
    "div": {"class", "tabindex"},
    "th": {"class"},
    "td": {"class"},
    "li": {"class"},
    **{tag: {"id"} for tag in _HEADING_TAGS},
}
_CLASSES = {
    "a": {"image-link"},
    "div": {"table-scroll"},
    "th": {"align-left", "align-center", "align-right"},
    "td": {"align-left", "align-center", "align-right"},
    "li": {"task"},
}


class Markdown:
    """Renders, and remembers what it rendered."""

    def __init__(self) -> None:
        self._rendered: OrderedDict[bytes, Markup] = OrderedDict()
        self._begun: dict[bytes, asyncio.Task[Markup]] = {}

    async def render(self, text: str) -> Markup:
        """The text as HTML that is safe in a page. Headings start at `h2`: the page has the `h1`."""
        text = text[:MARKDOWN_MAX_CHARS]
        key = sha256(text.encode("utf-8", "replace")).digest()
        found = self._rendered.get(key)
        if found is None:
            found = self.render_now(text) if len(text) <= INLINE_CHARS else await self._in_thread(key, text)
            self._rendered[key] = found
            if len(self._rendered) > RENDERED_KEPT:
                self._rendered.popitem(last=False)
        else:
            self._rendered.move_to_end(key)
        return found

    async def _in_thread(self, key: bytes, text: str) -> Markup:
        """Once for all who wait for the same text: some texts take seconds."""
        task = self._begun.get(key)
        if task is None:
            task = self._begun[key] = asyncio.create_task(asyncio.to_thread(self.render_now, text))
            task.add_done_callback(lambda _: self._begun.pop(key))
        return await asyncio.shield(task)

    def render_now(self, text: str) -> Markup:
        """As `render`, without memory. Blocks for about 10 ms for 10 KB."""
        import nh3

        tokens = self._parser.parse(text[:MARKDOWN_MAX_CHARS])
        html = self._parser.renderer.render(_tamed(tokens), self._parser.options, {})
        clean = nh3.clean(
            html,
            tags=_TAGS,
            attributes={tag: names - {"class"} for tag, names in _ATTRIBUTES.items()},
            allowed_classes=_CLASSES,
            url_schemes=_SCHEMES,
            link_rel=REL,
        )
        return Markup(clean)  # noqa: S704 - this is what the allow list left

    @cached_property
    def _parser(self) -> "MarkdownIt":
        from markdown_it import MarkdownIt

        options = {"html": False, "linkify": False, "typographer": False, "maxNesting": NESTING_MAX}
        return MarkdownIt("commonmark", options).enable(["table", "strikethrough"])


@dataclass(slots=True)
class _Room:
    """What is left for the addresses and titles of links, in characters."""

    left: int = LINKS_MAX_CHARS

    def has(self, text: str) -> bool:
        """Whether there is room for one more, which it then takes."""
        self.left -= len(text)
        return self.left >= 0


def _tamed(tokens: list["Token"]) -> list["Token"]:
    """What the parser found, with our ids, links and classes."""
    names: dict[str, int] = {}
    room = _Room()
    found: list[Token] = []
    for index, token in enumerate(tokens):
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1:]) + 1, 6)}"
        if token.type == "heading_open":
            token.attrSet("id", ID_PREFIX + _unique(_slug(_text_of(tokens[index + 1])), names))
        elif token.type in {"th_open", "td_open"}:
            _align(token)
        elif token.type == "inline":
            token.children = list(_tamed_inline(token.children or [], room))
            if index >= 2 and tokens[index - 2].type == "list_item_open":
                _mark_task(tokens[index - 2], token)
        found += _in_scroll(token)
    return found


def _in_scroll(token: "Token") -> "list[Token]":
    """A wide table scrolls by itself, and not the page with it."""
    from markdown_it.token import Token

    if token.type == "table_open":
        opening = Token("div_open", "div", 1, attrs={"class": "table-scroll", "tabindex": "0"}, block=True)
        return [opening, token]
    if token.type == "table_close":
        return [token, Token("div_close", "div", -1, block=True)]
    return [token]


def _align(token: "Token") -> None:
    """The alignment as a class: the page's policy knows no style attribute."""
    style = str(token.attrs.pop("style", ""))
    side = style.removeprefix("text-align:")
    if side in {"left", "center", "right"}:
        token.attrSet("class", f"align-{side}")


def _tamed_inline(tokens: "list[Token]", room: _Room) -> "Iterator[Token]":
    """Links that may be; images as links, or as their text inside of a link."""
    depth = 0
    for token in tokens:
        if token.type == "link_open":
            depth += 1
            _set_target(token, str(token.attrs.get("href", "")), room)
        elif token.type == "link_close":
            depth -= 1
        if token.type == "image":
            yield from _image_as_link(token, room, is_in_link=depth > 0)
        else:
            yield token


def _set_target(token: "Token", target: str, room: _Room) -> None:
    """Only to the web, to mail, or to a heading of this text; any other link leads nowhere, and so do those that there
    is no room for."""
    token.attrs.pop("href", None)
    if not room.has(target + str(token.attrs.get("title", ""))):
        token.attrs.pop("title", None)
        return
    if _WEB.match(target):
        token.attrSet("href", target)
    elif target.startswith("#") and len(target) > 1:
        token.attrSet("href", f"#{ID_PREFIX}{target[1:].removeprefix(ID_PREFIX)}")


def _image_as_link(token: "Token", room: _Room, *, is_in_link: bool) -> "Iterator[Token]":
    from markdown_it.token import Token

    source = str(token.attrs.get("src", ""))
    text = Token("text", "", 0, content=token.content or source[:200])
    if is_in_link or not _WEB.match(source):
        yield text
        return
    link = Token("link_open", "a", 1, attrs={"class": "image-link"})
    _set_target(link, source, room)
    yield from (link, text, Token("link_close", "a", -1))


def _mark_task(item: "Token", inline: "Token") -> None:
    """`[x]` at the start of a list item becomes a box that cannot be ticked."""
    first = inline.children[0] if inline.children else None
    match = _TASK.match(first.content) if first is not None and first.type == "text" else None
    if first is not None and match is not None:
        item.attrSet("class", "task")
        first.content = ("☐ " if match.group(1) == " " else "☑ ") + first.content[match.end() :]


def _text_of(inline: "Token") -> str:
    return "".join(child.content for child in inline.children or [] if child.type in {"text", "code_inline"})


def _slug(text: str) -> str:
    """As other hosts make it, so that tables of contents work: lower case, spaces to hyphens, no punctuation."""
    kept = "".join(char for char in text.lower() if char in "-_ " or unicodedata.category(char)[0] in "LN")
    return kept.strip().replace(" ", "-")[:80] or "section"


def _unique(slug: str, seen: dict[str, int]) -> str:
    count = seen.get(slug, 0)
    seen[slug] = count + 1
    return f"{slug}-{count}" if count else slug
