"""Blobs move to another store: all of them, whole, and whatever happens to them meanwhile."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from registry.blobstore.base import BlobStore
from registry.blobstore.filesystem import FilesystemStore
from registry.blobstore.memory import MemoryStore
from registry.blobstore.several import SeveralStore
from registry.core.digest import Algorithm, Digest
from registry.core.errors import BlobUnknown, ContentCorrupt, Unavailable
from registry.core.limits import CHUNK_BYTES
from registry.jobs.move import Handled, Move, Outcome
from registry.metadata import moving, sqlite, storage_moves
from registry.metadata.postgresql import PostgresqlDatabase
from registry.metadata.sqlite import SqliteDatabase
from registry.services.installation import Installation, Places, Purpose, WrongPair
from registry.services.uploads import Chunk
from tests.services.conftest import NAME, House, body
from tests.services.test_scrub import spoil

pytestmark = pytest.mark.anyio

EXPIRY_MS = 1_000_000


@pytest.fixture
async def both(house: House) -> AsyncIterator[SeveralStore]:
    """The house's blobs are in a store, and another one is to take them over."""
    await house.store.claim("a")
    both = SeveralStore(MemoryStore(), house.store)
    await both.claim("a")
    yield both
    await both.aclose()


def move_of(house: House, both: SeveralStore, **more: Any) -> Move:
    """The move that the tests run."""
    return Move(house.database, both.current, both.previous, house.clock, 2, EXPIRY_MS, **more)


async def run(move: Move) -> dict[Digest, Outcome]:
    """Run it; what became of each blob."""
    return {handled.object.digest: handled.outcome async for handled in move.run()}


async def stored(store: BlobStore) -> set[int]:
    """Ids of what a store holds."""
    return {found.object_id async for found in store.iter_objects()}


async def states(house: House) -> dict[int, str]:
    """What SQL says of all objects."""
    return {row[0]: row[1] for row in await house.rows("SELECT id, state FROM objects")}


async def test_every_blob_moves_and_is_the_same(house: House, both: SeveralStore) -> None:
    """Under new ids; the old objects are dead and still there; the new store alone serves everything."""
    contents = [b"", b"small", b"x" * (2 * CHUNK_BYTES + 5), *(bytes([number]) * 100 for number in range(20))]
    digests = [await house.blob(content) for content in contents]
    old = await stored(both.previous)
    plan = await move_of(house, both).plan()
    assert (plan.blobs, plan.size) == (len(contents), sum(map(len, contents)))
    told: list[int] = []
    move = move_of(house, both, on_bytes=told.append)
    assert await run(move) == dict.fromkeys(digests, Outcome.MOVED)
    assert sum(told) == plan.size
    new = await stored(both.current)
    assert len(new) == len(old) and new.isdisjoint(old)
    assert await states(house) == dict.fromkeys(old, "dead") | dict.fromkeys(new, "live")
    assert await stored(both.previous) == old
    assert (move.left.live, move.left.dead, move.left.dead_bytes) == (0, len(old), plan.size)
    house.store = both.current  # type: ignore[assignment]
    for digest, content in zip(digests, contents, strict=True):
        assert await house.content(digest) == content


async def test_a_second_run_finds_everything_there(house: House, both: SeveralStore) -> None:
    """I7: repeating converges, and draws no more ids."""
    digest = await house.blob(b"once")
    await run(move_of(house, both))
    before = await states(house)
    assert await run(move_of(house, both)) == {digest: Outcome.THERE}
    assert await states(house) == before
    assert (await move_of(house, both).plan()).blobs == 0


async def test_sha512_moves_too(house: House, both: SeveralStore) -> None:
    content = b"y" * 1000
    digest = Digest.of(content, Algorithm.SHA512)
    await house.uploads.receive_whole(await house.at(NAME), digest, body(content))
    assert await run(move_of(house, both)) == {digest: Outcome.MOVED}
    house.store = both.current  # type: ignore[assignment]
    assert await house.content(digest) == content


@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
async def test_what_is_corrupt_is_never_copied(house: House, tmp_path: Path, damage: str) -> None:
    """I4: it is reported once, marked, and left; nothing of it stays in the new store; a push heals it there."""
    both = SeveralStore(FilesystemStore(tmp_path / "new"), FilesystemStore(tmp_path / "old"))
    await both.claim("a")
    house.store = both.previous  # type: ignore[assignment]
    good, bad = await house.blob(b"good"), await house.blob(b"content")
    spoil(next((tmp_path / "old").rglob(f"{bad.hex}.*")), damage)
    move = move_of(house, both)
    assert await run(move) == {good: Outcome.MOVED, bad: Outcome.CORRUPT}
    assert (move.left.live, move.left.corrupt) == (0, 1)
    assert len(await stored(both.current)) == 1
    assert list((tmp_path / "new" / "uploads").iterdir()) == []
    house.store = both  # type: ignore[assignment]
    with pytest.raises(BlobUnknown):
        await house.pull.stat_blob(await house.at(NAME), bad)
    await house.blob(b"content")
    assert await house.content(bad) == b"content"
    assert (await run(move_of(house, both)))[bad] is Outcome.THERE
    await both.aclose()


