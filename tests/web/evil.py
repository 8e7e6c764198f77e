"""What strangers write to be read by others: everything that a page could take for its own markup, in every place where
a push, a form or an address lets them write."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx2

from tests.clients.images import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from tests.reliability.client import expect
from tests.running import Registry
from tests.web.affairs.reader import Reader, admin
from tests.web.world import HELM_CONFIG, LAYER, PASSWORD, Pusher, command, image_document

MARK = "xssmark"
CORPUS = (
    "<script>alert('xssmark')</script>",
    "<img src=x onerror=alert('xssmark')>",
    "\"><svg/onload=alert('xssmark')>",
    "'-alert('xssmark')-'",
    "</title><script>alert('xssmark')</script>",
    "</textarea><script>alert('xssmark')</script>",
    "</script><script>alert('xssmark')</script>",
    "<iframe srcdoc='<script>alert(1)</script>'>xssmark",
    "<a href=\"javascript:alert('xssmark')\">x</a>",
    "[x](javascript:alert('xssmark'))",
    "[x](JaVaScRiPt:alert('xssmark'))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:xssmark)",
    "![x](https://example.com/x.png\"onerror=alert('xssmark'))",
    "<https://example.com/\"onmouseover=\"alert('xssmark')>",
    "`</code><script>alert('xssmark')</script>`",
    "{{ 7 * 7 }}{% raw %}xssmark",
    "${alert('xssmark')}",
    "<form action=https://example.com><button>xssmark</button>",
    "<base href=https://example.com/>xssmark",
    "<meta http-equiv=refresh content=0;url=https://example.com>xssmark",
    "<style>*{display:none}</style>xssmark",
    "<div style=position:fixed hx-get=/sign-out hx-trigger=load>xssmark</div>",
    "<details open ontoggle=alert('xssmark')>",
    "&lt;script&gt;alert('xssmark')&lt;/script&gt;",
    "\u202exssmark",
)
ALL = " ".join(CORPUS)
LINES = [text for text in CORPUS if text.isascii()]
"""Those that a text of one line may be."""
SHORT = "\"><svg/onload=alert('xssmark')>'<script>alert(1)</script>{{7*7}}"
"""What gets out of most places, for fields that take little."""
LINKS = (
    "javascript:alert('xssmark')",
    "data:text/html,xssmark",
    "//example.com/xssmark",
    "https://exa mple.com/xssmark",
    "https://example.com/\"onclick=\"alert('xssmark')",
    "JAVASCRIPT:alert('xssmark')",
    "\tjavascript:xssmark",
)
NAME = "acme/evil"
"""The repository that is all of this."""


def fill(registry: Registry) -> None:
    """A user `ada`, her organization `acme`, and every text of both and of an image in it evil."""
    command(registry, "user", "add", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
    command(registry, "org", "add", "acme", "--owner", "ada")
    with registry.client(auth=("ada", PASSWORD)) as client:
        push(client)
    write(registry)


def push(client: httpx2.Client) -> None:
    """An image, a chart and another artifact whose every text is evil, and what people write about them."""
    from random import Random

    pusher = Pusher(client, Random(1))
    layer = pusher.layer(NAME, 500)
    layer["annotations"] = {"org.opencontainers.image.title": ALL, ALL[:200]: ALL}
    config = pusher.blob(NAME, json.dumps(_config(layer["digest"])).encode(), OCI_CONFIG)
    document = image_document(config, [layer])
    document["annotations"] = {
        "org.opencontainers.image.source": LINKS[0], "org.opencontainers.image.url": LINKS[4],
        "org.opencontainers.image.documentation": LINKS[5], ALL: ALL,
    }  # fmt: skip
    image = pusher.manifest(NAME, document, "image")
    chart = {
        "name": ALL, "version": ALL, "appVersion": ALL, "description": ALL, "home": LINKS[4], "type": ALL,
        "sources": list(LINKS), "keywords": list(CORPUS), "maintainers": [{"name": text} for text in CORPUS],
        "dependencies": [{"name": text, "version": text, "repository": text} for text in CORPUS],
    }  # fmt: skip
    config = pusher.blob(NAME, json.dumps(chart).encode(), HELM_CONFIG)
    pusher.manifest(NAME, image_document(config, [pusher.blob(NAME, b"x", LAYER)]), "chart")
    thing = image_document(pusher.blob(NAME, ALL.encode(), "text/x-evil"), [])
    pusher.manifest(NAME, thing, "thing")
    referrer = image_document(pusher.blob(NAME, b"{}", "application/vnd.oci.empty.v1+json"), [])
    referrer |= {
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x",
        "subject": image,
        "annotations": {ALL: ALL},
    }
    pusher.manifest(NAME, referrer)
    platform = {"os": "<b>xssmark", "architecture": SHORT, "variant": SHORT, "os.version": SHORT}
    entries = [
        image | {"platform": platform, "annotations": {SHORT: ALL, "vnd.docker.reference.type": SHORT}},
        image | {"platform": {"os": "linux", "architecture": SHORT}},
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "annotations": {ALL: ALL}}
    pusher.manifest(NAME, index, "index")
    pusher.manifest(NAME, thing | {"annotations": {SHORT: ALL}}, "gone")
    expect(client.delete(f"/v2/{NAME}/manifests/gone"), 202)
    for place, fields in (
        ("readme", {"readme": "\n\n".join((ALL, *CORPUS))}),
        ("settings/visibility", {"visibility": "public"}),
        ("settings/description", {"description": CORPUS[1] + CORPUS[2] + CORPUS[3]}),
    ):
        expect(client.post(f"/r/{NAME}/-/{place}", data=fields), 303)


def write(registry: Registry) -> None:
    """What people say of themselves, and name: display names and descriptions, tokens, devices, groups, clients that
    keep logins, names that nobody has. `ada` owns `acme`, with a team `crew` and a robot `ci`."""
    reader = Reader(registry, **{"user-agent": f"Firefox/1 Linux {SHORT}"}).sign_in("ada", PASSWORD)
    reader.get("/settings/sign-in")
    word = {"csrf": reader.word}
    for action, fields in (
        ("/settings", {"title": SHORT, "description": ALL[:499], "visibility": "private"}),
        ("/u/acme/settings", {"title": SHORT, "description": ALL[499:900], "visibility": "private"}),
        ("/u/acme/teams", {"name": "crew"}),
        ("/u/acme/robots", {"name": "ci", "role": "read"}),
        ("/u/acme/robots/ci/tokens", {"name": SHORT, "rights": "pull", "life": "", "repositories": ""}),
        ("/settings/tokens", {"name": SHORT, "rights": "push", "life": "7", "repositories": "acme/*"}),
    ):
        reader.post(action, {**fields, **word})
    for number, text in enumerate(LINES):
        reader.post("/organizations", {"name": f"evil-{number}", **word})
        about = {"title": text[:99], "description": text, "visibility": "public"}
        reader.post(f"/u/evil-{number}/settings", {**about, **word})
        reader.post("/settings/tokens", {"name": text, "rights": "push", "life": "", "repositories": "", **word})
    reader.close()
    boss = admin(registry)
    boss.get("/settings/sign-in")
    boss.post("/u/acme/teams/crew/group", {"group": SHORT, "csrf": boss.word})
    boss.close()
    with registry.client() as client:
        for text in (SHORT, *LINES):
            form = {
                "grant_type": "password", "username": "ada", "password": PASSWORD, "access_type": "offline",
                "client_id": text, "service": registry.address,
            }  # fmt: skip
            expect(client.post("/token", data=form), 200)
        client.post("/sign-in", data={"name": SHORT, "password": SHORT})


def _config(digest: str) -> dict[str, object]:
    return {
        "os": ALL, "architecture": ALL, "variant": ALL, "os.version": ALL, "created": ALL, "author": ALL,
        "config": {
            "User": ALL, "WorkingDir": ALL, "StopSignal": ALL, "Entrypoint": list(CORPUS), "Cmd": list(CORPUS),
            "Env": [f"{text}={text}" for text in CORPUS], "ExposedPorts": {text: {} for text in CORPUS},
            "Volumes": {text: {} for text in CORPUS},
            "Labels": {**dict(zip(CORPUS, CORPUS, strict=True)), "org.opencontainers.image.url": LINKS[0]},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest]},
        "history": [
            {"created": ALL, "created_by": f"RUN {ALL}", "comment": ALL},
            *({"created_by": text, "empty_layer": True} for text in CORPUS),
        ],
    }  # fmt: skip


class Judge(HTMLParser):
    """Reads a page as a browser does, and notes what no page of ours holds."""

    _TAGS = frozenset(
        {"iframe", "object", "embed", "base", "img", "style", "frame", "applet", "audio", "video", "math"}
    )
    _LINKS = ("href", "src", "action", "formaction", "hx-get", "hx-post", "srcdoc", "data", "poster", "xlink:href")

    _ALONE = frozenset(
        {"meta", "link", "input", "br", "hr", "img", "wbr", "col", "path", "use", "circle", "rect", "line"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self._open: list[str] = []

    def handle_endtag(self, tag: str) -> None:
        """Ours close what they open."""
        if tag in self._ALONE:
            return
        if not self._open or self._open.pop() != tag:
            self._note(tag, "closed, but not what was opened last")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of SVG."""
        self.handle_starttag(tag, attrs)
        if tag not in self._ALONE:
            self._open.pop()

    def close(self) -> None:
        """The end of the page."""
        super().close()
        if self._open:
            self._note(self._open[-1], "never closed")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        values = dict(attrs)
        if tag not in self._ALONE:
            self._open.append(tag)
        if tag in self._TAGS:
            self._note(tag, "such an element")
        if tag == "script" and not (values.get("src") or "").startswith("/static/"):
            self._note(tag, "a script")
        if tag == "meta" and "http-equiv" in values:
            self._note(tag, "http-equiv")
        for name, value in attrs:
            if name.startswith("on") or name in ("style", "srcdoc") or MARK in name:
                self._note(tag, name)
            if name in self._LINKS and not self._may_lead(tag, name, value or ""):
                self._note(tag, f"{name}={value}")

    @staticmethod
    def _may_lead(tag: str, name: str, value: str) -> bool:
        if value.startswith(("/", "#", "?")) and not value.startswith(("//", "/\\")):
            return True
        # What strangers have written leads to the web or to mail, and only links do.
        return tag == "a" and name == "href" and urlsplit(value).scheme in ("http", "https", "mailto")

    def _note(self, tag: str, what: str) -> None:
        self.wrong.append(f"<{tag}>: {what} (line {self.getpos()[0]})")


def wrong_with(html: str) -> list[str]:
    """What is in a page that none of ours holds."""
    judge = Judge()
    judge.feed(html)
    judge.close()
    return judge.wrong


def addresses(digests: list[str]) -> Iterator[str]:
    """Every page that shows what is evil, or repeats what an address says."""
    yield from (
        "/",
        "/explore",
        "/search?q=evil",
        "/u/acme",
        f"/r/{NAME}",
        f"/r/{NAME}/-/tags",
        f"/r/{NAME}/-/activity",
    )
    yield from (f"/r/{NAME}/-/tags/{tag}" for tag in ("image", "chart", "thing"))
    yield from (f"/r/{NAME}/-/manifests/{digest}" for digest in digests)
