"""The image of the Dockerfile, and the services of docker-compose.yml, in real containers.

Where no image can be pulled, those of the services are made of this machine's programs, and all containers share its
network: what stays untried is the official images themselves and the network between containers.
"""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from registry.core.digest import Digest
from tests.deploy.images import COMPOSE_HOW, PREFIX, ROOT, Compose, Docker, docker_of, python_base, service_images
from tests.reliability.client import Image, Pusher, expect, pull_whole
from tests.reliability.hub import Headers, basic, bearer, token_of
from tests.running import free_port, require_tool, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
IMAGE = f"{PREFIX}/depotry"
STAGE = f"{PREFIX}/build"
NODES = ("registry-1", "registry-2")
SERVICES = {"proxy", "registry-1", "registry-2", "migrate", "bucket", "postgres", "s3"}


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A client with a daemon, which may be somebody's: the images that the tests make are gone at the end."""
    with docker_of(tmp_path_factory.mktemp("docker-home")) as host:
        client = Docker(require_tool("docker", "apt-get install docker.io"), host)
        yield client
        made = client("images", "--format", "{{.Repository}}", "--filter", f"reference={PREFIX}/*").split()
        # What was built on another one goes before it.
        for name in sorted(made, key=lambda name: (name not in (IMAGE, STAGE), name != IMAGE)):
            client("rmi", "--force", name)


