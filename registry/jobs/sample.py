"""What is stored is measured each hour, and a minute after changes; the last measure of a day is its sample.

The totals that the hub shows are what the last measure found: no page counts.
"""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

from registry.jobs.runner import Turn
from registry.metadata import jobs as rows
from registry.metadata import usage
from registry.metadata.database import Connection
from registry.services.statistics import SAMPLE_USAGE

AGAIN_MS = 60_000
"""Between two measures while things change."""
DAY_MS = 86_400_000


def is_wanted(connection: Connection, now: int) -> bool:
    """Whether there are changes that the last measure does not know, a minute after it."""
    text = rows.result(connection, SAMPLE_USAGE)
    totals = json.loads(text).get("totals") if text else None
    if totals is None:
        return True
    if now - totals["measured_at"] < AGAIN_MS:
        return False
    return bool(totals["newest_change"] is None or usage.newest_change(connection) != totals["newest_change"])


async def sample_usage(turn: Turn) -> dict[str, Any]:
    """Read first, without holding anybody up; then write a few rows."""
    now = turn.now
    totals = await turn.read(partial(usage.measure, now=now))
    samples = await turn.read(partial(usage.sample, totals=totals))
    await turn.write(partial(usage.write, day=now // DAY_MS, samples=samples), durable=False)
    turn.count("namespaces", len(samples) - 1)
    return {"totals": asdict(totals)}
