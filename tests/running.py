"""A real server in a process of its own, driven from outside: how most tests meet the registry."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

START_LIMIT_S = 30.0
STOP_LIMIT_S = 60.0


def require_tool(name: str, how: str, *places: str) -> str:
    """The path of a program, which may be in one of `places` too. Skips the test, saying `how` to get it, where it is
    not installed."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *places]))
    if found is None:
        pytest.skip(f"{name} is not installed: {how}")
    return found


def wait_until(condition: Callable[[], bool], *, limit_s: float = 30.0, what: str = "the condition") -> None:
    """Poll until `condition` holds; fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {limit_s} s"
        time.sleep(0.01)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


ADMIN_PASSWORD = "correct horse battery"
STILL = ("--no-background-jobs", "--pulls-flush-s", "300")
"""Flags of a server that writes nothing but what requests ask for."""


def admin_password_file(data: Path) -> Path:
    """A file with ADMIN_PASSWORD, beside a data folder."""
    file = data.parent / f"{data.name}.admin-password"
    file.write_text(ADMIN_PASSWORD, encoding="utf-8")
    return file


@dataclass(frozen=True)
class Pair:
    """What tells a server on which database and which store it stands; several nodes may share them."""

    name: str
    flags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    bucket: str | None = None


def _pair_of(data: Path, flags: tuple[str, ...]) -> Pair:
    """The pair that the environment has chosen, unless the test says itself where things are."""
    from tests.backends import pairs

    return Pair("its own") if {"--database", "--storage"} & set(flags) else pairs.chosen(data)


@dataclass
class Registry:
    """A running `depotry serve`."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    metrics_port: int
    log: Path
    tls: ssl.SSLContext | None = None
    """Trusts the certificate of a server that has one."""
    place: tuple[str, ...] = ()
    """Flags that say where it keeps things, beside `--data`: commands on it need them too."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables that they need as well."""

    @property
    def pair(self) -> Pair:
        """For another node on the same database and store."""
        return Pair("the same", self.place, self.env)

    @property
    def variables(self) -> dict[str, str]:
        """The same as `place` and `env`, as variables."""
        named = zip(self.place[::2], self.place[1::2], strict=True)
        return {f"DEPOTRY_{flag[2:].upper().replace('-', '_')}": value for flag, value in named} | self.env

    @classmethod
    def start(
        cls,
        data: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        is_open: bool = True,
        database: str | None = None,
        pair: Pair | None = None,
    ) -> "Registry":
        """Start a server on free ports and wait until it answers. It is open to everybody unless `is_open` is False:
        then its user `admin` has the password ADMIN_PASSWORD. `database` is the URL of a PostgreSQL, and
        `pair` says where both are; otherwise the environment does (`tests.backends.pairs`)."""
        data.parent.mkdir(parents=True, exist_ok=True)
        number = len(list(data.parent.glob(f"{data.name}-*.log")))
        log = data.parent / f"{data.name}-{number}.log"
        ports = () if "--port" in flags else ("--port", "0")
        access = ("--open",) if is_open else ("--admin-password-file", str(admin_password_file(data)))
        if database is not None:
            pair = Pair("its own", ("--database", database))
        pair = pair or _pair_of(data, flags)
        place, env = pair.flags, {**pair.env, **(env or {})}
        command = [sys.executable, "-m", "registry", "serve", "--data", str(data), *place, *ports, *access, *flags]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, **env}, start_new_session=True
            )
        registry = cls(process, data, 0, 0, log, tls, place, pair.env)
        try:
            wait_until(registry._is_ready, limit_s=START_LIMIT_S, what="the server's answer")
        except BaseException:
            registry.kill()
            raise
        return registry

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended: {self.output()}"
        text = self.output()
        address = re.search(r"is at https?://[^:\s]+:(\d+)", text)
        metrics = re.search(r"health +http://\S+?:(\d+)/", text)
        if address is None or metrics is None:
            return False
        self.port, self.metrics_port = int(address[1]), int(metrics[1])
        try:
            return httpx2.get(f"{self.url}/v2/", timeout=5, verify=self.tls or True).status_code in (200, 401)
        except httpx2.TransportError:
            return False

    @property
    def address(self) -> str:
        """`host:port`, as image names carry it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def metrics_url(self) -> str:
        """The base URL of the operators' listener."""
        return f"http://127.0.0.1:{self.metrics_port}"

    def output(self) -> str:
        """Everything that it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Its structured log lines."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def command(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `depotry` with these arguments on the data of this server; returns what it printed."""
        command = [sys.executable, "-m", "registry", *arguments, "--data", str(self.data), *self.place]
        env = {**os.environ, **self.env}
        ended = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False, env=env)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def client(self, auth: tuple[str, str] | None = None) -> httpx2.Client:
        """A new HTTP client with the base URL set, which sends name and password if they are given."""
        return httpx2.Client(base_url=self.url, timeout=60, verify=self.tls or True, auth=auth)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_LIMIT_S)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_LIMIT_S)

    def rss_bytes(self) -> int:
        """Resident memory of the server now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024