@pytest.fixture(scope="module")
def image(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image that the Dockerfile makes, on a base of this machine."""
    base = python_base(docker, tmp_path_factory.mktemp("base"))
    build = ("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={base}")
    # With a name, the first stage can be removed too.
    docker(*build, "--target", "build", "--tag", STAGE, str(ROOT))
    docker(*build, "--tag", IMAGE, str(ROOT))
    return IMAGE


@contextmanager
def a_container(docker: Docker, *arguments: str) -> Iterator[str]:
    """A running container, gone with its volumes at the end."""
    found = docker("run", "--detach", "--network", "host", *arguments).strip()
    try:
        yield found
    finally:
        docker("rm", "--force", "--volumes", found)


def health(docker: Docker, container: str) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).strip()


def test_the_image_needs_no_root_and_no_file_system(docker: Docker, image: str) -> None:
    """It serves with everything taken away that can be, is healthy, and stops in peace."""
    port = free_port()
    taken_away = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    settings = (f"DEPOTRY_EXTERNAL_URL=http://localhost:{port}", f"DEPOTRY_PORT={port}", "DEPOTRY_WORKERS=2")
    given = [part for setting in settings for part in ("--env", setting)]
    with a_container(docker, *taken_away, *given, image) as container:
        wait_until(lambda: health(docker, container) == "healthy", limit_s=120, what="a healthy container")
        assert docker("exec", container, "id", "-u").strip() == "10001"
        assert docker("exec", container, "depotry", "healthcheck").strip() == "ready"
        password = docker("exec", container, "cat", "/data/admin-password").strip()
        pushed = Image.random("app", "v1", random.Random(0))
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=basic("admin", password)) as client:
            Pusher(client).push(pushed, way="chunks")
            pull_whole(client, pushed)
        docker("stop", "--time", "60", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
        assert "Traceback" not in docker("logs", container)


def test_the_image_says_what_it_lacks(docker: Docker, image: str) -> None:
    """Without the address that clients use it does not start, and says so; nothing of it is a secret."""
    ended = subprocess.run(
        [docker.program, "--host", docker.host, "run", "--rm", "--network", "none", image],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert "--external-url" in ended.stderr
    [facts] = json.loads(docker("inspect", image))
    assert facts["Config"]["User"] == "10001:10001"
    assert set(facts["Config"]["ExposedPorts"]) == {"5000/tcp", "5001/tcp"}
    assert "password" not in json.dumps(facts).lower()


def test_the_file_is_understood() -> None:
    """By docker-compose 1.29, alone and with TLS: every service, what waits for what, secrets from files."""
    program = require_tool("docker-compose", COMPOSE_HOW)
    compose = Compose(program, Docker("docker", ""), "understood", ROOT / "docker-compose.yml", {})
    found = compose.config()
    assert set(found["services"]) == SERVICES
    for node in NODES:
        service = found["services"][node]
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert {name: one["condition"] for name, one in service["depends_on"].items()} == {
            "migrate": "service_completed_successfully",
            "bucket": "service_completed_successfully",
        }
    assert found["services"]["registry-1"]["environment"] == found["services"]["registry-2"]["environment"]
    assert all(secret["file"] for secret in found["secrets"].values())
    with_tls = Compose(program, compose.docker, "understood", compose.file, {}, (ROOT / "deploy/compose/tls.yml",))
    assert '"target": 443' in json.dumps(with_tls.config()["services"]["proxy"]["ports"])


def test_secrets_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    """The folder is closed to others; a second run changes nothing."""
    script = tmp_path / "make-secrets"
    shutil.copy(ROOT / "deploy/compose/make-secrets", script)
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
    folder = tmp_path / "secrets"
    made = {file.name: file.read_text(encoding="ascii") for file in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(made) == {"instance_secret", "database_password", "s3_secret_access_key", "admin_password"}
    assert len(made["instance_secret"]) == 64 and len(set(made.values())) == len(made)
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
    assert {file.name: file.read_text(encoding="ascii") for file in folder.iterdir()} == made


@pytest.fixture(scope="module")
def stack(docker: Docker, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Stack"]:
    """All services of docker-compose.yml, up and healthy; gone at the end."""
    program = require_tool("docker-compose", COMPOSE_HOW)
    found = Stack(docker, program, image, tmp_path_factory.mktemp("stack"))
    try:
        found.compose("up", "--detach")
        yield found
    finally:
        print(found.compose.run("logs", "--no-color", "--tail", "40").stdout)
        found.compose.run("down", "--volumes", "--timeout", "20")


class Stack:
    """The services in the network of this machine."""

    def __init__(self, docker: Docker, program: str, image: str, folder: Path) -> None:
        self.docker = docker
        self.secrets = folder / "secrets"
        shutil.copy(ROOT / "deploy/compose/make-secrets", folder)
        subprocess.run(["sh", str(folder / "make-secrets")], check=True, capture_output=True, timeout=60)
        names = ("proxy", "postgres", "s3", *NODES, *(f"{node} metrics" for node in NODES))
        self.ports = {name: free_port() for name in names}
        shipped = Compose(program, docker, "depotry-test", ROOT / "docker-compose.yml", service_images(docker))
        file = folder / "compose.json"
        file.write_text(json.dumps(self._on_this_machine(shipped.config(), image)), encoding="utf-8")
        self.compose = Compose(program, docker, f"depotry-test-{os.getpid()}", file, {})

    @property
    def url(self) -> str:
        """The load balancer's."""
        return f"http://127.0.0.1:{self.ports['proxy']}"

    def _on_this_machine(self, found: dict[str, Any], image: str) -> dict[str, Any]:
        """The file without a network of its own: ports of this machine stand for names of services."""
        ports = self.ports
        text = json.dumps(found).replace("postgres:5432", f"127.0.0.1:{ports['postgres']}")
        text = text.replace("http://s3:7070", f"http://127.0.0.1:{ports['s3']}").replace(":7070", f":{ports['s3']}")
        found = json.loads(text)
        found.pop("networks")
        for name, service in found["services"].items():
            service.pop("ports", None)
            service["network_mode"] = "host"
            if "build" in service:
                service.pop("build")
                service["image"] = image
            if name in NODES:
                service["environment"] |= {
                    "DEPOTRY_PORT": str(ports[name]),
                    "DEPOTRY_METRICS_PORT": str(ports[f"{name} metrics"]),
                    "DEPOTRY_EXTERNAL_URL": f"http://localhost:{ports['proxy']}",
                    "DEPOTRY_TRUSTED_PROXIES": "127.0.0.1",
                }
        found["services"]["postgres"]["environment"]["PGPORT"] = str(ports["postgres"])
        found["services"]["proxy"]["environment"] = {
            "DEPOTRY_SITE": f":{ports['proxy']}",
            "DEPOTRY_NODES": " ".join(f"127.0.0.1:{ports[node]}" for node in NODES),
        }
        for name, secret in found["secrets"].items():
            secret["file"] = str(self.secrets / name)
        return found

    def admin(self) -> Headers:
        """The Basic header of the first admin, on whose password both nodes agree."""
        return basic("admin", (self.secrets / "admin_password").read_text(encoding="ascii"))

    def client(self) -> httpx2.Client:
        """A client of the load balancer."""
        return httpx2.Client(base_url=self.url, timeout=120)


def test_images_pushed_through_the_load_balancer_survive_a_node(stack: Stack) -> None:
    """A push whose requests meet both nodes; then one node stops, and later the other: pulls and pushes go on."""
    images = [Image.random(f"team/app{number}", "v1", random.Random(number)) for number in range(6)]
    with stack.client() as client:
        token = token_of(client, stack.admin(), *(f"repository:{image.name}:pull,push" for image in images))
        client.headers.update(bearer(token))
        for number, image in enumerate(images[:4]):
            Pusher(client).push(image, way=("whole", "put", "stream", "chunks")[number])
            pull_whole(client, image)
        assert all(requests_of(stack, node) > 10 for node in NODES)
        stack.compose("stop", "--timeout", "50", NODES[0])
        for image in images[:4]:
            pull_whole(client, image)
        Pusher(client).push(images[4], way="chunks")
        stack.compose("start", NODES[0])
        wait_until(lambda: is_ready(stack, NODES[0]), limit_s=120, what="the node's return")
        stack.compose("stop", "--timeout", "50", NODES[1])
        pull_whole(client, images[4])
        Pusher(client).push(images[5], way="stream")
        stack.compose("start", NODES[1])
        wait_until(lambda: is_ready(stack, NODES[1]), limit_s=120, what="the node's return")


def test_a_node_that_is_killed_costs_no_acknowledged_image(stack: Stack) -> None:
    """And an upload that it held goes on at the other, where it stands."""
    blob = os.urandom(3 << 20)
    half = len(blob) // 2
    with stack.client() as client:
        client.headers.update(bearer(token_of(client, stack.admin(), "repository:team/killed:pull,push")))
        location = expect(client.post("/v2/team/killed/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=blob[:half], headers={"content-range": f"0-{half - 1}"}), 202)
        stack.compose("kill", NODES[0])
        rest = {"content-range": f"{half}-{len(blob) - 1}"}
        expect(client.patch(location, content=blob[half:], headers=rest), 202)
        expect(client.put(f"{location}?digest={Digest.of(blob)}"), 201)
        assert client.get(f"/v2/team/killed/blobs/{Digest.of(blob)}").content == blob
    stack.compose("up", "--detach")
    wait_until(lambda: is_ready(stack, NODES[0]), limit_s=120, what="the node's return")


def test_a_large_body_passes_through_as_it_comes(stack: Stack) -> None:
    """No limit and no buffering at the load balancer: the node has begun to store what is not yet sent whole."""
    piece = os.urandom(1 << 20)
    count = 96
    seen: list[float] = []

    def pieces() -> Iterator[bytes]:
        for number in range(count):
            yield piece
            if number == count // 2:
                wait_until(lambda: received(stack) > received_before + (8 << 20), what="the first half at a node")
                seen.append(time.monotonic())

    received_before = received(stack)
    with stack.client() as client:
        client.headers.update(bearer(token_of(client, stack.admin(), "repository:team/large:pull,push")))
        location = expect(client.post("/v2/team/large/blobs/uploads/"), 202).headers["location"]
        expect(client.patch(location, content=pieces()), 202)
        digest = Digest.of(piece * count)
        expect(client.put(f"{location}?digest={digest}"), 201)
        assert client.head(f"/v2/team/large/blobs/{digest}").headers["content-length"] == str(count << 20)
    assert seen


def metrics_of(stack: Stack, node: str) -> str:
    return expect(httpx2.get(f"http://127.0.0.1:{stack.ports[f'{node} metrics']}/metrics"), 200).text


def total(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def requests_of(stack: Stack, node: str) -> float:
    """Requests of clients that a node has answered."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics_of(stack, node).splitlines()
        if line.startswith("depotry_http_requests_total") and 'route="end-' in line
    )


def received(stack: Stack) -> float:
    """Bytes that the store of any node was given to write."""
    return sum(total(metrics_of(stack, node), 'depotry_store_bytes_total{operation="write"}') for node in NODES)


def is_ready(stack: Stack, node: str) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{stack.ports[node]}/readyz").status_code == 200
    except httpx2.TransportError:
        return False
