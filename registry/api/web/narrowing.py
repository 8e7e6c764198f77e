"""How lists of repositories are narrowed and ordered: what the address of a page says, and what its form offers."""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from registry.api.web.asked import Asked
from registry.api.web.languages import Catalogue
from registry.api.web.view import View
from registry.core.access import Visibility
from registry.core.search import SearchText
from registry.core.shelf import Order, RepositoriesQuery

PLATFORMS = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "windows/amd64",
)
"""What the form offers; any other can be asked for by its name."""


class Type(StrEnum):
    """Kinds of artifacts that the form offers."""

    IMAGE = "image"
    CHART = "chart"
    WASM = "wasm"
    MODEL = "model"


ARTIFACT_TYPES = {
    Type.IMAGE: "application/vnd.oci.image.config.v1+json",
    Type.CHART: "application/vnd.cncf.helm.config.v1+json",
    Type.WASM: "application/vnd.wasm.config.v0+json",
    Type.MODEL: "application/vnd.cncf.model.manifest.v1+json",
}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a list is narrowed to, as the fields of its form hold it."""

    q: str
    visibility: str
    type: str
    platform: str
    sort: str
    """Empty for the order that the page has by itself."""
    default: str
    """Which that is."""

    @property
    def is_narrowed(self) -> bool:
        """Whether anything is left out, beside what the text leaves out."""
        return bool(self.visibility or self.type or self.platform)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the form offers: (value, text) each; `visibility` whether that is a question here."""

    types: list[tuple[str, str]]
    platforms: list[tuple[str, str]]
    orders: list[tuple[str, str]]
    visibility: bool


def narrowed(view: View, default: str) -> Narrowed:
    """What the address says. Raises FieldInvalid."""
    asked = Asked.of(view)
    visibility, kind = asked.choice("visibility", Visibility), asked.text("type")
    asked.order("sort", Order, (Order.NAME, False))
    return Narrowed(
        q=asked.text("q", max_chars=200),
        visibility=visibility or "",
        type=kind,
        platform=asked.text("platform"),
        sort="" if asked.text("sort") == default else asked.text("sort"),
        default=default,
    )


def wanted(view: View, fields: Narrowed) -> RepositoriesQuery:
    """The same as the lists take it. Raises FieldInvalid."""
    order, descending = Asked({"sort": fields.sort or fields.default}).order("sort", Order, (Order.NAME, False))
    kind = fields.type
    return RepositoriesQuery(
        search=SearchText.parse(fields.q, field="q"),
        visibility=Visibility(fields.visibility) if fields.visibility else None,
        artifact_type=(ARTIFACT_TYPES[Type(kind)] if kind in set(Type) else kind) or None,
        platform=fields.platform or None,
        order=order,
        descending=descending,
        after=Asked.of(view).position("after", tuple[str | int, int]),
    )


def choices(fields: Narrowed, texts: Catalogue, *, is_signed_in: bool) -> Choices:
    """What the form offers, in a language; what is asked for is among it."""
    gettext = texts.gettext
    types = [
        ("", gettext("All types")),
        (Type.IMAGE.value, gettext("Images")),
        (Type.CHART.value, gettext("Helm charts")),
        (Type.WASM.value, "WebAssembly"),
        (Type.MODEL.value, gettext("AI models")),
    ]
    orders = [
        ("-pull_count", gettext("Most pulled")),
        ("-pushed_at", gettext("Last pushed")),
        ("-star_count", gettext("Most stars")),
        ("name", gettext("Name")),
        ("-size_bytes", gettext("Largest")),
    ]
    if fields.q:
        orders.insert(0, (Order.RELEVANCE.value, gettext("Best match")))
    # The order that the page has by itself is what nobody asks for.
    orders = [("" if value == fields.default else value, text) for value, text in orders]
    orders.sort(key=lambda order: order[0] != "")
    platforms = [("", gettext("All platforms")), *((name, name) for name in PLATFORMS)]
    return Choices(
        _with(types, fields.type),
        _with(platforms, fields.platform),
        _with(orders, fields.sort),
        visibility=is_signed_in,
    )


def _with(options: list[tuple[str, str]], value: str) -> list[tuple[str, str]]:
    return options if value in {key for key, _ in options} else [*options, (value, value)]


def address(path: str, fields: Narrowed) -> str:
    """The shortest address of what is asked for."""
    names = ("q", "visibility", "type", "platform", "sort")
    query = urlencode({name: getattr(fields, name) for name in names if getattr(fields, name)})
    return f"{path}?{query}" if query else path
