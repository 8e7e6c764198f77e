"""What the handlers of the hub's API stand on."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from registry.api.hub.gate import HubGate
from registry.api.operate import Readiness
from registry.services.accounts import Accounts
from registry.services.audits import Audits
from registry.services.browse import Browse
from registry.services.bulk import Bulk
from registry.services.contents import Contents
from registry.services.groups import Groups
from registry.services.login import Login
from registry.services.organizations import Organizations
from registry.services.personal_tokens import PersonalTokens
from registry.services.remove import Remove
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from registry.services.statistics import Statistics
from registry.services.tagging import Tagging


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting. Passwords are never shown."""

    name: str
    value: str | None
    """As text; null where it has none."""
    default: str
    source: str | None
    """The flag, variable or file that has set it; null for its default."""
    environment: str
    """The variable that sets it."""
    description: str


@dataclass(frozen=True, slots=True)
class HubServices:
    """What the handlers call."""

    gate: HubGate
    browse: Browse
    contents: Contents
    tagging: Tagging
    remove: Remove
    statistics: Statistics
    login: Login
    accounts: Accounts
    organizations: Organizations
    repositories: Repositories
    roles: Roles
    tokens: PersonalTokens
    bulk: Bulk
    audits: Audits
    groups: Groups | None
    """None where nobody can sign in."""
    readiness: Readiness
    settings: Sequence[Setting]
    """Those of this server, secrets masked."""
