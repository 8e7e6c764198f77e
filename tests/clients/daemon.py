"""A docker daemon: the one that answers on this machine, or else a private one, where this user may start one."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.clients.tools import HOW, Tool, environment, tool
from tests.running import require_tool, wait_until

START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 20.0

_HOW: Final = "start it, or run the tests as root, and they start one of their own"
_STANDARD_HOST: Final = "unix:///var/run/docker.sock"


@contextmanager
def docker_host(home: Path) -> Iterator[str]:
    """The address of a daemon that answers. Its images may belong to others: remove only your own."""
    docker = tool("docker", home)
    found = os.environ.get("DOCKER_HOST", _STANDARD_HOST)
    # A daemon elsewhere has a loopback of its own, and would not find the registry there.
    if found.startswith("unix://") and _answers(docker, found):
        yield found
        return
    program = require_tool("dockerd", HOW["dockerd"])
    if os.geteuid() != 0:
        pytest.skip(f"no docker daemon answers: {_HOW}")
    # The path of a socket has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as folder,
        _private_daemon(program, docker, Path(folder)) as host,
    ):
        yield host


def remove_images(docker: Tool, address: str) -> None:
    """Remove every image that is named after a registry."""
    found = docker("images", "--quiet", "--filter", f"reference={address}/*/*").split()
    if found:
        docker("rmi", "--force", *sorted(set(found)))


def _answers(docker: Tool, host: str) -> bool:
    return docker.succeeds("--host", host, "version")


@contextmanager
def _private_daemon(program: str, docker: Tool, folder: Path) -> Iterator[str]:
    """No networks and no overlay: that works inside a container too, and push and pull need neither."""
    host = f"unix://{folder}/docker.sock"
    (folder / "daemon.json").write_text("{}", encoding="utf-8")
    command = [
        *(program, "--host", host, "--config-file", str(folder / "daemon.json")),
        *("--storage-driver=vfs", "--iptables=false", "--bridge=none"),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "run"), "--pidfile", str(folder / "pid")),
    ]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(docker.home)
        )
    try:
        wait_until(lambda: _is_up(process, docker, host, log), limit_s=START_LIMIT_S, what="the docker daemon's answer")
        yield host
    finally:
        _stop(process)


def _is_up(process: subprocess.Popen[bytes], docker: Tool, host: str, log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-4000:]
    return _answers(docker, host)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)
