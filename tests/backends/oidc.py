"""Identity providers: a small one of our own, which does everything that the specification wants and, when it is told
to, what an attacker or a broken one does; and a real one, where it is installed."""

import base64
import hashlib
import html
import json
import os
import secrets
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.running import free_port, require_tool, wait_until

CLIENT_ID: Final = "depotry"
CLIENT_SECRET: Final = "a secret: with/signs+ and spaces"
Claims = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """A key of the provider."""

    kid: str | None
    private: Any
    algorithm: str

    @classmethod
    def make(cls, kid: str | None = None, algorithm: str = "ES256") -> "Key":
        """A new one."""
        private: Any = ec.generate_private_key(ec.SECP256R1())
        if algorithm != "ES256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(kid or secrets.token_hex(4), private, algorithm)

    def jwk(self) -> dict[str, Any]:
        """Its public half."""
        of = jwt.algorithms.ECAlgorithm if self.algorithm == "ES256" else jwt.algorithms.RSAAlgorithm
        found: dict[str, Any] = json.loads(of.to_jwk(self.private.public_key()))
        return {**found, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Claims) -> str:
        """A token."""
        headers = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=headers)


@dataclass(frozen=True)
class Canned:
    """An answer that is given whatever was asked."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Code:
    """One code that was given out, and what it was asked for with."""

    subject: str
    nonce: str
    challenge: str
    redirect_uri: str
    auth_time: int


class _Server(ThreadingHTTPServer):
    """Knows its connections."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take the next connection."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def end_connections(self) -> None:
        """Whoever reads or writes on one meets its end."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class IdentityProvider:
    """The small one, as long as it is open. What is public may be changed while it runs."""

    people: dict[str, Claims] = field(default_factory=dict)
    """Who can sign in: claims by subject."""
    keys: list[Key] = field(default_factory=lambda: [Key.make()])
    """Those that are published; the last one signs."""
    claims_in_token: bool = True
    """Else they are for the userinfo endpoint."""
    takes_basic: bool = True
    change: Callable[[Claims], Claims] = lambda claims: claims
    """What becomes of the claims of an ID token."""
    sign: Callable[[Claims], str] | None = None
    canned: dict[str, Canned] = field(default_factory=dict)
    """By path."""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests by path."""
    skew_s: int = 0
    """How far its clock is ahead."""
    host: str = "127.0.0.1"
    """As its addresses have it: for browsers `localhost` is another site."""
    sign_out_path: Any = "/realm/logout?theme=plain"
    """Where it says that one signs out, or anything else that it says there; None says nothing."""

    def __post_init__(self) -> None:
        """Listen."""
        self._codes: dict[str, Code] = {}
        self._access: dict[str, str] = {}
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def issuer(self) -> str:
        """Its name."""
        return f"http://{self.host}:{self.port}/realm"

    def close(self) -> None:
        """Stop listening, and end connections that a client keeps: a provider that is down answers on none."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()

    def sign_in(self, address: str, subject: str) -> tuple[str, dict[str, str]]:
        """What a browser is sent back to by somebody who signs in: the address without its query, and that."""
        answer = httpx2.post(address, data={"subject": subject})
        assert answer.status_code == 302, answer.text
        place, _, query = answer.headers["location"].partition("?")
        return place, {name: values[0] for name, values in parse_qs(query).items()}

    # The endpoints

    def description(self) -> Claims:
        """What it says of itself."""
        way_out = self.sign_out_path
        if isinstance(way_out, str) and way_out.startswith("/"):
            way_out = self.issuer.removesuffix("/realm") + way_out
        return {
            **({} if way_out is None else {"end_session_endpoint": way_out}),
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?theme=plain",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [key.algorithm for key in self.keys],
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic" if self.takes_basic else "client_secret_post"
            ],
            "code_challenge_methods_supported": ["S256"],
        }

    def page(self) -> str:
        """Where people say who they are."""
        buttons = "".join(
            f'<button name="subject" value="{html.escape(subject)}">{html.escape(subject)}</button>'
            for subject in self.people
        )
        no = '<button name="subject" value="">Nobody</button>'
        # Without the icon of the address, which a browser would ask for.
        head = '<!doctype html><title>Who are you?</title><link rel="icon" href="data:,">'
        return f'{head}<form method="post">{buttons}{no}</form>'

    def authorize(self, query: dict[str, str], form: dict[str, str]) -> str:
        """Where to send somebody who has signed in."""
        assert query["response_type"] == "code" and query["client_id"] == CLIENT_ID, query
        assert query["code_challenge_method"] == "S256" and "openid" in query["scope"].split(), query
        code = secrets.token_urlsafe(16)
        asked_at = int(time()) + self.skew_s
        self._codes[code] = Code(
            form["subject"], query["nonce"], query["code_challenge"], query["redirect_uri"], asked_at
        )
        back = {"code": code, "state": query["state"], "iss": self.issuer}
        if form["subject"] not in self.people:
            back = {"error": "access_denied", "state": query["state"], "iss": self.issuer}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def exchange(self, form: dict[str, str], authorization: str | None) -> tuple[int, Claims]:
        """Tokens for a code, once."""
        if not self._knows_client(form, authorization):
            return 401, {"error": "invalid_client"}
        code = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        shown = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if code is None or code.challenge != shown or code.redirect_uri != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        now = int(time()) + self.skew_s
        claims: Claims = {"iss": self.issuer, "sub": code.subject, "aud": CLIENT_ID, "nonce": code.nonce}
        claims |= {"iat": now, "exp": now + 300, "auth_time": code.auth_time}
        if self.claims_in_token:
            claims |= self.people[code.subject]
        access_token = secrets.token_urlsafe(16)
        self._access[access_token] = code.subject
        signed = (self.sign or self.keys[-1].sign)(self.change(claims))
        return 200, {"access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def _knows_client(self, form: dict[str, str], authorization: str | None) -> bool:
        if not self.takes_basic:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        pair = f"{quote(CLIENT_ID, safe='')}:{quote(CLIENT_SECRET, safe='')}"
        return authorization == "Basic " + base64.b64encode(pair.encode()).decode()

    def userinfo(self, authorization: str | None) -> tuple[int, Claims]:
        """What is known of whoever has this access token."""
        subject = self._access.get((authorization or "").removeprefix("Bearer "))
        return (401, {}) if subject is None else (200, {"sub": subject, **self.people[subject]})


class _Handler(BaseHTTPRequestHandler):
    provider: IdentityProvider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Everything that is asked for."""
        self._answer({})

    def do_POST(self) -> None:
        """Forms."""
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length).decode()
        self._answer({name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()})

    def _answer(self, form: dict[str, str]) -> None:
        provider = self.provider
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix("/realm")
        provider.asked[path] += 1
        authorization = self.headers.get("authorization")
        if path in provider.canned:
            canned = provider.canned[path]
            self._send(canned.status, canned.body, canned.headers)
        elif path == "/authorize" and self.command == "GET":
            self._send(200, provider.page().encode(), {"content-type": "text/html"})
        elif path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(302, b"", {"location": provider.authorize(query, form)})
        elif path == "/logout":
            self._send(200, b"<!doctype html><title>Bye</title>Signed out.", {"content-type": "text/html"})
        elif path == "/token":
            self._send_json(*provider.exchange(form, authorization))
        elif path == "/userinfo":
            self._send_json(*provider.userinfo(authorization))
        elif path == "/keys":
            self._send_json(200, {"keys": [key.jwk() for key in provider.keys]})
        elif path == "/.well-known/openid-configuration":
            self._send_json(200, provider.description())
        else:
            self._send_json(404, {})

    def _send_json(self, status: int, content: Claims) -> None:
        self._send(status, json.dumps(content).encode(), {"content-type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library gives it
        """Nothing is written."""


# A real one

HOW: Final = "go install github.com/zitadel/oidc/v3/example/server@latest, as oidc-server on the PATH"


@dataclass(frozen=True)
class RealProvider:
    """The example of a library that is certified by the OpenID foundation. Its claims come from the userinfo endpoint,
    its name ends in a slash, and groups are words of `family_name`, which can be chosen there."""

    port: int
    password: str = "a password of the provider"

    client_id = "web"
    client_secret = "secret"
    groups_claim = "family_name"

    @property
    def issuer(self) -> str:
        """Its name."""
        return f"http://localhost:{self.port}/"

    def sign_in(self, address: str, username: str) -> tuple[str, dict[str, str]]:
        """As `IdentityProvider.sign_in`, as a browser does it: a page with a form, and redirects until one leads away
        from here."""
        with httpx2.Client(base_url=self.issuer) as browser:
            answer = browser.get(address)
            while answer.status_code in (302, 303):
                place = answer.headers["location"]
                if urlsplit(place).netloc not in ("", f"localhost:{self.port}"):
                    back, _, query = place.partition("?")
                    return back, {name: values[0] for name, values in parse_qs(query).items()}
                answer = browser.get(place)
                if answer.status_code == 200:
                    answer = browser.post(urlsplit(place).path, data=self._filled(answer.text, username))
            raise AssertionError(f"{answer.status_code}: {answer.text}")

    def _filled(self, page: str, username: str) -> dict[str, str]:
        marker = 'name="id" value="'
        assert marker in page, page
        request = page.partition(marker)[2].partition('"')[0]
        return {"id": html.unescape(request), "username": username, "password": self.password}


@contextmanager
def real_provider(folder: Path, redirect_uri: str, groups: dict[str, str]) -> Iterator[RealProvider]:
    """A running one with these people and the words of their groups. Skips the test where it is not installed."""
    program = require_tool("oidc-server", HOW)
    found = RealProvider(free_port())
    people = {
        f"id-of-{name}": {
            "ID": f"id-of-{name}",
            "Username": name,
            "Password": found.password,
            "FirstName": name,
            "LastName": words,
            "Email": f"{name}@example.com",
            "EmailVerified": True,
        }
        for name, words in groups.items()
    }
    users = folder / "people.json"
    users.write_text(json.dumps(people), encoding="utf-8")
    env = {**os.environ, "PORT": str(found.port), "USERS_FILE": str(users), "REDIRECT_URI": redirect_uri}
    with (folder / "oidc-server.log").open("wb") as log:
        process = subprocess.Popen([program], env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(found), what="the identity provider's answer")
        yield found
    finally:
        process.kill()
        process.wait(30)


def _answers(provider: RealProvider) -> bool:
    try:
        return httpx2.get(f"{provider.issuer}.well-known/openid-configuration").status_code == 200
    except httpx2.TransportError:
        return False
