"""Personal access tokens, one's own and those of robots; and the logins that clients remember."""

from datetime import datetime
from typing import Annotated

import msgspec

from registry.api.hub import answers, lists
from registry.api.hub.gate import Visit
from registry.api.hub.lists import ListQuery
from registry.api.hub.services import HubServices
from registry.api.hub.table import HubRoute
from registry.api.hub.times import moment, moment_if
from registry.api.responses import Answer
from registry.core.access import Action, TokenLimits, TokenScope
from registry.core.limits import NAME_MAX_CHARS as REPOSITORY_NAME_MAX_CHARS
from registry.core.names import NAME_PATTERN
from registry.services.personal_tokens import (
    LIFE_MAX_S,
    NAME_MAX_CHARS,
    PERSONAL,
    REFRESH,
    REPOSITORIES_MAX,
    StoredToken,
)

EntryText = Annotated[str, msgspec.Meta(max_length=REPOSITORY_NAME_MAX_CHARS + 2, pattern=f"^{NAME_PATTERN}(/\\*)?$")]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: int
    name: str
    scopes: list[TokenScope]
    repositories: list[str] | None
    """Those that it is good for, `name/*` for everything below; null for all."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


class NewToken(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A token to be: as good as its account, within these limits."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX_CHARS, description="What it is for.")]
    scopes: Annotated[list[TokenScope], msgspec.Meta(min_length=1, max_length=4)]
    repositories: Annotated[list[EntryText], msgspec.Meta(min_length=1, max_length=REPOSITORIES_MAX)] | None = None
    """The only ones that it is good for, `name/*` for everything below; null for all."""
    life_s: Annotated[int, msgspec.Meta(ge=1, le=LIFE_MAX_S)] | None = None
    """Seconds that it counts; null: until it is revoked."""


class CreatedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token with its secret, which nobody sees again."""

    id: int
    name: str
    secret: str


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A login that a client remembers."""

    id: int
    client: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


async def list_tokens(services: HubServices, visit: Visit) -> Answer:
    """One's own personal access tokens, oldest first."""
    return await _list(services, visit, _me(visit))


async def create_token(services: HubServices, visit: Visit) -> Answer:
    """Make a personal access token. Its secret is in this answer and nowhere else.

    Who asks with a token gets none that is good for more, or for longer, than that one; and the two end together."""
    return await _create(services, visit, _me(visit))


async def get_token(services: HubServices, visit: Visit) -> Answer:
    """One of one's own personal access tokens."""
    return answers.one(_token(await services.tokens.get(_me(visit), lists.number(visit, "token"))))


async def revoke_token(services: HubServices, visit: Visit) -> Answer:
    """End one of one's own tokens, with every login that was begun with it."""
    return await _revoke(services, visit, _me(visit))


async def list_logins(services: HubServices, visit: Visit) -> Answer:
    """The logins that clients remember, oldest first."""
    found = await services.tokens.page(_me(visit), REFRESH, after=lists.last_number(visit), count=visit.query.limit + 1)
    return lists.page(visit, found, _login, lambda one: (one.id,))


async def end_login(services: HubServices, visit: Visit) -> Answer:
    """End a login that a client remembers."""
    return await _revoke(services, visit, _me(visit))


async def list_robot_tokens(services: HubServices, visit: Visit) -> Answer:
    """The tokens of a robot, oldest first."""
    return await _list(services, visit, robot_of(visit))


async def create_robot_token(services: HubServices, visit: Visit) -> Answer:
    """Make a token of a robot, which is what a robot logs in with. Its secret is in this answer and nowhere else."""
    return await _create(services, visit, robot_of(visit))


async def revoke_robot_token(services: HubServices, visit: Visit) -> Answer:
    """End a token of a robot."""
    return await _revoke(services, visit, robot_of(visit))


def robot_of(visit: Visit) -> str:
    """The whole name of a robot of the namespace."""
    return f"{visit.namespace.name}+{visit.names['robot']}"


def _me(visit: Visit) -> str:
    return visit.caller.principal.name


async def _list(services: HubServices, visit: Visit, account: str) -> Answer:
    found = await services.tokens.page(account, PERSONAL, after=lists.last_number(visit), count=visit.query.limit + 1)
    return lists.page(visit, found, _token, lambda one: (one.id,))


async def _create(services: HubServices, visit: Visit, account: str) -> Answer:
    body: NewToken = visit.body
    entries = None if body.repositories is None else tuple(body.repositories)
    token_id, secret = await services.tokens.create(
        account,
        body.name,
        TokenLimits(frozenset(body.scopes), entries),
        visit.permit,
        life_s=body.life_s,
        under=visit.caller.principal,
    )
    created = CreatedToken(id=token_id, name=body.name.strip(), secret=secret)
    return answers.one(created, 201, headers=[(b"cache-control", b"no-store")])


async def _revoke(services: HubServices, visit: Visit, account: str) -> Answer:
    await services.tokens.revoke(lists.number(visit, "token"), visit.permit, account=account)
    return answers.nothing()


def _token(found: StoredToken) -> Token:
    limits = found.limits
    entries = None if limits is None or limits.repositories is None else list(limits.repositories)
    return Token(
        id=found.id,
        name=found.name,
        scopes=[] if limits is None else sorted(limits.scopes),
        repositories=entries,
        created_at=moment(found.created_at),
        expires_at=moment_if(found.expires_at),
        last_used_at=moment_if(found.last_used_at),
        last_used_from=found.last_used_from,
    )


def _login(found: StoredToken) -> Login:
    return Login(
        id=found.id,
        client=found.name,
        created_at=moment(found.created_at),
        expires_at=moment_if(found.expires_at),
        last_used_at=moment_if(found.last_used_at),
        last_used_from=found.last_used_from,
    )


_MINE, _LOGINS = "/account/tokens", "/account/logins"
_ROBOTS = "/namespaces/{namespace}/robots/{robot}/tokens"
_TOKENS = answers.Page[Token]
ROUTES = (
    HubRoute("listTokens", "GET", _MINE, Action.ACCOUNT, list_tokens, answer=_TOKENS, query=ListQuery),
    HubRoute(
        "createToken",
        "POST",
        _MINE,
        Action.ACCOUNT,
        create_token,
        answer=CreatedToken,
        status=201,
        body=NewToken,
        danger=True,
    ),
    HubRoute("getToken", "GET", f"{_MINE}/{{token}}", Action.ACCOUNT, get_token, answer=Token),
    HubRoute("revokeToken", "DELETE", f"{_MINE}/{{token}}", Action.ACCOUNT, revoke_token, status=204),
    HubRoute("listLogins", "GET", _LOGINS, Action.ACCOUNT, list_logins, answer=answers.Page[Login], query=ListQuery),
    HubRoute("endLogin", "DELETE", f"{_LOGINS}/{{token}}", Action.ACCOUNT, end_login, status=204),
    HubRoute("listRobotTokens", "GET", _ROBOTS, Action.GOVERN, list_robot_tokens, answer=_TOKENS, query=ListQuery),
    HubRoute(
        "createRobotToken",
        "POST",
        _ROBOTS,
        Action.GOVERN,
        create_robot_token,
        answer=CreatedToken,
        status=201,
        body=NewToken,
        danger=True,
    ),
    HubRoute("revokeRobotToken", "DELETE", f"{_ROBOTS}/{{token}}", Action.GOVERN, revoke_robot_token, status=204),
)