async def test_what_neither_store_has_is_reported_and_not_marked(house: House, both: SeveralStore) -> None:
    """It may be in a store that nobody named."""
    lost = await house.blob(b"lost")
    [object_id] = await stored(both.previous)
    await both.previous.delete(object_id, lost)
    assert await run(move_of(house, both)) == {lost: Outcome.MISSING}
    assert await house.rows("SELECT corrupt_at FROM objects") == [(None,)]


MEANWHILE = {
    "collected": [
        "DELETE FROM repository_blobs",
        "DELETE FROM blobs",
        "UPDATE objects SET state = 'dead', dead_at = 1 WHERE state = 'live'",
    ],
    "healed": [
        "INSERT INTO objects (id, state, digest, size, created_at) SELECT 900, 'live', digest, size, 1 FROM blobs",
        "UPDATE blobs SET object_id = 900",
        "UPDATE objects SET state = 'dead', dead_at = 1 WHERE state = 'live' AND id <> 900",
    ],
    "given up": ["UPDATE objects SET state = 'dead', dead_at = 1 WHERE state = 'uploading'"],
}
"""What others do to the only blob while it is copied."""


def beside(house: House) -> Engine:
    """Another way in to the database, which waits for nothing that runs on the loop."""
    if isinstance(house.database, SqliteDatabase):
        return sqlite.writing_engine(house.database.url, synchronous="NORMAL")
    assert isinstance(house.database, PostgresqlDatabase)
    return create_engine(house.database.url)


@pytest.mark.parametrize("what", MEANWHILE)
async def test_a_blob_that_changed_meanwhile_is_left_as_it_is(house: House, both: SeveralStore, what: str) -> None:
    """The copy is dead and removed, and nothing that others did is undone."""
    await house.blob(b"content")
    statements = list(MEANWHILE[what])

    def change(count: int) -> None:
        if not statements:
            return
        engine = beside(house)
        with engine.begin() as connection:
            while statements:
                connection.execute(text(statements.pop(0)))
        engine.dispose()

    move = move_of(house, both, on_bytes=change)
    outcomes = [handled.outcome async for handled in move.run()]
    assert outcomes[0] is Outcome.GONE
    if what == "given up":
        assert outcomes == [Outcome.GONE, Outcome.MOVED]
        return
    assert await stored(both.current) == set()
    assert await house.rows("SELECT object_id FROM blobs") == ([(900,)] if what == "healed" else [])
    assert "uploading" not in (await states(house)).values()


async def test_an_upload_that_ends_in_the_old_store_is_moved_too(house: House, both: SeveralStore) -> None:
    """It was begun before the move: while it is open the old store has to stay; what it becomes is moved by the next
    run."""
    upload_id = await house.upload(b"half ")
    house.store = both  # type: ignore[assignment]
    move = move_of(house, both)
    assert await run(move) == {}
    assert (move.left.live, move.left.uploads) == (0, 1)
    digest = Digest.of(b"half whole")
    await house.uploads.finish(await house.at(NAME), upload_id, digest, Chunk(body(b"whole")))
    move = move_of(house, both)
    assert await run(move) == {digest: Outcome.MOVED}
    assert (move.left.live, move.left.uploads) == (0, 0)


async def test_a_published_upload_that_sql_does_not_know_yet_keeps_the_old_store(
    house: House, both: SeveralStore
) -> None:
    """A repeated request can still finish it."""
    upload_id = await house.upload(b"whole")
    [(object_id,)] = await house.rows("SELECT object_id FROM uploads")
    session = await both.previous.resume_upload(upload_id, object_id)
    await session.commit(Digest.of(b"whole"))
    move = move_of(house, both)
    await run(move)
    assert (move.left.live, move.left.uploads) == (0, 1)


async def test_leftovers_of_a_killed_move_expire(house: House, both: SeveralStore) -> None:
    """I8: a copy that was begun and never ended is given up after a while, with its upload, and not before."""
    digest = Digest.of(b"z")
    copy_id = await house.database.write(lambda connection: moving.draw(connection, digest, now=house.now))
    session = await both.current.create_upload(f"c{copy_id:031x}", copy_id)
    await session.suspend()
    await run(move_of(house, both))
    assert await states(house) == {copy_id: "uploading"}
    house.now += EXPIRY_MS + 1
    await run(move_of(house, both))
    assert await states(house) == {copy_id: "dead"}
    assert [upload_id async for upload_id in both.current.iter_uploads()] == []


