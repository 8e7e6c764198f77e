"""What is known of changes of access: nothing is taken to hold because a change was forgotten, or never seen."""

import pytest
from sqlalchemy import text

from registry.core import limits
from registry.metadata import access
from registry.metadata.database import Connection
from registry.services import changes
from registry.services.changes import Changes
from tests.services.conftest import House

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


async def test_has_changed(house: House, known: Changes) -> None:
    """As a transaction asks that must not go by what was true a moment ago."""
    await change(house, "a1")

    def asked(connection: Connection) -> list[bool]:
        return [access.has_changed(connection, ["a1", "c9"], since=since) for since in (0, 1)]

    assert await house.database.read(asked) == [True, False]
