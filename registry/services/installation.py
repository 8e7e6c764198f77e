"""The installation: one database and one store that belong together, checked at every start.

While blobs move there are two stores. SQL knows that from the first start with both, and until the move is finished
nothing works with one of them alone: the other one holds blobs too.
"""

import secrets
from dataclasses import dataclass, field
from enum import Enum

from registry.blobstore.base import BlobStore, boot_id
from registry.metadata import installation, moved, storage_moves
from registry.metadata.database import Connection, Database
from registry.metadata.storage_moves import StorageMove
from registry.services.clock import Clock


class WrongPair(Exception):
    """The database and the store do not belong together: going on could lose what the other one holds."""


class Purpose(Enum):
    """What an installation is opened for."""

    LOOK = "look"
    """A command beside the servers."""
    SERVE = "serve"
    """A server: with two stores, blobs begin to move."""
    MOVE = "move"
    """The move itself, which may know the two stores by other names than the servers did."""
    MOVE_OFFLINE = "move offline"
    """The same, and no server has to know both stores before."""
    PLAN = "plan"
    """Only to say what a move would do: nothing is written."""


@dataclass(frozen=True, slots=True)
class Places:
    """What the current and the previous store are called; the second is None unless blobs move."""

    current: str = ""
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """Looks after the pair; with `previous`, after three."""

    database: Database
    store: BlobStore
    clock: Clock
    previous: BlobStore | None = None
    places: Places = field(default_factory=Places)

    async def open(self, purpose: Purpose = Purpose.LOOK) -> str:
        """Check that database and store are a pair, and make them one if both are new; returns its id.

        A new database next to a store with content is refused: it would serve nothing, and collection would take
        all of it. After a reboot object ids are skipped, because the newest ones may have been lost with unsynced
        bookkeeping, and no id may be given out twice. Raises WrongPair, DatabaseMoved, DatabaseIncomplete.
        """
        await self.database.read(moved.require_here)
        # Where the system has no boot id, every start counts as a boot: that is only more careful.
        boot = boot_id() or secrets.token_hex(16)
        # In this order: the row is there before the mark, so another process that starts now cannot mislead.
        carried = await self.store.identity()
        known = await self.database.read(installation.find)
        newest, left = await self.database.read(_moves)
        _judge(newest, left, self.places, purpose)
        if known is None:
            known = await self._create(boot, carried)
        if carried not in (None, known.identity):
            raise WrongPair("the blob store belongs to another database")
        if self.previous is not None:
            await self._open_two(self.previous, known.identity, carried, purpose)
        elif carried is None:
            await self._claim(known.identity)
        if known.boot_id != boot and purpose is not Purpose.PLAN:
            await self.database.write(lambda connection: installation.note_boot(connection, boot))
        return known.identity

    async def _open_two(self, previous: BlobStore, identity: str, carried: str | None, purpose: Purpose) -> None:
        """At least one of the stores belongs to this database; the other one gets its mark once SQL knows that either
        may hold blobs. Otherwise a server with the new one alone would start next, and have nothing."""
        mark = await previous.identity()
        if mark not in (None, identity):
            raise WrongPair("storage_previous belongs to another database")
        if mark is None and (carried is None or purpose is not Purpose.SERVE):
            raise WrongPair("storage_previous is empty or not mounted: the mark of the installation is missing")
        if purpose in (Purpose.MOVE, Purpose.MOVE_OFFLINE):
            await self._require_no_third(carried, mark)
        if purpose is Purpose.MOVE:
            await self._require_begun()
        elif purpose in (Purpose.SERVE, Purpose.MOVE_OFFLINE):
            await self._begin_move()
        else:
            return
        for store, found in ((self.store, carried), (previous, mark)):
            if found is None:
                await _claim_empty(store, identity)

    async def _begin_move(self) -> None:
        """Write down that either store may hold any blob, where that is not so already."""
        assert self.places.previous is not None
        source, target, now = self.places.previous, self.places.current, self.clock()

        def note(connection: Connection) -> None:
            newest = storage_moves.newest(connection)
            if newest is None or (newest.is_finished and (newest.source, newest.target) != (source, target)):
                storage_moves.begin(connection, source=source, target=target, now=now)
            elif not newest.is_finished and (newest.source, newest.target) != (source, target):
                storage_moves.turn(connection, newest.id, source=source, target=target)

        await self.database.write(note)

    async def finish_move(self) -> None:
        """Write down that every blob is in the current store."""
        assert self.places.previous is not None
        source, target, now = self.places.previous, self.places.current, self.clock()
        await self.database.write(
            lambda connection: storage_moves.finish(connection, source=source, target=target, now=now)
        )

    async def _require_no_third(self, *marks: str | None) -> None:
        """A move that goes on may know its stores by other names than the servers, but both have had the mark since it
        began. Raises WrongPair for one that has not: what servers have written to the right one would be left out."""
        newest = await self.database.read(storage_moves.newest)
        if newest is None or newest.is_finished or None not in marks:
            return
        if newest.both != {self.places.current, self.places.previous}:
            raise WrongPair(
                f"blobs are on their way from {newest.source} to {newest.target}, and of {self.places.previous} and"
                f" {self.places.current} one is another store: the mark of the installation is missing there"
            )

    async def _require_begun(self) -> None:
        """Servers must know both stores before blobs move. Raises WrongPair where none has been started with both, or
        the last one was started the other way round."""
        newest = await self.database.read(storage_moves.newest)
        if newest is not None and newest.is_finished and newest.source == self.places.previous:
            return
        if newest is None or newest.is_finished:
            raise WrongPair(
                f"no server has been started yet with storage {self.places.current} and storage_previous"
                f" {self.places.previous}: start all of them so first, or they will not find what is moved. If none"
                " runs, say --offline"
            )
        if newest.source == self.places.current:
            raise WrongPair(
                f"servers still write to {newest.target}: start all of them with storage {self.places.current} and"
                f" storage_previous {self.places.previous} first, or say --offline if none runs"
            )

    async def _create(self, boot: str, carried: str | None) -> installation.Installed:
        if carried is not None:
            raise WrongPair(
                "the database is new, but the blob store holds the content of another installation; give both of"
                " the same one, or empty folders"
            )
        if self.previous is not None:
            raise WrongPair("this registry is new, and has no blobs in a previous store: leave storage_previous out")
        made = installation.Installed(secrets.token_hex(16), boot)
        now = self.clock()
        return await self.database.write(lambda connection: installation.create(connection, made, now=now))

    async def _claim(self, identity: str) -> None:
        """Mark a store as ours, unless SQL knows of content that ought to be in it."""
        if await self.store.identity() == identity:
            return
        if await self.database.read(installation.has_content):
            raise WrongPair(
                "the database knows of blobs, but the blob store is empty or not mounted: its mark is missing (if the"
                " blobs shall move to it, set storage_previous to where they are)"
            )
        await _claim_empty(self.store, identity)


