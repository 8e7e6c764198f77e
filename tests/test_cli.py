"""The commands, as a person runs them."""

import json
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from registry.core.digest import Digest
from registry.metadata import sqlite
from tests.certificates import make_pair
from tests.running import Registry, wait_until


def depotry(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "registry", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}, check=False
    )


def push(registry: Registry, content: bytes) -> Digest:
    """A blob."""
    digest = Digest.of(content)
    with registry.client() as client:
        assert client.post(f"/v2/a/blobs/uploads/?digest={digest}", content=content).status_code == 201
    return digest


def test_help_and_version() -> None:
    """Every command explains itself, and serve names every setting with its environment variable."""
    assert depotry("--version").stdout == "depotry, version 0.2.0\n"
    for command in ("serve", "migrate", "config", "stats", "scrub"):
        text = depotry(command, "--help").stdout
        assert "--data" in text
        assert "DEPOTRY_DATA" in text


def test_config_prints_what_counts(tmp_path: Path) -> None:
    """As TOML, after defaults, file, environment and flags."""
    file = tmp_path / "depotry.toml"
    file.write_text('port = 1\nlog_level = "debug"\nreferences = "off"\n')
    printed = depotry("config", "--config", str(file), "--port", "3", env={"DEPOTRY_REFERENCES": "strict"})
    settings = tomllib.loads(printed.stdout)
    assert (settings["port"], settings["log_level"], settings["references"]) == (3, "debug", "strict")


