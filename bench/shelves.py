"""Fills a database for `hub.py`: many repositories, one with many tags, and their pulls, written into SQL at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress
from sqlalchemy import Engine, Table, insert, text

from registry.core.digest import Digest
from registry.core.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from registry.core.versions import version_key
from registry.metadata import usage
from registry.metadata.schema import (
    accounts,
    audit,
    blobs,
    manifest_blobs,
    manifest_children,
    manifests,
    objects,
    pulls,
    repositories,
    repository_blobs,
    repository_facets,
    stars,
    tag_history,
    tags,
    traffic,
)
from registry.metadata.schema import usage as usage_rows
from registry.services.pulls import DAY_MS
from registry.services.traffic import HOUR_MS
from tests.core.test_manifest import encoded, entry, image, index

DAYS = 30
"""On which each repository was pulled."""
DAYS_OF_TRAFFIC = 365
FIRST = 1_000
"""Ids below are those of rows that a server has made itself."""
BIG = "team00/big"
PAGE = 5_000
PLATFORMS = ("linux/amd64", "linux/arm64")
WORDS = ("web", "api", "worker", "cache", "proxy", "batch", "mail", "search", "auth", "queue")


@dataclass(frozen=True)
class Size:
    """How much there is."""

    repositories: int
    tags: int
    """Of one repository."""
    pulls: int
    """Counted in all."""

    @property
    def namespaces(self) -> int:
        """Each with enough repositories for a page."""
        return max(2, min(100, self.repositories // 50))


def fill(engine: Engine, size: Size, *, now: int, progress: Progress) -> None:
    """Write all of it."""
    steps: list[tuple[str, int, Iterator[tuple[Table, dict[str, Any]]]]] = [
        ("namespaces", size.namespaces, _namespaces(size, now)),
        ("repositories", size.repositories, _repositories(size, now)),
        ("tags", size.tags, _tags(size, now)),
        ("pulls", size.repositories, _pulls(size, now)),
        ("numbers", DAYS_OF_TRAFFIC, _numbers(size, now)),
    ]
    for name, total, rows in steps:
        task = progress.add_task(f"fill: {name}", total=total)
        _write(engine, rows, lambda done, task=task: progress.update(task, completed=done))
        progress.remove_task(task)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _write(engine: Engine, rows: Iterator[tuple[Table, dict[str, Any]]], advance: Any) -> None:
    """In pages; rows of one table stay in the order in which they come, and tables in that of their first row."""
    waiting: dict[Table, list[dict[str, Any]]] = {}
    done = count = 0

    def flush() -> None:
        nonlocal count
        with engine.begin() as connection:
            for table, some in waiting.items():
                connection.execute(insert(table), some)
        waiting.clear()
        count = 0

    for table, row in rows:
        if table is STEP:
            done += 1
            if count >= PAGE:
                flush()
                advance(done)
            continue
        waiting.setdefault(table, []).append(row)
        count += 1
    flush()
    advance(done)


STEP: Any = object()
"""In the place of a table: one more thing is complete."""


def _digest(kind: str, number: int) -> bytes:
    return Digest.of(f"{kind} {number}".encode()).pack()


def _namespaces(size: Size, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    for number in range(size.namespaces):
        name = f"team{number:02}"
        row = {"id": FIRST + number, "name": name, "canonical": name, "kind": "organization", "is_admin": False}
        yield accounts, {**row, "created_at": now - 400 * DAY_MS}
        yield STEP, {}


def _repository(size: Size, number: int, now: int) -> dict[str, Any]:
    name = BIG if number == 0 else f"team{number % size.namespaces:02}/{WORDS[number % len(WORDS)]}-{number:05}"
    return {
        "id": FIRST + number,
        "name": name,
        "created_at": now - number,
        "namespace_id": FIRST + number % size.namespaces,
        "visibility": "public" if number % 2 == 0 else "private",
        "description": f"The {WORDS[number * 7 % len(WORDS)]} of team {number % size.namespaces}",
        "pushed_at": now - number * 1_000,
        "tag_count": size.tags if number == 0 else 1,
        "manifest_count": size.tags if number == 0 else 3,
        "size_bytes": (number * 7919) % 1_000_003,
        "shared_bytes": number,
        "pull_count": size.pulls // size.repositories,
        "pulled_at": now - number,
        "star_count": number % 50,
        "tally_at": None,
    }


def _repositories(size: Size, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Each with an image for two platforms, but for the big one."""
    base = _digest("base", 0)
    yield objects, {"id": FIRST, "state": "live", "digest": base, "size": 5_000_000, "created_at": now}
    yield blobs, {"digest": base, "size": 5_000_000, "object_id": FIRST, "protect_until": 0, "created_at": now}
    for number in range(size.repositories):
        repository_id = FIRST + number
        yield repositories, _repository(size, number, now)
        yield repository_blobs, {"repository_id": repository_id, "digest": base, "created_at": now}
        for kind, value in (("artifact", OCI_CONFIG), *(("platform", platform) for platform in PLATFORMS)):
            yield repository_facets, {"repository_id": repository_id, "kind": kind, "value": value}
        if number % 10 == 0:
            yield (
                stars,
                {"account_id": FIRST + number % size.namespaces, "repository_id": repository_id, "created_at": now},
            )
        yield audit, _change(size, number, now)
        if number:
            yield from _image(repository_id, number, "v1", now)
        yield STEP, {}


def _change(size: Size, number: int, now: int) -> dict[str, Any]:
    name = BIG if number == 0 else f"team{number % size.namespaces:02}/{WORDS[number % len(WORDS)]}-{number:05}"
    actor = f"team{number % size.namespaces:02}"
    who = {"account_id": FIRST + number % size.namespaces, "actor": actor, "credential": "password"}
    return {"at": now - 10_000_000 + number, **who, "action": "tag.set", "repository": name, "target": "v1"}


