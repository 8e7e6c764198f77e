"""The gate of the distribution API: who is it, and may it do what the route declares?

No credential, or a token that does not cover it: 401 with the challenge, for any name, whether it exists or not. Name
and password, or a personal token, without the right to see: as if there were no such repository; who may see it and not
do this to it gets 403, and so does who pushes where only others may. Everything after the gate goes by repository id.
"""

from dataclasses import dataclass, replace

from registry.api.asgi import Headers, Request
from registry.api.callers import Caller, Callers
from registry.api.v2.target import Target
from registry.auth import challenge
from registry.auth.challenge import ChallengeKind, Origins
from registry.auth.scopes import CATALOG_SCOPE, repository_scope
from registry.auth.tokens import Ticket
from registry.core.access import Action, Principal, RepositoryAccess
from registry.core.digest import Digest
from registry.core.errors import Denied, NameInvalid, Unauthenticated
from registry.core.names import Reference, RepositoryName
from registry.services.access import Access
from registry.services.login import Login
from registry.services.uploads import Source

_WANTED = {
    Action.PULL: (Action.PULL,),
    Action.PUSH: (Action.PULL, Action.PUSH),
    Action.DELETE: (Action.DELETE,),
}
"""What a client is told to ask a token for: who pushes also looks at what is there."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in: what it means, who sent it, and the repository it was let in to."""

    target: Target
    caller: Caller
    entry: RepositoryAccess | None = None

    @property
    def access(self) -> RepositoryAccess:
        """The way in to the repository; every route that names one has it."""
        assert self.entry is not None
        return self.entry

    @property
    def digest(self) -> Digest:
        """The last part of the path as a digest. Raises DigestInvalid."""
        return self.target.digest

    @property
    def reference(self) -> Reference:
        """The last part of the path as a tag or digest. Raises TagInvalid, DigestInvalid."""
        return self.target.reference


class Gate:
    """Lets requests in, or raises what keeps them out."""

    def __init__(self, callers: Callers, login: Login, access: Access) -> None:
        self._callers = callers
        self._login = login
        self._access = access

    async def admit(self, request: Request, action: Action, target: Target) -> Visit:
        """Raises NameInvalid, Unauthenticated, Denied, TooManyRequests, Unavailable."""
        caller = await self._caller(request, action, target)
        request.scope["depotry.account"] = caller.principal.name
        if action in _WANTED:
            return Visit(target, caller, await self._entry(request, action, target, caller))
        if not caller.is_known:
            raise Unauthenticated("log in first", **_asked(request, action, target))
        if action is Action.CATALOG:
            _require_list(caller)
        return Visit(target, caller)

    async def looker(self, request: Request, action: Action, *, lets_everybody: bool) -> Principal:
        """Let in to CATALOG, or to what is for all, beside the distribution API; who it is, as lists have to see it.
        With `lets_everybody` nobody has to say. Raises Unauthenticated, Denied, TooManyRequests, Unavailable."""
        nowhere = Target("search")
        caller = await self._caller(request, action, nowhere)
        request.scope["depotry.account"] = caller.principal.name
        if not caller.is_known and not lets_everybody:
            raise Unauthenticated("log in first", **_asked(request, action, nowhere))
        if action is Action.CATALOG:
            _require_list(caller)
        return await self.lister(caller)

    async def lister(self, caller: Caller) -> Principal:
        """The caller as lists have to see it: with the limits of its personal token, which an access token does not
        carry. Raises Unauthenticated if that has ended."""
        principal = caller.principal
        if caller.ticket is None or principal.credential_id is None:
            return principal
        return replace(principal, limits=await self._login.limits(principal.credential_id))

    async def source(self, visit: Visit, name: RepositoryName | None) -> Source | None:
        """Where this caller may mount from: the repository `name`, or without one anything that it may pull. None where
        it may not, or there is none. Raises Unauthenticated where a token does not say."""
        caller = visit.caller
        if name is None:
            return Source(None, await self.lister(caller), is_open=self._access.is_open)
        if self._access.is_open:
            entry: RepositoryAccess | None = await self._access.open_entry(name, caller.actor)
        elif caller.ticket is not None:
            if name not in caller.ticket.grants:
                scope = f"{_scope(Action.PUSH, visit.access.name)} {_scope(Action.PULL, name)}"
                raise Unauthenticated(
                    "the token does not cover the source of the mount", scope=scope, error="insufficient_scope"
                )
            entry = await self._granted(caller, caller.ticket, Action.PULL, name)
        else:
            rights = await self._access.rights(caller.principal, name)
            may_pull = Action.PULL in rights.actions
            entry = self._access.entry(name, rights, caller.principal, caller.actor) if may_pull else None
        return None if entry is None or entry.id is None else Source(entry.id, caller.principal)

    async def _caller(self, request: Request, action: Action, target: Target) -> Caller:
        try:
            return await self._callers.identify(request)
        except Unauthenticated as error:
            # Clients whose token has ended read here what to ask the next one for.
            raise Unauthenticated(error.message, **{**error.facts, **_asked(request, action, target)}) from None

    async def _entry(self, request: Request, action: Action, target: Target, caller: Caller) -> RepositoryAccess:
        name = target.name
        if self._access.is_open:
            return await self._access.open_entry(name, caller.actor)
        if not caller.is_known:
            raise Unauthenticated("log in first", scope=_scope(action, name, request))
        if caller.ticket is None:
            return await self._decided(action, name, caller)
        entry = await self._granted(caller, caller.ticket, action, name)
        if entry is None:
            raise Unauthenticated(
                "the token does not cover this: log in, or ask for access",
                scope=_scope(action, name, request),
                error="insufficient_scope",
            )
        return entry

    async def _granted(
        self, caller: Caller, ticket: Ticket, action: Action, name: RepositoryName
    ) -> RepositoryAccess | None:
        grant = ticket.grants.get(name)
        if grant is None or action not in grant.actions:
            return None
        return await self._access.granted_entry(name, ticket, caller.actor)

    async def _decided(self, action: Action, name: RepositoryName, caller: Caller) -> RepositoryAccess:
        rights = await self._access.rights(caller.principal, name)
        if action in rights.actions:
            return self._access.entry(name, rights, caller.principal, caller.actor)
        may_see = rights.facts.repository_id is not None and Action.PULL in rights.actions
        if may_see or action is Action.PUSH:
            raise Denied(f"this account may not {action} here", name=name)
        return RepositoryAccess(name, None, caller.actor)


