"""Many writers at once, as several nodes are on PostgreSQL: no deadlock, no error of ours, and all still fits."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from registry.auth.passwords import Passwords
from registry.auth.sealing import InstanceSecret
from registry.auth.tokens import Parties
from registry.blobstore.memory import MemoryStore
from registry.core.access import Principal, Role, TokenLimits, TokenScope, Visibility
from registry.core.digest import Digest
from registry.core.errors import OurFault, RegistryError, TooManyRequests
from registry.core.manifest import OCI_INDEX, OCI_MANIFEST
from registry.core.names import AccountName, Reference, RepositoryName, Tag
from registry.metadata import access, accounts, blobs, collection, locks, repositories
from registry.metadata.accounts import USER, NewAccount
from registry.metadata.database import Connection, Database
from registry.metadata.postgresql import PostgresqlDatabase
from registry.services.access import Access
from registry.services.accounts import Accounts
from registry.services.changes import Changes
from registry.services.installation import Installation
from registry.services.keys import Keys
from registry.services.organizations import Organizations
from registry.services.personal_tokens import PersonalTokens
from registry.services.push import Condition, ManifestPush, References
from registry.services.repositories import Repositories
from registry.services.roles import Roles
from registry.services.token_server import TokenServer
from registry.services.uploads import Uploads
from tests.backends import Backend
from tests.backends.postgresql import PostgresqlBackend
from tests.core.test_manifest import encoded
from tests.reliability.hub import ADMIN
from tests.running import wait_until
from tests.services.conftest import LEASE_MS, NOBODY, House

pytestmark = pytest.mark.anyio

NODES = 3
CLIENTS = 32
STEPS = 25
ATTEMPTS = 50
CONTENTS = [b"layer %d" % number for number in range(6)]
NAMES = [RepositoryName(f"acme/app{number}") for number in range(3)]
SPARE_NAMES = [RepositoryName("acme/spare0"), RepositoryName("acme/spare1")]
TAGS = ("v1", "v2", "latest")
TEAMS = ("red", "blue")
PEOPLE = ("ann", "ben", "cid", "dan")


@dataclass
class Site:
    """Several nodes on one database and one store."""

    nodes: list[House]
    passwords: Passwords
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def accounts(self, node: House) -> Accounts:
        """Administration at a node."""
        return Accounts(node.database, self.passwords, node.clock)

    def organizations(self, node: House) -> Organizations:
        """Administration at a node."""
        return Organizations(node.database, node.clock)

    def roles(self, node: House) -> Roles:
        """Administration at a node."""
        return Roles(node.database, node.clock)

    def repositories(self, node: House) -> Repositories:
        """Administration at a node."""
        return Repositories(node.database, node.clock, LEASE_MS)

    async def set_up(self) -> None:
        """Accounts, teams and an organization."""
        first = self.nodes[0]
        await Installation(first.database, first.store, first.clock).open()

        def add(connection: Connection) -> None:
            for name in PEOPLE:
                new = NewAccount(AccountName(name), USER, "x", is_admin=name in ("ann", "ben"))
                assert accounts.add(connection, new, now=1)

        await first.database.write(add)
        admin = self.organizations(first)
        await admin.add("acme", "ann", ADMIN)
        for name in PEOPLE:
            await admin.set_member("acme", name, ADMIN, is_owner=True)
        for team in TEAMS:
            await admin.add_team("acme", team, ADMIN)

    async def run(self, client: int) -> None:
        """One client's steps, each drawn by chance and at any node. What is refused is no failure."""
        rng = random.Random(client)
        for _ in range(STEPS):
            step = rng.choice(ALL_STEPS)
            try:
                await step(self, rng.choice(self.nodes), rng)
            except OurFault as error:
                self.failed[f"{step.__name__}: {error.message}: {error.__cause__}"] += 1
            except RegistryError as error:
                self.refused[type(error).__name__] += 1


Step = Callable[[Site, House, random.Random], Awaitable[None]]


