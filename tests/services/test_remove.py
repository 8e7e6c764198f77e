"""Removal: what a dry run names is what goes, and what it says of the rest is so."""

import json

import pytest

from registry.core.digest import Digest
from registry.core.errors import FieldInvalid, ManifestUnknown, NameUnknown, PreconditionFailed
from registry.core.names import Reference, Tag
from registry.metadata import removal
from registry.services.push import Condition
from registry.services.remove import TAGS_MAX, ManifestRemoval, TagsRemoval
from tests.core.test_manifest import encoded, entry, image, index
from tests.services.conftest import NAME, OTHER, House
from tests.services.test_contents import ann, describe, numbered, tag_count, with_blobs, with_tags

pytestmark = pytest.mark.anyio
TABLES = ("tags", "tag_history", "manifests", "manifest_blobs", "manifest_children", "outbox", "audit", "repositories")


async def everything(house: House) -> list[object]:
    """All that a removal could change."""
    return [await house.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]


async def tags(house: House, *names: str, dry_run: bool = False, condition: Condition | None = None) -> TagsRemoval:
    """Remove tags."""
    wanted = [Tag(name) for name in names]
    return await house.remove.tags(await ann(house), wanted, condition or Condition(), dry_run=dry_run)


async def manifest(house: House, digest: Digest, *, dry_run: bool = False) -> ManifestRemoval:
    """Remove a manifest."""
    return await house.remove.image(await ann(house), digest, dry_run=dry_run)


async def test_many_tags_go_at_once(house: House) -> None:
    """One transaction, with history, events and audit for each; what is not there is no error, and again is none."""
    await with_tags(house, ["a", "b", "c"])
    await house.manifest(numbered(0), "a2")
    assert (await tags(house, "a", "b", "none", "a")).missing == ("none",)
    assert await house.rows("SELECT name FROM tags ORDER BY name") == [("a2",), ("c",)]
    assert await tag_count(house) == 2
    assert await house.rows("SELECT target FROM audit WHERE action = 'tag.deleted' ORDER BY id") == [("a",), ("b",)]
    events = [json.loads(row[0]) for row in await house.rows("SELECT event FROM outbox ORDER BY id DESC LIMIT 2")]
    assert {event["tag"] for event in events} == {"a", "b"}
    ended = "SELECT name, changed_by FROM tag_history WHERE digest IS NULL ORDER BY name"
    assert await house.rows(ended) == [("a", 7), ("b", 7)]
    before = await everything(house)
    again = await tags(house, "a", "b", "none")
    assert (again.tags, again.missing) == ({}, ("a", "b", "none"))
    assert await everything(house) == before


async def test_a_dry_run_of_tags(house: House) -> None:
    """It names the tags that go, other tags on the same digests, and manifests that nothing points to then; and then
    just that happens."""
    await with_tags(house, ["a", "b", "c"])
    await house.manifest(numbered(0), "a2", "a3")
    before = await everything(house)
    planned = await tags(house, "a", "a2", "b", "none", dry_run=True)
    assert await everything(house) == before
    one, two = Digest.of(encoded(numbered(0))), Digest.of(encoded(numbered(1)))
    assert planned.left is not None
    assert (planned.left.same_digest, planned.left.untagged, planned.left.is_cut) == ([("a3", one)], [two], False)
    done = await tags(house, "a", "a2", "b", "none")
    assert (done.tags, done.missing) == (planned.tags, planned.missing) == ({"a": one, "a2": one, "b": two}, ("none",))
    assert await house.rows("SELECT name FROM tags ORDER BY name") == [("a3",), ("c",)]


async def test_too_many_and_a_condition(house: House) -> None:
    """Nothing has changed then."""
    await with_tags(house, ["a", "b"])
    await ann(house)
    before = await everything(house)
    with pytest.raises(FieldInvalid):
        await tags(house, *(f"t{number}" for number in range(TAGS_MAX + 1)))
    condition = Condition(if_match=(str(Digest.of(encoded(numbered(0)))),))
    for dry_run in (False, True):
        with pytest.raises(PreconditionFailed):
            await tags(house, "a", "b", condition=condition, dry_run=dry_run)
    assert await everything(house) == before


