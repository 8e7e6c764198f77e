"""How PostgreSQL answers what requests ask most: by an index, with as many rows as the answer has."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, select, text
from sqlalchemy.engine import Connection

from registry.core.digest import Digest
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.core.names import Reference, RepositoryName, Tag
from registry.core.search import SearchText
from registry.core.shelf import Order as By
from registry.core.shelf import RepositoriesQuery
from registry.core.versions import version_key
from registry.metadata import (
    access,
    accounts,
    aliases,
    audit,
    blobs,
    directory,
    grants,
    identities,
    manifest_details,
    manifests,
    namespaces,
    pulls,
    ranking,
    referrer_tree,
    removal,
    repositories,
    sessions,
    shelf,
    tag_changes,
    tag_list,
    tags,
    tally,
    tokens,
    traffic,
    usage,
)
from registry.metadata.grants import Place
from registry.metadata.manifests import ReferrersQuery
from registry.metadata.pulls import Counted
from registry.metadata.schema import accounts as account_rows
from registry.metadata.schema import audit as audit_rows
from registry.metadata.schema import blobs as blob_rows
from registry.metadata.schema import identities as identity_rows
from registry.metadata.schema import manifest_blobs, manifest_children, objects, repository_blobs, tag_history
from registry.metadata.schema import manifests as manifest_rows
from registry.metadata.schema import pulls as pull_rows
from registry.metadata.schema import sessions as session_rows
from registry.metadata.schema import tags as tag_rows
from registry.metadata.schema import traffic as traffic_rows
from registry.metadata.schema import usage as usage_rows
from registry.metadata.tag_list import Order, Position, Query
from registry.metadata.tally import Holding
from registry.metadata.ways import Viewer
from tests.backends.postgresql import Cluster
from tests.metadata.test_audit import audited
from tests.metadata.worlds import ADMIN, MEMBER, OWNER, of_size

MANY, PEOPLE = 10_000, 100
PAGE = 10
ROWS_LIMIT = 400
"""Rows that any step of a plan may look at: many pages, and far from all."""
FULL = 1
"""The repository that holds much."""
SUBJECT = Digest.of(b"subject")


def digest(number: int) -> Digest:
    """One of many."""
    return Digest.of(b"%d" % number)


def fill(connection: Connection) -> None:
    """One repository with many manifests, tags, blobs and referrers."""
    numbers = range(MANY)
    packed = [digest(number).pack() for number in numbers]
    live = {"state": "live", "size": 1, "created_at": 0}
    connection.execute(insert(objects), [{"id": 1 + n, "digest": packed[n], **live} for n in numbers])
    held = {"size": 1, "protect_until": 0, "created_at": 0}
    connection.execute(insert(blob_rows), [{"digest": packed[n], "object_id": 1 + n, **held} for n in numbers])
    connection.execute(
        insert(repository_blobs), [{"repository_id": FULL, "digest": packed[n], "created_at": 0} for n in numbers]
    )
    row = {"repository_id": FULL, "media_type": OCI_MANIFEST, "payload_size": 2, "total_size": 2, "depth": 0}
    row |= {"pushed_at": 0, "payload": b"{}", "referrer_descriptor": "{}"}
    first = MANY * 10
    rows = [
        {"id": first + n, "digest": packed[n], "subject_digest": SUBJECT.pack() if n % 10 == 1 else None, **row}
        for n in numbers
    ]
    rows[0]["media_type"] = OCI_INDEX
    connection.execute(insert(manifest_rows), rows)
    edge = {"repository_id": FULL, "size": 1}
    edges = [{"manifest_id": first + n, "digest": packed[n], "linked_digest": packed[n], **edge} for n in numbers]
    connection.execute(insert(manifest_blobs), edges)
    named = [{"name": f"t{n:05}", "manifest_id": first + n, "version": 1, "updated_at": n // 100} for n in numbers]
    keys = [{"version_key": version_key(f"1.{n}") if n % 2 else ""} for n in numbers]
    of_all = [{"repository_id": FULL, **one, **key} for one, key in zip(named, keys, strict=True)]
    connection.execute(insert(tag_rows), of_all)
    changes = [{"name": one["name"], "version": 1, "digest": packed[n], "changed_at": n} for n, one in enumerate(named)]
    changes += [{"name": "t05000", "version": 2 + n, "digest": packed[n], "changed_at": n} for n in numbers]
    connection.execute(insert(tag_history), [{"repository_id": FULL, **change} for change in changes])
    parts = [{"parent_id": first, "digest": packed[n], "size": 1, "child_id": first + n} for n in numbers if n]
    connection.execute(insert(manifest_children), [{"repository_id": FULL, **part} for part in parts])
    seen = {"is_complete": True, "created_at": 0, "seen_at": 0, "proved_at": 0, "expires_at": 1, "user_agent": ""}
    # The account of the call has ten of them.
    whose = [MEMBER if n < PAGE else OWNER for n in numbers]
    connection.execute(
        insert(session_rows), [{"account_id": whose[n], "secret_hash": packed[n], **seen} for n in numbers]
    )
    crowd = [f"crowd{n:05}" for n in numbers]
    alike = {"kind": "user", "is_admin": False, "created_at": 0}
    connection.execute(insert(account_rows), [{"name": name, "canonical": name, **alike} for name in crowd])
    ids = list(connection.execute(select(account_rows.c.id).where(account_rows.c.name.in_(crowd))).scalars())
    # Most people are one somebody of the provider.
    owners = [MEMBER if n < PAGE else ids[n] for n in numbers]
    somebody = {"issuer": "https://id.example.com", "name": "", "created_at": 0, "used_at": 0}
    connection.execute(
        insert(identity_rows), [{"subject": f"s{n}", "account_id": owners[n], **somebody} for n in numbers]
    )


def fill_counts(connection: Connection) -> None:
    """Pulls of the full repository, its tags and digests, on three days, and of one day of each other one."""
    rows = []
    for n in range(MANY):
        for tag, packed in ((f"t{n:05}", b""), ("", digest(n).pack())):
            row = {"repository_id": FULL, "tag": tag, "digest": packed, "pulls": n, "last_at": n}
            rows += [{**row, "day": day} for day in (0, 20_000, 20_001)]
        if n >= FULL:
            whole = {"repository_id": n + 1, "tag": "", "digest": b"", "pulls": 1, "last_at": 1}
            rows += [{**whole, "day": day} for day in (0, 20_000)]
    connection.execute(insert(pull_rows), rows)
    names = ("pulls", "pushes", "requests.registry")
    numbers = [{"name": name, "hours": 1, "begins": hour, "value": 1} for name in names for hour in range(9_000)]
    connection.execute(insert(traffic_rows), numbers)
    samples = {"repositories": 1, "tags": 1, "stored_bytes": 0}
    connection.execute(
        insert(usage_rows),
        [
            {"namespace_id": account, "day": day, "size_bytes": account, **samples}
            for account in range(PEOPLE)
            for day in range(365)
        ],
    )


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[Engine]:
    """A big database whose statistics are known."""
    name = cluster.migrated()
    found = create_engine(cluster.url(name))
    with found.begin() as connection:
        of_size(MANY, PEOPLE).write(connection)
        fill(connection)
        fill_counts(connection)
        connection.execute(insert(audit_rows), audited(MANY))
    with found.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    yield found
    found.dispose()
    cluster.drop(name)


def read_by(plan: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Each step of a plan that reads a table, and the rows that it looked at in all."""
    if "Relation Name" in plan:
        seen = (
            plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        )
        yield f"{plan['Node Type']} of {plan['Relation Name']}", seen * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from read_by(part)


