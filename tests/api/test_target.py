"""Paths are read from the right, exactly as they were sent."""

import pytest

from registry.api.v2.target import Target, locate
from registry.core.errors import NameInvalid

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target("ping")),
        ("/v2", Target("ping")),
        ("/v2/_catalog", Target("catalog")),
        ("/v2/a/manifests/latest", Target("manifest", "a", "latest")),
        (f"/v2/a/b/c/blobs/{D}", Target("blob", "a/b/c", D)),
        (f"/v2/a/blobs/sha256%3A{'a' * 64}", Target("blob", "a", D)),
        ("/v2/a/blobs/uploads/", Target("uploads", "a")),
        ("/v2/a/blobs/uploads", Target("uploads", "a")),
        ("/v2/a/blobs/uploads/0f", Target("upload", "a", "0f")),
        ("/v2/a/tags/list", Target("tags", "a")),
        (f"/v2/a/referrers/{D}", Target("referrers", "a", D)),
        ("/v2/manifests/tags/list", Target("tags", "manifests")),
        ("/v2/a/blobs/uploads/manifests/x", Target("manifest", "a/blobs/uploads", "x")),
        (f"/v2/tags/list/blobs/{D}", Target("blob", "tags/list", D)),
        ("/v2/blobs/uploads/blobs/uploads/", Target("uploads", "blobs/uploads")),
    ],
)
def test_paths(path: str, target: Target) -> None:
    """Names may contain every word that endpoints use."""
    assert locate(path) == target


@pytest.mark.parametrize(
    "path",
    ["/v2/a", "/v2/a/b", "/v2/manifests/x", "/v2//manifests/x", "/v2/a/tags/lists", "/v2/a/tags/", "/v2/_catalog/",
     "/v2/blobs/uploads/", "/v2/a/uploads/x", "/v2/a/manifest/x", "/v2/x/_oci/ext/discover/y"],
)  # fmt: skip
def test_paths_of_no_endpoint(path: str) -> None:
    """What has no form of an endpoint is none."""
    assert locate(path) is None


@pytest.mark.parametrize(
    "path",
    ["/v2/a%2fb/manifests/x", "/v2/%2e%2e/manifests/x", "/v2/a/manifests/%2e", "/v2/a/blobs/%00", "/v2/%61/tags/list"],
)
def test_escapes_are_refused(path: str) -> None:
    """SEC-008: nothing that a proxy and the registry could decode differently."""
    with pytest.raises(NameInvalid):
        locate(path)