async def test_a_dry_run_of_a_manifest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags that go along, indexes that lose a part, referrers that lose their subject, and bytes; then it goes."""
    await with_blobs(house)
    await house.blob(b"own layer")
    part = image(layers=[entry(), entry("own layer")])
    await house.manifest(part, "v1", "v2")
    await house.manifest(numbered(9))
    whole = index(describe(part))
    await house.manifest(whole)
    signature = image(subject=describe(part), artifactType="application/vnd.example")
    await house.manifest(signature)
    digest = Digest.of(encoded(part))
    await ann(house)
    before = await everything(house)
    planned = await manifest(house, digest, dry_run=True)
    assert await everything(house) == before
    left = planned.left
    assert left is not None
    assert (planned.tags, left.parents) == (("v1", "v2"), [Digest.of(encoded(whole))])
    assert (left.referrers, left.children) == ([Digest.of(encoded(signature))], [])
    assert left.freed_bytes == len(b"own layer")
    monkeypatch.setattr(removal, "NAMED_MAX", 0)
    cut = await manifest(house, digest, dry_run=True)
    assert cut.left is not None
    assert (cut.left.parents, cut.left.is_cut) == ([], True)
    done = await manifest(house, digest)
    assert done.tags == planned.tags
    assert await tag_count(house) == 0
    with pytest.raises(ManifestUnknown):
        await manifest(house, digest)
    assert await house.rows("SELECT child_id FROM manifest_children") == [(None,)]


async def test_a_dry_run_of_an_index_names_parts_that_nothing_leads_to(house: House) -> None:
    """A part with a tag, or in another index, is not named."""
    await with_blobs(house)
    parts = [numbered(number) for number in range(4)]
    for document in parts:
        await house.manifest(document)
    await house.manifest(parts[0], "own")
    await house.manifest(index(describe(parts[1])), "other")
    whole = index(*map(describe, parts))
    await house.manifest(whole, "v1")
    planned = await manifest(house, Digest.of(encoded(whole)), dry_run=True)
    assert planned.left is not None
    assert set(planned.left.children) == {Digest.of(encoded(document)) for document in parts[2:]}
    assert planned.left.freed_bytes == 0


async def test_only_what_nothing_leads_to_is_left_over(house: House) -> None:
    """What a tag points to by now stays, and what an index lists; of an index those parts go next that nothing else
    leads to. What is gone already is no error."""
    await with_blobs(house)
    documents = [numbered(number) for number in range(3)]
    part, shared, tagged = [Digest.of(encoded(one)) for one in documents]
    for document in documents:
        await house.manifest(document)
    both, one = index(*map(describe, documents)), index(describe(documents[1]))
    whole, other = Digest.of(encoded(both)), Digest.of(encoded(one))
    await house.manifest(both)
    await house.manifest(one)
    await house.manifest(documents[2], "kept")
    access, before = await ann(house), await everything(house)
    for digest in (part, shared, tagged, Digest.of(b"none")):
        assert await house.remove.leftover(access, digest) == []
    assert await everything(house) == before
    assert await house.remove.leftover(access, whole) == [part]
    assert await house.remove.leftover(access, part) == []
    held = {Digest.unpack(row[0]) for row in await house.rows("SELECT digest FROM manifests")}
    assert held == {shared, tagged, other}
    assert (await house.rows("SELECT action FROM audit ORDER BY id DESC LIMIT 1")) == [("manifest.deleted",)]


async def test_what_another_repository_holds_is_not_there(house: House) -> None:
    """SEC-022: its digests and tags give what missing ones give, with and without a dry run; nothing changes."""
    await with_tags(house, ["v1"])
    await house.blob(b"{}", OTHER)
    there = await house.at(OTHER)
    nowhere = await house.at(type(NAME)("team/none"))
    before = await everything(house)
    digest = Digest.of(encoded(numbered(0)))
    for dry_run in (False, True):
        with pytest.raises(ManifestUnknown):
            await house.remove.image(there, digest, dry_run=dry_run)
        assert (await house.remove.tags(there, [Tag("v1")], dry_run=dry_run)).missing == ("v1",)
        with pytest.raises(NameUnknown):
            await house.remove.tags(nowhere, [Tag("v1")], dry_run=dry_run)
    assert await everything(house) == before


async def test_what_a_repository_holds(house: House) -> None:
    """All of it would go."""
    await with_tags(house, ["a", "b"])
    assert (await house.remove.preview(await house.at(NAME))).tags == 2
    with pytest.raises(NameUnknown):
        await house.remove.preview(await house.at(OTHER))


async def test_by_tag_as_clients_do(house: House) -> None:
    """A missing tag is an error there."""
    await with_tags(house, ["a"])
    await house.remove.manifest(await house.at(NAME), Reference(tag=Tag("a")))
    with pytest.raises(ManifestUnknown):
        await house.remove.manifest(await house.at(NAME), Reference(tag=Tag("a")))
