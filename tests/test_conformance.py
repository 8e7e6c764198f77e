"""The official conformance suite, with everything switched on: nothing fails, and nothing is left out.

Sparse manifests are among its data, and so the server must not ask for what a manifest refers to.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.backends.pairs import PAIRS, grounds
from tests.clients.tools import HOW, environment
from tests.running import Registry, require_tool

PROFILES: Final = {
    "dev": {"OCI_VERSION": "dev"},
    "1.1": {
        "OCI_VERSION": "1.1",
        "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
        "OCI_API_BLOBS_DIGEST_HEADER": "true",
        "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
        "OCI_API_MANIFESTS_TAG_PARAM": "true",
    },
}
"""The two that cover all: what 1.1 leaves optional is switched on by hand."""

CHALLENGES: Final[dict[str, tuple[str, ...]]] = {"open": (), "bearer": (), "basic": ("--auth-challenge", "basic")}
RUNS: Final = [
    *[(profile, challenge, "sqlite+files") for profile in ("dev", "1.1") for challenge in ("open", "bearer")],
    ("dev", "basic", "sqlite+files"),
    *[("dev", "bearer", pair) for pair in PAIRS[1:]],
]

_TEST: Final = re.compile(r"^ *(OCI Conformance Test\b.*): (\w+)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^  (Disabled|Skip|Pass|FAIL|Error|Total)\.+: +(\d+)$", re.MULTILINE)
_FEATURE: Final = re.compile(r"^  (\S[^:]*): (\w+)$", re.MULTILINE)


def robot(registry: Registry) -> dict[str, str]:
    """A robot of an organization, which makes the repositories of the suite by pushing to them."""
    registry.command("user", "add", "owner", "--generate")
    registry.command("org", "add", "acme", "--owner", "owner")
    registry.command("robot", "add", "acme+conformance", "--role", "write")
    token = registry.command("token", "create", "acme+conformance", "--scope", "read,write,delete").strip()
    names = {"OCI_REPO1": "acme/repo1", "OCI_REPO2": "acme/repo2"}
    return {"OCI_USERNAME": "acme+conformance", "OCI_PASSWORD": token, **names}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("profile", "challenge", "pair"), RUNS)
def test_the_conformance_suite_passes_whole(
    start_registry: Callable[..., Registry], tmp_path: Path, profile: str, challenge: str, pair: str
) -> None:
    """0 Fail, 0 Error, 0 Skip, 0 Disabled, of more than 1,000 tests, and every feature is a Pass: without logins, and
    with the token of a robot, by access tokens and by Basic."""
    suite = require_tool("conformance", HOW["conformance"])
    registry = start_registry(
        "--references", "off", *CHALLENGES[challenge], is_open=challenge == "open", pair=grounds().pair(pair)
    )
    env = environment(tmp_path) | PROFILES[profile]
    env |= {"OCI_REGISTRY": registry.address, "OCI_TLS": "disabled", "OCI_DATA_SPARSE": "true"}
    if challenge != "open":
        env |= robot(registry)
    ended = subprocess.run([suite], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert [name for name, status in _TEST.findall(ended.stdout) if status != "Pass"] == []
    totals = {name: int(count) for name, count in _TOTAL.findall(ended.stdout)}
    passed = totals.get("Pass", 0)
    assert passed > 1000, ended.stdout + ended.stderr
    assert totals == {"Disabled": 0, "Skip": 0, "Pass": passed, "FAIL": 0, "Error": 0, "Total": passed}
    assert ended.returncode == 0, ended.stderr
    features = (tmp_path / "results" / "results.yaml").read_text(encoding="utf-8").split("\napis:\n")[1]
    found = dict(_FEATURE.findall(features))
    assert len(found) > 40 and set(found.values()) == {"Pass"}, features
    junit = (tmp_path / "results" / "junit.xml").read_text(encoding="utf-8")
    assert ' failures="0" errors="0"' in junit and "<skipped" not in junit
    lines = registry.log_lines()
    assert not [line for line in lines if int(line.get("status", 0)) >= 500]
    assert any(line.get("status") == 401 for line in lines) == (challenge != "open")
    assert any(line.get("path") == "/token" for line in lines) == (challenge == "bearer")