async def test_an_upload_in_progress_is_no_leftover(house: House, both: SeveralStore) -> None:
    await house.upload(b"slow")
    house.now += 100 * EXPIRY_MS
    await run(move_of(house, both))
    assert list((await states(house)).values()) == ["uploading"]


async def test_a_store_that_fails_ends_the_move_and_marks_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: an old store that is not mounted has no corrupt blobs, and no missing ones."""
    monkeypatch.setattr("registry.jobs.move.FIRST_PAUSE_S", 0.001)
    await house.blob(b"content")
    both = SeveralStore(MemoryStore(), FilesystemStore(tmp_path / "nowhere"))
    with pytest.raises(Unavailable):
        await run(move_of(house, both))
    assert await house.rows("SELECT state, corrupt_at FROM objects") == [("live", None)]
    await both.aclose()


async def test_a_full_new_store_ends_the_move_without_a_trace(house: House, both: SeveralStore) -> None:
    """What was moved stays moved, and the copy that did not fit is dead."""
    small, large = await house.blob(b"small"), await house.blob(b"x" * 1000)
    full = SeveralStore(MemoryStore(capacity_bytes=100), both.previous)
    move = Move(house.database, full.current, full.previous, house.clock, 1, EXPIRY_MS)
    seen: list[Handled] = []
    with pytest.raises(Exception, match="full"):
        seen += [handled async for handled in move.run()]
    serving = dict(await house.rows("SELECT digest, object_id FROM blobs"))
    assert serving[small.pack()] in await stored(full.current)
    assert serving[large.pack()] in await stored(full.previous)
    assert "uploading" not in (await states(house)).values()


async def test_a_pull_marks_nothing_while_blobs_move(house: House, both: SeveralStore) -> None:
    """A server that knows one store only does not call corrupt what the other one has."""
    digest = await house.blob(b"content")
    await house.database.write(
        lambda connection: storage_moves.begin(connection, source="one", target="other", now=house.now)
    )
    whole, house.store = house.store, both.current  # type: ignore[assignment]
    with pytest.raises(ContentCorrupt):
        await house.content(digest)
    house.store = whole
    assert await house.content(digest) == b"content"


# Which stores an installation may be opened with.


@pytest.fixture
async def halls(house: House, tmp_path: Path) -> AsyncIterator[Callable[..., Installation]]:
    """Installations on the folders `a`, `b`, `c`; there is content in `a`."""
    stores: list[FilesystemStore] = []

    def at(name: str) -> FilesystemStore:
        stores.append(FilesystemStore(tmp_path / name))
        return stores[-1]

    def make(current: str, previous: str | None = None) -> Installation:
        places = Places(f"file:{current}", previous and f"file:{previous}")
        other = None if previous is None else at(previous)
        return Installation(house.database, at(current), house.clock, other, places)

    await make("a").open(Purpose.SERVE)
    house.store = stores[0]  # type: ignore[assignment]
    await house.blob(b"content")
    yield make
    for store in stores:
        await store.aclose()


async def test_a_new_store_is_taken_beside_the_one_with_the_mark(halls: Callable[..., Installation]) -> None:
    """It carries the same mark from then on, and the old one alone will not do any more."""
    identity = await halls("b", "a").open(Purpose.SERVE)
    assert await halls("b").store.identity() == identity
    for alone in ("a", "b"):
        with pytest.raises(WrongPair, match="storage_previous"):
            await halls(alone).open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="on their way"):
        await halls("c", "a").open(Purpose.SERVE)
    await halls("a", "b").open(Purpose.SERVE)
    await halls("b", "a").open()


async def test_nodes_can_know_the_new_store_before_they_write_to_it(halls: Callable[..., Installation]) -> None:
    """Several nodes: first all of them with the new store as the previous one, then the other way round."""
    await halls("a", "b").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="storage_previous"):
        await halls("b").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="servers still write"):
        await halls("b", "a").open(Purpose.MOVE)
    await halls("b", "a").open(Purpose.SERVE)
    await halls("b", "a").open(Purpose.MOVE)


async def test_after_the_end_only_the_new_store_will_do(halls: Callable[..., Installation]) -> None:
    """A node that still has both begins nothing anew; one that has the old one alone is refused."""
    await halls("b", "a").open(Purpose.SERVE)
    await halls("b", "a").finish_move()
    await halls("b").open(Purpose.SERVE)
    await halls("b", "a").open(Purpose.SERVE)
    await halls("b").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="have been moved"):
        await halls("a").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="have been moved"):
        await halls("c", "a").open(Purpose.SERVE)
    await halls("c", "b").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="storage_previous"):
        await halls("b").open(Purpose.SERVE)


async def test_a_move_back_is_a_move(halls: Callable[..., Installation]) -> None:
    await halls("b", "a").open(Purpose.SERVE)
    await halls("b", "a").finish_move()
    await halls("a", "b").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="storage_previous"):
        await halls("b").open(Purpose.SERVE)
    await halls("a", "b").finish_move()
    await halls("a").open(Purpose.SERVE)


async def test_a_previous_store_without_the_mark_is_refused(halls: Callable[..., Installation], tmp_path: Path) -> None:
    """Not mounted, somebody else's, or with content that nobody has marked: nothing is claimed."""
    with pytest.raises(WrongPair, match="mark of the installation is missing"):
        await halls("b", "c").open(Purpose.SERVE)
    assert await halls("b").store.identity() is None
    other = FilesystemStore(tmp_path / "other")
    await other.claim("somebody else")
    await other.aclose()
    with pytest.raises(WrongPair, match="belongs to another database"):
        await halls("b", "other").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="belongs to another database"):
        await halls("other", "a").open(Purpose.SERVE)
    with pytest.raises(WrongPair, match="same store"):
        await halls("a", "a").open(Purpose.SERVE)