def described(payload: bytes, media_type: str) -> dict[str, Any]:
    """A descriptor of some bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(payload)), "size": len(payload)}


def drawn_image(rng: random.Random) -> dict[str, Any]:
    """An image of one or two layers, sometimes a referrer of another one."""
    layers = [described(content, "application/x") for content in rng.sample(CONTENTS, k=rng.randint(1, 2))]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": layers,
    }
    if rng.random() < 0.3:
        document["subject"] = described(encoded(drawn_image(random.Random(rng.randint(0, 3)))), OCI_MANIFEST)
    return document


def drawn_index(rng: random.Random) -> dict[str, Any]:
    """An index of images, which may be there or not, and of a blob."""
    children = [drawn_image(random.Random(rng.randint(0, 3))) for _ in range(2)]
    entries = {str(Digest.of(encoded(child))): described(encoded(child), OCI_MANIFEST) for child in children}
    entries["blob"] = described(rng.choice(CONTENTS), "application/x")
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries.values())}


async def put(node: House, name: RepositoryName, document: dict[str, Any], *tags: str) -> None:
    """Push a manifest."""
    payload = encoded(document)
    push = ManifestPush(payload, document["mediaType"], tuple(map(Tag, tags)), Digest.of(payload), Condition())
    await node.push.manifest(await node.at(name), push)


async def push_image(site: Site, node: House, rng: random.Random) -> None:
    """Its blobs, then itself."""
    name = rng.choice(NAMES)
    document = drawn_image(random.Random(rng.randint(0, 3)) if rng.random() < 0.5 else rng)
    wanted = {layer["digest"] for layer in document["layers"]}
    await asyncio.gather(
        *(
            node.blob(content, name)
            for content in [b"{}", *CONTENTS]
            if content == b"{}" or str(Digest.of(content)) in wanted
        )
    )
    await put(node, name, document, *rng.sample(TAGS, k=rng.randint(0, 2)))


async def push_sparsely(site: Site, node: House, rng: random.Random) -> None:
    """A manifest whose references may come later."""
    document = drawn_index(rng) if rng.random() < 0.5 else drawn_image(random.Random(rng.randint(0, 3)))
    sparse = House(node.database, node.store, references=References.OFF)
    await put(sparse, rng.choice(NAMES), document, rng.choice(TAGS))


async def push_blob(site: Site, node: House, rng: random.Random) -> None:
    """One blob, that others may be pushing too."""
    await node.blob(rng.choice(CONTENTS), rng.choice(NAMES))


async def mount(site: Site, node: House, rng: random.Random) -> None:
    """A blob of another repository."""
    source, target = rng.sample(NAMES, k=2)
    await node.uploads.mount(await node.at(target), Digest.of(rng.choice(CONTENTS)), await node.source(source))


async def delete_tag(site: Site, node: House, rng: random.Random) -> None:
    """A tag alone."""
    await node.remove.manifest(await node.at(rng.choice(NAMES)), Reference(tag=Tag(rng.choice(TAGS))))


async def delete_manifest(site: Site, node: House, rng: random.Random) -> None:
    """A manifest with its tags."""
    access_to = await node.at(rng.choice(NAMES))
    digest = Digest.of(encoded(drawn_image(random.Random(rng.randint(0, 3)))))
    await node.remove.manifest(access_to, Reference(digest=digest))


async def delete_blob(site: Site, node: House, rng: random.Random) -> None:
    """A blob that nothing uses."""
    await node.remove.blob(await node.at(rng.choice(NAMES)), Digest.of(rng.choice(CONTENTS)))


async def look(site: Site, node: House, rng: random.Random) -> None:
    """HEAD of a blob, which lengthens its lease."""
    await node.pull.stat_blob(await node.at(rng.choice(NAMES)), Digest.of(rng.choice(CONTENTS)))


async def delete_repository(site: Site, node: House, rng: random.Random) -> None:
    """All of it."""
    admin = site.repositories(node)
    await admin.delete(await admin.entry(rng.choice(NAMES), ADMIN))


async def rename_repository(site: Site, node: House, rng: random.Random) -> None:
    """To a name that is free, or was another one's a moment ago; or a former name is given up."""
    admin = site.repositories(node)
    name, other = rng.sample([*NAMES, *SPARE_NAMES], k=2)
    target = await admin.entry(name, ADMIN)
    if rng.random() < 0.6:
        await admin.move(target, other, None)
    else:
        await admin.remove_alias(target, other)


async def collect(site: Site, node: House, rng: random.Random) -> None:
    """Blobs that nothing refers to, as if every lease were over: pushes that counted on one are told so."""
    now = node.now + 2 * LEASE_MS
    await node.database.write(lambda connection: collection.review(connection, now=now, count=100))


async def change_team(site: Site, node: House, rng: random.Random) -> None:
    """Somebody joins, leaves, or the team goes and comes again."""
    admin, place = site.organizations(node), ("acme", rng.choice(TEAMS))
    if rng.random() < 0.2:
        await admin.remove_team(*place, ADMIN)
        await admin.add_team(*place, ADMIN)
        return
    await admin.set_in_team(place, rng.choice(PEOPLE), ADMIN, is_in=rng.random() < 0.6)


