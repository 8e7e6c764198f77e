"""Manifests: one transaction, with its edges, its tags, and its history."""

import json

import pytest

from registry.core.digest import Digest
from registry.core.errors import (
    BlobInUse,
    BlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    PreconditionFailed,
    ReferencesUnknown,
)
from registry.core.limits import INDEX_MAX_DEPTH
from registry.core.manifest import OCI_MANIFEST
from registry.core.names import Reference
from registry.services.push import Condition, References
from tests.core.test_manifest import CONFIG, entry, image, index
from tests.services.conftest import NAME, House, by_tag

pytestmark = pytest.mark.anyio


async def with_blobs(house: House) -> None:
    """Push what `image()` refers to."""
    await house.blob(b"{}")
    await house.blob(b"x")


async def test_a_manifest_comes_back_byte_for_byte(house: House) -> None:
    """By tag and by digest, with its type."""
    await with_blobs(house)
    pushed = await house.manifest(image(extra={"z": [1, 2]}), "v1", "v2")
    for reference in (by_tag("v1"), by_tag("v2"), Reference(digest=pushed.digest)):
        stored = await house.pull.manifest(await house.at(NAME), reference)
        assert Digest.of(stored.payload) == pushed.digest
        assert stored.media_type == OCI_MANIFEST
    assert (await house.catalog.tags(await house.at(NAME), after="", count=None)).names == ["v1", "v2"]


async def test_missing_blobs_are_named_and_nothing_changes(house: House) -> None:
    """I2: no manifest without its blobs, not even its repository's tag or edge."""
    with pytest.raises(ReferencesUnknown) as caught:
        await house.manifest(image(), "v1")
    assert caught.value.facts["missing"] == [entry("{}")["digest"], entry()["digest"]]
    for table in ("manifests", "tags", "tag_history", "manifest_blobs", "outbox"):
        assert await house.rows(f"SELECT * FROM {table}") == []


async def test_wrong_sizes_are_refused(house: House) -> None:
    """A descriptor has to tell the size of the blob that it names."""
    await with_blobs(house)
    with pytest.raises(ManifestInvalid):
        await house.manifest(image(layers=[entry(size=9)]))


@pytest.mark.parametrize(
    ("references", "image_is_taken", "index_is_taken"),
    [(References.STRICT, False, False), (References.SPARSE_INDEX, False, True), (References.OFF, True, True)],
)
async def test_what_may_be_missing(
    house: House, references: References, image_is_taken: bool, index_is_taken: bool
) -> None:
    """Decision 1: the three settings."""
    house.references = references
    for document, is_taken in ((image(), image_is_taken), (index(entry("child", OCI_MANIFEST)), index_is_taken)):
        if is_taken:
            await house.manifest(document)
        else:
            with pytest.raises(ReferencesUnknown):
                await house.manifest(document)


async def test_edges_find_what_comes_later(house: House) -> None:
    """Decision 2: blobs, children and subjects that arrive after what refers to them."""
    house.references = References.OFF
    parent = index({**entry(), "mediaType": OCI_MANIFEST, **describe(image())})
    referrer = image(subject={"mediaType": OCI_MANIFEST, **describe(image())}, layers=[])
    await house.manifest(parent)
    await house.manifest(referrer)
    assert await house.rows("SELECT child_id FROM manifest_children") == [(None,)]
    await house.manifest(image(), "v1")
    [(child,)] = await house.rows(
        "SELECT id FROM manifests WHERE subject_digest IS NULL AND media_type LIKE '%image.manifest%'"
    )
    assert await house.rows("SELECT child_id FROM manifest_children") == [(child,)]
    assert await house.rows("SELECT subject_id FROM manifests WHERE subject_digest IS NOT NULL") == [(child,)]
    assert await house.rows("SELECT count(*) FROM manifest_blobs WHERE linked_digest IS NOT NULL") == [(0,)]
    await with_blobs(house)
    assert await house.rows("SELECT count(*) FROM manifest_blobs WHERE linked_digest IS NULL") == [(0,)]


def describe(document: dict[str, object]) -> dict[str, object]:
    """Digest and size of a document."""
    payload = json.dumps(document).encode()
    return {"digest": str(Digest.of(payload)), "size": len(payload)}


