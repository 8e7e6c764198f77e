"""Docker images for the services of docker-compose.yml, made of this machine's programs where none can be pulled."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.daemon import docker_host
from tests.clients.tools import HOW
from tests.deploy import rootfs
from tests.deploy.rootfs import RootFileSystem
from tests.running import require_tool

ROOT = Path(__file__).parents[2]
PREFIX = "depotry-test"
CADDY_HOW = "go install github.com/caddyserver/caddy/v2/cmd/caddy@latest"
COMPOSE_HOW = "apt-get install docker-compose"
TIME_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Docker:
    """The docker client, with a daemon."""

    program: str
    host: str

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        """What a command prints; it has to succeed."""
        ended = subprocess.run(
            [self.program, *arguments],
            input=stdin,
            capture_output=True,
            env={**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"},
            timeout=TIME_LIMIT_S,
            check=False,
        )
        assert ended.returncode == 0, f"docker {arguments[0]}: {ended.stdout.decode()} {ended.stderr.decode()}"
        return ended.stdout.decode()

    def load(self, name: str, system: RootFileSystem, *changes: str) -> str:
        """Make an image of a root file system; returns its name."""
        image = f"{PREFIX}/{name}"
        self("import", *(part for change in changes for part in ("--change", change)), "-", image, stdin=system.tar())
        return image


def python_base(docker: Docker, folder: Path) -> str:
    """An image to build ours on, with all that it installs: a build needs no network."""
    require_tool("/usr/bin/python3", "apt-get install python3 python3-venv")
    if not Path("/usr/share/python-wheels").exists():
        pytest.skip("Debian's python3 has no venv: apt-get install python3-venv")
    wheels = folder / "wheelhouse"
    command = ["/usr/bin/python3", "-m", "venv", str(folder / "venv")]
    subprocess.run(command, check=True, timeout=TIME_LIMIT_S)
    pip = [str(folder / "venv/bin/pip"), "download", "--quiet", "--dest", str(wheels)]
    subprocess.run([*pip, str(ROOT), "hatchling", "pip", "setuptools"], check=True, timeout=TIME_LIMIT_S)
    return docker.load("python", rootfs.python_base(wheels))


def service_images(docker: Docker) -> dict[str, str]:
    """Images of the other services, by the variable that names each."""
    gateway = require_tool("versitygw", "go install github.com/versity/versitygw/cmd/versitygw@latest")
    balancer = require_tool("caddy", CADDY_HOW)
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    caddy = 'CMD ["caddy","run","--config","/etc/caddy/Caddyfile","--adapter","caddyfile"]'
    return {
        "POSTGRES_IMAGE": docker.load("postgres", rootfs.postgresql(), 'ENTRYPOINT ["/entrypoint"]'),
        "S3_IMAGE": docker.load("s3", rootfs.s3_gateway(gateway)),
        "PROXY_IMAGE": docker.load("proxy", rootfs.proxy(balancer), caddy),
    }


@dataclass(frozen=True, slots=True)
class Compose:
    """docker-compose on a file of a project of its own."""

    program: str
    docker: Docker
    project: str
    file: Path
    environment: Mapping[str, str]
    more_files: tuple[Path, ...] = ()

    def __call__(self, *arguments: str) -> str:
        """What a command prints; it has to succeed."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, f"docker-compose {' '.join(arguments)}: {ended.stdout} {ended.stderr}"
        return ended.stdout

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """As it ends."""
        files = [part for file in (self.file, *self.more_files) for part in ("--file", str(file))]
        return subprocess.run(
            [self.program, "--project-name", self.project, *files, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment, "DOCKER_HOST": self.docker.host, "DOCKER_BUILDKIT": "0"},
            timeout=TIME_LIMIT_S,
            check=False,
        )

    def config(self) -> dict[str, Any]:
        """What it understood."""
        # docker-compose of Debian brings a YAML reader for Debian's Python, which our environment has no use for.
        script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
        command = ["/usr/bin/python3", "-c", script]
        read = subprocess.run(command, input=self("config"), capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, Any] = json.loads(read.stdout)
        return found


def docker_of(home: Path) -> Any:
    """A context with the address of a daemon; skips where none is to be had."""
    if sys.platform != "linux":
        pytest.skip("the images are made of Linux programs")
    require_tool("docker", HOW["docker"])
    return docker_host(home)
