"""What happened to a repository, as it is written to the outbox with the change itself."""

import json
from dataclasses import dataclass
from enum import StrEnum

from registry.core.digest import Digest


class EventKind(StrEnum):
    """Names are part of the contract with whoever reads the outbox."""

    MANIFEST_PUSHED = "manifest.pushed"
    MANIFEST_DELETED = "manifest.deleted"
    TAG_SET = "tag.set"
    TAG_DELETED = "tag.deleted"
    BLOB_UNLINKED = "blob.unlinked"


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change."""

    kind: EventKind
    repository: str
    digest: Digest
    tag: str | None = None
    media_type: str | None = None

    def to_json(self) -> str:
        """The event as a JSON object; absent fields are left out."""
        fields = {
            "kind": self.kind.value,
            "repository": self.repository,
            "digest": str(self.digest),
            "tag": self.tag,
            "mediaType": self.media_type,
        }
        return json.dumps({key: value for key, value in fields.items() if value is not None})
