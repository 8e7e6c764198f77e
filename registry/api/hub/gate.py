"""The gate of the hub, for its API and its pages: who is it, and may it do what the route declares?

Nobody has to log in to look at what is public. Who has not, and may not see or do what is asked, gets 401, whatever is
there; who has gets 404 for what it may not see, as for what is missing, and 403 for what it sees and may not do. A
browser shows its session by a cookie; what changes something needs, beside it, the session's secret word, which another
site does not know. No other site can make a browser send such a request anyway: what says that it comes from one is
refused.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from registry.api.asgi import Request
from registry.api.callers import Caller, Callers
from registry.api.hub.browsers import SAFE_METHODS, Browsers
from registry.core.access import (
    REPOSITORY_ACTIONS,
    Action,
    Permit,
    Principal,
    RepositoryAccess,
    Standing,
    TokenLimits,
    decide_standing,
    namespace_subject,
)
from registry.core.digest import Digest
from registry.core.errors import AccountUnknown, Denied, NameUnknown, OurFault, Unauthenticated
from registry.core.names import AccountName, Reference, RepositoryName, Tag
from registry.services.access import Access, actor_of
from registry.services.login import Login
from registry.services.sessions import Session

_NOTHING_ELSE = TokenLimits(frozenset(), ())


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that somebody was let in to."""

    id: int
    name: AccountName
    kind: str
    """`user` or `organization`."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in: who sent it, and what it was let in to. `query` and `body` are of the types that the
    route declares."""

    request: Request
    caller: Caller
    names: dict[str, str]
    """What stands for the parameters of the path, as text."""
    actions: frozenset[Action] = frozenset()
    """Everything that the caller may do there, for pages that offer it."""
    entry: RepositoryAccess | None = None
    inside: Namespace | None = None
    session: Session | None = None
    revision: int = 0
    """The change of access up to which all of this is known to hold."""
    query: Any = None
    body: Any = None

    def with_values(self, query: object, body: object) -> "Visit":
        """The same with what query and body say."""
        return replace(self, query=query, body=body)

    @property
    def permit(self) -> Permit:
        """What a change asks again in its transaction: that who was let in may still come in."""
        about = self.caller.principal.subjects
        if self.inside is not None:
            about = (*about, namespace_subject(self.inside.id))
        return Permit(self.caller.actor, about, self.revision)

    @property
    def access(self) -> RepositoryAccess:
        """The way in to the repository; every route that names one has it."""
        assert self.entry is not None
        return self.entry

    @property
    def namespace(self) -> Namespace:
        """The namespace; every route that needs INSPECT or GOVERN has it."""
        assert self.inside is not None
        return self.inside

    @property
    def account_id(self) -> int:
        """Whose account; every route that needs SELF or ACCOUNT has it."""
        assert self.caller.principal.account_id is not None
        return self.caller.principal.account_id

    @property
    def tag(self) -> Tag:
        """The tag of the path. Raises TagInvalid."""
        return Tag.parse(self.names["tag"])

    @property
    def digest(self) -> Digest:
        """The digest of the path. Raises DigestInvalid."""
        return Digest.parse(self.names["digest"])

    @property
    def reference(self) -> Reference:
        """The tag or digest of the path. Raises TagInvalid, DigestInvalid."""
        return Reference.parse(self.names["reference"])

    @property
    def if_match(self) -> str | None:
        """What `If-Match` demands the version of the thing to be, None for nothing."""
        value = self.request.header(b"if-match")
        return None if value is None or value.strip() == "*" else value.strip().removeprefix("W/").strip('"')


