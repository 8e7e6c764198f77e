"""The scenario that the whole registry is for: pushed by one client, killed, restarted, pulled by another."""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.tools import Tool, digest_of_tag, exported
from tests.running import Registry

DOCKERFILE = """\
FROM scratch
COPY library /usr/lib/python
COPY own /
CMD ["/none"]
"""


def real_context(folder: Path) -> dict[str, str]:
    """A build context of Python's own library, and of what image tools stumble over; returns the expected files."""
    left_out = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "test", "config-*")
    library = shutil.copytree(sysconfig.get_path("stdlib"), folder / "library", ignore=left_out)
    own = images.write_tree(
        folder / "own",
        {"empty": b"", "bin/tool": b"#!/none\n", "data/random": os.urandom(8 * images.MIB), "data/ä ö": b"name\n"},
    )
    (own / "bin" / "tool").chmod(0o755)
    (own / "bin" / "link").symlink_to("tool")
    (folder / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    return {**tree_below(library, "usr/lib/python/"), **tree_below(own, "")}


def tree_below(folder: Path, prefix: str) -> dict[str, str]:
    """Path to digest for each file below a folder, and `-> target` for each symbolic link."""
    found = {}
    for path in folder.rglob("*"):
        name = f"{prefix}{path.relative_to(folder)}"
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = images.digest_of(path.read_bytes())
    return found


@pytest.fixture
def image(docker: Tool, registry: Registry) -> Iterator[str]:
    """The name of the image, which leaves the daemon at the end."""
    reference = f"{registry.address}/closing/image:v1"
    yield reference
    docker("rmi", "--force", reference)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_image_pushed_by_docker_survives_kill_and_is_pulled_by_podman(
    docker: Tool,
    podman_with: Callable[[str], Tool],
    start_registry: Callable[..., Registry],
    registry: Registry,
    image: str,
    tmp_path: Path,
) -> None:
    """What was acknowledged to dockerd outlives SIGKILL, and comes out whole into podman's empty store."""
    expected = real_context(tmp_path / "context")
    assert len(expected) > 500
    docker("build", "--tag", image, tmp_path / "context", limit_s=120)
    said = docker("push", image)
    registry.kill()
    restarted = start_registry(data=registry.data)
    digest = digest_of_tag(restarted, "closing/image", "v1")
    assert digest is not None and f"digest: {digest} size:" in said
    podman = podman_with("empty")
    pulled = image.replace(registry.address, restarted.address)
    podman("pull", "--tls-verify=false", pulled)
    (shown,) = podman.json("image", "inspect", pulled)
    assert shown["Digest"] == digest
    assert exported(podman, pulled) == expected
