"""What only a browser decides: that nothing strangers write runs, that pages of others send no form of ours and show no
page of ours, that no link leads away."""

import json
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Error, Response

from registry.api.hub.paths import Paths
from registry.api.hub.routes import HUB_ROUTES
from registry.api.hub.table import PREFIX
from registry.api.web.routes import WEB_ROUTES
from registry.api.web.table import WebRoute
from registry.core.errors import RegistryError
from tests.browser.attacks import FOREIGN, LINKS, elsewhere
from tests.browser.browsing import Window, browser, window
from tests.clients.images import OCI_MANIFEST, digest_of
from tests.reliability.client import expect
from tests.reliability.hub import basic
from tests.running import STILL, Pair, Registry
from tests.web import evil
from tests.web.affairs import tables
from tests.web.affairs.test_forgery import WRITING
from tests.web.affairs.test_reflection import AWAY
from tests.web.screenshots import sign_in
from tests.web.world import PASSWORD

PATHS: Paths[WebRoute] = Paths(WEB_ROUTES)
NO_PAGES = {
    "suggestions", "manifest-bytes", "config-bytes", "sign-in-provider", "sign-in-callback", "admin-audit-export",
}  # fmt: skip
"""Pieces of pages, downloads, and what leads elsewhere: looked at apart."""
NAMES = {
    "namespace": "acme", "repository": evil.NAME, "team": "crew", "robot": "ci", "tag": "image", "account": "ada",
    "question": "delete",
}  # fmt: skip
EACH = 2
"""How many pages of one kind are opened: with the same fields in their addresses."""
WAIT_MS = 10_000.0


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for everything."""
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry whose every text is evil."""
    flags = (*STILL, "--requests-per-second", "0", "--sign-up", "--login-failures-per-address", "100000")
    data = tmp_path_factory.mktemp("evil") / "data"
    registry = Registry.start(data, *flags, is_open=False, pair=Pair("its own"))
    try:
        evil.fill(registry)
        yield registry
    finally:
        registry.kill()


@pytest.fixture
def digest(hub: Registry) -> str:
    """Of the evil image."""
    with hub.client(auth=("ada", PASSWORD)) as client:
        found = client.head(f"/v2/{evil.NAME}/manifests/image", headers={"accept": OCI_MANIFEST})
        return found.headers["docker-content-digest"]


def _opened(seen: Window, path: str) -> Response:
    answer = seen.page.goto(f"{seen.url}{path}", wait_until="load")
    assert answer is not None
    return answer


def _require_ours(seen: Window, where: str) -> None:
    """Everything is open, and nothing on the page is a stranger's but its texts."""
    seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wrong = seen.page.evaluate(FOREIGN)
    assert not wrong, f"{where}: {wrong}"
    seen.require_clean()


def test_the_watch_sees(chrome: Browser) -> None:
    """A page that is not ours, with the same texts as markup: they do run, and are seen. Else nothing here proves
    anything."""
    page = f"<body>{evil.ALL}<a onclick=x href='javascript:x'></a>"
    with elsewhere(page) as port, window(chrome, f"http://127.0.0.1:{port}") as seen:
        seen.go("/")
        assert seen.dialogs and seen.page.evaluate(FOREIGN)
        with pytest.raises(AssertionError):
            seen.require_clean()


@pytest.mark.parametrize(("who", "language"), [("", "en"), ("ada", "en"), ("admin", "zh-CN")])
def test_sec_032_every_page(chrome: Browser, hub: Registry, digest: str, who: str, language: str) -> None:
    """SEC-032: wherever links lead, from every page that there is: no script of a stranger, no request to another
    host, nothing in the console, no markup but ours."""
    with window(chrome, hub.url, language=language) as seen:
        if who:
            sign_in(seen, who)
        visited = _crawl(seen, [*_pages(digest), *_evil_addresses()])
    assert sum(visited.values()) > (40 if not who else 80)
    assert {route.spec_id for route in WEB_ROUTES if route.method == "GET"} - NO_PAGES <= visited.keys()