async def test_pushing_again_changes_nothing(house: House) -> None:
    """I7: the same push twice is one push: one history row, one event."""
    await with_blobs(house)
    await house.manifest(image(), "v1")
    tables = ("manifests", "tags", "tag_history", "manifest_blobs", "outbox")
    before = [await house.rows(f"SELECT * FROM {table}") for table in tables]
    house.now += 5
    await house.manifest(image(), "v1")
    assert [await house.rows(f"SELECT * FROM {table}") for table in tables] == before


async def test_the_history_of_a_tag_only_grows(house: House) -> None:
    """Set, moved, deleted, set again: four rows with rising versions; the live tag is one row."""
    await with_blobs(house)
    first = await house.manifest(image(), "v1")
    second = await house.manifest(image(annotations={"a": "b"}), "v1")
    await house.remove.manifest(await house.at(NAME), by_tag("v1"))
    await house.manifest(image(), "v1")
    history = await house.rows("SELECT version, digest FROM tag_history ORDER BY id")
    assert history == [
        (1, first.digest.pack()),
        (2, second.digest.pack()),
        (3, None),
        (4, first.digest.pack()),
    ]
    assert await house.rows("SELECT name, version FROM tags") == [("v1", 4)]


async def test_conditions_on_a_tag(house: House) -> None:
    """If-Match and If-None-Match compare with what the tag points to, in the transaction that moves it."""
    await with_blobs(house)
    new = image(annotations={"a": "b"})
    absent = Condition(if_none_match=("*",))
    first = await house.manifest(image(), "v1", condition=absent)
    for wrong in (absent, Condition(if_match=(str(Digest.of(b"old")),)), Condition(if_none_match=(str(first.digest),))):
        with pytest.raises(PreconditionFailed) as caught:
            await house.manifest(new, "v1", condition=wrong)
        assert caught.value.facts["current"] == str(first.digest)
    with pytest.raises(PreconditionFailed):
        await house.manifest(new, "v2", condition=Condition(if_match=("*",)))
    await house.manifest(new, "v1", condition=Condition(if_match=(str(first.digest),)))


async def test_deleting_a_tag_leaves_the_manifest(house: House) -> None:
    """And deleting the manifest takes its other tags along; a second delete finds nothing."""
    await with_blobs(house)
    pushed = await house.manifest(image(), "v1", "v2")
    by_digest = Reference(digest=pushed.digest)
    await house.remove.manifest(await house.at(NAME), by_tag("v1"))
    await house.pull.manifest(await house.at(NAME), by_digest)
    await house.remove.manifest(await house.at(NAME), by_digest)
    for reference in (by_tag("v1"), by_tag("v2"), by_digest):
        with pytest.raises(ManifestUnknown):
            await house.pull.manifest(await house.at(NAME), reference)
        with pytest.raises(ManifestUnknown):
            await house.remove.manifest(await house.at(NAME), reference)


async def test_a_manifest_with_many_tags_can_go(house: House) -> None:
    """Their number is in no statement: each tag ends in the history with its next version, and has its event."""
    await with_blobs(house)
    names = [f"t{number}" for number in range(300)]
    pushed = await house.manifest(image(), *names)
    await house.manifest(image(annotations={"a": "b"}), "t0")
    await house.manifest(image(), "t0")
    await house.remove.manifest(await house.at(NAME), Reference(digest=pushed.digest))
    assert await house.rows("SELECT * FROM tags") == []
    ends = await house.rows("SELECT name, version FROM tag_history WHERE digest IS NULL ORDER BY version DESC")
    assert len(ends) == 300
    assert ends[0] == ("t0", 4)
    assert await house.rows("SELECT count(*) FROM outbox WHERE event LIKE '%tag.deleted%'") == [(300,)]


async def test_a_blob_in_use_stays(house: House) -> None:
    """Decision 3: it names its users; when they are gone it can be unlinked, at once."""
    await with_blobs(house)
    pushed = await house.manifest(image())
    layer = Digest.of(b"x")
    with pytest.raises(BlobInUse) as caught:
        await house.remove.blob(await house.at(NAME), layer)
    assert caught.value.facts["manifests"] == [str(pushed.digest)]
    await house.remove.manifest(await house.at(NAME), Reference(digest=pushed.digest))
    await house.remove.blob(await house.at(NAME), layer)
    with pytest.raises(BlobUnknown):
        await house.pull.stat_blob(await house.at(NAME), layer)