async def change_member(site: Site, node: House, rng: random.Random) -> None:
    """Owner, member or neither; admin of the instance or not."""
    admin, name = site.organizations(node), rng.choice(PEOPLE)
    if rng.random() < 0.3:
        await site.accounts(node).set_admin(name, ADMIN, is_admin=rng.random() < 0.5)
    elif rng.random() < 0.3:
        await admin.remove_member("acme", name, ADMIN)
    else:
        await admin.set_member("acme", name, ADMIN, is_owner=rng.random() < 0.5)


async def change_role(site: Site, node: House, rng: random.Random) -> None:
    """A role is given or taken, a repository shown or hidden."""
    admin, name = site.repositories(node), rng.choice(NAMES)
    if rng.random() < 0.3:
        await admin.set_visibility(await admin.entry(name, ADMIN), rng.choice(list(Visibility)))
        return
    holder = rng.choice([*PEOPLE, *(f"team:acme/{team}" for team in TEAMS)])
    roles = site.roles(node)
    await roles.give(await roles.spot(rng.choice([name, "acme/*"]), ADMIN), holder, rng.choice(list(Role)))


ALL_STEPS: tuple[Step, ...] = (
    push_image,
    push_image,
    push_image,
    push_sparsely,
    push_sparsely,
    push_blob,
    mount,
    delete_tag,
    delete_manifest,
    delete_blob,
    look,
    delete_repository,
    rename_repository,
    rename_repository,
    collect,
    change_team,
    change_member,
    change_role,
)

BROKEN = {
    "an edge to a blob that is shown, without its target": """
        SELECT e.* FROM manifest_blobs e JOIN repository_blobs b USING (repository_id, digest)
        WHERE e.linked_digest IS NULL""",
    "an edge to a child that is there, without its target": """
        SELECT e.* FROM manifest_children e JOIN manifests m USING (repository_id, digest) WHERE e.child_id IS NULL""",
    "a referrer of a manifest that is there, without its target": """
        SELECT r.id FROM manifests r JOIN manifests m
        ON m.repository_id = r.repository_id AND m.digest = r.subject_digest WHERE r.subject_id IS NULL""",
    "a blob without a live object": """
        SELECT * FROM blobs b JOIN objects o ON o.id = b.object_id WHERE o.state <> 'live' OR o.digest <> b.digest""",
    "a live object that no blob is served from": """
        SELECT * FROM objects o WHERE state = 'live' AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.object_id = o.id)""",
    "an object that is uploaded by nobody": """
        SELECT * FROM objects o WHERE state = 'uploading'
        AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.object_id = o.id)""",
    "a history with a gap": """
        SELECT repository_id, name FROM tag_history GROUP BY 1, 2 HAVING count(*) <> max(version)""",
    "a tag that is not the end of its history": """
        SELECT t.name FROM tags t JOIN manifests m ON m.id = t.manifest_id
        JOIN tag_history h ON h.repository_id = t.repository_id AND h.name = t.name AND h.version = t.version
        WHERE h.digest IS DISTINCT FROM m.digest
        OR EXISTS (SELECT 1 FROM tag_history n
            WHERE n.repository_id = t.repository_id AND n.name = t.name AND n.version > t.version)""",
    "an end of a history that is not the tag": """
        SELECT h.name FROM tag_history h WHERE h.digest IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM tag_history n
            WHERE n.repository_id = h.repository_id AND n.name = h.name AND n.version > h.version)
        AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = h.repository_id AND t.name = h.name)""",
    "a repository that is deleted and still there": "SELECT id FROM repositories WHERE deleted_at IS NOT NULL",
    "a former name that a repository has": "SELECT name FROM repository_aliases JOIN repositories USING (name)",
    "an organization without an owner": """
        SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM members WHERE is_owner)""",
    "an instance without an admin": "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE is_admin)",
    "revisions with a gap": """
        SELECT 1 FROM (SELECT count(DISTINCT revision) AS number, max(revision) AS newest FROM access_changes) c
        WHERE number <> newest""",
}
"""What must not be there, and how it would be found."""


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    """For the services that want it."""
    found = Passwords()
    yield found
    found.close()


def site_of(backend: PostgresqlBackend, passwords: Passwords) -> Site:
    """Nodes of one database."""
    first = backend.new()
    databases = [first, *(backend.again(first) for _ in range(NODES - 1))]
    store = MemoryStore()
    return Site([House(database, store) for database in databases], passwords)


