"""The audit: one right row for each change, none for what failed, and no way to change one."""

import json
from dataclasses import dataclass, field

import httpx2
import pytest
from click.testing import CliRunner

from registry.cli import main
from registry.core.digest import Digest
from registry.metadata import sqlite
from tests.reliability.client import Image, Pusher, expect
from tests.reliability.tenants import (
    ADMIN,
    ALICE,
    BOB,
    CANARY_DIGEST,
    SHOWN_DIGEST,
    basic,
    personal_token,
    put_manifest,
    scope,
    sql,
)
from tests.running import Registry

COLUMNS = "id, actor, credential, address, action, repository, digest, target"


@dataclass
class Audit:
    """The rows of a server, read bit by bit."""

    registry: Registry
    seen: int = field(init=False)

    def __post_init__(self) -> None:
        """From now on."""
        [(self.seen,)] = sql(self.registry, "SELECT coalesce(max(id), 0) FROM audit")

    def new(self) -> list[tuple[object, ...]]:
        """What has come since: actor, credential, address, action, repository, digest as text, target."""
        rows = sql(self.registry, f"SELECT {COLUMNS} FROM audit WHERE id > ? ORDER BY id", self.seen)
        self.seen = max((row[0] for row in rows), default=self.seen)
        return [(*row[1:6], None if row[6] is None else str(Digest.unpack(row[6])), row[7]) for row in rows]


@pytest.fixture
def audit(house: Registry) -> Audit:
    """What is written from the beginning of a test on."""
    return Audit(house)


IMAGE = Image("alice/audited", "v1", [b"{}", b"content that is audited"])
MANIFEST = str(Digest.of(IMAGE.manifest))
LAYER = str(Digest.of(IMAGE.blobs[1]))


@pytest.mark.parametrize("kind", ["password", "personal", "bearer"])
def test_every_push_and_delete_leaves_its_row(house: Registry, audit: Audit, kind: str) -> None:
    """I12: blobs pushed and mounted, manifests, tags and their end: one row each, with who, how, whence and what."""
    name = f"alice/{kind}"
    image = Image(name, "v1", IMAGE.blobs)
    person = personal_token(house, ALICE, "--scope", "admin") if kind != "password" else ALICE
    way = "bearer" if kind == "bearer" else "basic"
    [(token_id,)] = sql(house, "SELECT coalesce(max(id), 0) FROM tokens")
    audit.new()
    client = person.client(house, way, scope(name), scope("alice/private", "pull"))
    who = ("alice", "password" if kind == "password" else f"personal token {token_id}", "127.0.0.1")
    with client:
        for number, blob in enumerate(IMAGE.blobs):
            Pusher(client).push_blob(name, blob, way="stream" if number else "whole")
            rows = audit.new()
            if not number:
                assert rows.pop(0) == (*who, "repository.created", name, None, "private")
            assert rows == [(*who, "blob.pushed", name, str(Digest.of(blob)), None)]
        expect(client.post(f"/v2/{name}/blobs/uploads/?mount={CANARY_DIGEST}&from=alice/private"), 201)
        assert audit.new() == [(*who, "blob.mounted", name, str(CANARY_DIGEST), None)]
        expect(put_manifest(client, image), 201)
        pushed, tagged = audit.new()
        assert pushed == (*who, "manifest.pushed", name, MANIFEST, None)
        assert tagged == (*who, "tag.set", name, MANIFEST, "v1")
        expect(put_manifest(client, image), 201)
        assert audit.new() == []
        expect(put_manifest(client, image, "v2"), 201)
        assert audit.new() == [(*who, "tag.set", name, MANIFEST, "v2")]
        expect(client.delete(f"/v2/{name}/manifests/v2"), 202)
        assert audit.new() == [(*who, "tag.deleted", name, MANIFEST, "v2")]
        expect(client.delete(f"/v2/{name}/manifests/{MANIFEST}"), 202)
        assert audit.new() == [
            (*who, "tag.deleted", name, MANIFEST, "v1"),
            (*who, "manifest.deleted", name, MANIFEST, None),
        ]
        expect(client.delete(f"/v2/{name}/blobs/{LAYER}"), 202)
        assert audit.new() == [(*who, "blob.unlinked", name, LAYER, None)]