async def test_a_child_may_go_before_its_index(house: House) -> None:
    """Decision 3: the edge loses its target, and finds it again when the child comes back."""
    await with_blobs(house)
    child = await house.manifest(image())
    await house.manifest(index({"mediaType": OCI_MANIFEST, **describe(image())}), "all")
    await house.remove.manifest(await house.at(NAME), Reference(digest=child.digest))
    assert await house.rows("SELECT child_id FROM manifest_children") == [(None,)]
    await house.manifest(image())
    assert [row[0] is not None for row in await house.rows("SELECT child_id FROM manifest_children")] == [True]


async def test_deleting_lengthens_the_leases(house: House) -> None:
    """T7: what the last manifest used stays for a lease, for a push that has just seen it."""
    await with_blobs(house)
    pushed = await house.manifest(image())
    house.now += 500_000
    await house.remove.manifest(await house.at(NAME), Reference(digest=pushed.digest))
    rows = await house.rows("SELECT DISTINCT protect_until FROM blobs")
    assert rows == [(house.now + 1_000_000,)]


async def test_indexes_nest_only_so_deep(house: House) -> None:
    """SEC-016: a chain of indexes ends at the limit, and its size counts each child once a level."""
    document = index()
    for _ in range(INDEX_MAX_DEPTH - 1):
        await house.manifest(document)
        child = {"mediaType": document["mediaType"], **describe(document)}
        document = index(child, child)
    await house.manifest(document)
    sizes = await house.rows("SELECT max(total_size), sum(payload_size), max(depth) FROM manifests")
    assert sizes[0][0] == sizes[0][1]
    assert sizes[0][2] == INDEX_MAX_DEPTH
    with pytest.raises(ManifestInvalid):
        await house.manifest(index({"mediaType": document["mediaType"], **describe(document)}))


async def test_indexes_nest_only_so_deep_from_above_too(house: House) -> None:
    """SEC-016: pushed parents first, the level that joins too long a chain is refused, and the chain stays as it is."""
    chain = [index()]
    for _ in range(INDEX_MAX_DEPTH):
        chain.append(index({"mediaType": chain[-1]["mediaType"], **describe(chain[-1])}))
    for document in reversed(chain[1:]):
        await house.manifest(document)
    with pytest.raises(ManifestInvalid):
        await house.manifest(chain[0])
    assert await house.rows("SELECT count(*) FROM manifests") == [(INDEX_MAX_DEPTH,)]


async def test_a_listing_is_worked_out_at_push(house: House) -> None:
    """Size, platforms, artifact type and config summary; an odd config is no reason to refuse."""
    config = json.dumps({"os": "linux", "architecture": "arm64", "variant": "v8", "config": {"Cmd": ["sh"]}})
    await house.blob(config.encode())
    await house.blob(b"x")
    pushed = await house.manifest(image(config=entry(config, CONFIG)))
    [(platforms, summary, artifact_type, total, payload)] = await house.rows(
        "SELECT platforms, config_summary, artifact_type, total_size, payload_size FROM manifests"
    )
    assert json.loads(platforms) == ["linux/arm64/v8"]
    assert json.loads(summary)["Cmd"] == ["sh"]
    assert artifact_type == CONFIG
    assert total == payload + len(config) + 1
    assert pushed.subject is None


async def test_events_commit_with_what_they_tell_of(house: House) -> None:
    """I12: one event a change, in order, none for a push that failed."""
    with pytest.raises(ReferencesUnknown):
        await house.manifest(image(), "v1")
    await with_blobs(house)
    pushed = await house.manifest(image(), "v1")
    await house.remove.manifest(await house.at(NAME), Reference(digest=pushed.digest))
    await house.remove.blob(await house.at(NAME), Digest.of(b"x"))
    kinds = [json.loads(row[0])["kind"] for row in await house.rows("SELECT event FROM outbox ORDER BY id")]
    assert kinds == ["manifest.pushed", "tag.set", "tag.deleted", "manifest.deleted", "blob.unlinked"]