def page_of(account_id: int | None) -> Callable[[Connection], object]:
    """The first page of the catalog."""
    return lambda connection: access.page(connection, account_id, None, after="", count=PAGE)


def shelf_of(account_id: int | None, **wanted: Any) -> Callable[[Connection], object]:
    """The first page of a list."""
    return lambda connection: shelf.page(connection, Viewer(account_id), RepositoriesQuery(count=PAGE, **wanted))


def facts_of(account_id: int | None, name: str) -> Callable[[Connection], object]:
    """What access is decided by."""
    return lambda connection: access.facts(connection, account_id, RepositoryName.parse(name))


def list_of(**wanted: Any) -> Callable[[Connection], object]:
    """A page of tags as people see them."""
    return lambda connection: tag_list.page(connection, FULL, Query(count=PAGE, **wanted))


def batch(connection: Connection) -> None:
    """Pulls of ten manifests of two repositories."""
    pulls.add(connection, [Counted(FULL, digest(n).pack(), 20_001, 2, 1, 5) for n in range(9)])
    pulls.add(connection, [Counted(2, digest(1).pack(), 20_001, 1, 0, 5)])


BIG = 4
"""The organization."""
AUDITED = {"actor": "a1", "action": "x.1", "repository": "r1/a", "address": "10.0.0.1", "within": "r1"}


def audit_of(**wanted: Any) -> Callable[[Connection], object]:
    """A page of the audit."""
    return lambda connection: audit.page(connection, audit.Filter(**wanted), before=None, count=PAGE)