def _pages(digest: str) -> list[str]:
    """Every page, of what is evil."""
    found = []
    for route in WEB_ROUTES:
        if route.method == "GET" and route.spec_id not in NO_PAGES:
            path = route.path
            for name, value in {**NAMES, "digest": digest}.items():
                path = path.replace(f"{{{name}}}", value)
            found.append(path)
    found += [f"/r/{evil.NAME}/-/tags/{tag}" for tag in ("chart", "thing", "index", "gone", "never")]
    return found


def _evil_addresses() -> Iterator[str]:
    """What is repeated of an address."""
    yield from (f"/search?q={quote(text)}" for text in evil.CORPUS)
    for text in (evil.SHORT, evil.ALL[:250]):
        said = quote(text)
        yield f"/search?q={said}"
        yield f"/explore?q=x&namespace={said}&type={said}&platform={said}"
        yield f"/new?namespace={said}"
        yield f"/r/{evil.NAME}/-/tags?q={said}"
        yield f"/admin/users?q={said}"
        yield f"/admin/audit?actor={said}&namespace={said}"
        yield f"/{said.replace('/', '%2F')}"


def _crawl(seen: Window, starts: list[str]) -> Counter[str]:
    """Open these pages and what they lead to; how many of each route were."""
    waiting, known = deque(starts), set(starts)
    kinds: Counter[tuple[str, tuple[str, ...]]] = Counter()
    while waiting:
        path = waiting.popleft()
        spec_id, fields = _kind(path)
        kinds[spec_id, fields] += 1
        if spec_id in NO_PAGES or (path not in starts and kinds[spec_id, fields] > EACH):
            continue
        answer = _opened(seen, path)
        assert answer.status < 500, f"{path}: {answer.status}"
        assert not (wrong := evil.wrong_with(answer.text())) or _is_picture(wrong), f"{path}: {wrong}"
        _require_ours(seen, path)
        for link in seen.page.evaluate(LINKS):
            if link not in known:
                known.add(link)
                waiting.append(link)
    found: Counter[str] = Counter()
    for (spec_id, _fields), count in kinds.items():
        found[spec_id] += count
    return found


def _is_picture(wrong: list[str]) -> bool:
    """The code to scan is a picture in the page itself."""
    return all(text.startswith(("<img>: such an element", "<img>: src=data:image/svg+xml;base64,")) for text in wrong)


def _kind(path: str) -> tuple[str, tuple[str, ...]]:
    """Which route it is, and which fields its address has."""
    parts = urlsplit(path)
    try:
        spec_id = PATHS.find("GET", parts.path)[0].spec_id
    except RegistryError:
        spec_id = "none"
    return spec_id, tuple(sorted(name for name, _ in parse_qsl(parts.query)))


FORMS = """() => [...document.forms].map((form, number) => ({
  // A field may be called `action`, and then is what `form.action` says.
  number,
  path: form.getAttribute("method") === "dialog" ? ""
    : new URL(form.getAttribute("action") ?? "", location.href).pathname,
  fields: [...form.elements].filter((one) => one.name && !one.readOnly
    && (one.localName === "textarea" || ["text", "search"].includes(one.type))).map((one) => one.name),
}))"""
SEND = """([number, text]) => {
  const form = document.forms[number];
  for (const one of form.elements)
    if (one.localName === "textarea" || ["text", "search"].includes(one.type)) one.value = text;
  form.noValidate = true;
  window.isOld = true;
  form.requestSubmit();
}"""


@pytest.mark.parametrize("who", ["", "ada", "admin"])
def test_sec_032_every_form(chrome: Browser, hub: Registry, digest: str, who: str) -> None:
    """SEC-032: each form that takes a text, once, filled in with evil by hand: what comes back, with scripts and
    all."""
    sent: set[tuple[str, ...]] = set()
    with window(chrome, hub.url) as seen:
        if who:
            sign_in(seen, who)
        seen.page.set_default_timeout(WAIT_MS)
        for path in _pages(digest):
            _opened(seen, path)
            for form in seen.page.evaluate(FORMS):
                kind = (form["path"], *form["fields"])
                if form["path"] and form["fields"] and kind not in sent:
                    sent.add(kind)
                    _opened(seen, path)
                    _send(seen, form["number"], form["path"])
    assert len(sent) > (3 if not who else 15), sent


