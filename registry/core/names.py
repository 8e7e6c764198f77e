"""Names of repositories, tags, and references (a tag or a digest).

Source: OCI distribution specification, "Pulling manifests".
"""

import re
from dataclasses import dataclass
from typing import Self

from registry.core.digest import Digest
from registry.core.errors import NameInvalid, TagInvalid
from registry.core.limits import NAME_MAX_CHARS

# Possessive-free and unambiguous: between two separators only [a-z0-9]+ can match, so it is linear.
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class RepositoryName(str):
    """A repository's name that was checked: lower case, components separated by `/`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NameInvalid."""
        if len(text) > NAME_MAX_CHARS:
            raise NameInvalid(f"a repository name has at most {NAME_MAX_CHARS} characters")
        if _NAME.fullmatch(text) is None:
            raise NameInvalid(
                "a repository name is made of components of a-z, 0-9 and single . _ __ or - between them,"
                " separated by /",
                name=text,
            )
        return cls(text)


class Tag(str):
    """A tag that was checked."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises TagInvalid."""
        if _TAG.fullmatch(text) is None:
            raise TagInvalid(
                "a tag begins with a letter, digit or _ and has at most 128 of these or . -", tag=text[:200]
            )
        return cls(text)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a manifest is asked for by: exactly one of the two is set."""

    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A text with a colon is a digest, any other is a tag. Raises DigestInvalid or TagInvalid."""
        if ":" in text:
            return cls(digest=Digest.parse(text))
        return cls(tag=Tag.parse(text))

    def __str__(self) -> str:
        return str(self.tag if self.digest is None else self.digest)
