"""The end of counts: days and hours that nobody asks for any more, and tags and manifests that are gone."""

from functools import partial

from registry.jobs.runner import Turn
from registry.metadata import pulls, traffic, usage

DAYS_KEPT = 400
"""A year, and room to compare with the same month of the last one."""
HOURS_KEPT = 24 * 31
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ROWS_PER_STEP = 500
WALK_PAGE = 1_000


async def trim_counts(turn: Turn) -> None:
    """What was counted for a tag or a manifest goes with it; a repository's sums stay as long as the repository."""
    before = turn.now // DAY_MS - DAYS_KEPT
    await turn.repeat("days", partial(pulls.trim, before_day=before, count=ROWS_PER_STEP))
    for span, oldest in ((traffic.HOUR, turn.now // HOUR_MS - HOURS_KEPT), (traffic.DAY, before * 24)):
        await turn.repeat("traffic", partial(traffic.trim, hours=span, before=oldest, count=ROWS_PER_STEP))
    await turn.repeat("samples", partial(usage.trim, before_day=before, count=ROWS_PER_STEP))
    after = pulls.BEFORE_ALL
    while (page := await turn.read(partial(pulls.walk, after=after, count=WALK_PAGE))).last is not None:
        turn.count("walked", page.count)
        if page.gone:
            gone = page.gone
            turn.count("gone", await turn.write(partial(pulls.forget_keys, keys=gone)))
        after = page.last
