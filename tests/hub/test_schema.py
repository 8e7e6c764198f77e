"""Requests made of the OpenAPI document, right and wrong ones: what comes back is what it says, and never a failure."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.test_manifest import index
from tests.hub.test_tags import manifest
from tests.running import ADMIN_PASSWORD, Registry

EXAMPLES = int(os.environ.get("DEPOTRY_TESTS_EXAMPLES", "8"))
"""Requests made up for each operation, beside those that cover its fields one by one."""

NO_LIMITS = (
    "--requests-per-second", "0", "--login-failures-per-account", "1000000", "--login-failures-per-address", "1000000",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("who", ["admin", "nobody"])
def test_every_answer_is_documented(start_registry: Callable[..., Registry], tmp_path: Path, who: str) -> None:
    """No 500, no status and no shape that is not in the document, and what is wrong is a 4xx that names its field."""
    registry = start_registry(*NO_LIMITS, is_open=False)
    with registry.client(auth=("admin", ADMIN_PASSWORD)) as client:
        # The names that are made up most.
        manifest(client, index(), "0", "0")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{registry.url}/api/v1/openapi.json",
        "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure", "--generation-database", "none",
        "--no-color", "--phases", "coverage,fuzzing",
        # Cursors cannot be made up: one that is, is refused, however well it is formed.
        "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    if who == "admin":
        command += ["--auth", f"admin:{ADMIN_PASSWORD}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.hub.checks", "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in registry.output()
