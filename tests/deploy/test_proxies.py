"""nginx and Caddy with exactly what is shipped, certificates and ports replaced, in front of a real server."""

import os
import random
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from tests.certificates import Pair, make_pair
from tests.deploy.images import CADDY_HOW
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.reliability.hub import basic, bearer, token_of
from tests.running import ADMIN_PASSWORD, Registry, free_port, require_tool, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "127.0.0.1"
CLIENT = "127.0.0.9"
"""The address of the client; that of the proxy is 127.0.0.1."""
PIECE = 1 << 20
COUNT = 64

StartRegistry = Callable[..., Registry]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """The text with each change made; what is to be changed has to be there."""
    for old, new in changes:
        assert old in text, f"{old} is not in what is shipped"
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, pair: Pair, port: int, *nodes: int) -> Iterator[int]:
    """nginx with the shipped site before servers on these ports; yields its port without TLS. Of several none is ever
    left out."""
    program = require_tool("nginx", "apt-get install nginx-light", "/usr/sbin")
    plain = free_port()
    options = " max_fails=0" if len(nodes) > 1 else ""
    servers = "".join(f"server 127.0.0.1:{node}{options};" for node in nodes)
    site = replaced(
        (DEPLOY / "nginx/depotry.conf").read_text(encoding="utf-8"),
        ("listen 80;", f"listen {plain};"),
        ("listen [::]:80;", f"listen [::1]:{plain};" if has_ipv6() else ""),
        ("listen 443 ssl;", f"listen {port} ssl;"),
        ("listen [::]:443 ssl;", f"listen [::1]:{port} ssl;" if has_ipv6() else ""),
        ("hub.example.com", HOST),
        ("/etc/ssl/depotry/fullchain.pem", str(pair.cert)),
        ("/etc/ssl/depotry/privkey.pem", str(pair.key)),
        ("server 127.0.0.1:5000;", servers),
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    main = folder / "nginx.conf"
    # Workers of another user could not read what is in the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    main.write_text(
        f"daemon off; {user} pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; {places}\n{site}\n}}\n",
        encoding="utf-8",
    )
    command = [program, "-p", str(folder), "-c", str(main)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    with running(command, port):
        yield plain


@contextmanager
def caddy(folder: Path, pair: Pair, port: int, *nodes: int) -> Iterator[int]:
    """Caddy with the shipped site before servers on these ports, which it asks once how they are; yields its port
    without TLS, which it has none of here."""
    program = require_tool("caddy", CADDY_HOW)
    site = replaced(
        (DEPLOY / "caddy/Caddyfile").read_text(encoding="utf-8"),
        ("hub.example.com {", f"{HOST}:{port} {{\n\ttls {pair.cert} {pair.key}"),
        ("reverse_proxy 127.0.0.1:5000", "reverse_proxy " + " ".join(f"127.0.0.1:{node}" for node in nodes)),
        ("health_interval 2s", "health_interval 1h"),
    )
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site, encoding="utf-8")
    with running([program, "run", "--config", str(file)], port, XDG_DATA_HOME=str(folder), HOME=str(folder)):
        yield 0


@contextmanager
def running(command: list[str], port: int, **env: str) -> Iterator[None]:
    """A server until the end of the block, as soon as it accepts."""
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), what="the proxy")
        yield
    finally:
        process.terminate()
        process.wait(30)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_what_is_shipped_carries_a_registry(
    proxy: Callable[..., AbstractContextManager[int]], start_registry: StartRegistry, tmp_path: Path
) -> None:
    """Login, pushes in every way, a large body that passes as it comes, who the client is, a redirect to TLS."""
    port = free_port()
    pair = make_pair(tmp_path, "proxy")
    origin = f"https://{HOST}:{port}"
    flags = ("--external-url", origin, "--trusted-proxies", HOST, "--workers", "2")
    registry = start_registry(*flags, is_open=False)
    folder = tmp_path / "proxy"
    folder.mkdir()
    transport = httpx2.HTTPTransport(verify=pair.trusting(), local_address=CLIENT)
    with (
        proxy(folder, pair, port, registry.port) as plain,
        httpx2.Client(base_url=origin, transport=transport, timeout=60) as client,
    ):
        challenge = expect(client.get("/v2/"), 401).headers["www-authenticate"]
        assert f'realm="{origin}/token"' in challenge
        token = token_of(client, basic("admin", ADMIN_PASSWORD), "repository:app:pull,push")
        client.headers.update({**bearer(token), "x-forwarded-for": "203.0.113.7"})
        for way in ("whole", "put", "stream", "chunks"):
            image = Image.random("app", way, random.Random(way))
            Pusher(client).push(image, way=way)
            pull_whole(client, image)
        push_large(client, registry)
        seen = {line["client"] for line in registry.log_lines() if line.get("path", "").startswith("/v2/app/")}
        assert seen == {CLIENT}
        if plain:
            moved = httpx2.get(f"http://{HOST}:{plain}/v2/")
            assert (moved.status_code, moved.headers["location"]) == (308, f"https://{HOST}/v2/")


