"""Static files: names with hashes, caching, compression, and that nothing else is served."""

import gzip
import re
from pathlib import Path

import pytest

from registry.api.asgi import Message, Request
from registry.api.responses import Answer
from registry.api.web.assets import Assets, accepts_gzip
from registry.api.web.pages import FOLDER
from registry.core.errors import MethodNotAllowed, RouteUnknown

STATIC = FOLDER / "static"


def ask(assets: Assets, path: str, method: str = "GET", **headers: str) -> Answer:
    async def receive() -> Message:
        return {"type": "http.request"}

    shown = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return assets.answer(Request({"method": method, "raw_path": path.encode(), "headers": shown}, receive))


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets(STATIC)


def test_names_hold_the_hash(assets: Assets, tmp_path: Path) -> None:
    """Another content is another name, so a browser may keep it for ever."""
    assert re.fullmatch(r"/static/app\.[0-9a-f]{12}\.css", assets.url("app.css"))
    assert re.fullmatch(r"/static/vendor/htmx\.[0-9a-f]{12}\.js", assets.url("vendor/htmx.js"))
    for content in ("a{}", "b{}"):
        (tmp_path / "app.css").write_text(content)
        found = Assets(tmp_path)
        assert ask(found, found.url("app.css")).body == content.encode()
    with pytest.raises(KeyError):
        assets.url("none.css")


def test_what_is_said_of_a_file(assets: Assets) -> None:
    """Type, cache, length; HEAD is GET without the body."""
    kinds = {
        "app.css": b"text/css; charset=utf-8",
        "app.js": b"text/javascript; charset=utf-8",
        "icons.svg": b"image/svg+xml",
    }
    for name, kind in kinds.items():
        answer = ask(assets, assets.url(name))
        headers = dict(answer.headers)
        assert headers[b"content-type"] == kind
        assert headers[b"cache-control"] == b"public, max-age=31536000, immutable"
        assert answer.body == (STATIC / name).read_bytes()
        head = ask(assets, assets.url(name), "HEAD")
        assert (head.headers, head.body, head.length) == (answer.headers, b"", len(answer.body))


def test_compressed_where_that_is_accepted(assets: Assets) -> None:
    """The same bytes, with an ETag of their own."""
    url = assets.url("app.css")
    plain, packed = ask(assets, url), ask(assets, url, accept_encoding="br, gzip")
    headers = dict(packed.headers)
    assert gzip.decompress(packed.body) == plain.body and packed.length == len(packed.body) < len(plain.body) / 3
    assert headers[b"content-encoding"] == b"gzip" and headers[b"vary"] == b"accept-encoding"
    assert headers[b"etag"] != dict(plain.headers)[b"etag"]
    assert b"content-encoding" not in dict(plain.headers)


def test_not_modified(assets: Assets) -> None:
    """304 for the one that the client has, and for no other."""
    url = assets.url("app.css")
    etag = dict(ask(assets, url).headers)[b"etag"].decode()
    assert ask(assets, url, if_none_match=f'"x", {etag}').status == 304
    assert ask(assets, url, if_none_match=etag, accept_encoding="gzip").status == 200


PATHS = [
    *("/static/", "/static", "/static/app.css", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/vendor/"),
    *("/static/htmx.js", "/static//app.css", "/static/.app.css", "/static/vendor/..", "/static/app.000000000000.css"),
]


@pytest.mark.parametrize("path", PATHS)
def test_only_what_is_in_the_folder(assets: Assets, path: str) -> None:
    """A path is looked up among the names that there are; none is ever joined to a folder."""
    with pytest.raises(RouteUnknown):
        ask(assets, path)


@pytest.mark.parametrize("suffix", ["?x", "/", "%00", ".gz", "#"])
def test_exactly_that_path(assets: Assets, suffix: str) -> None:
    """Nothing before or after it."""
    with pytest.raises(RouteUnknown):
        ask(assets, assets.url("app.css") + suffix)


def test_only_reading(assets: Assets) -> None:
    """405 for everything but GET and HEAD."""
    with pytest.raises(MethodNotAllowed):
        ask(assets, assets.url("app.css"), "POST")


ENCODINGS = {
    None: False,
    "": False,
    "gzip": True,
    "GZIP": True,
    "deflate, gzip;q=0.5": True,
    "gzip;q=0": False,
    "gzip; q=0.0, br": False,
    "gzip ; q = 0.001": True,
    "br": False,
    "x-gzip": False,
    "gzipped": False,
    "*": True,
    "*;q=0": False,
}


@pytest.mark.parametrize("header", ENCODINGS)
def test_who_takes_gzip(header: str | None) -> None:
    """RFC 9110 §12.5.3: a weight of 0 is a no."""
    assert accepts_gzip(header) is ENCODINGS[header]


def test_our_files_ask_for_no_others() -> None:
    """No file of ours names another host, or evaluates text."""
    for path in STATIC.rglob("*"):
        if path.suffix in {".css", ".svg", ".js"} and path.parent.name != "vendor":
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "//" not in re.sub(r"//\s.*", "", text), path.name
            assert not re.search(r"\b(eval|Function|innerHTML|outerHTML|insertAdjacentHTML)\b|@import|url\(", text), (
                path.name
            )
