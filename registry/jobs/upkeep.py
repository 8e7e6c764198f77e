"""The list of background work, and the small pieces of it that tidy up SQL."""

from dataclasses import dataclass

from registry.blobstore.base import BlobStore
from registry.core.versions import version_key
from registry.jobs import sample, tally
from registry.jobs.collect import RemoveDead, collect, review_all
from registry.jobs.expire import Expire
from registry.jobs.runner import Job, Turn
from registry.jobs.sample import sample_usage
from registry.jobs.sweep import Sweep
from registry.jobs.tally import Tally, tally_all
from registry.jobs.trim import trim_counts
from registry.metadata import identities, logins, outbox, repositories, sessions, tokens
from registry.metadata.database import Connection
from registry.services.statistics import SAMPLE_USAGE

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

EXPIRE, COLLECT, REMOVE_DEAD = "expire-uploads", "collect", "remove-dead"
ROUND = (EXPIRE, COLLECT, REMOVE_DEAD)
"""What gives space back, in the order in which one makes work for the next."""
REVIEW_ALL, SWEEP = "review-all", "sweep"

OUTBOX_KEPT_MS = 7 * DAY_MS
EXPIRED_TOKENS_KEPT_MS = 30 * DAY_MS
"""For their owners, who may wonder why one stopped working."""
ROWS_PER_STEP = 500


@dataclass(frozen=True, slots=True)
class Graces:
    """How long things are kept, and how often is looked. All in milliseconds."""

    lease_ms: int
    upload_ttl_ms: int
    removal_grace_ms: int
    collect_interval_ms: int
    login_window_ms: int
    session_idle_ms: int


def jobs_of(store: BlobStore, graces: Graces) -> list[Job]:
    """All kinds of background work on this store."""
    often = graces.collect_interval_ms
    return [
        Job(EXPIRE, often, Expire(store, graces.upload_ttl_ms)),
        Job(COLLECT, often, collect),
        Job(REMOVE_DEAD, often, RemoveDead(store, graces.removal_grace_ms)),
        Job(REVIEW_ALL, 7 * DAY_MS, review_all),
        Job(SWEEP, DAY_MS, Sweep(store)),
        Job("trim-outbox", HOUR_MS, _trim_outbox),
        Job("forget-logins", HOUR_MS, ForgetLogins(graces.login_window_ms, graces.session_idle_ms)),
        Job("finish-deletes", MINUTE_MS, FinishDeletes(graces.lease_ms)),
        Job("tally", HOUR_MS, Tally(version_key), wanted=tally.is_wanted),
        Job("tally-all", 7 * DAY_MS, tally_all),
        Job("trim-counts", DAY_MS, trim_counts),
        Job(SAMPLE_USAGE, HOUR_MS, sample_usage, wanted=sample.is_wanted),
    ]


async def _trim_outbox(turn: Turn) -> None:
    before = turn.now - OUTBOX_KEPT_MS
    await turn.repeat("events", lambda each: outbox.trim(each, before=before, count=ROWS_PER_STEP))


@dataclass(frozen=True, slots=True)
class ForgetLogins:
    """Removes failed logins whose window is over, tokens that expired long ago, sessions that have ended by themselves,
    and the answers of single sign-ons that nobody could give again."""

    window_ms: int
    idle_ms: int

    async def __call__(self, turn: Turn) -> None:
        """The first two are also removed where somebody logs in; this is for those who never do again."""
        failures_before = turn.now - self.window_ms
        tokens_before = turn.now - EXPIRED_TOKENS_KEPT_MS
        await turn.repeat(
            "failures", lambda each: logins.forget_expired(each, before=failures_before, count=ROWS_PER_STEP)
        )
        await turn.repeat("tokens", lambda each: tokens.remove_expired(each, before=tokens_before, count=ROWS_PER_STEP))
        now, seen_before = turn.now, turn.now - self.idle_ms
        await turn.repeat(
            "sessions",
            lambda each: sessions.remove_ended(each, now=now, seen_before=seen_before, count=ROWS_PER_STEP),
        )
        await turn.repeat("sign-ons", lambda each: identities.forget_answers(each, now=now, count=ROWS_PER_STEP))


@dataclass(frozen=True, slots=True)
class FinishDeletes:
    """Empties repositories that are being deleted: what a command that was killed has left."""

    lease_ms: int

    async def __call__(self, turn: Turn) -> None:
        """In the steps of `repositories.empty_step`."""
        for repository_id in await turn.read(repositories.deleted):

            def empty(connection: Connection, repository_id: int = repository_id) -> bool:
                now = turn.now
                return repositories.empty_step(
                    connection, repository_id, count=ROWS_PER_STEP, now=now, until=now + self.lease_ms
                )

            while await turn.write(empty):
                turn.count("steps")
            turn.count("repositories")