def _require_list(caller: Caller) -> None:
    """Raises Unauthenticated for a token that does not cover the catalog, Denied for one that is not for pulling."""
    if caller.ticket is not None and not caller.ticket.lists_catalog:
        raise Unauthenticated(
            "the token does not cover this: log in, or ask for access",
            scope=CATALOG_SCOPE,
            error="insufficient_scope",
        )
    limits = caller.principal.limits
    if limits is not None and not limits.pulls:
        raise Denied("this token may not list repositories")


def _asked(request: Request, action: Action, target: Target) -> dict[str, str]:
    """The scope that a token for this request needs, as a fact for the challenge; none for the ping."""
    if action in _WANTED:
        return {"scope": _scope(action, target.name, request)}
    return {"scope": CATALOG_SCOPE} if action is Action.CATALOG else {}


def _scope(action: Action, name: RepositoryName, request: Request | None = None) -> str:
    """What a token would have to cover. For a mount that is the source as well."""
    scope = repository_scope(name, _WANTED[action])
    source = None if request is None or action is not Action.PUSH else request.query().get("from")
    if not source:
        return scope
    try:
        return f"{scope} {repository_scope(RepositoryName.parse(source[-1]), [Action.PULL])}"
    except NameInvalid:
        return scope


class Challenges:
    """`WWW-Authenticate` for what was refused."""

    def __init__(self, origins: Origins, kind: ChallengeKind) -> None:
        self._origins = origins
        self._kind = kind

    def headers(self, error: Unauthenticated, request: Request) -> Headers:
        """The challenge that tells a client what to bring."""
        host = request.header(b"host")
        if self._kind is ChallengeKind.BASIC:
            text = challenge.basic(self._origins, host)
        else:
            text = challenge.bearer(self._origins, host, scope=error.facts.get("scope"), error=error.facts.get("error"))
        return [(b"www-authenticate", text.encode("latin-1", "replace"))]
