"""How the tests get each client, and run it where the machine's own configuration cannot reach it."""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.images import KIB, MIB, random_files, tree_in, write_tree
from tests.running import Registry, require_tool, wait_until

RUN_LIMIT_S: Final = 60.0

HOW: Final = {
    "docker": "apt-get install docker.io",
    "dockerd": "apt-get install docker.io",
    "podman": "apt-get install podman",
    "skopeo": "apt-get install skopeo",
    "buildah": "apt-get install buildah",
    "crane": "go install github.com/google/go-containerregistry/cmd/crane@latest",
    "oras": "go install oras.land/oras/cmd/oras@latest",
    "regctl": "go install github.com/regclient/regclient/cmd/regctl@latest",
    "conformance": "go install github.com/opencontainers/distribution-spec/conformance@latest",
}
"""One line for whoever lacks a tool."""

_CONFIGURATION: Final = {
    ".config/containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
    ".config/containers/registries.conf": "unqualified-search-registries = []\n",
    ".config/containers/storage.conf": '[storage]\ndriver = "vfs"\n',
    ".config/containers/containers.conf": "",
    "auth.json": "{}",
    "docker/config.json": "{}",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A program with a home of its own."""

    path: str
    home: Path
    flags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: str | Path, stdin: bytes = b"", limit_s: float = RUN_LIMIT_S) -> str:
        """What it prints on standard output. Fails with all that it said if it does not succeed."""
        ended = self._run(args, stdin, limit_s)
        if ended.returncode != 0:
            pytest.fail(f"{self._said(args, ended)}\nended with {ended.returncode}", pytrace=False)
        return ended.stdout.decode(errors="replace").strip()

    def raw(self, *args: str | Path) -> bytes:
        """The same, as it is."""
        ended = self._run(args, b"", RUN_LIMIT_S)
        assert ended.returncode == 0, self._said(args, ended)
        return ended.stdout

    def json(self, *args: str | Path) -> Any:
        """The same, read as JSON."""
        return json.loads(self(*args))

    def refused(self, *args: str | Path, stdin: bytes = b"") -> str:
        """All that it said while it failed, which it has to."""
        ended = self._run(args, stdin, RUN_LIMIT_S)
        assert ended.returncode != 0, f"{self._said(args, ended)}\nsucceeded"
        return (ended.stdout + ended.stderr).decode(errors="replace")

    def succeeds(self, *args: str | Path) -> bool:
        """Whether it ends well."""
        return self._run(args, b"", RUN_LIMIT_S).returncode == 0

    def _run(self, args: tuple[str | Path, ...], stdin: bytes, limit_s: float) -> subprocess.CompletedProcess[bytes]:
        command = [self.path, *self.flags, *map(str, args)]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=limit_s,
            env=environment(self.home) | self.env,
            cwd=self.home,
            check=False,
        )

    def _said(self, args: tuple[str | Path, ...], ended: subprocess.CompletedProcess[bytes]) -> str:
        said = (ended.stdout + ended.stderr).decode(errors="replace")
        return f"$ {Path(self.path).name} {' '.join(map(str, (*self.flags, *args)))}\n{said}"


def tool(name: str, home: Path, *flags: str, env: dict[str, str] | None = None) -> Tool:
    """A client by its name; skips the test where it is not installed."""
    path = require_tool(name, HOW[name])
    for name_, content in _CONFIGURATION.items():
        file = home / name_
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    for folder in ("run", "tmp"):
        (home / folder).mkdir(mode=0o700, exist_ok=True)
    return Tool(path, home, flags, env or {})


def environment(home: Path) -> dict[str, str]:
    """Variables that lead a client to `home`, and nothing of what this process was started with but the PATH."""
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "DOCKER_CONFIG": str(home / "docker"),
        "REGISTRY_AUTH_FILE": str(home / "auth.json"),
        "CONTAINERS_REGISTRIES_CONF": str(home / ".config/containers/registries.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / ".config/containers/storage.conf"),
        "CONTAINERS_CONF": str(home / ".config/containers/containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "DOCKER_BUILDKIT": "0",
    }


@dataclass(frozen=True, slots=True)
class Uploads:
    """What the server's log says about the blobs that came into a repository."""

    answers: Counter[tuple[str, int]]
    """Number of requests by method and status."""
    received_bytes: int


def uploads(registry: Registry, repository: str) -> Uploads:
    """Read the log once the repository has got a manifest: everything before it is written by then."""

    def requests(part: str) -> list[dict[str, Any]]:
        prefix = f"/v2/{repository}/{part}/"
        return [line for line in registry.log_lines() if str(line.get("path", "")).startswith(prefix)]

    def has_manifest() -> bool:
        return any(line["method"] == "PUT" and line["status"] == 201 for line in requests("manifests"))

    wait_until(has_manifest, what=f"a manifest in {repository}")
    lines = requests("blobs/uploads")
    answers = Counter((str(line["method"]), int(line["status"])) for line in lines)
    return Uploads(answers, sum(line["received_bytes"] for line in lines))


def assert_mounted(registry: Registry, repository: str, *, at_least: int, sent_at_most: int = 0) -> None:
    """The blobs of `repository` came from another one: mounts were answered with 201 and no blob was sent.

    `sent_at_most` leaves room for a config, which docker never mounts.
    """
    seen = uploads(registry, repository)
    assert seen.answers["POST", 201] >= at_least, seen
    assert seen.received_bytes <= sent_at_most, seen
    if not sent_at_most:
        assert {method for method, _ in seen.answers} == {"POST"}, seen


def digest_of_tag(registry: Registry, repository: str, tag: str, auth: tuple[str, str] | None = None) -> str | None:
    """What a tag points to, asked of the server itself; None if there is no such tag."""
    with registry.client(auth) as client:
        answer = client.head(f"/v2/{repository}/manifests/{tag}")
    assert answer.status_code in (200, 404)
    return answer.headers["docker-content-digest"] if answer.status_code == 200 else None


def tags_of(registry: Registry, repository: str) -> list[str]:
    """The tags of a repository, asked of the server itself."""
    with registry.client() as client:
        found: list[str] = client.get(f"/v2/{repository}/tags/list").json()["tags"]
    return found


def manifest_of(registry: Registry, repository: str, tag: str) -> dict[str, Any]:
    """The manifest behind a tag, asked of the server itself."""
    with registry.client() as client:
        answer = client.get(f"/v2/{repository}/manifests/{tag}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def exported(podman: Tool, reference: str) -> dict[str, str]:
    """Path to digest of each file that a container of this image would see."""
    container = podman("create", "--network=none", reference)
    podman("export", "--output", podman.home / "exported.tar", container)
    return tree_in(podman.home / "exported.tar")


def build_context(folder: Path) -> dict[str, bytes]:
    """A folder to build an image of two layers from, with random content; returns the image's files."""
    layers = [random_files(KIB, MIB), {"second": os.urandom(2 * MIB)}]
    for number, files in enumerate(layers):
        write_tree(folder / str(number), files)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY 0 /\nCOPY 1 /\nCMD ["/none"]\n', encoding="utf-8")
    return {name: files[name] for files in layers for name in files}


PLAIN = "--tls-verify=false"
"""Plain HTTP, for podman and buildah."""

PUSHES = {
    "oci": ("--format=oci",),
    "docker": ("--format=v2s2",),
    "zstd": ("--format=oci", "--compression-format=zstd"),
}
"""Their flags for each kind of manifest and layer."""
