"""Tags and their history as people see them, on each kind of database."""

import random
from typing import Any

import pytest
from sqlalchemy import text

from registry.core.access import Actor, RepositoryAccess
from registry.core.artifacts import SIGNATURES
from registry.core.digest import Digest
from registry.core.errors import FieldInvalid, ManifestUnknown, NameUnknown, PreconditionFailed
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import Reference, Tag
from registry.core.versions import version_key
from registry.metadata import tag_list
from registry.metadata.tag_list import Entry, Order, Query
from registry.services.contents import PAGE_MAX
from registry.services.push import Condition, ManifestPush
from tests.core.test_manifest import encoded, image, index
from tests.services.conftest import NAME, OTHER, House, by_tag

pytestmark = pytest.mark.anyio
NAMES = ["1.9", "1.10", "v2.0.0-rc.1", "v2.0.0", "latest", "main", "0.1", "2024-05-01", "B", "a"]


def describe(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The descriptor of a manifest."""
    payload = encoded(document)
    return {"mediaType": document["mediaType"], "digest": str(Digest.of(payload)), "size": len(payload), **more}


def numbered(number: int, **more: Any) -> dict[str, Any]:
    """One of many small images."""
    return image(annotations={"number": str(number)}, **more)


async def with_blobs(house: House) -> None:
    """Push what `image()` refers to."""
    await house.blob(b"{}")
    await house.blob(b"x")


async def with_tags(house: House, names: list[str]) -> None:
    """Each name on a manifest of its own, one millisecond after the other."""
    await with_blobs(house)
    for number, name in enumerate(names):
        house.now += 1
        await house.manifest(numbered(number), name)


async def ann(house: House) -> RepositoryAccess:
    """The way in of somebody who has an account."""
    row = "INSERT INTO accounts (id, name, canonical, kind, is_admin, created_at)"
    row += " VALUES (7, 'ann', 'ann', 'user', false, 1) ON CONFLICT DO NOTHING"
    await house.database.write(lambda connection: connection.execute(text(row)))
    found = await house.at(NAME)
    return RepositoryAccess(found.name, found.id, Actor(7, "ann", "password"))


async def listed(house: House, **wanted: Any) -> list[Entry]:
    """The whole list, page by page."""
    query, found = Query(**wanted), []
    while True:
        page = (await house.contents.tags(await house.at(NAME), query)).page
        assert len(page.entries) <= query.count
        found += page.entries
        if page.next_after is None:
            return found
        query = Query(**{**wanted, "after": page.next_after})


async def names_of(house: House, **wanted: Any) -> list[str]:
    """The names alone."""
    return [entry.name for entry in await listed(house, **wanted)]


async def tag_count(house: House) -> int:
    """What stands in the repository's row."""
    (count,) = (await house.rows(f"SELECT tag_count FROM repositories WHERE name = '{NAME}'"))[0]
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("count", [1, 3, 100])
async def test_every_order_in_pages(house: House, count: int) -> None:
    """By name, by time and by version, both ways, however long the pages are: everything once, in its order."""
    await with_tags(house, NAMES)
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    for name in shuffled:
        house.now += 1
        await house.manifest(numbered(99), name)
    orders = {
        Order.NAME: sorted(NAMES),
        Order.PUSHED: shuffled,
        Order.VERSION: sorted(NAMES, key=lambda name: (version_key(name), name)),
    }
    for order, wanted in orders.items():
        assert await names_of(house, order=order, count=count) == wanted
        assert await names_of(house, order=order, count=count, descending=True) == wanted[::-1]


async def test_versions_newest_first(house: House) -> None:
    """1.10 before 1.9, a release before its candidates, and what is no version at the end."""
    await with_tags(house, NAMES)
    assert await names_of(house, order=Order.VERSION, descending=True) == [
        "2024-05-01", "v2.0.0", "v2.0.0-rc.1", "1.10", "1.9", "0.1", "main", "latest", "a", "B",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_what_waits_for_its_key_is_listed(house: House, count: int) -> None:
    """Tags from before keys were written come at the end of the list by version, and none is left out."""
    await with_tags(house, NAMES)
    await house.database.write(
        lambda connection: connection.execute(text("UPDATE tags SET version_key = NULL WHERE name IN ('1.9', 'a')"))
    )
    for descending in (False, True):
        found = await names_of(house, order=Order.VERSION, count=count, descending=descending)
        assert sorted(found) == sorted(NAMES)
        assert set(found[-2:]) == {"1.9", "a"}


@pytest.mark.parametrize("order", Order)
async def test_a_filter_walks_in_steps(house: House, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at so many tags and no more; the next one goes on where it ended, and nothing is left out."""
    names = [f"{number}-{'alpine' if number % 4 == 0 else 'slim'}" for number in range(30)]
    await with_tags(house, names)
    for walk in (1, 4, 7, 1000):
        monkeypatch.setattr(tag_list, "WALK_MAX", walk)
        for count in (1, 2, 100):
            found = await names_of(house, order=order, name_part="ALP", count=count)
            assert sorted(found) == sorted(name for name in names if "alp" in name)
    assert await names_of(house, order=order, name_part="100%_") == []


async def test_what_is_matched_is_text(house: House) -> None:
    """SEC-025, SEC-026: what a pattern would take for a wildcard is itself."""
    await with_tags(house, ["a_b", "axb", "a.b"])
    assert await names_of(house, name_part="_") == ["a_b"]
    assert await names_of(house, name_part="%") == []
    assert await names_of(house, name_part="' OR 1=1 --") == []


async def test_the_tags_of_a_digest(house: House) -> None:
    """By name, both ways, in pages; another order is refused with the field's name."""
    await with_blobs(house)
    one, other = await house.manifest(image(), "b", "a", "c"), await house.manifest(numbered(1), "d")
    for count in (1, 100):
        assert await names_of(house, digest=one.digest, count=count) == ["a", "b", "c"]
        assert await names_of(house, digest=one.digest, count=count, descending=True) == ["c", "b", "a"]
    assert await names_of(house, digest=other.digest, name_part="D") == ["d"]
    assert await names_of(house, digest=Digest.of(b"none")) == []
    with pytest.raises(FieldInvalid) as caught:
        await listed(house, digest=one.digest, order=Order.PUSHED)
    assert caught.value.facts["field"] == "sort"


async def test_a_digest_of_another_repository_has_no_tags_here(house: House) -> None:
    """SEC-022: what another repository holds is not there, for the list, a tag and a restore."""
    await with_tags(house, ["v1"])
    digest = Digest.of(encoded(numbered(0)))
    await house.blob(b"{}", OTHER)
    there = await house.at(OTHER)
    query = Query(digest=digest)
    assert (await house.contents.tags(there, query)).page.entries == []
    with pytest.raises(ManifestUnknown):
        await house.contents.tag(there, Tag("v1"))
    before = await house.rows("SELECT * FROM tags") + await house.rows("SELECT * FROM outbox")
    with pytest.raises(ManifestUnknown):
        await house.tagging.point(there, Tag("v1"), digest)
    assert await house.rows("SELECT * FROM tags") + await house.rows("SELECT * FROM outbox") == before


async def test_an_entry_says_what_was_pushed(house: House) -> None:
    """Digest, sizes, when and by whom, pulls, platforms of the parts with their own digests; attestations apart."""
    await with_blobs(house)
    amd, arm, proof = numbered(1), numbered(2), numbered(3)
    for document in (amd, arm, proof):
        await house.manifest(document)
    whole = index(
        describe(arm, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        describe(amd, platform={"os": "linux", "architecture": "amd64"}),
        describe(proof, platform={"os": "unknown", "architecture": "unknown"}),
        describe(numbered(4), platform={"os": "linux", "architecture": "s390x"}),
    )
    access = await ann(house)
    payload = encoded(whole)
    await house.push.manifest(access, ManifestPush(payload, whole["mediaType"], (Tag("v1"),), None))
    digest = Digest.of(payload)
    pulled = "INSERT INTO pulls (repository_id, tag, digest, day, pulls, last_at) VALUES (:id, 'v1', :none, 0, 5, 77)"
    await house.database.write(lambda connection: connection.execute(text(pulled), {"id": access.id, "none": b""}))
    (entry,) = await listed(house)
    assert entry == await house.contents.tag(await house.at(NAME), Tag("v1"))
    assert (entry.digest, entry.pushed_by, entry.pushed_at) == (digest, "ann", house.now)
    assert (entry.pulls, entry.pulled_at, entry.changes, entry.is_signed) == (5, 77, 1, False)
    assert [(part.name, part.digest) for part in entry.platforms] == [
        ("linux/amd64", Digest.of(encoded(amd))),
        ("linux/arm64/v8", Digest.of(encoded(arm))),
        ("linux/s390x", Digest.of(encoded(numbered(4)))),
    ]
    size = len(encoded(amd)) + len(b"{}") + len(b"x")
    assert [part.size for part in entry.platforms] == [size, size, None]
    assert entry.attestations == 1
    assert not entry.is_cut
    assert entry.size == len(payload) + 3 * size + len(encoded(numbered(4)))


async def test_more_parts_than_a_list_shows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of many parts is cut, and says so; another one on the page is not."""
    monkeypatch.setattr(tag_list, "PLATFORMS_MAX", 3)
    parts = [describe(numbered(n), platform={"os": "linux", "architecture": f"a{n}"}) for n in range(5)]
    await house.manifest(index(*parts), "many")
    await house.manifest(index(*parts[:3]), "few")
    few, many = await listed(house)
    assert (len(many.platforms), many.is_cut) == (3, True)
    assert (len(few.platforms), few.is_cut) == (3, False)


async def test_signed_is_what_has_a_signature(house: House) -> None:
    """A referrer of one of the known types, or cosign's tag; another referrer is none."""
    await with_tags(house, ["plain", "by-referrer", "by-tag"])
    subjects = [describe(numbered(number)) for number in range(3)]
    await house.manifest(image(subject=subjects[0], artifactType="application/spdx+json"))
    await house.manifest(image(subject=subjects[1], artifactType=SIGNATURES[0]))
    await house.manifest(image(annotations={"s": "1"}), str(subjects[2]["digest"]).replace(":", "-") + ".sig")
    signed = {entry.name: entry.is_signed for entry in await listed(house, with_fallback=False)}
    assert signed == {"plain": False, "by-referrer": True, "by-tag": True}
    assert len(await listed(house)) == 4


async def test_counts_are_exact(house: House) -> None:
    """The number of tags follows every push, move and delete in the same transaction, and the tally is asked for."""
    await with_tags(house, ["a", "b", "c"])
    await house.manifest(numbered(0), "a", "d", "e")
    await house.manifest(numbered(0), "b")
    assert await tag_count(house) == 5
    pushed_at = (await house.rows("SELECT pushed_at FROM repositories"))[0][0]
    assert pushed_at == house.now
    house.now += 1
    await house.manifest(numbered(0), "b")
    await house.remove.manifest(await house.at(NAME), by_tag("c"))
    assert await tag_count(house) == 4
    assert await house.rows("SELECT pushed_at FROM repositories WHERE tally_at IS NOT NULL") == [(pushed_at,)]
    await house.remove.manifest(await house.at(NAME), Reference(digest=Digest.of(encoded(numbered(0)))))
    assert await tag_count(house) == 0
    await house.tagging.point(await house.at(NAME), Tag("x"), Digest.of(encoded(numbered(1))))
    assert await tag_count(house) == 1
    page = await house.contents.tags(await house.at(NAME), Query())
    assert page.total == 1
    assert (await house.contents.tags(await house.at(NAME), Query(name_part="x"))).total is None


async def test_history_newest_first(house: House) -> None:
    """Every change with what was before, by whom, and whether it can be brought back; in pages, of a tag or of all."""
    await with_blobs(house)
    first, second = numbered(1), numbered(2)
    await house.manifest(first, "v1", "other")
    access = await ann(house)
    for document in (second, first):
        house.now += 1
        await house.manifest(document, "v1")
    house.now += 1
    await house.remove.manifest(access, by_tag("v1"))
    await house.remove.manifest(access, Reference(digest=Digest.of(encoded(second))))
    one, two = Digest.of(encoded(first)), Digest.of(encoded(second))
    seen = []
    before = None
    while True:
        page = await house.contents.history(access, Tag("v1"), before=before, count=1)
        seen += page.changes
        before = page.next_before
        if before is None:
            break
    assert [(c.number, c.before, c.digest, c.is_held, c.by) for c in seen] == [
        (4, one, None, False, "ann"), (3, two, one, True, None), (2, one, two, False, None), (1, None, one, True, None),
    ]  # fmt: skip
    page = await house.contents.history(access, None, before=None, count=3)
    assert [(c.tag, c.number) for c in page.changes] == [("v1", 4), ("v1", 3), ("v1", 2)]
    page = await house.contents.history(access, None, before=page.next_before, count=PAGE_MAX)
    assert {(c.tag, c.number) for c in page.changes} == {("v1", 1), ("other", 1)}
    assert page.next_before is None


async def test_a_tag_is_brought_back(house: House) -> None:
    """After a move and after a delete: with history, event and audit, once; a condition that does not hold changes
    nothing."""
    await with_tags(house, ["v1"])
    await house.manifest(numbered(1), "v1")
    access = await ann(house)
    old, new = Digest.of(encoded(numbered(0))), Digest.of(encoded(numbered(1)))
    with pytest.raises(PreconditionFailed):
        await house.tagging.point(access, Tag("v1"), old, Condition(if_match=(str(old),)))
    assert await house.tagging.point(access, Tag("v1"), old, Condition(if_match=(str(new),)))
    assert not await house.tagging.point(access, Tag("v1"), old)
    await house.remove.manifest(access, by_tag("v1"))
    assert await house.tagging.point(access, Tag("v1"), new)
    assert (await house.contents.tag(access, Tag("v1"))).digest == new
    history = await house.contents.history(access, Tag("v1"), before=None, count=10)
    assert [change.digest for change in history.changes] == [new, None, old, new, old]
    assert (await house.rows("SELECT count(*) FROM audit WHERE action = 'tag.set' AND actor = 'ann'")) == [(2,)]
    assert (await house.rows("SELECT event FROM outbox ORDER BY id DESC"))[0][0].count(OCI_MANIFEST) == 1
    with pytest.raises(ManifestUnknown):
        await house.tagging.point(access, Tag("v1"), Digest.of(b"none"))
    with pytest.raises(NameUnknown):
        await house.tagging.point(await house.at(OTHER), Tag("v1"), new)