async def test_the_move_must_not_begin_before_the_servers_know_both(halls: Callable[..., Installation]) -> None:
    """And an attempt leaves no mark with which a server would start on the new store alone."""
    with pytest.raises(WrongPair, match="no server has been started"):
        await halls("b", "a").open(Purpose.MOVE)
    with pytest.raises(WrongPair, match="empty or not mounted"):
        await halls("b").open(Purpose.SERVE)
    await halls("b", "a").open(Purpose.MOVE_OFFLINE)
    await halls("b", "a").open(Purpose.MOVE)


@pytest.mark.parametrize("purpose", [Purpose.PLAN, Purpose.LOOK])
async def test_who_only_looks_writes_nothing(
    halls: Callable[..., Installation], house: House, tmp_path: Path, purpose: Purpose
) -> None:
    await halls("b", "a").open(purpose)
    assert not (tmp_path / "b").exists()
    assert await house.database.read(storage_moves.newest) is None


async def test_stores_that_were_renamed_are_for_the_move_to_sort_out(halls: Callable[..., Installation]) -> None:
    """A server cannot tell a new name from a third store; the move looks at every blob."""
    await halls("b", "a").open(Purpose.SERVE)
    renamed = replace(halls("b", "a"), places=Places("file:/new/b", "file:/new/a"))
    with pytest.raises(WrongPair, match="on their way"):
        await renamed.open(Purpose.SERVE)
    await renamed.open(Purpose.MOVE)


@pytest.mark.parametrize("purpose", [Purpose.MOVE, Purpose.MOVE_OFFLINE])
async def test_a_third_store_is_not_the_new_one_by_another_name(
    halls: Callable[..., Installation], purpose: Purpose
) -> None:
    """A slip in the command's `--to`, or its `--from`: servers write to the store that they were started with."""
    await halls("b", "a").open(Purpose.SERVE)
    for current, previous in (("c", "a"), ("b", "c")):
        with pytest.raises(WrongPair, match="mark of the installation is missing"):
            await halls(current, previous).open(purpose)
    assert await halls("c").store.identity() is None
    await halls("b", "a").open(purpose)


async def test_a_store_that_was_left_long_ago_will_not_do(halls: Callable[..., Installation]) -> None:
    """It bears the mark, but what it holds is old; unless blobs move back to it."""
    await halls("b", "a").open(Purpose.SERVE)
    await halls("b", "a").finish_move()
    await halls("c", "b").open(Purpose.SERVE)
    await halls("c", "b").finish_move()
    for current, previous in (("a", None), ("b", None), ("b", "a")):
        with pytest.raises(WrongPair, match="have been moved from"):
            await halls(current, previous).open(Purpose.SERVE)
    await halls("a", "c").open(Purpose.SERVE)
    await halls("a", "c").finish_move()
    await halls("a").open(Purpose.SERVE)


async def test_a_new_registry_has_no_previous_store(tmp_path: Path, house: House) -> None:
    with pytest.raises(WrongPair, match="new"):
        await Installation(house.database, MemoryStore(), house.clock, MemoryStore(), Places("file:a", "file:b")).open(
            Purpose.SERVE
        )
