"""What is stored is measured each hour; the last measure of a day is the sample of that day."""

from functools import partial

from registry.jobs.runner import Turn
from registry.metadata import usage

DAY_MS = 86_400_000


async def sample_usage(turn: Turn) -> None:
    """Read first, without holding anybody up; then write a few rows."""
    samples = await turn.read(usage.measure)
    await turn.write(partial(usage.write, day=turn.now // DAY_MS, samples=samples), durable=False)
    turn.count("namespaces", len(samples) - 1)
