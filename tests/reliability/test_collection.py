"""CR-26, CR-27, I2, I3, I8: collection never pauses while clients push what shares layers with what is deleted."""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from registry.config import Settings, load
from tests.reliability.churn import Plan, churn
from tests.running import Registry

OPERATIONS = int(os.environ.get("DEPOTRY_TESTS_OPERATIONS", "2000"))
NODES = 2
"""Where nodes may share everything."""
SHORT = {"lease_s": "2", "removal_grace_s": "1", "upload_ttl_s": "2", "collect_interval_s": "1"}


def flags_of(settings: dict[str, str]) -> Iterator[str]:
    """Settings as flags."""
    for name, value in settings.items():
        yield from (f"--{name.replace('_', '-')}", value)


def settings_of(registry: Registry) -> Settings:
    """Those of a server, for who looks at its database and storage beside it."""
    place = dict(zip(registry.place[::2], registry.place[1::2], strict=True))
    where = {flag.removeprefix("--").replace("-", "_"): value for flag, value in place.items()}
    return load({"data": str(registry.data), **where, **SHORT}, os.environ, None)


@pytest.mark.slow
@pytest.mark.timeout(300 + OPERATIONS // 4)
def test_no_acknowledged_image_loses_a_blob(
    start_registry: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when all graces are over, the bytes in storage are those of the live blobs."""
    registry = start_registry(*flags_of(SHORT))
    for name, value in registry.env.items():
        monkeypatch.setenv(name, value)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    nodes = [registry]
    if "--storage" in registry.place:
        nodes += [start_registry(*flags_of(SHORT), pair=registry.pair) for _ in range(1, NODES)]
    report = churn(Plan([node.url for node in nodes], settings_of(registry), OPERATIONS, seed=seed))
    print(report)
    assert report["collection"]["collected"] > 0, "nothing was collected: this proves nothing"
    assert report["did"]["blob deletes 202"] > 0
    assert report["bytes_stored"] == report["bytes_live"] > 0
    lines = [line for node in nodes for line in node.log_lines()]
    failed = [line for line in lines if line["level"] == "error" or line.get("status", 0) >= 500]
    assert failed == []
