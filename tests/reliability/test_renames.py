"""Names that change under clients: what is pulled, pushed and written down by the old one and the new one."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import httpx2
import pytest

from registry.core.access import Role, TokenScope
from registry.core.digest import Digest
from registry.core.errors import Conflict, NameUnknown
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import RepositoryName
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.reliability.hub import ADMIN, ORIGIN, Desk, Headers, ask, basic, bearer, push, token_of
from tests.running import Registry, wait_until


@dataclass
class World:
    """A server with accounts, and a desk beside it. Alice owns the organization acme."""

    registry: Registry
    desk: Desk
    alice: Headers

    def client(self, shown: Headers) -> httpx2.Client:
        """Somebody who shows something."""
        found = self.registry.client()
        found.headers.update(shown)
        return found

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """What SQL says."""
        with sqlite3.connect(self.registry.data / "registry.db") as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For the whole module; each test has repositories of its own."""
    data = tmp_path_factory.mktemp("renames") / "data"
    flags = ("--external-url", ORIGIN, "--requests-per-second", "0")
    registry = Registry.start(data, *flags, is_open=False)
    try:
        desk = Desk(data)
        alice = desk.user("alice")
        desk.organization("acme", "alice")
        yield World(registry, desk, alice)
        desk.close()
        assert [line for line in registry.log_lines() if line["level"] == "error"] == []
    finally:
        registry.kill()


def named(image: Image, name: str) -> Image:
    """The same by another name."""
    return Image(name, image.tag, image.blobs)


def shown_by_token(world: World, shown: Headers, name: str) -> Headers:
    """An access token to pull and push."""
    with world.registry.client() as client:
        return bearer(token_of(client, shown, f"repository:{name}:pull,push"))


def eventually(check: Callable[[], bool]) -> None:
    """Within the bound of revocations."""
    wait_until(check, limit_s=5)


def gets(world: World, shown: Headers, path: str) -> int:
    """The status of a GET."""
    with world.client(shown) as client:
        return client.get(path).status_code


def answers(world: World, shown: Headers, path: str, status: int) -> bool:
    """Whether a GET has this status."""
    return gets(world, shown, path) == status


def is_at(client: httpx2.Client, image: Image, name: str) -> bool:
    """Whether a name means the repository of this image."""
    return client.get(f"/v2/{name}/manifests/{image.tag}").content == image.manifest


def test_both_names_pull_and_push(world: World) -> None:
    """Decision 27: after a rename the old name and the new one pull and push the same repository, with a name and
    password, a token from before and a new one, without a redirect."""
    image = push(world.registry, world.alice, "alice/old")
    before = shown_by_token(world, world.alice, "alice/old")
    world.desk.move("alice/old", "alice/new")
    for name in ("alice/old", "alice/new"):
        shown = [world.alice, shown_by_token(world, world.alice, name), *([before] if name == "alice/old" else [])]
        for number, each in enumerate(shown):
            with world.client(each) as client:
                pull_whole(client, named(image, name))
                answer = expect(client.get(f"/v2/{name}/tags/list"), 200)
                assert answer.json()["name"] == name and "v1" in answer.json()["tags"]
                Pusher(client).push(Image(name, f"{name[6:]}-{number}", [b"{}", b"layer %d" % number]), way="stream")
    with world.client(world.alice) as client:
        tags = {name: client.get(f"/v2/{name}/tags/list").json()["tags"] for name in ("alice/old", "alice/new")}
    assert tags["alice/old"] == tags["alice/new"] == ["new-0", "new-1", "old-0", "old-1", "old-2", "v1"]


