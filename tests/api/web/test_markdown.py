"""Markdown of strangers: what it can do, and what it never can."""

import asyncio
from html.parser import HTMLParser

import pytest

from registry.api.web.markdown import ID_PREFIX, LINKS_MAX_CHARS, MARKDOWN_MAX_CHARS, REL, Markdown

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=//evil.test></iframe>",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href=//evil.test>",
    "<base href=//evil.test/>",
    "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "<form action=//evil.test><input name=password></form>",
    "<a href=javascript:alert(1)>x</a>",
    "<a hx-get=/sign-out hx-trigger=load>x</a>",
    "<div style='position:fixed;inset:0'>x</div>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><img src=x onerror=alert(1)></template>",
    "<object data=//evil.test></object><embed src=//evil.test>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?php echo 1 ?>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.test/1)",
    "[x](//evil.test)",
    "[x](/\\evil.test)",
    "[x](/sign-out)",
    "[x](?q=1)",
    "[x](../..)",
    "[x](https:evil.test)",
    "[x](http://a b 'onmouseover=alert(1) ')",
    '[x](https://evil.test "title\\" onmouseover=alert(1) x=\\"")',
    '[x](https://evil.test/"onmouseover="alert(1))',
    "[x]: javascript:alert(1)\n\n[x]",
    "[x]: data:text/html,x\n\n[x][x]",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    "![x](https://evil.test/pixel.png)",
    '![x](https://evil.test/" onerror="alert(1))',
    "![<img src=x onerror=alert(1)>](x)",
    "[![x](https://evil.test/a.png)](javascript:alert(1))",
    "[![x](https://evil.test/a.png)](https://evil.test)",
    "# <img src=x onerror=alert(1)>",
    '# x" onclick="alert(1)',
    "## content",
    "```<script>\n</code></pre><script>alert(1)</script>\n```",
    '```" onclick="alert(1)\nx\n```',
    "`<script>alert(1)</script>`",
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "|a|\n|:-:|\n|[x](javascript:alert(1))|",
    "- [x] <script>alert(1)</script>",
    "- [ ] [x](javascript:alert(1))",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\u202e<script>alert(1)</script>",
    "\x00<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    '[x](#"onclick=alert(1))',
    "[x](#content)",
    "[x](mailto:a@b?body=<script>alert(1)</script>)",
    "{{ 7*7 }}{% include 'layout.html' %}",
    "<x-hx data-hx-get=/ hx-on:load=alert(1)>",
]
TAGS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a", "ul", "ol", "li", "div"),
    *("table", "thead", "tbody", "tr", "th", "td", "h2", "h3", "h4", "h5", "h6"),
}
ATTRIBUTES = {"href", "rel", "title", "class", "id", "start", "tabindex"}
CLASSES = {"image-link", "table-scroll", "align-left", "align-center", "align-right", "task"}


class Checked(HTMLParser):
    """Reads HTML as a browser does, and refuses whatever is not among the few things that may be there."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name)
            text = value or ""
            if name == "href":
                ours = text.startswith(f"#{ID_PREFIX}")
                assert ours or text.lower().startswith(("http://", "https://", "mailto:")), text
            if name == "class":
                assert set(text.split()) <= CLASSES
            if name == "id":
                assert text.startswith(ID_PREFIX)
        if tag == "a":
            assert dict(attrs)["rel"] == REL

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def checked(text: str) -> str:
    html = Markdown().render_now(text)
    parser = Checked()
    parser.feed(html)
    parser.close()
    return html


@pytest.mark.parametrize("text", HOSTILE)
def test_sec_032_nothing_hostile_is_left(text: str) -> None:
    """SEC-032: no tag, attribute, address or id beyond those that Markdown has; also in the middle of a text."""
    checked(text)
    checked(f"# A title\n\nsome *text* before {text} and after\n\n> {text}\n\n1. {text}\n")


def test_sec_032_all_of_it_at_once() -> None:
    """SEC-032: the pieces do not help each other."""
    for separator in ("\n\n", "\n", " ", ""):
        checked(separator.join(HOSTILE))


def test_what_it_can_do() -> None:
    """Headings below the page's, links, lists, tables, code, tasks."""
    html = checked(
        "# Hello, World!\n\n## Hello, World!\n\n[web](https://a.test/x?y=1#z) <https://b.test> [up](#hello-world)\n\n"
        "- [x] done\n- [ ] open\n\n3. three\n\n~~gone~~ **bold** `code`\n\n```sh\nx < y\n```\n\n"
        "| a | b |\n|:--|--:|\n| 1 | 2 |\n"
    )
    for piece in (
        '<h2 id="readme-hello-world">Hello, World!</h2>',
        '<h3 id="readme-hello-world-1">',
        '<a href="https://a.test/x?y=1#z" rel="nofollow noopener noreferrer ugc">web</a>',
        'href="https://b.test"',
        'href="#readme-hello-world"',
        '<li class="task">☑ done</li>',
        '<li class="task">☐ open</li>',
        '<ol start="3">',
        "<s>gone</s>",
        "x &lt; y",
        '<div class="table-scroll" tabindex="0">',
        '<td class="align-right">2</td>',
    ):
        assert piece in html, piece


def test_images_are_links() -> None:
    """No request to another host: an image is a link with its text, and inside of a link only its text."""
    assert 'class="image-link"' in checked("![a *logo*](https://a.test/logo.png)")
    html = checked("[![badge](https://a.test/badge.svg)](https://a.test)")
    assert html.count("<a ") == 1 and ">badge</a>" in html
    assert "<a " not in checked("![local](docs/logo.png)")


def test_bounds() -> None:
    """What is too long is cut, what is nested too deeply is left as it is, in time that does not explode."""
    assert len(Markdown().render_now("x" * (MARKDOWN_MAX_CHARS + 100))) < MARKDOWN_MAX_CHARS + 100
    for text in (">" * 50_000, "[" * 50_000, "*" * 50_000, "`" * 50_001, "- " * 25_000, "![" * 25_000, "<" * 50_000):
        checked(text)
    checked("|a" * 20_000 + "|\n" + "|-" * 20_000 + "|\n")


@pytest.mark.parametrize("title", ["", " 'title'"])
@pytest.mark.parametrize("use", ["[x] ", "![x] ", "[x][] "])
def test_sec_016_what_is_said_once_is_not_written_ten_thousand_times(use: str, title: str) -> None:
    """SEC-016: the address and the title of a definition stand in every link that uses it. Those that there is no room
    for are texts; a text whose links are its own keeps them all."""
    address = "http://a.test/" + "x" * 30_000
    html = checked(f"[x]: {address}{title.replace('title', 'y' * 10_000)}\n\n{use * 10_000}")
    assert len(html) < 3 * LINKS_MAX_CHARS
    assert 0 < html.count('href="http://a.test/x') < 100
    assert html.count("x</a>") + html.count("x ") > 9_000
    many = checked("[x](http://a.test/y) " * 4_700)
    assert many.count('href="http://a.test/y"') == 4_700


async def test_rendered_once() -> None:
    """The same text is rendered once, a long one beside the loop, also for those who ask at the same time."""
    markdown = Markdown()
    for text in ("# short", "long " * 2_000):
        first, *others = await asyncio.gather(*(markdown.render(text) for _ in range(8)))
        assert all(one is first for one in others)
        assert await markdown.render(text) is first
