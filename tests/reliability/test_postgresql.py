"""Real servers on a real PostgreSQL: what they refuse to start on, a pooler between, and a database that goes away."""

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.metadata import migrate
from tests.backends.pgbouncer import Pooler
from tests.backends.postgresql import PASSWORD_USER, Cluster
from tests.reliability.client import Image, Pusher, pull_whole
from tests.running import ADMIN_PASSWORD, Registry, free_port, wait_until

StartRegistry = Callable[..., Registry]
SECRET = "tr0ub4dor&3%2F:@"
REFUSED_WITHIN_S = 20.0


def flags(data: Path, *more: str) -> list[str]:
    """`depotry` on this folder."""
    return [sys.executable, "-m", "registry", *more, "--data", str(data)]


def refused(data: Path, *more: str) -> str:
    """What `serve` says when it does not start: one line, within seconds, and status 2."""
    began = time.monotonic()
    ended = subprocess.run(
        [*flags(data, "serve"), "--port", "0", "--open", *more], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert time.monotonic() - began < REFUSED_WITHIN_S
    assert ended.stderr.count("\n") == 1 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


@pytest.fixture
def name(cluster: Cluster) -> Iterator[str]:
    """A database without tables."""
    found = cluster.empty()
    yield found
    cluster.drop(found)


def pushed(registry: Registry, repository: str, *, seed: int = 0, auth: tuple[str, str] | None = None) -> Image:
    """An image that was pushed whole."""
    image = Image.random(repository, "v1", random.Random(seed))
    with registry.client(auth) as client:
        Pusher(client).push(image, way="chunks")
    return image


def is_there(registry: Registry, image: Image, *, auth: tuple[str, str] | None = None) -> bool:
    """Whether it can be had, byte for byte; False where there is no answer now."""
    with registry.client(auth) as client:
        if client.get(f"/v2/{image.name}/manifests/{image.tag}").status_code == 503:
            return False
        pull_whole(client, image)
        return True


def test_an_empty_database_is_set_up(start_registry: StartRegistry, cluster: Cluster, name: str) -> None:
    """The first server makes the schema, and a second one beside it, and commands, find it."""
    first = start_registry(database=cluster.url(name))
    image = pushed(first, "team/app")
    second = Registry.start(first.data, database=cluster.url(name))
    try:
        assert is_there(second, image)
    finally:
        second.kill()
    assert '"tags": 1' in first.command("stats", "--json")


def test_servers_may_start_at_once(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """One of them makes the schema, the signing key and the admin; all of them serve, and know the same admin."""
    data = tmp_path / "data"
    password = tmp_path / "password"
    password.write_text(ADMIN_PASSWORD, encoding="utf-8")
    command = [*flags(data, "serve"), "--port", "0", "--metrics-port", "0", "--database", cluster.url(name)]
    command += ["--admin-password-file", str(password)]
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    running = []
    for log in logs:
        with log.open("wb") as out:
            running.append(subprocess.Popen(command, stdout=out, stderr=out))
    try:
        wait_until(lambda: all("is at http" in log.read_text(encoding="utf-8") for log in logs), what="all servers")
    finally:
        for process in running:
            process.kill()
            process.wait()
    with cluster.connect(name) as connection:
        for query in ("SELECT count(*) FROM signing_keys", "SELECT count(*) FROM accounts WHERE is_admin"):
            assert connection.execute(query).fetchone() == (1,)


def test_one_of_many_migrates(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """`depotry migrate` by four processes at once: one does it, the others find nothing to do."""
    command = [*flags(tmp_path, "migrate"), "--database", cluster.url(name)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=110)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len([answer for answer in answers if "was empty" in answer]) == 1


def test_an_older_schema_is_refused(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Servers of the older version may still run on it: somebody has to say when it moves on."""
    subprocess.run([*flags(tmp_path, "migrate"), "--database", cluster.url(name)], check=True, capture_output=True)
    cluster.run("UPDATE alembic_version SET version_num = '0002'", name=name)
    assert "depotry migrate" in refused(tmp_path, "--database", cluster.url(name))


def test_a_server_survives_a_newer_schema(start_registry: StartRegistry, cluster: Cluster, name: str) -> None:
    """A migration that only adds may run before the servers of the new version start."""
    registry = start_registry(database=cluster.url(name))
    cluster.run(
        "ALTER TABLE repositories ADD COLUMN later TEXT",
        "ALTER TABLE manifests ADD COLUMN later BIGINT NOT NULL DEFAULT 0",
        "UPDATE alembic_version SET version_num = '9999'",
        name=name,
    )
    assert is_there(registry, pushed(registry, "team/app"))
    with httpx2.Client() as client:
        assert client.get(f"{registry.metrics_url}/readyz").status_code == 200
    problem = refused(registry.data.parent / "other", "--database", cluster.url(name))
    assert "9999" in problem and "newer" in problem


def test_a_read_only_database_is_refused(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Such as a standby, or one that an administrator has locked; empty or not."""
    cluster.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for _ in range(2):
        problem = refused(tmp_path, "--database", cluster.url(name))
        assert "read-only" in problem and "--database" in problem
        writable = cluster.url(name) + "?options=-c%20default_transaction_read_only%3Doff"
        subprocess.run([*flags(tmp_path, "migrate"), "--database", writable], check=True, capture_output=True)


def test_a_user_without_rights_is_refused(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Before the first push fails."""
    subprocess.run([*flags(tmp_path, "migrate"), "--database", cluster.url(name)], check=True, capture_output=True)
    cluster.run("CREATE ROLE reader LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", name=name)
    try:
        problem = refused(tmp_path, "--database", cluster.url(name, user="reader"))
        assert "reader" in problem and "--database" in problem
        rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader"
        cluster.run(rights, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader", name=name)
        problem = refused(tmp_path, "--database", cluster.url(name, user="reader"))
        assert "sequence objects_id_seq" in problem and "--database" in problem
    finally:
        cluster.run("DROP OWNED BY reader", "DROP ROLE reader", name=name)


def test_a_user_who_may_not_even_look_is_refused(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """And one who may not make tables, where there are none."""
    cluster.run("CREATE ROLE stranger LOGIN", name=name)
    try:
        assert "permission denied" in refused(tmp_path, "--database", cluster.url(name, user="stranger"))
        subprocess.run([*flags(tmp_path, "migrate"), "--database", cluster.url(name)], check=True, capture_output=True)
        assert "permission denied" in refused(tmp_path, "--database", cluster.url(name, user="stranger"))
    finally:
        cluster.run("DROP ROLE stranger", name=name)


def test_a_user_who_may_not_make_the_extension_is_told_what_to_do(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Searches need pg_trgm. Whoever administers the server makes it once, and then any user who may make tables can
    begin."""
    cluster.run("CREATE ROLE maker LOGIN", "GRANT ALL ON SCHEMA public TO maker", name=name)
    url = cluster.url(name, user="maker")
    try:
        problem = refused(tmp_path, "--database", url)
        assert "maker" in problem and "CREATE EXTENSION pg_trgm" in problem and f"database {name}" in problem
        cluster.run("CREATE EXTENSION pg_trgm", name=name)
        subprocess.run([*flags(tmp_path, "migrate"), "--database", url], check=True, capture_output=True)
    finally:
        cluster.run("DROP OWNED BY maker", "DROP ROLE maker", name=name)


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    """Nobody listens there; or somebody who never answers."""
    port = free_port()
    problem = refused(tmp_path, "--database", f"postgresql://me:a@sec@ret@127.0.0.1:{port}/x")
    assert str(port) in problem and "--database" in problem
    assert "sec" not in problem and "ret" not in problem
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert "--database" in refused(tmp_path, "--database", f"postgresql://me@127.0.0.1:{port}/x")
    assert "--database" in refused(tmp_path, "--database", "postgresql://me@no-such-host.invalid/x")
    assert "--database" in refused(tmp_path, "--database", "postgresql://me@127.0.0.1:many/x")


@pytest.fixture
def guarded(cluster: Cluster, name: str) -> Iterator[str]:
    """The name of a database whose owner has to show a password."""
    secret = SECRET.replace("'", "''")
    cluster.run(
        f"CREATE ROLE {PASSWORD_USER} LOGIN PASSWORD '{secret}'", f"ALTER DATABASE {name} OWNER TO {PASSWORD_USER}"
    )
    yield name
    cluster.drop(name)
    cluster.run(f"DROP ROLE {PASSWORD_USER}")


def test_a_password_comes_from_a_file_and_is_never_shown(
    tmp_path: Path, start_registry: StartRegistry, cluster: Cluster, guarded: str
) -> None:
    """SEC-013: it beats the one in the URL, and neither is in what the server says, logs or answers, whatever fails."""
    file = tmp_path / "password"
    file.write_text(SECRET + "\n", encoding="utf-8")
    wrong = "wr0ngpassw0rd"
    with_wrong = cluster.url(guarded, user=PASSWORD_USER, password=wrong)
    problem = refused(tmp_path / "a", "--database", with_wrong)
    assert "--database-password-file" in problem and wrong not in problem
    registry = start_registry("--database-password-file", str(file), "--log-level", "debug", database=with_wrong)
    image = pushed(registry, "team/app")
    cluster.run(
        f"ALTER ROLE {PASSWORD_USER} NOLOGIN",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{PASSWORD_USER}'",
    )
    with registry.client() as client:
        answer = client.get(f"/v2/{image.name}/manifests/{image.tag}")
        assert answer.status_code == 503
        health = client.get("/readyz")
        assert health.status_code == 503
    shown = subprocess.run(
        [*flags(registry.data, "config"), "--database", with_wrong, "--database-password-file", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    everything = registry.output() + answer.text + health.text + shown.stdout + shown.stderr
    assert SECRET not in everything and wrong not in everything
    assert "***" in shown.stdout
    cluster.run(f"ALTER ROLE {PASSWORD_USER} LOGIN")
    wait_until(lambda: is_there(registry, image), what="the database for its user")


def test_a_password_file_without_a_password_is_refused(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Empty, binary, or not there."""
    file = tmp_path / "password"
    for content in (b"", b"\n", b"\xff\xfe"):
        file.write_bytes(content)
        problem = refused(tmp_path / "a", "--database", cluster.url(name), "--database-password-file", str(file))
        assert "--database-password-file" in problem
    file.unlink()
    problem = refused(tmp_path / "a", "--database", cluster.url(name), "--database-password-file", str(file))
    assert str(file) in problem and "--database-password-file" in problem


def test_through_a_pooler(tmp_path: Path, start_registry: StartRegistry, cluster: Cluster, name: str) -> None:
    """pgbouncer in transaction mode: set-up, login, push, mount and pull go through it, migrations and notices past it.
    No session of it keeps a setting of ours."""
    pooler = Pooler(cluster, tmp_path)
    auth = ("admin", ADMIN_PASSWORD)
    try:
        registry = start_registry("--database-direct", cluster.url(name), is_open=False, database=pooler.url(name))
        for seed in range(8):
            assert is_there(registry, pushed(registry, "team/app", seed=seed, auth=auth), auth=auth)
        image = pushed(registry, "team/app", seed=9, auth=auth)
        with registry.client(auth) as client:
            layer = Digest.of(image.blobs[0])
            answer = client.post(f"/v2/team/other/blobs/uploads/?mount={layer}&from=team/app")
            assert answer.status_code == 201
        with cluster.connect(name) as connection:
            listeners = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN %%'", [name]
            ).fetchone()
            prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert listeners == (1,)
        assert prepared == (0,)
        with Pooled(pooler, name) as shown:
            assert shown("statement_timeout") == "0"
            assert shown("synchronous_commit") == "on"
    finally:
        pooler.stop()


class Pooled:
    """What the sessions behind a pooler say of their settings."""

    def __init__(self, pooler: Pooler, name: str) -> None:
        import psycopg

        self._connection = psycopg.connect(pooler.url(name), autocommit=True, prepare_threshold=None)

    def __enter__(self) -> Callable[[str], str]:
        def shown(setting: str) -> str:
            row = self._connection.execute(f"SHOW {setting}".encode()).fetchone()
            assert row is not None
            return str(row[0])

        return shown

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


def test_a_pooler_without_a_way_past_it_is_named(tmp_path: Path, cluster: Cluster, name: str) -> None:
    """Limits cannot be given to a session that is shared, and the server says which setting helps."""
    pooler = Pooler(cluster, tmp_path)
    try:
        assert "--database-direct" in refused(tmp_path / "data", "--database", pooler.url(name))
    finally:
        pooler.stop()


def test_a_restart_of_the_database_is_survived(tmp_path: Path, start_registry: StartRegistry) -> None:
    """CR-15: meanwhile 503 with Retry-After, never 404; afterwards everything works, without a restart of ours, and
    what was acknowledged before a crash of the database is there."""
    own = Cluster(fsync="on")
    try:
        registry = start_registry(database=own.url(own.empty()))
        with registry.client() as client:
            for number, end in enumerate([own.stop, own.kill]):
                image = pushed(registry, "team/app", seed=number)
                end()
                for path in (f"/v2/{image.name}/manifests/v1", f"/v2/{image.name}/tags/list", "/v2/_catalog"):
                    answer = client.get(path)
                    assert answer.status_code == 503, path
                    assert "retry-after" in answer.headers
                assert client.post("/v2/team/app/blobs/uploads/").status_code == 503
                # Its last answer counts for a second.
                wait_until(lambda: client.get("/readyz").status_code == 503, what="the end of readiness")
                assert client.get("/livez").status_code == 200
                own.start()
                wait_until(lambda: client.get("/readyz").status_code == 200, what="readiness")
                assert is_there(registry, image)
                assert is_there(registry, pushed(registry, "team/app", seed=10 + number))
    finally:
        own.remove()


def test_the_head_is_what_a_server_makes(start_registry: StartRegistry, cluster: Cluster, name: str) -> None:
    """All revisions, in one transaction."""
    start_registry(database=cluster.url(name))
    with cluster.connect(name) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (migrate.head(),)
