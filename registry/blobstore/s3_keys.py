"""The keys of an S3 store, and how large the parts of an upload are.

    <prefix>depotry-store.json                     which installation the store belongs to
    <prefix>checks/<random>, checks/permissions    what a check writes, reads and deletes
    <prefix>objects/<two hex of id % 256>/<id>     an object; its digest is in SQL alone
    <prefix>objects/<two hex>/<id>.tail.<epoch>    the last bytes of a suspended upload

No key is written twice with different content: ids are not given out again, and a tail carries its epoch. The one
exception is a database that was set back to a backup, until the next sweep (`s3_publish` reckons with it).
"""

import re
from dataclasses import dataclass

from registry.blobstore.base import OBJECT_ID_MAX
from registry.core.limits import MIB

PARTS_MAX = 10_000
"""Parts that a multipart upload may have."""

_OBJECT = re.compile(r"([0-9a-f]{2})/(0|[1-9][0-9]{0,18})(?:\.tail\.([1-9][0-9]{0,18}))?")


@dataclass(frozen=True, slots=True)
class NamedObject:
    """What a key below `objects/` names: an object, or with an epoch one of its tails."""

    object_id: int
    tail_epoch: int | None


@dataclass(frozen=True, slots=True)
class Keys:
    """Names below a prefix, which is empty or ends in `/`."""

    prefix: str

    @property
    def marker(self) -> str:
        """The object that says which installation the store belongs to."""
        return f"{self.prefix}depotry-store.json"

    @property
    def objects(self) -> str:
        """What all objects begin with."""
        return f"{self.prefix}objects/"

    def check(self, name: str) -> str:
        """The object of a check."""
        return f"{self.prefix}checks/{name}"

    def object(self, object_id: int) -> str:
        """The final key of an object."""
        return f"{self.objects}{object_id % 256:02x}/{object_id}"

    def tails(self, object_id: int) -> str:
        """What the keys of all its tails begin with."""
        return f"{self.object(object_id)}.tail."

    def tail(self, object_id: int, epoch: int) -> str:
        """The side object that a session with this epoch leaves behind."""
        return f"{self.tails(object_id)}{epoch}"

    def parse(self, key: str) -> NamedObject | None:
        """What a listed key names, None if it is not ours."""
        match = _OBJECT.fullmatch(key.removeprefix(self.objects))
        if match is None or not key.startswith(self.objects) or int(match[2]) % 256 != int(match[1], 16):
            return None
        if int(match[2]) > OBJECT_ID_MAX:
            return None
        return NamedObject(int(match[2]), None if match[3] is None else int(match[3]))


@dataclass(frozen=True, slots=True)
class PartSizes:
    """How many bytes each part has but the last: a fixed function of its number, so that every session cuts an upload
    in the same places. `steps` are pairs of the last number of a step and its size in bytes."""

    steps: tuple[tuple[int, int], ...]

    def of(self, number: int) -> int:
        """Size of part `number`, from 1."""
        for last, size in self.steps:
            if number <= last:
                return size
        return self.steps[-1][1]


PART_SIZES = PartSizes(((1000, 16 * MIB), (2000, 64 * MIB), (4000, 256 * MIB), (PARTS_MAX, 1024 * MIB)))
"""16 GiB in parts of 16 MiB, which is what nearly all blobs get; more than 5 TiB within the 10,000 parts."""
