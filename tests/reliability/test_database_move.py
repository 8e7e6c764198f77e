"""A registry moves from SQLite to PostgreSQL, with everything that people have from it."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.core.access import Role
from registry.core.digest import Digest
from tests.backends.postgresql import PASSWORD_USER, Cluster
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.reliability.hub import ORIGIN, Desk, Headers, StartRegistry, ask, bearer, push, refresh, token_of
from tests.running import ADMIN_PASSWORD, Registry

ORIGIN_FLAGS = ("--external-url", ORIGIN)
SCOPE = "repository:acme/app:pull,push"


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    """The name of an empty database."""
    name = cluster.empty()
    yield name
    cluster.drop(name)


def depotry(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "registry", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **(env or {})}
    )


def move(data: Path, url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """`depotry migrate --from … --to …`."""
    source = f"sqlite:///{data}/registry.db"
    return depotry("migrate", "--from", source, "--to", url, "--data", str(data), *flags)


def test_a_whole_registry_moves(start_registry: StartRegistry, cluster: Cluster, empty: str) -> None:
    """A server runs on the source meanwhile: pulls go on, writes are 503, and stay so. Afterwards the server on
    PostgreSQL takes the old passwords and tokens, and no id is given out twice."""
    old = start_registry(*ORIGIN_FLAGS, is_open=False)
    desk = Desk(old.data)
    ann = desk.user("ann")
    desk.organization("acme", "ann")
    robot = desk.robot("acme+ci", Role.WRITE)
    desk.close()
    image = push(old, robot, "acme/app")
    with old.client() as client:
        access = bearer(token_of(client, ann, SCOPE))
        remembered = ask(client, ann, SCOPE, offline_token="true", client_id="test")["refresh_token"]
        location = expect(client.post("/v2/acme/app/blobs/uploads/", headers=robot), 202).headers["location"]
        expect(client.patch(location, content=b"half ", headers=robot), 202)
    moved = move(old.data, cluster.url(empty))
    assert moved.returncode == 0, moved.stderr
    assert f"process {old.process.pid} has the database open" in moved.stdout
    with old.client() as client:
        client.headers.update(access)
        pull_whole(client, image)
        late = client.post("/v2/acme/app/blobs/uploads/")
        assert (late.status_code, late.headers["retry-after"]) == (503, "30")
        assert "database" in expect(client.get(f"{old.metrics_url}/readyz"), 200).json()["degraded"]
        del client.headers["authorization"]
        client.headers.update(bearer(token_of(client, ann, SCOPE)))
        pull_whole(client, image)
        expect(client.get("/token", params={"scope": SCOPE}, auth=("ann", "not her password")), 401)
        kept = client.get("/token", params={"scope": SCOPE, "offline_token": "true", "client_id": "t"}, headers=robot)
        expect(kept, 503)
        client.headers.update(bearer(expect(refresh(client, remembered, SCOPE), 200).json()["access_token"]))
        pull_whole(client, image)
        client.headers.update(bearer(token_of(client, robot, SCOPE)))
        pull_whole(client, image)
        client.headers.update(robot)
        pull_whole(client, image)
    assert "moved to another place" in old.output()
    assert "Traceback" not in old.output()
    old.kill()
    again = depotry("serve", "--data", str(old.data), "--port", "0", *ORIGIN_FLAGS)
    assert again.returncode == 2
    assert "has been moved to postgresql://" in again.stderr
    new = Registry.start(old.data, *ORIGIN_FLAGS, is_open=False, database=cluster.url(empty))
    try:
        check_moved(new, image, {"ann": ann, "robot": robot, "access": access}, remembered)
        with new.client() as client:
            digest = Digest.of(b"half done")
            expect(client.put(f"{location}?digest={digest}", content=b"done", headers=robot), 201)
    finally:
        new.kill()


def check_moved(new: Registry, image: Image, shown: dict[str, Headers], remembered: str) -> None:
    """What people had before is good now."""
    with new.client() as client:
        for headers in shown.values():
            client.headers.update(headers)
            pull_whole(client, image)
    with new.client() as client:
        expect(refresh(client, remembered, SCOPE), 200)
        expect(client.get("/token", auth=("admin", ADMIN_PASSWORD)), 200)
    before = object_ids(new.data)
    push(new, shown["robot"], "acme/app", "v2")
    added = object_ids(new.data) - before
    assert added
    assert min(added) > max(before)
    assert "blob.pushed" in new.command("audit", "--repository", "acme/app")


def object_ids(data: Path) -> set[int]:
    """The ids of the objects in the folder of blobs."""
    return {int(path.name.rpartition(".")[2]) for path in (data / "blobs" / "sha256").rglob("*.*") if path.is_file()}


def test_an_unfinished_target_does_not_serve(start_registry: StartRegistry, cluster: Cluster, empty: str) -> None:
    """Nor does any other command work on it; the move goes on where it stopped, also under another name of the same
    target, and can be taken back."""
    old = start_registry()
    with old.client() as client:
        Pusher(client).push(Image.random("a/b", "v1", random.Random(1)), way="whole")
    old.stop()
    url = cluster.url(empty)
    assert move(old.data, url).returncode == 0
    row = "INSERT INTO incoming VALUES (1, 'x', '{\"table\": null, \"key\": null}', 1)"
    cluster.run(row, name=empty)
    for command in (["serve", "--open", "--port", "0"], ["stats"]):
        refused = depotry(*command, "--data", str(old.data), "--database", url)
        assert refused.returncode == 2
        assert "not finished" in refused.stderr
    back = depotry("migrate", "--undo", "--from", f"sqlite:///{old.data}/registry.db")
    assert back.returncode == 0, back.stderr
    assert "nothing must be served from the copy" in back.stdout
    with start_registry(data=old.data).client() as client:
        expect(client.post("/v2/a/b/blobs/uploads/"), 202)


def test_passwords_are_not_shown(start_registry: StartRegistry, tmp_path: Path, cluster: Cluster, empty: str) -> None:
    """The one from `--database-password-file` counts for the target; neither a refusal nor a success prints one."""
    old = start_registry()
    old.stop()
    cluster.run(f"DROP ROLE IF EXISTS {PASSWORD_USER}", f"CREATE ROLE {PASSWORD_USER} LOGIN PASSWORD 'hunter-2'")
    cluster.run(f"GRANT ALL ON SCHEMA public TO {PASSWORD_USER}", "CREATE EXTENSION pg_trgm", name=empty)
    wrong = move(old.data, cluster.url(empty, user=PASSWORD_USER, password="hunter-3"))
    assert wrong.returncode == 2
    assert "password authentication failed" in wrong.stderr
    file = tmp_path / "password"
    file.write_text("hunter-2\n", encoding="utf-8")
    url = cluster.url(empty, user=PASSWORD_USER, password="hunter-3")
    right = move(old.data, url, "--database-password-file", str(file))
    assert right.returncode == 0, right.stderr
    refused = depotry("stats", "--data", str(old.data))
    for ended in (wrong, right, refused):
        assert "hunter" not in ended.stdout + ended.stderr
    cluster.run(f"REASSIGN OWNED BY {PASSWORD_USER} TO postgres", f"DROP OWNED BY {PASSWORD_USER}", name=empty)
    cluster.run(f"DROP ROLE {PASSWORD_USER}")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--from", "sqlite:///x.db"], "--from and --to go together"),
        (["--to", "postgresql://a@b/c"], "--from and --to go together"),
        (["--undo"], "--from and --to go together"),
        (["--undo", "--from", "sqlite:///x.db", "--to", "postgresql://a@b/c"], "--from and --to go together"),
        (["--from", "postgresql://a@b/c", "--to", "postgresql://a@b/d"], "pg_dump"),
        (["--from", "postgresql://a@b/c", "--to", "sqlite:///x.db"], "pg_dump"),
        (["--from", "sqlite:///x.db", "--to", "sqlite:///y.db"], "can be copied"),
        (["--from", "sqlite:///x.db", "--to", "/y"], "--to: a database moves to postgresql://"),
        (["--from", "sqlite:///missing.db", "--to", "postgresql://a@127.0.0.1:9/d"], "missing.db does not exist"),
    ],
)
def test_wrong_ways_are_refused(tmp_path: Path, flags: list[str], says: str) -> None:
    """In one line, and nothing is made."""
    ended = depotry("migrate", *flags, "--data", str(tmp_path))
    assert ended.returncode == 2
    assert says in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_does_not_answer_leaves_the_source_open(start_registry: StartRegistry) -> None:
    old = start_registry()
    ended = move(old.data, "postgresql://a@127.0.0.1:9/d")
    assert ended.returncode == 2
    assert "refused" in ended.stderr
    with old.client() as client:
        expect(client.post("/v2/a/b/blobs/uploads/"), 202)
