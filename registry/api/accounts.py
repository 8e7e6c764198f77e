"""Logging in: the token server, the keys that its tokens can be checked with, and signing up where that is open.

Source: the token authentication and OAuth2 specifications of CNCF Distribution; RFC 6749 for the names of errors. One
body holds both forms of an error, the registry's and OAuth2's: clients read one or the other.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from registry.api import errors
from registry.api.asgi import Headers, Receive, Request, Scope, Send
from registry.api.boundary import Boundary
from registry.api.edge import RequestLimit
from registry.api.errors import json_answer
from registry.api.responses import Answer, BlobAnswer
from registry.auth import challenge, header, scopes
from registry.auth.challenge import Origins
from registry.auth.header import BasicCredentials
from registry.core.access import Action, Principal
from registry.core.errors import Denied, InvalidRequest, MethodNotAllowed, RegistryError, Unauthenticated
from registry.core.limits import FORM_FIELDS_MAX, FORM_MAX_BYTES
from registry.services.access import EVERYBODY, actor_of
from registry.services.accounts import Accounts
from registry.services.keys import Keys
from registry.services.login import Login
from registry.services.token_server import TokenServer

Fields = dict[str, list[str]]
NO_STORE: Headers = [(b"cache-control", b"no-store")]
KEYS_MAX_AGE = b"public, max-age=5"
"""Half of the time that passes before a new key signs: who keeps to it knows every key."""
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class LoginServices:
    """What these handlers call, and their settings."""

    login: Login
    tokens: TokenServer
    keys: Keys
    accounts: Accounts
    origins: Origins
    limit: RequestLimit
    sign_up_is_open: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """Who asks for a token; `keeps` asks for a refresh token too, `refresh_token` is the one that was shown."""

    principal: Principal
    keeps: bool = False
    refresh_token: str | None = None


async def get_token(services: LoginServices, request: Request) -> Answer:
    """A token for who the `Authorization` header says; without one an anonymous token."""
    query = request.query()
    await services.tokens.prepare()
    shown = header.parse(request.header_values(b"authorization"))
    principal = EVERYBODY
    if isinstance(shown, BasicCredentials):
        principal = await services.login.basic(shown.name, shown.secret, request.scope["depotry.address"])
    elif shown is not None:
        raise Unauthenticated("the token server takes name and password, or a personal token as the password")
    keeps = _last(query, "offline_token") == "true"
    return await _issued(services, request, query, Begun(principal, keeps))


async def post_token(services: LoginServices, request: Request) -> Answer:
    """The same as a form: `grant_type` is `password` or `refresh_token`."""
    form = await _form(request)
    await services.tokens.prepare()
    address = request.scope["depotry.address"]
    grant_type = _last(form, "grant_type")
    if grant_type == "password":
        name, password = _required(form, "username"), _required(form, "password")
        principal = await services.login.basic(name, password, address)
        keeps = _last(form, "access_type") == "offline"
        return await _issued(services, request, form, Begun(principal, keeps))
    if grant_type == "refresh_token":
        secret = _required(form, "refresh_token")
        principal = await services.login.refresh(secret, address)
        return await _issued(services, request, form, Begun(principal, refresh_token=secret))
    raise InvalidRequest("grant_type is password or refresh_token", oauth="unsupported_grant_type")


async def get_keys(services: LoginServices, request: Request) -> Answer:
    """The public keys of access tokens (RFC 7517)."""
    keys = await services.keys.current()
    return json_answer(200, keys.jwks(), [(b"cache-control", KEYS_MAX_AGE)])


async def post_user(services: LoginServices, request: Request) -> Answer:
    """Sign up: `{"name": …, "password": …}`."""
    if not services.sign_up_is_open:
        raise Denied("nobody can sign up here: ask an admin for an account")
    address = request.scope["depotry.address"]
    name, password = _new_user(await request.read_small(FORM_MAX_BYTES))
    await services.login.count_sign_up(address)
    await services.accounts.add_user(name, password, actor_of(EVERYBODY, address))
    return json_answer(201, {"name": name}, NO_STORE)


Handler = Callable[[LoginServices, Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class LoginRoute:
    """One endpoint; `spec_id` is its name in metrics."""

    spec_id: str
    method: str
    path: str
    action: Action
    handler: Handler


LOGIN_ROUTES = (
    LoginRoute("token", "GET", "/token", Action.LOGIN, get_token),
    LoginRoute("token", "POST", "/token", Action.LOGIN, post_token),
    LoginRoute("keys", "GET", "/.well-known/jwks.json", Action.LOGIN, get_keys),
    LoginRoute("sign-up", "POST", "/api/v1/users", Action.LOGIN, post_user),
)
LOGIN_PATHS = frozenset(route.path.encode() for route in LOGIN_ROUTES)


class LoginApi:
    """These endpoints as an ASGI application."""

    def __init__(self, services: LoginServices) -> None:
        self._services = services
        self._boundary = Boundary(self._respond, self._failed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._boundary(scope, receive, send)

    async def _respond(self, request: Request) -> Answer | BlobAnswer:
        routes = {route.method: route for route in LOGIN_ROUTES if route.path == request.raw_path}
        route = routes.get(request.method)
        if route is None:
            raise MethodNotAllowed("this path does not have this method", allow=list(routes))
        request.scope["depotry.route"] = route
        self._services.limit.take(request.scope["depotry.address"])
        return await route.handler(self._services, request)

    def _failed(self, error: RegistryError, request: Request) -> Answer:
        answer = errors.answer_to(error, request)
        answer.headers.extend(NO_STORE)
        if isinstance(error, Unauthenticated):
            text = challenge.basic(self._services.origins, request.header(b"host"))
            answer.headers.append((b"www-authenticate", text.encode("latin-1", "replace")))
        if request.method != "POST" or request.raw_path != "/token":
            return answer
        oauth = {"error": _oauth_error(error, answer.status), "error_description": error.message}
        return Answer(answer.status, answer.headers, json.dumps({**json.loads(answer.body), **oauth}).encode())


async def _issued(services: LoginServices, request: Request, fields: Fields, login: Begun) -> Answer:
    request.scope["depotry.account"] = login.principal.name
    service = _service(services.origins, request, fields)
    wanted = scopes.parse(fields.get("scope", []))
    issued = await services.tokens.issue(login.principal, wanted, service)
    refresh_token = login.refresh_token
    if login.keeps:
        actor = actor_of(login.principal, request.scope["depotry.address"])
        client = _last(fields, "client_id") or request.header(b"user-agent") or ""
        refresh_token = await services.tokens.begin_login(login.principal, client, actor)
    body = {
        "token": issued.token,
        "access_token": issued.token,
        "token_type": "Bearer",
        "scope": issued.scope,
        "expires_in": issued.life_s,
        "issued_at": datetime.fromtimestamp(issued.issued_at_s, UTC).isoformat().replace("+00:00", "Z"),
    }
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    return json_answer(200, body, NO_STORE)


def _service(origins: Origins, request: Request, fields: Fields) -> str:
    """Whom the token is for: as asked, if that is one of our hosts. Raises InvalidRequest."""
    asked = _last(fields, "service")
    if not asked:
        return origins.service(request.header(b"host"))
    if asked.lower() not in origins.services:
        raise InvalidRequest("this registry is not known by that service name", service=asked[:200])
    return asked.lower()


async def _form(request: Request) -> Fields:
    """The fields of a form. Raises InvalidRequest."""
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != FORM_TYPE:
        raise InvalidRequest(f"send a form: Content-Type {FORM_TYPE}")
    body = await request.read_small(FORM_MAX_BYTES)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")
    except ValueError:
        raise InvalidRequest(f"not a form in UTF-8 of at most {FORM_FIELDS_MAX} fields") from None
    found: Fields = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _new_user(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        document = None
    wanted = {"name", "password"}
    is_right = isinstance(document, dict) and set(document) == wanted
    if not is_right or not all(isinstance(document[key], str) for key in wanted):
        raise InvalidRequest('send a JSON object with the texts "name" and "password", and nothing else')
    return document["name"], document["password"]


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field comes twice")
    return found


def _last(fields: Fields, name: str) -> str:
    return fields.get(name, [""])[-1]


def _required(fields: Fields, name: str) -> str:
    value = _last(fields, name)
    if not value:
        raise InvalidRequest(f"{name} is missing")
    return value


def _oauth_error(error: RegistryError, status: int) -> str:
    if isinstance(error, Unauthenticated):
        return "invalid_grant"
    return str(error.facts.get("oauth") or ("invalid_request" if status < 500 else "temporarily_unavailable"))