def _send(seen: Window, number: int, path: str) -> None:
    with seen.page.expect_response(lambda answer: urlsplit(answer.url).path == path) as answered:
        seen.page.evaluate(SEND, [number, evil.SHORT])
    answer = answered.value
    assert answer.status < 500, f"{answer.url}: {answer.status}"
    if answer.request.is_navigation_request():
        seen.page.wait_for_function("() => !window.isOld && document.readyState === 'complete'")
    else:
        answer.finished()
    _require_ours(seen, f"form to {path}")


def test_sec_032_what_scripts_put_into_pages(chrome: Browser, hub: Registry) -> None:
    """SEC-032: suggestions while one types, a preview while one writes, the question before tags go, a menu."""
    with window(chrome, hub.url) as seen:
        sign_in(seen, "ada")
        page = seen.page
        for text in ("evil", *evil.CORPUS):
            page.locator("#search").fill("")
            with page.expect_response(lambda answer: "/search/suggestions" in answer.url):
                page.locator("#search").press_sequentially(text[:60], delay=0)
        page.locator("#search").fill("evil")
        page.locator(".search.is-open .suggestion").first.wait_for()
        _require_ours(seen, "suggestions")
        seen.go(f"/r/{evil.NAME}/-/readme")
        with page.expect_response(lambda answer: answer.url.endswith("/readme/preview")):
            page.locator("#readme").fill("\n\n".join(evil.CORPUS))
        page.locator("#preview", has_text="xssmark").wait_for()
        _require_ours(seen, "preview")
        seen.go(f"/r/{evil.NAME}/-/tags")
        page.locator("details[data-fill] > summary").first.click()
        page.locator("details[data-fill][open] .command").first.wait_for()
        page.locator("[data-select-row]").first.check()
        page.locator(".selection-bar button").click()
        page.locator("dialog[open] .button-destroy").wait_for()
        _require_ours(seen, "question")


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/html", "<!doctype html><script>alert('xssmark')</script>"),
        ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'><script>alert('xssmark')</script></svg>"),
        ("text/javascript", "alert('xssmark')"),
        ("application/xhtml+xml", "<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>"),
    ],
)
def test_sec_032_content_that_is_opened(chrome: Browser, hub: Registry, media_type: str, content: str) -> None:
    """SEC-032: a blob or a manifest that is a page runs nothing when it is opened, and is no script for a page of
    ours, which takes scripts from this host."""
    body = content.encode()
    with hub.client(auth=("ada", PASSWORD)) as client:
        path = f"/v2/{evil.NAME}/blobs/{digest_of(body)}"
        sent = client.post(f"/v2/{evil.NAME}/blobs/uploads/?digest={digest_of(body)}", content=body)
        expect(sent, 201)
        config = {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}
        manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": []} | {"annotations": {"x": content}})
        kind = {"content-type": "application/vnd.oci.image.manifest.v1+json"}
        expect(client.put(f"/v2/{evil.NAME}/manifests/page", content=manifest, headers=kind), 201)
    of = digest_of(manifest.encode())
    places = [path, f"/v2/{evil.NAME}/manifests/page", f"/r/{evil.NAME}/-/manifests/{of}/raw"]
    with window(chrome, hub.url) as seen:
        for place in (*places, f"/r/{evil.NAME}/-/manifests/{of}/config"):
            try:
                seen.page.goto(f"{hub.url}{place}")
            except Error as error:
                assert "Download is starting" in error.message, error.message
            seen.require_clean()
        seen.go("/")
        ran = seen.page.evaluate(
            """(place) => new Promise((done) => {
              const script = document.createElement("script");
              script.onload = () => done("it ran");
              script.onerror = () => done("refused");
              script.src = place;
              document.head.append(script);
            })""",
            path,
        )
        assert ran == "refused" and not seen.dialogs


