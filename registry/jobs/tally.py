"""The tally: what lists show of repositories, counted again some seconds after something has changed in them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from registry.jobs.runner import Turn
from registry.metadata import tally
from registry.metadata.database import Connection
from registry.metadata.tally import Due, Holding

REPOSITORIES_AT_ONCE = 100
ROWS_PER_STEP = 2_000
"""Manifests or blobs of one step: some tens of milliseconds of a reader, during which nobody waits."""
TAGS_PER_WRITE = 500
PARTNERS_MAX = 100
"""Repositories that are counted again because one began to share what they have."""
WALK_PAGE = 200


def is_wanted(connection: Connection, now: int) -> bool:
    """Whether any repository is due: one look at an index that is empty when nothing has changed."""
    return bool(tally.due(connection, now=now, count=1))


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts what is due. `version_key`: what a tag is ordered by."""

    version_key: Callable[[str], str]

    async def __call__(self, turn: Turn) -> None:
        """Until nothing is due that was due at the beginning: what changes again and again waits for the next run."""
        began = turn.now
        while some := await turn.read(partial(tally.due, now=began, count=REPOSITORIES_AT_ONCE)):
            for one in some:
                await self._count(turn, one)

    async def _count(self, turn: Turn, due: Due) -> None:
        holding = Holding()
        await turn.read(lambda each: tally.count_tags(each, due.id, holding))
        await _walk(turn, partial(tally.count_manifests, repository_id=due.id, into=holding))
        await _walk(turn, partial(tally.count_blobs, repository_id=due.id, into=holding))
        await self._give_version_keys(turn, due.id)
        # Not durable: a power cut takes back that it was counted, and so it is counted again.
        now = turn.now
        written = await turn.write(lambda each: tally.write(each, due, holding, now=now), durable=False)
        turn.count("repositories")
        if written is not None and written.shares_otherwise:
            others = await turn.read(partial(tally.partners, repository_id=due.id, count=PARTNERS_MAX))
            if others:
                await turn.write(lambda each: tally.count_again(each, others, now=now), durable=False)

    async def _give_version_keys(self, turn: Turn, repository_id: int) -> None:
        if not await turn.read(partial(tally.lacks_version_keys, repository_id=repository_id)):
            return
        step = partial(
            tally.give_version_keys, repository_id=repository_id, version_key=self.version_key, count=TAGS_PER_WRITE
        )
        while given := await turn.write(step, durable=False):
            turn.count("tags", given)


async def _walk(turn: Turn, step: Callable[..., bytes | None]) -> None:
    after: bytes | None = b""
    while after is not None:
        after = await turn.read(partial(step, after=after, count=ROWS_PER_STEP))


async def tally_all(turn: Turn) -> None:
    """Have every repository counted again: what others share with it changes without a change of its own."""
    after = 0
    while ids := await turn.read(partial(tally.walk, after=after, count=WALK_PAGE)):
        now, page = turn.now, ids
        await turn.write(partial(tally.count_again, repository_ids=page, now=now), durable=False)
        turn.count("repositories", len(page))
        after = page[-1]