def test_what_fails_leaves_no_row(house: Registry, audit: Audit) -> None:
    """I12: refused, wrong, conditional and unfinished requests, and reading, change nothing and leave nothing."""
    headers = {"if-none-match": "*", "content-type": "application/vnd.oci.image.manifest.v1+json"}
    with ALICE.client(house) as alice, BOB.client(house) as bob:
        path = "/v2/alice/shared/blobs/uploads/"
        location = expect(alice.post(path), 202).headers["location"]
        alice.patch(location, content=b"x")
        assert alice.put(f"{location}?digest={CANARY_DIGEST}").status_code == 400
        assert alice.post(f"{path}?digest={SHOWN_DIGEST}", content=b"x").status_code == 400
        assert put_manifest(alice, Image("alice/shared", "v9", [b"a", b"b"])).status_code == 404
        assert put_manifest(alice, IMAGE, str(SHOWN_DIGEST), name="alice/shared").status_code == 400
        shared = alice.get("/v2/alice/shared/manifests/v1")
        tag = "/v2/alice/shared/manifests/v1"
        assert alice.put(tag, content=shared.content, headers=headers).status_code == 412
        assert alice.delete("/v2/alice/shared/manifests/none").status_code == 404
        assert alice.delete(f"/v2/alice/shared/blobs/{CANARY_DIGEST}").status_code == 404
        assert bob.delete("/v2/alice/shared/manifests/v1").status_code == 403
        assert bob.post(path).status_code == 403
        for read in ("manifests/v1", "tags/list", f"blobs/{CANARY_DIGEST}"):
            bob.get(f"/v2/alice/private/{read}")
            alice.get(f"/v2/alice/private/{read}")
    assert audit.new() == []


def test_logins_that_fail_or_stay(house: Registry, audit: Audit) -> None:
    """A wrong secret is written down with the name that was tried and the address, cut short and without the secret; so
    is a login that a client keeps."""
    tried = [("alice", "alice"), ("nobody", "nobody"), ("x" * 5000, "x" * 64), ("\x1b[31m\r\nroot", "?[31m??root")]
    for name, written in tried:
        headers = basic(name, "a wrong secret that is not written down")
        assert httpx2.get(f"{house.url}/v2/", headers=headers).status_code == 401
        assert audit.new() == [("", "none", "127.0.0.1", "login.failed", None, None, written)]
    token = httpx2.get(f"{house.url}/token?offline_token=true&client_id=docker", headers=ALICE.basic)
    refresh = expect(token, 200).json()["refresh_token"]
    [(token_id,)] = sql(house, "SELECT max(id) FROM tokens")
    assert audit.new() == [("alice", "password", "127.0.0.1", "login.begun", None, None, f"refresh token {token_id}")]
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    expect(httpx2.post(f"{house.url}/token", data=form), 200)
    assert audit.new() == []


CHANGES: list[tuple[str, list[tuple[str, str | None, str | None]]]] = [
    ("user add carol --generate", [("user.added", None, "carol")]),
    ("user password carol --generate", [("password.set", None, "carol")]),
    ("user promote carol", [("account.admin", None, "carol: yes")]),
    ("user demote carol", [("account.admin", None, "carol: no")]),
    ("user visibility carol public", [("account.default-visibility", None, "carol: public")]),
    ("user disable carol", [("account.disabled", None, "carol")]),
    ("user enable carol", [("account.enabled", None, "carol")]),
    ("org add acme --owner alice", [("organization.added", None, "acme"), ("member.set", None, "acme: alice owner")]),
    ("org set-member acme carol", [("member.set", None, "acme: carol member")]),
    ("team add acme devs", [("team.added", None, "acme/devs")]),
    ("team join acme devs carol", [("team.joined", None, "acme/devs: carol")]),
    ("repository grant acme/* team:acme/devs write", [("role.given", None, "team:acme/devs write on acme/*")]),
    ("repository revoke acme/* team:acme/devs", [("role.taken", None, "team:acme/devs none on acme/*")]),
    ("team leave acme devs carol", [("team.left", None, "acme/devs: carol")]),
    ("team remove acme devs", [("team.removed", None, "acme/devs")]),
    ("org remove-member acme carol", [("member.removed", None, "acme: carol")]),
    (
        "robot add acme+ci --role write",
        [("robot.added", None, "acme+ci"), ("role.given", None, "acme+ci write on acme/*")],
    ),
    ("repository grant alice/shared carol admin", [("role.given", "alice/shared", "carol admin on alice/shared")]),
    ("repository revoke alice/shared carol", [("role.taken", "alice/shared", "carol none on alice/shared")]),
    ("repository visibility alice/shared public", [("repository.visibility", "alice/shared", "public")]),
    ("repository visibility alice/shared private", [("repository.visibility", "alice/shared", "private")]),
    ("repository assign alice/shared --instance", [("repository.assigned", "alice/shared", None)]),
    ("repository assign alice/shared", [("repository.assigned", "alice/shared", "alice")]),
    ("org delete acme", [("account.deleted", None, "acme+ci"), ("account.deleted", None, "acme")]),
    ("user delete carol", [("account.deleted", None, "carol")]),
]
REFUSED = [
    "user add alice --generate",
    "user delete alice",
    "user demote admin",
    "org add acme2 --owner nobody",
    "team add alice devs",
    "repository grant alice/none bob read",
    "repository revoke alice/private bob",
    "repository delete --yes alice/none",
    "token revoke 99999",
    "robot add nobody+ci",
]


def test_every_change_of_accounts_leaves_its_row(house: Registry, audit: Audit) -> None:
    """I12: what the operator changes is written with the system's user, once, and what is refused is not."""
    for command, entries in CHANGES:
        assert exit_status(house, command) == 0, command
        rows = audit.new()
        assert [(action, repository, target) for *_, action, repository, _, target in rows] == entries, command
        for actor, credential, address, _, _, digest, _ in rows:
            assert actor and credential == "command line" and address is None and digest is None
    for command in REFUSED:
        assert exit_status(house, command) == 2, command
        assert audit.new() == [], command