# Pages of others

POST = """([action, fields, enctype]) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action, enctype });
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}"""
FETCH = """async (requests) => {
  const sent = requests.map(([method, url, type, body]) => ["cors", "no-cors"].map((mode) =>
    fetch(url, { method, mode, credentials: "include", body, headers: { "content-type": type } })
      .then((answer) => (answer.type === "opaque" ? "opaque" : `read ${answer.status}`), () => "failed")));
  return await Promise.all(sent.flat());
}"""
HOSTS = ["127.0.0.1", "localhost"]
"""Another port of the same host is another origin of the same site, to which cookies go along; another host is another
site."""


def _target(route: WebRoute) -> str:
    path = route.path
    for name, value in {**NAMES, "digest": "sha256:" + "0" * 64}.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.mark.parametrize("host", HOSTS)
def test_sec_023_forms_on_pages_of_others(chrome: Browser, hub: Registry, host: str) -> None:
    """SEC-023: every form of ours, sent from a page of somebody else's to a browser that is signed in, also with the
    right word, which nobody else knows."""
    with elsewhere() as port, window(chrome, hub.url) as seen:
        sign_in(seen, "admin")
        seen.go("/settings/sign-in")
        word = seen.page.locator("input[name=csrf]").first.input_value()
        before = tables.everything(hub)
        for route in WRITING:
            for kind in ("application/x-www-form-urlencoded", "text/plain"):
                fields = {"csrf": word, "name": "forged", "confirm": "ada", "confirmation": evil.NAME, "deed": "delete"}
                seen.page.goto(f"http://{host}:{port}/")
                with seen.page.expect_navigation() as led:
                    seen.page.evaluate(POST, [f"{hub.url}{_target(route)}", fields, kind])
                assert led.value is not None and led.value.status in (403, 415), f"{route.spec_id}: {led.value}"
        assert tables.everything(hub) == before
        # The browser is signed in all the while, and from the other port it says so.
        seen.page.goto(f"http://{host}:{port}/")
        with seen.page.expect_navigation() as led:
            seen.page.evaluate("(url) => { location.href = url; }", f"{hub.url}/settings/sign-in")
        assert led.value is not None and led.value.url.endswith("/settings/sign-in")


@pytest.mark.parametrize("host", HOSTS)
def test_sec_023_requests_of_pages_of_others(chrome: Browser, hub: Registry, host: str) -> None:
    """SEC-023: what a script of theirs asks for, with the cookie: it changes nothing and reads nothing, of pages and of
    the API."""
    requests: list[list[str]] = []
    for web in WRITING:
        for kind, body in (("application/x-www-form-urlencoded", "name=x"), ("text/plain", "name=x")):
            requests.append([web.method, f"{hub.url}{_target(web)}", kind, body])
    for route in HUB_ROUTES:
        path = route.path
        for name, value in {**NAMES, "reference": "image", "name": "ada", "digest": "sha256:" + "0" * 64}.items():
            path = path.replace(f"{{{name}}}", value)
        if route.method not in ("GET", "HEAD"):
            url = f"{hub.url}{PREFIX}{path}"
            requests += [[route.method, url, kind, '{"name": "forged"}'] for kind in ("application/json", "text/plain")]
    with elsewhere() as port, window(chrome, hub.url) as seen:
        sign_in(seen, "admin")
        before = tables.everything(hub)
        seen.page.goto(f"http://{host}:{port}/")
        seen.page.context.clear_permissions()
        answers = seen.page.evaluate(FETCH, requests)
        assert len(answers) == 2 * len(requests) and set(answers) <= {"failed", "opaque"}
        reading = [[f"{hub.url}{path}"] for path in ("/api/v1/me", "/settings/tokens", f"/v2/{evil.NAME}/tags/list")]
        read = seen.page.evaluate(
            "(urls) => Promise.all(urls.map(([url]) => fetch(url, { credentials: 'include' })"
            ".then((answer) => answer.text(), () => null)))",
            reading,
        )
        assert read == [None] * len(reading)
        assert tables.everything(hub) == before


