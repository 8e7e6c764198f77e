"""What is known of changes of access: nothing is taken to hold because a change was forgotten, or never seen."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import text

from registry.core import limits
from registry.core.access import Action, Principal, Visibility, repository_subject
from registry.core.errors import Unauthenticated
from registry.core.names import Reference
from registry.metadata import access
from registry.metadata.database import Connection, Database
from registry.services import changes
from registry.services.access import Access
from registry.services.changes import Changes
from tests.running import wait_until
from tests.services.conftest import NAME, OTHER, House, by_tag

pytestmark = pytest.mark.anyio


@pytest.fixture
async def known(house: House) -> Changes:
    """Changes of a database with an installation."""
    await run(house, "INSERT INTO installation (id, identity, boot_id, created_at) VALUES (1, 'a', 'b', 0)")
    return Changes(house.database)


async def run(house: House, statement: str) -> None:
    """One statement."""
    await house.database.write(lambda connection: connection.execute(text(statement)))


async def change(house: House, subject: str) -> None:
    """A change, as a command makes it."""
    await house.database.write(lambda connection: access.note_changes(connection, [subject], now=house.now))


async def test_a_change_voids_what_is_older(house: House, known: Changes) -> None:
    """Only for its subject."""
    await known.refresh()
    await change(house, "r1")
    assert known.hold(["r1", "r2"], 0)
    await known.refresh()
    assert not known.hold(["r1"], 0)
    assert known.hold(["r2"], 0)
    assert known.hold(["r1"], 1)


async def test_what_is_forgotten_does_not_hold_again(
    house: House, known: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-012: a decision that was revoked a day ago stays revoked, however long it is remembered."""
    await change(house, "r1")
    await known.refresh()
    monkeypatch.setattr(changes, "CHANGES_KEPT_MS", 0)
    await change(house, "r2")
    await known.refresh()
    assert not known.hold(["r1"], 0)
    assert known.hold(["r1"], 2)


async def test_too_many_changes_void_the_oldest(house: House, known: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: memory has a limit, and beyond it what is not known any more does not hold."""
    monkeypatch.setattr(changes, "CHANGES_KNOWN", 2)
    for number in range(4):
        await change(house, f"r{number}")
    await known.refresh()
    assert not known.hold(["r9"], 1)
    assert known.hold(["r9"], 2)
    assert not known.hold(["r3"], 2)


async def test_a_change_that_was_removed_unread_voids_everything(house: House, known: Changes) -> None:
    """SEC-012: a writer whose clock is a day ahead removes changes that this worker has not read."""
    await change(house, "r1")
    await known.refresh()
    await change(house, "r2")
    house.now += limits.CHANGES_KEPT_MS + 1
    await change(house, "r3")
    await known.refresh()
    assert not known.hold(["r2"], 1)
    assert known.hold(["r2"], 3)


async def test_also_when_nothing_newer_is_left(house: House, known: Changes) -> None:
    """The counter tells of what the table does not have any more."""
    await change(house, "r1")
    await run(house, "DELETE FROM access_changes")
    await known.refresh()
    assert known.revision == 1
    assert not known.hold(["r1"], 0)


class Delayed:
    """A database whose points answer when they are told to, in whatever order."""

    def __init__(self, house: House) -> None:
        self._database = house.database
        self.waiting: list[asyncio.Future[None]] = []

    async def point(self, query: Callable[[Connection], Any]) -> Any:
        """Ask at once, answer later."""
        found = await self._database.point(query)
        gate = asyncio.get_running_loop().create_future()
        self.waiting.append(gate)
        await gate
        return found

    async def asked(self) -> None:
        """Until there is an answer to give."""
        await asyncio.to_thread(wait_until, lambda: bool(self.waiting))

    async def answer(self) -> None:
        """Let the oldest answer go, once there is one."""
        await self.asked()
        self.waiting.pop(0).set_result(None)


async def test_what_is_known_never_goes_back(house: House, known: Changes) -> None:
    """SEC-012: of two reads that overlap, the one that began first does not undo what the other has found; and who asks
    for what is new gets what was committed before it asked."""
    delayed = Delayed(house)
    slow = Changes(cast("Database", delayed))
    await change(house, "r1")
    first = asyncio.ensure_future(slow.refresh())
    await delayed.asked()
    await change(house, "r1")
    others = [asyncio.ensure_future(slow.refresh()) for _ in range(5)]
    await delayed.answer()
    await first
    assert slow.revision == 1
    await delayed.answer()
    await asyncio.gather(*others)
    assert slow.revision == 2
    assert not slow.hold(["r1"], 1)
    assert delayed.waiting == []


async def test_facts_that_a_change_overtook_are_read_again(house: House, known: Changes) -> None:
    """SEC-012: facts were read, then others heard of a change of them: what is decided on them is not said to hold up
    to that change."""
    await house.blob(b"x")
    delayed = Delayed(house)
    found = Access(cast("Database", delayed), known, default_visibility=Visibility.PRIVATE, is_open=False)
    await known.refresh()
    principal = Principal(None, "", "none")
    rights = asyncio.ensure_future(found.rights(principal, NAME))
    await delayed.asked()

    def show(connection: Connection) -> None:
        [(repository_id,)] = connection.execute(text("SELECT id FROM repositories")).all()
        connection.execute(text("UPDATE repositories SET visibility = 'public'"))
        access.note_changes(connection, [repository_subject(repository_id)], now=house.now)

    await house.database.write(show)
    await known.refresh()
    await delayed.answer()
    await delayed.answer()
    assert Action.PULL in (await rights).actions


async def test_has_changed(house: House, known: Changes) -> None:
    """As a transaction asks that must not go by what was true a moment ago."""
    await change(house, "a1")

    def asked(connection: Connection) -> list[bool]:
        return [access.has_changed(connection, ["a1", "c9"], since=since) for since in (0, 1)]

    assert await house.database.read(asked) == [True, False]


@pytest.mark.usefixtures("known")
async def test_what_is_decided_is_asked_again_where_something_changes(house: House) -> None:
    """SEC-012: access was taken away between the decision and the transaction, such as while that waited for another
    one: no mount, and nothing is removed."""
    blob, config = await house.blob(b"blob"), await house.blob(b"{}")
    source = await house.source(NAME)
    descriptor = {"mediaType": "application/x", "digest": str(config), "size": 2}
    pushed = await house.manifest({"schemaVersion": 2, "config": descriptor, "layers": []}, "v1")
    here, there = [replace(await house.at(name), subjects=("r1",)) for name in (NAME, OTHER)]
    await change(house, "r1")
    for attempt in (
        house.uploads.mount(there, blob, source),
        house.remove.blob(here, blob),
        house.remove.manifest(here, by_tag("v1")),
        house.remove.manifest(here, Reference(digest=pushed.digest)),
    ):
        with pytest.raises(Unauthenticated):
            await attempt
    assert await house.content(blob) == b"blob"
    assert await house.rows("SELECT name FROM repositories") == [(NAME,)]
    assert await house.rows("SELECT name FROM tags") == [("v1",)]