def exit_status(registry: Registry, command: str) -> int:
    """Run a command in this process, which for so many is quicker than one process each."""
    return CliRunner().invoke(main, [*command.split(), "--data", str(registry.data)]).exit_code


def test_tokens_keys_imports_and_deletes(house: Registry, audit: Audit) -> None:
    """I12: the rest of what the operator changes; secrets are in no row."""
    person = personal_token(house, BOB, "--name", "for ci")
    [(token_id,)] = sql(house, "SELECT max(id) FROM tokens")
    house.command("token", "revoke", str(token_id))
    kid = house.command("key", "rotate").split()[-1]
    bcrypted = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
    house.command("user", "import", "-", stdin=f"dave:{bcrypted}\nerin:{bcrypted}\n")
    with BOB.client(house) as bob:
        Pusher(bob).push(Image("bob/gone", "v1", [b"{}", b"gone"]), way="whole")
    audited = [row[3:] for row in audit.new() if row[1] == "command line"]
    house.command("repository", "delete", "--yes", "bob/gone")
    assert audited == [
        ("token.created", None, None, f"bob: {token_id} for ci"),
        ("token.revoked", None, None, f"bob: {token_id} for ci"),
        ("key.rotated", None, None, kid),
        ("user.added", None, None, "dave"),
        ("user.added", None, None, "erin"),
    ]
    assert [row[3:] for row in audit.new()] == [("repository.deleted", "bob/gone", None, None)]
    everything = json.dumps(sql(house, "SELECT actor, credential, target FROM audit"))
    for secret in (person.secret, ALICE.secret, BOB.secret, ADMIN.secret, bcrypted):
        assert secret not in everything


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET target = NULL WHERE id = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 1",
    ],
)
def test_rows_can_only_be_added(house: Registry, statement: str) -> None:
    """The database itself refuses every other statement, also from whoever has opened its file."""
    before = sql(house, "SELECT * FROM audit ORDER BY id")
    library = sqlite.library()
    connection = library.connect(house.data / "registry.db")
    try:
        with pytest.raises(library.Error, match="append-only"):
            connection.execute(statement)
        connection.rollback()
    finally:
        connection.close()
    assert sql(house, "SELECT * FROM audit ORDER BY id") == before


def rows(registry: Registry, *flags: str) -> list[dict[str, object]]:
    """What `depotry audit --json` prints."""
    found: list[dict[str, object]] = json.loads(registry.command("audit", "--json", *flags))
    return found


def test_the_command_filters(house: Registry) -> None:
    """Each filter alone and together, newest first, as many as asked for."""
    with ALICE.client(house) as alice:
        Pusher(alice).push(IMAGE, way="whole")
    every = rows(house, "--limit", "100000")
    numbers = [int(str(row["id"])) for row in every]
    assert numbers == sorted(numbers, reverse=True)

    def expected(**wanted: object) -> list[dict[str, object]]:
        return [row for row in every if all(row[key] == value for key, value in wanted.items())]

    limit = ("--limit", "100000")
    for name, value in (
        ("actor", "alice"),
        ("action", "tag.set"),
        ("repository", IMAGE.name),
        ("address", "127.0.0.1"),
    ):
        found = rows(house, f"--{name}", value, *limit)
        assert found and found == expected(**{name: value})
    assert rows(house, "--digest", LAYER, *limit) == expected(digest=LAYER) != []
    assert rows(house, "--digest", MANIFEST, "--action", "manifest.pushed") == expected(
        digest=MANIFEST, action="manifest.pushed"
    )
    tags = rows(house, "--action", "tag.*", *limit)
    assert tags == [row for row in every if str(row["action"]).startswith("tag.")] != []
    assert rows(house, "--action", "*", *limit) == every
    for nothing in ("ta%*", "t_g.*", "%", "tag", "*.set", "' OR 1=1 --"):
        assert rows(house, "--action", nothing) == []
    assert rows(house, "--limit", "3") == every[:3]
    assert rows(house, "--since", "1h", *limit) == rows(house, "--until", "2100-01-01", *limit) == every
    assert rows(house, "--until", "1h") == rows(house, "--since", "2100-01-01T00:00") == []


def test_control_characters_do_not_reach_the_terminal(house: Registry) -> None:
    """SEC-085: names that were tried, and names of clients, are printed without what a terminal would obey."""
    hostile = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202e\r\n\x00\u2028end"
    assert httpx2.get(f"{house.url}/v2/", headers=basic(hostile, "x")).status_code == 401
    query = {"offline_token": "true", "client_id": hostile}
    expect(httpx2.get(f"{house.url}/token", params=query, headers=BOB.basic), 200)
    printed = house.command("audit", "--limit", "5") + house.command("token", "list", "bob")
    printed += house.command("audit", "--limit", "5", "--json") + house.command("token", "list", "bob", "--json")
    assert "end" in printed
    assert not [character for character in printed if not character.isprintable() and character != "\n"]