def test_sec_023_a_remembered_password(chrome: Browser, hub: Registry) -> None:
    """SEC-023: a browser that has kept name and password for this host, and sends them along with whatever a page of
    others makes it send."""
    before = tables.everything(hub)
    with elsewhere() as port, window(chrome, hub.url) as seen:
        seen.page.goto(f"http://localhost:{port}/")
        seen.context.set_extra_http_headers(basic("ada", PASSWORD))
        for route in WRITING:
            seen.page.goto(f"http://localhost:{port}/")
            with seen.page.expect_navigation() as led:
                kind = "application/x-www-form-urlencoded"
                seen.page.evaluate(POST, [f"{hub.url}{_target(route)}", {"name": "forged"}, kind])
            assert led.value is not None and led.value.status == 403, f"{route.spec_id}: {led.value}"
    assert tables.everything(hub) == before


FRAMES = """(urls) => {
  for (const url of urls) {
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
  }
}"""


@pytest.mark.parametrize("kind", ["iframe", "object", "embed"])
def test_sec_036_no_page_in_a_frame(chrome: Browser, hub: Registry, digest: str, kind: str) -> None:
    """SEC-036: every page, in a frame on a page of another origin of the same site: it stays empty, also for who is
    signed in."""
    paths = _pages(digest)
    with elsewhere() as port, window(chrome, hub.url) as seen:
        sign_in(seen, "admin")
        seen.page.goto(f"http://127.0.0.1:{port}/")
        attribute = "data" if kind == "object" else "src"
        script = FRAMES.replace('"iframe"', f'"{kind}"').replace("frame.src", f"frame.{attribute}")
        answered: list[str] = []
        seen.page.on("response", lambda answer: answered.append(answer.url))
        seen.page.evaluate(script, [f"{hub.url}{path}" for path in paths])
        seen.page.wait_for_load_state("networkidle")
        assert answered, "nothing was asked for"
        shown = [frame.url for frame in seen.page.frames[1:] if frame.url.startswith(hub.url)]
        assert not shown, shown
        # A page that lets itself be framed does stand there.
        seen.page.evaluate(script, [f"http://127.0.0.1:{port}/framed"])
        seen.page.wait_for_function("(kind) => document.querySelectorAll(kind).length > 0", arg=kind)
        seen.page.wait_for_load_state("networkidle")
        assert any(frame.url.endswith("/framed") for frame in seen.page.frames[1:])


@pytest.mark.parametrize("target", AWAY)
def test_sec_031_a_browser_stays_here(chrome: Browser, hub: Registry, target: str) -> None:
    """SEC-031: whatever it makes of what `next` says, after signing in, signed in already, and where a switch comes
    back to; and of a path."""
    with window(chrome, hub.url) as seen:
        seen.page.goto(f"{hub.url}/sign-in?next={quote(target, safe='')}")
        seen.page.locator("#name").fill("ada")
        seen.page.locator("#password").fill(PASSWORD)
        seen.page.locator("main button").first.click()
        seen.page.wait_for_url(lambda url: "/sign-in" not in url)
        assert seen.page.url == f"{hub.url}/"
        for path in (f"/sign-in?next={quote(target, safe='')}", f"/prove?next={quote(target, safe='')}"):
            _opened(seen, path)
            assert seen.page.url.startswith(f"{hub.url}/")
        script = "(target) => { document.querySelector('form[action=\"/preferences\"] [name=next]').value = target; }"
        seen.page.evaluate(script, target)
        with seen.page.expect_navigation():
            seen.page.locator('form[action="/preferences"] button[value="dark"]').click()
        assert seen.page.url.startswith(f"{hub.url}/")
        if target.startswith("/"):
            plain: Any = target.replace("\r", "").replace("\n", "").replace("\t", "").lstrip("/")
            seen.page.goto(f"{hub.url}//{plain}")
            assert seen.page.url.startswith(f"{hub.url}/")
        seen.require_clean()
