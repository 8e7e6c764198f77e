"""Commands that pull an image, a chart or another artifact, for every tool: what people copy from a page."""

from enum import StrEnum

from registry.core.artifacts import Sort

TAG_MARK, DIGEST_MARK = "%tag%", "%digest%"
"""Stand for a tag and its digest in commands that a script fills in."""


class Shape(StrEnum):
    """What is pulled in the same way."""

    IMAGE = "image"
    CHART = "chart"
    FILES = "files"


def shape_of(sort: Sort) -> Shape:
    """How something of this sort is pulled."""
    if sort in (Sort.IMAGE, Sort.INDEX, Sort.WASM):
        return Shape.IMAGE
    return Shape.CHART if sort is Sort.CHART else Shape.FILES


def recipes(place: str, shape: Shape, tag: str | None, digest: str) -> list[tuple[str, str]]:
    """Names of tools with their commands; `place` is host and repository. The first is what most people want."""
    named = f"{place}:{tag}" if tag else f"{place}@{digest}"
    pinned = f"{place}@{digest}"
    if shape is Shape.CHART:
        version = f" --version {tag}" if tag else ""
        return [
            ("helm pull", f"helm pull oci://{place}{version}"),
            ("helm install", f"helm install {place.rpartition('/')[2]} oci://{place}{version}"),
            ("oras", f"oras pull {named}"),
            ("digest", f"oras pull {pinned}"),
            ("cosign", f"cosign verify --key cosign.pub {named}"),
        ]
    if shape is Shape.FILES:
        return [
            ("oras", f"oras pull {named}"),
            ("digest", f"oras pull {pinned}"),
            ("crane", f"crane manifest {named}"),
            ("cosign", f"cosign verify --key cosign.pub {named}"),
        ]
    return [
        ("docker", f"docker pull {named}"),
        ("podman", f"podman pull {named}"),
        ("digest", f"docker pull {pinned}"),
        ("kubernetes", f"image: {named}"),
        ("dockerfile", f"FROM {named}"),
        ("crane", f"crane pull {named} image.tar"),
        ("cosign", f"cosign verify --key cosign.pub {named}"),
    ]