class HubGate:
    """Lets requests in, or raises what keeps them out."""

    def __init__(self, callers: Callers, browsers: Browsers, login: Login, access: Access) -> None:
        self._callers = callers
        self._browsers = browsers
        self._login = login
        self._access = access

    async def admit(self, request: Request, action: Action, names: dict[str, str], *, danger: bool = False) -> Visit:
        """Let in who may do `action` to what the path names; with `danger` a session has to be a fresh one. Raises
        NameInvalid, AccountNameInvalid, Unauthenticated, Denied, ProofRequired, NameUnknown, AccountUnknown,
        TooManyRequests, Unavailable."""
        self._browsers.require_same_site(request)
        if request.method not in SAFE_METHODS and not self._callers.is_open:
            # Whoever has just changed access goes on by it: what is known may be a second old, and the transaction
            # would refuse what was decided by that.
            await self._access.refresh()
        caller, session = await self._caller(request)
        request.scope["depotry.account"] = caller.principal.name
        if session is not None:
            self._browsers.require_word(request, session)
            if danger:
                await self._browsers.require_proof(session)
        visit = Visit(request, caller, names, session=session)
        if action in REPOSITORY_ACTIONS:
            return await self.into(visit, names["repository"], action)
        if action in (Action.PING, Action.LOGIN):
            return visit
        if action is Action.CATALOG:
            return replace(visit, caller=await self._lister(caller))
        return await self._to_account(visit, action)

    async def recognize(self, request: Request) -> None:
        """Find out whose browser it is, for an answer that everybody gets. Raises Unavailable."""
        if not self._callers.is_open and not request.header_values(b"authorization"):
            address: str | None = request.scope["depotry.address"]
            request.scope["depotry.session"] = await self._browsers.session(request, address)

    async def settle(self, request: Request) -> None:
        """After a request: what it has changed is known here at once, for who looks at what he has done. Others hear of
        it within their second."""
        if request.method not in SAFE_METHODS:
            # It is done, whatever becomes of this.
            with suppress(OurFault):
                await self._access.refresh()

    def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """What the client may still send; nothing where it is not known who that is."""
        if "depotry.limited" not in request.scope:
            return []
        return self._callers.limit.headers(request.scope["depotry.limited"])

    async def _caller(self, request: Request) -> tuple[Caller, Session | None]:
        """A cookie counts only where nothing else is shown."""
        address: str | None = request.scope["depotry.address"]
        session = None
        if not self._callers.is_open and not request.header_values(b"authorization"):
            session = await self._browsers.session(request, address)
        if session is None:
            caller = await self._callers.identify(request, takes_personal=True)
        else:
            caller = Caller(session.principal, actor_of(session.principal, address))
            self._callers.limit.take(caller.principal.account_id)
        request.scope["depotry.session"] = session
        who = caller.principal.account_id
        request.scope["depotry.limited"] = address if who is None else who
        return caller, session

    async def _lister(self, caller: Caller) -> Caller:
        """The caller as lists have to see it."""
        if caller.ticket is not None and not caller.ticket.lists_catalog:
            raise Denied("this access token may not list repositories: use a personal token")
        principal = await self._principal(caller)
        if principal.limits is not None and not principal.limits.pulls:
            raise Denied("this token may not list repositories")
        return replace(caller, principal=principal)

    async def _principal(self, caller: Caller) -> Principal:
        """Who it is, within the limits of what was shown. An access token that lists is as good as the personal one
        that it was got with; any other is good for the repositories in it, and shows nothing else of its account."""
        principal = caller.principal
        if caller.ticket is None:
            return principal
        if not caller.ticket.lists_catalog:
            return replace(principal, limits=_NOTHING_ELSE)
        if principal.credential_id is None:
            return principal
        return replace(principal, limits=await self._login.limits(principal.credential_id))

    # Repositories

    async def into(self, visit: Visit, name: str, action: Action) -> Visit:
        """Let who was let in go on to a repository that the path does not name. Raises NameInvalid, Unauthenticated,
        Denied, NameUnknown, Unavailable."""
        return await self._to_repository(visit, RepositoryName.parse(name), action)

    async def _to_repository(self, visit: Visit, name: RepositoryName, action: Action) -> Visit:
        caller = visit.caller
        if self._callers.is_open:
            entry = await self._access.open_entry(name, caller.actor)
            return replace(visit, entry=_existing(entry, action), actions=REPOSITORY_ACTIONS)
        if caller.ticket is not None:
            return await self._by_ticket(visit, action, name)
        rights = await self._access.rights(caller.principal, name)
        if action not in rights.actions:
            may_see = _sees(rights.actions, rights.facts.repository_id)
            raise self._refusal(caller, name, may_know=may_see or action is Action.PUSH)
        entry = self._access.entry(name, rights, caller.principal, caller.actor)
        return replace(visit, entry=_existing(entry, action), actions=rights.actions)

    async def _by_ticket(self, visit: Visit, action: Action, name: RepositoryName) -> Visit:
        caller = visit.caller
        assert caller.ticket is not None
        grant = caller.ticket.grants.get(name)
        actions = frozenset[Action]() if grant is None else grant.actions
        if action not in actions:
            may_see = grant is not None and _sees(actions, grant.repository_id)
            raise self._refusal(caller, name, may_know=may_see or action is Action.PUSH)
        entry = await self._access.granted_entry(name, caller.ticket, caller.actor)
        if entry is None:
            raise Unauthenticated("access has changed since the token was issued", error="invalid_token")
        return replace(visit, entry=_existing(entry, action), actions=actions)

    @staticmethod
    def _refusal(caller: Caller, name: RepositoryName, *, may_know: bool) -> Exception:
        """Who may push is decided by the namespace alone, so a refusal says nothing of what is there."""
        if may_know and caller.is_known:
            return Denied("this account, or the token that was shown, may not do this", name=name)
        if not caller.is_known:
            return Unauthenticated("log in first")
        return NameUnknown("no such repository", name=name)

    # Accounts and the instance

    async def _to_account(self, visit: Visit, action: Action) -> Visit:
        caller = visit.caller
        if self._callers.is_open:
            if action is Action.INSTANCE:
                return replace(visit, actions=frozenset({Action.INSTANCE}))
            raise Denied("this registry is open to everybody: it has no accounts")
        principal = caller.principal
        if principal.account_id is None:
            raise Unauthenticated("log in first")
        if caller.ticket is not None and action is not Action.SELF:
            raise Denied("an access token is for pulling and pushing: use a personal token")
        principal = await self._principal(caller)
        visit = replace(visit, caller=replace(caller, principal=principal))
        text = visit.names.get("namespace") if action in (Action.INSPECT, Action.GOVERN) else None
        name = None if text is None else AccountName.parse(text)
        standing = await self._access.standing(principal, name)
        actions = decide_standing(standing, principal.limits)
        if action not in actions:
            raise _not_allowed(standing, action)
        known = replace(visit, actions=actions, revision=min(principal.revision, standing.revision))
        if name is None or standing.namespace_id is None:
            return known
        return replace(known, inside=Namespace(standing.namespace_id, name, standing.namespace_kind or ""))


def _existing(entry: RepositoryAccess, action: Action) -> RepositoryAccess:
    """Only who pushes may mean one that is still to be made. Raises NameUnknown."""
    if entry.id is None and action is not Action.PUSH:
        raise NameUnknown("no such repository", name=entry.name)
    return entry


def _sees(actions: frozenset[Action], repository_id: int | None) -> bool:
    return repository_id is not None and Action.PULL in actions


def _not_allowed(standing: Standing, action: Action) -> Exception:
    belongs = standing.namespace_id is not None and (standing.is_own or standing.is_member or standing.is_admin)
    if action in (Action.INSPECT, Action.GOVERN) and not belongs:
        return AccountUnknown("there is no such namespace, or none that this account belongs to")
    return Denied("this account, or the token that was shown, may not do this")