CALLS: dict[str, Callable[[Connection], object]] = {
    "a batch of pulls": batch,
    "pulls of a repository": lambda c: pulls.days(c, FULL, since=20_000),
    "pulls of a tag": lambda c: pulls.days(c, FULL, tag="t05000", since=20_000),
    "tags that were pulled most": lambda c: pulls.top_tags(c, FULL, count=PAGE),
    "parts of an index": lambda c: pulls.parts(c, FULL, digest(5000).pack(), count=PAGE),
    "counts that are old": lambda c: pulls.trim(c, before_day=20_000, count=PAGE),
    "counts of what is gone": lambda c: pulls.walk(c, after=(FULL, "t05000", b""), count=PAGE),
    "counts of a repository that goes": lambda c: pulls.forget(c, FULL, count=PAGE),
    "traffic": lambda c: traffic.since(c, traffic.HOUR, 8_950),
    "traffic that is old": lambda c: traffic.trim(c, traffic.HOUR, before=100, count=PAGE),
    "namespaces that hold most": lambda c: usage.largest(c, count=PAGE),
    "what namespaces held": lambda c: usage.series(c, [usage.ALL, 7], since=300),
    "repositories that lead": lambda c: ranking.top(c, by_size=False, count=PAGE),
    "largest repositories": lambda c: ranking.top(c, by_size=True, count=PAGE),
    "repositories to count": lambda c: tally.due(c, now=5, count=PAGE),
    "manifests to count": lambda c: tally.count_manifests(c, FULL, Holding(), after=b"", count=PAGE),
    "blobs to count": lambda c: tally.count_blobs(c, FULL, Holding(), after=b"", count=PAGE),
    "tags without a key": lambda c: tally.lacks_version_keys(c, FULL),
    "manifest by tag": lambda c: manifests.stored(c, FULL, Reference(tag=Tag("t05000"))),
    "manifest by digest": lambda c: manifests.stored(c, FULL, Reference(digest=digest(5000))),
    "blob of a repository": lambda c: blobs.linked(c, FULL, digest(5000)),
    "blob anywhere": lambda c: blobs.anywhere(c, digest(5000)),
    "users of a blob": lambda c: blobs.users(c, FULL, digest(5000), count=PAGE),
    "page of tags": lambda c: tags.page(c, FULL, after="t05000", count=PAGE),
    "list of tags": list_of(after=Position(None, "t05000")),
    "list of tags, with an index of many parts": list_of(),
    "list of tags backwards": list_of(after=Position(None, "t05000"), descending=True),
    "list of newest tags": list_of(order=Order.PUSHED, descending=True),
    "list of newer tags": list_of(order=Order.PUSHED, after=Position(50, "t05000")),
    "list of tags by version": list_of(order=Order.VERSION, after=Position("", "t05000")),
    "list of newest versions": list_of(order=Order.VERSION, descending=True),
    "list of tags that wait for a key": list_of(order=Order.VERSION, after=Position(None, "")),
    "list of tags of a digest": list_of(digest=digest(5000)),
    "list of filtered tags": list_of(name_part="t01", order=Order.PUSHED),
    "a manifest": lambda c: manifest_details.find(c, FULL, Reference(tag=Tag("t05000"))),
    "a manifest by digest": lambda c: manifest_details.find(c, FULL, Reference(digest=digest(5000))),
    "a manifest and its pieces": lambda c: manifest_details.known(c, MANY * 10 + 5000),
    "a manifest with referrers": lambda c: manifest_details.look(c, FULL, MANY * 10 + 5000, digest(5000)),
    "a manifest with many referrers": lambda c: manifest_details.look(c, FULL, MANY * 10 + 5000, SUBJECT),
    "a part that is not there": lambda c: manifest_details.look(c, FULL, None, digest(5000)),
    "tree of many referrers": lambda c: referrer_tree.walk(c, FULL, SUBJECT),
    "tree of no referrers": lambda c: referrer_tree.walk(c, FULL, digest(5000)),
    "what stays without tags": lambda c: removal.left_by_tags(c, FULL, ["t05000", "t06000", "none"]),
    "what stays without a manifest": lambda c: removal.left_by_manifest(c, MANY * 10 + 5000),
    "what a repository holds": lambda c: removal.whole(c, FULL),
    "one tag": lambda c: tag_list.get(c, FULL, "t05000"),
    "history of a tag": lambda c: tag_changes.of_tag(c, FULL, "t05000", before=5000, count=PAGE),
    "history of a repository": lambda c: tag_changes.of_repository(c, FULL, before=15_000, count=PAGE),
    "number of tags": lambda c: tag_list.count(c, FULL),
    "tags to move": lambda c: tags.live(c, FULL, ["t05000", "none"]),
    "tags of a manifest": lambda c: tags.of_manifest(c, MANY * 10 + 5000),
    "referrers": lambda c: manifests.referrers(c, FULL, ReferrersQuery(SUBJECT, [], MANY * 10 + 5000, PAGE, 4_000_000)),
    "repository by name": lambda c: repositories.find(c, RepositoryName.parse("big/a05000")),
    "facts of a member": facts_of(MEMBER, "big/a05000"),
    "repository by a former name": lambda c: repositories.get(c, RepositoryName.parse("big/was05000")),
    "facts of a member by a former name": facts_of(MEMBER, "big/was05000"),
    "former names": lambda c: aliases.of(c, 5000),
    "facts of an owner": facts_of(OWNER, "big/a05000"),
    "facts of anybody": facts_of(None, "other/p0"),
    "catalog of a member": page_of(MEMBER),
    "catalog of an owner": page_of(OWNER),
    "catalog of an admin": page_of(ADMIN),
    "catalog of anybody": page_of(None),
    "list of a member": shelf_of(MEMBER),
    "list of an owner": shelf_of(OWNER),
    "list of an admin": shelf_of(ADMIN),
    "list of anybody": shelf_of(None),
    "page of a list": shelf_of(OWNER, order=By.PULL_COUNT, descending=True, after=(0, 5000)),
    "list of a namespace": shelf_of(OWNER, namespace="big", order=By.SIZE_BYTES),
    "list of a namespace by name": shelf_of(ADMIN, namespace="big"),
    "list with a word of all": shelf_of(ADMIN, search=SearchText(("big",)), order=By.PULL_COUNT),
    "list with a word of few": shelf_of(OWNER, search=SearchText(("a0500",))),
    "best of all": shelf_of(OWNER, search=SearchText(("big",)), order=By.RELEVANCE),
    "best of few": shelf_of(OWNER, search=SearchText(("a05000",)), order=By.RELEVANCE),
    "best of what others hide": shelf_of(None, search=SearchText(("big",)), order=By.RELEVANCE),
    "namespaces": lambda c: namespaces.page(c, Viewer(ADMIN), after="", count=PAGE),
    "namespace": lambda c: namespaces.find(c, Viewer(OWNER), "big"),
    "where a member may pull a blob": lambda c: access.may_pull_somewhere(c, MEMBER, None, digest(5000).pack()),
    "account by name": lambda c: accounts.find(c, "owner"),
    "token by hash": lambda c: tokens.find(c, b"none"),
    "session by hash": lambda c: sessions.find(c, digest(5000).pack()),
    "session by id": lambda c: sessions.get(c, 5000),
    "sessions of an account": lambda c: sessions.of_account(c, MEMBER, now=0, seen_after=-1),
    "who somebody is": lambda c: identities.find(c, "https://id.example.com", "s5000"),
    "identities of an account": lambda c: identities.of_account(c, MEMBER),
    "teams of groups": lambda c: identities.mapped_teams(c, MEMBER),
    "changes": lambda c: access.changes_after(c, 0),
    "users": lambda c: directory.of_kind(c, "user", after="person50", count=PAGE),
    "users whose name begins so": lambda c: directory.of_kind(c, "user", after="", count=PAGE, prefix="person5"),
    "organizations of somebody": lambda c: directory.memberships(c, MEMBER, after="", count=PAGE),
    "teams of an organization": lambda c: directory.teams_of(c, BIG, after="", count=PAGE),
    "roles of a team": lambda c: directory.roles_of_team(c, 1, MEMBER, after=0, count=PAGE),
    "who has access": lambda c: grants.standings(c, Place(repository_id=FULL), BIG, after=None, count=PAGE),
    "former names in a namespace": lambda c: aliases.inside(c, "big", MEMBER, after="", count=PAGE),
    "tokens of an account": lambda c: tokens.page(c, MEMBER, "personal", after=0, count=PAGE),
    **{f"audit by {name}": audit_of(**{name: value}) for name, value in AUDITED.items()},
    "audit of all": audit_of(),
    "audit before": audit_of(until=MANY // 2),
    "actions of the audit": audit.actions,
    "deleted repositories": repositories.deleted,
}


@pytest.mark.parametrize("name", CALLS)
def test_only_what_is_asked_for_is_read(engine: Engine, name: str) -> None:
    """I10: with 10,000 of everything no step of an answer reads more than a few pages."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        asked.append((statement, parameters))

    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        CALLS[name](connection)
        event.remove(connection, "before_cursor_execute", note)
        assert asked
        limit = tag_list.WALK_MAX if "filtered" in name else ROWS_LIMIT
        for statement, parameters in asked:
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            plan = explained.scalar_one()[0]["Plan"]
            for step, rows in read_by(plan):
                assert rows <= limit, f"{step} looks at {rows} rows for {statement}"
