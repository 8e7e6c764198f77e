"""Groups of an identity provider that are teams here, and who is in them.

A team stands for a group only where an admin of the instance says so: owners of organizations could else see who is in
which group, and take in anybody. At each sign-in the account becomes a member of exactly those of these teams whose
group it is in, and first a member of their organizations, where it is none. Other teams, other people and robots stay
as they are; so do organizations that the account was in, in which it then has no more than any member.
"""

import logging
from collections.abc import Iterable

from registry.core.access import Actor, Permit, account_subject
from registry.core.errors import FieldInvalid
from registry.metadata import access, accounts, audit, identities
from registry.metadata.accounts import ORGANIZATION, Account
from registry.metadata.audit import Entry
from registry.metadata.database import Connection, Database
from registry.metadata.identities import MappedTeam
from registry.services.accounts import existing
from registry.services.clock import Clock
from registry.services.organizations import existing_team

GROUP_MAX_CHARS = 255


class Groups:
    """Keeps teams and admins as the groups say. `admin_group` None: the provider says nothing about admins."""

    def __init__(self, database: Database, clock: Clock, admin_group: str | None = None) -> None:
        self._database = database
        self._clock = clock
        self._admin_group = admin_group
        self._log = logging.getLogger("depotry.oidc")

    async def set_group(self, place: tuple[str, str], group: str | None, permit: Permit) -> None:
        """Let a team (`place`: organization, team) stand for a group, or be a team like others again (None). Who is in
        it stays until each signs in. For admins of the instance alone. Raises AccountUnknown, FieldInvalid."""
        if group is not None and not (0 < len(group) <= GROUP_MAX_CHARS and group.isprintable()):
            raise FieldInvalid(f"a group has 1 to {GROUP_MAX_CHARS} printable characters", field="group")
        organization, team = place
        now = self._clock()

        def change(connection: Connection) -> None:
            access.lock_changes(connection)
            access.require_unchanged(connection, permit)
            owner = existing(connection, organization, ORGANIZATION)
            identities.set_group(connection, existing_team(connection, owner.id, team), group)
            entry = Entry("team.group", target=f"{organization}/{team}: {group or 'none'}")
            audit.append(connection, permit.actor, [entry], now=now)

        await self._database.write(change)

    def apply(self, connection: Connection, account: Account, groups: Iterable[str], actor: Actor) -> None:
        """Make teams and admins what the groups of an account say. After `access.lock_changes`."""
        now = self._clock()
        held = frozenset(groups)
        mapped = identities.mapped_teams(connection, account.id)
        joined = [team for team in mapped if team.group in held and not team.is_in]
        left = [team for team in mapped if team.group not in held and team.is_in]
        if joined:
            identities.join(connection, account.id, joined, now=now)
        if left:
            identities.leave(connection, account.id, left)
        entries = [
            *(_entry("team.joined", team, account) for team in joined),
            *(_entry("team.left", team, account) for team in left),
            *self._admin(connection, account, held),
        ]
        if entries:
            access.note_changes(connection, [account_subject(account.id)], now=now)
            audit.append(connection, actor, entries, now=now)

    def _admin(self, connection: Connection, account: Account, held: frozenset[str]) -> list[Entry]:
        if self._admin_group is None or (self._admin_group in held) is account.is_admin:
            return []
        if account.is_admin and accounts.count_active_admins(connection) < 2:
            self._log.warning("%s left the group of admins, but is the only admin, and stays one", account.name)
            return []
        accounts.set_admin(connection, account.id, is_admin=not account.is_admin)
        return [Entry("account.admin", target=f"{account.name}: {'no' if account.is_admin else 'yes'}")]


def _entry(action: str, team: MappedTeam, account: Account) -> Entry:
    return Entry(action, target=f"{team.organization}/{team.name}: {account.name}")
