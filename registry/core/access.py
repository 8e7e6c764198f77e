"""Who may do what. Pure: from the facts about a caller and a repository to what is allowed.

Every route declares one `Action`. Roles: read = pull; write = pull, push, and delete tags and manifests; admin = all of
the repository, its visibility, roles, name and end too. The owner of a namespace (the user itself, the owners of an
organization) is admin of what is in it and creates repositories in it, and so does who has write on the whole
namespace. Names without an owner belong to the instance and its admins. A public repository can be pulled by anyone.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from registry.core.names import RepositoryName


class Action(StrEnum):
    """The actions that access is decided by; `docker` and the token protocol use the same words."""

    PING = "ping"
    """Find out that this is a registry. Touches no repository."""
    CATALOG = "catalog"
    """List repositories: shows only what the caller may pull."""
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    ADMINISTER = "administer"
    """Everything else about a repository: who may see it, who may do what, its name, its end."""
    SELF = "self"
    """Be somebody: ask who one is, star what one likes. For every account."""
    ACCOUNT = "account"
    """Look after one's own account: password, tokens, sessions. For users."""
    INSPECT = "inspect"
    """Look into a namespace: its members, teams and robots."""
    GOVERN = "govern"
    """Change a namespace: as its owner."""
    INSTANCE = "instance"
    """Administer the instance."""
    LOGIN = "login"
    """Show a credential and get a token: open to all."""
    OPERATE = "operate"
    """Health and metrics: no repository's content."""


class Role(IntEnum):
    """What somebody is to a repository; a higher one includes the lower."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class Visibility(StrEnum):
    """Who may pull without being given a role."""

    PUBLIC = "public"
    PRIVATE = "private"


class TokenScope(StrEnum):
    """What a personal access token is good for, never more than what its account may do."""

    READ = "read"
    WRITE = "write"
    """Includes read: every client pulls before it pushes."""
    DELETE = "delete"
    ADMIN = "admin"
    """Includes all others."""


_WRITERS = frozenset({Action.PULL, Action.PUSH, Action.DELETE})
REPOSITORY_ACTIONS = _WRITERS | {Action.ADMINISTER}
"""What is decided for each repository."""
_OF_ROLE = {
    Role.NONE: frozenset[Action](),
    Role.READ: frozenset({Action.PULL}),
    Role.WRITE: _WRITERS,
    Role.ADMIN: REPOSITORY_ACTIONS,
}
_OF_SCOPE = {
    TokenScope.READ: frozenset({Action.PULL}),
    TokenScope.WRITE: frozenset({Action.PULL, Action.PUSH}),
    TokenScope.DELETE: frozenset({Action.DELETE}),
    TokenScope.ADMIN: REPOSITORY_ACTIONS,
}
_ELSEWHERE = frozenset({Action.SELF, Action.ACCOUNT, Action.INSPECT, Action.GOVERN, Action.INSTANCE})
_NOTHING = frozenset[Action]()


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """What a personal access token may be used for. `repositories` None means all; an entry is a name, or `name/*`
    for everything below it."""

    scopes: frozenset[TokenScope]
    repositories: tuple[str, ...] | None = None

    def cut(self, name: RepositoryName, actions: frozenset[Action]) -> frozenset[Action]:
        """Those of `actions` on the repository `name` that the token is good for."""
        if not self.covers(name):
            return _NOTHING
        return actions & self._actions

    def includes(self, other: "TokenLimits") -> bool:
        """Whether a token with the other limits is good for nothing that this one is not good for."""
        # That of an admin is good for more than repositories.
        is_admin = TokenScope.ADMIN in self.scopes
        if not other._actions <= self._actions or (TokenScope.ADMIN in other.scopes and not is_admin):
            return False
        if self.repositories is None:
            return True
        return other.repositories is not None and all(map(self._holds, other.repositories))

    @property
    def _actions(self) -> frozenset[Action]:
        return frozenset[Action]().union(*(_OF_SCOPE[scope] for scope in self.scopes))

    def _holds(self, entry: str) -> bool:
        """Whether an entry names nothing but what these limits name."""
        below = [known[:-1] for known in self.repositories or () if known.endswith("/*")]
        return entry in (self.repositories or ()) or any(entry.startswith(start) for start in below)

    @property
    def pulls(self) -> bool:
        """Whether the token is good for pulling, and so for lists of what can be pulled."""
        return any(Action.PULL in _OF_SCOPE[scope] for scope in self.scopes)

    @property
    def allowed_elsewhere(self) -> frozenset[Action]:
        """Of what is not about one repository, what the token is good for: looking, with any scope that reads, and
        everything with that of an admin. One that is limited to some repositories is good for saying who one is."""
        if self.repositories is not None:
            return frozenset({Action.SELF})
        if TokenScope.ADMIN in self.scopes:
            return _ELSEWHERE
        return frozenset({Action.SELF, Action.INSPECT}) if self.pulls else frozenset({Action.SELF})

    def covers(self, name: RepositoryName) -> bool:
        """Whether the repository is one of those that the token is for."""
        if self.repositories is None:
            return True
        return any(
            name.startswith(entry[:-1]) if entry.endswith("/*") else name == entry for entry in self.repositories
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as shown by a credential that was verified. `account_id` None is everybody: nobody has logged in."""

    account_id: int | None
    name: str
    credential: str
    """How that was shown, for the audit: `password`, `personal token 12`, `refresh token 13`,
    `session 14`, `none`."""
    credential_id: int | None = None
    """The row of the token, where a token was shown."""
    limits: TokenLimits | None = None
    was_kept: bool = False
    """Whether it was shown by a login that a client keeps, a refresh token: no second one is given for it."""
    revision: int = 0
    """The newest change of access that was known when this was read."""
    expires_at: int | None = None
    """When the credential ends, in ms since 1970 UTC; None where it has no end."""
    session_id: int | None = None
    """The row of the session, where a browser is signed in."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """What must not have changed since for this still to be true."""
        found = () if self.account_id is None else (account_subject(self.account_id),)
        if self.session_id is not None:
            return (*found, session_subject(self.session_id))
        return found if self.credential_id is None else (*found, credential_subject(self.credential_id))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and from where: what the audit writes down."""

    account_id: int | None
    name: str
    credential: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What access of one account to one repository is decided by. One query reads it all."""

    revision: int
    is_active: bool
    """False for an account that is disabled or gone. True where nobody has logged in."""
    is_admin: bool
    namespace_id: int | None
    """The account that owns the name, None where the instance does."""
    owns_namespace: bool
    repository_id: int | None
    """None where there is no such repository."""
    is_public: bool
    role: Role
    """The highest role that was given to the account, itself or as a member of a team, on the repository or on its
    whole namespace."""
    created_by: int | None
    created_at: int
    """ms since 1970 UTC."""
    new_visibility: Visibility | None
    """What the namespace wants for new repositories, None where it says nothing."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """What must not have changed since for a decision on these facts still to hold."""
        found = () if self.namespace_id is None else (namespace_subject(self.namespace_id),)
        return found if self.repository_id is None else (*found, repository_subject(self.repository_id))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true of an account beside any repository, and of it in one namespace. One query reads it all."""

    revision: int
    is_active: bool
    is_admin: bool
    is_user: bool
    """Not a robot."""
    namespace_id: int | None = None
    """The account that the namespace is, None where there is none or none was asked for."""
    is_own: bool = False
    """The caller's own namespace, or that of an organization that it owns."""
    is_member: bool = False
    namespace_kind: str | None = None
    """`user` or `organization`."""


