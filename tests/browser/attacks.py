"""What browser tests of security look with: a page of somebody else, and a look at a page for what no page of ours
holds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOREIGN = """() => {
  const wrong = [];
  const note = (element, what) => wrong.push(`<${element.localName}>: ${what}`);
  for (const element of document.querySelectorAll("*")) {
    if ("iframe object embed base applet audio video math style frame".split(" ").includes(element.localName))
      note(element, "such an element");
    const source = `${element.src ?? ""}`;
    if (element.localName === "script" && !source.startsWith(`${location.origin}/static/`)) note(element, "a script");
    if (element.localName === "img" && !source.startsWith("data:image/svg+xml;")) note(element, source);
    for (const { name, value } of element.attributes) {
      if (name.startsWith("on") || name === "srcdoc" || name.includes("xssmark")) note(element, name);
      if (!["href", "action", "formaction", "src"].includes(name) || element.localName === "img") continue;
      const url = new URL(value, location.href);
      const leaves = element.localName === "a" && ["http:", "https:", "mailto:"].includes(url.protocol);
      if (url.origin !== location.origin && !leaves) note(element, `${name}=${value}`);
    }
  }
  for (const one of ["main", "head", "body", "title"])
    if (document.querySelectorAll(`html > head > ${one}, html > ${one}, html > body > ${one}`).length !== 1)
      note(document.documentElement, `not one ${one}`);
  return wrong;
}"""
"""Runs in a page: what is wrong with its elements, as the browser has understood them."""

LINKS = """() => [...document.querySelectorAll("a[href]")]
  .filter((link) => link.origin === location.origin && !link.hasAttribute("download"))
  .map((link) => link.pathname + link.search)"""
"""Runs in a page: where it leads on this host."""


@contextmanager
def elsewhere(html: str = "<!doctype html><title>Elsewhere</title>") -> Iterator[int]:
    """A page of somebody else, at every path of a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        """Says the page."""

        def do_GET(self) -> None:
            """Whatever is asked for."""
            content = html.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