def test_every_problem_is_told_at_once() -> None:
    """Exit status 2, one line each, no stack trace, no start."""
    done = depotry("serve", "--port", "99999", "--references", "maybe", env={"DEPOTRY_PROT": "1"})
    assert done.returncode == 2
    for word in ("--port", "--references", "DEPOTRY_PROT", "DEPOTRY_PORT"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_only_loopback_without_the_flag_that_says_what_it_means(tmp_path: Path) -> None:
    """Without login no other address by accident."""
    done = depotry("serve", "--open", "--host", "0.0.0.0", "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "--expose-without-login" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_told(registry: Registry, tmp_path: Path) -> None:
    """In one line."""
    done = depotry("serve", "--port", str(registry.port), "--data", str(tmp_path / "other"))
    assert done.returncode == 2
    assert f"port {registry.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_speaks_https_with_a_certificate(start_registry: Callable[..., Registry], tmp_path: Path) -> None:
    """Uploads and downloads to the byte; metrics stay plain, also when no connection is left for clients."""
    pair = make_pair(tmp_path, "depotry")
    tls = ("--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key))
    registry = start_registry(*tls, "--connections-per-address", "2", tls=pair.trusting())
    assert f"is at https://127.0.0.1:{registry.port}\n" in registry.output()
    content = os.urandom(1 << 20)
    digest = push(registry, content)
    with registry.client() as client, registry.client() as other:
        assert client.get(f"/v2/a/blobs/{digest}").content == content
        assert other.get(f"/v2/a/blobs/{digest}", headers={"Range": "bytes=1000-1999"}).content == content[1000:2000]
        started = client.post("/v2/a/blobs/uploads/", headers={"Content-Length": "0"})
        assert started.headers["Location"].startswith(("/", "https://"))
        with pytest.raises(httpx2.TransportError), registry.client() as third:
            third.get("/v2/")
        assert "depotry_" in httpx2.get(f"{registry.metrics_url}/metrics").text
        assert httpx2.get(f"{registry.metrics_url}/readyz").status_code == 200
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://{registry.address}/v2/")
    registry.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the certificate was read again" in registry.output())
    assert registry.stop() == 0


def test_a_client_with_too_many_connections_is_told_to_wait(start_registry: Callable[..., Registry]) -> None:
    """503 with Retry-After, and one line in the log."""
    registry = start_registry("--connections-max", "1")
    with registry.client() as client:
        wait_until(lambda: client.get("/v2/").status_code == 200)
        with registry.client() as other:
            answer = other.get("/v2/")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert client.get("/v2/").status_code == 200
    [line] = [line for line in registry.log_lines() if line["event"] == "connections refused"]
    assert (line["limit"], line["client"], line["level"]) == ("connections_max", "127.0.0.1", "warning")


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    """In one line, before anything is made."""
    one, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "other")
    for cert, key, text in (
        (one.cert, other.key, "is not the key to the certificate"),
        (one.cert, tmp_path / "nowhere", "cannot be read: No such file"),
        (one.key, one.key, "are not a certificate and its key"),
    ):
        flags = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--data", str(tmp_path / "data"))
        done = depotry("serve", "--port", "0", *flags)
        assert done.returncode == 2
        assert done.stderr.startswith("depotry: ") and done.stderr.count("\n") == 1
        assert text in done.stderr
    assert not (tmp_path / "data").exists()


def test_stats(registry: Registry) -> None:
    """Beside the running server, for people and for programs."""
    push(registry, b"x" * 1000)
    figures = json.loads(depotry("stats", "--json", "--data", str(registry.data)).stdout)
    assert (figures["blobs"], figures["blob_bytes"], figures["repositories"]) == (1, 1000, 1)
    printed = depotry("stats", "--data", str(registry.data)).stdout
    assert "size of blobs" in printed and "free in storage" in printed


@pytest.mark.parametrize("command", ["stats", "scrub"])
def test_commands_make_no_registry_by_mistake(tmp_path: Path, command: str) -> None:
    """A wrong --data is told, and stays empty."""
    done = depotry(command, "--data", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_scrub(registry: Registry) -> None:
    """Beside the running server: exit status 1 and the digest while something is corrupt, 0 after the next push."""
    digest = push(registry, b"content")
    assert depotry("scrub", "--data", str(registry.data)).returncode == 0
    next((registry.data / "blobs").rglob(f"{digest.hex}.*")).write_bytes(b"Content")
    done = depotry("scrub", "--data", str(registry.data))
    assert done.returncode == 1
    assert str(digest) in done.stderr.replace("\n", "")
    push(registry, b"content")
    assert depotry("scrub", "--data", str(registry.data)).returncode == 0


def test_what_reads_does_not_migrate(registry: Registry) -> None:
    """A newer `depotry stats` beside an older server leaves the schema alone, and says what to do."""
    registry.stop()
    connection = sqlite.library().connect(registry.data / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.commit()
    connection.close()
    for command in ("stats", "scrub"):
        done = depotry(command, "--data", str(registry.data))
        assert done.returncode == 2
        assert "depotry migrate" in done.stderr


def test_a_damaged_database_is_told_in_one_line(registry: Registry) -> None:
    """And not in a stack trace."""
    registry.stop()
    (registry.data / "registry.db").write_bytes(os.urandom(5000))
    for command in ("serve", "stats"):
        done = depotry(command, "--data", str(registry.data), "--port", "0")
        assert done.returncode == 2
        assert done.stderr.startswith("depotry: the database")
        assert "Traceback" not in done.stderr


def test_a_flag_turns_off_what_the_environment_turns_on() -> None:
    """Flags win, for switches too."""
    printed = depotry("config", "--no-verify-on-read", env={"DEPOTRY_VERIFY_ON_READ": "true"})
    assert tomllib.loads(printed.stdout)["verify_on_read"] is False


def test_processes_may_start_at_once_on_a_new_folder(tmp_path: Path) -> None:
    """One makes the pair, the others find it; none of them dies."""
    for number in range(3):
        data = tmp_path / str(number)
        command = [sys.executable, "-m", "registry", "serve", "--port", "0", "--data", str(data)]
        pipe = subprocess.PIPE
        running = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
        for process in running:
            assert process.stdout is not None
            assert "is at http" in process.stdout.readline()
        for process in running:
            process.terminate()
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors


def test_wrong_pairs_are_told(registry: Registry, tmp_path: Path) -> None:
    """CR-14: a lost database next to its blobs does not become a new registry."""
    push(registry, b"x")
    registry.stop()
    for file in registry.data.glob("registry.db*"):
        file.unlink()
    done = depotry("serve", "--port", "0", "--data", str(registry.data))
    assert done.returncode == 2
    assert "another installation" in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_are_text_on_a_terminal(tmp_path: Path) -> None:
    """And JSON everywhere else, which other tests see."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "registry", "serve", "--port", "0", "--data", str(tmp_path / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = line.rpartition(":")[2].strip()
        httpx2.get(f"http://127.0.0.1:{port}/v2/")
        text = ""
        while "request" not in text:
            text += os.read(ours, 65536).decode()
        process.terminate()
    os.close(ours)
    os.close(theirs)
    assert "request" in text
    assert not text.startswith("{")


def test_a_running_server_is_asked_for_its_health(registry: Registry) -> None:
    """Containers and scripts do: exit status 0, or 1 with the reason."""
    where = ("--port", str(registry.port), "--metrics-port", str(registry.metrics_port))
    assert registry.command("healthcheck", *where) == "ready\n"
    (registry.data / "blobs" / "depotry-store.json").rename(registry.data / "away")
    wait_until(lambda: httpx2.get(f"{registry.metrics_url}/readyz").status_code == 503, what="an unready server")
    ill = depotry("healthcheck", *where, "--data", str(registry.data))
    assert ill.returncode == 1 and "storage:" in ill.stderr and ill.stderr.count("\n") == 1
    registry.kill()
    gone = depotry("healthcheck", *where, "--data", str(registry.data))
    assert gone.returncode == 1 and "no answer" in gone.stderr and gone.stderr.count("\n") == 1


def test_a_start_that_is_killed_says_so() -> None:
    """The start is prepared in a process of its own, which a system short of memory may end."""
    script = """if True:
        import os
        from registry import crew
        crew._prepare_here = lambda *_: os.kill(os.getpid(), 9)
        crew._prepare(None, [])
    """
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 137
    assert ended.stderr == "depotry: the start was killed by signal 9; is there too little memory?\n"