def _image(repository_id: int, number: int, tag: str, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """An index of two manifests, under a tag."""
    first = FIRST + number * 3
    digests = [_digest("manifest", first + part) for part in range(3)]
    size = len(encoded(image()))
    listed = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": str(Digest.unpack(digests[part])),
            "size": size,
            "platform": dict(zip(("os", "architecture"), PLATFORMS[part - 1].split("/"), strict=True)),
        }
        for part in (1, 2)
    ]
    yield manifests, _manifest(first, repository_id, digests[0], now, encoded(index(*listed)), OCI_INDEX)
    for part in (1, 2):
        payload = encoded(image())
        yield manifests, _manifest(first + part, repository_id, digests[part], now, payload, OCI_MANIFEST, part)
        edge = {"parent_id": first, "repository_id": repository_id, "size": size, "child_id": first + part}
        yield manifest_children, {**edge, "digest": digests[part], "platform": PLATFORMS[part - 1]}
        base = _digest("base", 0)
        blob = {"manifest_id": first + part, "digest": base, "repository_id": repository_id, "size": 5_000_000}
        yield manifest_blobs, {**blob, "linked_digest": base}
    yield from _tag(repository_id, tag, first, digests[0], now)


def _manifest(
    row_id: int, repository_id: int, digest: bytes, now: int, payload: bytes, media_type: str, part: int = 0
) -> dict[str, Any]:
    platforms = f'["{PLATFORMS[part - 1]}"]' if part else '["linux/amd64", "linux/arm64"]'
    return {
        "id": row_id,
        "repository_id": repository_id,
        "digest": digest,
        "media_type": media_type,
        "artifact_type": OCI_CONFIG if part else None,
        "payload_size": len(payload),
        "total_size": len(payload) + 5_000_000,
        "depth": 1 if part else 2,
        "platforms": platforms,
        "pushed_at": now,
        "payload": payload,
    }


def _tag(
    repository_id: int, name: str, manifest_id: int, digest: bytes, now: int
) -> Iterator[tuple[Table, dict[str, Any]]]:
    row = {"repository_id": repository_id, "name": name, "version": 1}
    yield tags, {**row, "manifest_id": manifest_id, "updated_at": now, "version_key": version_key(name)}
    yield tag_history, {**row, "digest": digest, "changed_at": now}


def _tags(size: Size, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Each on an image of its own, with a config of its own and a layer that all have."""
    first = FIRST + size.repositories * 3 + 3
    base = _digest("base", 0)
    for number in range(size.tags):
        row_id, digest, own = first + number, _digest("big", number), _digest("config", number)
        payload = encoded(image(layers=[entry(f"layer {number}")]))
        yield objects, {"id": row_id, "state": "live", "digest": own, "size": 1_000, "created_at": now}
        yield blobs, {"digest": own, "size": 1_000, "object_id": row_id, "protect_until": 0, "created_at": now}
        yield repository_blobs, {"repository_id": FIRST, "digest": own, "created_at": now}
        yield manifests, _manifest(row_id, FIRST, digest, now - number, payload, OCI_MANIFEST, 1)
        for blob, length in ((own, 1_000), (base, 5_000_000)):
            edge = {"manifest_id": row_id, "digest": blob, "repository_id": FIRST, "size": length}
            yield manifest_blobs, {**edge, "linked_digest": blob}
        yield from _tag(FIRST, tag_name(number), row_id, digest, now - number)
        yield STEP, {}


def tag_name(number: int) -> str:
    """The tags of the big repository."""
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def _pulls(size: Size, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """As many a repository, over the last days: for it, its tag and the digest of that."""
    today, each = now // DAY_MS, max(1, size.pulls // size.repositories)
    for number in range(size.repositories):
        tag = tag_name(0) if number == 0 else "v1"
        digest = _digest("big", 0) if number == 0 else _digest("manifest", FIRST + number * 3)
        for key in (("", b""), (tag, b""), ("", digest)):
            row = {"repository_id": FIRST + number, "tag": key[0], "digest": key[1], "last_at": now}
            yield pulls, {**row, "day": 0, "pulls": each}
            for day in range(DAYS):
                yield pulls, {**row, "day": today - day, "pulls": max(1, each // DAYS)}
        yield STEP, {}
    for number in range(1, min(size.tags, 1_000)):
        yield pulls, {
            "repository_id": FIRST, "tag": tag_name(number), "digest": b"", "day": 0, "pulls": number, "last_at": now,
        }  # fmt: skip


def _numbers(size: Size, now: int) -> Iterator[tuple[Table, dict[str, Any]]]:
    """A year of traffic and of samples."""
    today, hour = now // DAY_MS, now // HOUR_MS
    names = ("requests.registry", "requests.page", "errors.4xx", "errors.5xx", "pulls", "pushes", "bytes.out")
    for back in range(1, 24 * 31):
        for name in names:
            yield traffic, {"name": name, "hours": 1, "begins": hour - back, "value": 10 + back}
    for back in range(1, DAYS_OF_TRAFFIC + 1):
        for name in names:
            yield traffic, {"name": name, "hours": 24, "begins": (today - back) * 24, "value": 240 + back}
        for number in (usage.ALL, *(FIRST + number for number in range(size.namespaces))):
            held = 1_000 * size.repositories + number
            yield usage_rows, {
                "namespace_id": number, "day": today - back, "repositories": 9, "tags": 9, "size_bytes": held,
                "stored_bytes": 0 if number else held // 2,
            }  # fmt: skip
        yield STEP, {}
