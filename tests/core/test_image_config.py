"""Configs as they come: what is right is shown, what is not is left out, and nothing is an error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.artifacts import SIGNATURES, Sort, sort_of, sort_of_fallback, sort_of_referrer, sort_of_whole
from registry.core.image_config import ENTRIES_MAX, TEXT_MAX_CHARS, chart, image_config, instruction
from registry.core.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("os", "created", "author", "config", "history", "name", "dependencies", "maintainers", "keywords", "home")
INNER = ("User", "Env", "Labels", "Entrypoint", "ExposedPorts", "Volumes")

CONFIG: dict[str, Any] = {
    "os": "linux",
    "architecture": "arm64",
    "variant": "v8",
    "created": "2026-01-02T03:04:05Z",
    "author": "Ann",
    "config": {
        "User": "app",
        "WorkingDir": "/srv",
        "Env": ["PATH=/bin", "A=b"],
        "Entrypoint": ["/app"],
        "Cmd": ["serve", "--port", "80"],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"org.opencontainers.image.source": "https://example.org"},
    },
    "history": [
        {"created": "2026-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
        {"created_by": "/bin/sh -c #(nop)  ENV A=b", "empty_layer": True},
        {"created_by": "RUN /bin/sh -c make # buildkit", "comment": "buildkit.dockerfile.v0"},
    ],
}


def test_an_image_says_what_it_runs() -> None:
    """Every field, and the steps with the layers that they made."""
    found = image_config(CONFIG)
    assert (found.os, found.architecture, found.variant, found.author) == ("linux", "arm64", "v8", "Ann")
    assert (found.user, found.workdir, found.entrypoint) == ("app", "/srv", ("/app",))
    assert (found.cmd, found.env) == (("serve", "--port", "80"), ("PATH=/bin", "A=b"))
    assert (found.ports, found.volumes) == (("443/tcp", "80/tcp"), ("/data",))
    assert found.labels == {"org.opencontainers.image.source": "https://example.org"}
    assert [(step.instruction, step.layer) for step in found.steps] == [
        ("ADD file:1 in /", 0), ("ENV A=b", None), ("RUN make", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("RUN |2 TOKEN=secret B=2 /bin/sh -c make # buildkit", "RUN make"),
        ("|1 A=1 /bin/sh -c make", "RUN make"),
        ("COPY a b # buildkit", "COPY a b"),
        ('ENTRYPOINT ["/x"]', 'ENTRYPOINT ["/x"]'),
        ("powershell -Command dir", "powershell -Command dir"),
        ("", ""),
    ],
)
def test_steps_read_like_a_dockerfile(written: str, shown: str) -> None:
    """The marks of builders, and values of build arguments, are left out."""
    assert instruction(written) == shown


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.dictionaries(st.sampled_from(INNER), JSON))
def test_whatever_it_holds_is_no_error(document: dict[str, Any], inner: dict[str, Any]) -> None:
    """A config is a blob that anybody pushed."""
    image_config({**document, "config": inner})
    image_config(document)
    chart(document)


def test_what_is_long_is_cut() -> None:
    """I10: texts, lists and maps; and no NUL, which no database takes."""
    document = {
        "author": "a\0" * 10_000,
        "config": {"Env": ["x"] * 10_000, "Labels": {str(n): "y" for n in range(10_000)}},
        "history": [{"created_by": " " * 5000 + "x"}] * 10_000,
    }
    found = image_config(document)
    assert found.author is not None
    assert "\0" not in found.author
    assert len(found.author) <= TEXT_MAX_CHARS
    assert len(found.env) == len(found.labels) == ENTRIES_MAX
    assert len(found.steps) < 10_000


def test_a_chart() -> None:
    """The fields of Chart.yaml; URLs that no page should link to are left out."""
    document = {
        "name": "web", "version": "1.2.3", "appVersion": "9", "apiVersion": "v2", "type": "application",
        "home": "javascript:alert(1)", "sources": ["https://example.org", "ftp://no"], "deprecated": True,
        "maintainers": [{"name": "Ann", "email": "a@example.org"}, "no", {}],
        "dependencies": [{"name": "db", "version": "^1", "repository": "oci://example.org"}, {"version": "1"}],
    }  # fmt: skip
    found = chart(document)
    assert found is not None
    assert (found.name, found.version, found.app_version, found.is_deprecated) == ("web", "1.2.3", "9", True)
    assert (found.home, found.sources, found.maintainers) == (None, ("https://example.org",), ("Ann",))
    assert [(one.name, one.version) for one in found.dependencies] == [("db", "^1")]
    assert chart({"version": "1"}) is None


@pytest.mark.parametrize(
    ("media_type", "artifact_type", "sort"),
    [
        (OCI_MANIFEST, OCI_CONFIG, Sort.IMAGE),
        (OCI_INDEX, None, Sort.INDEX),
        (OCI_MANIFEST, "application/vnd.cncf.helm.config.v1+json", Sort.CHART),
        (OCI_MANIFEST, "application/spdx+json", Sort.SBOM),
        (OCI_MANIFEST, "application/vnd.cyclonedx+json", Sort.SBOM),
        (OCI_MANIFEST, "text/spdx", Sort.SBOM),
        (OCI_MANIFEST, SIGNATURES[0], Sort.SIGNATURE),
        (OCI_MANIFEST, "application/vnd.example.thing", Sort.ARTIFACT),
        (OCI_INDEX, "application/vnd.example.thing", Sort.ARTIFACT),
    ],
)
def test_what_a_manifest_is(media_type: str, artifact_type: str | None, sort: Sort) -> None:
    """By its artifact type, or that of its config."""
    assert sort_of(media_type, artifact_type) is sort


def test_what_its_parts_say() -> None:
    """cosign and BuildKit give what is no image the config of one."""
    assert sort_of_whole(Sort.IMAGE, ["application/vnd.dev.cosign.simplesigning.v1+json"]) is Sort.SIGNATURE
    assert sort_of_whole(Sort.INDEX, ["x/y", "application/vnd.buildkit.cacheconfig.v0"]) is Sort.CACHE
    assert sort_of_whole(Sort.IMAGE, ["application/vnd.in-toto+json"]) is Sort.ATTESTATION
    assert sort_of_whole(Sort.IMAGE, ["x/y"]) is Sort.IMAGE
    bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
    key = "dev.sigstore.bundle.predicateType"
    assert sort_of_referrer(OCI_MANIFEST, bundle, {}) is Sort.SIGNATURE
    assert sort_of_referrer(OCI_MANIFEST, bundle, {key: "https://spdx.dev/Document"}) is Sort.SBOM
    assert sort_of_referrer(OCI_MANIFEST, bundle, {key: "https://slsa.dev/provenance/v1"}) is Sort.ATTESTATION
    digest = "sha256-" + "0" * 64
    found = [sort_of_fallback(name) for name in (digest, f"{digest}.sig", f"{digest}.att", f"{digest}.sbom", "v1")]
    assert found == [Sort.INDEX, Sort.SIGNATURE, Sort.ATTESTATION, Sort.SBOM, None]