def decide_standing(standing: Standing, limits: TokenLimits | None) -> frozenset[Action]:
    """What an account may do that is not about one repository. INSPECT and GOVERN are about the namespace."""
    if not standing.is_active:
        return _NOTHING
    actions = {Action.SELF}
    if standing.is_user:
        actions.add(Action.ACCOUNT)
    if standing.is_admin:
        actions.add(Action.INSTANCE)
    governs = standing.is_own or standing.is_admin
    if standing.namespace_id is not None and (governs or standing.is_member):
        actions.update({Action.INSPECT, Action.GOVERN} if governs else {Action.INSPECT})
    return frozenset(actions) if limits is None else limits.allowed_elsewhere & actions


def account_subject(account_id: int) -> str:
    """The account: its password, its being enabled, its memberships."""
    return f"a{account_id}"


def credential_subject(token_id: int) -> str:
    """A token."""
    return f"c{token_id}"


def session_subject(session_id: int) -> str:
    """A browser that is signed in."""
    return f"s{session_id}"


def namespace_subject(account_id: int) -> str:
    """What is true of everything in a namespace: roles on all of it, its teams."""
    return f"n{account_id}"


def repository_subject(repository_id: int) -> str:
    """A repository: its visibility, roles on it, its being there."""
    return f"r{repository_id}"


INSTANCE_SUBJECT = "i"
"""The signing keys."""


def decide(facts: Facts, limits: TokenLimits | None, name: RepositoryName) -> frozenset[Action]:
    """What may be done to the repository `name`. On one that does not exist PUSH stands for creating it, and the other
    actions find nothing."""
    if not facts.is_active:
        return _NOTHING
    actions = _OF_ROLE[_role(facts)]
    return actions if limits is None else limits.cut(name, actions)


def _role(facts: Facts) -> Role:
    if facts.is_admin or facts.owns_namespace:
        return Role.ADMIN
    if facts.repository_id is None:
        return facts.role if facts.role >= Role.WRITE else Role.NONE
    return max(facts.role, Role.READ) if facts.is_public else facts.role


@dataclass(frozen=True, slots=True)
class RepositoryAccess:
    """A repository that somebody was let in to. Everything after the decision goes by `id`, so a name that means
    another repository meanwhile opens nothing. `id` None: there is none of this name, or none that the caller may know
    of."""

    name: RepositoryName
    """As it was asked for; it may be a former one. What is written down takes the one that the repository has."""
    id: int | None
    actor: Actor
    namespace_id: int | None = None
    """Who owns it when it is created."""
    visibility: Visibility = Visibility.PRIVATE
    """What it is when it is created."""
    subjects: tuple[str, ...] = ()
    """What access was decided about, for who asks again whether it still holds when a long request ends."""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Permit:
    """That somebody was let in to something that is no repository: who, what that was decided about, and up to which
    change it is known to hold. The transaction of a change asks again."""

    actor: Actor
    subjects: tuple[str, ...] = ()
    revision: int = 0