def test_an_upload_that_began_by_the_old_name_ends_by_it(world: World) -> None:
    """A rename in the middle of a push voids nothing: upload, token and manifest go on, and what is written down has
    the real name."""
    push(world.registry, world.alice, "alice/mid")
    token = shown_by_token(world, world.alice, "alice/mid")
    image = Image("alice/mid", "v2", [b"{}mid", b"mid layer"])
    with world.client(token) as client:
        location = expect(client.post("/v2/alice/mid/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=image.blobs[0][:1]), 202)
        world.desk.move("alice/mid", "alice/renamed")
        assert expect(client.patch(location, content=image.blobs[0][1:]), 202).headers["location"] == location
        put = expect(client.put(f"{location}?digest={Digest.of(image.blobs[0])}"), 201)
        assert put.headers["location"].startswith("/v2/alice/mid/blobs/")
        Pusher(client).push_blob("alice/mid", image.blobs[1], way="put")
        headers = {"content-type": OCI_MANIFEST}
        expect(client.put("/v2/alice/mid/manifests/v2", content=image.manifest, headers=headers), 201)
        expect(client.delete("/v2/alice/mid/manifests/v2"), 401)
    with world.client(world.alice) as client:
        expect(client.delete("/v2/alice/mid/manifests/v2"), 202)
    digest = str(Digest.of(image.manifest))
    events = [json.loads(row[0]) for row in world.rows("SELECT event FROM outbox")]
    found = [(event["kind"], event["repository"]) for event in events if event["digest"] == digest]
    assert found == [(kind, "alice/renamed") for kind in ("manifest.pushed", "tag.set", "tag.deleted")]
    audited = world.rows(
        "SELECT action, repository FROM audit WHERE repository IN ('alice/mid', 'alice/renamed') ORDER BY id"
    )
    moved = audited.index(("repository.renamed", "alice/mid"))
    assert {row[1] for row in audited[: moved + 1]} == {"alice/mid"}
    assert {row[1] for row in audited[moved + 1 :]} == {"alice/renamed"}
    assert ("blob.pushed", "alice/renamed") in audited


def test_names_go_round(world: World) -> None:
    """Chains of renames, a rename back, and two names that are swapped once each is given up."""
    first = push(world.registry, world.alice, "alice/a")
    second = push(world.registry, world.alice, "alice/b")
    for new in ("alice/a1", "alice/a2", "alice/a3"):
        world.desk.move("alice/a", new)
    world.desk.move("alice/a3", "alice/a1")
    with world.client(world.alice) as client:
        for name in ("alice/a", "alice/a1", "alice/a2", "alice/a3"):
            pull_whole(client, named(first, name))
    aliases = world.desk.run(world.desk.repositories.aliases(world.desk.way_in("alice/a2")))
    assert [alias.name for alias in aliases] == ["alice/a", "alice/a2", "alice/a3"]
    with pytest.raises(Conflict):
        world.desk.move("alice/b", "alice/a")
    with pytest.raises(Conflict):
        world.desk.move("alice/a1", "alice/b")
    world.desk.give_up("alice/a1", "alice/a")
    world.desk.move("alice/b", "alice/a")
    world.desk.give_up("alice/a", "alice/b")
    world.desk.move("alice/a1", "alice/b")
    with world.client(world.alice) as client:
        for image, name in ((second, "alice/a"), (first, "alice/b")):
            eventually(partial(is_at, client, image, name))
            pull_whole(client, named(image, name))


def test_a_name_that_was_given_up_is_free(world: World) -> None:
    """SEC-022: it means nothing any more, also for a token that was got for it; and the repository that takes it is
    another one."""
    image = push(world.registry, world.alice, "alice/up")
    world.desk.move("alice/up", "alice/kept")
    token = shown_by_token(world, world.alice, "alice/up")
    assert gets(world, token, "/v2/alice/up/manifests/v1") == 200
    with pytest.raises(NameUnknown):
        world.desk.give_up("alice/kept", "alice/kept")
    world.desk.give_up("alice/kept", "alice/up")
    eventually(lambda: gets(world, token, "/v2/alice/up/manifests/v1") == 401)
    assert gets(world, world.alice, "/v2/alice/up/manifests/v1") == 404
    other = push(world.registry, world.alice, "alice/up")
    with world.client(world.alice) as client:
        pull_whole(client, other)
        pull_whole(client, named(image, "alice/kept"))
    assert gets(world, token, "/v2/alice/up/manifests/v1") == 401


def test_a_deleted_repository_frees_its_names(world: World) -> None:
    """By its own name only: who says a former one may not know what he deletes."""
    push(world.registry, world.alice, "alice/end")
    world.desk.move("alice/end", "alice/ended")
    with pytest.raises(Conflict):
        world.desk.delete("alice/end")
    world.desk.delete("alice/ended")
    assert world.rows("SELECT * FROM repository_aliases WHERE name LIKE 'alice/end%'") == []
    with world.client(world.alice) as client:
        eventually(lambda: client.post("/v2/alice/end/blobs/uploads/").status_code == 202)
    push(world.registry, world.alice, "alice/end")


def test_a_transfer_changes_who_may(world: World) -> None:
    """SEC-022: roles on the old namespace end for what left it, those on the repository stay, and the owners of the new
    namespace come in, by the old name as by the new one."""
    desk = world.desk
    people = {name: desk.user(name) for name in ("bob", "carol", "dora", "eve")}
    desk.organization("other", "bob")
    image = push(world.registry, world.alice, "acme/ware")
    desk.give("acme/*", "carol", Role.WRITE)
    desk.give("acme/ware", "dora", Role.READ)
    tokens = {name: shown_by_token(world, shown, "acme/ware") for name, shown in people.items()}
    assert {name: gets(world, shown, "/v2/acme/ware/manifests/v1") for name, shown in people.items()} == {
        "bob": 404,
        "carol": 200,
        "dora": 200,
        "eve": 404,
    }
    desk.move("acme/ware", "other/ware")
    wanted = {"bob": 200, "carol": 404, "dora": 200, "eve": 404}
    for name, status in wanted.items():
        for path in ("/v2/acme/ware/manifests/v1", "/v2/other/ware/manifests/v1"):
            eventually(partial(answers, world, people[name], path, status))
    eventually(lambda: {gets(world, token, "/v2/acme/ware/manifests/v1") for token in tokens.values()} == {401})
    with world.client(people["carol"]) as client:
        # It may create in acme, and the name is taken.
        assert client.post("/v2/acme/ware/blobs/uploads/").status_code == 403
    with world.client(shown_by_token(world, people["bob"], "acme/ware")) as client:
        pull_whole(client, named(image, "acme/ware"))
        Pusher(client).push(Image("acme/ware", "v9", [b"{}", b"nine"]), way="whole")
    assert gets(world, people["bob"], "/v2/other/ware/manifests/v9") == 200


def test_a_token_for_names_counts_for_those(world: World) -> None:
    """SEC-022: a personal token that is limited to the old name goes on by that, opens the new one no more than before,
    and finds nothing once the name is given up."""
    push(world.registry, world.alice, "alice/narrow")
    _, secret = world.desk.personal_token("alice", TokenScope.READ, repositories=("alice/narrow",))
    shown = basic("alice", secret)
    assert gets(world, shown, "/v2/alice/narrow/manifests/v1") == 200
    world.desk.move("alice/narrow", "alice/wide")
    assert gets(world, shown, "/v2/alice/narrow/manifests/v1") == 200
    assert gets(world, shown, "/v2/alice/wide/manifests/v1") == 404
    with world.registry.client() as client:
        assert ask(client, shown, "repository:alice/wide:pull")["scope"] == ""
    world.desk.give_up("alice/wide", "alice/narrow")
    eventually(lambda: gets(world, shown, "/v2/alice/narrow/manifests/v1") == 404)


def test_lists_show_the_name_that_it_has(world: World) -> None:
    """The catalog knows no former names."""
    push(world.registry, world.alice, "alice/listed")
    world.desk.move("alice/listed", "alice/relisted")
    with world.client(world.alice) as client:
        names = client.get("/v2/_catalog").json()["repositories"]
    assert "alice/relisted" in names
    assert "alice/listed" not in names


def test_what_is_missing_is_said_by_its_name(world: World) -> None:
    """Whoever cannot have a former name looks no different from one who asks for what never was."""
    push(world.registry, world.alice, "alice/hidden")
    world.desk.move("alice/hidden", "alice/veiled")
    mallory = world.desk.user("mallory")
    with world.client(mallory) as client:
        found = client.get("/v2/alice/hidden/manifests/v1")
        missing = client.get("/v2/alice/nothere/manifests/v1")
    assert found.status_code == missing.status_code == 404
    assert found.text.replace("hidden", "nothere") == missing.text
    assert world.desk.run(world.desk.repositories.entry(RepositoryName("alice/hidden"), ADMIN)).id is not None
