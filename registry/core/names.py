"""Names of repositories, accounts, tags, and references (a tag or a digest).

Source: OCI distribution specification, "Pulling manifests".
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Self

from registry.core.digest import Digest
from registry.core.errors import AccountNameInvalid, NameInvalid, TagInvalid
from registry.core.limits import NAME_MAX_CHARS

# Possessive-free and unambiguous: between two separators only [a-z0-9]+ can match, so it is linear.
COMPONENT_PATTERN = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME_PATTERN = f"{COMPONENT_PATTERN}(?:/{COMPONENT_PATTERN})*"
_NAME = re.compile(NAME_PATTERN)
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

    @property
    def namespace(self) -> str | None:
        """The first component, which an account may own; None for a name of one component, the instance's."""
        first, slash, _ = self.partition("/")
        return first if slash else None


ACCOUNT_NAME_MAX_CHARS = 64
_COMPONENT = re.compile(COMPONENT_PATTERN)
_SEPARATORS = re.compile(r"[-_.]+")
_RESERVED = frozenset(
    """
    administrator anonymous api auth catalog depotry everybody everyone guest internal library localhost login
    logout nobody null official public private registry robot root scanner search security settings signup
    static superuser support system token undefined unknown v1 v2 www
    """.split()  # noqa: SIM905 - forty words read better as a text
)


class AccountName(str):
    """The name of a user or organization that was checked: one component of a repository name. A robot's is that of
    its owner, a `+`, and its own."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, *, new: bool = False) -> Self:
        """A name that could be that of an account; with `new` also one that may still be given: not reserved, and none
        that looks like one. Raises AccountNameInvalid."""
        owner, plus, own = text.partition("+")
        if len(text) > ACCOUNT_NAME_MAX_CHARS:
            raise AccountNameInvalid(f"the name of an account has at most {ACCOUNT_NAME_MAX_CHARS} characters")
        if _COMPONENT.fullmatch(owner) is None or (plus and _COMPONENT.fullmatch(own) is None):
            raise AccountNameInvalid(
                "the name of an account is made of a-z, 0-9 and single . _ or - between them" + _hint(text)
            )
        name = cls(text)
        if new and not plus and name.canonical in _RESERVED:
            raise AccountNameInvalid(f"the name {text} is reserved")
        return name

    @property
    def canonical(self) -> str:
        """Equal for names that people take for one another: no two accounts share it. Separators do not count."""
        return canonical(self)


def canonical(text: str) -> str:
    """NFKC, without case, every run of separators one dash."""
    return _SEPARATORS.sub("-", unicodedata.normalize("NFKC", text).casefold())


def _hint(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return f"; did you mean {plain}?" if plain != text and _COMPONENT.fullmatch(plain) else ""


def new_owner_name(text: str) -> AccountName:
    """The name of a new user or organization. Raises AccountNameInvalid, also for the name of a robot."""
    name = AccountName.parse(text, new=True)
    if "+" in name:
        raise AccountNameInvalid("only the name of a robot has a +")
    return name


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
