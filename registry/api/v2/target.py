"""Which endpoint a path means. Names may contain any of the words that endpoints use, so it is read from the right."""

from typing import NamedTuple

from registry.core.digest import Digest
from registry.core.errors import NameInvalid
from registry.core.names import Reference, RepositoryName


class Target(NamedTuple):
    """The parts of a path: what is meant, and the texts in it, not yet checked."""

    kind: str
    name_text: str = ""
    tail: str = ""

    @property
    def name(self) -> RepositoryName:
        """The repository. Raises NameInvalid."""
        return RepositoryName.parse(self.name_text)

    @property
    def digest(self) -> Digest:
        """The last part as a digest. Raises DigestInvalid."""
        return Digest.parse(self.tail)

    @property
    def reference(self) -> Reference:
        """The last part as a tag or digest. Raises TagInvalid, DigestInvalid."""
        return Reference.parse(self.tail)


def locate(raw_path: str) -> Target | None:
    """The target of a path under `/v2`, None if no endpoint has this form.

    The path is taken as it was sent. Escapes are refused, because what a proxy and the registry decode differently
    is a hole; only the colon of a digest may be written `%3A`, which some client libraries do. Raises NameInvalid.
    """
    if raw_path in ("/v2/", "/v2"):
        return Target("ping")
    if raw_path == "/v2/_catalog":
        return Target("catalog")
    head, _, last = raw_path.removeprefix("/v2/").rpartition("/")
    if "%" in last:
        last = last.replace("%3A", ":").replace("%3a", ":")
    if "%" in head or "%" in last:
        raise NameInvalid("the path of a repository is written without % escapes")
    name, _, noun = head.rpartition("/")
    if not name:
        return None
    return _by_noun(name, noun, last)


def _by_noun(name: str, noun: str, last: str) -> Target | None:
    if noun == "manifests":
        return Target("manifest", name, last)
    if noun == "blobs":
        return Target("uploads", name) if last == "uploads" else Target("blob", name, last)
    if noun == "referrers":
        return Target("referrers", name, last)
    if noun == "tags":
        return Target("tags", name) if last == "list" else None
    repository, _, before = name.rpartition("/")
    if noun == "uploads" and before == "blobs" and repository:
        return Target("upload", repository, last) if last else Target("uploads", repository)
    return None