def push_large(client: httpx2.Client, registry: Registry) -> None:
    """While the second half is not sent yet, the first is being stored."""
    piece = os.urandom(PIECE)
    before = stored(registry)

    def pieces() -> Iterator[bytes]:
        for number in range(COUNT):
            yield piece
            if number == COUNT // 2:
                wait_until(lambda: stored(registry) > before + COUNT // 4 * PIECE, what="the first half at the server")

    location = expect(client.post("/v2/app/blobs/uploads/"), 202).headers["location"]
    expect(client.patch(location, content=pieces()), 202)
    digest = Digest.of(piece * COUNT)
    expect(client.put(f"{location}?digest={digest}"), 201)
    assert client.get(f"/v2/app/blobs/{digest}").content == piece * COUNT


def stored(registry: Registry) -> float:
    """Bytes that the store was given to write."""
    text = expect(httpx2.get(f"{registry.metrics_url}/metrics"), 200).text
    lines = [line for line in text.splitlines() if line.startswith('depotry_store_bytes_total{operation="write"}')]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


class Dying:
    """A node that says that it is well, and breaks every other request off as soon as it has begun to arrive."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                method, _, rest = connection.recv(65536).decode("latin-1").partition(" ")
                if rest.startswith("/readyz"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                else:
                    self.seen[method] += 1

    def close(self) -> None:
        """Nobody can reach it any more. Idempotent."""
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


DONE = {"GET": 200, "HEAD": 200, "PUT": 201, "DELETE": 202, "POST": 202, "PATCH": 202}


@pytest.mark.parametrize(
    ("proxy", "twice", "failing"),
    [(nginx, {"GET", "HEAD"}, {"DELETE"}), (caddy, {"GET"}, set[str]())],
    ids=["nginx", "caddy"],
)
def test_what_a_node_did_not_finish(
    proxy: Callable[..., AbstractContextManager[int]],
    start_registry: StartRegistry,
    tmp_path: Path,
    twice: set[str],
    failing: set[str],
) -> None:
    """One that breaks off costs every request but those that do the same `twice`. One that cannot be reached costs
    nobody a request, with or without a body, but for `failing`: nginx cannot tell these two. Whether it does a PUT
    twice depends on how much of the body it has sent on by then."""
    port, pair = free_port(), make_pair(tmp_path, "proxy")
    origin = f"https://{HOST}:{port}"
    registry = start_registry("--external-url", origin)
    folder = tmp_path / "proxy"
    folder.mkdir()
    with (
        closing(Dying()) as dying,
        proxy(folder, pair, port, dying.port, registry.port),
        httpx2.Client(base_url=origin, verify=pair.trusting(), timeout=60) as client,
        registry.client() as behind,
    ):
        for method, done in DONE.items():
            answer, image = ask_until_seen(dying, method, client, behind)
            expected = {done} if method in twice else {502}
            if (proxy, method) == (nginx, "PUT"):
                expected |= {done}
            assert answer.status_code in expected, f"{method}: {answer.text}"
            if method == "DELETE":
                expect(behind.get(f"/v2/app/manifests/{Digest.of(image.manifest)}"), 200)
        dying.close()
        for method, done in DONE.items():
            statuses = {ask(method, client, behind)[0].status_code for _ in range(8)}
            assert statuses - ({502} if method in failing else set()) == {done}, method


def ask_until_seen(
    dying: Dying, method: str, client: httpx2.Client, behind: httpx2.Client
) -> tuple[httpx2.Response, Image]:
    """The answer to the first request that went to this node."""
    for _ in range(60):
        asked = ask(method, client, behind)
        if dying.seen[method]:
            return asked
    pytest.fail(f"no {method} went to the node that breaks off")


def ask(method: str, client: httpx2.Client, behind: httpx2.Client) -> tuple[httpx2.Response, Image]:
    """One request about an image that was pushed past the proxy."""
    image = Image("app", "latest", [os.urandom(20)])
    Pusher(behind).push(image, way="put")
    if method in ("POST", "PATCH"):
        location = expect(behind.post("/v2/app/blobs/uploads/"), 202).headers["location"]
        path, body = (location, os.urandom(100_000)) if method == "PATCH" else ("/v2/app/blobs/uploads/", b"")
        return client.request(method, path, content=body), image
    path = f"/v2/app/manifests/{Digest.of(image.manifest)}"
    headers = {"content-type": OCI_MANIFEST} if method == "PUT" else {}
    return client.request(method, path, content=image.manifest if method == "PUT" else b"", headers=headers), image


def test_the_balancer_of_compose_is_valid(tmp_path: Path) -> None:
    program = require_tool("caddy", CADDY_HOW)
    checked = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "compose/Caddyfile")],
        env={**os.environ, "DEPOTRY_SITE": ":5000", "DEPOTRY_NODES": "a:5000 b:5000", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_service_of_systemd_is_valid(tmp_path: Path) -> None:
    """Nothing to complain about, and as little as possible allowed; its settings are ones that exist."""
    program = require_tool("systemd-analyze", "apt-get install systemd")
    shipped = (DEPLOY / "systemd/depotry.service").read_text(encoding="utf-8")
    true = shutil.which("true")
    assert true is not None
    unit = tmp_path / "depotry.service"
    unit.write_text(replaced(shipped, ("ExecStart=/opt/depotry/bin/depotry", f"ExecStart={true}")), encoding="utf-8")
    for check in (["verify", str(unit)], ["security", "--offline=true", "--threshold=20", str(unit)]):
        checked = subprocess.run([program, *check], capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (
        "depotry.service"
        not in subprocess.run(
            [program, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
        ).stderr
    )


def test_the_settings_of_the_service_are_settings(registry: Registry) -> None:
    printed = registry.command("config", "--config", str(DEPLOY / "systemd/depotry.toml"))
    assert "workers = 2" in printed and "https://hub.example.com" in printed
