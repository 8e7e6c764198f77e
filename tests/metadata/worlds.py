"""Worlds of accounts, roles and repositories, written into SQL at once: by chance, or of a given size."""

import random
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, insert
from sqlalchemy.engine import Connection

from registry.core.access import TokenLimits, TokenScope, Visibility
from registry.core.digest import Digest
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import RepositoryName
from registry.metadata.schema import (
    accounts,
    blobs,
    grants,
    installation,
    manifests,
    members,
    objects,
    repositories,
    repository_aliases,
    repository_blobs,
    repository_facets,
    stars,
    team_members,
    teams,
)

NOW = 1_000
NAMESPACES = ("acme", "acme-b", "acme0", "acmeevil", "ann", "ben", "unowned")
TAILS = ("app", "app2", "app/x", "app-x", "b", "z/y")
BLOBS = (b"one", b"two", b"three")


@dataclass
class Drawn:
    """Rows to be, by table, and what a test has to know of them."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    active: list[int] = field(default_factory=list)
    """Accounts that can be used."""
    names: list[RepositoryName] = field(default_factory=list)
    """Every name, whether there is such a repository or not."""
    full: set[RepositoryName] = field(default_factory=set)
    """Those that hold a manifest."""
    former: dict[RepositoryName, RepositoryName] = field(default_factory=dict)
    """Former names, and those that the repositories have now."""
    holders: dict[bytes, set[RepositoryName]] = field(default_factory=dict)
    """Which repositories hold a blob, by its packed digest."""

    def add(self, table: Table, **row: Any) -> int:
        """Note a row; returns its number, from 1."""
        found = self.rows.setdefault(table.name, [])
        found.append(row)
        return len(found)

    def write(self, connection: Connection) -> None:
        """Put everything into an empty database."""
        first = {"id": 1, "identity": "x", "boot_id": "x", "created_at": NOW, "access_revision": 7}
        connection.execute(insert(installation), first)
        order = (
            accounts,
            members,
            teams,
            team_members,
            repositories,
            repository_aliases,
            grants,
            objects,
            blobs,
            repository_blobs,
            manifests,
            repository_facets,
            stars,
        )
        for table in order:
            rows = self.rows.get(table.name)
            if rows:
                connection.execute(insert(table), rows)

    def account(self, name: str, kind: str, **more: Any) -> int:
        """Note an account."""
        row = {"owner_id": None, "is_admin": False, "disabled_at": None, "deleted_at": None, "created_at": NOW}
        return self.add(accounts, name=name, canonical=name, kind=kind, **{**row, **more})

    def repository(self, name: str, namespace_id: int | None, visibility: Visibility, **more: Any) -> int:
        """Note a repository."""
        row = {"created_by": None, "created_at": NOW, "deleted_at": None, **more}
        return self.add(repositories, name=name, namespace_id=namespace_id, visibility=visibility.value, **row)

    def manifest(self, repository_id: int) -> None:
        """Note a manifest in a repository."""
        row = {"media_type": OCI_MANIFEST, "payload_size": 2, "total_size": 2, "depth": 0, "pushed_at": NOW}
        self.add(manifests, repository_id=repository_id, digest=Digest.of(b"{}").pack(), payload=b"{}", **row)

    def role(self, role: int, **of: int | None) -> None:
        """Note a role: `account_id` or `team_id`, on `repository_id` or `namespace_id`."""
        row = dict.fromkeys(("account_id", "team_id", "repository_id", "namespace_id")) | of
        self.add(grants, role=role, created_at=NOW, **row)

    def blob(self, content: bytes) -> bytes:
        """Note a blob; returns its packed digest."""
        packed = Digest.of(content).pack()
        row = {"dead_at": None, "corrupt_at": None, "created_at": NOW}
        number = self.add(objects, state="live", digest=packed, size=len(content), **row)
        self.add(blobs, digest=packed, size=len(content), object_id=number, protect_until=0, created_at=NOW)
        return packed


def by_chance(rng: random.Random) -> Drawn:
    """A small world in which everything may be."""
    drawn = Drawn()
    owners = _accounts(drawn, rng)
    team_ids = _teams(drawn, rng)
    repository_ids = _repositories(drawn, rng, owners)
    everybody = range(1, len(drawn.rows["accounts"]) + 1)
    for holder, ids in (("account_id", everybody), ("team_id", team_ids)):
        for place, places in (("repository_id", repository_ids), ("namespace_id", list(owners.values()))):
            pairs = [(who, where) for who in ids for where in places]
            for who, where in rng.sample(pairs, k=rng.randint(0, max(1, len(pairs) // 20))):
                drawn.role(rng.randint(1, 3), **{holder: who, place: where})
    return drawn


def _accounts(drawn: Drawn, rng: random.Random) -> dict[str, int]:
    """Users, organizations, robots; returns the ids of those that can own, by name."""
    owners: dict[str, int] = {}
    for name in NAMESPACES[:-1]:
        kind = "user" if name in ("ann", "ben") else "organization"
        owners[name] = drawn.account(name, kind, disabled_at=rng.choice([None, None, None, NOW]))
    for number in range(4):
        drawn.account(f"user{number}", "user", is_admin=rng.random() < 0.1, disabled_at=rng.choice([None, None, NOW]))
    for owner, owner_id in owners.items():
        drawn.account(f"{owner}+robot", "robot", owner_id=owner_id)
    rows = drawn.rows["accounts"]
    for number, row in enumerate(rows, start=1):
        owner_row = None if row["owner_id"] is None else rows[row["owner_id"] - 1]
        is_off = row["disabled_at"] is not None or (owner_row is not None and owner_row["disabled_at"] is not None)
        if row["kind"] != "organization" and not is_off:
            drawn.active.append(number)
    return owners


def _teams(drawn: Drawn, rng: random.Random) -> list[int]:
    rows = drawn.rows["accounts"]
    ids = {
        kind: [number for number, row in enumerate(rows, start=1) if row["kind"] == kind] for kind in ("user", "robot")
    }
    found = []
    for organization_id in (number for number, row in enumerate(rows, start=1) if row["kind"] == "organization"):
        inside = rng.sample(ids["user"], k=rng.randint(0, 3))
        for who in inside:
            is_owner = rng.random() < 0.3
            drawn.add(members, organization_id=organization_id, account_id=who, is_owner=is_owner, created_at=NOW)
        inside += [who for who in ids["robot"] if rows[who - 1]["owner_id"] == organization_id]
        team_id = drawn.add(teams, organization_id=organization_id, name="crew", created_at=NOW)
        found.append(team_id)
        for who in rng.sample(inside, k=rng.randint(0, len(inside))):
            drawn.add(team_members, team_id=team_id, account_id=who, created_at=NOW)
    return found


def _repositories(drawn: Drawn, rng: random.Random, owners: dict[str, int]) -> list[int]:
    found = []
    packed = [drawn.blob(content) for content in BLOBS]
    drawn.holders = {digest: set() for digest in packed}
    for text in ["top", *(f"{first}/{tail}" for first in NAMESPACES for tail in TAILS)]:
        name = RepositoryName.parse(text)
        drawn.names.append(name)
        if rng.random() < 0.3:
            continue
        namespace_id = owners.get(name.namespace or "") if rng.random() < 0.8 else None
        visibility = Visibility.PUBLIC if rng.random() < 0.2 else Visibility.PRIVATE
        is_deleted = rng.random() < 0.1
        shown = f":deleted:{text}" if is_deleted else text
        number = drawn.repository(shown, namespace_id, visibility, deleted_at=NOW if is_deleted else None)
        found.append(number)
        if not is_deleted and rng.random() < 0.3:
            was = RepositoryName(f"{rng.choice(NAMESPACES)}/was{number}")
            drawn.add(repository_aliases, name=was, repository_id=number, created_at=NOW)
            drawn.former[was] = name
        if rng.random() < 0.8:
            drawn.manifest(number)
            drawn.full |= set() if is_deleted else {name}
        for digest in rng.sample(packed, k=rng.randint(0, len(packed))):
            drawn.add(repository_blobs, repository_id=number, digest=digest, created_at=NOW)
            drawn.holders[digest] |= set() if is_deleted else {name}
    return found


def limits_by_chance(rng: random.Random) -> TokenLimits | None:
    """What a personal token may be limited to; None for a password."""
    if rng.random() < 0.3:
        return None
    scopes = frozenset(rng.sample(list(TokenScope), k=rng.randint(1, 3)))
    if rng.random() < 0.3:
        return TokenLimits(scopes)
    entries = ("acme/app", "acme/*", "acme/app/*", "acme-b/b", "ann/*", "ben/z/*", "unowned/*", "none/*", "top")
    return TokenLimits(scopes, tuple(rng.sample(entries, k=rng.randint(1, 3))))


MEMBER, OWNER, ADMIN = 1, 2, 3
"""Accounts of a world of a given size."""
_HERS = 10


def of_size(count: int, people: int) -> Drawn:
    """`count` private repositories of one organization, ten of which a member may pull, ten public ones beside them,
    and `people` members who have a role on each of these ten and on the organization."""
    drawn = Drawn()
    for name in ("member", "owner", "admin"):
        drawn.account(name, "user", is_admin=name == "admin")
    organization_id = drawn.account("big", "organization")
    other_id = drawn.account("other", "organization")
    team_id = drawn.add(teams, organization_id=organization_id, name="crew", created_at=NOW)
    for who, is_owner in ((MEMBER, False), (OWNER, True)):
        drawn.add(members, organization_id=organization_id, account_id=who, is_owner=is_owner, created_at=NOW)
    drawn.add(team_members, team_id=team_id, account_id=MEMBER, created_at=NOW)
    for number in range(count):
        repository_id = drawn.repository(f"big/a{number:05}", organization_id, Visibility.PRIVATE)
        drawn.manifest(repository_id)
        drawn.add(repository_aliases, name=f"big/was{number:05}", repository_id=repository_id, created_at=NOW)
    for number in range(_HERS):
        drawn.manifest(drawn.repository(f"other/p{number}", other_id, Visibility.PUBLIC))
    step = count // _HERS
    hers = [1 + number * step for number in range(_HERS)]
    for place, repository_id in enumerate(hers):
        holder = {"account_id": MEMBER} if place % 2 else {"team_id": team_id}
        drawn.role(1, repository_id=repository_id, **holder)
    for number in range(people):
        who = drawn.account(f"person{number}", "user")
        drawn.add(members, organization_id=organization_id, account_id=who, is_owner=number % 2 == 0, created_at=NOW)
        drawn.add(team_members, team_id=team_id, account_id=who, created_at=NOW)
        drawn.role(2, account_id=who, namespace_id=organization_id)
        for repository_id in hers:
            drawn.role(1, account_id=who, repository_id=repository_id)
    return drawn