async def test_many_clients_do_everything_at_once(postgresql_backend: PostgresqlBackend, passwords: Passwords) -> None:
    """CR-29, CR-30, CR-46: 32 clients at three nodes push, tag, mount, delete and administrate the same few things:
    PostgreSQL sees no deadlock, no request fails for our sake, and all that is there afterwards fits together."""
    site = site_of(postgresql_backend, passwords)
    await site.set_up()
    await asyncio.gather(*(site.run(client) for client in range(CLIENTS)))
    await site.repositories(site.nodes[0]).finish_deletes()
    print(f"{CLIENTS * STEPS} steps; refused: {dict(site.refused)}")
    assert not site.failed
    first = site.nodes[0]
    assert isinstance(first.database, PostgresqlDatabase)
    assert postgresql_backend.cluster.deadlocks(str(first.database.url.database)) == 0
    for what, query in BROKEN.items():
        assert await first.rows(query) == [], what
    assert await first.rows("SELECT 1 FROM manifests LIMIT 1")


async def attempted(attempts: list[Awaitable[Any]]) -> tuple[int, list[BaseException]]:
    """How many went through, and what the others raised."""
    done = await asyncio.gather(*attempts, return_exceptions=True)
    raised = [one for one in done if isinstance(one, BaseException)]
    return len(done) - len(raised), raised


async def test_open_uploads_are_limited_exactly(backend: Backend) -> None:
    """The limit of an account holds when fifty uploads begin at the same moment."""
    house = House(backend.new())
    await Installation(house.database, house.store, house.clock).open()
    made = NewAccount(AccountName("ann"), USER, "x")
    owner_id = await house.database.write(lambda connection: accounts.add(connection, made, now=1))
    uploads = Uploads(house.database, house.store, house.clock, LEASE_MS, ttl_ms=LEASE_MS, open_per_account=7)
    opened = await house.at(NAMES[0])
    mine = type(opened)(opened.name, opened.id, type(NOBODY)(owner_id, "ann", "test"))
    succeeded, raised = await attempted([uploads.start(mine) for _ in range(ATTEMPTS)])
    assert succeeded == 7
    assert {type(error) for error in raised} == {TooManyRequests}