async def _claim_empty(store: BlobStore, identity: str) -> None:
    async for _ in store.iter_objects():
        raise WrongPair("the blob store holds content, but no mark of the installation that it belongs to")
    await store.claim(identity)


def _moves(connection: Connection) -> tuple[StorageMove | None, set[str]]:
    return storage_moves.newest(connection), storage_moves.left(connection)


def _judge(newest: StorageMove | None, left: set[str], places: Places, purpose: Purpose) -> None:
    """Refuse what would leave out a store that holds blobs; those that are `left` have been moved away from. Raises
    WrongPair."""
    if places.current == places.previous:
        raise WrongPair("storage and storage_previous are the same store")
    if newest is None:
        return
    if newest.is_finished:
        oldest = places.previous or places.current
        if oldest in left - {newest.target} and newest.target != places.current:
            raise WrongPair(f"the blobs have been moved from {oldest} to {newest.target}: set storage to that")
        return
    if places.previous is None:
        raise WrongPair(
            f"blobs are on their way from {newest.source} to {newest.target}: set storage to {newest.target} and"
            f" storage_previous to {newest.source} until `depotry storage move` says that it can be left out"
        )
    is_move = purpose in (Purpose.MOVE, Purpose.MOVE_OFFLINE)
    if not is_move and newest.both != {places.current, places.previous}:
        raise WrongPair(
            f"blobs are on their way from {newest.source} to {newest.target}: storage and storage_previous have to be"
            " these two. If they are, under other names, let `depotry storage move` finish with the new names first"
        )
