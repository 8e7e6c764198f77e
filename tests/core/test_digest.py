"""Digests: grammar, and that packing is lossless."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import Algorithm, Digest
from registry.core.errors import DigestInvalid

SHA256_OF_NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=2048), st.sampled_from(list(Algorithm)))
def test_text_and_packed_form_come_back(content: bytes, algorithm: Algorithm) -> None:
    """parse(str(d)) and unpack(pack(d)) are d, and the hash is that of hashlib."""
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert Digest.unpack(digest.pack()) == digest
    assert digest.hex == hashlib.new(algorithm.label, content).hexdigest()
    assert len(digest.raw) == algorithm.size_bytes


def test_the_digest_of_nothing() -> None:
    """The empty blob has the well-known digest."""
    assert str(Digest.of(b"")) == SHA256_OF_NOTHING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "SHA256:" + "a" * 64,
        "sha512:" + "a" * 64,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        "sha256:../../etc/passwd",
        "sha256:" + "a" * 63 + "\n",
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha256:" + "\u0661" * 64,
        "a" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    """SEC-008: only lower-case hex of the right length and a known algorithm."""
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@given(st.text(max_size=200))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    """No input makes anything but a digest that prints as the input, or DigestInvalid."""
    try:
        assert str(Digest.parse(text)) == text
    except DigestInvalid:
        pass
