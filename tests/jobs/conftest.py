"""Background work on the use cases' house: a real database, the memory store, and a clock that is set by hand."""

from dataclasses import replace

from registry.jobs.runner import Runner
from registry.jobs.upkeep import ROUND, Graces, jobs_of
from tests.services.conftest import LEASE_MS, House, house

__all__ = ["GRACES", "collect_all", "house", "work"]

GRACES = Graces(
    lease_ms=LEASE_MS,
    upload_ttl_ms=LEASE_MS,
    removal_grace_ms=LEASE_MS // 10,
    collect_interval_ms=1000,
    login_window_ms=LEASE_MS,
    session_idle_ms=LEASE_MS,
)
INVARIANT = """
    SELECT count(*) FROM blobs
    WHERE review_at IS NULL AND NOT EXISTS (SELECT 1 FROM manifest_blobs WHERE linked_digest = blobs.digest)
"""


async def work(house: House, kind: str, graces: Graces = GRACES) -> dict[str, int]:
    """Do one kind of work now; returns its tally. Before and after, no blob that nothing refers to is without a
    review."""
    assert await house.rows(INVARIANT) == [(0,)]
    did = await Runner(house.database, jobs_of(house.store, graces), house.clock).run_now(kind)
    assert await house.rows(INVARIANT) == [(0,)]
    return did


async def collect_all(house: House) -> None:
    """A round without any grace for the bytes, on the clock as it stands."""
    for kind in ROUND:
        await work(house, kind, replace(GRACES, removal_grace_ms=-1))
