"""Names of repositories and tags, and references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import Digest
from registry.core.errors import DigestInvalid, NameInvalid, RegistryError, TagInvalid
from registry.core.names import Reference, RepositoryName, Tag

GOOD_NAMES = [
    "a",
    "busybox",
    "a/b",
    "a.b/c-d/e_f/g__h/i--j",
    "0/1",
    "blobs/uploads",
    "manifests/tags",
    "a" * 255,
]
BAD_NAMES = [
    "", "/", "a/", "/a", "a//b", "A", "a_", "_a", "-a", "a-", "a..b", "a___b", "a._b", "a b", "a\n", "a/../b",
    "a/./b", "..", "a%2fb", "a\\b", "a\0", "ä", "\u202ea", "a" * 256, "a:b", "a@b",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_of_the_grammar(name: str) -> None:
    """Names may contain the words that endpoints use."""
    assert RepositoryName.parse(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(name: str) -> None:
    """SEC-008: nothing that a path, a proxy or a person could read differently."""
    with pytest.raises(NameInvalid):
        RepositoryName.parse(name)


def test_a_hostile_name_is_refused_quickly() -> None:
    """The grammar is matched in linear time: no separator can be taken in two ways."""
    for text in ("a-" * 127 + "!", "a" * 254 + "!", "a/" * 127, "a" + "-" * 253 + "!"):
        with pytest.raises(NameInvalid):
            RepositoryName.parse(text)


@pytest.mark.parametrize("tag", ["latest", "v1.0", "_", "A-b.c_d", "0", "x" * 128, "sha256-abc.sig"])
def test_tags_of_the_grammar(tag: str) -> None:
    """Case counts, and a tag may begin with a digit or an underscore."""
    assert Tag.parse(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a b", "a\n", "x" * 129, "a/b", "ä", "a\0", "a+b", "a:b"])
def test_other_tags_are_refused(tag: str) -> None:
    """SEC-008 for tags."""
    with pytest.raises(TagInvalid):
        Tag.parse(tag)


def test_a_reference_is_one_of_two() -> None:
    """A colon makes a digest of it, and then it has to be a good one."""
    digest = Digest.of(b"x")
    assert Reference.parse(str(digest)) == Reference(digest=digest)
    assert Reference.parse("latest") == Reference(tag=Tag("latest"))
    with pytest.raises(DigestInvalid):
        Reference.parse("sha256:baddigeststring")


@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    """No input raises anything but an error of the registry."""
    try:
        assert str(Reference.parse(text)) == text
    except RegistryError:
        pass