async def test_tokens_are_limited_exactly(
    backend: Backend, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, of the tokens of an account."""
    house = House(backend.new())
    monkeypatch.setattr("registry.services.personal_tokens.TOKENS_PER_ACCOUNT", 5)
    await Installation(house.database, house.store, house.clock).open()
    await Accounts(house.database, passwords, house.clock).add_user("ann", "correct horse", ADMIN)
    tokens = PersonalTokens(house.database, house.clock)
    limits = TokenLimits(frozenset({TokenScope.READ}))
    succeeded, _ = await attempted([tokens.create("ann", "t", limits, ADMIN, life_s=None) for _ in range(ATTEMPTS)])
    assert succeeded == 5


async def test_the_last_admin_stays(backend: Backend, passwords: Passwords) -> None:
    """Ten admins who all step down at once are refused once."""
    house = House(backend.new())
    await Installation(house.database, house.store, house.clock).open()
    names = [f"admin{number}" for number in range(10)]

    def add(connection: Connection) -> None:
        for name in names:
            accounts.add(connection, NewAccount(AccountName(name), USER, "x", is_admin=True), now=1)

    await house.database.write(add)
    admin = Accounts(house.database, passwords, house.clock)
    succeeded, _ = await attempted([admin.set_admin(name, ADMIN, is_admin=False) for name in names])
    assert succeeded == 9
    assert await house.database.read(accounts.count_active_admins) == 1


async def test_one_repository_of_a_name(backend: Backend) -> None:
    """Fifty first pushes of one new name make one repository, and each is told its id."""
    house = House(backend.new())
    opened = await house.at(NAMES[0])

    def ensure(connection: Connection) -> tuple[int, bool]:
        repository, is_made = repositories.ensure(connection, opened, now=1)
        return repository.id, is_made

    found = await asyncio.gather(*(house.database.write(ensure) for _ in range(ATTEMPTS)))
    assert len({repository_id for repository_id, _ in found}) == 1
    assert sum(is_made for _, is_made in found) == 1


async def test_tags_put_at_once_are_one_history(backend: Backend) -> None:
    """CR-30: one new tag put by many, and deleted by some, is a register: each change has its version, none is lost."""
    house = House(backend.new())
    await house.blob(b"{}", NAMES[0])
    await house.blob(CONTENTS[0], NAMES[0])
    images = []
    for number in range(10):
        document = drawn_image(random.Random(1)) | {"annotations": {"number": str(number)}}
        document["layers"] = [described(CONTENTS[0], "application/x")]
        document.pop("subject", None)
        images.append(document)
    deletes = [house.remove.manifest(await house.at(NAMES[0]), Reference(tag=Tag("v1"))) for _ in range(10)]
    _, raised = await attempted([*(put(house, NAMES[0], image, "v1") for image in images), *deletes])
    assert all(isinstance(error, RegistryError) and not isinstance(error, OurFault) for error in raised)
    for what in ("a history with a gap", "a tag that is not the end of its history"):
        assert await house.rows(BROKEN[what]) == [], what


async def test_a_blob_and_what_waits_for_it_meet(postgresql_backend: PostgresqlBackend) -> None:
    """Decision 2: a blob that is being linked while a manifest that names it is being stored: whichever commits first,
    the edge has its target."""
    database = postgresql_backend.new()
    assert isinstance(database, PostgresqlDatabase)
    house = House(database, references=References.OFF)
    await house.blob(b"{}", NAMES[0])
    await house.blob(CONTENTS[0], NAMES[1])
    target = await house.at(NAMES[0])
    digest = Digest.of(CONTENTS[0])
    is_linked, go_on = threading.Event(), threading.Event()

    def link(connection: Connection) -> None:
        repository_id = repositories.lock(connection, target).id
        locks.blob_arrives(connection, repository_id)
        assert blobs.hold(connection, digest, until=1)
        blobs.link(connection, repository_id, digest, now=1)
        is_linked.set()
        assert go_on.wait(30)

    linking = asyncio.ensure_future(house.database.write(link))
    await asyncio.to_thread(is_linked.wait, 30)
    document = drawn_image(random.Random(1)) | {"layers": [described(CONTENTS[0], "application/x")]}
    document.pop("subject", None)
    pushing = asyncio.ensure_future(put(house, NAMES[0], document))

    cluster, name = postgresql_backend.cluster, str(database.url.database)
    await asyncio.to_thread(wait_until, lambda: pushing.done() or cluster.is_waiting(name))
    go_on.set()
    await asyncio.gather(linking, pushing)
    assert await house.rows("SELECT 1 FROM manifest_blobs WHERE linked_digest IS NULL") == []


async def test_logins_are_limited_and_end_with_the_password(backend: Backend, passwords: Passwords) -> None:
    """SEC-012: fifty logins that begin while the password is changed: each is refused, or ended by the change."""
    house = House(backend.new())
    await Installation(house.database, house.store, house.clock).open()
    admin = Accounts(house.database, passwords, house.clock)
    await admin.add_user("ann", "correct horse", ADMIN)
    account = await admin.get("ann")
    changes = Changes(house.database)
    rights = Access(house.database, changes, default_visibility=Visibility.PRIVATE, is_open=False)
    keys = Keys(house.database, InstanceSecret(b"x" * 32), house.clock)
    server = TokenServer(
        house.database, rights, keys, house.clock, Parties("x", ("x",)), token_ttl_s=300, refresh_ttl_s=300
    )
    principal = Principal(account.id, "ann", "password", revision=account.revision)
    begun = [server.begin_login(principal, "test", ADMIN) for _ in range(ATTEMPTS)]
    await attempted([*begun[:25], admin.set_password("ann", "another horse", ADMIN), *begun[25:]])
    assert await house.rows("SELECT 1 FROM tokens") == []


async def test_revisions_have_no_gaps(backend: Backend) -> None:
    """Who reads changes while they are made never sees a later one before an earlier one."""
    database: Database = backend.new()
    insert = text("INSERT INTO installation (id, identity, boot_id, created_at) VALUES (1, 'a', 'b', 0)")
    await database.write(lambda connection: connection.execute(insert).rowcount)

    def change(connection: Connection) -> None:
        access.lock_changes(connection)
        access.note_changes(connection, ["r1"], now=1)

    seen: list[int] = []

    async def watch() -> None:
        while not seen or seen[-1] < ATTEMPTS:
            rows, newest = await database.point(lambda connection: access.changes_after(connection, 0))
            assert [revision for revision, _ in rows] == list(range(1, len(rows) + 1))
            seen.append(newest)
            # On SQLite a point lets nobody else run.
            await asyncio.sleep(0)

    await asyncio.gather(watch(), *(database.write(change) for _ in range(ATTEMPTS)))
